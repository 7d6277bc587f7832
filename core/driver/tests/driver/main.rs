//! Drivers on real parts.

#![expect(clippy::unwrap_used, reason = "all of it is tests; clippy knows only functions marked as such")]

mod connections;
mod container;
mod docker;
mod dockerd;
mod remote;
