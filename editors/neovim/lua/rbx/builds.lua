--- Builds from the editor: lenses, commands, progress, and a log.
local M = {}

--- Lines that the log keeps.
local KEPT = 10000

--- The buffer of the log, once it is wanted.
local log

local function open_log()
  if not log or not vim.api.nvim_buf_is_valid(log) then
    log = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(log, 'rbx://build-log')
  end
end

local function append(text)
  open_log()
  local lines = vim.split(text, '\n', { plain = true })
  local last = vim.api.nvim_buf_line_count(log)
  local empty = last == 1 and vim.api.nvim_buf_get_lines(log, 0, 1, false)[1] == ''
  vim.api.nvim_buf_set_lines(log, empty and 0 or last, -1, false, lines)
  last = vim.api.nvim_buf_line_count(log)
  if last > KEPT then
    vim.api.nvim_buf_set_lines(log, 0, last - KEPT, false, {})
    last = KEPT
  end
  for _, window in ipairs(vim.fn.win_findbuf(log)) do
    vim.api.nvim_win_set_cursor(window, { last, 0 })
  end
end

--- What the server says while it builds.
M.handlers = {
  ['window/logMessage'] = function(_, result)
    append(result.message)
  end,
  ['$/progress'] = function(err, result, context, config)
    local default = vim.lsp.handlers['$/progress']
    if default then
      default(err, result, context, config)
    end
    local value = result.value
    if value.kind == 'end' then
      vim.api.nvim_echo({}, false, {})
      return
    end
    local text = ('rbx: %d%% %s'):format(value.percentage or 0, value.message or value.title or '')
    -- Longer ones would want a key to be pressed.
    vim.api.nvim_echo({ { vim.fn.strcharpart(text, 0, math.max(vim.o.columns - 12, 20)) } }, false, {})
  end,
}

local function execute(client, buffer, command, argument, callback)
  argument = vim.tbl_extend('force', { uri = vim.uri_from_bufnr(buffer) }, argument or {})
  local params = { command = command, arguments = { argument } }
  local function answered(err, result)
    if err then
      vim.notify('rbx: ' .. (err.message or tostring(err)), vim.log.levels.ERROR)
    elseif callback then
      callback(result)
    end
  end
  if vim.fn.has('nvim-0.11') == 1 then
    client:request('workspace/executeCommand', params, answered, buffer)
  else
    client.request('workspace/executeCommand', params, answered, buffer)
  end
end

--- Sets what the server is told, and tells it.
local function set_platforms(client, platforms)
  local settings = vim.tbl_deep_extend('force', client.config.settings or {}, { rbx = {} })
  settings.rbx.platforms = platforms
  client.config.settings = settings
  -- Since 0.11 it is from here that the server is answered.
  if client.settings then
    client.settings = settings
  end
  local params = { settings = settings }
  if vim.fn.has('nvim-0.11') == 1 then
    client:notify('workspace/didChangeConfiguration', params)
  else
    client.notify('workspace/didChangeConfiguration', params)
  end
end

local function show_platforms(client, buffer)
  execute(client, buffer, 'rbx.platforms', nil, function(result)
    local origins = {
      comment = 'says the file',
      configuration = 'as set',
      workflow = 'as a workflow builds it',
      default = 'the default',
    }
    local text = ('built for %s (%s)'):format(table.concat(result.platforms, ', '), origins[result.source])
    vim.api.nvim_echo({ { text } }, true, {})
  end)
end

local function refresh(buffer)
  -- It is the current buffer that Neovim asks for up to 0.9.
  if vim.api.nvim_get_current_buf() == buffer then
    vim.lsp.codelens.refresh(vim.fn.has('nvim-0.10') == 1 and { bufnr = buffer } or nil)
  end
end

local function show_lenses(buffer)
  if vim.lsp.codelens.enable then
    vim.lsp.codelens.enable(true, { bufnr = buffer })
    return
  end
  local group = vim.api.nvim_create_augroup('rbx.lenses.' .. buffer, { clear = true })
  vim.api.nvim_create_autocmd({ 'BufEnter', 'InsertLeave', 'TextChanged' }, {
    group = group,
    buffer = buffer,
    callback = function()
      refresh(buffer)
    end,
  })
  refresh(buffer)
end

--- Makes the commands of a buffer that the server is attached to, and shows its lenses.
function M.attach(client, buffer, lenses)
  -- Platforms that are offered: completion cannot wait for the server.
  local known = {}
  local function learn()
    execute(client, buffer, 'rbx.platforms', nil, function(result)
      known = result and result.platforms or {}
    end)
  end
  local function complete(word)
    learn()
    return vim.tbl_filter(function(platform)
      return vim.startswith(platform, word)
    end, known)
  end
  local function command(name, about, nargs, callback)
    local options = { desc = about, nargs = nargs, force = true }
    if nargs == '*' then
      options.complete = complete
    end
    vim.api.nvim_buf_create_user_command(buffer, name, callback, options)
  end
  command('RbxBuild', 'Build this file for platforms, else for all that it is built for', '*', function(call)
    local argument = #call.fargs > 0 and { platforms = call.fargs } or nil
    execute(client, buffer, 'rbx.build', argument)
  end)
  command('RbxCancel', 'Cancel the build of this file', 0, function()
    execute(client, buffer, 'rbx.cancel', nil, function(found)
      if not found then
        vim.notify('rbx: this file is not being built')
      end
    end)
  end)
  command('RbxPlatforms', 'Set what files are built for, or show what this one is built for', '*', function(call)
    if #call.fargs > 0 then
      set_platforms(client, call.fargs)
    end
    show_platforms(client, buffer)
  end)
  command('RbxBuildLog', 'Show what builds said', 0, function()
    open_log()
    vim.cmd('botright sbuffer ' .. log)
  end)
  learn()
  if lenses then
    show_lenses(buffer)
  end
end

return M
