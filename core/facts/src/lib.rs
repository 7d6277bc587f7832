//! Where facts for rules come from: registries and what is remembered of their answers, and the build context on this
//! machine.
//!
//! [`Registries`] asks nobody unless it is given a client. [`context`] looks at the files that a Dockerfile names and
//! at no others.

mod cache;
mod context;
mod entries;
mod image;
mod registries;

pub use context::{context, ignore_file};
pub use entries::{Entry, entries};
pub use image::{Image, Variant};
pub use registries::Registries;
