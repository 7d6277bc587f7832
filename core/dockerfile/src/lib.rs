//! rbx-dockerfile
