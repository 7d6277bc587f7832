//! rbx-driver
