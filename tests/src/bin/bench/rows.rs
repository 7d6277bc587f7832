//! What is measured.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::measure::{Bench, Sample, Side};
use crate::{lint, workload};

/// One row of the table.
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) key: &'static str,
    /// What the work is.
    pub(crate) title: &'static str,
    /// What rbx may take at most, in milliseconds.
    pub(crate) budget: Option<f64>,
    /// How many samples one run asked for stands for: short work is measured more often.
    pub(crate) times: usize,
    /// Whether it has steps for other platforms than this machine's.
    pub(crate) emulated: bool,
    /// Whether both sides are clients of one Engine, in place of docker-rbx with its own engine.
    pub(crate) client: bool,
    /// Whether other linters can do it.
    pub(crate) peers: bool,
    /// Whether BuildKit can do it.
    pub(crate) buildkit: bool,
    /// Whether the first sample of each side is thrown away, since it fills caches.
    pub(crate) warm_up: bool,
    /// Makes the contexts.
    pub(crate) prepare: fn(&Bench) -> Vec<PathBuf>,
    /// Changes them before both sides build.
    pub(crate) change: fn(&[PathBuf], usize),
    /// Builds once.
    pub(crate) sample: fn(&Bench, Side, &[PathBuf]) -> Result<Sample, String>,
}

/// Every row: starting up, then the design's budget from top to bottom.
pub(crate) const ROWS: [Row; 29] = [
    Row {
        key: "help",
        title: "--help",
        budget: None,
        sample: |it, side, _| it.run(side, &["--help"]),
        ..START
    },
    Row {
        key: "version",
        title: "version",
        budget: None,
        sample: |it, side, _| it.run(side, &["version"]),
        ..START
    },
    Row {
        key: "metadata",
        title: "plugin metadata",
        budget: None,
        sample: |it, side, _| it.run(side, &["docker-cli-plugin-metadata"]),
        ..START
    },
    Row {
        key: "check-50",
        title: "check of 50 lines, for two platforms (BuildKit: for one)",
        budget: Some(5.0),
        prepare: |bench| lint::context(bench, 50),
        ..CHECK
    },
    Row {
        key: "check-5000",
        title: "check of 5,000 lines",
        budget: Some(40.0),
        prepare: |bench| lint::context(bench, 5_000),
        ..CHECK
    },
    Row {
        key: "check-1000",
        title: "check of 1,000 files in one call",
        budget: Some(200.0),
        times: 1,
        buildkit: false,
        prepare: lint::thousand,
        ..CHECK
    },
    Row {
        key: "run",
        title: "overhead of one RUN",
        budget: Some(5.0),
        times: 1,
        prepare: runs,
        sample: |bench, side, contexts| {
            let base = bench.build(side, &contexts[0], "type=cacheonly", &["--no-cache"])?;
            let all = bench.build(side, &contexts[1], "type=cacheonly", &["--no-cache"])?;
            Ok(all.beyond(base, f64::from(RUNS)))
        },
        ..START
    },
    Row {
        key: "rebuild",
        title: "small context, nothing changed",
        budget: Some(10.0),
        times: 2,
        prepare: small,
        sample: |bench, side, contexts| bench.build(side, &contexts[0], "type=cacheonly", &[]),
        ..START
    },
    Row {
        key: "cold",
        title: "COPY . of 20,000 files, cold, to an archive",
        budget: Some(2500.0),
        times: 1,
        warm_up: false,
        prepare: copy,
        sample: |bench, side, contexts| {
            bench.clear(side);
            archive(bench, side, contexts)
        },
        ..START
    },
    Row {
        key: "same",
        title: "the same, nothing changed",
        budget: Some(60.0),
        sample: |bench, side, contexts| copied(bench, side, contexts, "type=cacheonly"),
        ..COPIED
    },
    Row {
        key: "same-archive",
        title: "the same, nothing changed, to an archive",
        budget: Some(60.0),
        sample: archive,
        ..COPIED
    },
    Row {
        key: "changed",
        title: "one small file of those changed",
        budget: Some(200.0),
        change: change_one,
        sample: |bench, side, contexts| copied(bench, side, contexts, "type=cacheonly"),
        ..COPIED
    },
    Row {
        key: "changed-archive",
        title: "one small file changed, to an archive",
        budget: Some(800.0),
        change: change_one,
        sample: archive,
        ..COPIED
    },
    Row {
        key: "run-cold",
        title: "COPY . of those, then RUN true, cold",
        budget: Some(3500.0),
        times: 1,
        warm_up: false,
        prepare: copy_run,
        sample: |bench, side, contexts| {
            bench.clear(side);
            copied(bench, side, contexts, "type=cacheonly")
        },
        ..START
    },
    Row {
        key: "run-changed",
        title: "COPY . of those, then RUN true, one file changed",
        budget: Some(300.0),
        prepare: copy_run,
        change: change_one,
        sample: |bench, side, contexts| copied(bench, side, contexts, "type=cacheonly"),
        ..COPIED
    },
    Row {
        key: "platforms",
        title: "small image with two RUNs for six platforms, cold, to an archive",
        sample: |bench, side, contexts| {
            bench.clear(side);
            platforms(bench, side, contexts)
        },
        ..PLATFORMS
    },
    Row {
        key: "platforms-same",
        title: "the same, nothing changed",
        times: 2,
        warm_up: true,
        sample: platforms,
        ..PLATFORMS
    },
    Row {
        key: "go-emulated",
        title: "Go program for two platforms, one of them emulated",
        prepare: |bench| go(bench, "go-emulated", GO_EMULATED),
        sample: compiled,
        ..PLATFORMS
    },
    Row {
        key: "go-cross",
        title: "Go program for two platforms, cross-compiled",
        prepare: |bench| go(bench, "go-cross", GO_CROSS),
        sample: compiled,
        ..PLATFORMS
    },
    Row {
        key: "client-version",
        title: "client: version",
        times: 4,
        sample: |it, side, _| it.client(side, "default", &["version"]),
        ..CLIENT
    },
    Row {
        key: "client-ls",
        title: "client: ls",
        times: 4,
        sample: |it, side, _| it.client(side, "default", &["ls"]),
        ..CLIENT
    },
    Row {
        key: "client-metadata",
        title: "client: plugin metadata",
        times: 4,
        sample: |it, side, _| it.client(side, "default", &["docker-cli-plugin-metadata"]),
        ..CLIENT
    },
    Row {
        key: "client-cached",
        title: "client: small context, all cached",
        times: 4,
        prepare: small,
        sample: |bench, side, contexts| {
            bench.client_build(side, "default", &contexts[0], &["--output=type=cacheonly"])
        },
        ..CLIENT
    },
    Row {
        key: "client-cold",
        title: "client: COPY . of 20,000 files, cold",
        warm_up: false,
        prepare: copy,
        sample: |bench, side, contexts| {
            bench.clear_engine();
            sent(bench, side, contexts)
        },
        ..CLIENT
    },
    Row {
        key: "client-same",
        title: "client: the same, nothing changed",
        prepare: copy,
        sample: sent,
        ..CLIENT
    },
    Row {
        key: "client-changed",
        title: "client: one small file of those changed",
        prepare: copy,
        sample: |bench, side, contexts| {
            // Each side by itself: they build on one daemon.
            change_one(contexts, 0);
            sent(bench, side, contexts)
        },
        ..CLIENT
    },
    Row {
        key: "client-load",
        title: "client: --load from a container, all of 64 MB new",
        prepare: large,
        sample: |bench, side, contexts| {
            renew(&contexts[0]);
            loaded(bench, side, contexts)
        },
        ..CLIENT
    },
    Row {
        key: "client-load-same",
        title: "client: --load from a container, nothing new",
        prepare: large,
        sample: loaded,
        ..CLIENT
    },
    Row {
        key: "client-load-tag",
        title: "client: --load from a container, a label new",
        prepare: large,
        sample: |bench, side, contexts| {
            let label = format!("--label=now={}", now());
            bench.client_build(
                side,
                bench.container(),
                &contexts[0],
                &["--load", "--tag=bench/loaded", &label],
            )
        },
        ..CLIENT
    },
];

