//! The embedded engine: plan → solve → export, with no daemon.
//!
//! A [`BuildRequest`](rbx_request::BuildRequest) becomes a plan of vertices, shared where platforms agree; every
//! vertex is looked up in the cache or done, as many at once as hang together; layers go straight from the store to
//! what was asked for.

mod agent;
mod build;
mod cdi;
mod checks;
mod config;
mod context;
mod draft;
mod emulation;
mod engine;
mod entitlements;
mod error;
mod export;
mod features;
mod fetch;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod image;
mod layer;
mod limits;
mod main_context;
mod mode;
mod named_context;
mod outlines;
mod owner;
mod plan;
mod planner;
mod probe;
mod progress;
mod resolv_conf;
mod rights;
mod select;
mod solve;
mod source;
mod steps;
mod storage;
mod targets;
mod tree;

pub use engine::{Config, Engine, Outcome, Steps};
pub use error::{BuildError, LayerError};
pub use export::BuiltImage;
pub use probe::{Probe, ProbedStep, Runner, StepKind, StepState};
pub use rbx_store::{BuiltImages, Collected, Limits, Policy, Space, UsageRecord, UsageType};
pub use steps::LogLimits;
pub use storage::Storage;
