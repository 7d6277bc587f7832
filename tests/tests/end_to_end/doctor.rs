//! `doctor`: what it says, and that builds agree with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::{Registered, Untouched};
use rbx_tests::{DEBIAN_ARCHITECTURES, Engine, Parts, Store, User, rbx, rbx_as};
use serde_json::Value;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("doctor::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("what_works_for_root_is_built", what_works_for_root_is_built),
        trial("what_works_for_a_user_is_built", what_works_for_a_user_is_built),
        trial("what_the_host_handles_is_built", what_the_host_handles_is_built),
        trial("without_qemu_the_remedy_is_named", without_qemu_the_remedy_is_named),
        trial("a_handler_without_f_is_of_no_use", a_handler_without_f_is_of_no_use),
        trial("where_no_step_runs_it_fails", where_no_step_runs_it_fails),
        trial("the_engine_is_asked", the_engine_is_asked),
        trial("it_leaves_nothing_behind", it_leaves_nothing_behind),
    ]
}

/// A home with settings, for root or a user.
struct Home {
    directory: tempfile::TempDir,
    parts: Parts,
    user: Option<User>,
}

impl Home {
    fn new(user: Option<User>) -> Self {
        let home =
            Self { directory: tempfile::tempdir().expect("a directory"), parts: Parts::locate(), user };
        fs::create_dir_all(home.path("config/rbx")).expect("a directory");
        fs::create_dir(home.path("qemu")).expect("a directory");
        if let Some(user) = &home.user {
            user.own(home.directory.path());
        }
        home.set(r#""registration": "auto""#)
    }

    /// Settings of emulation, beside those that leave no QEMU but the test's.
    fn set(self, more: &str) -> Self {
        let directory = self.path("qemu");
        let text = format!(
            r#"{{"emulation": {{"qemu": {{"image": "", "directories": [{:?}]}}, {more}}}}}"#,
            directory.display().to_string()
        );
        fs::write(self.path("config/rbx/config.json"), text).expect("settings");
        self
    }

    /// Gives the home the QEMU of the parts for some architectures.
    fn with_qemu(self, architectures: &[Architecture]) -> Self {
        for architecture in architectures {
            let name = format!("qemu-{}", architecture.qemu());
            symlink(self.parts.program(&name), self.path("qemu").join(name)).expect("a link");
        }
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        match &self.user {
            None => rbx(&self.parts, self.directory.path()),
            Some(user) => rbx_as(user, &self.parts, self.directory.path()),
        }
    }

    /// What `doctor` says in JSON.
    fn doctor(&self) -> Result<Value, String> {
        let output = output(self.command().args(["doctor", "--format", "json"]))?;
        if !output.status.success() {
            return Err(format!("doctor ended with {}:\n{}", output.status, all(&output)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}:\n{}", all(&output)))
    }

    /// Runs programs of the platforms' own in a `RUN`.
    fn build(&self, platforms: &[&str]) -> Result<(), String> {
        let context = self.path("context");
        fs::create_dir_all(&context).expect("a context");
        fs::write(context.join("Dockerfile"), "FROM base\nRUN [\"/bin/busybox\", \"uname\", \"-m\"]\n")
            .expect("a Dockerfile");
        let base = format!("base=oci-layout://{}", self.parts.layout("busybox").display());
        let mut command = self.command();
        command.args(["build", "--builder=embedded", "--progress=plain", "--no-cache"]);
        command.args(["--build-context", &base, "--platform", &platforms.join(",")]);
        command.arg("--output=type=cacheonly").arg(context);
        let output = output(&mut command)?;
        if output.status.success() { Ok(()) } else { Err(all(&output)) }
    }

    /// What works by `doctor` is built, and what does not work is not, with the same remedy: for every platform that
    /// there is a base image for.
    fn agrees_with_builds(&self, report: &Value) -> Result<(), String> {
        let mut works = Vec::new();
        for (_, architecture, variant) in DEBIAN_ARCHITECTURES {
            let variant = variant.filter(|variant| *variant == "v7").map(|variant| format!("/{variant}"));
            let name = format!("linux/{architecture}{}", variant.unwrap_or_default());
            let found = platform(report, &name)?;
            match found["Works"].as_bool() {
                Some(true) => works.push(found["Platform"].as_str().unwrap_or_default()),
                Some(false) => {
                    let error = self.build(&[&name]).err();
                    let error = error.ok_or_else(|| format!("{name} is built, against doctor's word"))?;
                    expect(&error, found["Remedy"].as_str().unwrap_or_default())?;
                }
                None => return Err(format!("{name} was not tried")),
            }
        }
        self.build(&works).map_err(|error| format!("{works:?} work, says doctor, and:\n{error}"))
    }
}

fn output(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|error| format!("{command:?}: {error}"))
}

fn all(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn expect(text: &str, words: &str) -> Result<(), String> {
    if text.contains(words) { Ok(()) } else { Err(format!("{words:?} is not in:\n{text}")) }
}

fn platforms(report: &Value) -> Result<&Vec<Value>, String> {
    report["Builders"][0]["Platforms"].as_array().ok_or_else(|| format!("no platforms: {report}"))
}

/// What is said of one platform.
fn platform<'a>(report: &'a Value, name: &str) -> Result<&'a Value, String> {
    let found = platforms(report)?.iter().find(|platform| platform["Platform"] == name);
    found.ok_or_else(|| format!("{name} is not in: {report}"))
}

fn is(value: &Value, wanted: &str, report: &Value) -> Result<(), String> {
    if value == wanted { Ok(()) } else { Err(format!("{value}, not {wanted:?}: {report:#}")) }
}

fn what_works_for_root_is_built() -> Result<(), String> {
    let untouched = Untouched::hold();
    let home = Home::new(None).with_qemu(&[Architecture::Arm64, Architecture::Arm, Architecture::S390x]);
    let report = home.doctor()?;
    is(&report["Steps"]["Ids"], "all", &report)?;
    is(&platform(&report, "linux/amd64")?["Runs"], "native", &report)?;
    if untouched.handlers().is_empty() {
        let arm64 = platform(&report, "linux/arm64")?;
        is(&arm64["Runs"], "namespace", &report)?;
        is(&arm64["QEMU"]["Path"], &home.path("qemu/qemu-aarch64").display().to_string(), &report)?;
        expect(arm64["QEMU"]["Version"].as_str().unwrap_or_default(), ".")?;
        is(&platform(&report, "linux/riscv64")?["Runs"], "missing", &report)?;
    }
    // What is shown of the builder is the same.
    let shown = output(home.command().args(["inspect", "embedded"]))?;
    let usable = platforms(&report)?.iter().filter(|platform| platform["Runs"] != "missing");
    let usable: Vec<&str> = usable.filter_map(|platform| platform["Platform"].as_str()).collect();
    expect(&all(&shown), &format!("Platforms:        {}\n", usable.join(", ")))?;
    home.agrees_with_builds(&report)?;
    untouched.assert_same();
    Ok(())
}

fn what_works_for_a_user_is_built() -> Result<(), String> {
    let untouched = Untouched::hold();
    let home = Home::new(Some(User::with_ranges())).with_qemu(&[Architecture::Arm64, Architecture::Ppc64le]);
    let report = home.doctor()?;
    is(&report["Steps"]["Ids"], "ranges", &report)?;
    is(&platform(&report, "linux/arm64")?["Runs"], "namespace", &report)?;
    home.agrees_with_builds(&report)?;
    untouched.assert_same();

    let home = Home::new(Some(User::with_one_id())).with_qemu(&[Architecture::Arm64]);
    let report = home.doctor()?;
    is(&report["Steps"]["Ids"], "one", &report)?;
    expect(report["Steps"]["Remedy"].as_str().unwrap_or_default(), "sub")?;
    let pretty = all(&output(home.command().arg("doctor"))?);
    expect(&pretty, "steps have one id only")?;
    home.build(&["linux/arm64"])
}

fn what_the_host_handles_is_built() -> Result<(), String> {
    let _registered = Registered::qemu(&[Architecture::Arm64, Architecture::Riscv64]);
    let home = Home::new(None).set(r#""registration": "host""#).with_qemu(&[Architecture::S390x]);
    let report = home.doctor()?;
    let arm64 = platform(&report, "linux/arm64")?;
    is(&arm64["Runs"], "host", &report)?;
    is(&arm64["Handler"]["Name"], "rbx-aarch64", &report)?;
    let qemu = home.parts.program("qemu-aarch64").canonicalize().map_err(|error| error.to_string())?;
    is(&arm64["QEMU"]["Path"], &qemu.display().to_string(), &report)?;
    // There is QEMU for it, and it must not be registered.
    is(&platform(&report, "linux/s390x")?["Runs"], "missing", &report)?;
    home.agrees_with_builds(&report)?;
    let user = Home::new(Some(User::with_ranges())).set(r#""registration": "host""#);
    let report = user.doctor()?;
    is(&platform(&report, "linux/riscv64")?["Runs"], "host", &report)?;
    user.agrees_with_builds(&report)
}

fn without_qemu_the_remedy_is_named() -> Result<(), String> {
    let untouched = Untouched::hold();
    if !untouched.handlers().is_empty() {
        return Ok(());
    }
    let home = Home::new(None);
    let report = home.doctor()?;
    let riscv64 = platform(&report, "linux/riscv64")?;
    is(&riscv64["Reason"], "there is no qemu-riscv64 on this machine", &report)?;
    expect(riscv64["Remedy"].as_str().unwrap_or_default(), "apt-get install qemu-user-static")?;
    home.agrees_with_builds(&report)?;
    let pretty = all(&output(home.command().arg("doctor"))?);
    expect(&pretty, "linux/riscv64: there is no qemu-riscv64 on this machine\n")?;
    expect(&pretty, "  Remedy: sudo apt-get install qemu-user-static")?;
    untouched.assert_same();
    Ok(())
}

fn a_handler_without_f_is_of_no_use() -> Result<(), String> {
    let mut registered = Registered::hold();
    let home = Home::new(None).set(r#""registration": "host""#);
    let qemu = home.parts.program("qemu-s390x");
    let handler = rbx_emulation::Handler::qemu(Architecture::S390x, &qemu);
    registered.register(&rbx_emulation::Handler { flags: "P".to_owned(), ..handler }.register_line());
    let report = home.doctor()?;
    let s390x = platform(&report, "linux/s390x")?;
    is(&s390x["Runs"], "missing", &report)?;
    let remedy = s390x["Remedy"].as_str().unwrap_or_default().to_owned();
    // The command does what it says: this is root already.
    let mended = output(Command::new("sh").args(["-euc", &remedy.replacen("sudo ", "", 1)]))?;
    if !mended.status.success() {
        return Err(format!("{remedy}: {}", all(&mended)));
    }
    let report = home.doctor()?;
    let s390x = platform(&report, "linux/s390x")?;
    is(&s390x["Handler"]["Flags"], "PF", &report)?;
    if s390x["Works"] != true {
        return Err(format!("{report:#}"));
    }
    home.build(&["linux/s390x"])
}

fn where_no_step_runs_it_fails() -> Result<(), String> {
    let home = Home::new(Some(User::with_ranges().wrapped("mount --bind /dev/null /proc/keys")));
    let answer = output(home.command().arg("doctor"))?;
    if answer.status.code() != Some(1) {
        return Err(format!("it ended with {}:\n{}", answer.status, all(&answer)));
    }
    for words in ["Steps:         cannot run: no /proc can be mounted", "  Remedy: in a container"] {
        expect(&all(&answer), words)?;
    }
    if all(&answer).contains("yes") {
        return Err(format!("something works:\n{}", all(&answer)));
    }
    Ok(())
}

fn the_engine_is_asked() -> Result<(), String> {
    let engine = Engine::start(Store::Containerd);
    let home = Home::new(None);
    let mut command = home.command();
    command.env("DOCKER_HOST", engine.host()).args(["doctor", "--format", "{{json .Engine}}"]);
    let answer = output(&mut command)?;
    let found: Value = serde_json::from_slice(&answer.stdout).map_err(|error| error.to_string())?;
    if found["Answers"] != true || found["ImageStore"] != "containerd" || found["Platform"] != "linux/amd64" {
        return Err(all(&answer));
    }
    drop(engine);
    let mut command = home.command();
    command.env("DOCKER_HOST", "unix:///no/such/socket").arg("doctor");
    expect(&all(&output(&mut command)?), "Cannot connect to the Docker daemon at unix:///no/such/socket")
}

fn it_leaves_nothing_behind() -> Result<(), String> {
    let home = Home::new(None);
    let list = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory").filter_map(Result::ok);
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let before = list(home.directory.path());
    home.doctor()?;
    let after = list(home.directory.path());
    if before == after { Ok(()) } else { Err(format!("{before:?} became {after:?}")) }
}
