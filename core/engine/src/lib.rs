//! rbx-engine
