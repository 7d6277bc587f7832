--- Commands of a buffer with a Dockerfile.
local log = require('rbx.log')
local server = require('rbx.server')
local shown = require('rbx.shown')

local M = {}

--- What images are most often built for.
local COMMON = {
  'linux/amd64',
  'linux/arm64',
  'linux/arm/v7',
  'linux/arm/v6',
  'linux/386',
  'linux/ppc64le',
  'linux/riscv64',
  'linux/s390x',
}

local SOURCES = {
  comment = 'says the file',
  configuration = 'as set',
  workflow = 'as a workflow builds it',
  default = 'the default',
}

local function says(text)
  vim.api.nvim_echo({ { text } }, true, {})
end

local function show_platforms(client, buffer)
  server.execute(client, buffer, 'rbx.platforms', nil, function(result)
    local names = table.concat(result.platforms, ', ')
    says(('built for %s (%s)'):format(names, SOURCES[result.source] or result.source))
  end)
end

--- Changes the comment of a file that says itself what it is built for, else what is set for this session.
local function set_platforms(client, buffer, platforms)
  if #platforms == 0 then
    says('rbx: no platforms')
    return
  end
  server.execute(client, buffer, 'rbx.setPlatforms', { platforms = platforms }, function()
    shown.refresh(buffer)
    show_platforms(client, buffer)
  end)
end

--- Asks for a builder, and takes it for this session.
local function choose_builder(client, buffer, name)
  if name ~= '' then
    server.execute(client, buffer, 'rbx.setBuilder', { builder = name }, function(result)
      says(('built by %s'):format(result.builder))
    end)
    return
  end
  server.execute(client, buffer, 'rbx.builders', nil, function(result)
    local options = {
      prompt = 'Builder',
      format_item = function(builder)
        local about = builder.name == result.chosen and 'chosen' or builder.current and 'current' or nil
        -- Of one that cannot be asked, the driver may be unknown.
        local driver = builder.driver ~= '' and builder.driver or nil
        local words = vim.tbl_filter(function(word)
          return word
        end, { driver or false, about or false })
        return #words > 0 and ('%s (%s)'):format(builder.name, table.concat(words, ', ')) or builder.name
      end,
    }
    vim.ui.select(result.builders, options, function(builder)
      if builder then
        choose_builder(client, buffer, builder.name)
      end
    end)
  end)
end

--- Asks for platforms, one after the other, until the user is done.
local function choose_platforms(client, buffer, chosen)
  local names = vim.list_extend({}, COMMON)
  for _, platform in ipairs(chosen) do
    if not vim.tbl_contains(names, platform) then
      table.insert(names, platform)
    end
  end
  local done = 'done: ' .. table.concat(chosen, ', ')
  local items = vim.list_extend({ done }, names)
  local options = {
    prompt = 'What Dockerfiles are built for',
    format_item = function(item)
      return item == done and item or (vim.tbl_contains(chosen, item) and '[x] ' or '[ ] ') .. item
    end,
  }
  vim.ui.select(items, options, function(item)
    if item == done then
      set_platforms(client, buffer, chosen)
    elseif item then
      local others = vim.tbl_filter(function(platform)
        return platform ~= item
      end, chosen)
      if #others == #chosen then
        table.insert(others, item)
      end
      choose_platforms(client, buffer, others)
    end
  end)
end

--- Names of the stages, as they are built.
local function stages(client, buffer, callback)
  local params = { textDocument = { uri = vim.uri_from_bufnr(buffer) } }
  server.request(client, buffer, 'textDocument/documentSymbol', params, function(_, symbols)
    local names = {}
    for _, symbol in ipairs(symbols or {}) do
      -- Namespaces are stages; one without a name goes by its number.
      if symbol.kind == 3 then
        table.insert(names, symbol.name == 'stage ' .. #names and tostring(#names) or symbol.name)
      end
    end
    callback(names)
  end)
end

local function build_stage(client, buffer, stage)
  if stage and stage ~= '' then
    server.execute(client, buffer, 'rbx.build', { target = stage })
    return
  end
  stages(client, buffer, function(names)
    vim.ui.select(names, { prompt = 'Build up to' }, function(name)
      if name then
        build_stage(client, buffer, name)
      end
    end)
  end)
end

--- Commands: what they need of the server, what they do, how many words they take, and what is done with these.
local COMMANDS = {
  RbxBuild = {
    'rbx.build',
    'Build this file for platforms, else for all that it is built for',
    '*',
    function(client, buffer, call)
      server.execute(client, buffer, 'rbx.build', #call.fargs > 0 and { platforms = call.fargs } or nil)
    end,
  },
  RbxBuildStage = {
    'rbx.build',
    'Build this file up to a stage',
    '?',
    function(client, buffer, call)
      build_stage(client, buffer, call.args)
    end,
  },
  RbxCancel = {
    'rbx.cancel',
    'Cancel the build of this file',
    0,
    function(client, buffer)
      server.execute(client, buffer, 'rbx.cancel', nil, function(found)
        if not found then
          vim.notify('rbx: this file is not being built')
        end
      end)
    end,
  },
  RbxPlatforms = {
    'rbx.setPlatforms',
    'Set what files are built for; show what this one is built for; with a bang, choose it',
    '*',
    function(client, buffer, call)
      if call.bang then
        server.execute(client, buffer, 'rbx.platforms', nil, function(result)
          choose_platforms(client, buffer, result.platforms)
        end)
        return
      end
      if #call.fargs > 0 then
        set_platforms(client, buffer, call.fargs)
      else
        show_platforms(client, buffer)
      end
    end,
  },
  RbxBuilder = {
    'rbx.setBuilder',
    'Build by a builder from now on; without a name it is asked for',
    '?',
    function(client, buffer, call)
      choose_builder(client, buffer, call.args)
    end,
  },
  RbxCheck = {
    'rbx.check',
    'Look anew at this file, and at what is beside it',
    0,
    function(client, buffer)
      server.execute(client, buffer, 'rbx.check')
    end,
  },
  RbxBuildLog = { nil, 'Show what builds said', 0, log.show },
}

--- Makes the commands of a buffer that the server is attached to.
function M.attach(client, buffer)
  -- What is offered: completion cannot wait for the server.
  local platforms, targets, builders = {}, {}, {}
  local function learn()
    server.execute(client, buffer, 'rbx.platforms', nil, function(result)
      platforms = result and result.platforms or {}
    end)
    stages(client, buffer, function(names)
      targets = names
    end)
  end
  -- It takes a process to know the builders: not before it is wanted.
  local function learn_builders()
    server.execute(client, buffer, 'rbx.builders', nil, function(result)
      builders = vim.tbl_map(function(builder)
        return builder.name
      end, result and result.builders or {})
    end)
  end
  local function complete(again, words)
    return function(word)
      again()
      return vim.tbl_filter(function(offered)
        return vim.startswith(offered, word)
      end, words())
    end
  end
  local completions = {
    RbxBuild = complete(learn, function()
      return platforms
    end),
    RbxBuildStage = complete(learn, function()
      return targets
    end),
    RbxBuilder = complete(learn_builders, function()
      return builders
    end),
  }
  completions.RbxPlatforms = completions.RbxBuild
  for name, command in pairs(COMMANDS) do
    local needs, about, nargs, callback = command[1], command[2], command[3], command[4]
    if not needs or server.has(client, needs) then
      vim.api.nvim_buf_create_user_command(buffer, name, function(call)
        callback(client, buffer, call)
      end, { desc = about, nargs = nargs, complete = completions[name], bang = name == 'RbxPlatforms', force = true })
    end
  end
  learn()
end

return M
