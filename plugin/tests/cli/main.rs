//! The program as its users run it: alone, and as a plugin of the real docker CLI beside the real buildx.

mod builds;
mod engine;
mod interrupts;
mod usage;
mod world;
