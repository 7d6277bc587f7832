//! Where builds take files from.

use rbx_tests::table::{Build, Seen, Verdict};

const IMAGE: &[Seen] = &[Seen::Image];

macro_rules! image {
    ($flags:literal) => {
        &[concat!("build {image} ", $flags)]
    };
}

const ALL: &str = "FROM scratch\nCOPY . /all/\n";

pub(super) const BUILDS: &[Build] = &[
    Build {
        name: "kinds-of-files",
        files: &[("Dockerfile", ALL), ("d/one", "one\n")],
        script: "ln -s d/one link; ln -s /absent dangling; ln d/one hard; chmod 4711 d/one; chmod 1777 d; mkdir empty; \
                 mkfifo fifo; head -c 3000000 /dev/zero > zeros; touch 'a b' 'ü'; setfattr -n user.a -v b link hard; true",
        commands: image!("{context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "dockerignore",
        files: &[
            ("Dockerfile", ALL),
            (".dockerignore", "*\n!kept*\nkept/not\n# note\n!**/deep\n"),
            ("kept", "k\n"),
            ("kept2/not", "n\n"),
            ("gone", "g\n"),
            ("a/b/deep", "d\n"),
            ("a/b/shallow", "s\n"),
        ],
        commands: image!("{context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "changed",
        files: &[("Dockerfile", ALL), ("one", "one\n"), ("two/three", "three\n")],
        commands: &[
            "build -o type=cacheonly {context}",
            "build -f {context}/two/three -o type=cacheonly {context}",
        ],
        verdict: Verdict::Fails(1, "unknown instruction: three"),
        ..Build::DEFAULT
    },
    Build {
        name: "dockerfile-elsewhere",
        files: &[("Dockerfile", "FROM nowhere\n"), ("own", "own\n")],
        script: "printf 'FROM scratch\nCOPY . /all/\n' > {out}/Containerfile; echo Dockerfile > {out}/Containerfile.dockerignore",
        commands: image!("-f {out}/Containerfile {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "dockerfile-of-stdin",
        files: &[("stdin", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        stdin: "stdin",
        commands: image!("-f - {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "only-a-dockerfile",
        files: &[("stdin", "FROM {registry}/busybox\nRUN echo made > /made\n")],
        stdin: "stdin",
        commands: image!("-"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "tar-of-stdin",
        files: &[("Dockerfile", ALL), ("own", "own\n")],
        script: "tar -cz --sort=name --owner=5 --group=6 --numeric-owner --mtime=2020-01-01 Dockerfile own > stdin",
        stdin: "stdin",
        commands: image!("-"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build { name: "git", commands: image!("git://{git}/x.git#main:sub"), seen: IMAGE, ..Build::DEFAULT },
    Build {
        name: "git-unknown",
        commands: image!("git://{git}/x.git#absent"),
        verdict: Verdict::Fails(1, "repository does not contain ref absent"),
        ..Build::DEFAULT
    },
    Build {
        name: "http-tar",
        commands: image!("http://{http}/context.tar.gz"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "http-dockerfile",
        files: &[("own", "own\n")],
        commands: image!("-f http://{http}/Dockerfile {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "named-directory",
        files: &[
            ("Dockerfile", "FROM scratch\nCOPY --from=other . /other/\nCOPY own /\n"),
            ("own", "own\n"),
            ("other/.dockerignore", "ignored\n"),
            ("other/ignored", "i\n"),
            ("other/one", "one\n"),
        ],
        commands: image!("--build-context=other={context}/other {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "named-image",
        files: &[("Dockerfile", "FROM base\nRUN echo made > /tmp/made\n")],
        commands: image!("--build-context=base=docker-image://{registry}/configured {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "named-layout",
        files: &[("Dockerfile", "FROM base\nRUN echo made > /made\n")],
        commands: image!("--build-context=base=oci-layout://{busybox} {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "named-layout-platforms",
        files: &[("Dockerfile", "FROM base\nCOPY Dockerfile /\n")],
        commands: image!(
            "--platform=linux/arm64,linux/s390x --build-context=base=oci-layout://{busybox}:latest {context}"
        ),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "named-repository",
        files: &[("Dockerfile", "FROM scratch\nCOPY --from=other sub /sub/\n")],
        commands: image!("--build-context=other=git://{git}/x.git#main {context}"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "named-directory-missing",
        files: &[("Dockerfile", "FROM scratch\nCOPY --from=other . /\n")],
        commands: image!("--build-context=other={context}/absent {context}"),
        verdict: Verdict::Fails(1, "no such file or directory"),
        ..Build::DEFAULT
    },
    Build {
        name: "context-missing",
        commands: image!("{context}/absent"),
        verdict: Verdict::Fails(1, "path \"{context}/absent\" not found"),
        ..Build::DEFAULT
    },
    Build {
        name: "dockerfile-missing",
        commands: image!("{context}"),
        verdict: Verdict::Fails(1, "failed to read dockerfile: open Dockerfile: no such file or directory"),
        ..Build::DEFAULT
    },
];
