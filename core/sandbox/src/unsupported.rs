//! The same names where there is no sandbox.

use std::convert::Infallible;
use std::path::Path;

use rbx_emulation::Qemu;

use crate::{Capabilities, Exit, Output, Rights, SandboxError, Step};

/// The first call of `main` in a program that runs steps. Nothing to do here.
pub fn enter() {}

/// Says that steps cannot run here.
pub fn become_root(_path: &str) -> Result<Rights, SandboxError> {
    Err(SandboxError::Unsupported)
}

/// Says that steps cannot run here.
pub fn probe(_directory: &Path) -> Result<Capabilities, SandboxError> {
    Err(SandboxError::Unsupported)
}

/// A helper process: there are none here.
#[derive(Debug)]
pub struct Helper(Infallible);

impl Helper {
    /// Says that steps cannot run here.
    pub fn start(_emulators: &[Qemu]) -> Result<Self, SandboxError> {
        Err(SandboxError::Unsupported)
    }

    /// Cannot be reached.
    pub fn run(&self, _step: &Step, _output: &Output) -> Result<Running, SandboxError> {
        match self.0 {}
    }
}

/// A step that was started: there are none here.
#[derive(Debug)]
pub struct Running(Infallible);

impl Running {
    /// Cannot be reached.
    pub fn wait(self) -> Result<Exit, SandboxError> {
        match self.0 {}
    }

    /// Cannot be reached.
    pub fn kill(&self) {
        match self.0 {}
    }

    /// Cannot be reached.
    pub fn killer(&self) -> Killer {
        match self.0 {}
    }
}

/// Kills a step: there are none here.
#[derive(Debug, Clone)]
pub struct Killer(Infallible);

impl Killer {
    /// Cannot be reached.
    pub fn kill(&self) {
        match self.0 {}
    }
}
