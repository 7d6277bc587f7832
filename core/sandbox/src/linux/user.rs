//! `USER` of a step: ids from the root's `/etc/passwd` and `/etc/group`, by the rules and in the words of BuildKit
//! (`executor/oci/user.go`, `moby/sys/user`).

use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use super::failure::{Failure, Result, Stage};
use super::resolve::open_inside;

/// As much of a file as is read; BuildKit refuses longer ones too.
const LONGEST: u64 = 10 << 20;

/// Who a command runs as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, `gid` first.
    pub(super) groups: Vec<u32>,
    /// The user's home directory, for `HOME`.
    pub(super) home: String,
}

/// The user of a step whose root is `root`.
pub(super) fn resolve(root: BorrowedFd<'_>, spec: &str) -> Result<Ids> {
    let passwd = read(root, "etc/passwd")?;
    let group = read(root, "etc/group")?;
    lookup(spec, &passwd, &group)
}

/// The content of a regular file inside the root; nothing if there is none. Bytes that are not UTF-8 are replaced:
/// they stand in fields that are not used, or make a name that nobody asks for.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let regular = |fd: &OwnedFd| {
        rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    // NONBLOCK: a FIFO must not hold the step up.
    let Some(file) =
        open_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok().filter(regular)
    else {
        return Ok(String::new());
    };
    let mut content = Vec::new();
    let read = std::fs::File::from(file).take(LONGEST + 1).read_to_end(&mut content);
    match read {
        Ok(length) if length as u64 > LONGEST => {
            Err(Failure::new(Stage::User, format!("\"/{path}\" exceeds {LONGEST} bytes")))
        }
        Ok(_) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(error) => Err(Failure::new(Stage::User, format!("reading /{path}: {error}"))),
    }
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a str,
    uid: i64,
    gid: i64,
    home: &'a str,
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: i64,
    members: &'a str,
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

