//! What holds for every text.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rbx_dockerfile::{Span, parse};
use rbx_lint::{Facts, Finding, Request, apply, lint};
use rbx_platform::Platform;

fn findings(text: &str) -> Vec<Finding> {
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"].map(|name| Platform::parse(name).unwrap());
    let mut request = Request::new(platforms.to_vec(), platforms[0].clone());
    request.settings.threshold = None;
    lint(&parse(text), &request, &Facts::default())
}

/// Every place is in the text, and the edits of a fix can be made one after another.
fn places(text: &str, findings: &[Finding]) {
    let inside = |span: Span| assert!(span.start <= span.end && text.get(span.range()).is_some(), "{span:?}");
    for finding in findings {
        inside(finding.span);
        finding.related.iter().for_each(|related| inside(related.span));
        assert!(!finding.platforms.is_empty() && !finding.message.contains('\n'), "{finding:?}");
        for fix in &finding.fixes {
            assert!(!fix.edits.is_empty());
            fix.edits.iter().for_each(|edit| inside(edit.span));
            assert!(fix.edits.windows(2).all(|two| two[0].span.end <= two[1].span.start), "{fix:?}");
        }
    }
}

/// Fixing one finding after another ends: no fix is undone by another, or leaves what it was for.
fn fixing_ends(text: &str) {
    let mut text = text.to_owned();
    for _ in 0..200 {
        let findings = findings(&text);
        places(&text, &findings);
        let Some(fix) = findings.iter().find_map(|finding| finding.fixes.first()) else { return };
        text = apply(&text, &fix.edits);
    }
    panic!("there is always something to fix in {text}");
}

/// Text made of what the rules look for, put together without sense.
fn dockerfile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM a",
        "FROM amd64/a AS b",
        "FROM --platform=linux/armv7 a AS b",
        "FROM --platform=linux/amd64 mcr.microsoft.com/windows/a AS b",
        "FROM --platform=$BUILDPLATFORM golang:1.16 AS b",
        "# rbx: platforms=linux/amd64 linux/arm64v8",
        "ADD https://a/b-amd64 /",
        "COPY --from=b /usr/lib/x86_64-linux-gnu/a /bin/a",
        "COPY --from=b /lib/ld-musl-x86_64.so.1 /",
        "ENV JAVA_HOME=/usr/lib/jvm/a-amd64 GOARCH=amd64",
        "ENV CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu GOAMD64=v3",
        "RUN wget https://a/b-$(uname -m) -O /bin/a && curl https://a/b_amd64.deb",
        "RUN wget https://get.helm.sh/helm-$(uname -m) https://nodejs.org/dist/$TARGETARCH",
        "RUN GOARCH=amd64 go build && GOARCH=$TARGETARCH go build",
        "RUN go mod download && xx-go build -o a",
        "RUN echo \"deb [arch=amd64] http://archive.ubuntu.com/ubuntu a\"",
        "RUN dpkg --add-architecture i386; apt-get install -y gcc-multilib",
        "RUN cargo build --target x86_64-unknown-linux-gnu -march=native",
        "RUN bundle exec bootsnap precompile",
        "RUN case $TARGETARCH in amd64) wget https://a/b-amd64 ;; esac",
        "RUN [\"go\", \"build\"]",
        "FROM a AS b-amd64",
        "FROM a AS b-arm64",
        "FROM b-$TARGETARCH",
        "FROM scratch",
        "FROM --platform=$BUILDPLATFORM a AS b",
        "FROM --platform=linux/arm64 b AS c",
        "FROM --platform=$TARGETPLATFORM c",
        "FROM b AS c",
        "FROM c",
        "COPY --platform=$TARGETPLATFORM --from=c / /",
        "COPY --from=d --platform=linux/arm64 / /",
        "ADD --platform / /",
        "RUN --mount=type=cache,target=/target,id=x cargo",
        "run --mount=target=/var/cache/apt,type=cache apt",
        "COPY --from=b / /",
        "ARG TARGETARCH",
        "ARG TARGETARCH=amd64",
        "arg TARGETARCH=${TARGETARCH:-amd64} TARGETVARIANT=",
        "ARG BUILDPLATFORM=linux/arm64",
        "ARG TARGETPLATFORM=linux/s390x",
        "ENV TARGETOS=x",
        "RUN $TARGETARCH",
        "RUN x \\\n# comment\n  ${TARGETARCH:-amd64} \\\n",
        "RUN [\"sh\", \"-c\", \"$TARGETOS\"]",
        "RUN <<E\n$TARGETVARIANT\nE",
        "RUN <<-E cat\n\t'$TARGETOS'\nE",
        "run é${TARGETOS%x}",
        "ONBUILD RUN $TARGETARCH",
        "ONBUILD ARG TARGETARCH=amd64",
        "SHELL [\"bash\", \"-c\"]",
        "# check=skip=platform-arg-undeclared",
        "# rbx: ignore=all",
        "# hadolint ignore=all",
        "# rbx: ignore-stage=DL3045",
        "COPY a b c",
        "COPY --from=d a \"b\"",
        "ADD a.txt <<E b\nE",
        "ONBUILD ADD [\"a\", \"b\"]",
        "ENV A=1 B=$A C=${B:-$A}",
        "WORKDIR b",
        "USER root",
        "LABEL A=b",
        "# comment",
        "\n",
        "\n",
        "\r\n",
        "\r\n",
        "\\\n",
        "  ",
        "\t",
        "\u{feff}",
        "RUN apt update && apt-get install a",
        "RUN cd /a && ",
        "yum install b; ",
        "| sudo apk add c",
        "RUN [\"sh\", \"-c\", \"wget d | useradd -u 1234567\"]",
        "RUN <<-E\n\tpip install e\n\tzypper in f\nE",
        "bash -c 'dnf update'",
        "SHELL [\"/bin/bash\", \"-c\"]",
        "$TARGETARCH",
        "\"",
        "'",
        "é",
        "(",
        ")",
        "`",
    ]);
    let lines =
        prop::collection::vec((piece, prop::sample::select(vec!["\n", "\n", "\n", "\r\n", " ", ""])), 0..30);
    lines.prop_map(|lines| lines.into_iter().map(|(piece, end)| piece.to_owned() + end).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_can_be_fixed(text in dockerfile()) {
        fixing_ends(&text);
    }

    #[test]
    fn arbitrary_text_is_checked(text in any::<String>()) {
        places(&text, &findings(&text));
    }
}

