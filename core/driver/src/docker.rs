//! The Docker Engine: where it is, the `BuildKit` in it, images that are loaded into it, and containers that builders
//! run in.

mod container;
mod contexts;
mod driver;
mod endpoint;
mod engine;
mod push;
mod transport;
mod upgrade;

pub use container::ContainerState;
pub use contexts::{context_endpoint, context_names, current_context};
pub use driver::DockerDriver;
pub use endpoint::{Endpoint, EndpointChoice, TlsChoice, TlsFiles, parse_address, resolve_endpoint};
pub(crate) use engine::LOAD_TIME;
pub use engine::{Engine, EngineInfo, ImageInfo, LoadEvent};
pub(crate) use push::login;
pub use upgrade::EngineDial;
pub(crate) use upgrade::switch;
