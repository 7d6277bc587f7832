//! An ordinary user of a test's own, as whom programs are run.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of `/etc` that say who is who.
const FILES: [&str; 4] = ["passwd", "group", "subuid", "subgid"];

/// Shows the files of a test in the place of the machine's, to nobody else, and becomes the user.
const ENTER: &str = r#"set -eu
home=$1 program=$2 prepare=$3; shift 3
for file in passwd group subuid subgid; do
    mount --bind "$home/etc/$file" "/etc/$file"
done
mount --bind "$program" "$home/bin/${program##*/}"
set -- setpriv --reuid=4242 --regid=4242 "$@"
exec env HOME="$home" sh -euc "$prepare
    exec \"\$@\"" sh "$@"
"#;

/// A user with a home of their own. The machine has no such user: what the programs of the user see in `/etc` is
/// seen by them alone. Dropping it removes the home.
#[derive(Debug)]
pub struct User {
    home: tempfile::TempDir,
    groups: Vec<u32>,
    prepare: String,
}

impl User {
    /// The user's name.
    pub const NAME: &str = "rbx-user";
    /// The user's id, and that of the user's group.
    pub const ID: u32 = 4242;
    /// The first of the other ids that [`User::with_ranges`] has.
    pub const FIRST: u32 = 1_000_000;

    /// A user with as many more ids as distributions give.
    pub fn with_ranges() -> Self {
        Self::new(&format!("{}:{}:65536\n", Self::NAME, Self::FIRST))
    }

    /// A user with no other ids.
    pub fn with_one_id() -> Self {
        Self::new("")
    }

    /// A user with these lines of `/etc/subuid` and `/etc/subgid`.
    ///
    /// # Panics
    ///
    /// If there can be no directory for the home.
    pub fn new(ranges: &str) -> Self {
        let home = tempfile::Builder::new().prefix("rbx-user-").tempdir().expect("a home can be made");
        let user = Self { home, groups: Vec::new(), prepare: String::new() };
        for directory in ["etc", "bin"] {
            fs::create_dir(user.home().join(directory)).expect("a directory can be made");
        }
        user.own(user.home());
        let line = format!("{0}:x:{1}:{1}::{2}:/bin/sh\n", Self::NAME, Self::ID, user.home().display());
        let group = format!("{0}:x:{1}:\n", Self::NAME, Self::ID);
        for (file, text) in FILES.into_iter().zip([line.as_str(), &group, ranges, ranges]) {
            user.set_etc(file, text);
        }
        user
    }

    /// Makes the user a member of another group.
    #[must_use]
    pub fn in_group(mut self, gid: u32) -> Self {
        self.groups.push(gid);
        self
    }

    /// Runs a script as root before every program of the user, in a mount namespace that only those programs share.
    /// Its `HOME` is the user's, and `"$@"` what it goes on with.
    #[must_use]
    pub fn wrapped(mut self, script: &str) -> Self {
        script.clone_into(&mut self.prepare);
        self
    }

    /// Gives a file of `/etc` (`passwd`, `group`, `subuid`, `subgid`) another content.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn set_etc(&self, file: &str, text: &str) {
        let path = self.home().join("etc").join(file);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The user's home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Gives a file or directory to the user, not what is in it.
    ///
    /// # Panics
    ///
    /// If this process is not root.
    pub fn own(&self, path: &Path) {
        chown(path, Some(Self::ID), Some(Self::ID))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Makes `runner`, a `Command` for `unshare` whose environment and directory are the caller's choice, run
    /// `program` as the user. Arguments follow.
    ///
    /// # Panics
    ///
    /// If there is no file `program`.
    pub fn run<'a>(&self, runner: &'a mut Command, program: &Path) -> &'a mut Command {
        let name = program.file_name().expect("a program has a name");
        // The user may not be let into the directory that the program was built in: it is shown in the home.
        let shown = self.home().join("bin").join(name);
        fs::write(&shown, "").unwrap_or_else(|error| panic!("{}: {error}", shown.display()));
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let groups = match groups.as_slice() {
            [] => "--clear-groups".to_owned(),
            groups => format!("--groups={}", groups.join(",")),
        };
        runner.args(["--mount", "--propagation=slave", "sh", "-c", ENTER, "sh"]);
        runner.arg(self.home()).arg(program).arg(&self.prepare).arg(groups).arg(shown)
    }

    /// The program that [`User::run`] starts first.
    pub fn runner() -> PathBuf {
        PathBuf::from("unshare")
    }
}
