//! What is remembered of builds, in buildx's files: `history` shows from it where a build read from.

use std::path::{Component, Path};

use serde::Serialize;

use crate::error::BuilderError;
use crate::state::{Change, State};

/// The length of a build's id.
const ID: usize = 25;
/// The name of the directory of groups, which no builder has.
const GROUPS: &str = "__group__";

/// Where a build read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BuildState {
    /// The target of a bake file; `default` for a build alone.
    pub target: String,
    /// The context: an absolute path, an address, or `-`.
    pub local_path: String,
    /// The Dockerfile: an absolute path, one in a context from elsewhere, `-`, or nothing.
    pub dockerfile_path: String,
    /// The group of builds that it belongs to.
    #[serde(rename = "GroupRef", skip_serializing_if = "String::is_empty")]
    pub group: String,
}

/// An id for a build, as buildx makes them: random, 25 digits and small letters.
pub fn new_build_id() -> String {
    let mut number = [0u8; 17];
    for byte in &mut number {
        *byte = fastrand::u8(..);
    }
    // Numbers with the highest bit have 27 digits; the first says little and is left out, and so is the last.
    number[0] |= 0x80;
    let digits = to_base_36(&mut number);
    digits.into_iter().skip(1).take(ID).map(char::from).collect()
}

/// The digits of a number of which the first byte is the highest.
fn to_base_36(number: &mut [u8]) -> Vec<u8> {
    let mut digits = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0u16;
        for byte in &mut *number {
            let value = rest << 8 | u16::from(*byte);
            *byte = u8::try_from(value / 36).expect("the rest is below 36");
            rest = value % 36;
        }
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::from(rest)]);
    }
    digits.reverse();
    digits
}

impl State {
    /// A name for this machine that is the same in all of its builds: 16 hexadecimal digits. It is made at the first
    /// question; `None` if it cannot be kept.
    pub fn node_id(&self) -> Option<String> {
        const NAME: &str = ".buildNodeID";
        let known = || self.read(Path::new(NAME)).ok().flatten().and_then(|id| String::from_utf8(id).ok());
        if let Some(id) = known() {
            return Some(id);
        }
        let change = self.change().ok()?;
        // Somebody else may have been faster.
        if known().is_none() {
            change.write(Path::new(NAME), format!("{:016x}", fastrand::u64(..)).as_bytes()).ok()?;
        }
        drop(change);
        known()
    }
}

impl Change<'_> {
    /// A builder is used now.
    pub fn touch(&self, builder: &str) -> Result<(), BuilderError> {
        self.write(&Path::new("activity").join(name(builder)?), Self::now().as_bytes())
    }

    /// Remembers a build by its id.
    pub fn save_build(
        &self,
        builder: &str,
        node: &str,
        id: &str,
        build: &BuildState,
    ) -> Result<(), BuilderError> {
        let directory = Path::new("refs").join(name(builder)?).join(name(node)?);
        self.state().make_directory(&directory)?;
        let text = serde_json::to_vec(build).expect("texts become JSON");
        self.write(&directory.join(name(id)?), &text)
    }
}

/// A name that is one of a file, in no other directory. Contexts of docker have more letters than builders.
fn name(name: &str) -> Result<&str, BuilderError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name && name != GROUPS && !name.contains('\0') => {
            Ok(name)
        }
        _ => Err(BuilderError::InvalidName(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ids_are_25_digits_of_base_36() {
        assert_eq!(to_base_36(&mut [1, 0, 0]), b"1ekg");
        assert_eq!(to_base_36(&mut [35]), b"z");
        let mut ids: Vec<String> = (0..100).map(|_| new_build_id()).collect();
        assert!(
            ids.iter()
                .all(|id| id.len() == ID && id.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()))
        );
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn builds_are_remembered_as_by_buildx() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().join("buildx"), None);
        let build = BuildState {
            target: "default".to_owned(),
            local_path: "/a \"b\"".to_owned(),
            dockerfile_path: String::new(),
            group: String::new(),
        };
        let change = state.change().unwrap();
        change.save_build("Foo", "foo0", "id", &build).unwrap();
        change.touch("a+b").unwrap();
        assert_eq!(
            fs::read_to_string(state.directory().join("refs/Foo/foo0/id")).unwrap(),
            r#"{"Target":"default","LocalPath":"/a \"b\"","DockerfilePath":""}"#
        );
        assert!(state.last_activity("a+b").is_some());
        for bad in ["", ".", "..", "a/b", "/a", "a/", "__group__"] {
            assert!(change.save_build(bad, "foo0", "id", &build).is_err(), "{bad}");
            assert!(change.save_build("foo", "foo0", bad, &build).is_err(), "{bad}");
            assert!(change.touch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_machine_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().join("buildx"), None);
        let id = state.node_id().unwrap();
        assert!(id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        assert_eq!(state.node_id().as_ref(), Some(&id));
        fs::write(state.directory().join(".buildNodeID"), "0123").unwrap();
        assert_eq!(state.node_id().as_deref(), Some("0123"));
        assert_eq!(State::new("/proc/no".into(), None).node_id(), None);
    }
}
