//! What the server answers, each a function of a snapshot.

pub(crate) mod actions;
pub(crate) mod diagnostics;
pub(crate) mod hover;
pub(crate) mod lenses;
mod manual;
mod page;
pub(crate) mod predefined;
pub(crate) mod symbols;
