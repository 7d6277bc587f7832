//! Drivers: the places where images are built and where they go.

mod error;
mod kind;

pub mod docker;

pub use error::DriverError;
pub use kind::DriverKind;
pub use rbx_request::Features;
