//! Builders: places to build, as buildx keeps them on disk.
//!
//! A builder is a name, a driver and its nodes. There are those that were created, in buildx's own files and under
//! its lock ([`State`]); one for each context of docker; and [`EMBEDDED`], which always is. [`choose`] finds the one
//! that is meant, [`load`] asks its nodes how they are.

mod builds;
mod choose;
mod create;
mod daemon;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod group;
mod load;
mod name;
mod options;
mod resolve;
mod settings;
mod state;

pub use builds::{BuildState, new_build_id};
pub use choose::{Builder, Chosen, Kind, Why, builder, builders, choose, endpoint_key};
pub use create::{Created, Creation, create, leave};
pub use error::BuilderError;
pub use group::{Node, NodeGroup};
pub use load::{Embedded, Loaded, LoadedNode, load, remove_node, stop_node};
pub use name::validate_name;
pub use resolve::{Assignment, resolve, resolve_fixed};
pub use state::{Change, Scope, State};

/// The builder that is this program's own engine. It needs no creating.
pub const EMBEDDED: &str = "embedded";
/// The name of the endpoint that is no context of docker.
const DEFAULT_CONTEXT: &str = "default";
