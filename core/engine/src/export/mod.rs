//! From layers to what was asked for: images, archives, files.

mod archive;
mod cancellable;
mod files;
mod image;
mod options;
mod outputs;
mod placement;
mod push;
mod rewrite;
mod written;

pub(crate) use archive::write_archive;
pub use image::BuiltImage;
pub(crate) use options::{ImageOptions, boolean, is_annotation, platform_split};
pub(crate) use outputs::Export;
pub(crate) use placement::Placement;
