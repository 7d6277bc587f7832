//! A Neovim of a later Debian than the machine's, to try the plugin in the newest as well as in an old one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Apt, unpack};
use crate::run::{self, Outcome};

/// Changes when what is fetched changes, so that what was fetched before is fetched anew.
const RECIPE: &str = "neovim 1";

/// Runs it with its own C library, since it wants a later one than the machine's.
const LAUNCHER: &str = r#"#!/bin/sh
root=$(cd "$(dirname "$0")" && pwd)/root/usr
loader=$(echo "$root"/lib/*/ld-linux*.so.*)
libraries=${loader%/*}
export VIMRUNTIME="$root/share/nvim/runtime" LUA_CPATH="$libraries/lua/5.1/?.so;;"
exec "$loader" --library-path "$libraries" "$root/bin/nvim" "$@"
"#;

/// Fetches it unless it is there. `neovim/nvim` in the directory of the parts is the program.
pub(super) fn fetch(parts: &Path) -> Outcome {
    let directory = parts.join("neovim");
    let record = directory.join("recipe");
    if fs::read_to_string(&record).is_ok_and(|recipe| recipe == RECIPE) {
        return Ok(());
    }
    let apt = Apt::made(parts);
    println!("fetching a newer Neovim");
    if fetch_from(&apt, &directory).is_err() {
        // The archive may have a newer one than when its lists were fetched.
        run::visibly(apt.command("apt-get").args(["-q", "update"]))?;
        fetch_from(&apt, &directory)?;
    }
    fs::write(&record, RECIPE).map_err(|error| format!("{}: {error}", record.display()))
}

fn fetch_from(apt: &Apt, directory: &Path) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let _ = fs::remove_dir_all(directory);
    let debs = directory.join("debs");
    fs::create_dir_all(&debs).map_err(failed)?;
    let needed = run::output(apt.command("apt-cache").args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        "neovim",
    ]))?;
    // Names at the beginning of a line are of packages; virtual ones are in angle brackets, and those of other
    // architectures have a colon.
    let is_package =
        |line: &&str| line.starts_with(|c: char| c.is_ascii_alphanumeric()) && !line.contains(':');
    let packages: Vec<&str> = needed.lines().filter(is_package).collect();
    run::visibly(apt.command("apt-get").current_dir(&debs).args(["-q", "download"]).args(&packages))?;
    for entry in fs::read_dir(&debs).map_err(failed)? {
        unpack(&entry.map_err(failed)?.path(), &directory.join("root"))?;
    }
    fs::remove_dir_all(debs).map_err(failed)?;
    let program = directory.join("nvim");
    fs::write(&program, LAUNCHER).map_err(failed)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755)).map_err(failed)?;
    run::visibly(Command::new(&program).args(["--headless", "--clean", "-c", "quit"]))
}