/// A number that is not one counts as 0, as in Go's reader of these files.
fn number(fields: &[&str], index: usize) -> i64 {
    fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    lines(passwd).map(|fields| User {
        name: fields[0],
        uid: number(&fields, 2),
        gid: number(&fields, 3),
        home: fields.get(5).copied().unwrap_or_default(),
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    lines(group).map(|fields| Group {
        name: fields[0],
        gid: number(&fields, 2),
        members: fields.get(3).copied().unwrap_or_default(),
    })
}

fn lookup(spec: &str, passwd: &str, group: &str) -> Result<Ids> {
    if let Some((uid, gid)) = both_ids(spec) {
        return finish(uid, gid, Vec::new(), passwd);
    }
    // Without a user a step is root, and what the files say about root applies.
    let mut parts = if spec.is_empty() { "0" } else { spec }.split(':');
    let (user, group_name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let wanted_uid = numeric(user)?;
    let wanted_gid = numeric(group_name)?;

    let found = users(passwd).find(|entry| match wanted_uid {
        _ if user.is_empty() => entry.uid == 0,
        Some(uid) => entry.uid == i64::from(uid),
        None => entry.name == user,
    });
    let (uid, mut gid) = match (&found, wanted_uid) {
        (Some(entry), _) => (checked(entry.uid)?, checked(entry.gid)?),
        (None, Some(uid)) => (uid, 0),
        (None, None) if user.is_empty() => (0, 0),
        (None, None) => {
            let message = format!("unable to find user {user}: no matching entries in passwd file");
            return Err(Failure::new(Stage::User, message));
        }
    };

    let mut supplementary = Vec::new();
    if group_name.is_empty() {
        if let Some(entry) = found.filter(|entry| !entry.name.is_empty()) {
            for group in
                groups(group).filter(|group| group.members.split(',').any(|member| member == entry.name))
            {
                supplementary.push(checked(group.gid)?);
            }
        }
    } else {
        let found = groups(group).find(|entry| match wanted_gid {
            Some(gid) => entry.gid == i64::from(gid),
            None => entry.name == group_name,
        });
        gid = match (found, wanted_gid) {
            (Some(entry), _) => checked(entry.gid)?,
            (None, Some(gid)) => gid,
            (None, None) => {
                let message = format!("unable to find group {group_name}: no matching entries in group file");
                return Err(Failure::new(Stage::User, message));
            }
        };
    }
    finish(uid, gid, supplementary, passwd)
}

fn finish(uid: u32, gid: u32, mut groups: Vec<u32>, passwd: &str) -> Result<Ids> {
    // The kernel reads this as "leave it as it is": the command would run as root.
    if uid == u32::MAX || gid == u32::MAX {
        return Err(out_of_range());
    }
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    let home = users(passwd).find(|entry| entry.uid == i64::from(uid)).map_or("", |entry| entry.home);
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    Ok(Ids { uid, gid, groups, home })
}

/// `uid:gid`, which needs no files. Here, and only here, `root` is a number too.
fn both_ids(spec: &str) -> Option<(u32, u32)> {
    let id = |text: &str| match text {
        "root" => Some(0),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let (user, group) = spec.split_once(':')?;
    Some((id(user)?, id(group)?))
}

/// An id if `text` is a number, and an error if it is none that can be an id.
fn numeric(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    checked(text.parse().unwrap_or(i64::MAX)).map(Some)
}

fn checked(id: i64) -> Result<u32> {
    i32::try_from(id).ok().and_then(|id| u32::try_from(id).ok()).ok_or_else(out_of_range)
}

fn out_of_range() -> Failure {
    Failure::new(Stage::User, "uids and gids must be in range 0-2147483647")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "# users\nroot:x:0:0:root:/root:/bin/sh\n\nbob:x:1000:100::/home/bob:/bin/sh\n\
                          odd:x:nan:5::\nbob:x:2000:2000::/second:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:root,bob\naudio:x:29:bob\n";

    type Found = std::result::Result<(u32, u32, Vec<u32>, String), String>;

    fn ids(spec: &str) -> Found {
        lookup(spec, PASSWD, GROUP)
            .map(|ids| (ids.uid, ids.gid, ids.groups, ids.home))
            .map_err(|failure| failure.message)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with what may be an error")]
    fn found(uid: u32, gid: u32, groups: &[u32], home: &str) -> Found {
        Ok((uid, gid, groups.to_vec(), home.to_owned()))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids(""), found(0, 0, &[0, 10], "/root"));
        assert_eq!(ids("root"), found(0, 0, &[0, 10], "/root"));
        assert_eq!(ids("bob"), found(1000, 100, &[100, 10, 29], "/home/bob"));
        assert_eq!(ids("1000"), found(1000, 100, &[100, 10, 29], "/home/bob"));
        assert_eq!(ids("1234"), found(1234, 0, &[0], "/"));
        assert_eq!(ids("odd"), found(0, 5, &[5], "/root"));
    }

    #[test]
    fn a_group_ends_the_supplementary_ones() {
        assert_eq!(ids("bob:wheel"), found(1000, 10, &[10], "/home/bob"));
        assert_eq!(ids("bob:7"), found(1000, 7, &[7], "/home/bob"));
        assert_eq!(ids("1000:29"), found(1000, 29, &[29], "/home/bob"));
        assert_eq!(ids("root:root"), found(0, 0, &[0], "/root"));
        assert_eq!(ids(":wheel"), found(0, 10, &[10], "/root"));
        assert_eq!(ids("bob:"), found(1000, 100, &[100, 10, 29], "/home/bob"));
        assert_eq!(ids("1000:wheel:x"), found(1000, 10, &[10], "/home/bob"));
    }

    #[test]
    fn unknown_names_are_errors() {
        assert_eq!(ids("eve"), Err("unable to find user eve: no matching entries in passwd file".into()));
        assert_eq!(ids("bob:eve"), Err("unable to find group eve: no matching entries in group file".into()));
    }

    #[test]
    fn ids_have_a_range() {
        let range = Err("uids and gids must be in range 0-2147483647".to_owned());
        for spec in ["-1", "2147483648", "99999999999999999999", "0:-1", "4294967295:0", "0:4294967295"] {
            assert_eq!(ids(spec), range, "{spec}");
        }
        assert_eq!(ids("4294967294:0").map(|ids| ids.0), Ok(4_294_967_294));
    }

    #[test]
    fn empty_files_know_root_only() {
        let lookup = |spec| lookup(spec, "", "").map(|ids| (ids.uid, ids.gid));
        assert_eq!(lookup("").ok(), Some((0, 0)));
        assert_eq!(lookup("5").ok(), Some((5, 0)));
        assert!(lookup("root").is_err());
    }
}
