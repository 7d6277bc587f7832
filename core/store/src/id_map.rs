//! The ids that trees can have: all of them for root, else those of the user namespace that they are made in.

use std::fmt;

use rbx_oci::{Entry, EntryKind};

/// How user and group ids of layers are those of files, as the kernel shows it in `uid_map` and `gid_map`: see
/// `user_namespaces(7)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// Ids that follow each other, inside and outside the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Every id as itself.
const WHOLE: Range = Range { inside: 0, outside: 0, count: u32::MAX };

impl IdMap {
    /// The map of the system's own user namespace: every id is itself.
    pub fn whole() -> Self {
        Self { users: vec![WHOLE], groups: vec![WHOLE] }
    }

    /// Reads what is in `/proc/self/uid_map` and `/proc/self/gid_map`. Lines that are none of three numbers count as
    /// not there.
    pub fn parse(uid_map: &str, gid_map: &str) -> Self {
        let ranges = |text: &str| {
            let range = |line: &str| {
                let mut numbers = line.split_whitespace().map(str::parse);
                let mut next = || numbers.next()?.ok();
                Some(Range { inside: next()?, outside: next()?, count: next()? })
            };
            text.lines().filter_map(range).collect()
        };
        Self { users: ranges(uid_map), groups: ranges(gid_map) }
    }

    /// Whether it is the map of the system's own user namespace, where root may make device nodes, too.
    pub fn is_whole(&self) -> bool {
        *self == Self::whole()
    }

    /// Whether a tree has something at the path of an entry: device nodes can be made by root alone.
    pub fn shows(&self, entry: &Entry) -> bool {
        self.is_whole() || !matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. })
    }

    /// Whether a tree shows an entry as it is.
    pub fn shows_whole(&self, entry: &Entry) -> bool {
        self.shows(entry) && self.has_user(entry.uid) && self.has_group(entry.gid)
    }

    /// Whether there is an id for a user.
    pub fn has_user(&self, id: u32) -> bool {
        has(&self.users, id)
    }

    /// Whether there is an id for a group.
    pub fn has_group(&self, id: u32) -> bool {
        has(&self.groups, id)
    }

    /// A user's id in trees: root's where there is none.
    pub fn user_or_root(&self, id: u32) -> u32 {
        if self.has_user(id) { id } else { 0 }
    }

    /// A group's id in trees: root's where there is none.
    pub fn group_or_root(&self, id: u32) -> u32 {
        if self.has_group(id) { id } else { 0 }
    }
}

fn has(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|range| id >= range.inside && id - range.inside < range.count)
}

/// As it is recorded: `inside:outside:count` for each range of users, the groups after a slash.
impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |ranges: &[Range]| {
            let words: Vec<String> = ranges
                .iter()
                .map(|range| format!("{}:{}:{}", range.inside, range.outside, range.count))
                .collect();
            words.join(" ")
        };
        write!(f, "{} / {}", shown(&self.users), shown(&self.groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "         0       1000          1\n         1     100000      65536\n";

    #[test]
    fn maps_are_read_and_shown() {
        let map = IdMap::parse(MAP, "0 100 1\nnonsense\n1 2\n");
        assert_eq!(map.to_string(), "0:1000:1 1:100000:65536 / 0:100:1");
        assert!(!map.is_whole());
        assert!(IdMap::parse("0 0 4294967295\n", "0 0 4294967295\n").is_whole());
        assert_eq!([0, 65536, 65537].map(|id| map.has_user(id)), [true, true, false]);
        assert_eq!([0, 1].map(|id| map.has_group(id)), [true, false]);
    }

    #[test]
    fn what_has_no_id_is_roots_in_trees() {
        let map = IdMap::parse(MAP, "0 100 1\n");
        let whole = |uid, gid| map.shows_whole(&Entry { uid, gid, ..Entry::new("file", EntryKind::Fifo) });
        assert!(whole(5, 0) && !whole(5, 5) && !whole(70_000, 0));
        assert_eq!([5, 65536, 65537].map(|id| map.user_or_root(id)), [5, 65536, 0]);
        assert_eq!(map.group_or_root(5), 0);
        let device = Entry::new("null", EntryKind::CharDevice { major: 1, minor: 3 });
        assert!(!map.shows(&device) && !map.shows_whole(&device));
        assert!(IdMap::whole().shows_whole(&device));
    }
}
