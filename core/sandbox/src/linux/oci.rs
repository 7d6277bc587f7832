//! A step run by an OCI runtime, runc or one that takes the same arguments.
//!
//! The step's own process mounts the root and the step's mounts as it always does, writes a bundle into the step's file
//! system in memory, and becomes the runtime. The runtime is thus first in a PID namespace and in mounts of its own: when
//! it is killed, its container goes with it, and the bundle and its state vanish with the last process.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::CapabilitySet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::child::DEFAULT_CAPABILITIES;
use super::command::Command;
use super::failure::{During, Failure, Result, Stage};
use super::mount::{self, INERT};
use super::root::{
    Builder, DEVICES_OF_INSECURE, LOOP_DEVICES, LOOP_MAJOR, MASKED_PROC, MASKED_SYS, READ_ONLY_PROC, SHM_SIZE,
};
use super::sys;
use super::user::{self, Ids};
use crate::{Mount, Network, Security, Step, seccomp};

/// What the runtime has to say of itself, in the step's work directory.
const LOG: &str = "runtime.log";
/// As much of it as is read.
const LONGEST_LOG: u64 = 64 << 10;
/// The container's name: there is one in the runtime's own state directory.
const CONTAINER: &str = "step";

/// A step's root, ready for a runtime.
pub(super) struct Bundle {
    /// The arguments of the runtime, with its own name.
    args: Vec<String>,
    /// Mount points made in the upper tree, to be removed after the step.
    pub(super) stubs: Vec<Vec<u8>>,
}

impl Bundle {
    /// Builds the root of `step` in this process's mount namespace, and describes the rest.
    pub(super) fn prepare(step: &Step, runtime: &Path, unified: bool) -> Result<Self> {
        let what = || "preparing the OCI runtime's bundle".to_owned();
        let builder = Builder::new(step)?;
        let ids = user::resolve(builder.root(), &step.user)?;
        builder.make_working_directory(&step.working_dir, &ids)?;
        let scratch = step.rootfs.work.join("scratch");
        let mut stubs = Vec::new();
        // What lies in /dev comes after the runtime has mounted it.
        let mut later = Vec::new();
        for (index, mount) in step.mounts.iter().enumerate() {
            if mount.target.trim_start_matches('/').starts_with("dev/") {
                let place = scratch.join(builder.park(index, mount)?);
                later.push((mount, place));
            } else {
                builder.mount(index, mount, &mut stubs)?;
            }
        }
        // The processes that the runtime has to do with are those of this namespace.
        let proc = mount::filesystem("proc", &[], INERT).during(Stage::Mount, what)?;
        mount::attach(&proc, mount::place(CWD, "/proc").during(Stage::Mount, what)?)
            .during(Stage::Mount, what)?;

        let config = config(step, &ids, &scratch.join("root"), &later, unified)?;
        let write = |name: &str, content: &[u8]| std::fs::write(scratch.join(name), content);
        write("config.json", &serde_json::to_vec(&config).unwrap_or_default())
            .map_err(|error| Failure::new(Stage::Other, format!("{}: {error}", what())))?;
        let text = |path: &Path| path.display().to_string();
        let args = vec![
            text(runtime),
            "--root".to_owned(),
            text(&scratch.join("state")),
            "--log".to_owned(),
            text(&step.rootfs.work.join(LOG)),
            "--log-format".to_owned(),
            "json".to_owned(),
            "run".to_owned(),
            "--bundle".to_owned(),
            text(&scratch),
            CONTAINER.to_owned(),
        ];
        Ok(Self { args, stubs })
    }

    /// Becomes the runtime, and returns only if that fails.
    pub(super) fn execute(&self) -> Result<Infallible> {
        let runtime = self.args.first().map(String::as_str).unwrap_or_default();
        let c_string = |text: &str| {
            std::ffi::CString::new(text)
                .map_err(|_| Failure::new(Stage::Other, format!("a NUL byte stands in {text:?}")))
        };
        let args = self.args.iter().map(|text| c_string(text)).collect::<Result<Vec<_>>>()?;
        // A runtime looks for nothing in its environment but helpers.
        let env = [c_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?];
        sys::execve(&c_string(runtime)?, &args, &env)
            .during(Stage::Other, || format!("the OCI runtime {runtime} cannot be executed"))
    }
}

/// Why the runtime failed, if it did, from what it wrote down in `work`.
pub(super) fn failure(runtime: &Path, work: &Path) -> Option<Failure> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(work.join(LOG), flags, Mode::empty()).ok()?;
    let mut log = Vec::new();
    File::from(file).take(LONGEST_LOG).read_to_end(&mut log).ok()?;
    let lines =
        serde_json::Deserializer::from_slice(&log).into_iter::<Line>().map_while(std::result::Result::ok);
    let line = lines.filter(|line| line.level == "error" || line.level == "fatal").last()?;
    // The last of what was wrapped is the reason; what the command is to blame for, this sandbox says in the same words.
    let reason = line.msg.split("unable to start container process: ").last().unwrap_or(&line.msg);
    if reason.starts_with("exec: ") || reason.starts_with("exec /") {
        return Some(Failure::new(Stage::Exec, reason));
    }
    let name = runtime.file_name().unwrap_or(runtime.as_os_str()).display();
    Some(Failure::new(Stage::Other, format!("{name}: {}", line.msg)))
}

