//! The corpus: builds that docker-rbx and BuildKit must do alike.
//!
//! A case is a directory of `tests/corpus`:
//!
//! - `Dockerfile`; `registry.test` in it stands for the address of a registry with the base images,
//! - `Dockerfile.dockerignore`, if it needs one,
//! - `context/`: the build context, if it needs files (the Dockerfile as it stands is put there too),
//! - `prepare.sh`: run in a copy of the context, for what git does not keep (links, modes, times, attributes),
//! - `server/`: files that are served while it is built, over HTTP at `server.test` and, where they are repositories,
//!   at `git://git.test`; and `server.sh`, run in a copy of them, which makes what git does not keep,
//! - `operand`: what is built in place of the context: an address, or `-` for what `stdin.sh`, run in the context,
//!   writes,
//! - `args`: more arguments of `build`, one per line,
//! - `output`: more attributes of the output, `name=value`, one per line,
//! - `explained`: differences that are meant, one per line: what it begins with, ` # `, why. Each must occur;
//! - `explained-rootless`: more of them, where an ordinary user builds, `explained-one-id`, where that user has no
//!   other ids, and `explained-two-platforms`, where it is built for two platforms at once,
//! - `one-platform`: why it is not built for two.
//!
//! Every file of the context is dated 3 February 2020 unless `prepare.sh` gave it a time before 2024.
//!
//! What BuildKit built is kept with the parts (`goldens/`), so the Engine runs only when a case is new or changed.

mod goldens;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::binfmt::Untouched;
use crate::compare::{self, Difference};
use crate::{Engine, Image, Parts, Registry, Server, User, rbx, rbx_as, rbx_program};

/// For what a case is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platforms {
    /// For what its own arguments say, else for this machine.
    Own,
    /// For two at once.
    Two,
}

impl Platforms {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Own => &[],
            Self::Two => &["--platform=linux/amd64,linux/arm64"],
        }
    }
}

/// The file of a case that says why it is for one platform only.
const ONE_PLATFORM: &str = "one-platform";

/// What a build came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It wrote images.
    Built {
        /// The images, as the indexes order them.
        images: Vec<Image>,
        /// The archive's indexes.
        indexes: Vec<Value>,
    },
    /// It failed.
    Failed {
        /// With this exit status.
        status: i32,
        /// And this line, the last that begins with `ERROR:`.
        error: String,
    },
}

/// One case of the corpus.
#[derive(Debug, Clone)]
pub struct Case {
    /// The name of its directory.
    pub name: String,
    directory: PathBuf,
}

