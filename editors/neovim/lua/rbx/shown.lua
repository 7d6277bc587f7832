--- What is shown in the text of a buffer: lenses and hints.
local M = {}

local function ask(buffer)
  -- It is the current buffer that Neovim asks for up to 0.9.
  if vim.api.nvim_get_current_buf() == buffer then
    vim.lsp.codelens.refresh(vim.fn.has('nvim-0.10') == 1 and { bufnr = buffer } or nil)
  end
end

--- Has lenses asked for again where the server cannot say that they are to be.
function M.refresh(buffer)
  if vim.lsp.codelens.enable then
    return
  end
  ask(buffer)
  -- While an older request waits for its answer, Neovim passes over newer ones.
  vim.defer_fn(function()
    ask(buffer)
  end, 300)
end

local function show_lenses(buffer)
  if vim.lsp.codelens.enable then
    vim.lsp.codelens.enable(true, { bufnr = buffer })
    return
  end
  local group = vim.api.nvim_create_augroup('rbx.lenses.' .. buffer, { clear = true })
  vim.api.nvim_create_autocmd({ 'BufEnter', 'InsertLeave', 'TextChanged' }, {
    group = group,
    buffer = buffer,
    callback = function()
      M.refresh(buffer)
    end,
  })
  M.refresh(buffer)
end

--- Shows what the options say, as far as this Neovim can.
function M.attach(client, buffer, options)
  if options.lenses then
    show_lenses(buffer)
  end
  if options.hints and vim.lsp.inlay_hint and vim.fn.has('nvim-0.10') == 1 then
    vim.lsp.inlay_hint.enable(true, { bufnr = buffer })
  end
  if options.linked_editing and vim.lsp.linked_editing_range then
    vim.lsp.linked_editing_range.enable(true, { client_id = client.id })
  end
end

return M
