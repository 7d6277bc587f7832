//! Where facts for rules come from: registries and what is remembered of their answers, the build context on this
//! machine, and what `shellcheck` says of scripts.
//!
//! [`Registries`] asks nobody unless it is given a client. [`context`] looks at the files that a Dockerfile names and
//! at no others.

mod cache;
mod context;
mod entries;
mod image;
mod registries;
mod shellcheck;

pub use context::{context, ignore_file};
pub use entries::{Entry, entries};
pub use image::{Image, Variant};
pub use registries::Registries;
pub use shellcheck::ShellCheck;
