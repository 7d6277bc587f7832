//! rbx-progress
