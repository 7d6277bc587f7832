//! Changes that may be made: what they are, and that they keep what is built or change what they say.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod built;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use built::{dockerfiles, meaning, request};
use insta::assert_snapshot;
use proptest::prelude::*;
use rbx_dockerfile::{Body, CommandLine, Dockerfile, Span, parse};
use rbx_lint::{Evaluated, Facts, ImageFacts, Refactoring, apply, refactorings};

/// What may be changed at every instruction of a text, each once.
fn changes(file: &Dockerfile, facts: &Facts) -> Vec<Refactoring> {
    let evaluated = Evaluated::new(file, &request(), facts);
    let mut all: Vec<Refactoring> = Vec::new();
    for instruction in &file.instructions {
        for change in refactorings(file, instruction.span, facts, &evaluated) {
            if !all.contains(&change) {
                all.push(change);
            }
        }
    }
    all
}

/// The text after each change whose title has a word.
fn changed(text: &str, word: &str) -> String {
    let file = parse(text);
    let mut shown = String::new();
    for change in changes(&file, &Facts::default()) {
        if change.title.contains(word) {
            let after =
                change.edits.map_or_else(|reason| format!("({reason})\n"), |edits| apply(text, &edits));
            writeln!(shown, "--- {}\n{after}", change.title).unwrap();
        }
    }
    shown
}