fn config(
    step: &Step,
    ids: &Ids,
    root: &Path,
    later: &[(&Mount, std::path::PathBuf)],
    unified: bool,
) -> Result<Value> {
    let sandboxed = step.security == Security::Sandbox;
    let available = rustix::thread::capabilities(None)
        .during(Stage::Other, || "reading capabilities".to_owned())?
        .permitted;
    let kept = names(if sandboxed { available & DEFAULT_CAPABILITIES } else { available });
    let none: Vec<String> = Vec::new();
    let ambient = if sandboxed { &none } else { &kept };
    let rlimits: Vec<Value> = step
        .rlimits
        .iter()
        .map(|limit| {
            let kind = format!("RLIMIT_{}", limit.name.to_uppercase());
            json!({ "type": kind, "soft": limit.soft, "hard": limit.hard })
        })
        .collect();
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    namespaces.extend((step.network == Network::None).then_some("network"));
    namespaces.extend(unified.then_some("cgroup"));
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();

    let mount = |kind: &str, target: &str, source: &str, options: &[&str]| json!({ "type": kind, "destination": target, "source": source, "options": options });
    let size = format!("size={}", step.shm_size.unwrap_or(SHM_SIZE));
    let access = if sandboxed { "ro" } else { "rw" };
    let mut mounts = vec![
        mount("proc", "/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("tmpfs", "/dev/shm", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]),
        mount("mqueue", "/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("sysfs", "/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("cgroup", "/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", access]),
    ];
    // They are what they have to be already: a clone keeps that.
    mounts.extend(
        later.iter().map(|(it, place)| mount("bind", &it.target, &place.display().to_string(), &["rbind"])),
    );
    let masked: Vec<String> = MASKED_PROC
        .iter()
        .map(|name| format!("/proc/{name}"))
        .chain(MASKED_SYS.iter().map(|name| format!("/sys/{name}")))
        .collect();
    let read_only: Vec<String> = READ_ONLY_PROC.iter().map(|name| format!("/proc/{name}")).collect();
    let mut devices = Vec::new();
    let mut allowed = vec![json!({ "allow": false, "access": "rwm" })];
    if !sandboxed {
        devices.extend(DEVICES_OF_INSECURE.map(|(name, major, minor)| {
            json!({ "path": format!("/dev/{name}"), "type": "c", "major": major, "minor": minor, "fileMode": 0o666 })
        }));
        devices.extend((0..LOOP_DEVICES).map(|minor| {
            let path = format!("/dev/loop{minor}");
            json!({ "path": path, "type": "b", "major": LOOP_MAJOR, "minor": minor, "fileMode": 0o666 })
        }));
        allowed = vec![json!({ "allow": true, "access": "rwm" })];
    }
    for (mount, _) in later {
        if let crate::MountKind::Device { kind, major, minor, .. } = &mount.kind {
            let kind = if *kind == crate::DeviceKind::Block { "b" } else { "c" };
            allowed.push(
                json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": "rwm" }),
            );
        }
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "devices": devices,
        "resources": { "devices": allowed },
        "maskedPaths": if sandboxed { masked } else { Vec::new() },
        "readonlyPaths": if sandboxed { read_only } else { Vec::new() },
    });
    if sandboxed {
        linux["seccomp"] = seccomp::oci_profile();
    }
    let directory = if step.working_dir.is_empty() { "/" } else { &step.working_dir };
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": step.hostname,
        "root": { "path": root },
        "process": {
            "terminal": false,
            "user": { "uid": ids.uid, "gid": ids.gid, "additionalGids": ids.groups, "umask": 0o022 },
            "args": step.args,
            "env": Command::new(step, &ids.home)?.environment(),
            "cwd": directory,
            "capabilities": {
                "bounding": kept, "effective": kept, "permitted": kept, "inheritable": ambient, "ambient": ambient,
            },
            "rlimits": rlimits,
            "noNewPrivileges": false,
        },
        "mounts": mounts,
        "linux": linux,
    }))
}

/// Capabilities as the runtime specification spells them.
fn names(capabilities: CapabilitySet) -> Vec<String> {
    capabilities.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_names_of_the_specification() {
        let names = names(DEFAULT_CAPABILITIES);
        assert_eq!(names.len(), 14);
        for name in ["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE", "CAP_SETFCAP"] {
            assert!(names.iter().any(|it| it == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn failures_are_the_last_that_the_runtime_wrote_down() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = |text: &str| {
            std::fs::write(directory.path().join(LOG), text).expect("a log");
            failure(Path::new("/usr/sbin/runc"), directory.path())
                .map(|failure| (failure.stage, failure.message))
        };
        assert_eq!(log(""), None);
        assert_eq!(log("{\"level\":\"warning\",\"msg\":\"nothing much\"}\n"), None);
        let exec = r#"{"level":"error","msg":"runc run failed: unable to start container process: exec: \"x\": executable file not found in $PATH"}"#;
        let words = "exec: \"x\": executable file not found in $PATH";
        assert_eq!(log(exec), Some((Stage::Exec, words.to_owned())));
        let other = "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"runc run failed: no\"}\ngarb";
        assert_eq!(log(other), Some((Stage::Other, "runc: runc run failed: no".to_owned())));
    }
}
