//! How programs are run.

use crate::{Architecture, Handler, Qemu};

/// How programs of a platform are run.
///
/// With [`Registration::Auto`](crate::Registration::Auto) it is the first of these that there is: the CPU; for root,
/// a handler of the host that has its interpreter open and keeps credentials (flags `F` and `C`); QEMU in the build's
/// own namespace; a handler of the host with `F` and without `C`, under which `sudo` and `ping` get no rights, or one
/// that cannot be seen. An ordinary user has the namespace before any handler of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// By the CPU, whose platform it is.
    Native,
    /// By the CPU, beside its own platform: `linux/386` on `linux/amd64`.
    Compatible,
    /// By a handler of the host, which needs nothing in the step's root. `None` if it works and cannot be seen: a
    /// container shares the host's handlers, and has no `binfmt_misc` mounted.
    Host(Option<Handler>),
    /// By a handler that the build registers in a namespace of its own.
    Namespace(Architecture, Emulator),
}

/// Where QEMU comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emulator {
    /// It is on this machine.
    Found(Qemu),
    /// It is in this image, at `/usr/bin/qemu-ARCH`.
    Image(String),
}
