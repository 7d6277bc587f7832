--- The language server for Dockerfiles in Neovim 0.7 and newer.
local M = {}

--- What `setup` takes.
---@class rbx.Options
---@field cmd string[]? The server. If none is given: `rbx-lsp`, else `docker rbx lsp`, whichever there is.
---@field filetypes string[]? File types the server is started for.
---@field root_markers string[]? Files and directories that mark the root of a project.
---@field capabilities table? What a completion plugin adds to the client's capabilities.
---@field on_attach function? Called with client and buffer when the server is attached to a buffer.
local defaults = {
  filetypes = { 'dockerfile' },
  root_markers = { 'docker-bake.hcl', 'docker-bake.json', 'compose.yaml', 'docker-compose.yml', '.git' },
}

---@return string[]?
local function find_command()
  if vim.fn.executable('rbx-lsp') == 1 then
    return { 'rbx-lsp' }
  end
  if vim.fn.executable('docker') == 1 then
    return { 'docker', 'rbx', 'lsp' }
  end
end

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

local function attach(options, buffer)
  local file = vim.api.nvim_buf_get_name(buffer)
  local config = {
    name = 'rbx',
    cmd = options.cmd,
    root_dir = find_root(file, options.root_markers),
    capabilities = options.capabilities,
    on_attach = options.on_attach,
  }
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

local function on_filetype(filetypes, callback)
  local group = vim.api.nvim_create_augroup('rbx', { clear = true })
  vim.api.nvim_create_autocmd('FileType', { group = group, pattern = filetypes, callback = callback })
end

--- Starts the server for Dockerfiles that are opened from now on. May be called again with other options.
---@param options rbx.Options?
function M.setup(options)
  options = vim.tbl_extend('force', defaults, options or {})
  options.cmd = options.cmd or find_command()
  if not options.cmd then
    on_filetype(options.filetypes, function()
      local text = 'rbx: neither rbx-lsp nor docker is on the PATH: Dockerfiles are not checked'
      vim.notify_once(text, vim.log.levels.WARN)
    end)
    return
  end
  if vim.fn.has('nvim-0.11') == 1 then
    vim.lsp.config('rbx', {
      cmd = options.cmd,
      filetypes = options.filetypes,
      root_markers = options.root_markers,
      capabilities = options.capabilities,
      on_attach = options.on_attach,
    })
    vim.lsp.enable('rbx')
    return
  end
  on_filetype(options.filetypes, function(event)
    attach(options, event.buf)
  end)
end

return M
