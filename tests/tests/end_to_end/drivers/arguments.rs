//! Flags that change what is built and how steps run.

use rbx_tests::table::{Build, Seen, Verdict};

const IMAGE: &[Seen] = &[Seen::Image];

/// A step that says something of where it runs.
macro_rules! step {
    ($step:literal) => {
        &[("Dockerfile", concat!("FROM {registry}/busybox\n", $step, "\n"))]
    };
}

macro_rules! image {
    ($flags:literal) => {
        &[concat!("build ", $flags, " {image} {context}")]
    };
}

pub(super) const BUILDS: &[Build] = &[
    Build {
        name: "build-arg",
        files: step!("ARG ONE=unset\nARG TWO=unset\nARG THREE=unset\nRUN echo $ONE $TWO $THREE > /said"),
        commands: image!("--build-arg=ONE=1 --build-arg=TWO --build-arg=ABSENT --build-arg='THREE=a b=c'"),
        environment: &[("TWO", "from the environment")],
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "unused-build-arg",
        files: step!("LABEL a=b"),
        commands: image!("--build-arg=UNUSED=1"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "target",
        files: &[(
            "Dockerfile",
            "FROM {registry}/busybox AS one\nRUN echo one > /said\nFROM one AS two\nRUN exit 1\nFROM two\n",
        )],
        commands: image!("--target=one"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "labels",
        files: step!("LABEL one=1 two=2"),
        commands: image!("--label=two=changed --label='three=a b' --label=empty"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "no-cache",
        files: step!("RUN echo $RANDOM$RANDOM$RANDOM > /said\nRUN cat /said > /again"),
        commands: &[
            "build -o type=tar,dest={out}/one {context}",
            "build -o type=tar,dest={out}/two {context}",
            "build --no-cache -o type=tar,dest={out}/three {context}",
        ],
        seen: &[Seen::Same("one", "two"), Seen::Same("two", "three")],
        ..Build::DEFAULT
    },
    Build {
        name: "no-cache-filter",
        files: &[(
            "Dockerfile",
            "FROM {registry}/busybox AS one\nRUN echo $RANDOM$RANDOM$RANDOM > /said\n\
             FROM {registry}/busybox AS two\nRUN echo $RANDOM$RANDOM$RANDOM$RANDOM > /said\n\
             FROM scratch AS first\nCOPY --from=one /said /\nFROM scratch AS second\nCOPY --from=two /said /\n",
        )],
        commands: &[
            "build --target=first -o {out}/first1 {context}",
            "build --target=second -o {out}/second1 {context}",
            "build --target=first --no-cache-filter=one -o {out}/first2 {context}",
            "build --target=second --no-cache-filter=one -o {out}/second2 {context}",
        ],
        seen: &[Seen::Same("first1/said", "first2/said"), Seen::Same("second1/said", "second2/said")],
        ..Build::DEFAULT
    },
    Build {
        name: "network-none",
        files: step!("RUN ls /sys/class/net > /said"),
        commands: image!("--network=none"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "network-host",
        files: step!("RUN ls /sys/class/net > /said"),
        commands: image!("--network=host"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "network-unknown",
        files: step!("LABEL a=b"),
        commands: image!("--network=other"),
        verdict: Verdict::Fails(1, "network mode \"other\" not supported by buildkit"),
        ..Build::DEFAULT
    },
    Build {
        name: "add-host",
        files: step!("RUN grep -v -e localhost -e ip6 -e \"$(hostname)\" /etc/hosts > /said; true"),
        commands: image!("--add-host=one.test:1.2.3.4 --add-host=six.test=[::6]"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "limits",
        files: step!(
            "RUN df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2 > /said; ulimit -n >> /said"
        ),
        commands: image!("--shm-size=32m --ulimit=nofile=100:200"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "date",
        files: &[("Dockerfile", "FROM scratch\nCOPY own /\n"), ("own", "own\n")],
        commands: &["build {image} {context}"],
        environment: &[("SOURCE_DATE_EPOCH", "1600000000")],
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "pull",
        files: step!("LABEL a=b"),
        commands: image!("--pull"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "platform",
        files: step!("ARG TARGETPLATFORM BUILDPLATFORM\nLABEL for=$TARGETPLATFORM on=$BUILDPLATFORM"),
        commands: image!("--platform=linux/s390x"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "platform-of-the-environment",
        files: step!("ARG TARGETPLATFORM\nLABEL for=$TARGETPLATFORM"),
        commands: image!(""),
        environment: &[("DOCKER_DEFAULT_PLATFORM", "linux/arm/v7")],
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "secrets",
        files: &[
            (
                "Dockerfile",
                "FROM {registry}/busybox\n\
                 RUN --mount=type=secret,id=file cat /run/secrets/file > /file\n\
                 RUN --mount=type=secret,id=variable,env=TOKEN echo \"$TOKEN\" > /variable\n\
                 RUN --mount=type=secret,id=absent ls /run/secrets > /absent 2>&1; true\n",
            ),
            ("secret", "sesame\n"),
        ],
        commands: image!("--secret=id=file,src={context}/secret --secret=id=variable,env=SECRET"),
        environment: &[("SECRET", "of the environment")],
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "secret-required",
        files: step!("RUN --mount=type=secret,id=token,required=true true"),
        commands: image!(""),
        verdict: Verdict::Fails(1, "secret token: not found"),
        ..Build::DEFAULT
    },
    Build {
        name: "ssh",
        files: &[(
            "Dockerfile",
            "FROM {registry}/busybox\nRUN --mount=type=ssh stat -c '%a %u:%g %F' \"$SSH_AUTH_SOCK\" > /said\n",
        )],
        script: "ssh-keygen -q -t ed25519 -N '' -C '' -f {out}/key",
        commands: image!("--ssh=default={out}/key"),
        seen: IMAGE,
        ..Build::DEFAULT
    },
    Build {
        name: "ssh-required",
        files: step!("RUN --mount=type=ssh,required true"),
        commands: image!(""),
        verdict: Verdict::Fails(1, "unset ssh forward key default"),
        ..Build::DEFAULT
    },
];
