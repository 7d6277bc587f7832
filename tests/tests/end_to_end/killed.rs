//! Builds that are killed at any moment leave a store that works, and images that are right.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Parts, rbx};

/// Builds that are killed before one is let go to its end.
const ROUNDS: u32 = 12;

const DOCKERFILE: &str = "FROM base AS one
COPY src /src
RUN cd /src && find . -type f | sort | xargs cat >/all && sleep 0.05
FROM one
COPY src /again
RUN cat /all >/all2 && rm -r /src
";

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("killed::store_and_images_stay_right", || {
        store_and_images_stay_right().map_err(Failed::from)
    })]
}

fn store_and_images_stay_right() -> Result<(), String> {
    let parts = Parts::locate();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let context = directory.path().join("context");
    for number in 0..400 {
        let path = context.join(format!("src/d{}/f{number}", number % 9));
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, format!("{number} ").repeat(500)).expect("a file");
    }
    fs::write(context.join("Dockerfile"), DOCKERFILE).expect("a Dockerfile");
    let layout = format!("base=oci-layout://{}", parts.layout("busybox").display());
    let build = |home: &str| -> Command {
        let home = directory.path().join(home);
        fs::create_dir_all(&home).expect("a home");
        let output = format!("type=tar,dest={}", home.join("out.tar").display());
        let mut command = rbx(&parts, &home);
        command
            .args(["build", "--progress=plain", "--build-context", &layout, "--output", &output])
            .arg(&context);
        command
    };
    let finish = |home: &str| -> Result<(Vec<u8>, Duration), String> {
        let started = Instant::now();
        let output = build(home).output().expect("docker-rbx runs");
        if !output.status.success() {
            return Err(format!("{home}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok((root(&directory.path().join(home).join("out.tar")), started.elapsed()))
    };

    let (expected, whole) = finish("whole")?;
    for round in 1..=ROUNDS {
        let mut child =
            build("killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docker-rbx runs");
        // Later in each round, and beyond the end of an undisturbed build.
        std::thread::sleep(whole * round / (ROUNDS - 2));
        child.kill().expect("docker-rbx can be killed");
        child.wait().expect("it has ended");
    }
    if left_running(directory.path()) {
        return Err("a step of a killed build still runs".to_owned());
    }
    let (found, _) = finish("killed")?;
    if found != expected {
        return Err("the image after killed builds is not that of an undisturbed one".to_owned());
    }
    let leftovers = fs::read_dir(directory.path().join("killed/store/v1/tmp")).expect("a store").count();
    if leftovers > 0 {
        return Err(format!("{leftovers} temporary files are left"));
    }
    Ok(())
}

/// What an archive holds, times of steps left out.
fn root(archive: &Path) -> Vec<u8> {
    let mut listing = Vec::new();
    let mut archive = tar::Archive::new(fs::File::open(archive).expect("an archive"));
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        listing.extend_from_slice(&entry.path_bytes());
        let header = entry.header();
        listing.extend(header.mode().expect("a mode").to_le_bytes());
        listing.push(header.entry_type().as_byte());
        std::io::Read::read_to_end(&mut entry, &mut listing).expect("content");
    }
    listing
}

/// Whether some process still works below a directory.
fn left_running(directory: &Path) -> bool {
    let mut processes = fs::read_dir("/proc").expect("/proc");
    processes.any(|process| {
        let Ok(process) = process else { return false };
        fs::read_to_string(process.path().join("mountinfo"))
            .is_ok_and(|mounts| mounts.contains(&*directory.join("killed").to_string_lossy()))
    })
}
