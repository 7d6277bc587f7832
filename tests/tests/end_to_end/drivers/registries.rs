//! Registries that ask who is there.

use rbx_tests::table::{Build, Seen, Verdict};

pub(super) const BUILDS: &[Build] = &[
    Build {
        name: "password",
        files: &[("Dockerfile", "FROM {private}/base\nLABEL of=test\n")],
        commands: &[
            "build --push -t {private}/app:1 {context}",
            "build -o type=tar,dest={out}/files.tar {context}",
        ],
        seen: &[Seen::Tar("files.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "token",
        files: &[("Dockerfile", "FROM {token}/base\nLABEL of=test\n")],
        commands: &[
            "build --push -t {token}/app:1 {context}",
            "build -o type=tar,dest={out}/files.tar {context}",
        ],
        seen: &[Seen::Tar("files.tar")],
        ..Build::DEFAULT
    },
    Build {
        name: "no-credentials",
        files: &[("Dockerfile", "FROM {private}/base\nLABEL of=test\n")],
        commands: &["build --push -t {private}/app:1 {context}"],
        environment: &[("DOCKER_CONFIG", "/nowhere")],
        verdict: Verdict::Fails(1, "401 Unauthorized"),
        ..Build::DEFAULT
    },
    Build {
        name: "push-refused",
        files: &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")],
        commands: &["build --push -t {registry}/app:1 {context}"],
        verdict: Verdict::Fails(1, "405"),
        ..Build::DEFAULT
    },
];
