//! Disks that are full: one clear error, a store that stays whole, and the same image once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Parts, Registry, rbx, stress};

const DOCKERFILE: &str = "FROM registry.test/busybox AS one
COPY src /src
RUN cat /src/* >/all && cat /all /all >/twice
FROM one
COPY --from=one /twice /copied
RUN rm -r /src /copied
";

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("full::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("a_store_without_space_stays_whole", || sweep("size", &SIZES)),
        trial("a_store_without_inodes_stays_whole", || sweep("nr_inodes", &INODES)),
        trial("a_full_destination_is_an_error", a_full_destination_is_an_error),
    ]
}

/// Sizes of the store's file system, from one that holds hardly a database to one that nearly suffices.
const SIZES: [&str; 14] =
    ["16k", "100k", "300k", "700k", "1500k", "3m", "5m", "7m", "9m", "11m", "13m", "15m", "17m", "19m"];
/// What the first of these do not even have room for is an empty database.
const TINY: usize = 2;
const INODES: [&str; 9] = ["4", "12", "20", "35", "60", "90", "120", "200", "400"];

/// A small file system, mounted where everybody sees it as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, option: &str) -> Self {
        fs::create_dir_all(&path).expect("a directory");
        let disk = Self(path);
        disk.mount(&format!("mode=700,{option}"));
        disk
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0);
        assert!(mount.status().expect("mount").success(), "cannot mount a tmpfs with {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

struct Work {
    directory: tempfile::TempDir,
    _registry: Registry,
    parts: Parts,
}

impl Work {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let registry = Registry::with_images();
        let context = directory.path().join("context/src");
        fs::create_dir_all(&context).expect("a context");
        for number in 0..50_u32 {
            // Text that does not compress to nothing.
            let words = (0..5000_u32).map(|at| format!("{} ", at.wrapping_mul(2_654_435_761) ^ number));
            fs::write(context.join(format!("f{number}")), words.collect::<String>()).expect("a file");
        }
        let dockerfile = DOCKERFILE.replace("registry.test", registry.address());
        fs::write(directory.path().join("context/Dockerfile"), dockerfile).expect("a Dockerfile");
        Self { directory, _registry: registry, parts: Parts::locate() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, home: &str) -> Command {
        let home = self.path(home);
        fs::create_dir_all(&home).expect("a home");
        let mut command = rbx(&self.parts, &home);
        command.stdin(Stdio::null());
        command
    }

    fn build(&self, home: &str, out: &Path) -> Output {
        let id = self.path("id");
        let _ = fs::remove_file(&id);
        let mut command = self.command(home);
        command
            .args(["build", "--progress=plain", "--build-arg=SOURCE_DATE_EPOCH=1700000000", "--iidfile"])
            .arg(&id)
            .arg(format!("--output=type=oci,rewrite-timestamp=true,dest={}", out.display()))
            .arg(self.path("context"));
        command.output().expect("docker-rbx runs")
    }

    /// Builds; answers the image's ID.
    fn built(&self, home: &str) -> Result<String, String> {
        let output = self.build(home, &self.path("out.tar"));
        if !output.status.success() {
            return Err(format!("{home}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        fs::read_to_string(self.path("id")).map_err(|error| error.to_string())
    }

    fn prune(&self, home: &str) -> Result<(), String> {
        let output =
            self.command(home).args(["prune", "--all", "--force"]).output().expect("docker-rbx runs");
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("pruning: {}", String::from_utf8_lossy(&output.stderr)))
        }
    }
}

fn sweep(option: &str, limits: &[&str]) -> Result<(), String> {
    let work = Work::new();
    let expected = work.built("whole")?;
    let mut faults = Vec::new();
    for (number, limit) in limits.iter().enumerate() {
        let one = || full(&work, option, limit, number < TINY, &expected);
        faults.extend(one().err().map(|fault| format!("{option}={limit}: {fault}")));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// Builds in a store on a disk that is too small, and again when it is large enough.
fn full(work: &Work, option: &str, limit: &str, tiny: bool, expected: &str) -> Result<(), String> {
    let disk = Disk::new(work.path("full/store"), &format!("{option}={limit}"));
    let output = work.build("full", &work.path("out.tar"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(1) {
        return Err(format!("{} without space: {text}", output.status));
    }
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("ERROR: ")).collect();
    let [error] = errors.as_slice() else { return Err(format!("not one error: {text}")) };
    // A step that found the disk full says so itself, in its own words.
    let by_step = error.contains("did not complete successfully");
    let words = if by_step { "No space left on device" } else { "no space left on device" };
    let told = if by_step { text.contains(words) } else { error.contains(words) };
    if !told || !by_step && !text.contains("Hint: ") {
        return Err(format!("not said plainly: {text}"));
    }
    // Space can be made without having any.
    let pruned = work.prune("full");
    if !tiny {
        pruned?;
    }
    disk.mount(&format!("remount,{}", if option == "size" { "size=200m" } else { "nr_inodes=100000" }));
    let found = work.built("full")?;
    if found != expected {
        return Err(format!("the image is {found} instead of {expected}"));
    }
    stress::whole(&work.path("full/store"))
}

fn a_full_destination_is_an_error() -> Result<(), String> {
    let work = Work::new();
    let disk = Disk::new(work.path("out"), "size=1m");
    let out = disk.0.join("out.tar");
    let output = work.build("home", &out);
    let text = String::from_utf8_lossy(&output.stderr);
    let error = text.lines().find(|line| line.starts_with("ERROR: ")).unwrap_or_default();
    let plain = error.to_lowercase().contains("no space left on device") && error.contains("out.tar");
    if output.status.code() != Some(1) || !plain {
        return Err(format!("{}: {text}", output.status));
    }
    let left: Vec<_> =
        fs::read_dir(&disk.0).expect("a directory").flatten().map(|it| it.file_name()).collect();
    if !left.is_empty() {
        return Err(format!("left in the destination: {left:?}"));
    }
    stress::whole(&work.path("home/store"))
}
