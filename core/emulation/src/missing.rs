//! Why a platform cannot be run here.

use rbx_platform::Platform;

/// What a platform lacks to be run on this machine.
///
/// It is displayed with the reason first; the remedy is for a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: this machine, which is {host}, cannot run {platform}")]
pub struct Missing {
    /// The platform.
    pub platform: Platform,
    /// That of the machine.
    pub host: Platform,
    /// Why nothing runs it.
    pub reason: String,
    /// What to do about it: a command, if one does.
    pub remedy: String,
}
