//! Paths of the image, as texts.

use rbx_platform::Platform;

/// A working directory after `WORKDIR path`, with slashes on any system.
pub(crate) fn join(current: &str, path: &str, platform: &Platform) -> String {
    if platform.os == "windows" {
        return join_slashed(&slashed(current, platform), &clean(&slashed(path, platform)));
    }
    join_slashed(current, path)
}

/// A path of the image with slashes and without a drive, which paths of Windows may have otherwise.
pub fn slashed(path: &str, platform: &Platform) -> String {
    if platform.os != "windows" {
        return path.to_owned();
    }
    let path = path.replace('\\', "/");
    match path.as_bytes() {
        [drive, b':', ..] if drive.is_ascii_alphabetic() => path[2..].to_owned(),
        _ => path,
    }
}

fn join_slashed(current: &str, path: &str) -> String {
    let parent = if current.starts_with('/') { current.to_owned() } else { clean(&format!("/{current}")) };
    if path.is_empty() {
        parent
    } else if path.starts_with('/') {
        path.to_owned()
    } else {
        clean(&format!("{parent}/{path}"))
    }
}

/// A path without `.`, `..` and doubled slashes, as Go's `path.Clean`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The last part of a path, as Go's `path.Base`.
pub(crate) fn base_name(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".".to_owned(),
        (_, "") => "/".to_owned(),
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_working_directories() {
        let linux = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
            os_version: None,
        };
        let windows = Platform { os: "windows".to_owned(), ..linux.clone() };
        for (current, path, expected) in [
            ("", "/app", "/app"),
            ("/app", "src", "/app/src"),
            ("/app", "../../..", "/"),
            ("", "a/./b//c/", "/a/b/c"),
            ("/app", "", "/app"),
            ("/app", "/x/", "/x/"),
        ] {
            assert_eq!(join(current, path, &linux), expected, "{current} {path}");
        }
        assert_eq!(join("C:\\app", "src", &windows), "/app/src");
        assert_eq!(join("", "C:\\app\\..\\b", &windows), "/b");
        assert_eq!(slashed("C:\\app\\", &windows), "/app/");
        assert_eq!(slashed("C:\\app\\", &linux), "C:\\app\\");
    }
}