impl Case {
    /// All cases by name.
    ///
    /// # Panics
    ///
    /// If the corpus cannot be read, or a directory of it has no Dockerfile.
    pub fn all() -> Vec<Self> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let entries = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut cases: Vec<Self> = entries
            .map(|entry| entry.expect("the corpus can be read").path())
            .map(|directory| {
                assert!(directory.join("Dockerfile").exists(), "{} has no Dockerfile", directory.display());
                let name =
                    directory.file_name().expect("a listed path has a name").to_string_lossy().into_owned();
                Self { name, directory }
            })
            .collect();
        cases.sort_by(|left, right| left.name.cmp(&right.name));
        cases
    }

    /// Its Dockerfile and its arguments.
    pub(crate) fn text_and_args(&self) -> (String, Vec<String>) {
        let read = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        (read("Dockerfile"), read("args").lines().map(str::to_owned).collect())
    }

    /// Builds this case with docker-rbx and with BuildKit (or reads what that built before) and compares.
    ///
    /// # Errors
    ///
    /// The differences that nothing explains, and the explanations that explain nothing.
    pub fn check(&self) -> Result<(), String> {
        let (outcome, output) = self.build_with(Platforms::Own, |parts, work| rbx(parts, work.path()));
        self.judge(Platforms::Own, &outcome, "explained", "").map_err(|report| with_output(&report, &output))
    }

    /// The same for two platforms at once, of which this machine runs one.
    ///
    /// # Errors
    ///
    /// As [`Case::check`].
    pub fn check_two_platforms(&self) -> Result<(), String> {
        // Whoever makes goldens changes the host, and waits for those who want it left alone.
        self.golden_for(Platforms::Two, &Parts::locate());
        let untouched = Untouched::hold();
        let (outcome, output) = self.build_with(Platforms::Two, |parts, work| {
            work.emulate(parts);
            rbx(parts, work.path())
        });
        drop(untouched);
        self.judge(Platforms::Two, &outcome, "explained-two-platforms", "explained")
            .map_err(|report| with_output(&report, &output))
    }

    /// The same with docker-rbx run by an ordinary user who was given a range of ids.
    ///
    /// # Errors
    ///
    /// As [`Case::check`].
    pub fn check_rootless(&self) -> Result<(), String> {
        let user = User::with_ranges();
        let (outcome, output) = self.build_as(&user);
        self.judge(Platforms::Own, &outcome, "explained-rootless", "explained")
            .map_err(|report| with_output(&report, &output))
    }

    /// The same with docker-rbx run by an ordinary user who has no other ids. A build that needs some may fail, but
    /// has to say so.
    ///
    /// # Errors
    ///
    /// As [`Case::check`].
    pub fn check_with_one_id(&self) -> Result<(), String> {
        let user = User::with_one_id();
        let (outcome, output) = self.build_as(&user);
        if let Outcome::Failed { error, .. } = &outcome {
            let said = String::from_utf8_lossy(&output.stderr);
            let told = said.contains("\nHint: ") && said.contains("usermod --add-subuids");
            if told && ["chown", "the user namespace has no such id"].iter().any(|sign| error.contains(sign))
            {
                return Ok(());
            }
        }
        self.judge(Platforms::Own, &outcome, "explained-one-id", "explained")
            .map_err(|report| with_output(&report, &output))
    }

    /// The same with docker-rbx as the client of an Engine's BuildKit, which goldens are made by: nothing may differ.
    ///
    /// # Errors
    ///
    /// What does.
    pub fn check_on(&self, engine: &Engine, registry: &Registry) -> Result<(), String> {
        let program = engine.command(&rbx_program());
        let arguments = ["--builder=default", "--provenance=false"];
        let (outcome, output) = Workspace::new().build(self, program, &arguments, registry);
        self.judge(Platforms::Own, &outcome, "", "").map_err(|report| with_output(&report, &output))
    }

    /// Whether ids may matter to it: it has steps, or owners.
    pub fn needs_ids(&self) -> bool {
        let dockerfile = fs::read_to_string(self.directory.join("Dockerfile")).unwrap_or_default();
        ["RUN", "chown", "USER"].iter().any(|word| dockerfile.contains(word))
    }

    /// Whether it is built for two platforms, too: where its arguments say none, and nothing speaks against it.
    pub fn is_for_two_platforms(&self) -> bool {
        let read = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        !read("args").contains("--platform") && !self.directory.join(ONE_PLATFORM).exists()
    }

    fn build_as(&self, user: &User) -> (Outcome, Output) {
        self.build_with(Platforms::Own, |parts, work| {
            work.open_to(user);
            rbx_as(user, parts, work.path())
        })
    }

    fn build_with(
        &self,
        platforms: Platforms,
        program: impl FnOnce(&Parts, &Workspace) -> Command,
    ) -> (Outcome, Output) {
        let parts = Parts::locate();
        let registry = Registry::with_images();
        let mut work = Workspace::new();
        let server = work.serve(self);
        let context = work.prepare(self, &registry);
        let program = program(&parts, &work);
        let built = work.build_prepared(
            self,
            program,
            &[&["--builder", "embedded"], platforms.arguments()].concat(),
            &registry,
            &context,
        );
        drop(server);
        built
    }

    /// Whether an outcome is like BuildKit's, aside from the differences that two files of the case explain: each of
    /// the first must occur, those of the second may.
    ///
    /// # Errors
    ///
    /// What is not, for a person to read.
    fn judge(
        &self,
        platforms: Platforms,
        outcome: &Outcome,
        explained: &str,
        possible: &str,
    ) -> Result<(), String> {
        let differences = differences(&self.golden_for(platforms, &Parts::locate()), outcome);
        let read = |name| match name {
            "" => String::new(),
            name => fs::read_to_string(self.directory.join(name)).unwrap_or_default(),
        };
        explain(&differences, &read(explained), &read(possible))
    }
}

