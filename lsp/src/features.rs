//! What the server answers, each a function of a snapshot.

pub(crate) mod actions;
pub(crate) mod completion;
mod cursor;
pub(crate) mod diagnostics;
pub(crate) mod folding;
pub(crate) mod formatting;
pub(crate) mod hints;
pub(crate) mod hover;
mod known;
pub(crate) mod lenses;
pub(crate) mod links;
mod manual;
mod page;
pub(crate) mod places;
pub(crate) mod predefined;
pub(crate) mod rename;
pub(crate) mod selection;
mod signals;
pub(crate) mod signature;
pub(crate) mod symbols;
pub(crate) mod tokens;
pub(crate) mod workspace;

#[cfg(test)]
mod everywhere;
