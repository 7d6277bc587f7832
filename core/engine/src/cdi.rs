//! Devices of a `RUN`: specifications of the Container Device Interface (`cncf-tags/container-device-interface`,
//! SPEC.md 1.1), found and chosen as BuildKit does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rbx_request::parse_bool;
use rbx_sandbox::{DeviceKind, Mount, MountKind};
use serde::Deserialize;

use crate::entitlements::DeviceGrants;
use crate::error::BuildError;

/// No specification is anywhere near as long.
const LONGEST: u64 = 4 << 20;
/// Annotations that BuildKit gives a meaning.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// All devices of this machine, by qualified name: `vendor/class=name`.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    devices: BTreeMap<String, Device>,
    /// Why files were left out.
    broken: Vec<String>,
}

#[derive(Debug)]
struct Device {
    /// The file it is from.
    file: PathBuf,
    /// Of the file and its own, the latter first in effect.
    annotations: BTreeMap<String, String>,
    /// What all devices of the file bring along.
    common: Edits,
    edits: Edits,
}

/// What devices change about a step.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<Mount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecFile {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    devices: Vec<DeviceEntry>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceEntry {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<MountEntry>,
    hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
    net_devices: Vec<serde_json::Value>,
    intel_rdt: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<u32>,
    minor: Option<u32>,
    file_mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MountEntry {
    host_path: PathBuf,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hook {
    hook_name: String,
}

impl Devices {
    /// Reads the specifications in `directories`, of which a later one takes precedence.
    pub(crate) fn read(directories: &[PathBuf]) -> Self {
        let mut found = Self::default();
        for directory in directories {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(directory).into_iter().flatten().flatten().map(|it| it.path()).collect();
            files.sort();
            let specifications = files.iter().filter(|path| {
                path.extension().is_some_and(|ending| ending == "json" || ending == "yaml" || ending == "yml")
            });
            for path in specifications {
                if let Err(reason) = found.read_file(path) {
                    found.broken.push(format!("{reason}: {}", path.display()));
                }
            }
        }
        found
    }

    fn read_file(&mut self, path: &Path) -> Result<(), String> {
        let mut text = String::new();
        let file = File::open(path).map_err(|error| rbx_request::reason(&error))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err("not a regular file".to_owned());
        }
        file.take(LONGEST).read_to_string(&mut text).map_err(|error| rbx_request::reason(&error))?;
        // JSON is YAML; the modes of nodes are written in the octal of YAML 1.1.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let spec: SpecFile = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
            let text = error.to_string();
            format!("invalid CDI Spec: {}", text.lines().next().unwrap_or_default())
        })?;
        if !spec.cdi_version.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(format!("invalid CDI Spec: unknown version {:?}", spec.cdi_version));
        }
        let valid_kind =
            spec.kind.split_once('/').is_some_and(|(vendor, class)| is_name(vendor) && is_name(class));
        if !valid_kind {
            return Err(format!("invalid CDI Spec: kind {:?}", spec.kind));
        }
        for entry in spec.devices {
            if !is_name(&entry.name) {
                return Err(format!("invalid CDI Spec: device name {:?}", entry.name));
            }
            let name = format!("{}={}", spec.kind, entry.name);
            let mut annotations = spec.annotations.clone();
            annotations.extend(entry.annotations);
            let device = Device {
                file: path.to_owned(),
                annotations,
                common: spec.container_edits.clone(),
                edits: entry.container_edits,
            };
            if let Some(known) = self.devices.get(&name)
                && known.file.parent() == path.parent()
            {
                let reason = format!("conflicting device {name:?} in {}", known.file.display());
                self.devices.remove(&name);
                return Err(reason);
            }
            self.devices.insert(name, device);
        }
        Ok(())
    }

    /// The qualified names that `--device=NAME` means: a device, the first of a kind, with `*` all of a kind, or all of
    /// a class.
    fn find(&self, wanted: &str) -> Vec<&str> {
        let (kind, name) = wanted.split_once('=').unwrap_or((wanted, ""));
        let of_kind = || {
            let names = self.devices.keys().map(String::as_str);
            names.filter(move |it| it.split_once('=').is_some_and(|(other, _)| other == kind))
        };
        let found: Vec<&str> = match (kind.contains('/'), name) {
            (false, _) => Vec::new(),
            (true, "") => of_kind().take(1).collect(),
            (true, "*") => of_kind().collect(),
            (true, _) => of_kind().filter(|it| *it == wanted).collect(),
        };
        if !found.is_empty() {
            return found;
        }
        let of_class = |device: &&Device| device.annotations.get(CLASS).is_some_and(|class| class == wanted);
        self.devices.iter().filter(|(_, device)| of_class(device)).map(|(name, _)| name.as_str()).collect()
    }

    /// The qualified names of the devices of a step, if it was granted all of them.
    pub(crate) fn resolve(
        &self,
        wanted: &[rbx_dockerfile::Device],
        grants: &DeviceGrants,
    ) -> Result<Vec<String>, BuildError> {
        let mut resolved: Vec<String> = Vec::new();
        let mut forbidden = Vec::new();
        let granted: Vec<&str> = grants.names.iter().flat_map(|(name, _)| self.find(name)).collect();
        for device in wanted {
            let alias = grants
                .names
                .iter()
                .find_map(|(name, stands_for)| stands_for.as_deref().filter(|_| *name == device.name));
            let found = self.find(alias.unwrap_or(&device.name));
            if found.is_empty() && device.required {
                let reason = format!("required device {:?} is not registered", device.name);
                let hint = match self.broken.first() {
                    Some(broken) => format!("a specification was left out: {broken}"),
                    None => "devices are specified in /etc/cdi and /var/run/cdi".to_owned(),
                };
                return Err(BuildError::invalid(reason).hint(hint));
            }
            for name in found {
                let auto = self.devices.get(name).and_then(|it| it.annotations.get(AUTO_ALLOW));
                let auto = auto.is_some_and(|value| parse_bool(value) == Ok(true));
                if !(grants.all || alias.is_some() || auto || granted.contains(&name)) {
                    forbidden.push(name.to_owned());
                } else if !resolved.iter().any(|known| known == name) {
                    resolved.push(name.to_owned());
                }
            }
        }
        let reason = match forbidden.as_slice() {
            [] => return Ok(resolved),
            [device] => format!("device {device} is requested by the build but not allowed"),
            several => format!("devices {} are requested by the build but not allowed", several.join(", ")),
        };
        Err(BuildError::invalid(reason).hint(format!("add --allow device={}", forbidden[0])))
    }

    /// What the devices of these qualified names change about a step.
    pub(crate) fn changes(&self, names: &[String]) -> Result<Changes, BuildError> {
        let mut changes = Changes::default();
        let mut files: Vec<&Path> = Vec::new();
        for name in names {
            let device = self.devices.get(name).ok_or_else(|| {
                BuildError::failed(format!("CDI device injection failed: unresolvable CDI devices {name}"))
            })?;
            let refused = |reason: String| {
                BuildError::invalid(format!("CDI device injection failed: device {name}: {reason}"))
            };
            if !files.contains(&device.file.as_path()) {
                files.push(&device.file);
                changes.add(&device.common).map_err(refused)?;
            }
            changes.add(&device.edits).map_err(refused)?;
        }
        // A mount comes before those below it.
        changes.mounts.sort_by_key(|mount| mount.target.matches('/').count());
        Ok(changes)
    }
}

