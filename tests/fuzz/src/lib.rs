//! Fuzz targets: for everything that reads bytes from outside, a function that hands it arbitrary ones and panics
//! where a promise is broken.
//!
//! [`TARGETS`] lists them. The tests of this crate run each over its seeds (`seeds/<name>/`) and mutations of them;
//! `cargo xtask fuzz NAME` lets libFuzzer look for inputs.
#![expect(clippy::unwrap_used, reason = "what fails here is a finding, or a fault of the target itself")]

mod archives;
mod builders;
mod bytes;
mod daemons;
mod dockerfile;
mod documents;
mod editor;
mod emulation;
mod expansion;
mod format;
mod ignore;
mod layers;
mod lint;
mod requests;
mod store;
mod transfers;

/// What a target is: it takes any bytes, and panics where they break a promise.
pub type Target = fn(&[u8]);

/// The targets, by name.
pub const TARGETS: [(&str, Target); 15] = [
    ("parser", dockerfile::run),
    ("expansion", expansion::run),
    ("format", format::run),
    ("ignore", ignore::run),
    ("archives", archives::run),
    ("layers", layers::run),
    ("lint", lint::run),
    ("documents", documents::run),
    ("editor", editor::run),
    ("emulation", emulation::run),
    ("builders", builders::run),
    ("daemons", daemons::run),
    ("requests", requests::run),
    ("store", store::run),
    ("transfers", transfers::run),
];

/// Runs the target of that name on one input.
///
/// # Panics
///
/// Where the input breaks a promise; or if there is no such target.
pub fn run(target: &str, data: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of TARGETS");
    body(data);
}

/// A directory in memory where there is one: targets that write files are faster there.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
