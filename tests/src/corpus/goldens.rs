//! What BuildKit makes of the cases, kept with the parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rbx_emulation::Architecture;
use sha2::{Digest, Sha256};

use super::{Case, ONE_PLATFORM, Outcome, Platforms, Workspace, built, last_error, rename, run};
use crate::binfmt::Registered;
use crate::{Engine, Parts, Registry, Store};

/// The files of a case that no build depends on.
const NOTES: [&str; 5] =
    ["explained", "explained-rootless", "explained-one-id", "explained-two-platforms", ONE_PLATFORM];

/// Changes when goldens made before are of no use.
const RECIPE: &str = "goldens 3";

impl Case {
    /// What BuildKit makes of this case.
    ///
    /// # Panics
    ///
    /// If no Engine can be run.
    pub fn golden(&self, parts: &Parts) -> Outcome {
        self.golden_for(Platforms::Own, parts)
    }

    pub(super) fn golden_for(&self, platforms: Platforms, parts: &Parts) -> Outcome {
        let name = match platforms {
            Platforms::Own => "goldens",
            Platforms::Two => "goldens-two-platforms",
        };
        let directory = parts.directory().join(name);
        fs::create_dir_all(&directory).expect("a directory for goldens can be made");
        let path = |case: &Self| directory.join(format!("{}-{}", case.name, case.key(parts)));
        if !path(self).exists() {
            // One process makes all that are missing with one Engine; the others wait for it.
            let _lock = parts.lock(name);
            let mut all = Self::all();
            all.retain(|case| platforms == Platforms::Own || case.is_for_two_platforms());
            let missing: Vec<&Self> = all.iter().filter(|case| !path(case).exists()).collect();
            if !missing.is_empty() {
                // BuildKit runs foreign steps by handlers of the host.
                let two = platforms == Platforms::Two;
                let _handlers = two.then(|| Registered::qemu(&[Architecture::Arm64]));
                let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
                for case in missing {
                    let mut work = Workspace::new();
                    let arguments = [&["--provenance=false"], platforms.arguments()].concat();
                    let (_, output) = work.build(case, engine.buildx(), &arguments, &registry);
                    work.keep(&output, &path(case));
                }
                remove_stale(&directory, &all.iter().map(path).collect());
            }
        }
        read_outcome(&path(self))
    }

    /// Names everything that BuildKit's result depends on.
    fn key(&self, parts: &Parts) -> String {
        let mut hash = Sha256::new();
        hash.update(RECIPE);
        hash.update(crate::images::RECIPE);
        hash.update(parts.versions());
        let mut pending = vec![self.directory.clone()];
        let mut files = BTreeMap::new();
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).expect("a case can be read") {
                let path = entry.expect("a case can be read").path();
                if path.is_dir() && !path.is_symlink() {
                    pending.push(path.clone());
                }
                files.insert(path.clone(), path);
            }
        }
        for note in NOTES {
            files.remove(&self.directory.join(note));
        }
        for path in files.values() {
            let name = path.strip_prefix(&self.directory).expect("a file of the case");
            hash.update(name.as_os_str().as_encoded_bytes());
            if path.is_file() {
                let content = fs::read(path).expect("a case can be read");
                hash.update([is_executable(path).into()]);
                hash.update(content.len().to_le_bytes());
                hash.update(content);
            }
        }
        hex::encode(&hash.finalize()[..12])
    }
}

impl Workspace {
    /// Moves the result to where goldens are; complete or not there.
    fn keep(&self, output: &Output, golden: &Path) {
        let directory = self.path().join("golden");
        fs::create_dir(&directory).expect("a directory can be made");
        if output.status.success() {
            fs::copy(self.archive(), directory.join("image.tar")).expect("the image can be kept");
        }
        let status = output.status.code().unwrap_or(-1);
        fs::write(directory.join("status"), status.to_string()).expect("the exit status can be kept");
        fs::write(directory.join("log"), &output.stderr).expect("the log can be kept");
        let lines: Vec<String> =
            self.addresses.iter().map(|(name, address)| format!("{name} {address}\n")).collect();
        fs::write(directory.join("addresses"), lines.concat()).expect("the addresses can be kept");
        run(Command::new("cp").arg("-a").arg(&directory).arg(golden.with_extension("new")));
        fs::rename(golden.with_extension("new"), golden).expect("the golden can be put in place");
    }
}

fn read_outcome(golden: &Path) -> Outcome {
    let text = |name| fs::read_to_string(golden.join(name)).unwrap_or_default();
    let addresses: Vec<(String, String)> = text("addresses")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect();
    let archive = golden.join("image.tar");
    let outcome = if archive.exists() {
        built(&archive)
    } else {
        Outcome::Failed { status: text("status").parse().unwrap_or(-1), error: last_error(&text("log")) }
    };
    rename(outcome, &addresses)
}

/// Removes the goldens of cases as they were before.
fn remove_stale(directory: &Path, current: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the goldens can be read") {
        let path = entry.expect("the goldens can be read").path();
        if !current.contains(&path) {
            fs::remove_dir_all(&path).expect("a stale golden can be removed");
        }
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0)
}
