//! rbx-lsp
