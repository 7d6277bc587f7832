//! Tests on real parts.
//!
//! A container registry, Docker Engine with its BuildKit and buildx run on the test machine ([`Parts`], [`Engine`],
//! [`Registry`]), and what docker-rbx builds is compared with what they build, file by file ([`corpus`], [`compare`]); the language
//! itself is compared on many small Dockerfiles ([`language`]).
//!
//! Nothing here returns errors: a missing part or a daemon that does not start is a failed test, and the message says
//! what to do.

pub mod binfmt;
pub mod builders;
mod buildkit_socket;
mod checks;
mod command;
pub mod compare;
pub mod corpus;
mod daemon;
pub mod dind;
mod engine;
mod hub;
mod image;
mod images;
pub mod inside;
pub mod language;
mod parts;
mod pipe;
mod registry;
mod relay;
mod server;
pub mod stress;
pub mod table;
mod terminal;
mod tls;
mod token;
mod user;

pub use command::{embedded, rbx, rbx_as, rbx_program};
pub use engine::{Engine, Store};
pub use image::{Entry, Image, Kind, Layer, read_root};
pub use images::DEBIAN_ARCHITECTURES;
pub use parts::Parts;
pub use pipe::Pipe;
pub use registry::{PASSWORD, Registry, RegistryOptions, USER};
pub use relay::{Fault, Relay};
pub use server::Server;
pub use terminal::{Terminal, interrupt};
pub use token::TokenServer;
pub use user::User;
