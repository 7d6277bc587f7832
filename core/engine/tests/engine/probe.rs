//! What a probe says beforehand is what a build then does, step by step.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use rbx_engine::{BuildError, Probe, Runner, StepKind, StepState};
use rbx_platform::Platform;
use rbx_request::{Cancel, ContextSource, DockerfileSource, NoCache};

use crate::fixture::{Built, Fixture, trial};
use crate::servers::{Answer, Http};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("it_agrees_with_the_next_build", it_agrees_with_the_next_build),
        trial("copies_out_of_steps_are_told_by_content", copies_out_of_steps_are_told_by_content),
        trial("two_platforms_share_and_differ", two_platforms_share_and_differ),
        trial("nothing_is_fetched_or_kept", nothing_is_fetched_or_kept),
        trial("what_fails_is_told", what_fails_is_told),
        trial("base_images_are_those_of_the_store", base_images_are_those_of_the_store),
    ]
}

impl Fixture {
    fn probe(&self) -> Result<Probe, BuildError> {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let engine = self.engine();
        let (events, _) = rbx_request::events();
        runtime.block_on(engine.probe(&self.request, &events, &Cancel::default()))
    }

    /// Probes, builds, and holds one against the other; answers what the probe said.
    fn foretold(&mut self) -> (Probe, Built) {
        let probe = self.probe().expect("a probe");
        let built = self.build().expect("a build");
        let mut unknown = 0;
        for step in &probe.steps {
            match step.state {
                StepState::Cached if step.kind != StepKind::Image => {
                    assert!(built.cached(&step.name), "{} was to be cached", step.name);
                }
                StepState::Run if step.kind != StepKind::Image => {
                    assert!(!built.cached(&step.name), "{} was to be run: {:?}", step.name, step.reason);
                }
                StepState::Unknown => unknown += 1,
                _ => {}
            }
        }
        let again = self.probe().expect("a probe");
        let left = again.steps.iter().filter(|step| step.state != StepState::Cached);
        let fetched = |kind| kind == StepKind::Fetch;
        let always = self.request.no_cache != NoCache::Use || again.steps.iter().any(|it| fetched(it.kind));
        assert!(always || left.count() == 0, "a build is cached whole, after {unknown} unknown: {again:#?}");
        (probe, built)
    }
}

/// A line for each step.
fn told(probe: &Probe) -> String {
    let mut text = String::new();
    for step in &probe.steps {
        let state = format!("{:?}", step.state).to_lowercase();
        let reason = step.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let runner = match &step.run {
            Some((platform, Runner::Emulated(_))) => format!(" ({platform} emulated)"),
            Some((platform, Runner::Nothing { .. })) => format!(" ({platform} by nothing)"),
            Some((_, Runner::Native)) | None => String::new(),
        };
        let name = step.name.split("@sha256:").next().unwrap_or_default();
        let _ = writeln!(text, "{state:7} {name}{runner}{reason}");
    }
    text
}

const SHELL: &str =
    "FROM scratch AS shell\nCOPY busybox /bin/busybox\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n";

