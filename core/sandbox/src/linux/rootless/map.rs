//! Maps of ids: what a user was given, and how it is mapped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::refusal;
use super::user::User;
use crate::SandboxError;

/// The most ranges that are mapped: the kernel takes 340 lines, and newuidmap as many.
const MOST_RANGES: usize = 339;

/// Ids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// The ids that a user was given beside their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) users: Vec<Range>,
    pub(super) groups: Vec<Range>,
}

impl Ranges {
    /// Those of `user` by `subuid` and `subgid` in `etc`; `None` where there are none. See subuid(5).
    pub(super) fn read(etc: &Path, user: &User) -> Result<Option<Self>, SandboxError> {
        let of = |file: &str| {
            let text = fs::read_to_string(etc.join(file)).unwrap_or_default();
            let ranges: Vec<Range> =
                parse(&text).filter(|(owner, _)| is(user, owner)).map(|(_, range)| range).collect();
            ranges
        };
        let (users, groups) = (of("subuid"), of("subgid"));
        for (file, ranges, own) in [("subuid", &users, user.uid), ("subgid", &groups, user.gid)] {
            check(ranges, own).map_err(|reason| refusal::bad_ranges(file, &reason, user))?;
        }
        match (users.is_empty(), groups.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(Self { users, groups })),
            (true, false) => Err(refusal::bad_ranges("subuid", "none, though /etc/subgid has some", user)),
            (false, true) => Err(refusal::bad_ranges("subgid", "none, though /etc/subuid has some", user)),
        }
    }
}

fn is(user: &User, owner: &str) -> bool {
    user.name.as_deref() == Some(owner) || owner.parse() == Ok(user.uid)
}

/// The entries of a file like `/etc/subuid`: `owner:start:count`, a line each. Others are passed over, as newuidmap
/// does.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (&str, Range)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
        let range = Range { start: start.parse().ok()?, count: count.parse().ok()? };
        (fields.next().is_none() && !owner.is_empty() && range.count > 0).then_some((owner, range))
    })
}

/// Whether the kernel takes these ranges beside the id `own`.
fn check(ranges: &[Range], own: u32) -> Result<(), String> {
    if ranges.len() > MOST_RANGES {
        return Err(format!("{} ranges, where {MOST_RANGES} can be mapped", ranges.len()));
    }
    let shown = |range: &Range| format!("{}:{}", range.start, range.count);
    let mut taken = vec![Range { start: own, count: 1 }];
    for range in ranges {
        // The last id is no id: system calls take it for "leave it as it is".
        let Some(end) = range.start.checked_add(range.count) else {
            return Err(format!("the range {} goes past the last id", shown(range)));
        };
        let overlapping =
            taken.iter().find(|other| range.start < other.start + other.count && other.start < end);
        match overlapping {
            Some(other) if other.count == 1 && other.start == own => {
                return Err(format!("the range {} holds the user's own id {own}", shown(range)));
            }
            Some(other) => {
                return Err(format!("the ranges {} and {} overlap", shown(other), shown(range)));
            }
            None => taken.push(*range),
        }
    }
    Ok(())
}

/// A map as newuidmap takes it: groups of first id inside, first id outside, and count.
pub(super) struct Mapping(Vec<String>);

impl Mapping {
    /// Root is `own`, and the ids from 1 on are those of `ranges`, one after the other.
    pub(super) fn new(own: u32, ranges: &[Range]) -> Self {
        let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
        let mut next = 1_u32;
        for range in ranges {
            // What lies past the last id cannot be named in the namespace.
            let count = range.count.min(u32::MAX - next);
            if count > 0 {
                words.extend([next, range.start, count].map(|number| number.to_string()));
            }
            next += count;
        }
        Self(words)
    }
}

/// Has the maps of user and group ids of `process` written, each by its program. What went wrong is told in the
/// program's own words.
pub(super) fn write_maps(process: i32, programs: &[PathBuf; 2], maps: &[Mapping; 2]) -> Result<(), String> {
    let start = |(program, map): (&PathBuf, &Mapping)| {
        Command::new(program)
            .arg(process.to_string())
            .args(&map.0)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{error}: {}", program.display()))
    };
    // Both at once: each takes a millisecond.
    let started: Vec<_> = programs.iter().zip(maps).map(start).collect();
    for (program, child) in programs.iter().zip(started) {
        let output = child?.wait_with_output().map_err(|error| format!("{error}: {}", program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let said = if said.is_empty() { output.status.to_string() } else { said };
            return Err(format!("{said} ({})", program.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> User {
        User { uid: 1000, gid: 1000, name: Some("bob".to_owned()) }
    }

    fn range(start: u32, count: u32) -> Range {
        Range { start, count }
    }

    fn read(subuid: &str, subgid: &str) -> Result<Option<Ranges>, String> {
        let etc = tempfile::tempdir().expect("a directory");
        fs::write(etc.path().join("subuid"), subuid).expect("a file");
        fs::write(etc.path().join("subgid"), subgid).expect("a file");
        Ranges::read(etc.path(), &bob()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_users_ranges_go_by_name_and_by_number() {
        let subuid =
            "# no one\neve:100000:65536\nbob:200000:1000\n\nbob:x:5\nbob:1:2:3\n1000:300000:10\nbob:9:0\n";
        assert_eq!(
            read(subuid, "bob:200000:5"),
            Ok(Some(Ranges {
                users: vec![range(200_000, 1000), range(300_000, 10)],
                groups: vec![range(200_000, 5)]
            }))
        );
        assert_eq!(read("eve:1:1", ""), Ok(None));
    }

    #[test]
    fn ranges_that_cannot_be_mapped_are_refused() {
        for (subuid, subgid, words) in [
            ("bob:100000:65536", "", "/etc/subgid"),
            ("", "bob:100000:65536", "/etc/subuid"),
            ("bob:999:2", "bob:5:5", "the range 999:2 holds the user's own id 1000"),
            ("bob:5:5", "bob:4294967295:1", "the range 4294967295:1 goes past the last id"),
            ("bob:50:50\nbob:99:2", "bob:5:5", "the ranges 50:50 and 99:2 overlap"),
        ] {
            let error = read(subuid, subgid).expect_err(subuid);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn ranges_follow_each_other_in_the_namespace() {
        let map = Mapping::new(1000, &[range(100_000, 65536), range(500_000, 10)]);
        assert_eq!(map.0.join(" "), "0 1000 1 1 100000 65536 65537 500000 10");
        let map = Mapping::new(1000, &[range(2000, u32::MAX - 2000), range(1001, 9)]);
        assert_eq!(map.0.join(" "), "0 1000 1 1 2000 4294965295 4294965296 1001 9");
    }
}
