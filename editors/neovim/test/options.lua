-- The options of the sessions.
local flags = vim.env.RBX_TEST_BASE and { '--build-context=base=' .. vim.env.RBX_TEST_BASE } or {}
vim.g.rbx = {
  cmd = vim.split(vim.env.RBX_TEST_SERVER, '\n', { plain = true, trimempty = true }),
  settings = { buildFlags = flags },
}