/// How two outcomes differ; the first is BuildKit's.
pub fn differences(left: &Outcome, right: &Outcome) -> Vec<Difference> {
    match (left, right) {
        (
            Outcome::Built { images: left, indexes: left_indexes },
            Outcome::Built { images: right, indexes: right_indexes },
        ) => {
            let mut differences = compare::indexes(left_indexes, right_indexes);
            differences.extend(compare::archives(left, right));
            differences
        }
        (
            Outcome::Failed { status: left, error: left_error },
            Outcome::Failed { status: right, error: right_error },
        ) => {
            let mut differences = Vec::new();
            for (place, left, right) in
                [("exit status", &left.to_string(), &right.to_string()), ("error", left_error, right_error)]
            {
                if left != right {
                    let (left, right) = (Some(left.clone()), Some(right.clone()));
                    differences.push(Difference { place: place.to_owned(), left, right });
                }
            }
            differences
        }
        (left, right) => {
            let say = |outcome: &Outcome| match outcome {
                Outcome::Built { images, .. } => format!("{} images", images.len()),
                Outcome::Failed { status, error } => format!("failed with {status}: {error}"),
            };
            vec![Difference { place: "outcome".to_owned(), left: Some(say(left)), right: Some(say(right)) }]
        }
    }
}

fn with_output(report: &str, output: &Output) -> String {
    format!("{report}\ndocker-rbx said:\n{}", tail(output))
}

/// Holds differences against the lines of two `explained` files. Those of the second need not occur.
///
/// # Errors
///
/// The differences that no line explains, and the lines that explain nothing, for a person to read.
pub fn explain(differences: &[Difference], explained: &str, possible: &str) -> Result<(), String> {
    let mut reasons: Vec<(&str, bool)> = Vec::new();
    let needed = explained.lines().filter(|line| !line.trim().is_empty()).count();
    for line in explained.lines().chain(possible.lines()).filter(|line| !line.trim().is_empty()) {
        let Some((beginning, _)) = line.split_once(" # ") else {
            return Err(format!("`explained` gives no reason in {line:?}"));
        };
        reasons.push((beginning.trim(), false));
    }
    let mut unexplained = Vec::new();
    for difference in differences {
        let line = difference.to_string();
        match reasons.iter_mut().find(|(beginning, _)| line.starts_with(beginning)) {
            Some((_, used)) => *used = true,
            None => unexplained.push(format!("  {line}")),
        }
    }
    if !unexplained.is_empty() {
        unexplained.insert(0, "BuildKit | docker-rbx".to_owned());
    }
    let unneeded = reasons.iter().take(needed).filter(|(_, used)| !used);
    let report: Vec<String> = unexplained
        .into_iter()
        .chain(unneeded.map(|(beginning, _)| format!("explained, but no difference: {beginning}")))
        .collect();
    if report.is_empty() { Ok(()) } else { Err(report.join("\n")) }
}

/// A directory for one build of one case. Dropping it removes it.
#[derive(Debug)]
pub struct Workspace {
    directory: tempfile::TempDir,
    /// Of the servers of the case, by the names that stand for them.
    addresses: Vec<(String, String)>,
}

