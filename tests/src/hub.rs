//! Base images under the names that they have on Docker Hub, made from Debian packages and for platforms that this
//! machine may not run: `golang` and `arm64v8/ubuntu`. Nothing of theirs is run to make them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use crate::Parts;
use crate::images::{Layout, PATH, Tar, system};
use crate::registry::{Registry, RegistryOptions};

/// Changes when the images do, so that those made before are made anew.
const RECIPE: &str = "hub 4";

/// Directories that no image needs.
const DOCUMENTS: [&str; 5] = ["doc/", "info/", "lintian/", "locale/", "man/"];

/// Where the Debian in `arm64v8/ubuntu` expects packages. A proxy has to know the name.
const SOURCE: &str = "deb [trusted=yes] http://packages.test/ ./\n";

/// What the images are made from, by name and version.
pub(crate) fn recipe(parts: &Parts) -> String {
    let sets = ["golang-amd64", "golang-arm64", "debian-arm64", "repository-arm64"];
    let names = sets.iter().flat_map(|set| packages(parts, set));
    let names = names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    format!("{RECIPE}\n{}\n", names.collect::<Vec<_>>().join("\n"))
}

/// Makes the images as OCI layouts, `registry` with both, and `repository` with packages for steps to install.
pub(crate) fn make(parts: &Parts, directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory for images can be made");
    let storage = directory.join("registry");
    let registry = Registry::on(parts, RegistryOptions::default(), Some(&storage));
    for (name, make) in [("library/golang", golang as fn(&Parts, &Path)), ("arm64v8/ubuntu", ubuntu)] {
        let layout = directory.join("layout");
        make(parts, &layout);
        registry.push(&layout, &format!("{name}:latest"));
        fs::remove_dir_all(&layout).expect("a pushed layout can be removed");
    }
    repository(parts, &directory.join("repository"));
}

