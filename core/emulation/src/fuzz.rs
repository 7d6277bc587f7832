//! The look at a program that may be QEMU, without a file: for the fuzz targets only.

use std::io::Cursor;

use crate::Architecture;
use crate::qemu::{self, Unusable};

/// Whether these bytes, as a program of an architecture, name no dynamic linker.
pub fn is_static(program: &[u8], architecture: Architecture) -> Result<bool, Unusable> {
    qemu::is_static(&mut Cursor::new(program), Some(architecture))
}
