--- Where the language server is.
local M = {}

--- Where docker looks for plugins of all users.
local PLUGINS = {
  '/usr/local/lib/docker/cli-plugins',
  '/usr/local/libexec/docker/cli-plugins',
  '/usr/lib/docker/cli-plugins',
  '/usr/libexec/docker/cli-plugins',
}

--- `rbx-lsp` or `docker-rbx` on the `PATH`, else `docker-rbx` among the plugins of docker, else whatever docker finds.
---@return string[]?
function M.find()
  if vim.fn.executable('rbx-lsp') == 1 then
    return { 'rbx-lsp' }
  end
  if vim.fn.executable('docker-rbx') == 1 then
    return { 'docker-rbx', 'lsp' }
  end
  local own = vim.env.DOCKER_CONFIG or vim.fn.expand('~/.docker')
  for _, directory in ipairs(vim.list_extend({ own .. '/cli-plugins' }, PLUGINS)) do
    local program = directory .. '/docker-rbx'
    if vim.fn.executable(program) == 1 then
      return { program, 'lsp' }
    end
  end
  if vim.fn.executable('docker') == 1 then
    return { 'docker', 'rbx', 'lsp' }
  end
end

--- The clients of the server.
function M.clients()
  local list = (vim.lsp.get_clients or vim.lsp.get_active_clients)()
  return vim.tbl_filter(function(client)
    return client.name == 'rbx'
  end, list)
end

--- Whether the server of a client has a command.
function M.has(client, command)
  local capabilities = client.server_capabilities or {}
  local provider = capabilities.executeCommandProvider or {}
  return vim.tbl_contains(provider.commands or {}, command)
end

--- Sends a request; `answered` is called with an error and a result.
function M.request(client, buffer, method, params, answered)
  if vim.fn.has('nvim-0.11') == 1 then
    client:request(method, params, answered, buffer)
  else
    client.request(method, params, answered, buffer)
  end
end

--- Has a command of the server run about a buffer; `callback` is called with its result.
function M.execute(client, buffer, command, argument, callback)
  argument = vim.tbl_extend('force', { uri = vim.uri_from_bufnr(buffer) }, argument or {})
  local params = { command = command, arguments = { argument } }
  M.request(client, buffer, 'workspace/executeCommand', params, function(err, result)
    if err then
      vim.notify('rbx: ' .. (err.message or tostring(err)), vim.log.levels.ERROR)
    elseif callback then
      callback(result)
    end
  end)
end

return M