impl Workspace {
    /// Makes an empty one.
    ///
    /// # Panics
    ///
    /// If there can be no temporary directory.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rbx-case-").tempdir();
        Self { directory: directory.expect("a temporary directory can be made"), addresses: Vec::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Builds a case with a program that takes `build` and `arguments`.
    ///
    /// # Panics
    ///
    /// If the context cannot be made or the program cannot be run.
    pub fn build(
        &mut self,
        case: &Case,
        program: Command,
        arguments: &[&str],
        registry: &Registry,
    ) -> (Outcome, Output) {
        let server = self.serve(case);
        let context = self.prepare(case, registry);
        let built = self.build_prepared(case, program, arguments, registry, &context);
        drop(server);
        built
    }

    fn build_prepared(
        &self,
        case: &Case,
        mut program: Command,
        arguments: &[&str],
        registry: &Registry,
        context: &Path,
    ) -> (Outcome, Output) {
        let text = |name| self.named(&fs::read_to_string(case.directory.join(name)).unwrap_or_default());
        let (own, attributes, operand) = (text("args"), text("output"), text("operand"));
        let mut destination = format!("--output=type=oci,dest={}", self.archive().display());
        for attribute in attributes.lines() {
            destination.push(',');
            destination.push_str(attribute);
        }
        program
            .current_dir(self.path())
            .arg("build")
            .args(arguments)
            .args(["--progress=plain", "--network=host", "--file=Dockerfile"])
            .arg(destination)
            .args(own.lines().filter(|line| !line.is_empty()));
        let script = case.directory.join("stdin.sh");
        if script.exists() {
            let mut shell = Command::new("sh");
            run(shell.arg("-euc").arg("exec sh -eu \"$0\" >../stdin").arg(script).current_dir(context));
            program.stdin(fs::File::open(self.path().join("stdin")).expect("standard input was written"));
        }
        match operand.trim() {
            "" => program.arg(context),
            operand => program.arg(operand),
        };
        let output = program.output().expect("the program can be run");
        let addresses = [&self.addresses[..], &[("registry.test".to_owned(), registry.address().to_owned())]];
        (read(&output, &self.archive(), &addresses.concat()), output)
    }

    /// Serves what a case has for that.
    fn serve(&mut self, case: &Case) -> Option<Server> {
        let (files, script) = (case.directory.join("server"), case.directory.join("server.sh"));
        if !files.exists() && !script.exists() {
            return None;
        }
        let directory = self.path().join("server");
        fs::create_dir(&directory).expect("a directory can be made");
        if files.exists() {
            run(Command::new("cp").arg("-a").arg(files.join(".")).arg(&directory));
        }
        let server = Server::start(&directory);
        self.addresses = server.names();
        if script.exists() {
            let mut shell = Command::new("sh");
            for (name, address) in &self.addresses {
                shell.env(name.replace('.', "_").to_uppercase(), address);
            }
            for name in ["AUTHOR", "COMMITTER"] {
                shell.env(format!("GIT_{name}_DATE"), "2020-02-03T04:05:06Z");
                shell.env(format!("GIT_{name}_NAME"), "name").env(format!("GIT_{name}_EMAIL"), "mail");
            }
            shell.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("TZ", "UTC");
            run(shell.arg("-eu").arg(script).current_dir(&directory));
        }
        date(&directory);
        Some(server)
    }

    /// A text with addresses for the names of servers.
    fn named(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (name, address)| text.replace(name, address))
    }

    /// Has docker-rbx run foreign steps by the QEMU of the parts.
    fn emulate(&self, parts: &Parts) {
        let directories = [parts.directory().join("root/usr/bin")];
        let config = serde_json::json!({ "emulation": { "qemu": { "directories": directories } } });
        let path = self.path().join("config/rbx");
        fs::create_dir_all(&path).expect("a directory for the configuration can be made");
        fs::write(path.join("config.json"), config.to_string()).expect("the configuration can be written");
    }

    /// Gives the directory to a user, and of what is in it what only its owner may read. All else stays root's, as
    /// files of others that a user builds with.
    fn open_to(&self, user: &User) {
        user.own(self.path());
        let id = User::ID.to_string();
        let closed =
            ["!", "-type", "l", "(", "!", "-perm", "-o=r", "-o", "-type", "d", "!", "-perm", "-o=rx", ")"];
        // A change of the owner takes away bits of the mode and capabilities.
        let give = "for file; do
            mode=$(stat -c %a \"$file\") capability=$(getfattr -dehex -m security.capability \"$file\" 2>/dev/null)
            chown -h $id:$id \"$file\"; chmod $mode \"$file\"
            test -z \"$capability\" || echo \"$capability\" | setfattr --restore=-
        done";
        run(Command::new("find")
            .env("id", &id)
            .arg(self.path())
            .args(closed)
            .args(["-exec", "sh", "-euc", give, "sh", "{}", "+"]));
    }

    fn archive(&self) -> PathBuf {
        self.path().join("image.tar")
    }

    /// Copies the context, runs `prepare.sh` in it and fixes modes and times.
    fn prepare(&self, case: &Case, registry: &Registry) -> PathBuf {
        // BuildKit updates one copy of all contexts whose directories have the same name, and takes files of the
        // same size and time for equal: each case needs a name of its own. `args` say `context`.
        let context = self.path().join(format!("context-{}", case.name));
        fs::create_dir(&context).expect("a directory for the context can be made");
        symlink(&context, self.path().join("context")).expect("a link to the context can be made");
        let source = case.directory.join("context");
        if source.exists() {
            run(Command::new("cp").arg("-a").arg(source.join(".")).arg(&context));
        }
        let dockerfile =
            fs::read_to_string(case.directory.join("Dockerfile")).expect("a case has a Dockerfile");
        // The one in the context is the same in every run, the one built has the registry's port.
        fs::write(context.join("Dockerfile"), &dockerfile).expect("the Dockerfile can be written");
        let dockerfile = self.named(&dockerfile.replace("registry.test", registry.address()));
        fs::write(self.path().join("Dockerfile"), dockerfile).expect("the Dockerfile can be written");
        let ignore = "Dockerfile.dockerignore";
        if case.directory.join(ignore).exists() {
            fs::copy(case.directory.join(ignore), self.path().join(ignore))
                .expect("the ignore file can be copied");
        }
        // git keeps one bit of a mode, and the rest is the umask of whoever checked out.
        run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&context));
        let script = case.directory.join("prepare.sh");
        if script.exists() {
            run(Command::new("sh").arg("-eu").arg(script).current_dir(&context).env("TZ", "UTC"));
        }
        date(&context);
        context
    }
}

