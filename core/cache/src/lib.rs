//! rbx-cache
