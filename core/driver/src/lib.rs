//! Drivers: the places where images are built and where they go.
//!
//! A [`Driver`] is one node of a builder. [`open`] makes it from the node's settings, and connects to nothing yet. What a
//! driver can do are [`Features`], which are known before anything is built.

mod connection;
mod container;
mod driver;
mod error;
mod kind;

pub mod docker;

pub use connection::Connect;
pub use container::Surroundings;
pub use driver::{Driver, NodeSettings, Status, open};
pub use error::DriverError;
pub use kind::DriverKind;
pub use rbx_request::Features;