impl Changes {
    fn add(&mut self, edits: &Edits) -> Result<(), String> {
        if let Some(hook) = edits.hooks.first() {
            return Err(format!("{} hooks are programs of the host, and none are run here", hook.hook_name));
        }
        let others = [
            (!edits.additional_gids.is_empty(), "additionalGids"),
            (!edits.net_devices.is_empty(), "netDevices"),
            (edits.intel_rdt.is_some(), "intelRdt"),
        ];
        if let Some((_, field)) = others.iter().find(|(given, _)| *given) {
            return Err(format!("{field} is not known here"));
        }
        for variable in &edits.env {
            let (name, value) = variable
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("invalid environment variable {variable:?}"))?;
            self.env.retain(|(known, _)| known != name);
            self.env.push((name.to_owned(), value.to_owned()));
        }
        for node in &edits.device_nodes {
            self.mounts.push(Mount { target: node.path.clone(), kind: device(node)? });
        }
        for entry in &edits.mounts {
            let has = |option: &str| entry.options.iter().any(|it| it == option);
            match entry.kind.as_deref() {
                None | Some("" | "bind" | "none") => {}
                Some(_) if has("bind") || has("rbind") => {}
                Some(kind) => return Err(format!("mounts of type {kind:?} are not known here")),
            }
            let kind = MountKind::Bind {
                source: entry.host_path.clone(),
                selector: String::new(),
                read_only: has("ro"),
            };
            self.mounts.push(Mount { target: entry.container_path.clone(), kind });
        }
        Ok(())
    }
}

