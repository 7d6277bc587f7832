//! Renderers of a build's event stream.
//!
//! [`display`] folds the [`Event`](rbx_request::Event)s of a build into what people or programs read (a live
//! picture on a terminal, numbered lines, one JSON object per line, or nothing) and returns a [`Summary`] of
//! what went wrong. The shapes are those of BuildKit's progress display, which users and their scripts know.
//!
//! Inside, the model of the build (`state`) knows no renderer, and each renderer is a pure function of it.

mod display;
mod log;
mod options;
mod plain;
mod source;
mod state;
mod summary;
mod text;
mod tty;

pub use display::display;
pub use options::{Colors, InvalidMode, Mode, Options};
pub use source::snippet;
pub use summary::{FailedVertex, Summary};
pub use text::clean;
