//! rbx-sandbox