/// Texts that make each part of the work as long as it can be.
#[test]
fn large_files_take_linear_time() {
    type Make = fn(usize) -> String;
    let texts: &[(&str, Make)] = &[
        ("caches", |n| format!("FROM a\n{}", "RUN --mount=type=cache,target=/target cargo\n".repeat(n))),
        ("copies with platforms", |n| {
            let copies = "COPY --platform=linux/arm64 --from=c / /\nFROM a AS c-files-2\n";
            format!("FROM a\n{}", copies.repeat(n / 2))
        }),
        ("runs", |n| format!("FROM a\n{}", "ENV A=b\nRUN echo $TARGETARCH\n".repeat(n))),
        ("reads in a heredoc", |n| format!("FROM a\nRUN <<-E\n{}E\n", "\techo $TARGETARCH\n".repeat(n * 10))),
        ("defaults", |n| format!("FROM a\n{}", "ARG TARGETARCH=x\n".repeat(n))),
        ("defaults before FROM", |n| format!("{}FROM a\nARG TARGETARCH\n", "ARG TARGETARCH=x\n".repeat(n))),
        ("flags on stages", |n| {
            let stages = (0..n).map(|i| format!("FROM --platform=linux/arm64 s{i} AS s{}\n", i + 1));
            format!("FROM a AS s0\n{}", stages.collect::<String>())
        }),
        ("copies", |n| format!("FROM a\n{}", "COPY --from=b c d\nADD e f\n".repeat(n))),
        ("variables", |n| {
            let pairs: String =
                (0..n).map(|i| format!(" A{i}=$A{} \\\n", i + 1)).collect::<Vec<_>>().concat();
            format!("FROM a\nENV{pairs} A=b\n")
        }),
        ("stages on stages", |n| {
            let stages =
                (0..n).map(|i| format!("FROM s{i} AS s{}\nCOPY a b\n# rbx: ignore-stage=x\n", i + 1));
            format!("FROM a AS s0\n{}", stages.collect::<String>())
        }),
        ("selectors", |n| format!("FROM a AS b-amd64\n{}", "FROM b-$TARGETARCH\n".repeat(n / 4))),
        ("comments", |n| {
            format!("FROM a\n{}RUN {}\n", "# rbx: ignore=x\n".repeat(n), "$TARGETARCH ".repeat(4000))
        }),
        ("long defaults", |n| {
            format!("FROM a\nRUN <<E\n{}\nE\n", "${TARGETARCH:-".repeat(90) + &"x".repeat(n * 10))
        }),
        ("commands in a step", |n| {
            let commands =
                "apt-get update; apk add a; yum install b; pip install c; yarn install; tar x d; ssh e; ";
            format!("FROM a\nCOPY d.tar .\nRUN {}\n", commands.repeat(n / 2))
        }),
        ("steps", |n| {
            format!(
                "FROM a\n{}",
                "COPY d.tar .\nRUN cd a && zypper in b | tar x d.tar && wget c; curl d\n".repeat(n)
            )
        }),
        ("addresses", |n| format!("FROM a\nRUN wget {}\n", "https://a/b-$(uname -m)-amd64 ".repeat(n))),
        ("fetches", |n| {
            format!("FROM a\n{}", "ENV U=https://a/b-amd64\nRUN wget $U c_amd64.deb\n".repeat(n))
        }),
        ("paths", |n| format!("FROM a\nENV A={}\n", "/usr/lib/x86_64-linux-gnu/a:".repeat(n))),
        ("builds", |n| {
            let builds = "ARG TARGETARCH\nRUN go mod download && GOARCH=amd64 go build\n".repeat(n / 2);
            format!(
                "FROM --platform=$BUILDPLATFORM golang AS b\n{builds}FROM a\nCOPY --from=b /bin/a /bin/\n"
            )
        }),
        ("heredocs in a heredoc", |n| format!("FROM a\nRUN <<E\ncat {}\n$TARGETARCH\nE\n", "<<X ".repeat(n))),
    ];
    let time = |text: &str| {
        let start = Instant::now();
        findings(text);
        start.elapsed()
    };
    for &(name, text) in texts {
        // A quadratic one takes sixteen times as long. What else the machine does may add to one measurement, or two.
        let measured = std::iter::repeat_with(|| (time(&text(750)), time(&text(3000)))).take(4);
        let linear =
            |(small, large): &(Duration, Duration)| *large < (*small).max(Duration::from_millis(10)) * 10;
        assert!(measured.into_iter().any(|times| linear(&times)), "{name}");
    }
}
