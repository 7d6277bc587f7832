-- What sessions have in common: a check, and how they end.

local M = {}

--- Ends the session unless `condition` holds, saying what was expected and what was seen.
function M.check(condition, what, seen)
  if not condition then
    error(what .. '\nseen: ' .. vim.inspect(seen), 0)
  end
end

--- Runs a session, and ends Neovim with a code of 1 if it fails.
function M.run(session)
  local ok, reason = pcall(session)
  if ok then
    local version = vim.version()
    io.stderr:write(('ok: Neovim %d.%d.%d\n'):format(version.major, version.minor, version.patch))
    vim.cmd('qall!')
  else
    io.stderr:write(tostring(reason) .. '\n')
    vim.cmd('cquit 1')
  end
end

return M
