//! The kernel, and what this process is to it.

use std::fmt;

/// A version of Linux, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Kernel {
    /// The first whose user namespaces can have a `binfmt_misc` of their own.
    pub const NAMESPACES: Self = Self { major: 6, minor: 7 };

    /// Reads a release such as `6.1.0-18-amd64`. One that says nothing is older than all.
    pub(crate) fn parse(release: &str) -> Self {
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Whether this process is root and all ids are what they are on the host.
pub(crate) fn is_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    // Elsewhere there is no such file, and no such namespace.
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return true };
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels_are_read() {
        for (release, major, minor) in
            [("6.18.44-fc-v657", 6, 18), ("5.15", 5, 15), ("6.1.0-18-amd64", 6, 1), ("x", 0, 0), ("", 0, 0)]
        {
            assert_eq!(Kernel::parse(release), Kernel { major, minor }, "{release}");
        }
        assert!(
            Kernel::parse("6.7-rc1") >= Kernel::NAMESPACES && Kernel::parse("6.6.99") < Kernel::NAMESPACES
        );
    }
}
