-- What a user does, and what is shown. Run by run.sh; ends Neovim with a code of 1 if anything is not as it should be.

local session = dofile(vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':h') .. '/session.lua')
local check = session.check

local function wait(what, condition)
  check(vim.wait(15000, condition, 20), 'waited in vain: ' .. what, vim.diagnostic.get(0))
end

local function servers()
  return require('rbx.server').clients()
end

local function ask(method, params)
  if vim.startswith(method, 'textDocument/') then
    params.textDocument = { uri = vim.uri_from_bufnr(0) }
  end
  local answers = vim.lsp.buf_request_sync(0, method, params, 15000)
  for _, answer in pairs(answers or {}) do
    check(not answer.err and not answer.error, method, answer)
    return answer.result
  end
  check(false, method .. ': no answer', answers)
end

local function messages()
  return vim.tbl_map(function(finding)
    return ('%d:%d-%d %s: %s'):format(finding.lnum, finding.col, finding.end_col, finding.source, finding.message)
  end, vim.diagnostic.get(0))
end

session.run(function()
  local directory = vim.env.RBX_TEST_DIRECTORY

  -- A broken file is opened.
  local text = { 'FROM alpine AS base', 'RUM make', 'COPY --chown=🐳 --form=busybox /a /b' }
  vim.fn.writefile(text, directory .. '/sub/Dockerfile.dev')
  vim.cmd('edit ' .. directory .. '/sub/Dockerfile.dev')
  check(vim.bo.filetype == 'dockerfile', 'the file type', vim.bo.filetype)
  wait('findings', function()
    return #vim.diagnostic.get(0) == 2
  end)
  local seen = messages()
  check(seen[1] == '1:0-3 rbx: unknown instruction: RUM (did you mean RUN?)', 'the first finding', seen)
  check(seen[2]:find('unknown flag: --form', 1, true), 'the second finding', seen)
  local column = vim.diagnostic.get(0)[2].col
  check(text[3]:sub(column + 1, column + 4) == 'form', 'its place, in bytes', seen)
  check(#servers() == 1, 'one server', servers())
  local root = servers()[1].config.root_dir
  check(root == directory, 'the root', root)

  -- It is repaired: by typing, so that edits are what is sent.
  vim.api.nvim_buf_set_text(0, 1, 2, 1, 3, { 'N' })
  vim.api.nvim_buf_set_text(0, 2, column, 2, column + 4, { 'from' })
  wait('no findings', function()
    return #vim.diagnostic.get(0) == 0
  end)

  -- The outline and an explanation, right after another edit.
  vim.api.nvim_buf_set_lines(0, 3, 3, false, { 'FROM scratch AS last', 'STOPSIGNAL 9' })
  local symbols = ask('textDocument/documentSymbol', {})
  check(#symbols == 2 and symbols[1].name == 'base' and #symbols[1].children == 2, 'the outline', symbols)
  check(symbols[2].name == 'last' and symbols[2].children[1].name == 'STOPSIGNAL 9', 'the outline', symbols)
  local hover = ask('textDocument/hover', { position = { line = 4, character = 3 } })
  check(hover.contents.kind == 'markdown', 'the explanation', hover)
  check(hover.contents.value:find('asks the container to stop', 1, true), 'the explanation', hover)

  -- What is wrong for one platform of two, and its remedy.
  text = { '# rbx: platforms=linux/amd64,linux/arm64', 'FROM alpine', 'ARG TARGETARCH=amd64', 'RUN echo $TARGETARCH' }
  vim.api.nvim_buf_set_lines(0, 0, -1, false, text)
  wait('a finding of a rule', function()
    return #vim.diagnostic.get(0) == 1
  end)
  local finding = vim.diagnostic.get(0)[1]
  check(finding.lnum == 2 and finding.code == 'platform-arg-default', 'the rule', finding)
  check(finding.message:find('on linux/arm64 (fine on linux/amd64)', 1, true), 'its platforms', finding)
  vim.ui.select = function(items, _, on_choice)
    on_choice(items[1], 1)
  end
  vim.api.nvim_win_set_cursor(0, { 3, 5 })
  vim.lsp.buf.code_action()
  wait('the remedy', function()
    return vim.api.nvim_buf_get_lines(0, 2, 3, false)[1] == 'ARG TARGETARCH'
  end)
  wait('no finding', function()
    return #vim.diagnostic.get(0) == 0
  end)

  -- Platforms are chosen, one after the other, and the stages of the file are offered.
  vim.api.nvim_buf_set_lines(0, 0, 1, false, {})
  local picks = { 'linux/arm64', 'linux/riscv64', 'done' }
  vim.ui.select = function(items, _, on_choice)
    local pick = table.remove(picks, 1)
    for _, item in ipairs(items) do
      if vim.startswith(item, pick) then
        on_choice(item)
        return
      end
    end
    check(false, 'to be chosen: ' .. pick, items)
  end
  local function is_built_for(platform)
    wait('platforms: ' .. platform, function()
      local known = ask('workspace/executeCommand', {
        command = 'rbx.platforms',
        arguments = { { uri = vim.uri_from_bufnr(0) } },
      })
      return vim.deep_equal(known.platforms, { platform })
    end)
  end
  vim.cmd('RbxPlatforms linux/arm64')
  is_built_for('linux/arm64')
  vim.cmd('RbxPlatforms!')
  is_built_for('linux/riscv64')
  wait('stages to complete', function()
    return vim.deep_equal(vim.fn.getcompletion('RbxBuildStage ', 'cmdline'), { '0' })
  end)

  -- How it all is.
  vim.cmd('silent checkhealth rbx')
  local health = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\n')
  check(health:find('is started as', 1, true) and health:find('runs for ' .. directory, 1, true), 'health', health)
  vim.cmd('bwipeout!')

  -- A second file of the project has the same server, another kind of file has none.
  vim.fn.writefile({ 'FROM' }, directory .. '/Containerfile')
  vim.cmd('edit! ' .. directory .. '/Containerfile')
  wait('a finding in the second file', function()
    return #vim.diagnostic.get(0) == 1
  end)
  check(#servers() == 1, 'one server for both', servers())
  vim.cmd('edit! ' .. directory .. '/notes.txt')
  local attached = vim.lsp.get_clients and vim.lsp.get_clients({ bufnr = 0 }) or vim.lsp.buf_get_clients(0)
  check(next(attached) == nil, 'no server for notes', attached)
end)
