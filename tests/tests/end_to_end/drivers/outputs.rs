//! What builds write, and where.

use rbx_tests::table::{Build, Seen, Verdict};

/// Two layers, one of them a step's, with kinds of files that get lost easily.
const FILES: &[(&str, &str)] = &[
    (
        "Dockerfile",
        "FROM {registry}/busybox AS files\nRUN mkdir -p /o/d && cd /o && echo one > d/file && ln -s d/file link \
         && ln d/file hard && chmod 6755 d/file && chown 5:6 d/file && touch -h -d '2015-01-02 03:04:05' link d/file d\n\
         FROM scratch\nCOPY --from=files /o /\nCOPY own /own\nLABEL of=test\nCMD [\"/own\"]\n",
    ),
    ("own", "own\n"),
];

/// What needs no step, and so is there for every platform.
const COPIED: &[(&str, &str)] = &[
    ("Dockerfile", "FROM {registry}/busybox\nARG TARGETARCH\nCOPY own /own\nLABEL of=$TARGETARCH\n"),
    ("own", "own\n"),
];

const TWO: &str = "build --platform=linux/amd64,linux/arm64 -o type=oci,dest={out}/image.tar {context}";

pub(super) const BUILDS: &[Build] = &[
    Build {
        name: "oci",
        files: FILES,
        commands: &["build -o type=oci,dest={out}/image.tar {context}"],
        seen: &[Seen::Archive("image.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "oci-named",
        files: FILES,
        commands: &[
            "build -t team/app:1 -t registry.example/app -o type=oci,dest={out}/image.tar,oci-mediatypes=false --metadata-file={out}/metadata {context}",
        ],
        environment: &[("BUILDX_METADATA_PROVENANCE", "disabled")],
        seen: &[Seen::Archive("image.tar"), Seen::Json("metadata")],
        ..Build::DEFAULT
    },
    Build {
        name: "oci-directory",
        files: FILES,
        commands: &["build -o type=oci,dest={out}/image,tar=false {context}"],
        seen: &[Seen::Layout("image")],
        ..Build::DEFAULT
    },
    Build {
        name: "oci-uncompressed",
        files: FILES,
        commands: &[
            "build -o type=oci,dest={out}/image.tar,compression=uncompressed,force-compression=true {context}",
        ],
        seen: &[Seen::Archive("image.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "docker",
        files: FILES,
        commands: &["build -t app:1 -o type=docker,dest={out}/image.tar {context}"],
        seen: &[Seen::Archive("image.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "tar",
        files: FILES,
        commands: &["build -o type=tar,dest={out}/files.tar {context}"],
        seen: &[Seen::Tar("files.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "tar-printed",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build -o - {context}"],
        seen: &[],
        ..Build::DEFAULT
    },
    Build {
        name: "local",
        files: FILES,
        commands: &["build -o {out}/files {context}"],
        seen: &[Seen::Directory("files")],
        ..Build::DEFAULT
    },
    Build {
        name: "local-over",
        files: FILES,
        script: "mkdir -p {out}/files/own/full && echo x > {out}/files/own/full/file && echo x > {out}/files/stays",
        commands: &["build -o {out}/files {context}"],
        seen: &[Seen::Directory("files")],
        ..Build::DEFAULT
    },
    Build {
        name: "local-platforms",
        files: COPIED,
        commands: &["build --platform=linux/amd64,linux/arm64 -o {out}/files {context}"],
        seen: &[Seen::Directory("files")],
        ..Build::DEFAULT
    },
    Build {
        name: "local-platform-split",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build -o type=local,dest={out}/files,platform-split=true {context}"],
        seen: &[Seen::Directory("files")],
        ..Build::DEFAULT
    },
    Build {
        name: "platforms",
        files: COPIED,
        commands: &[TWO],
        seen: &[Seen::Archive("image.tar")],
        ..Build::DEFAULT
    },
    Build { name: "none", files: FILES, commands: &["build {context}"], ..Build::DEFAULT },
    Build {
        name: "cacheonly",
        files: FILES,
        commands: &["build -o type=cacheonly {context}"],
        ..Build::DEFAULT
    },
    Build {
        name: "several",
        files: FILES,
        commands: &[
            "build -o type=oci,dest={out}/image.tar -o type=tar,dest={out}/files.tar -o {out}/files {context}",
        ],
        seen: &[Seen::Archive("image.tar"), Seen::Tar("files.tar"), Seen::Directory("files")],
        ..Build::DEFAULT
    },
    Build {
        name: "load",
        files: FILES,
        commands: &[
            "build --load -t table/load:1 --iidfile={out}/iid --metadata-file={out}/metadata {context}",
        ],
        environment: &[("BUILDX_METADATA_PROVENANCE", "disabled")],
        seen: &[Seen::Loaded("table/load:1"), Seen::Text("iid"), Seen::Json("metadata")],
        ..Build::DEFAULT
    },
    Build {
        name: "load-again",
        files: FILES,
        commands: &[
            "build --load -t table/again:1 {context}",
            "build --load -t table/again:1 -t table/again:2 {context}",
        ],
        seen: &[Seen::Loaded("table/again:2")],
        ..Build::DEFAULT
    },
    Build {
        name: "load-platforms",
        files: COPIED,
        commands: &["build --platform=linux/amd64,linux/arm64 --load -t table/platforms:1 {context}"],
        seen: &[Seen::Loaded("table/platforms:1")],
        ..Build::DEFAULT
    },
    Build {
        name: "quiet",
        files: FILES,
        commands: &["build -q --load -t table/quiet:1 {context}"],
        seen: &[Seen::Printed],
        ..Build::DEFAULT
    },
    Build {
        name: "annotations-of-no-index",
        files: FILES,
        commands: &["build --annotation=index:one=1 -o type=oci,dest={out}/image.tar {context}"],
        verdict: Verdict::Fails(1, "index annotations not supported for single platform export"),
        ..Build::DEFAULT
    },
    Build {
        name: "iidfile",
        files: FILES,
        commands: &["build --iidfile={out}/iid {image} {context}"],
        seen: &[Seen::Text("iid")],
        ..Build::DEFAULT
    },
    Build {
        name: "push",
        files: FILES,
        commands: &["build --push -t {push}/app:1 --metadata-file={out}/metadata {context}"],
        environment: &[("BUILDX_METADATA_PROVENANCE", "disabled")],
        seen: &[Seen::Pushed("app:1"), Seen::Json("metadata")],
        ..Build::DEFAULT
    },
    Build {
        name: "push-platforms",
        files: COPIED,
        commands: &["build --platform=linux/amd64,linux/arm64 --push -t {push}/app:2 {context}"],
        seen: &[Seen::Pushed("app:2")],
        ..Build::DEFAULT
    },
    Build {
        name: "push-without-a-name",
        files: FILES,
        commands: &["build --push {context}"],
        verdict: Verdict::Fails(1, "tag is needed when pushing to registry"),
        ..Build::DEFAULT
    },
    Build {
        name: "annotations",
        files: FILES,
        commands: &[
            "build --annotation=one=1 --annotation=manifest-descriptor:two=2 -o type=oci,dest={out}/image.tar {context}",
        ],
        seen: &[Seen::Archive("image.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "annotations-of-an-index",
        files: COPIED,
        commands: &[
            "build --platform=linux/amd64,linux/arm64 --annotation=manifest[linux/arm64],index:one=1 -o type=oci,dest={out}/image.tar {context}",
        ],
        seen: &[Seen::Archive("image.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "unknown-output",
        files: FILES,
        commands: &["build -o type=zip,dest={out}/x {context}"],
        verdict: Verdict::Fails(1, "exporter \"zip\" could not be found"),
        ..Build::DEFAULT
    },
];
