//! rbx-registry