/// The packages of a set, in the order of their names.
fn packages(parts: &Parts, set: &str) -> Vec<PathBuf> {
    let directory = parts.directory().join("packages").join(set);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask parts`", directory.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "deb")).collect();
    assert!(!paths.is_empty(), "{} has no packages: run `cargo xtask parts`", directory.display());
    paths.sort();
    paths
}

/// Go, and busybox for the shell. Go's programs are static: what its package depends on is for other programs.
fn golang(parts: &Parts, directory: &Path) {
    let mut layout = Layout::new(directory, Compression::fast());
    for (architecture, variant) in [("amd64", None), ("arm64", Some("v8"))] {
        let mut tar = system(parts, architecture);
        for package in packages(parts, &format!("golang-{architecture}")) {
            if package.file_name().is_some_and(|name| name.to_string_lossy().starts_with("golang-")) {
                unpack(&mut tar, &package);
            }
        }
        tar.directory("go", 0o755);
        // Collecting garbage less often saves a quarter of the compiler's time, which is long under QEMU.
        let env = [PATH, "GOTOOLCHAIN=local", "GOPATH=/go", "GOGC=400"];
        layout.add(&tar.finish(), architecture, variant, &json!({ "Env": env, "Cmd": ["sh"] }));
    }
    layout.finish();
}

/// A Debian in the place of an Ubuntu: its essential packages and apt, as good as installed.
fn ubuntu(parts: &Parts, directory: &Path) {
    let mut tar = Tar::default();
    let mut status = String::new();
    for package in packages(parts, "debian-arm64") {
        let about = control(&package);
        let field = |name: &str| {
            about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        let name = match (field("Package"), field("Multi-Arch")) {
            (name, "same") => format!("{name}:{}", field("Architecture")),
            (name, _) => name.to_owned(),
        };
        let files = unpack(&mut tar, &package);
        tar.file(&format!("var/lib/dpkg/info/{name}.list"), 0o644, files.as_bytes());
        status += &about.replacen('\n', "\nStatus: install ok installed\n", 1);
        status.push('\n');
    }
    tar.file("var/lib/dpkg/status", 0o644, status.as_bytes());
    tar.directory("var/tmp", 0o1777);
    // What the scripts of the packages would have made.
    let users = "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    tar.file("etc/passwd", 0o644, users.as_bytes());
    tar.file("etc/group", 0o644, b"root:x:0:\nadm:x:4:\nnogroup:x:65534:\n");
    tar.file("etc/apt/sources.list", 0o644, SOURCE.as_bytes());
    let mut layout = Layout::new(directory, Compression::fast());
    layout.add(&tar.finish(), "arm64", Some("v8"), &json!({ "Env": [PATH], "Cmd": ["/bin/bash"] }));
    layout.finish();
}

/// What a package says about itself, as lines of fields.
fn control(package: &Path) -> String {
    let output = Command::new("dpkg-deb").arg("--field").arg(package).output().expect("dpkg-deb can be run");
    assert!(output.status.success(), "{}: {output:?}", package.display());
    String::from_utf8(output.stdout).expect("fields are text")
}

/// Whether no image needs a file. Most of what Go brings is tests, and tools that do not compile.
fn is_left_out(path: &str) -> bool {
    let below = |directory: &str| path.strip_prefix(directory);
    if let Some((_, path)) = below("usr/share/go-").and_then(|rest| rest.split_once('/')) {
        return ["api/", "misc/", "src/cmd/", "test/"].iter().any(|part| path.starts_with(part))
            || path.contains("/testdata/")
            || path.ends_with("_test.go");
    }
    if let Some((_, path)) = below("usr/lib/go-").and_then(|rest| rest.split_once("/pkg/tool/")) {
        return path.split_once('/').is_some_and(|(_, tool)| !["asm", "compile", "link"].contains(&tool));
    }
    below("usr/share/").is_some_and(|path| DOCUMENTS.iter().any(|part| path.starts_with(part)))
}

/// Adds the files of a package, and lists them as dpkg does.
fn unpack(tar: &mut Tar, package: &Path) -> String {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .expect("dpkg-deb can be run");
    let mut archive = Archive::new(child.stdout.take().expect("the output is a pipe"));
    let mut files = String::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a tar entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        files.extend(["/", if path.is_empty() { "." } else { &path }, "\n"]);
        if is_left_out(&path) {
            continue;
        }
        let header = entry.header();
        let mode = header.mode().expect("a mode");
        let link = entry.link_name().expect("a link").map(|link| link.to_string_lossy().into_owned());
        match (header.entry_type(), link) {
            (EntryType::Directory, _) => tar.directory(&path, mode),
            (EntryType::Symlink, Some(target)) => tar.link(&path, &target),
            (EntryType::Link, Some(target)) => tar.hard_link(&path, target.trim_start_matches("./")),
            (kind, _) => {
                assert!(kind.is_file(), "{}: {path} is a {kind:?}", package.display());
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("a whole tar entry");
                tar.file(&path, mode, &content);
            }
        }
    }
    // What is after the archive's end has to be read, too.
    io::copy(&mut archive.into_inner(), &mut io::sink()).expect("a pipe can be read");
    assert!(child.wait().is_ok_and(|status| status.success()), "{} cannot be unpacked", package.display());
    files
}

/// A repository of packages: `make`, and one that needs it, and whose script makes files with other owners.
fn repository(parts: &Parts, directory: &Path) {
    let root = directory.join("root");
    fs::create_dir_all(root.join("DEBIAN")).expect("a directory can be made");
    let about = "Package: build-tools\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example>\n\
                 Depends: make\nDescription: what the example needs\n";
    fs::write(root.join("DEBIAN/control"), about).expect("a file can be written");
    let script = "#!/bin/sh\nset -e\ninstall -d -o 1001 -g 1002 -m 2750 /var/lib/build-tools\n\
                  install -o 0 -g 1002 -m 4750 /usr/bin/id /usr/bin/build-tools\n";
    fs::write(root.join("DEBIAN/postinst"), script).expect("a file can be written");
    fs::set_permissions(root.join("DEBIAN/postinst"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&root)
        .arg(directory.join("build-tools.deb"))
        .output();
    assert!(built.as_ref().is_ok_and(|output| output.status.success()), "{built:?}");
    fs::remove_dir_all(&root).expect("a directory can be removed");

    let mut files = BTreeMap::from([("build-tools.deb".to_owned(), directory.join("build-tools.deb"))]);
    for package in packages(parts, "repository-arm64") {
        let name = control(&package).lines().next().unwrap_or_default().replacen("Package: ", "", 1);
        let file = format!("{name}.deb");
        fs::copy(&package, directory.join(&file)).expect("a package can be copied");
        files.insert(file.clone(), directory.join(file));
    }
    let index = files.iter().map(|(file, path)| {
        let content = fs::read(path).expect("a package can be read");
        let digest = hex::encode(Sha256::digest(&content));
        format!("{}Filename: ./{file}\nSize: {}\nSHA256: {digest}\n", control(path), content.len())
    });
    let index = index.collect::<Vec<_>>().join("\n");
    fs::write(directory.join("Packages"), &index).expect("a file can be written");
    let digest = hex::encode(Sha256::digest(&index));
    let release = format!(
        "Suite: test\nDate: Thu, 02 Jan 2020 03:04:05 UTC\nSHA256:\n {digest} {} Packages\n",
        index.len()
    );
    fs::write(directory.join("Release"), release).expect("a file can be written");
}
