//! What the project around a Dockerfile says of it: for which platforms it is built.
//!
//! [`Platforms::of`] asks everybody who may know, in order: whoever checks or edits it, a comment in the file, the
//! configuration, the GitHub workflow that builds it ([`Projects`]), the default of builds. Files are read below the
//! roots of repositories that were handed in, and whatever is in them is hostile: they are bounded, and what is not
//! understood says nothing.

mod command;
mod expression;
mod matrix;
mod platforms;
mod projects;
mod workflow;

pub use platforms::{Platforms, Said, Source};
pub use projects::Projects;
