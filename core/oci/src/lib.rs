//! Image formats: references, digests, manifests, configurations, layer archives, compression and OCI layouts.

mod digest;
mod entry;
mod reference;

pub use digest::{Digest, DigestError, Sha256Reader, Sha256Writer, VerifiedReader};
pub use entry::{Entry, EntryKind};
pub use reference::{Reference, ReferenceError};