/// What rows share in which both sides are clients of one Engine.
const CLIENT: Row = Row { times: 1, client: true, ..START };

fn sent(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    let dockerfile = format!("--file={}", contexts[1].join("Dockerfile").display());
    bench.client_build(side, "default", &contexts[0], &["--output=type=cacheonly", &dockerfile])
}

/// A context with one large file that nobody has seen.
fn large(bench: &Bench) -> Vec<PathBuf> {
    let context = bench.context("large", &[("Dockerfile", "FROM registry.test/busybox\nCOPY large /\n")]);
    renew(&context);
    vec![context]
}

fn renew(context: &Path) {
    let mut bytes = vec![0; 64 << 20];
    let mut random = fs::File::open("/dev/urandom").expect("a source of bytes");
    random.read_exact(&mut bytes).expect("bytes");
    fs::write(context.join("large"), bytes).expect("the file can be written");
}

fn loaded(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    bench.client_build(side, bench.container(), &contexts[0], &["--load", "--tag=bench/loaded"])
}

/// What rows of several platforms share.
const PLATFORMS: Row =
    Row { times: 1, warm_up: false, emulated: true, prepare: six, sample: platforms, ..START };

/// Two run on this machine's CPU, four in QEMU.
const SIX: &str = "--platform=linux/amd64,linux/386,linux/arm64,linux/arm/v7,linux/riscv64,linux/s390x";
/// Those of the tutorials.
const TWO: &str = "--platform=linux/amd64,linux/arm64";

/// What rows of starting up share.
const START: Row = Row {
    key: "",
    title: "",
    budget: None,
    times: 4,
    warm_up: true,
    emulated: false,
    client: false,
    peers: false,
    buildkit: true,
    prepare: |_| Vec::new(),
    change: unchanged,
    sample: |_, _, _| Ok(Sample::default()),
};

