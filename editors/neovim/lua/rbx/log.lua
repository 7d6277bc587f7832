--- What the server says while it builds: a log, and a line of progress.
local M = {}

--- Lines that the log keeps.
local KEPT = 10000

--- The buffer of the log, once it is wanted.
local log

local function open()
  if not log or not vim.api.nvim_buf_is_valid(log) then
    log = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(log, 'rbx://build-log')
  end
end

local function append(text)
  open()
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

--- Handlers of a client.
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

--- Shows the log in a window.
function M.show()
  open()
  local window = vim.fn.bufwinid(log)
  if window >= 0 then
    vim.api.nvim_set_current_win(window)
  else
    vim.cmd('botright sbuffer ' .. log)
  end
end

return M
