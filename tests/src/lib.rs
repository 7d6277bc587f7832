//! rbx-tests