#[test]
fn a_list_of_commands_is_a_heredoc() {
    let text = "\
FROM a
RUN --network=none apt-get update && apt-get install -y \\
    curl \\
    git && cd /src | cat && x='a \\
  b' && rm -rf /tmp/*
";
    assert_snapshot!(changed(text, "heredoc"), @r"
    --- Write the commands as a heredoc, a line each
    FROM a
    RUN --network=none <<EOF
    set -e
    apt-get update
    apt-get install -y \
        curl \
        git
    cd /src | cat
    x='a   b'
    rm -rf /tmp/*
    EOF
    ");
    let back = changed("FROM a\nRUN <<EOF\nset -e\napt-get update\n\nrm -rf /tmp/*\nEOF\nUSER a\n", "&&");
    assert_snapshot!(back, @r"
    --- Write the commands as one list, joined by &&
    FROM a
    RUN apt-get update \
        && rm -rf /tmp/*
    USER a
    ");
}

#[test]
fn what_is_no_such_list_stays() {
    for run in [
        "a",
        "a || b && c",
        "a; b && c",
        "a && b &",
        "! a && b",
        "(a) && b",
        "a && { b; c; }",
        "if a; then b; fi && c",
        ". /x && b",
        "set -x && a",
        "a && x=$(b; c)",
        "a && b <<E",
        "f() { a; } && f",
        "[\"a\"]",
        "a && b # c",
    ] {
        assert_eq!(changed(&format!("FROM a\nRUN {run}\n"), "heredoc"), "", "{run}");
    }
    assert_eq!(changed("# syntax=docker/dockerfile:1.3\nFROM a\nRUN a && b\n", "heredoc"), "");
    assert_ne!(changed("# syntax=docker/dockerfile:1.4-labs\nFROM a\nRUN a && b\n", "heredoc"), "");
    assert_eq!(changed("FROM a\nSHELL [\"pwsh\", \"-c\"]\nRUN a && b\n", "heredoc"), "");
    for script in
        ["set -e\na || b\n", "a\nb\n", "set -e\nif a\nthen b\nfi\n", "set -e\na \\\n  b\n", "set -ex\na\n"]
    {
        assert_eq!(changed(&format!("FROM a\nRUN <<E\n{script}E\n"), "&&"), "", "{script}");
    }
}

#[test]
fn packages_are_sorted() {
    let text = "\
FROM a
RUN apt-get update && apt-get install -y --no-install-recommends -t stable git curl=7.* \\
      ca-certificates git && rm -rf /var/lib/apt/lists/*
RUN apk add --no-cache --virtual .build b a
RUN apt-get install -y $PACKAGES a
RUN apt-get install a -y b
";
    assert_snapshot!(changed(text, "Sort"), @r"
    --- Sort the packages, a line each
    FROM a
    RUN apt-get update && apt-get install -y --no-install-recommends -t stable \
        ca-certificates \
        curl=7.* \
        git && rm -rf /var/lib/apt/lists/*
    RUN apk add --no-cache --virtual .build b a
    RUN apt-get install -y $PACKAGES a
    RUN apt-get install a -y b

    --- Sort the packages, a line each
    FROM a
    RUN apt-get update && apt-get install -y --no-install-recommends -t stable git curl=7.* \
          ca-certificates git && rm -rf /var/lib/apt/lists/*
    RUN apk add --no-cache --virtual .build \
        a \
        b
    RUN apt-get install -y $PACKAGES a
    RUN apt-get install a -y b
    ");
}

#[test]
fn pairs_are_joined() {
    let text = "\
FROM a
ENV A=1
ENV B=\"2 3\" C=4
ENV D=$B
LABEL a=b
LABEL c=d
# why
LABEL e=f
ENV x y
ENV Y=1
";
    assert_snapshot!(changed(text, "Join"), @r#"
    --- Join 2 ENV instructions into one
    FROM a
    ENV A=1 \
        B="2 3" C=4
    ENV D=$B
    LABEL a=b
    LABEL c=d
    # why
    LABEL e=f
    ENV x y
    ENV Y=1

    --- Join 2 LABEL instructions into one
    FROM a
    ENV A=1
    ENV B="2 3" C=4
    ENV D=$B
    LABEL a=b \
        c=d
    # why
    LABEL e=f
    ENV x y
    ENV Y=1
    "#);
}

#[test]
fn commands_have_two_forms() {
    assert_snapshot!(changed("FROM a\nCMD nginx  -g daemon=off\nENTRYPOINT [\"/bin/app\", \"-x\"]\n", "Start"), @r#"
    --- Start the program of CMD without a shell
    FROM a
    CMD ["nginx", "-g", "daemon=off"]
    ENTRYPOINT ["/bin/app", "-x"]

    --- Start the program of ENTRYPOINT by a shell
    FROM a
    CMD nginx  -g daemon=off
    ENTRYPOINT exec /bin/app -x
    "#);
    for command in
        ["CMD echo $x", "CMD a && b", "CMD A=b c", "CMD exec a", "CMD [\"a b\"]", "CMD [\"$a\"]", "CMD []"]
    {
        assert_eq!(changed(&format!("FROM a\n{command}\n"), "Start"), "", "{command}");
    }
}

#[test]
fn images_get_names_digests_and_platforms() {
    let text = "\
# The compiler
from golang:1.24 as build
run go build
FROM registry:5000/a/b:3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS c
FROM scratch
COPY --from=build /a /a
";
    assert_snapshot!(changed(text, ""), @"
    --- Pin golang:1.24 to its digest
    (it is not known what golang:1.24 stands for: rbx.online lets the registry be asked)

    --- Let --build-arg GOLANG_VERSION choose the tag of golang
    arg GOLANG_VERSION=1.24
    # The compiler
    from golang:${GOLANG_VERSION} as build
    run go build
    FROM registry:5000/a/b:3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS c
    FROM scratch
    COPY --from=build /a /a

    --- Run this stage on the build's own platform, to cross-compile for $TARGETOS/$TARGETARCH
    # The compiler
    from --platform=$BUILDPLATFORM golang:1.24 as build
    arg TARGETOS TARGETARCH
    run go build
    FROM registry:5000/a/b:3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS c
    FROM scratch
    COPY --from=build /a /a

    --- Unpin registry:5000/a/b:3: take what the tag stands for when it is built
    # The compiler
    from golang:1.24 as build
    run go build
    FROM registry:5000/a/b:3 AS c
    FROM scratch
    COPY --from=build /a /a

    --- Run this stage on the build's own platform, to cross-compile for $TARGETOS/$TARGETARCH
    # The compiler
    from golang:1.24 as build
    run go build
    FROM --platform=$BUILDPLATFORM registry:5000/a/b:3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS c
    ARG TARGETOS TARGETARCH
    FROM scratch
    COPY --from=build /a /a
    ");
    let mut facts = Facts::default();
    let index = ImageFacts::Index { digest: "sha256:abc".to_owned(), entries: Vec::new() };
    facts.images.insert("golang:1.24".to_owned(), index);
    let pin = changes(&parse(text), &facts).into_iter().find(|it| it.title.starts_with("Pin")).unwrap();
    assert!(apply(text, &pin.edits.unwrap()).contains("from golang:1.24@sha256:abc as build\n"));
}

/// What titles begin with that say that something else is built, or the same by other means.
const CHANGING: [&str; 9] = [
    "Join",
    "Let --build-arg",
    "Pin",
    "Run this stage",
    "Sort",
    "Start",
    "Unpin",
    "Write the commands as a heredoc",
    "Write the commands as one list",
];

#[test]
fn nothing_becomes_wrong() {
    let request = request();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for text in dockerfiles() {
        let file = parse(&text);
        let before = meaning(&text, &request);
        for change in changes(&file, &Facts::default()) {
            let Ok(edits) = change.edits else { continue };
            assert!(edits.windows(2).all(|two| two[0].span.end <= two[1].span.start), "{}", change.title);
            let fixed = apply(&text, &edits);
            let after = meaning(&fixed, &request);
            assert!(after.1 <= before.1, "{}\n{text}---\n{fixed}", change.title);
            assert_ne!(fixed, text, "{}", change.title);
            let kind = CHANGING.into_iter().find(|kind| change.title.starts_with(kind));
            assert!(kind.is_some(), "{}", change.title);
            seen.extend(kind);
        }
    }
    assert!(seen.len() >= 6, "{seen:?}");
}

fn script(file: &Dockerfile) -> Option<String> {
    let run = file.instructions.get(1)?;
    match &run.body {
        Body::Run(CommandLine::Shell(word)) if run.heredocs.is_empty() => Some(word.text.clone()),
        Body::Run(_) => Some(run.heredocs[0].content.slice(&file.text).to_owned()),
        _ => None,
    }
}

fn said(shell: &str, script: &str) -> (Vec<u8>, Option<i32>) {
    let output = Command::new(shell).args(["-c", script]).env_clear().current_dir("/").output().unwrap();
    (output.stdout, output.status.code())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Real shells do the same for a list and for its heredoc, and end in the same way.
    #[test]
    fn shells_do_the_same(commands in proptest::collection::vec(0..12usize, 1..6), joins in proptest::collection::vec(0..8usize, 6)) {
        const COMMANDS: [&str; 12] = [
            "printf a", "false", "true", "cd /usr", "pwd", "x=$(printf b)", "printf '%s' \"$x\"", "x=$(false)",
            "printf '%s;' a \\\n  'b  c' \\\n# d\n  e", "printf c | cat", "test \"$x\"", "false | true",
        ];
        const JOINS: [&str; 8] = [" && ", " && ", " && ", "&&", " && \\\n    ", " \\\n  && ", " || ", " ; "];
        let mut list = String::new();
        for (command, join) in commands.iter().zip(&joins) {
            if !list.is_empty() {
                list.push_str(JOINS[*join]);
            }
            list.push_str(COMMANDS[*command]);
        }
        let text = format!("FROM a\nRUN {list}\n");
        let file = parse(&text);
        let evaluated = Evaluated::new(&file, &request(), &Facts::default());
        let at = Span { start: 7, end: 7 };
        for change in refactorings(&file, at, &Facts::default(), &evaluated) {
            if !change.title.contains("commands") {
                continue;
            }
            let after = parse(&apply(&text, &change.edits.unwrap()));
            let (before, now) = (script(&file).unwrap(), script(&after).unwrap());
            for shell in ["sh", "bash"] {
                prop_assert_eq!(said(shell, &before), said(shell, &now), "{}\n{}", text, after.text);
            }
            // And back.
            let evaluated = Evaluated::new(&after, &request(), &Facts::default());
            for back in refactorings(&after, at, &Facts::default(), &evaluated) {
                let list = parse(&apply(&after.text, &back.edits.unwrap()));
                let list = script(&list).unwrap();
                prop_assert_eq!(said("sh", &before), said("sh", &list), "{}", list);
            }
        }
    }
}
