//! Daemons that end with the test that started them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a program until standard input ends, then ends it, unmounts what it left and removes its directory.
///
/// A shell does this and not the test, since a test may be killed: its end of the pipe closes all the same.
const KEEPER: &str = r#"
log=$1 directory=$2; shift 2
trap : TERM INT HUP
"$@" </dev/null >"$log" 2>&1 & daemon=$!
echo $daemon >"$directory/daemon.pid"
read -r _
kill -TERM $daemon 2>/dev/null
patience=150
while [ -e /proc/$daemon/exe ] && [ $patience -gt 0 ]; do sleep 0.1; patience=$((patience - 1)); done
kill -KILL $daemon 2>/dev/null
wait $daemon
while read -r _ point _; do
    case $point in "$directory"/*) echo "$point";; esac
done </proc/mounts | sort -r | while read -r point; do umount -l "$point"; done
rm -rf "$directory"
"#;

/// A running daemon with a directory of its own. Dropping it ends the daemon and removes the directory.
#[derive(Debug)]
pub(crate) struct Daemon {
    directory: PathBuf,
    keeper: Child,
    /// Open for as long as the daemon is to run.
    leash: Option<ChildStdin>,
}

impl Daemon {
    /// A new, empty directory for a daemon, with a short path: Unix sockets allow 107 bytes.
    pub(crate) fn directory(name: &str) -> PathBuf {
        tempfile::Builder::new()
            .prefix(&format!("rbx-{name}-"))
            .tempdir()
            .expect("a temporary directory can be made")
            .keep()
    }

    /// Starts `program`, which owns `directory` from now on.
    pub(crate) fn start(directory: PathBuf, program: &Path, arguments: &[String], path: &OsString) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(directory.join("log"))
            .arg(&directory)
            .arg(program)
            .args(arguments)
            .env("PATH", path)
            .env("HOME", &directory)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be run");
        let leash = keeper.stdin.take();
        Self { directory, keeper, leash }
    }

    /// Waits until `ready`, for at most `limit`. False if it has not become so.
    pub(crate) fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        while !ready() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// The daemon's own directory.
    pub(crate) fn own_directory(&self) -> &Path {
        &self.directory
    }

    /// The process that the daemon runs as.
    pub(crate) fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.directory.join("daemon.pid")).ok()?.trim().parse().ok()
    }

    /// What the daemon printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.leash.take());
        // The keeper's patience is bounded.
        let _ = self.keeper.wait();
    }
}
