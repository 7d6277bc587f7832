//! Image formats.

/// placeholder
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference;