/// What rows of checks share.
const CHECK: Row = Row { peers: true, sample: lint::check, ..START };

/// What rows of building again share.
const COPIED: Row = Row { times: 1, prepare: copy, sample: archive, ..START };

/// How many steps the overhead of one is taken from.
const RUNS: u8 = 20;

fn unchanged(_: &[PathBuf], _: usize) {}

fn runs(bench: &Bench) -> Vec<PathBuf> {
    let base = "FROM registry.test/busybox\nRUN true\n".to_owned();
    let steps: Vec<String> = (0..RUNS).map(|number| format!("RUN : {number}\n")).collect();
    let all = format!("{base}{}", steps.concat());
    vec![
        bench.context("run-base", &[("Dockerfile", &base)]),
        bench.context("run-all", &[("Dockerfile", &all)]),
    ]
}

fn small(bench: &Bench) -> Vec<PathBuf> {
    let dockerfile = "FROM registry.test/busybox\nWORKDIR /app\nCOPY one two ./\nRUN cat one two > three\nCOPY . .\nRUN wc -c *\nCMD [\"cat\", \"three\"]\n";
    vec![
        bench.context(
            "small",
            &[("Dockerfile", dockerfile), ("one", "1\n"), ("two", "2\n"), ("three", "3\n")],
        ),
    ]
}

/// The workload, then the directory of a Dockerfile beside it, so that the context is the workload alone.
fn copy(bench: &Bench) -> Vec<PathBuf> {
    vec![bench.workload(), bench.context("copy", &[("Dockerfile", "FROM scratch\nCOPY . /\n")])]
}

fn copy_run(bench: &Bench) -> Vec<PathBuf> {
    let dockerfile = "FROM registry.test/busybox\nCOPY . /work\nRUN true\n";
    vec![bench.workload(), bench.context("copy-run", &[("Dockerfile", dockerfile)])]
}

fn six(bench: &Bench) -> Vec<PathBuf> {
    let dockerfile = "FROM registry.test/busybox\nWORKDIR /app\nCOPY one ./\nRUN uname -m | cat one - > two\nRUN wc -c * > three\nCMD [\"cat\", \"three\"]\n";
    vec![bench.context("six", &[("Dockerfile", dockerfile), ("one", "1\n")])]
}

fn platforms(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    let archive = bench.archive(side);
    // docker-rbx leaves an archive alone that is what it would write.
    let _ = fs::remove_file(&archive);
    bench.build(side, &contexts[0], &format!("type=oci,dest={}", archive.display()), &[SIX])
}

/// A small program: what is compiled is Go's own runtime.
const GO_PROGRAM: &str =
    "package main\n\nimport \"runtime\"\n\nfunc main() {\n\tprintln(\"Hello from\", runtime.GOARCH)\n}\n";
const GO_EMULATED: &str = r#"FROM hub.test/library/golang AS builder
WORKDIR /app
COPY . .
RUN CGO_ENABLED=0 go build -ldflags="-s -w" -o server main.go
FROM scratch
COPY --from=builder /app/server /server
ENTRYPOINT ["./server"]
"#;
const GO_CROSS: &str = r#"FROM --platform=$BUILDPLATFORM hub.test/library/golang AS builder
ARG TARGETOS TARGETARCH
WORKDIR /app
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -ldflags="-s -w" -o server main.go
FROM scratch
COPY --from=builder /app/server /server
ENTRYPOINT ["./server"]
"#;

/// The program, then what has its base images fetched.
fn go(bench: &Bench, name: &str, dockerfile: &str) -> Vec<PathBuf> {
    vec![
        bench.context(name, &[("Dockerfile", dockerfile), ("main.go", GO_PROGRAM)]),
        bench.context("go-base", &[("Dockerfile", "FROM hub.test/library/golang\nRUN true\n")]),
    ]
}

fn compiled(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    bench.build(side, &contexts[1], "type=cacheonly", &[TWO])?;
    bench.build(side, &contexts[0], "type=cacheonly", &[TWO, "--no-cache"])
}

/// Nanoseconds since 1970.
fn now() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos()
}

fn change_one(contexts: &[PathBuf], _: usize) {
    // Never seen by a cache before, in this run or an earlier one.
    let content = format!("changed at {}\n", now()).repeat(90);
    fs::write(contexts[0].join(workload::CHANGED), content).expect("the workload can be changed");
}

fn copied(bench: &Bench, side: Side, contexts: &[PathBuf], output: &str) -> Result<Sample, String> {
    let dockerfile = format!("--file={}", contexts[1].join("Dockerfile").display());
    bench.build(side, &contexts[0], output, &[&dockerfile])
}

fn archive(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    let path: &Path = &bench.archive(side);
    copied(bench, side, contexts, &format!("type=oci,dest={}", path.display()))
}