/// A device node: what the specification leaves out is as on the host.
fn device(node: &DeviceNode) -> Result<MountKind, String> {
    let source = node.host_path.clone().unwrap_or_else(|| PathBuf::from(&node.path));
    let metadata = std::fs::symlink_metadata(&source);
    let on_host = match &metadata {
        Ok(metadata) if metadata.file_type().is_char_device() => Some(DeviceKind::Character),
        Ok(metadata) if metadata.file_type().is_block_device() => Some(DeviceKind::Block),
        _ => None,
    };
    let kind = match node.kind.as_deref() {
        None | Some("") => on_host,
        Some("c" | "u") => Some(DeviceKind::Character),
        Some("b") => Some(DeviceKind::Block),
        Some(other) => return Err(format!("device nodes of type {other:?} are not known here")),
    };
    let kind = kind.ok_or_else(|| match &metadata {
        Err(error) => format!("{}: {}", rbx_request::reason(error), source.display()),
        Ok(_) => format!("{} is not a device node", source.display()),
    })?;
    let facts = metadata.ok().filter(|_| on_host.is_some());
    let number = facts.as_ref().map(MetadataExt::rdev);
    let (major, minor) = match (node.major, node.minor, number) {
        (Some(major), Some(minor), _) => (major, minor),
        (None, None, Some(number)) => (rustix::fs::major(number), rustix::fs::minor(number)),
        _ => return Err(format!("the device number of {} is not known", source.display())),
    };
    let mode = node.file_mode.or_else(|| facts.map(|facts| facts.mode())).unwrap_or(0o666) & 0o777;
    Ok(MountKind::Device {
        source,
        kind,
        major,
        minor,
        mode,
        uid: node.uid.unwrap_or(0),
        gid: node.gid.unwrap_or(0),
    })
}

