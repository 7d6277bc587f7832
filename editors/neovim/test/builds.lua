-- Builds for two platforms: started by a lens, failed, mended, cancelled. Run by run.sh; ends Neovim with a code of 1 if
-- anything is not as it should be.

local said = {}
local progress = {}

local session = dofile(vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':h') .. '/session.lua')
local check = session.check

local function log()
  local buffer = vim.fn.bufnr('rbx://build-log')
  return buffer < 0 and '' or table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), '\n')
end

local function wait(what, condition)
  local function seen()
    return { said = said, findings = vim.diagnostic.get(0), log = log() }
  end
  if not vim.wait(60000, condition, 20) then
    check(false, 'waited in vain: ' .. what, seen())
  end
end

--- Waits for what the server says next, and takes it.
local function next_said()
  wait('a message', function()
    return #said > 0
  end)
  return table.remove(said, 1)
end

local function titles()
  local get = vim.lsp.codelens.get
  local lenses = vim.lsp.codelens.enable and get({ bufnr = 0 }) or get(0)
  local all = vim.tbl_map(function(lens)
    return (lens.lens or lens).command.title
  end, lenses)
  -- Those that build the whole file.
  return vim.tbl_filter(function(title)
    return title:find('^build for ') or title:find('^build all ')
  end, all)
end

local function shows(wanted)
  wait('lenses ' .. wanted, function()
    local seen = titles()
    table.sort(seen)
    return table.concat(seen, '; ') == wanted
  end)
end

session.run(function()
  vim.lsp.handlers['window/showMessage'] = function(_, result)
    table.insert(said, result.message)
  end
  local default = vim.lsp.handlers['$/progress']
  vim.lsp.handlers['$/progress'] = function(err, result, ...)
    table.insert(progress, result.value.kind)
    return default(err, result, ...)
  end

  local directory = vim.env.RBX_TEST_DIRECTORY
  vim.fn.writefile({ 'hello' }, directory .. '/a')
  local file = directory .. '/Dockerfile'
  local text = {
    '# rbx: platforms=linux/amd64,linux/arm64',
    'FROM --platform=$BUILDPLATFORM base AS build',
    'RUN echo one two && no-such-program',
    'FROM scratch',
    'COPY --from=build /etc/passwd /',
    'COPY a /a',
  }
  vim.fn.writefile(text, file)
  vim.cmd('edit ' .. file)
  local both = 'build all platforms; build for linux/amd64; build for linux/arm64'
  shows(both)

  -- A lens is run: the build fails, and its step is a finding.
  local offered
  vim.ui.select = function(items, options, on_choice)
    offered = vim.tbl_map(options.format_item or tostring, items)
    for _, item in ipairs(items) do
      if (options.format_item or tostring)(item):find('build all platforms', 1, true) then
        on_choice(item)
        return
      end
    end
  end
  vim.api.nvim_win_set_cursor(0, { 1, 0 })
  vim.lsp.codelens.run()
  local message = next_said()
  check(message:find('failed to build Dockerfile for linux/amd64, linux/arm64', 1, true), 'the failure', message)
  check(offered and #offered >= 3, 'lenses to choose from', offered)
  wait('a finding', function()
    return #vim.diagnostic.get(0) == 1
  end)
  local finding = vim.diagnostic.get(0)[1]
  check(finding.lnum == 2 and finding.code == 'build-failed', 'the finding', finding)
  check(finding.message:find('exit code: 127', 1, true), 'the cause', finding)
  check(finding.message:find('linux/amd64', 1, true), 'the platform', finding)
  check(finding.message:find('\n  one two', 1, true), 'the output', finding)
  check(vim.tbl_contains(progress, 'begin') and vim.tbl_contains(progress, 'end'), 'progress', progress)
  vim.cmd('RbxBuildLog')
  check(log():find('one two', 1, true), 'the log', log())
  vim.cmd('close')

  -- It is mended by typing, and built again, from what is not saved.
  vim.api.nvim_buf_set_lines(0, 2, 3, false, { 'RUN echo one two' })
  wait('no finding', function()
    return #vim.diagnostic.get(0) == 0
  end)
  vim.cmd('RbxBuild')
  message = next_said()
  check(message:find('^built Dockerfile for linux/amd64, linux/arm64: sha256:'), 'the result', message)

  -- A build is cancelled.
  vim.api.nvim_buf_set_lines(0, 2, 3, false, { 'RUN echo begun && sleep 60' })
  vim.cmd('RbxBuild linux/arm64')
  wait('a step', function()
    return log():find('begun\n') or log():find('begun$')
  end)
  vim.cmd('RbxBuild')
  message = next_said()
  check(message:find('is being built already', 1, true), 'the second build', message)
  vim.cmd('RbxCancel')
  message = next_said()
  check(message == 'cancelled the build of Dockerfile for linux/arm64', 'the end', message)

  -- Platforms are set.
  vim.api.nvim_buf_set_lines(0, 0, 1, false, {})
  vim.cmd('RbxPlatforms linux/riscv64 linux/s390x')
  vim.cmd('doautocmd InsertLeave')
  shows('build all platforms; build for linux/riscv64; build for linux/s390x')
end)
