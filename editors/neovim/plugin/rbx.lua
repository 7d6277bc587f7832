-- Starts the server with the options in `vim.g.rbx`. `vim.g.rbx = false` leaves it to a call of
-- `require('rbx').setup`.
if vim.g.loaded_rbx then
  return
end
vim.g.loaded_rbx = true

if vim.g.rbx ~= false then
  require('rbx').setup(vim.g.rbx)
end
