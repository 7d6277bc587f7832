//! buildx's files: which builders there are, and which one is used.
//!
//! ```text
//! .lock               exclusive flock(2) over every change
//! instances/NAME      a builder, as JSON; the name in lower case
//! activity/NAME       when it was used last, as RFC 3339 has times
//! current             {"Key":ENDPOINT,"Name":NAME,"Global":false}
//! defaults/HASH       the name of the builder for an endpoint, which is hashed
//! refs/NAME/NODE/REF  what was built
//! .buildNodeID        a name for this machine
//! ```
//!
//! Every file is replaced as a whole, so reading needs no lock, and reading changes nothing: buildx forgets which
//! builder was used for an endpoint when it looks at another, and this does not.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rbx_oci::Digest;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::BuilderError;
use crate::group::NodeGroup;
use crate::name::{random_name, validate_name};

/// Bound on a file of the state, in bytes. A builder holds the files of its daemon.
const FILE_LIMIT: u64 = 16 << 20;
/// Bound on the number of files in a directory of the state.
const MOST: usize = 100_000;

/// buildx's directory.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
    owner: Option<(u32, u32)>,
}

/// The right to change the state. Nobody else has it at the same time, neither here nor in buildx.
#[derive(Debug)]
pub struct Change<'a> {
    state: &'a State,
    _lock: File,
}

/// Which builder is used, and for which endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Current {
    key: String,
    name: String,
    global: bool,
}

/// For which endpoints a builder is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// For this endpoint, until another builder or endpoint is used.
    Current,
    /// For this endpoint, also after another endpoint was used.
    Default,
    /// For every endpoint.
    Global,
}

impl State {
    /// The state in a directory: `$BUILDX_CONFIG`, or `buildx` in docker's configuration directory. It need not be
    /// there. Files are given to `owner` (user and group), who called the program with the rights of another.
    pub fn new(directory: PathBuf, owner: Option<(u32, u32)>) -> Self {
        Self { directory, owner }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until nobody else changes the state.
    pub fn change(&self) -> Result<Change<'_>, BuilderError> {
        for directory in ["instances", "defaults", "activity"] {
            self.make_directory(Path::new(directory))?;
        }
        let path = self.directory.join(".lock");
        let open = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NO_WAITING)
            .open(&path);
        let lock = open.map_err(|error| BuilderError::io(&path, &error))?;
        self.give(&path)?;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Change { state: self, _lock: lock }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(BuilderError::io(&path, &error.into())),
            }
        }
    }

    /// All builders that were created, in the order of their names.
    pub fn groups(&self) -> Result<Vec<NodeGroup>, BuilderError> {
        let mut groups = Vec::new();
        for name in self.names("instances")? {
            // What has no name of a builder is none: what an editor or a program that was killed left behind.
            if validate_name(&name).is_ok_and(|lower| lower == name) {
                groups.extend(self.group(&name)?);
            }
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// The builder of a name, if it was created.
    pub fn group(&self, name: &str) -> Result<Option<NodeGroup>, BuilderError> {
        let name = validate_name(name)?;
        let path = self.directory.join("instances").join(&name);
        let Some(text) = read(&path)? else { return Ok(None) };
        let wrong = |reason: String| BuilderError::State { path: path.clone(), reason };
        let group = NodeGroup::parse(&text).map_err(wrong)?;
        if group.name.to_ascii_lowercase() != name {
            return Err(wrong(format!("not the builder of that name, but {:?}", group.name)));
        }
        Ok(Some(group))
    }

    /// When a builder was used last, or changed.
    pub fn last_activity(&self, name: &str) -> Option<Timestamp> {
        let name = Path::new(name).file_name().filter(|file| *file == name)?;
        let text = read(&self.directory.join("activity").join(name)).ok()??;
        String::from_utf8(text).ok()?.parse().ok()
    }

    /// The name of the builder that is used for an endpoint, and how it came to be that one. Whether there is such a
    /// builder is not looked up. The endpoint is a context, or an address for the context `default`; `None` is one
    /// that nobody can tell.
    pub fn used(&self, endpoint: Option<&str>) -> Result<Option<(String, Scope)>, BuilderError> {
        let current = self.current()?;
        if !current.name.is_empty() {
            if current.global {
                return Ok(Some((current.name, Scope::Global)));
            }
            if Some(current.key.as_str()) == endpoint {
                return Ok(Some((current.name, Scope::Current)));
            }
        }
        let Some(endpoint) = endpoint else { return Ok(None) };
        let path = self.default_file(endpoint);
        let name = read(&path)?.and_then(|name| String::from_utf8(name).ok());
        Ok(name.filter(|name| !name.is_empty()).map(|name| (name, Scope::Default)))
    }

    fn current(&self) -> Result<Current, BuilderError> {
        let path = self.directory.join("current");
        match read(&path)? {
            None => Ok(Current::default()),
            Some(text) => serde_json::from_slice(&text)
                .map_err(|error| BuilderError::State { path, reason: error.to_string() }),
        }
    }

    fn default_file(&self, endpoint: &str) -> PathBuf {
        let hash = Digest::sha256_of(endpoint.as_bytes()).hex();
        self.directory.join("defaults").join(&hash[..20])
    }

    /// A file; `None` without it.
    pub(crate) fn read(&self, name: &Path) -> Result<Option<Vec<u8>>, BuilderError> {
        read(&self.directory.join(name))
    }

    /// The names in a directory; none without the directory.
    fn names(&self, directory: &str) -> Result<Vec<String>, BuilderError> {
        let path = self.directory.join(directory);
        let failed = |error: io::Error| BuilderError::io(&path, &error);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries.take(MOST) {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    pub(crate) fn make_directory(&self, name: &Path) -> Result<(), BuilderError> {
        let path = self.directory.join(name);
        if !path.is_dir() {
            let mut made: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
            made.reverse();
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|error| BuilderError::io(&path, &error))?;
            for path in made {
                self.give(path)?;
            }
        }
        Ok(())
    }

    fn give(&self, path: &Path) -> Result<(), BuilderError> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(user), Some(group))
            .map_err(|error| BuilderError::io(path, &error))
    }
}

