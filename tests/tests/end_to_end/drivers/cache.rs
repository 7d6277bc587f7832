//! Caches that are kept elsewhere. A step that comes to something else each time shows whether it was done again.

use rbx_tests::table::{Build, Seen, Verdict};

const FILES: &[(&str, &str)] = &[(
    "Dockerfile",
    "FROM {registry}/busybox AS one\nRUN head -c 16 /dev/urandom > /random\nFROM scratch\nCOPY --from=one /random /\n",
)];

/// The same for an image that has the step's layer, as caches have it that go with images.
const WHOLE: &[(&str, &str)] =
    &[("Dockerfile", "FROM {registry}/busybox\nRUN head -c 16 /dev/urandom | od > /random\n")];

const SAME: &[Seen] = &[Seen::Same("one/random", "two/random")];

pub(super) const BUILDS: &[Build] = &[
    Build {
        name: "cache-local",
        files: FILES,
        commands: &[
            "build --cache-to=type=local,dest={out}/cache,mode=max -o {out}/one {context}",
            "prune --all --force",
            "build --cache-from=type=local,src={out}/cache -o {out}/two {context}",
        ],
        seen: SAME,
        ..Build::DEFAULT
    },
    Build {
        name: "cache-registry",
        files: FILES,
        commands: &[
            "build --cache-to=type=registry,ref={push}/cache,mode=max -o {out}/one {context}",
            "prune --all --force",
            "build --cache-from={push}/cache -o {out}/two {context}",
        ],
        seen: SAME,
        ..Build::DEFAULT
    },
    Build {
        name: "cache-inline",
        files: WHOLE,
        commands: &[
            "build --cache-to=type=inline --push -t {push}/inline {context}",
            "build -o {out}/one {context}",
            "prune --all --force",
            "build --cache-from=type=registry,ref={push}/inline -o {out}/two {context}",
        ],
        seen: SAME,
        ..Build::DEFAULT
    },
    Build {
        name: "cache-absent",
        files: FILES,
        commands: &[
            "build --cache-from=type=local,src={out}/absent --cache-from={push}/absent -o {out}/one {context}",
        ],
        ..Build::DEFAULT
    },
    Build {
        name: "cache-unknown",
        files: FILES,
        commands: &["build --cache-to=type=zip,dest={out}/cache -o type=cacheonly {context}"],
        verdict: Verdict::Fails(1, "unknown cache exporter: \"zip\""),
        ..Build::DEFAULT
    },
];
