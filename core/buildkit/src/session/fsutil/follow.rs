//! Paths that are wanted, and where the links on them lead.

use std::collections::BTreeSet;

use rbx_dockerfile::go_match;
use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;

use super::root::{Root, go_error, join, split};

/// Paths that links may add, at most.
const MAX_FOUND: usize = 100_000;

/// Follows links on the way to each path (whose last names may have wildcards) and at its end, all inside the root.
/// Answers patterns of what has to be sent so that all of them can be read there: the paths, the links, and what
/// they point to. `None`: everything. The rules are fsutil's, so that daemons ask for the same and get the same.
pub(super) fn follow(root: &Root, paths: &[String]) -> Result<Option<Vec<String>>, String> {
    let mut found: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut waiting: Vec<Vec<u8>> = paths.iter().rev().map(|path| path.as_bytes().to_vec()).collect();
    while let Some(path) = waiting.pop() {
        let names = clean(&path);
        let mut current = Vec::new();
        for (index, name) in names.iter().enumerate() {
            current = join(&current, name);
            let targets = links(root, &current)?;
            let rest = &names[index + 1..];
            if rest.is_empty() || targets.is_some() {
                if !found.insert(current.clone()) {
                    break;
                }
                if found.len() + waiting.len() > MAX_FOUND {
                    return Err("too many links in followed paths".to_owned());
                }
            }
            if let Some(targets) = targets {
                waiting.extend(targets.into_iter().rev().map(|target| join(&target, &rest.join(&b'/'))));
                break;
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
    }
    let found = found.into_iter().map(|path| String::from_utf8_lossy(&path).into_owned());
    Ok(without_nested(found.collect()))
}

/// Leaves out what lies below the path before it. `None` if one of them is the root, below which everything is.
pub(super) fn without_nested(paths: Vec<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if path == "." {
            return None;
        }
        let nested =
            |last: &String| path.strip_prefix(last.as_str()).is_some_and(|rest| rest.starts_with('/'));
        // As fsutil, where an absolute path lies below the beginning of the list.
        if !kept.last().map_or(path.starts_with('/'), nested) {
            kept.push(path);
        }
    }
    Some(kept)
}

/// The names of a path that is taken from the root, without `.` and `..`.
fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// Where a link points, from the root; with wildcards in the last name, where all links point that match. `None` if
/// there is no link.
fn links(root: &Root, path: &[u8]) -> Result<Option<Vec<Vec<u8>>>, String> {
    let (parent, name) = split(path);
    let pattern = String::from_utf8_lossy(name);
    if !has_wildcards(name) {
        return Ok(link(root, path)?.map(|target| vec![target]));
    }
    let shown = root.shown(parent);
    let failed = |error: Errno| go_error("open", &shown, &error.into());
    let directory = match root.open_beneath(parent, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut targets = Vec::new();
    for item in Dir::read_from(&directory).map_err(failed)? {
        let item = item.map_err(failed)?;
        let name = item.file_name().to_bytes();
        let shown = String::from_utf8_lossy(name);
        if name != b"." && name != b".." && go_match(&pattern, &shown) == Ok(true) {
            targets.extend(link(root, &join(parent, name))?);
        }
    }
    targets.sort_unstable();
    Ok(Some(targets).filter(|targets| !targets.is_empty()))
}

/// Where a link points, from the root.
fn link(root: &Root, path: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let (parent, _) = split(path);
    let failed = |error: Errno| go_error("lstat", &root.shown(path), &error.into());
    let file = match root.open_beneath(path, OFlags::PATH) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    let target = rustix::fs::readlinkat(&file, c"", Vec::new()).map_err(failed)?.into_bytes();
    Ok(Some(if target.starts_with(b"/") { target } else { join(parent, &target) }))
}

fn has_wildcards(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}