/// Dates everything of now as the same day.
pub(crate) fn date(directory: &Path) {
    run(Command::new("find").arg(directory).env("TZ", "UTC").args([
        "-newermt",
        "2024-01-01",
        "-exec",
        "touch",
        "-h",
        "-d",
        "2020-02-03 04:05:06",
        "{}",
        "+",
    ]));
}

fn read(output: &Output, archive: &Path, addresses: &[(String, String)]) -> Outcome {
    let outcome = if output.status.success() {
        built(archive)
    } else {
        let error = last_error(&String::from_utf8_lossy(&output.stderr));
        Outcome::Failed { status: output.status.code().unwrap_or(-1), error }
    };
    rename(outcome, addresses)
}

/// Gives servers the names they have in the case, wherever their addresses are shown.
fn rename(outcome: Outcome, addresses: &[(String, String)]) -> Outcome {
    let renamed = |text: &str| {
        addresses.iter().fold(text.to_owned(), |text, (name, address)| text.replace(address, name))
    };
    match outcome {
        Outcome::Failed { status, error } => Outcome::Failed { status, error: renamed(&error) },
        Outcome::Built { mut images, indexes } => {
            for image in &mut images {
                let config = renamed(&image.config.to_string());
                image.config = serde_json::from_str(&config).expect("an address has no quotes");
            }
            Outcome::Built { images, indexes }
        }
    }
}

fn built(archive: &Path) -> Outcome {
    Outcome::Built { images: Image::read_all(archive), indexes: Image::read_indexes(archive) }
}

/// What BuildKit puts before a reason and docker-rbx does not: its errors begin with the reason. It comes to one error
/// by two ways, of which one says that a function was run.
const WRAPPINGS: [&str; 5] = [
    "failed to solve: ",
    "failed to run Build function: ",
    "failed to compute cache key: ",
    "failed to load cache key: ",
    "failed to calculate checksum of ref ID ",
];

/// The last line of an error, without [`WRAPPINGS`] and what is different in every run: BuildKit's ids and the
/// directories in which it mounts file systems.
fn last_error(log: &str) -> String {
    without_wrappings(&named_error(log))
}

/// An error without what BuildKit puts before a reason and docker-rbx does not.
pub(crate) fn without_wrappings(error: &str) -> String {
    WRAPPINGS.iter().fold(error.to_owned(), |error, wrapping| error.replace(wrapping, ""))
}