impl Change<'_> {
    /// The state, of which nothing changes meanwhile.
    pub fn state(&self) -> &State {
        self.state
    }

    /// Writes a builder, new or changed.
    pub fn save(&self, group: &NodeGroup) -> Result<(), BuilderError> {
        let name = validate_name(&group.name)?;
        self.write(&Path::new("activity").join(&group.name), Self::now().as_bytes())?;
        self.write(&Path::new("instances").join(name), &group.to_json())
    }

    /// Removes a builder with all that is known of its builds. It may be missing.
    pub fn remove(&self, name: &str) -> Result<(), BuilderError> {
        let lower = validate_name(name)?;
        for name in [name, &lower] {
            remove_file(&self.state.directory.join("activity").join(name))?;
        }
        for node in self.state.names(&format!("refs/{lower}"))? {
            if validate_name(&node).is_ok_and(|lower| lower == node) {
                self.forget_builds(&lower, &node)?;
            }
        }
        remove_directory(&self.state.directory.join("refs").join(&lower))?;
        remove_file(&self.state.directory.join("instances").join(&lower))
    }

    /// Removes what is known of a node's builds, and groups of builds that were all its.
    pub fn forget_builds(&self, builder: &str, node: &str) -> Result<(), BuilderError> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let (builder, node) = (validate_name(builder)?, validate_name(node)?);
        let directory = format!("refs/{builder}/{node}");
        let parsed = |path: &Path| -> Result<Option<Value>, BuilderError> {
            Ok(read(path)?.and_then(|text| serde_json::from_slice(&text).ok()))
        };
        let mut groups = std::collections::BTreeMap::<String, usize>::new();
        for name in self.state.names(&directory)? {
            let state = parsed(&self.state.directory.join(&directory).join(name))?;
            let group = state.and_then(|state| text(&state, "GroupRef"));
            let is_name =
                |text: &String| Path::new(text).file_name().is_some_and(|name| name == text.as_str());
            if let Some(group) = group.filter(is_name) {
                *groups.entry(group).or_default() += 1;
            }
        }
        for (group, builds) in groups {
            let path = self.state.directory.join("refs/__group__").join(group);
            let state = parsed(&path)?;
            let refs = state.as_ref().and_then(|state| state.get("Refs")).and_then(Value::as_array);
            if refs.is_some_and(|refs| refs.len() == builds) {
                remove_file(&path)?;
            }
        }
        remove_directory(&self.state.directory.join(directory))
    }

    /// Uses a builder for an endpoint; `global`, for every endpoint; by `default`, also after a builder was used for
    /// another endpoint. Without a name, none is used.
    pub fn set_used(
        &self,
        endpoint: &str,
        name: &str,
        global: bool,
        by_default: bool,
    ) -> Result<(), BuilderError> {
        let current = Current { key: endpoint.to_owned(), name: name.to_owned(), global };
        let text = serde_json::to_string(&current).expect("texts and truth values become JSON");
        self.write(Path::new("current"), text.as_bytes())?;
        let default = self.state.default_file(endpoint);
        if by_default {
            let relative = default.strip_prefix(&self.state.directory).unwrap_or(&default);
            self.write(relative, name.as_bytes())
        } else {
            remove_file(&default)
        }
    }

    /// A name that no builder has.
    pub(crate) fn free_name(&self) -> Result<String, BuilderError> {
        for attempt in 0..6 {
            let mut name = random_name();
            if attempt > 0 {
                name.push_str(&fastrand::u8(..10).to_string());
            }
            if self.state.group(&name)?.is_none() {
                return Ok(name);
            }
        }
        Err(BuilderError::refused("failed to generate random name"))
    }

    /// The time, as activity has it.
    pub(crate) fn now() -> String {
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Replaces a file as a whole.
    pub(crate) fn write(&self, name: &Path, content: &[u8]) -> Result<(), BuilderError> {
        let path = self.state.directory.join(name);
        let failed = |error: io::Error| BuilderError::io(&path, &error);
        if let Ok(found) = fs::symlink_metadata(&path)
            && !found.is_file()
        {
            let reason = if found.is_symlink() {
                "cannot write to a symbolic link directly"
            } else {
                "cannot write to what is no regular file"
            };
            return Err(BuilderError::State { path: path.clone(), reason: reason.to_owned() });
        }
        let directory = path.parent().unwrap_or(&self.state.directory);
        let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        self.state.give(file.path())?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Opens nothing that would have to be waited for.
const NO_WAITING: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Reads a file; `None` without it.
fn read(path: &Path) -> Result<Option<Vec<u8>>, BuilderError> {
    let wrong = |reason: &str| BuilderError::State { path: path.to_owned(), reason: reason.to_owned() };
    let file = match OpenOptions::new().read(true).custom_flags(NO_WAITING).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BuilderError::io(path, &error)),
    };
    let failed = |error: io::Error| BuilderError::io(path, &error);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(wrong("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(wrong("file too large"));
    }
    Ok(Some(text))
}

fn remove_file(path: &Path) -> Result<(), BuilderError> {
    missing_is_fine(path, fs::remove_file(path))
}

fn remove_directory(path: &Path) -> Result<(), BuilderError> {
    missing_is_fine(path, fs::remove_dir_all(path))
}

fn missing_is_fine(path: &Path, done: io::Result<()>) -> Result<(), BuilderError> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BuilderError::io(path, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().join("docker/buildx"), None);
        (folder, state)
    }

    fn names(state: &State) -> Vec<String> {
        state.groups().unwrap().into_iter().map(|group| group.name).collect()
    }

    #[test]
    fn builders_are_kept_as_buildx_keeps_them() {
        let (_folder, state) = state();
        assert_eq!(names(&state), [""; 0]);
        assert_eq!(state.group("foo").unwrap(), None);
        let change = state.change().unwrap();
        for name in ["foo", "Bar"] {
            change.save(&NodeGroup::new(name, "remote")).unwrap();
        }
        drop(change);
        assert_eq!(names(&state), ["Bar", "foo"]);
        assert_eq!(state.group("FOO").unwrap().unwrap().name, "foo");
        assert!(state.last_activity("Bar").is_some());
        let mode =
            |name: &str| fs::metadata(state.directory().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            ["", ".lock", "instances", "instances/bar", "activity/Bar", "defaults"].map(mode),
            [0o700, 0o600, 0o700, 0o600, 0o600, 0o700]
        );

        // What others leave behind is no builder.
        let instances = state.directory().join("instances");
        for name in [".tmp-foo123", "foo~", "9", "FOO"] {
            fs::write(instances.join(name), "x").unwrap();
        }
        assert_eq!(names(&state), ["Bar", "foo"]);
        state.change().unwrap().remove("Bar").unwrap();
        assert_eq!(names(&state), ["foo"]);
        assert_eq!(state.last_activity("Bar"), None);
        state.change().unwrap().remove("gone").unwrap();
    }

    #[test]
    fn builders_are_used_for_endpoints() {
        let (_folder, state) = state();
        let used = |endpoint: &str| state.used(Some(endpoint)).unwrap();
        let set = |endpoint: &str, name: &str, global: bool, by_default: bool| {
            state.change().unwrap().set_used(endpoint, name, global, by_default).unwrap();
        };
        let some = |name: &str, scope| Some((name.to_owned(), scope));
        assert_eq!(used("a"), None);
        set("a", "foo", false, false);
        assert_eq!(
            fs::read_to_string(state.directory().join("current")).unwrap(),
            r#"{"Key":"a","Name":"foo","Global":false}"#
        );
        assert_eq!((used("a"), used("b")), (some("foo", Scope::Current), None));
        // Another one for another endpoint: the first is forgotten unless it was to be kept.
        set("b", "bar", false, false);
        assert_eq!((used("a"), used("b")), (None, some("bar", Scope::Current)));
        set("a", "foo", false, true);
        set("b", "bar", false, false);
        assert_eq!((used("a"), used("b")), (some("foo", Scope::Default), some("bar", Scope::Current)));
        set("b", "all", true, false);
        assert_eq!(
            (used("a"), state.used(None).unwrap()),
            (some("all", Scope::Global), some("all", Scope::Global))
        );
        // None for `a`, and nothing by default either.
        set("a", "", false, false);
        assert_eq!((used("a"), used("b"), state.used(None).unwrap()), (None, None, None));
    }

    #[test]
    fn builds_are_forgotten_with_their_builder() {
        let (_folder, state) = state();
        let change = state.change().unwrap();
        let write = |name: &str, text: &str| {
            let path = state.directory().join("refs").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("foo/foo0/one", r#"{"Target":"a","GroupRef":"whole"}"#);
        write("foo/foo1/two", r#"{"Target":"a","GroupRef":"part"}"#);
        write("foo/foo1/odd", "{");
        write("foo/.tmp-1/one", "{}");
        write("foo/foo1/out", r#"{"GroupRef":"../../current"}"#);
        write("bar/bar0/three", r#"{"Target":"a","GroupRef":"part"}"#);
        write("__group__/whole", r#"{"Refs":["foo/foo0/one"]}"#);
        write("__group__/part", r#"{"Refs":["foo/foo1/two","bar/bar0/three"]}"#);
        change.set_used("a", "foo", false, false).unwrap();
        fs::write(state.directory().join("current"), r#"{"Refs":["x"]}"#).unwrap();
        change.remove("foo").unwrap();
        let there = |name: &str| state.directory().join(name).exists();
        assert_eq!(
            ["refs/foo", "refs/__group__/whole", "refs/__group__/part", "refs/bar/bar0/three", "current"]
                .map(there),
            [false, false, true, true, true]
        );
    }

    #[test]
    fn one_at_a_time_changes_the_state() {
        let (_folder, state) = state();
        let change = state.change().unwrap();
        let lock = OpenOptions::new().read(true).open(state.directory().join(".lock")).unwrap();
        let taken = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(taken, Err(rustix::io::Errno::WOULDBLOCK));
        drop(change);
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        // Reading waits for nobody.
        assert_eq!(names(&state), [""; 0]);
    }

    #[test]
    fn files_that_are_not_what_they_should_be_are_errors_and_stay() {
        let (folder, state) = state();
        let change = state.change().unwrap();
        change.save(&NodeGroup::new("foo", "remote")).unwrap();
        let path = state.directory().join("instances/bad");
        let shown = |error: BuilderError| error.to_string().replace(&folder.path().display().to_string(), "");
        let read = || shown(state.groups().unwrap_err());
        let saved = || shown(change.save(&NodeGroup::new("bad", "remote")).unwrap_err());

        fs::write(&path, "{\"Name\":\"bad\",").unwrap();
        assert_eq!(read(), "EOF while parsing a value at line 1 column 14: /docker/buildx/instances/bad");
        fs::write(&path, r#"{"Name":"foo","Driver":"x","Nodes":[]}"#).unwrap();
        assert_eq!(read(), "not the builder of that name, but \"foo\": /docker/buildx/instances/bad");
        File::create(&path).unwrap().set_len(FILE_LIMIT + 1).unwrap();
        assert_eq!(read(), "file too large: /docker/buildx/instances/bad");
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        assert_eq!(read(), "not a regular file: /docker/buildx/instances/bad");
        assert_eq!(saved(), "cannot write to what is no regular file: /docker/buildx/instances/bad");
        fs::remove_dir(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(read(), "not a regular file: /docker/buildx/instances/bad");
        assert_eq!(saved(), "cannot write to a symbolic link directly: /docker/buildx/instances/bad");
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read(), "not a regular file: /docker/buildx/instances/bad");
        fs::remove_file(&path).unwrap();

        let current = state.directory().join("current");
        for text in ["", "[1]", "{\"Name\":3}"] {
            fs::write(&current, text).unwrap();
            assert!(
                shown(state.used(Some("a")).unwrap_err()).ends_with(": /docker/buildx/current"),
                "{text}"
            );
            assert_eq!(fs::read_to_string(&current).unwrap(), text);
        }
        fs::write(state.directory().join("activity/foo"), "yesterday").unwrap();
        assert_eq!(state.last_activity("foo"), None);
        assert_eq!(names(&state), ["foo"]);
    }
}
