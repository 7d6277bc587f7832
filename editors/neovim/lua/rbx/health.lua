--- `:checkhealth rbx`
local server = require('rbx.server')

local M = {}

-- Neovim 0.10 and newer have other names for these.
local health = vim.health or require('health')
local start = health.start or health.report_start
local ok = health.ok or health.report_ok
local info = health.info or health.report_info
local warn = health.warn or health.report_warn
local err = health.error or health.report_error

local function describe(client)
  ok(('runs for %s'):format(client.config.root_dir or 'files without a root'))
  if not (client.server_capabilities or {}).executeCommandProvider then
    warn('it announces no commands: it may still be starting')
  end
end

function M.check()
  start('The language server of docker rbx')
  local cmd = require('rbx').cmd() or server.find()
  if cmd then
    local program = vim.fn.exepath(cmd[1])
    if program == '' then
      err(('%s is no program that can be run'):format(cmd[1]), { 'Set `cmd` in `vim.g.rbx`.' })
    else
      ok(('is started as `%s`'):format(table.concat(cmd, ' ')))
    end
  else
    err('was not found', {
      'Put docker-rbx or rbx-lsp on the PATH, or among the plugins of docker (~/.docker/cli-plugins).',
      'Or set `cmd` in `vim.g.rbx`.',
    })
  end
  local clients = server.clients()
  if #clients == 0 then
    info('does not run: it is started with the first Dockerfile that is opened')
  end
  for _, client in ipairs(clients) do
    describe(client)
  end

  start('Its helpers')
  if vim.fn.executable('shellcheck') == 1 then
    ok('shellcheck: scripts of RUN are checked, too')
  else
    info('shellcheck is not installed: scripts of RUN are checked by the rules of rbx alone')
  end

  start('This Neovim')
  if vim.fn.has('nvim-0.10') == 1 then
    ok('shows hints and lenses')
  else
    info('shows lenses; hints want Neovim 0.10 or newer')
  end
end

return M
