//! What a daemon sends when files are exported. The input is a list of messages: a letter for what it is, and texts
//! that end with a NUL.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rbx_buildkit::session::fuzz::{data, finish, last_stat, receive, stat};

use crate::bytes::Bytes;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const FIFO: u32 = 1 << 25;
const SETUID: u32 = 1 << 23;
/// Messages of one input that are sent: more say nothing new.
const MOST_MESSAGES: usize = 64;

pub(crate) fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let delete = bytes.byte() == b'!';
    let mut messages = Vec::new();
    while !bytes.is_empty() && messages.len() < MOST_MESSAGES {
        let message = match bytes.byte() {
            b'd' => stat(bytes.until_nul(), DIRECTORY | u32::from(bytes.byte()), b""),
            b'f' => stat(bytes.until_nul(), SETUID | 0o600, b""),
            b'l' => stat(bytes.until_nul(), SYMLINK | 0o777, bytes.until_nul()),
            b'h' => stat(bytes.until_nul(), 0o644, bytes.until_nul()),
            b'p' => stat(bytes.until_nul(), FIFO | 0o600, b""),
            b'm' => {
                let mode = [bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte()];
                // Devices are for machines that are not fuzzed.
                stat(bytes.until_nul(), u32::from_be_bytes(mode) & !(1 << 26), bytes.until_nul())
            }
            b'c' => data(bytes.byte().into(), bytes.until_nul()),
            b'e' => data(bytes.byte().into(), b""),
            b'z' => last_stat(),
            b'.' => finish(),
            _ => bytes.until_nul().to_vec(),
        };
        messages.push(message);
    }

    let scratch = crate::scratch();
    let at = |path: &str| scratch.path().join(path);
    fs::create_dir_all(at("out/d")).unwrap();
    fs::create_dir(at("beside")).unwrap();
    for path in ["beside/file", "file", "out/d/file"] {
        fs::write(at(path), "kept").unwrap();
    }
    symlink("../beside", at("out/l")).unwrap();
    symlink("../file", at("out/f")).unwrap();
    let before = outside(scratch.path());
    let sent = messages.len();
    let outcome = receive(&at("out"), delete, messages);
    assert_eq!(outside(scratch.path()), before, "something beside the directory was touched");
    assert_eq!(fs::read(at("file")).unwrap(), b"kept");
    assert_eq!(fs::read(at("beside/file")).unwrap(), b"kept");
    let Ok((asked, complete)) = outcome else { return };
    assert!(asked.len() <= sent && asked.is_sorted(), "{asked:?}");
    for entry in walk(&at("out")) {
        let is_part = entry.rsplit('/').next().is_some_and(|name| name.starts_with(".rbx."));
        assert!(!is_part, "{entry} was left behind, complete: {complete}");
    }
}

/// All that is not in the directory that is written to, and what is said of it.
fn outside(scratch: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;

    let paths = ["beside", "beside/file", "file"];
    let mut seen: Vec<String> = walk(scratch).into_iter().filter(|path| !path.starts_with("out/")).collect();
    seen.extend(paths.map(|path| {
        let found = fs::symlink_metadata(scratch.join(path)).unwrap();
        format!("{path} {:o} {} {} {}", found.mode(), found.nlink(), found.mtime(), found.mtime_nsec())
    }));
    seen
}

fn walk(root: &Path) -> Vec<String> {
    let mut waiting = vec![root.to_owned()];
    let mut seen = Vec::new();
    while let Some(directory) = waiting.pop() {
        // A directory may have been made unreadable, for who is not root.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            seen.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(path);
            }
        }
    }
    seen.sort_unstable();
    seen
}
