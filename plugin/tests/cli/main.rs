//! The program as its users run it: alone, and as a plugin of the real docker CLI beside the real buildx.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod bad_input;
mod builders;
mod builds;
mod check;
mod dry_run;
mod engine;
mod hostile;
mod interrupts;
mod storage;
mod usage;
mod world;
