//! Owners by name: `--chown=user:group` and the `USER` of a `WORKDIR`, looked up in the image's own files.

use std::io::Read;

use crate::error::BuildError;

/// Bytes of `/etc/passwd` and `/etc/group` that are read.
const FILE_LIMIT: u64 = 10 << 20;

/// Resolves `user`, `user:group`, `uid` or `uid:gid`. As in BuildKit a lone number is the group's as well, and a
/// name that nobody has is 0. `open` reads a file of the image; `None` where there is none.
pub(crate) fn resolve<R: Read>(
    owner: &str,
    open: impl Fn(&str) -> Result<Option<R>, BuildError>,
) -> Result<(u32, u32), BuildError> {
    let (user, group) = match owner.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (owner, None),
    };
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => find(&open, "etc/passwd", user, 2)?.map_or((0, 0), |fields| (fields[0], fields[1])),
    };
    let gid = match group {
        None | Some("") => own_group,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => find(&open, "etc/group", group, 1)?.map_or(own_group, |fields| fields[0]),
        },
    };
    Ok((uid, gid))
}

/// Finds a name in a file of the form of `/etc/passwd`, and the numbers from the third field on.
fn find<R: Read>(
    open: impl Fn(&str) -> Result<Option<R>, BuildError>,
    path: &str,
    name: &str,
    numbers: usize,
) -> Result<Option<Vec<u32>>, BuildError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| BuildError::invalid(format!("{error}: failed to read /{path}")))?;
    let text = String::from_utf8_lossy(&bytes);
    for line in text.lines() {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            continue;
        }
        let found: Vec<u32> =
            fields.skip(1).take(numbers).map_while(|field| field.trim().parse().ok()).collect();
        if found.len() == numbers {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(text: &str) -> (u32, u32) {
        resolve(text, |path| {
            Ok(Some(match path {
                "etc/passwd" => &b"root:x:0:0::/:/bin/sh\nbroken:x:y\nbob:x:1000:1001::/home:/bin/sh\n"[..],
                _ => &b"root:x:0:\nstaff:x:50:bob\n"[..],
            }))
        })
        .unwrap()
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(owner("bob"), (1000, 1001));
        assert_eq!(owner("bob:staff"), (1000, 50));
        assert_eq!(owner("7"), (7, 7));
        assert_eq!(owner("7:8"), (7, 8));
        assert_eq!(owner("7:staff"), (7, 50));
        assert_eq!(owner("nobody-here"), (0, 0));
        assert_eq!(owner("broken"), (0, 0));
    }
}
