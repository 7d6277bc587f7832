//! `.dockerignore`. The input is a file of patterns, a NUL, and paths, one a line.

use rbx_dockerfile::{Ignore, go_match};

use crate::bytes::Bytes;

/// Paths of one input that are judged: more say nothing new.
const MOST_PATHS: usize = 16;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let patterns = bytes.until_nul();
    let paths = bytes.text();
    let paths: Vec<String> =
        paths.lines().take(MOST_PATHS).map(relative).filter(|path| !path.is_empty()).collect();

    let text = String::from_utf8_lossy(patterns);
    for pattern in text.lines().take(MOST_PATHS) {
        for path in &paths {
            assert_eq!(go_match(pattern, path), go_match(pattern, path));
        }
    }
    let Ok(ignore) = Ignore::parse(patterns) else { return };
    // Every list is judged as the two halves it is made of, where nothing is taken back in.
    let lines: Vec<&[u8]> = patterns.split(|&byte| byte == b'\n').collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    let plain = !patterns.contains(&b'!');
    let halves = (Ignore::parse(&first.join(&b'\n')).unwrap(), Ignore::parse(&second.join(&b'\n')));
    for path in &paths {
        let excluded = ignore.excludes(path);
        if plain && let (first, Ok(second)) = &halves {
            // A byte order mark counts at the start of a file only.
            if !patterns.windows(3).any(|three| three == b"\xef\xbb\xbf") {
                assert_eq!(excluded, first.excludes(path) || second.excludes(path), "{path:?} in halves");
            }
        }
        let twice = [patterns, b"\n", patterns].concat();
        if let (true, Ok(twice)) = (plain, Ignore::parse(&twice)) {
            assert_eq!(excluded, twice.excludes(path), "{path:?} judged twice");
        }
        walk(&ignore, path);
    }
}

/// A walk from the root judges as the question for the path alone does, and turns back early only where nothing below
/// comes in.
fn walk(ignore: &Ignore, path: &str) {
    let mut state = ignore.root();
    let mut turned_back = false;
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let verdict = ignore.child(&state, &path[..end]);
        assert_eq!(verdict.excluded, ignore.excludes(&path[..end]));
        assert!(!turned_back || verdict.excluded, "{path:?} comes in below a directory that is not walked");
        turned_back |= verdict.excluded && !verdict.descend;
        state = verdict.state;
    }
}

/// A path as a walk has them: no empty, `.` or `..` part.
fn relative(line: &str) -> String {
    let parts: Vec<&str> = line.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    parts.join("/")
}
