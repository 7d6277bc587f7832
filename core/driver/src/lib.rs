//! Drivers: the places where images are built and where they go.
//!
//! A [`Driver`] is one node of a builder. [`open`] makes it from the node's settings, and connects to nothing yet. What a
//! driver can do are [`Features`], which are known before anything is built.

mod buildkit;
mod connection;
mod container;
mod driver;
mod error;
mod kind;
mod progress;
mod remote;

pub mod docker;

pub use buildkit::Details;
pub use connection::Connect;
pub use container::{Surroundings, container_name};
pub use driver::{Driver, NodeSettings, Status, check, open};
pub use error::DriverError;
pub use kind::DriverKind;
pub use rbx_buildkit::{Device, GcPolicy, Io};
pub use rbx_request::Features;
