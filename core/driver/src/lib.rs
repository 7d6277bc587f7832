//! Drivers: the places where images are built and where they go.

mod error;

pub mod docker;

pub use error::DriverError;
