//! Image formats: references, digests, manifests, configurations, layer archives, compression and OCI layouts.

mod compress;
mod config;
mod descriptor;
mod digest;
mod entry;
mod json;
mod manifest;
mod reference;

pub mod layout;
pub mod media_type;
pub mod tar;

pub use compress::{
    Compression, MEMBER_LIMIT, MemberCompressor, UnknownCompression, decompress, decompress_member,
};
pub use config::{Healthcheck, History, ImageConfig, RunConfig};
pub use descriptor::{ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, DescriptorPlatform};
pub use digest::{Digest, DigestError, Sha256Reader, Sha256Writer, VerifiedReader};
pub use entry::{Entry, EntryKind};
pub use json::{DOCUMENT_LIMIT, DocumentError};
pub use manifest::{Document, Index, Manifest};
pub use reference::{Reference, ReferenceError};
