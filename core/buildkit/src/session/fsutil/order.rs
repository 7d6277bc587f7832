//! The order in which files of a tree arrive.

use super::root::split;

/// Bytes of a path, at most: what Linux takes.
const MAX_PATH: usize = 4096;

/// Checks that each path is a plain one, that it lies in a directory that came before, and that names in a directory
/// ascend.
#[derive(Debug)]
pub(super) struct Order {
    /// The directories on the way to the last path, and the last name in each.
    open: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Order {
    pub(super) fn new() -> Self {
        Self { open: vec![(Vec::new(), Vec::new())] }
    }

    /// Takes the next path.
    pub(super) fn next(&mut self, path: &[u8], is_directory: bool) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        if !is_plain(path) {
            return Err(format!("unclean path {:?}", shown()));
        }
        let (directory, name) = split(path);
        while self.open.last().is_some_and(|(open, _)| open != directory) {
            self.open.pop();
        }
        let Some((_, last)) = self.open.last_mut().filter(|(_, last)| **last < *name) else {
            return Err(format!("changes out of order: {:?}", shown()));
        };
        *last = name.to_vec();
        if is_directory {
            self.open.push((path.to_vec(), Vec::new()));
        }
        Ok(())
    }
}

/// Whether a path is relative and has only names.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    path.len() < MAX_PATH && path.split(|&byte| byte == b'/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ascend_in_directories_that_came_before() {
        let check = |paths: &[&str]| {
            let mut order = Order::new();
            let is_directory = |path: &str| path.ends_with(['d', 'e']);
            paths.iter().find_map(|path| order.next(path.as_bytes(), is_directory(path)).err())
        };
        for paths in [
            &["a", "b", "d", "d/a", "d/d", "d/d/x", "d/z", "d-", "d0"][..],
            &["d", "e", "e/a"],
            &["a d", "a d/x"],
        ] {
            assert_eq!(check(paths), None, "{paths:?}");
        }
        for (paths, error) in [
            (&["b", "a"][..], "changes out of order: \"a\""),
            (&["a", "a"], "changes out of order: \"a\""),
            (&["d", "e", "d/a"], "changes out of order: \"d/a\""),
            (&["a", "a/b"], "changes out of order: \"a/b\""),
            (&["d/a"], "changes out of order: \"d/a\""),
            (&["d", "d/e/f"], "changes out of order: \"d/e/f\""),
            (&[""], "unclean path \"\""),
            (&["/a"], "unclean path \"/a\""),
            (&[".."], "unclean path \"..\""),
            (&["d", "d/../../x"], "unclean path \"d/../../x\""),
            (&["d", "d/."], "unclean path \"d/.\""),
            (&["d", "d//x"], "unclean path \"d//x\""),
            (&["d/"], "unclean path \"d/\""),
            (&["a\0"], "unclean path \"a\\0\""),
        ] {
            assert_eq!(check(paths).as_deref(), Some(error), "{paths:?}");
        }
        assert!(is_plain(&[b'a'; MAX_PATH - 1]) && !is_plain(&[b'a'; MAX_PATH]));
    }
}
