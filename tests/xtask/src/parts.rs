//! The real parts that tests run on: Docker Engine with its BuildKit, buildx, a registry, crane, QEMU, and busybox
//! for seven architectures.
//!
//! They are Debian packages of a later release than the machine's, unpacked into one directory and not installed.
//! The archive's address is the one that the machine's own apt uses.

mod neovim;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Outcome};
use crate::{House, bases};

/// Debian releases to take the parts from, the first that has them all.
const SUITES: [&str; 2] = ["forky", "trixie"];

/// Packages for this machine, with the upstream version that the tests were written against.
const PACKAGES: [(&str, &str); 7] = [
    ("docker.io", "28.5."),
    ("containerd", "2.1."),
    ("docker-buildx", "0.29."),
    ("docker-cli", "28.5."),
    ("docker-registry", "2.8."),
    ("crane", "0.20."),
    ("qemu-user", "11."),
];

/// Debian's architectures of the busybox images.
const ARCHITECTURES: [&str; 7] = ["amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x"];

/// Changes when what is fetched changes, so that parts fetched before are fetched anew.
const RECIPE: &str = "parts 1";

/// Fetches the parts unless they are there, and names each whose version is not the expected one.
pub(crate) fn fetch(house: &House) -> Outcome {
    let parts = &house.parts;
    fs::create_dir_all(parts).map_err(|error| format!("cannot create {}: {error}", parts.display()))?;
    // Two at once would unpack into the same directory.
    let lock =
        File::create(parts.join(".lock")).map_err(|error| format!("cannot lock the parts: {error}"))?;
    lock.lock().map_err(|error| format!("cannot lock the parts: {error}"))?;

    let record = parts.join("versions");
    let complete = |text: &String| text.lines().next() == Some(RECIPE);
    let recorded = fs::read_to_string(&record).ok().filter(complete);
    let versions = recorded.map_or_else(
        || {
            let versions = fetch_anew(parts)?;
            fs::write(&record, &versions).map_err(|error| format!("{}: {error}", record.display()))?;
            Ok::<_, String>(versions)
        },
        Ok,
    )?;
    neovim::fetch(parts)?;
    println!("parts in {}:", parts.display());
    for line in versions.lines().skip(1) {
        let (package, version) = line.split_once(' ').unwrap_or((line, ""));
        let expected =
            PACKAGES.iter().find(|(name, _)| *name == package).map_or("", |(_, expected)| expected);
        if upstream(version).starts_with(expected) {
            println!("  {package} {version}");
        } else {
            println!("  {package} {version}: DIFFERS, the tests were written against {expected}*");
        }
    }
    bases::fetch(parts)
}

/// A Debian version without its epoch.
fn upstream(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, upstream)| upstream)
}

fn fetch_anew(parts: &Path) -> Outcome<String> {
    let archive = archive()?;
    let mut reasons = Vec::new();
    for suite in SUITES {
        println!("fetching the parts from Debian {suite}");
        match fetch_from(parts, &archive, suite) {
            Ok(versions) => return Ok(versions),
            Err(reason) => reasons.push(format!("{suite}: {reason}")),
        }
    }
    Err(format!("no Debian release has the parts\n{}", reasons.join("\n")))
}

/// The address of the Debian archive that this machine's apt is configured with.
fn archive() -> Outcome<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename =
        release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    let find = || -> Outcome<Option<String>> {
        let targets = run::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(RELEASE) $(REPO_URI)",
            "Created-By: Packages",
        ]))?;
        let mut targets = targets.lines().filter_map(|line| line.split_once(' '));
        Ok(targets.find(|(suite, _)| *suite == codename || *suite == "stable").map(|(_, uri)| uri.to_owned()))
    };
    if let Some(uri) = find()? {
        return Ok(uri);
    }
    // Targets are listed once their lists were fetched.
    run::visibly(Command::new("apt-get").args(["-qq", "update"]))?;
    find()?.ok_or_else(|| format!("apt has no source for Debian {codename:?} (run `apt-get indextargets`)"))
}

fn fetch_from(parts: &Path, archive: &str, suite: &str) -> Outcome<String> {
    let apt = Apt::new(parts, archive, suite)?;
    run::visibly(apt.command("apt-get").args(["-q", "update"]))?;
    let packages: Vec<String> = PACKAGES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(ARCHITECTURES.iter().map(|architecture| format!("busybox-static:{architecture}")))
        .collect();

    let debs = parts.join("debs");
    let root = parts.join("root");
    for directory in [&debs, &root, &parts.join("busybox")] {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    run::visibly(apt.command("apt-get").current_dir(&debs).args(["-q", "download"]).args(&packages))?;

    let mut versions = vec![];
    for entry in fs::read_dir(&debs).map_err(|error| error.to_string())? {
        let deb = entry.map_err(|error| error.to_string())?.path();
        let about = run::output(
            Command::new("dpkg-deb")
                .args(["-W", "--showformat", "${Package} ${Version} ${Architecture}"])
                .arg(&deb),
        )?;
        let fields: Vec<&str> = about.split(' ').collect();
        let [package, version, architecture] = fields[..] else {
            return Err(format!("{} describes itself as {about:?}", deb.display()));
        };
        if package == "busybox-static" {
            unpack(&deb, &parts.join("busybox").join(architecture))?;
            versions.push(format!("busybox-static:{architecture} {version}"));
        } else {
            unpack(&deb, &root)?;
            versions.push(format!("{package} {version}"));
        }
    }
    fs::remove_dir_all(&debs).map_err(|error| error.to_string())?;
    // What was made from other parts is made anew.
    for made in ["dind", "images", "goldens", "language", "packages"] {
        let _ = fs::remove_dir_all(parts.join(made));
    }
    versions.sort();
    Ok(format!("{RECIPE}\n{}\n", versions.join("\n")))
}

fn unpack(deb: &Path, into: &Path) -> Outcome {
    run::output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into)).map(|_| ())
}

/// An apt of its own: its sources, lists and cache lie in one directory, and it knows of no installed package.
pub(crate) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// The one of the parts that are there.
    pub(crate) fn made(parts: &Path) -> Self {
        Self { directory: parts.join("apt") }
    }

    fn new(parts: &Path, archive: &str, suite: &str) -> Outcome<Self> {
        let Self { directory } = Self::made(parts);
        let _ = fs::remove_dir_all(&directory);
        for inner in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(inner)).map_err(|error| error.to_string())?;
        }
        // Where the keyring package of Debian puts it; older systems trust the same keys without being told.
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed =
            if Path::new(keyring).exists() { format!("[signed-by={keyring}] ") } else { String::new() };
        fs::write(directory.join("sources.list"), format!("deb {signed}{archive} {suite} main\n"))
            .map_err(|error| error.to_string())?;
        Ok(Self { directory })
    }

    /// A program of apt that knows all architectures of the parts.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.configured(program);
        for architecture in ARCHITECTURES {
            command.args(["-o", &format!("APT::Architectures::={architecture}")]);
        }
        command
    }

    /// A program of apt as on a machine of this architecture.
    pub(crate) fn command_for(&self, program: &str, architecture: &str) -> Command {
        let mut command = self.configured(program);
        command.args(["-o", &format!("APT::Architecture={architecture}")]);
        command.args(["-o", &format!("APT::Architectures::={architecture}")]);
        command
    }

    fn configured(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.directory.join(name).display().to_string();
        let options = [
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            "Dir::State::Status=/dev/null".to_owned(),
            format!("Dir::Cache={}", at("cache")),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false".to_owned(),
        ];
        for option in options {
            command.args(["-o", &option]);
        }
        command
    }
}
