//! A small image and a way to run a step on it.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use rbx_emulation::Qemu;
use rbx_sandbox::{Exit, Helper, Network, Output, RootFs, Running, SandboxError, Step};
use tempfile::TempDir;

pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where worlds are made; the build's directory if nothing else is said.
pub(crate) static PLACE: OnceLock<PathBuf> = OnceLock::new();

/// The emulators of every world's helper; none if nothing else is said.
pub(crate) static EMULATORS: OnceLock<Vec<Qemu>> = OnceLock::new();

/// A directory with a base image in it; every step gets trees of its own beside it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) helper: Helper,
}

/// What a step leaves behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The output of a step that has to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.exit.code, 0, "{self:?}");
        self.stdout
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' environment is theirs to read")]
fn busybox() -> PathBuf {
    let set = std::env::var_os("RBX_TEST_BUSYBOX").map(PathBuf::from);
    set.into_iter()
        .chain(["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from))
        .find(|path| path.exists())
        .expect("a static busybox: install Debian's busybox-static or set RBX_TEST_BUSYBOX")
}

impl World {
    pub(crate) fn new() -> Self {
        Self::emulating(EMULATORS.get().map_or(&[], Vec::as_slice))
    }

    /// A world whose helper has these emulators.
    pub(crate) fn emulating(emulators: &[Qemu]) -> Self {
        let place = PLACE.get().map_or(Path::new(env!("CARGO_TARGET_TMPDIR")), PathBuf::as_path);
        let dir = TempDir::new_in(place).expect("a directory");
        make_base(&dir.path().join("base"), &busybox());
        Self { dir, helper: Helper::start(emulators).expect("a helper") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a directory in this world.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Where the changes of the step `name` are.
    pub(crate) fn upper(&self, name: &str) -> PathBuf {
        self.path(name).join("upper")
    }

    /// A step over the base image that runs `script`. Its trees are in the directory `name`.
    pub(crate) fn step(&self, name: &str, script: &str) -> Step {
        self.directory(&format!("{name}/upper"));
        self.directory(&format!("{name}/work"));
        let rootfs = RootFs {
            lower: vec![self.path("base")],
            upper: self.upper(name),
            work: self.path(name).join("work"),
        };
        Step {
            env: vec![("PATH".to_owned(), PATH.to_owned())],
            working_dir: "/".to_owned(),
            hostname: "buildkitsandbox".to_owned(),
            network: Network::Host,
            ..Step::bare(rootfs, ["/bin/sh", "-c", script].map(str::to_owned).to_vec())
        }
    }

    pub(crate) fn run(&self, step: &Step) -> Result<Outcome, SandboxError> {
        self.start(step)?.finish()
    }

    pub(crate) fn start(&self, step: &Step) -> Result<Started, SandboxError> {
        let (output, stdout, stderr) = pipes();
        let running = self.helper.run(step, &output)?;
        Ok(Started { running, stdout, stderr })
    }

    /// Runs `script` over the base image.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Outcome {
        let step = self.step("step", script);
        let outcome = self.run(&step).expect("a step that runs");
        self.clear("step");
        outcome
    }

    /// Removes the trees of the step `name`.
    pub(crate) fn clear(&self, name: &str) {
        fs::remove_dir_all(self.path(name)).expect("trees that can be removed");
    }
}

/// A step on its way.
pub(crate) struct Started {
    pub(crate) running: Running,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Started {
    pub(crate) fn finish(self) -> Result<Outcome, SandboxError> {
        let stderr = thread::spawn(move || text(self.stderr));
        let stdout = text(self.stdout);
        let stderr = stderr.join().expect("a reader");
        self.running.wait().map(|exit| Outcome { exit, stdout, stderr })
    }

    /// Reads standard output up to the first line break.
    pub(crate) fn first_line(&self) -> String {
        let mut file = fs::File::from(self.stdout.try_clone().expect("a descriptor"));
        let mut line = Vec::new();
        let mut byte = [0];
        while file.read(&mut byte).expect("output") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("UTF-8")
    }
}

pub(crate) fn pipes() -> (Output, OwnedFd, OwnedFd) {
    let (stdout, out) = std::io::pipe().expect("a pipe");
    let (stderr, err) = std::io::pipe().expect("a pipe");
    (Output { stdout: out.into(), stderr: err.into() }, stdout.into(), stderr.into())
}

fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(fd).read_to_string(&mut text).expect("output that is UTF-8");
    text
}

/// Makes an image of a static busybox for any CPU.
pub(crate) fn make_base(base: &Path, program: &Path) {
    for directory in ["bin", "etc", "tmp", "home/bob", "dev", "proc", "sys"] {
        fs::create_dir_all(base.join(directory)).expect("a directory");
    }
    fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    fs::copy(program, base.join("bin/busybox")).expect("busybox");
    let applets = Command::new(busybox()).arg("--list").output().expect("busybox runs").stdout;
    for applet in String::from_utf8(applets).expect("names").lines().filter(|name| *name != "busybox") {
        symlink("busybox", base.join("bin").join(applet)).expect("a link");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n";
    fs::write(base.join("etc/passwd"), passwd).expect("passwd");
    fs::write(base.join("etc/group"), "root:x:0:\nwheel:x:10:bob\nbob:x:1000:\n").expect("group");
}
