//! Who runs this process.

use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;

use super::map::parse;

/// As many ids as distributions give to a user.
const USUAL: u64 = 65536;
/// Where the first user's ranges begin on most systems.
const FIRST: u64 = 100_000;

/// A user outside the namespace.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// `None` where no database of users knows the id.
    pub(super) name: Option<String>,
}

impl User {
    pub(super) fn of_this_process() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self { uid, gid: rustix::process::getgid().as_raw(), name: name_of(uid) }
    }

    /// As a person would write it.
    pub(super) fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }

    /// The command that gives this user ids, of those that nobody has by the files in `etc`.
    pub(super) fn more_ids(&self, etc: &Path) -> String {
        let Some(name) = &self.name else {
            return format!("user {} needs an entry in /etc/passwd before it can be given ids", self.uid);
        };
        let end = |file: &str| {
            let text = fs::read_to_string(etc.join(file)).unwrap_or_default();
            parse(&text).map(|(_, range)| u64::from(range.start) + u64::from(range.count)).max()
        };
        let free = FIRST.max(end("subuid").unwrap_or(0)).max(end("subgid").unwrap_or(0));
        let last = free + USUAL - 1;
        format!(
            "give {name} more ids, with the package uidmap installed: \
             sudo usermod --add-subuids {free}-{last} --add-subgids {free}-{last} {name}"
        )
    }
}

/// A user's name, by whatever knows names on this system.
fn name_of(uid: u32) -> Option<String> {
    /// Longer than any entry of a user: the C library has no limit of its own.
    const BUFFER: usize = 16 << 10;
    let mut buffer = vec![0_u8; BUFFER];
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut found: *mut libc::passwd = std::ptr::null_mut();
    // SAFETY: every pointer is valid for the call, and the buffer has the size given.
    let error = unsafe {
        libc::getpwuid_r(uid, entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found)
    };
    if error != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call succeeded and found an entry, so `found` points to `entry`, whose strings end in NUL and lie
    // in `buffer`, which is alive.
    let name = unsafe { CStr::from_ptr((*found).pw_name) };
    name.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_offered_that_nobody_has() {
        let etc = tempfile::tempdir().expect("a directory");
        let bob = User { uid: 1000, gid: 1000, name: Some("bob".to_owned()) };
        assert!(bob.more_ids(etc.path()).ends_with("100000-165535 --add-subgids 100000-165535 bob"));
        fs::write(etc.path().join("subuid"), "eve:100000:65536\n").expect("a file");
        fs::write(etc.path().join("subgid"), "eve:165536:65536\n").expect("a file");
        assert!(bob.more_ids(etc.path()).ends_with("231072-296607 --add-subgids 231072-296607 bob"));
    }

    #[test]
    fn root_has_a_name() {
        assert_eq!(name_of(0).as_deref(), Some("root"));
        assert_eq!(name_of(3_999_999_999), None);
    }
}
