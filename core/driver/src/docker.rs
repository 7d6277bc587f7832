//! The Docker Engine: where it is, and images that are loaded into it.

mod endpoint;
mod engine;

pub use endpoint::{Endpoint, EndpointChoice, TlsChoice, TlsFiles, resolve_endpoint};
pub use engine::{Engine, EngineInfo, ImageInfo, LoadEvent};
