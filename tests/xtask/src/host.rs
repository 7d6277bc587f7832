//! What the host must have, from its own Debian.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::run::{self, Outcome};

/// Debian packages, each with what it is for.
const PACKAGES: [(&str, &str); 16] = [
    ("attr", "extended attributes in tests"),
    ("busybox-static", "steps in tests"),
    ("ca-certificates", "TLS"),
    ("gcc", "SQLite and ring are compiled from C"),
    ("git", "git contexts"),
    ("libc6-dev", "linking"),
    ("libcap2-bin", "file capabilities in tests"),
    ("mmdebstrap", "a Debian base image in tests"),
    ("neovim", "the language server in a real editor"),
    ("openssh-client", "SSH agents and keys in tests"),
    ("openssl", "certificates of test registries"),
    ("runc", "the Engine's runtime"),
    ("shellcheck", "scripts of Dockerfiles in tests"),
    ("socat", "remote BuildKit endpoints in tests"),
    ("tini", "the first process of containers that want one"),
    ("uidmap", "rootless builds"),
];

/// Installs the packages that are missing.
pub(crate) fn install() -> Outcome {
    let mut missing = Vec::new();
    for (name, purpose) in PACKAGES {
        if !is_installed(name) {
            println!("{name} is missing ({purpose})");
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0) {
        return Err(format!("not root: install these yourself: apt-get install {}", missing.join(" ")));
    }
    run::visibly(Command::new("apt-get").args(["-qq", "update"]))?;
    run::visibly(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends"])
            .args(missing),
    )
}

fn is_installed(package: &str) -> bool {
    run::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}
