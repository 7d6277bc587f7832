//! What this machine can run: by its CPU, by a handler of the host, and by QEMU.
//!
//! [`Machine::inspect`] looks around, and [`Machine::means`] says for a platform how its programs are run, or what is
//! [`Missing`] and the command that mends it. Nothing is registered here and nothing is fetched: the sandbox registers
//! [`Handler`]s in a namespace of its own, and the engine fetches QEMU where the machine has none.
//!
//! Programs of another architecture are run through `binfmt_misc`, by which the kernel hands what it cannot run to an
//! interpreter: [`Handler`] is one entry of it, in the forms of `Documentation/admin-guide/binfmt-misc.rst`. Which
//! handler counts is told by what it would match ([`Architecture::headers`]), not by its name. What the machine runs is
//! tried rather than assumed: [`Architecture::program`] is a tiny program for each architecture, and [`trial`] runs it.
//!
//! Nothing here is dear: a question that costs something is answered when it is first asked, and a build whose steps
//! are all native asks none of them.

mod architecture;
mod cpu;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod handler;
mod kernel;
mod machine;
mod means;
mod missing;
mod program;
mod qemu;
mod settings;
pub mod trial;

pub use architecture::Architecture;
pub use handler::{Handler, ParseHandlerError, Pattern, handlers};
pub use kernel::Kernel;
pub use machine::Machine;
pub use means::{Emulator, Means};
pub use missing::Missing;
pub use qemu::{PassedOver, Qemu, Unusable};
pub use settings::{Registration, Settings};