fn named_error(log: &str) -> String {
    let error = log.lines().rev().find(|line| line.starts_with("ERROR:")).unwrap_or_default();
    let words = error.split(' ').map(|word| match word.split_once("/cachemounts/buildkit") {
        Some((_, path)) => path.find('/').map_or("/", |slash| &path[slash..]).to_owned(),
        None if word.contains("::") => "ID".to_owned(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn tail(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Kind, Store};

    fn difference(place: &str) -> Difference {
        Difference { place: place.to_owned(), left: Some("1".to_owned()), right: None }
    }

    #[test]
    fn explanations_cover_and_must_be_needed() {
        let differences = [difference("root /a mode"), difference("root /b mode")];
        assert_eq!(explain(&[], "", "config # sometimes\n"), Ok(()));
        assert_eq!(explain(&differences, "root / # all of them\n", ""), Ok(()));
        assert_eq!(
            explain(&differences, "root /a # that one\nconfig # none\n", "").unwrap_err(),
            "BuildKit | docker-rbx\n  root /b mode: 1 | nothing\nexplained, but no difference: config"
        );
        assert!(explain(&differences, "root /\n", "").unwrap_err().contains("no reason"));
    }

    #[test]
    fn outcomes_differ_in_status_and_error() {
        let failed = |status, error: &str| Outcome::Failed { status, error: error.to_owned() };
        let places = |left, right| {
            differences(&left, &right).into_iter().map(|difference| difference.place).collect::<Vec<_>>()
        };
        assert_eq!(places(failed(1, "ERROR: a"), failed(1, "ERROR: a")), Vec::<String>::new());
        assert_eq!(places(failed(1, "ERROR: a"), failed(2, "ERROR: b")), ["exit status", "error"]);
        assert_eq!(
            places(Outcome::Built { images: Vec::new(), indexes: Vec::new() }, failed(1, "ERROR: a")),
            ["outcome"]
        );
    }

    #[test]
    fn errors_are_what_is_the_same_in_every_run() {
        let log = "#5 ERROR: no\n------\nERROR: failed to build: failed to solve: cannot copy to non-directory: \
                   /var/lib/cachemounts/buildkit123/merged/file\n";
        let expected = "ERROR: failed to build: cannot copy to non-directory: /merged/file";
        assert_eq!(last_error(log), expected);
        assert_eq!(last_error("ERROR: of ref abc::def: no\nlater\n"), "ERROR: of ref ID no");
    }

    /// What BuildKit wrote is read whole: kinds, modes, devices, attributes, links, and deletions.
    #[test]
    fn archives_are_read_whole() {
        let parts = Parts::locate();
        let root = |name: &str| {
            let case = Case::all().into_iter().find(|case| case.name == name).unwrap();
            let Outcome::Built { images, .. } = case.golden(&parts) else { panic!("{name} was not built") };
            images[0].root()
        };
        let files = root("special-files");
        assert_eq!((files["s/fifo"].kind, files["s/fifo"].mode), (Kind::Fifo, 0o640));
        assert_eq!((files["s/setuid"].mode, files["s/sticky"].mode), (0o4755, 0o1777));
        let files = root("device-nodes");
        assert_eq!((files["s/null"].kind, files["s/null"].device), (Kind::Character, Some((1, 3))));
        let files = root("capabilities");
        assert!(files["one"].xattrs.contains_key("security.capability"));
        assert!(files["two/copied"].xattrs.is_empty());
        let files = root("hard-links-copied");
        assert_eq!(files["d/two"].link.as_deref(), Some("d/one"));
        assert_eq!(files["d/two"].content.as_deref(), Some(r#""shared\n""#));
        let files = root("removals");
        assert!(files.contains_key("f/again") && files.contains_key("moved/two"));
        assert!(!["g", "d", "e/four", "home/gina", "srv"].iter().any(|gone| files.contains_key(*gone)));
    }

    /// Two runs of BuildKit agree: what the comparison finds in docker-rbx is not noise.
    #[test]
    fn buildkit_agrees_with_itself() {
        let parts = Parts::locate();
        let goldens: Vec<_> = Case::all().into_iter().map(|case| (case.golden(&parts), case)).collect();
        let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
        let mut noise = Vec::new();
        for (golden, case) in goldens {
            let mut work = Workspace::new();
            let (outcome, _) = work.build(&case, engine.buildx(), &["--provenance=false"], &registry);
            // What lies in the address of a server, or in a checkout, is explained for docker-rbx, too.
            let explained = fs::read_to_string(case.directory.join("explained")).unwrap_or_default();
            if let Err(report) = explain(&differences(&golden, &outcome), "", &explained) {
                noise.push(format!("{}: {report}", case.name));
            }
        }
        assert!(noise.is_empty(), "{}", noise.join("\n"));
    }
}
