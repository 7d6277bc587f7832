//! rbx-store
