//! A user namespace with the same ids as the one around it.

use std::fs;
use std::io;

use rustix::process::Pid;

/// Maps every id of this process's user namespace onto itself in that of `process`, a child namespace without a map.
/// It needs the rights of root in this one. Whether groups may be dropped is inherited.
pub(super) fn map(process: Pid) -> io::Result<()> {
    for file in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(format!("/proc/self/{file}"))?;
        // The kernel takes a map in one call only, which this is.
        fs::write(format!("/proc/{}/{file}", process.as_raw_nonzero()), identity(&own))?;
    }
    Ok(())
}

/// The map of the ids that `map` has, seen from inside. Line by line: a range of a map has to lie in one of the map
/// above.
fn identity(map: &str) -> String {
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace();
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(format!("{first} {first} {count}\n"))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_as_they_are_seen_inside() {
        assert_eq!(identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        let ranges = "         0       4242          1\n         1    1000000      65536\n";
        assert_eq!(identity(ranges), "0 0 1\n1 1 65536\n");
        assert_eq!(identity(""), "");
    }
}
