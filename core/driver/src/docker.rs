//! The Docker Engine: where it is, images that are loaded into it, and containers that builders run in.

mod container;
mod contexts;
mod endpoint;
mod engine;

pub use container::ContainerState;
pub use contexts::{context_endpoint, context_names, current_context};
pub use endpoint::{Endpoint, EndpointChoice, TlsChoice, TlsFiles, parse_address, resolve_endpoint};
pub use engine::{Engine, EngineInfo, ImageInfo, LoadEvent};
