//! The Debian packages that base images are made from: of the parts' release, for platforms that the machine may
//! not run, fetched and not unpacked.

use std::fs;
use std::path::Path;

use crate::parts::Apt;
use crate::run::{self, Outcome};

/// Packages that lie in a directory of their own.
struct Set {
    directory: &'static str,
    /// Debian's name of the architecture.
    architecture: &'static str,
    packages: &'static [&'static str],
    /// Whether what they depend on is fetched, too.
    whole: bool,
}

const SETS: [Set; 4] = [
    Set { directory: "golang-amd64", architecture: "amd64", packages: &["golang-go"], whole: true },
    Set { directory: "golang-arm64", architecture: "arm64", packages: &["golang-go"], whole: true },
    // What every Debian has, and its installer of packages.
    Set { directory: "debian-arm64", architecture: "arm64", packages: &["?essential", "apt"], whole: true },
    // What a step installs there.
    Set { directory: "repository-arm64", architecture: "arm64", packages: &["make"], whole: false },
];

/// Changes when what is fetched changes.
const RECIPE: &str = "packages 1";

/// Fetches the packages unless they are there.
pub(crate) fn fetch(parts: &Path) -> Outcome {
    let directory = parts.join("packages");
    let stamp = directory.join("recipe");
    if fs::read_to_string(&stamp).is_ok_and(|recipe| recipe == RECIPE) {
        return Ok(());
    }
    let apt = Apt::made(parts);
    println!("fetching the packages of base images");
    if fetch_sets(&apt, &directory).is_err() {
        // The archive may have newer ones than when its lists were fetched.
        run::visibly(apt.command("apt-get").args(["-q", "update"]))?;
        fetch_sets(&apt, &directory)?;
    }
    fs::write(&stamp, RECIPE).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn fetch_sets(apt: &Apt, directory: &Path) -> Outcome {
    let _ = fs::remove_dir_all(directory);
    SETS.iter().try_for_each(|set| {
        let path = directory.join(set.directory);
        fs::create_dir_all(path.join("partial")).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = apt.command_for("apt-get", set.architecture);
        command.current_dir(&path).arg("-q");
        if set.whole {
            let archives = format!("Dir::Cache::Archives={}", path.display());
            command.args(["--yes", "--no-install-recommends", "--download-only", "-o", &archives, "install"]);
        } else {
            command.arg("download");
        }
        run::visibly(command.args(set.packages))
    })
}
