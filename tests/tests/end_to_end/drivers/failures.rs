//! Builds that fail: the words, the place in the Dockerfile, the exit status.

use rbx_tests::table::{Build, Verdict};

macro_rules! fails {
    ($name:literal, $dockerfile:literal, $words:literal) => {
        Build {
            name: $name,
            files: &[("Dockerfile", $dockerfile), ("own", "own\n")],
            commands: &["build -o type=cacheonly {context}"],
            verdict: Verdict::Fails(1, $words),
            ..Build::DEFAULT
        }
    };
}

pub(super) const BUILDS: &[Build] = &[
    fails!(
        "step-fails",
        "FROM {registry}/busybox\nRUN echo before\n# note\nRUN echo said; echo on errors >&2; \\\n  exit 7\nRUN echo after\n",
        "did not complete successfully: exit code: 7"
    ),
    fails!("step-has-no-program", "FROM {registry}/busybox\nRUN [\"/absent\"]\n", "/absent"),
    fails!(
        "step-in-a-heredoc",
        "FROM {registry}/busybox\nRUN <<EOF\necho one\nexit 3\nEOF\n",
        "exit code: 3"
    ),
    fails!("file-missing", "FROM scratch\nCOPY own /\nCOPY absent /\n", "\"/absent\": not found"),
    fails!("unknown-instruction", "FROM scratch\nCOPPY own /\n", "unknown instruction: COPPY"),
    fails!("unknown-flag", "FROM scratch\nCOPY --flag=1 own /\n", "unknown flag: --flag"),
    fails!("no-from", "# nothing\nRUN true\n", "no build stage in current context"),
    fails!("empty", "# nothing\n", "file with no instructions"),
    fails!("image-missing", "FROM {registry}/absent\n", "{registry}/absent:latest: not found"),
    fails!(
        "stage-missing",
        "FROM scratch\nCOPY --from={registry}/absent / /\n",
        "{registry}/absent:latest: not found"
    ),
    fails!("variable-missing", "FROM scratch\nENV A=\"${ABSENT:?is missing}\"\n", "is missing"),
    fails!(
        "platform-missing",
        "FROM --platform=linux/mips64 {registry}/busybox\nCOPY own /\n",
        "no match for platform in manifest"
    ),
    Build {
        name: "target-missing",
        files: &[("Dockerfile", "FROM scratch AS one\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build --target=absent -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "target stage \"absent\" could not be found"),
        ..Build::DEFAULT
    },
    Build {
        name: "platform-unknown",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build --platform=a/b/c/d -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "a/b/c/d"),
        ..Build::DEFAULT
    },
    Build {
        name: "secret-file-missing",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build --secret=id=a,src={context}/absent -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "failed to stat {context}/absent"),
        ..Build::DEFAULT
    },
    Build {
        name: "no-and-filtered-cache",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build --no-cache --no-cache-filter=a -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "--no-cache and --no-cache-filter cannot currently be used together"),
        ..Build::DEFAULT
    },
    Build {
        name: "flag-unknown",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build --flag -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "unknown flag: --flag"),
        ..Build::DEFAULT
    },
    Build {
        name: "destination-unusable",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build -o type=oci,dest={context}/own/image.tar {context}"],
        verdict: Verdict::Fails(1, "not a directory"),
        ..Build::DEFAULT
    },
    Build {
        name: "insecure",
        files: &[("Dockerfile", "FROM {registry}/busybox\nRUN --security=insecure true\n")],
        commands: &["build -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "unknown flag: --security"),
        ..Build::DEFAULT
    },
];
