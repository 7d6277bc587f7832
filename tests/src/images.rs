//! Base images, made from the busybox of the parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::Parts;
use crate::registry::{Registry, RegistryOptions};

/// Changes when the images do, so that those made before are made anew.
pub(crate) const RECIPE: &str = "images 1";

/// Debian's names of the architectures that base images are made for, with the image's own.
pub const DEBIAN_ARCHITECTURES: [(&str, &str, Option<&str>); 7] = [
    ("amd64", "amd64", None),
    ("arm64", "arm64", Some("v8")),
    ("armhf", "arm", Some("v7")),
    ("i386", "386", None),
    ("ppc64el", "ppc64le", None),
    ("riscv64", "riscv64", None),
    ("s390x", "s390x", None),
];

/// Where every image looks for programs.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Modification time of every file: 2 January 2020, 03:04:05.
const MTIME: u64 = 1_577_934_245;
/// `created` of every image.
const CREATED: &str = "2020-01-02T03:04:05Z";

/// Makes every base image as an OCI layout in `directory`, and a registry's storage that has them all.
pub(crate) fn make(parts: &Parts, directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory for images can be made");
    for (name, config) in configurations() {
        let path = directory.join(name);
        let mut layout = Layout::new(&path, Compression::default());
        for (debian, architecture, variant) in DEBIAN_ARCHITECTURES {
            layout.add(&system(parts, debian).finish(), architecture, variant, &config);
        }
        layout.finish();
    }
    let storage = directory.join("registry");
    let registry = Registry::on(parts, RegistryOptions::default(), Some(&storage));
    for name in configurations().keys() {
        registry.push(&directory.join(name), &format!("{name}:latest"));
    }
}

/// Makes a small Debian for this machine's architecture as an OCI layout: the packages that are essential, and apt.
///
/// It is the machine's own release, from where the machine's apt gets it.
pub(crate) fn make_debian(directory: &Path) {
    let text = |command: &mut Command| {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let release = text(Command::new("sh").args(["-c", ". /etc/os-release && echo $VERSION_CODENAME"]));
    let targets = text(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ]));
    let archive =
        targets.lines().filter_map(|line| line.split_once(' ')).find(|(suite, _)| *suite == release);
    let (_, archive) = archive.unwrap_or_else(|| panic!("apt has no source for Debian {release}"));
    let architecture = text(Command::new("dpkg").arg("--print-architecture"));
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory for an image can be made");
    let root = directory.join("root.tar");
    text(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=apt", "--format=tar"])
            .arg(release)
            .arg(&root)
            .arg(archive),
    );
    let layer = fs::read(&root).expect("the root can be read");
    fs::remove_file(&root).expect("the root can be removed");
    let known = DEBIAN_ARCHITECTURES.iter().find(|(debian, ..)| *debian == architecture);
    let (_, architecture, variant) =
        known.unwrap_or_else(|| panic!("no image architecture for {architecture}"));
    let mut layout = Layout::new(directory, Compression::default());
    layout.add(&layer, architecture, *variant, &json!({ "Env": [PATH], "Cmd": ["bash"] }));
    layout.finish();
}

/// Every image's configuration by the image's name.
pub(crate) fn configurations() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("busybox", json!({ "Env": [PATH], "Cmd": ["sh"] })),
        (
            "configured",
            json!({
                "Env": [PATH, "BASE=from the base", "SHARED=base"],
                "Entrypoint": ["/bin/echo", "base"],
                "Cmd": ["base", "command"],
                "User": "daemon",
                "WorkingDir": "/srv/base",
                "Volumes": { "/srv/volume": {} },
                "ExposedPorts": { "80/tcp": {} },
                "Labels": { "base": "yes", "shared": "base" },
                "StopSignal": "SIGUSR1",
                "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_u64 },
                "Shell": ["/bin/sh", "-ec"],
            }),
        ),
        (
            "onbuild",
            json!({
                "Env": [PATH],
                "Cmd": ["sh"],
                "OnBuild": ["COPY trigger.txt /from/trigger.txt", "RUN echo triggered > /from/run.txt", "ENV TRIGGERED=1"],
            }),
        ),
    ])
}

