--- The language server for Dockerfiles in Neovim 0.7 and newer.
local commands = require('rbx.commands')
local log = require('rbx.log')
local server = require('rbx.server')
local shown = require('rbx.shown')

local M = {}

--- What `setup` takes.
---@class rbx.Options
---@field cmd string[]? The server, if it is not to be looked for.
---@field filetypes string[]? File types the server is started for.
---@field root_markers string[]? Files and directories that mark the root of a project.
---@field settings rbx.Settings? For what files are built, and how.
---@field lenses boolean? Show what can be built above the lines that it is about.
---@field hints boolean? Show what is worked out at the ends of lines (Neovim 0.10 and newer).
---@field linked_editing boolean? Change all places of a name while one is typed (Neovim 0.12 and newer).
---@field capabilities table? What a completion plugin adds to the client's capabilities.
---@field on_attach function? Called with client and buffer when the server is attached to a buffer.

--- What the server is told.
---@class rbx.Settings
---@field platforms string[]? What files are built for that do not say so themselves.
---@field context string? The build context, from the root of the project; else it is the Dockerfile's directory.
---@field builder string? The builder; else it is that of the command line.
---@field buildFlags string[]? More flags of `docker rbx build`.
---@field program string? The `docker-rbx` that builds.
---@field online boolean? Registries may be asked about images; nobody is unless this is set.
---@field shellcheck ('auto'|'off')? Whether `shellcheck` looks at scripts of `RUN`, where it is installed.
local defaults = {
  filetypes = { 'dockerfile' },
  root_markers = { 'docker-bake.hcl', 'docker-bake.json', 'compose.yaml', 'docker-compose.yml', '.git' },
  settings = {},
  lenses = true,
  hints = true,
  linked_editing = false,
}

--- The nearest directory above a file that holds a marker, else the file's own.
local function find_root(file, markers)
  local directory = vim.fn.fnamemodify(file, ':p:h')
  local current = directory
  while true do
    for _, marker in ipairs(markers) do
      if vim.loop.fs_stat(current .. '/' .. marker) then
        return current
      end
    end
    local parent = vim.fn.fnamemodify(current, ':h')
    if parent == current then
      return directory
    end
    current = parent
  end
end

--- Clients by root, for Neovim 0.7, which does not look for one itself.
local clients = {}

--- The server as it is started, once `setup` was called.
local started

local function attach(options, config, buffer)
  config = vim.tbl_extend('force', config, {
    name = 'rbx',
    root_dir = find_root(vim.api.nvim_buf_get_name(buffer), options.root_markers),
  })
  if vim.lsp.start then
    vim.lsp.start(config, { bufnr = buffer })
    return
  end
  local id = clients[config.root_dir]
  if not id or not vim.lsp.get_client_by_id(id) then
    id = vim.lsp.start_client(config)
    clients[config.root_dir] = id
  end
  if id then
    vim.lsp.buf_attach_client(buffer, id)
  end
end

--- The program that is started, with its arguments.
---@return string[]?
function M.cmd()
  return started
end

--- Starts the server for Dockerfiles that are opened from now on. May be called again with other options.
---@param options rbx.Options?
function M.setup(options)
  options = vim.tbl_extend('force', defaults, options or {})
  options.cmd = options.cmd or server.find()
  started = options.cmd
  local group = vim.api.nvim_create_augroup('rbx', { clear = true })
  local function on(event, pattern, callback)
    vim.api.nvim_create_autocmd(event, { group = group, pattern = pattern, callback = callback })
  end
  if not options.cmd then
    on('FileType', options.filetypes, function()
      local text = 'rbx: there is no language server, Dockerfiles are not checked: see :checkhealth rbx'
      vim.notify_once(text, vim.log.levels.WARN)
    end)
    return
  end
  local function begin(client, buffer)
    commands.attach(client, buffer)
    shown.attach(client, buffer, options)
  end
  local config = {
    cmd = options.cmd,
    capabilities = options.capabilities,
    -- Both, since older versions tell the server nothing of the latter.
    init_options = options.settings,
    settings = { rbx = options.settings },
    handlers = log.handlers,
    on_attach = options.on_attach,
  }
  if vim.fn.has('nvim-0.8') == 1 then
    on('LspAttach', '*', function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == 'rbx' then
        begin(client, event.buf)
      end
    end)
  else
    config.on_attach = function(client, buffer)
      begin(client, buffer)
      if options.on_attach then
        options.on_attach(client, buffer)
      end
    end
  end
  if vim.fn.has('nvim-0.11') == 1 then
    config.filetypes = options.filetypes
    config.root_markers = options.root_markers
    vim.lsp.config('rbx', config)
    vim.lsp.enable('rbx')
    return
  end
  on('FileType', options.filetypes, function(event)
    attach(options, config, event.buf)
  end)
end

return M
