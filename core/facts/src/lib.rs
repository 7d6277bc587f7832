//! Where facts for rules come from: registries and what is remembered of their answers, the build context on this
//! machine, what this machine runs.
//!
//! [`Registries`] asks nobody unless it is given a client. [`context`] looks at the files that a Dockerfile names and
//! at no others.

mod builder;
mod cache;
mod context;
mod entries;
mod image;
mod registries;

pub use builder::this_machine;
pub use context::{context, ignore_file};
pub use entries::{Entry, entries};
pub use image::{Image, Variant};
pub use registries::Registries;