/// What is in every image: busybox under all its names, and the files that make a small system.
pub(crate) fn system(parts: &Parts, debian_architecture: &str) -> Tar {
    let mut tar = Tar::default();
    for (path, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("srv", 0o755),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/local", 0o755),
        ("usr/local/bin", 0o755),
        ("var", 0o755),
        ("var/tmp", 0o1777),
    ] {
        tar.directory(path, mode);
    }
    let busybox = fs::read(parts.busybox(debian_architecture)).expect("the parts have this busybox");
    tar.file("bin/busybox", 0o755, &busybox);
    for name in applets(parts) {
        tar.link(&format!("bin/{name}"), "busybox");
    }
    tar.link("usr/bin/env", "../../bin/busybox");
    tar.file(
        "etc/group",
        0o644,
        b"root:x:0:\ndaemon:x:1:\nstaff:x:50:gina\nnogroup:x:65534:\ngina:x:1000:\n",
    );
    tar.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\ngina:x:1000:1000:Gina:/home/gina:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    );
    tar.directory("home/gina", 0o755);
    tar
}

/// Busybox's names, without its own and without those that would shadow it elsewhere.
fn applets(parts: &Parts) -> Vec<String> {
    let output =
        Command::new(parts.busybox("amd64")).arg("--list").output().expect("busybox of amd64 runs here");
    let text = String::from_utf8(output.stdout).expect("names are ASCII");
    let mut names: Vec<String> = text.lines().filter(|name| *name != "busybox").map(str::to_owned).collect();
    names.sort();
    names
}

/// A tar with the same bytes for the same entries, all of them root's.
#[derive(Default)]
pub(crate) struct Tar {
    builder: Option<tar::Builder<Vec<u8>>>,
    directories: BTreeSet<String>,
}

impl Tar {
    fn append(&mut self, kind: EntryType, mode: u32, path: &str, link: Option<&str>, content: &[u8]) {
        let builder = self.builder.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        let appended = match link {
            Some(target) => builder.append_link(&mut header, path, target),
            None => builder.append_data(&mut header, path, content),
        };
        appended.expect("a vector takes what is written");
    }

    /// Adds a directory, unless it is there.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        if self.directories.insert(path.to_owned()) {
            let path = if path.is_empty() { "./".to_owned() } else { format!("{path}/") };
            self.append(EntryType::Directory, mode, &path, None, &[]);
        }
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.append(EntryType::Regular, mode, path, None, content);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.append(EntryType::Symlink, 0o777, path, Some(target), &[]);
    }

    /// Adds another name of a file that was added before.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str) {
        self.append(EntryType::Link, 0o644, path, Some(target), &[]);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let builder = self.builder.expect("there are entries");
        builder.into_inner().expect("a vector takes what is written")
    }
}

/// An OCI layout directory being written.
pub(crate) struct Layout<'path> {
    directory: &'path Path,
    compression: Compression,
    manifests: Vec<Value>,
}

impl<'path> Layout<'path> {
    pub(crate) fn new(directory: &'path Path, compression: Compression) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).expect("a directory for blobs can be made");
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("a file can be written");
        Self { directory, compression, manifests: Vec::new() }
    }

    /// Adds the image of one platform.
    pub(crate) fn add(&mut self, layer: &[u8], architecture: &str, variant: Option<&str>, config: &Value) {
        let mut gzip = GzEncoder::new(Vec::new(), self.compression);
        gzip.write_all(layer).expect("a vector takes what is written");
        let compressed = gzip.finish().expect("a vector takes what is written");
        let mut platform = json!({ "architecture": architecture, "os": "linux" });
        if let Some(variant) = variant {
            platform["variant"] = variant.into();
        }
        let mut image = platform.clone();
        image["created"] = CREATED.into();
        image["config"] = config.clone();
        image["rootfs"] = json!({ "type": "layers", "diff_ids": [digest(layer)] });
        image["history"] = json!([
            { "created": CREATED, "created_by": "busybox and its names" },
            { "created": CREATED, "created_by": "configuration", "empty_layer": true },
        ]);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob("application/vnd.oci.image.config.v1+json", image.to_string().as_bytes()),
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &compressed)],
        });
        let mut descriptor =
            self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        descriptor["platform"] = platform;
        self.manifests.push(descriptor);
    }

    /// Writes a blob and gives its descriptor.
    fn blob(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        fs::write(self.directory.join("blobs").join(digest.replace(':', "/")), content)
            .expect("a blob can be written");
        json!({ "mediaType": media_type, "digest": digest, "size": content.len() })
    }

    /// Writes the image's index, and the layout's own that points to it.
    pub(crate) fn finish(self) {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": self.manifests });
        let mut descriptor = self.blob(media_type, index.to_string().as_bytes());
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        let top = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [descriptor] });
        fs::write(self.directory.join("index.json"), top.to_string()).expect("the index can be written");
    }
}

pub(crate) fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}
