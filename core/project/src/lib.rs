//! What the project around a Dockerfile says of it: for which platforms it is built, and how it is checked.
//!
//! [`Platforms::of`] asks everybody who may know, in order: whoever checks or edits it, a comment in the file, the
//! configuration, the GitHub workflow that builds it ([`Projects`]), the default of builds. Files are read below the
//! roots of repositories that were handed in, and whatever is in them is hostile: they are bounded, and what is not
//! understood says nothing. What is wrong with a file of settings ([`Configs`]) is an error: somebody wrote it for this.

mod command;
mod configs;
mod dockerfiles;
mod expression;
mod matrix;
mod platforms;
mod projects;
mod workflow;

pub use configs::Configs;
pub use dockerfiles::{dockerfiles, is_dockerfile};
pub use platforms::{Platforms, Said, Source};
pub use projects::Projects;
