//! What is asked of a Dockerfile instead of a build, and what goes with images besides files.

use rbx_tests::table::{Build, Seen, Verdict};

const STAGES: &[(&str, &str)] = &[
    (
        "Dockerfile",
        "# syntax is the default's\nARG VERSION=1\nFROM {registry}/busybox AS base\n# one is the first stage\n\
         FROM base AS one\nARG SPEED=fast\nRUN --mount=type=secret,id=token --mount=type=cache,target=/c true\n\
         # two has all of one\nFROM one AS two\nCOPY own /\n",
    ),
    ("own", "own\n"),
];

const OUTLINED: &[(&str, &str)] = &[(
    "Dockerfile",
    "ARG IMAGE=busybox\n# WHOLE is made of IMAGE\nARG WHOLE={registry}/$IMAGE\nARG UNUSED=1\nARG LEVEL=2\n\
     FROM --platform=$BUILDPLATFORM $WHOLE AS tools\nARG LEVEL\nARG \\\n  LONG=$LEVEL\nRUN --mount=type=ssh true\n\
     # last is what is built\nFROM $WHOLE \\\n  AS last\nARG TARGETARCH\nARG LEVEL=3\n\
     RUN --mount=type=secret,id=key,required=true --mount=type=bind,from=tools,target=/t true\n\
     RUN --mount=type=secret,target=/run/secrets/deep/name \\\n --mount=type=ssh,id=other,required=true true\n",
)];

const WARNED: &[(&str, &str)] =
    &[("Dockerfile", "from scratch AS One\nCOPY own /\nMAINTAINER me\nENV a b\n"), ("own", "own\n")];

pub(super) const BUILDS: &[Build] = &[
    Build {
        name: "check",
        files: STAGES,
        commands: &["build --check {context}"],
        seen: &[Seen::Printed],
        ..Build::DEFAULT
    },
    Build {
        name: "check-warns",
        files: WARNED,
        commands: &["build --check {context}"],
        seen: &[],
        verdict: Verdict::Fails(1, ""),
        ..Build::DEFAULT
    },
    Build {
        name: "check-json",
        files: WARNED,
        commands: &["build --call=check,format=json,ignorestatus=true {context}"],
        seen: &[Seen::Printed],
        ..Build::DEFAULT
    },
    Build {
        name: "outline",
        files: OUTLINED,
        commands: &[
            "build --call=outline {context}",
            "build --call=outline,format=json {context}",
            "build --call=targets,format=json {context}",
        ],
        seen: &[Seen::Printed],
        ..Build::DEFAULT
    },
    Build {
        name: "outline-json",
        files: STAGES,
        commands: &["build --call=outline,format=json --target=one --build-arg=SPEED=slow {context}"],
        seen: &[Seen::Printed],
        ..Build::DEFAULT
    },
    Build {
        name: "targets",
        files: STAGES,
        commands: &["build --call=targets {context}"],
        seen: &[Seen::Printed],
        ..Build::DEFAULT
    },
    Build {
        name: "targets-json",
        files: STAGES,
        commands: &["build --call=targets,format=json --metadata-file={out}/metadata {context}"],
        seen: &[Seen::Printed, Seen::Json("metadata")],
        ..Build::DEFAULT
    },
    Build {
        name: "query-unknown",
        files: STAGES,
        commands: &["build --call=absent {context}"],
        verdict: Verdict::Fails(1, "absent"),
        ..Build::DEFAULT
    },
    Build {
        name: "warnings",
        files: WARNED,
        commands: &["build --metadata-file={out}/metadata -o type=cacheonly {context}"],
        environment: &[("BUILDX_METADATA_WARNINGS", "1")],
        seen: &[Seen::Json("metadata")],
        ..Build::DEFAULT
    },
    Build {
        name: "provenance",
        files: STAGES,
        commands: &[
            "build --provenance=true --metadata-file={out}/metadata -o type=oci,dest={out}/image,tar=false {context}",
        ],
        seen: &[Seen::Json("metadata")],
        ..Build::DEFAULT
    },
    Build {
        name: "provenance-max",
        files: STAGES,
        commands: &[
            "build --attest=type=provenance,mode=max --metadata-file={out}/metadata --push -t {push}/attested {context}",
        ],
        environment: &[("BUILDX_METADATA_PROVENANCE", "max")],
        seen: &[Seen::Json("metadata")],
        ..Build::DEFAULT
    },
];