/// A vendor, class or device name.
fn is_name(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(valid) && edge(text.bytes().next()) && edge(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "cdiVersion: \"0.6.0\"\nkind: vendor.example/device\nannotations:\n  org.mobyproject.buildkit.device.class: fast\n\
        containerEdits:\n  env: [COMMON=1, BOTH=common]\ndevices:\n- name: zero\n  containerEdits:\n    env:\n    - BOTH=zero\n    \
        deviceNodes:\n    - path: /dev/made\n      hostPath: /dev/zero\n      fileMode: 0600\n    mounts:\n    - hostPath: /etc\n      \
        containerPath: /host/etc\n      options: [ro, bind]\n- name: other\n  annotations:\n    \
        org.mobyproject.buildkit.device.autoallow: \"true\"\n  containerEdits:\n    env: [OTHER=1]\n";
    const JSON: &str = r#"{"cdiVersion": "0.8.0", "kind": "other.example/net", "devices": [
        {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}},
        {"name": "absent", "containerEdits": {"deviceNodes": [{"path": "/dev/absent"}]}}]}"#;

    fn devices(files: &[(&str, &str)]) -> (tempfile::TempDir, Devices) {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        let read = Devices::read(&[directory.path().join("first"), directory.path().join("second")]);
        (directory, read)
    }

    fn wanted(name: &str, required: bool) -> Vec<rbx_dockerfile::Device> {
        vec![rbx_dockerfile::Device { name: name.to_owned(), required }]
    }

    fn all() -> DeviceGrants {
        DeviceGrants { all: true, names: Vec::new() }
    }

    #[test]
    fn devices_are_found_by_name_kind_and_class() {
        let (_directory, devices) =
            devices(&[("first/a.yaml", YAML), ("second/b.json", JSON), ("first/c.txt", "x")]);
        assert!(devices.broken.is_empty(), "{:?}", devices.broken);
        for (name, found) in [
            ("vendor.example/device=zero", vec!["vendor.example/device=zero"]),
            ("vendor.example/device", vec!["vendor.example/device=other"]),
            ("vendor.example/device=*", vec!["vendor.example/device=other", "vendor.example/device=zero"]),
            ("fast", vec!["vendor.example/device=other", "vendor.example/device=zero"]),
            ("vendor.example/device=none", vec![]),
            ("vendor.example", vec![]),
        ] {
            assert_eq!(devices.resolve(&wanted(name, false), &all()).expect("names"), found, "{name}");
        }
        let error = devices.resolve(&wanted("none", true), &all()).expect_err("a refusal");
        assert_eq!(error.reason, "required device \"none\" is not registered");
    }

    #[test]
    fn devices_have_to_be_granted() {
        let (_directory, devices) = devices(&[("first/a.yaml", YAML)]);
        let ask = |name: &str, names: &[(&str, Option<&str>)]| {
            let names = names.iter().map(|(name, alias)| ((*name).to_owned(), alias.map(str::to_owned)));
            devices
                .resolve(&wanted(name, true), &DeviceGrants { all: false, names: names.collect() })
                .map_err(|error| error.reason.clone())
        };
        let zero = "vendor.example/device=zero";
        let refused = format!("device {zero} is requested by the build but not allowed");
        assert_eq!(ask(zero, &[]), Err(refused.clone()));
        assert_eq!(ask(zero, &[("vendor.example/device=other", None)]), Err(refused.clone()));
        assert_eq!(ask("fast", &[]), Err(refused), "the other one may always be used");
        assert_eq!(ask(zero, &[(zero, None)]), Ok(vec![zero.to_owned()]));
        assert_eq!(ask(zero, &[("fast", None)]), Ok(vec![zero.to_owned()]));
        assert_eq!(ask("gpu", &[("gpu", Some(zero))]), Ok(vec![zero.to_owned()]));
        assert!(ask("vendor.example/device=other", &[]).is_ok());
    }

    #[test]
    fn changes_are_those_of_the_file_and_the_device() {
        let (_directory, devices) = devices(&[("first/a.yaml", YAML), ("first/b.json", JSON)]);
        let changes = devices.changes(&["vendor.example/device=zero".to_owned()]).expect("changes");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(changes.env, [pair("COMMON", "1"), pair("BOTH", "zero")]);
        let targets: Vec<&str> = changes.mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/dev/made", "/host/etc"]);
        let expected = MountKind::Device {
            source: "/dev/zero".into(),
            kind: DeviceKind::Character,
            major: 1,
            minor: 5,
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        assert_eq!(changes.mounts[0].kind, expected);
        for (name, reason) in [
            ("hooked", "createContainer hooks are programs of the host, and none are run here"),
            ("absent", "no such file or directory: /dev/absent"),
        ] {
            let name = format!("other.example/net={name}");
            let error = devices.changes(std::slice::from_ref(&name)).expect_err("a refusal");
            assert_eq!(error.reason, format!("CDI device injection failed: device {name}: {reason}"));
        }
    }

    #[test]
    fn broken_and_conflicting_files_are_left_out_and_named() {
        let second = YAML.replace("COMMON=1", "COMMON=2");
        let (_directory, devices) = devices(&[
            ("first/a.yaml", YAML),
            ("second/a.yaml", &second),
            ("second/garbage.json", "{\"cdiVersion\": [}"),
            ("second/kind.yaml", "cdiVersion: 0.6.0\nkind: nothing\ndevices: []\n"),
        ]);
        assert_eq!(devices.broken.len(), 2, "{:?}", devices.broken);
        let changes = devices.changes(&["vendor.example/device=other".to_owned()]).expect("changes");
        assert_eq!(changes.env[0].1, "2", "a later directory takes precedence");
        let error = devices.resolve(&wanted("x/y=z", true), &all()).expect_err("a refusal");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("garbage.json")), "{error:?}");
    }
}
