//! The parsers of this crate, without files: for the fuzz targets only.

use rbx_driver::DriverKind;

use crate::group::NodeGroup;
use crate::{daemon, options};

/// Reads a builder's file.
pub fn group(text: &[u8]) -> Option<NodeGroup> {
    NodeGroup::parse(text).ok()
}

/// Writes a builder's file.
pub fn written(group: &NodeGroup) -> Vec<u8> {
    group.to_json()
}

/// Reads `--driver-opt` and `--buildkitd-flags`; answers the daemon's flags.
pub fn flags(driver_opt: &str, flags: &str) -> Option<Vec<String>> {
    let options = options::parse(&[driver_opt.to_owned()]).ok()?;
    daemon::flags(flags, DriverKind::DockerContainer, options.as_ref(), None).ok()?
}

/// Checks the nodes of a builder against what a driver takes.
pub fn check(driver: DriverKind, group: &NodeGroup) -> bool {
    group.nodes.iter().all(|node| options::check(driver, node).is_ok())
}
