//! Layers: how their bytes are cut, compressed, read back and laid out as files.

mod bomb;
mod content;
mod describe;
mod difference;
mod files;
mod hashes;
mod lay_out;
mod materialise;
mod origin;
mod pack;
mod pipeline;
mod scan;
mod settle;
mod unpack;

pub(crate) use content::{file_digest, hash_chunks, remember_chunks};
pub(crate) use describe::{LayerBlob, PULLED, describe, note};
pub(crate) use lay_out::lay_out;
pub(crate) use materialise::{directories, is_laid_out, lower_directories};
pub(crate) use origin::{Origin, Source, open_beneath};
pub(crate) use pack::{Item, Packed, Packing, pack};
pub(crate) use scan::scan_upper;
pub(crate) use unpack::{Unpacked, is_archive, unpack};