fn it_agrees_with_the_next_build(fixture: &mut Fixture) {
    fixture.busybox();
    fixture.write("a/one", "1");
    fixture.write("b", "2");
    fixture.write("mounted/x", "3");
    let text = |step: &str| {
        format!(
            "{SHELL}ARG V=1\nENV E=1\nWORKDIR /w\nRUN echo $V >/v\nCOPY a /a\nRUN --mount=source=mounted,target=/m \
             busybox cat /m/x >/x || : {step}\nCOPY --link b /b\n"
        )
    };
    fixture.dockerfile(&text(""));
    insta::assert_snapshot!(told(&fixture.foretold().0), @"
    run     [shell 1/6] COPY busybox /bin/busybox: its result is not in the cache
    run     [shell 2/6] WORKDIR /w: it comes after [shell 1/6] COPY busybox /bin/busybox
    run     [shell 3/6] RUN echo 1 >/v: it comes after [shell 1/6] COPY busybox /bin/busybox
    run     [shell 4/6] COPY a /a: it comes after [shell 1/6] COPY busybox /bin/busybox
    run     [internal] mount build context /mounted: its result is not in the cache
    run     [shell 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || :: it comes after [shell 1/6] COPY busybox /bin/busybox
    run     [shell 6/6] COPY --link b /b: its result is not in the cache
    ");
    let content = |fixture: &mut Fixture| told(&fixture.foretold().0);
    assert!(!content(fixture).contains("run "), "nothing has changed");

    for path in ["a/one", "b", "mounted/x"] {
        let file = std::fs::File::options().write(true).open(fixture.context(path)).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("a time");
    }
    assert!(!content(fixture).contains("run "), "a time is in no key");

    fixture.write("a/one", "changed");
    insta::assert_snapshot!(content(fixture), @"
    cached  [shell 1/6] COPY busybox /bin/busybox
    cached  [shell 2/6] WORKDIR /w
    cached  [shell 3/6] RUN echo 1 >/v
    run     [shell 4/6] COPY a /a: its result is not in the cache
    cached  [internal] mount build context /mounted
    run     [shell 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || :: it comes after [shell 4/6] COPY a /a
    cached  [shell 6/6] COPY --link b /b
    ");
    fixture.write("mounted/x", "changed");
    insta::assert_snapshot!(content(fixture), @"
    cached  [shell 1/6] COPY busybox /bin/busybox
    cached  [shell 2/6] WORKDIR /w
    cached  [shell 3/6] RUN echo 1 >/v
    cached  [shell 4/6] COPY a /a
    run     [internal] mount build context /mounted: its result is not in the cache
    run     [shell 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || :: it comes after [internal] mount build context /mounted
    cached  [shell 6/6] COPY --link b /b
    ");
    fixture.request.build_args.insert("V".to_owned(), "2".to_owned());
    insta::assert_snapshot!(content(fixture), @"
    cached  [shell 1/6] COPY busybox /bin/busybox
    cached  [shell 2/6] WORKDIR /w
    run     [shell 3/6] RUN echo 2 >/v: its result is not in the cache
    run     [shell 4/6] COPY a /a: it comes after [shell 3/6] RUN echo 2 >/v
    cached  [internal] mount build context /mounted
    run     [shell 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || :: it comes after [shell 3/6] RUN echo 2 >/v
    cached  [shell 6/6] COPY --link b /b
    ");
    fixture.request.build_args.insert("UNUSED".to_owned(), "2".to_owned());
    assert!(!content(fixture).contains("run "), "nobody uses the argument");
    fixture.dockerfile(&text("").replace("ENV E=1", "ENV E=2"));
    insta::assert_snapshot!(content(fixture), @"
    cached  [shell 1/6] COPY busybox /bin/busybox
    cached  [shell 2/6] WORKDIR /w
    run     [shell 3/6] RUN echo 2 >/v: its result is not in the cache
    run     [shell 4/6] COPY a /a: it comes after [shell 3/6] RUN echo 2 >/v
    cached  [internal] mount build context /mounted
    run     [shell 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || :: it comes after [shell 3/6] RUN echo 2 >/v
    cached  [shell 6/6] COPY --link b /b
    ");
    fixture.dockerfile(&text("another"));
    insta::assert_snapshot!(content(fixture), @"
    cached  [shell 1/6] COPY busybox /bin/busybox
    cached  [shell 2/6] WORKDIR /w
    cached  [shell 3/6] RUN echo 2 >/v
    cached  [shell 4/6] COPY a /a
    cached  [internal] mount build context /mounted
    run     [shell 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || : another: its result is not in the cache
    cached  [shell 6/6] COPY --link b /b
    ");
    fixture.dockerfile(
        &text("").replace("FROM scratch AS shell", "FROM scratch AS other").replace("ENV E=1", "LABEL a=b"),
    );
    content(fixture);
    fixture.request.no_cache = NoCache::All;
    insta::assert_snapshot!(content(fixture), @"
    run     [other 1/6] COPY busybox /bin/busybox: the cache is not to be used
    run     [other 2/6] WORKDIR /w: it comes after [other 1/6] COPY busybox /bin/busybox
    run     [other 3/6] RUN echo 2 >/v: it comes after [other 1/6] COPY busybox /bin/busybox
    run     [other 4/6] COPY a /a: it comes after [other 1/6] COPY busybox /bin/busybox
    cached  [internal] mount build context /mounted
    run     [other 5/6] RUN --mount=source=mounted,target=/m busybox cat /m/x >/x || :: it comes after [other 1/6] COPY busybox /bin/busybox
    run     [other 6/6] COPY --link b /b: the cache is not to be used
    ");
}

fn copies_out_of_steps_are_told_by_content(fixture: &mut Fixture) {
    fixture.busybox();
    let text = |word: &str, destination: &str| {
        format!(
            "{SHELL}RUN echo same >/out && : {word}\nFROM scratch\nCOPY --from=shell /out {destination}\nCOPY seed /\n"
        )
    };
    fixture.write("seed", "s");
    fixture.dockerfile(&text("one", "/"));
    fixture.foretold();
    fixture.dockerfile(&text("two", "/"));
    let (probe, built) = fixture.foretold();
    insta::assert_snapshot!(told(&probe), @"
    cached  [shell 1/2] COPY busybox /bin/busybox
    run     [shell 2/2] RUN echo same >/out && : two: its result is not in the cache
    unknown [stage-1 1/2] COPY --from=shell /out /: that depends on what [shell 2/2] RUN echo same >/out && : two makes
    unknown [stage-1 2/2] COPY seed /: that depends on [shell 2/2] RUN echo same >/out && : two
    ");
    assert!(built.cached("COPY --from=shell"), "which nobody knew before");
    // What is copied is known, and so is that it was never copied there.
    fixture.dockerfile(&text("two", "/elsewhere"));
    insta::assert_snapshot!(told(&fixture.foretold().0), @"
    cached  [shell 1/2] COPY busybox /bin/busybox
    cached  [shell 2/2] RUN echo same >/out && : two
    run     [stage-1 1/2] COPY --from=shell /out /elsewhere: its result is not in the cache
    run     [stage-1 2/2] COPY seed /: it comes after [stage-1 1/2] COPY --from=shell /out /elsewhere
    ");
}

fn two_platforms_share_and_differ(fixture: &mut Fixture) {
    fixture.busybox();
    fixture.request.platforms =
        ["linux/amd64", "linux/386"].iter().map(|name| Platform::parse(name).expect("a platform")).collect();
    fixture.dockerfile(&format!(
        "{SHELL}RUN echo both\nARG TARGETARCH\nRUN echo $TARGETARCH\nFROM scratch\nCOPY busybox /\nCOPY --from=shell \
         /bin /bin\n"
    ));
    let (probe, _) = fixture.foretold();
    insta::assert_snapshot!(told(&probe), @"
    run     [linux/amd64 shell 1/3] COPY busybox /bin/busybox: its result is not in the cache
    run     [linux/amd64 shell 2/3] RUN echo both: it comes after [linux/amd64 shell 1/3] COPY busybox /bin/busybox
    run     [linux/amd64 shell 3/3] RUN echo amd64: it comes after [linux/amd64 shell 1/3] COPY busybox /bin/busybox
    run     [linux/amd64 stage-1 1/2] COPY busybox /: its result is not in the cache
    unknown [linux/amd64 stage-1 2/2] COPY --from=shell /bin /bin: it is done, or found once [linux/386 stage-1 2/2] COPY --from=shell /bin /bin is done
    run     [linux/386 shell 2/3] RUN echo both: it comes after [linux/amd64 shell 1/3] COPY busybox /bin/busybox
    run     [linux/386 shell 3/3] RUN echo 386: it comes after [linux/amd64 shell 1/3] COPY busybox /bin/busybox
    unknown [linux/386 stage-1 2/2] COPY --from=shell /bin /bin: it is done, or found once [linux/amd64 stage-1 2/2] COPY --from=shell /bin /bin is done
    ");
    let needed: Vec<usize> = probe.steps.iter().map(|step| step.platforms.len()).collect();
    assert_eq!(needed, [2, 1, 1, 2, 1, 1, 1, 1]);

    // One that this machine cannot run is told, beside what is cached of the other.
    fixture.request.platforms[1] = Platform::parse("linux/riscv64").expect("a platform");
    fixture.emulation.registration = rbx_emulation::Registration::None;
    let probe = fixture.probe().expect("a probe");
    insta::assert_snapshot!(told(&probe), @"
    cached  [linux/amd64 shell 1/3] COPY busybox /bin/busybox
    cached  [linux/amd64 shell 2/3] RUN echo both
    cached  [linux/amd64 shell 3/3] RUN echo amd64
    cached  [linux/amd64 stage-1 1/2] COPY busybox /
    cached  [linux/amd64 stage-1 2/2] COPY --from=shell /bin /bin
    run     [linux/riscv64 shell 2/3] RUN echo both (linux/riscv64 by nothing): its result is not in the cache
    run     [linux/riscv64 shell 3/3] RUN echo riscv64 (linux/riscv64 by nothing): it comes after [linux/riscv64 shell 2/3] RUN echo both
    unknown [linux/riscv64 stage-1 2/2] COPY --from=shell /bin /bin: that depends on what [linux/riscv64 shell 2/3] RUN echo both makes
    ");
    let error = fixture.build().err().expect("nothing runs it").to_string();
    assert!(error.contains("cannot run [linux/riscv64 shell 2/3]"), "{error}");
}

fn nothing_is_fetched_or_kept(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/file", Answer::file(b"served").with("ETag", "\"1\""));
    fixture.write("a", "content");
    fixture.dockerfile(&format!("FROM scratch\nADD {} /served\nCOPY a /\n", server.url("/file")));
    let probe = fixture.probe().expect("a probe");
    assert_eq!(server.asked().len(), 0);
    let told = |probe: &Probe| told(probe).replace(&server.url(""), "http://server");
    insta::assert_snapshot!(told(&probe), @"
    unknown [1/2] ADD http://server/file /served: every build asks for http://server/file
    unknown [1/2] ADD http://server/file /served: that depends on what [1/2] ADD http://server/file /served makes
    unknown [2/2] COPY a /: that depends on [1/2] ADD http://server/file /served
    ");
    let storage = rbx_engine::Storage::open(&fixture.directory.path().join("store")).expect("a store");
    let kept = storage.usage().expect("a list");
    assert!(kept.iter().all(|it| it.description == "records and directories of the store"), "{kept:?}");
    fixture.foretold();
    server.asked();
    insta::assert_snapshot!(told(&fixture.probe().expect("a probe")), @"
    unknown [1/2] ADD http://server/file /served: every build asks for http://server/file
    unknown [1/2] ADD http://server/file /served: that depends on what [1/2] ADD http://server/file /served makes
    unknown [2/2] COPY a /: that depends on [1/2] ADD http://server/file /served
    ");
    assert_eq!(server.asked().len(), 0);
    fixture.dockerfile(
        "FROM localhost:1/not/here AS base\nRUN a\nFROM scratch\nCOPY a /\nCOPY --from=base /a /b\n",
    );
    insta::assert_snapshot!(self::told(&fixture.probe().expect("a probe")), @"
    unknown [base 1/2] FROM localhost:1/not/here:latest: localhost:1/not/here:latest is not in the store, and no registry is asked
    unknown [base 2/2] RUN a: that depends on [base 1/2] FROM localhost:1/not/here:latest
    run     [stage-1 1/2] COPY a /: its result is not in the cache
    run     [stage-1 2/2] COPY --from=base /a /b: it comes after [stage-1 1/2] COPY a /
    ");
}

fn what_fails_is_told(fixture: &mut Fixture) {
    fixture.write("a", "1");
    fixture.dockerfile("FROM scratch\nCOPY a /\nCOPY missing /\nCOPY a /b\n");
    let probe = fixture.probe().expect("a probe");
    insta::assert_snapshot!(told(&probe), @r#"
    run     [1/3] COPY a /: its result is not in the cache
    fails   [2/3] COPY missing /: "/missing": not found
    unknown [3/3] COPY a /b: that depends on [2/3] COPY missing /
    "#);
    let error = fixture.build().err().expect("it is missing").to_string();
    assert_eq!(probe.steps[1].reason.as_deref(), Some(error.as_str()));
    fixture.dockerfile("FROM scratch\nCOPPY a /\n");
    let foretold = fixture.probe().expect_err("no language").to_string();
    assert_eq!(foretold, fixture.build().err().expect("no language").to_string());
    fixture.dockerfile("FROM scratch\nCOPY a /\n");
    fixture.request.context = ContextSource::Url("http://localhost:1/x.git".to_owned());
    fixture.request.dockerfile = DockerfileSource::InContext("Dockerfile".to_owned());
    insta::assert_snapshot!(fixture.probe().expect_err("elsewhere"), @"a dry run needs a context and a Dockerfile that are on this machine");
}

fn base_images_are_those_of_the_store(fixture: &mut Fixture) {
    fixture.busybox();
    let base = |fixture: &mut Fixture, word: &str| {
        fixture.dockerfile(&format!("{SHELL}ENV WORD={word}\nRUN echo {word} >/word\n"));
        fixture.tag("localhost/base:1");
    };
    let build = "FROM localhost/base:1\nRUN [\"/bin/busybox\", \"touch\", \"/x\"]\nCOPY busybox /y\n";
    base(fixture, "one");
    fixture.dockerfile(build);
    fixture.foretold();
    base(fixture, "two");
    fixture.dockerfile(build);
    insta::assert_snapshot!(told(&fixture.foretold().0), @r#"
    cached  [1/3] FROM localhost/base:1
    run     [2/3] RUN ["/bin/busybox", "touch", "/x"]: its result is not in the cache
    run     [3/3] COPY busybox /y: it comes after [2/3] RUN ["/bin/busybox", "touch", "/x"]
    "#);
}
