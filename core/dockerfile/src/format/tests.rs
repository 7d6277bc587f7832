use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::{apply, parse};

/// A text with its line ends and tabs made visible.
fn shown(text: &str) -> String {
    text.replace(" \n", "␣\n").replace('\t', "→").replace('\r', "␍")
}

fn formatted(text: &str) -> String {
    let after = apply(text, &format(&parse(text), &Style::default()));
    assert_eq!(format(&parse(&after), &Style::default()), [], "{after}");
    shown(&after)
}

#[test]
fn words_lines_and_stages_are_parted_alike() {
    let text = r#"# syntax=docker/dockerfile:1



ARG  VERSION=1   OTHER="a  b"
from --platform=$BUILDPLATFORM   golang:1.24   as build
  # What is built
  workdir   /src
RUN  --mount=type=cache,target=/root/.cache   apt-get  update\
  && apt-get install -y   \

      curl   \
# The older one

      'a  \
   b'\
   && rm -rf   /var/lib/apt/lists/*
ENV A=1    B="x   \
 y"   \
 C=foo\ \
   D=2
# Small
FROM scratch
COPY   --from=build   ["/a",  \
 "/b  c"]
EXPOSE   80\
443
HEALTHCHECK   --interval=5s    CMD   a  b
ONBUILD   run a   b
CMD [ "a",   "b" ]


"#;
    assert_snapshot!(formatted(text), @r#"
    # syntax=docker/dockerfile:1

    ARG VERSION=1 OTHER="a  b"
    FROM --platform=$BUILDPLATFORM golang:1.24 AS build
    # What is built
    WORKDIR /src
    RUN --mount=type=cache,target=/root/.cache apt-get  update \
        && apt-get install -y \
            curl \
            # The older one
            'a  \
       b' \
        && rm -rf   /var/lib/apt/lists/*
    ENV A=1 B="x   \
     y" \
        C=foo\  \
            D=2

    # Small
    FROM scratch
    COPY --from=build ["/a", \
        "/b  c"]
    EXPOSE 80\
    443
    HEALTHCHECK --interval=5s CMD a  b
    ONBUILD   run a   b
    CMD [ "a",   "b" ]
    "#);
}

#[test]
fn heredocs_stay() {
    let text = "FROM a\nCOPY  <<-EOF   /d\n\ta   b \n\n\n\n\tEOF\n\n\n\nRUN  <<A cat  <<B\n x \nA\n  y\nB";
    assert_snapshot!(formatted(text), @"
    FROM a
    COPY <<-EOF /d
    →a   b␣



    →EOF

    RUN <<A cat  <<B
     x␣
    A
      y
    B
    ");
}

#[test]
fn a_wrong_instruction_is_left_alone() {
    let text = "FROM  a\nRUM  x  \\\n\n  y\n  COPY --form=x  a \\\n  b  \n\n\nrun   z\n  FROM a b\n";
    assert_snapshot!(formatted(text), @r"
    FROM a
    RUM  x  \

      y
      COPY --form=x  a \
      b ␣

    RUN z

      FROM a b
    ");
}

#[test]
fn line_ends_and_the_mark_at_the_beginning_stay() {
    let text = "\u{feff}\r\n  FROM  a \r\nRUN b\\\r\n  c\r\nFROM d";
    let after = apply(text, &format(&parse(text), &Style::default()));
    assert_eq!(after, "\u{feff}FROM a\r\nRUN b \\\r\n    c\r\n\r\nFROM d\r\n");
}

#[test]
fn what_is_on_top_does_not_become_a_directive() {
    for text in ["\n# escape=`\nFROM a\n", " #!x\n# escape=`\nFROM a\n", "FROM a\n  # check=skip=A\nRUN b\n"]
    {
        assert_eq!(formatted(text), text);
    }
}

#[test]
fn the_majority_of_stages_decides_the_case() {
    assert_eq!(formatted("ARG a\nfrom a AS b\nrun c\nRUN d\n"), "arg a\nfrom a as b\nrun c\nrun d\n");
    assert_eq!(formatted("from a\nRUN d\n"), "FROM a\nRUN d\n");
    assert_eq!(formatted("From a\nRun d\nworkdir /\n"), "from a\nrun d\nworkdir /\n");
}

#[test]
fn shells_with_other_words_keep_theirs() {
    let run = "RUN a  \\\n  b\n";
    for before in [
        "# escape=`\nFROM a\n",
        "FROM a\nSHELL [\"powershell\", \"-Command\"]\n",
        "FROM a AS b\nSHELL [\"cmd\", \"/c\"]\n\nFROM b\n",
        "FROM mcr.microsoft.com/windows/nanoserver\n",
        "FROM --platform=windows/amd64 a\n",
    ] {
        let text = format!("{before}{run}").replace('\\', if before.contains('`') { "`" } else { "\\" });
        assert_eq!(formatted(&text), text);
    }
    let text = "FROM a\nSHELL [\"cmd\", \"/c\"]\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\n";
    assert_eq!(formatted(&format!("{text}{run}")), format!("{text}RUN a \\\n    b\n"));
}

#[test]
fn depth_of_lines_is_kept() {
    let text = "FROM a\nRUN a; \\\n\tb \\\n\t\tc \\\n\t; \\\nd\nRUN e \\\n  && f \\\n    g \\\n   && h\n";
    assert_eq!(
        formatted(text),
        "FROM a\nRUN a; \\\n    b \\\n        c \\\n    ; \\\n    d\nRUN e \\\n    && f \\\n        g \\\n    && h\n"
    );
    let style = Style { indent: Indent { width: 8, tabs: true }, ..Style::default() };
    let after = apply(text, &format(&parse(text), &style));
    assert!(after.contains("RUN a; \\\n\tb \\\n\t\tc \\\n"), "{after}");
}

#[test]
fn a_new_line_of_an_instruction_is_indented() {
    let indented =
        |text: &str, line| indent_at(&parse(text), &Style::default(), line).map(|edit| apply(text, &[edit]));
    assert_eq!(indented("FROM a\nRUN b \\\n", 3).as_deref(), Some("FROM a\nRUN b \\\n    "));
    assert_eq!(
        indented("FROM a\nRUN b \\\n\nRUN c\n", 3).as_deref(),
        Some("FROM a\nRUN b \\\n    \nRUN c\n")
    );
    assert_eq!(
        indented("FROM a\nRUN b \\\n  c \\\n# d\n \n", 5).as_deref(),
        Some("FROM a\nRUN b \\\n  c \\\n# d\n  \n")
    );
    for (text, line) in [
        ("FROM a\nRUN b\n\n", 3),
        ("FROM a\nRUN <<E\n\n", 3),
        ("", 1),
        ("FROM a \\\n", 0),
        ("FROM a \\\n", 9),
        ("FROM a \\", 2),
    ] {
        assert_eq!(indented(text, line), None, "{text:?}");
    }
}

/// What a shell makes of a script.
fn said(shell: &str, script: &str) -> Option<Vec<u8>> {
    let output = std::process::Command::new(shell).args(["-c", script]).env_clear().output();
    output.ok().map(|output| [output.stdout, output.status.to_string().into_bytes()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Real shells say the same of a script before and after, whatever its quotes.
    #[test]
    fn what_is_quoted_stays(pieces in proptest::collection::vec(0..24usize, 1..24)) {
        const PIECES: [&str; 24] = [
            "a", " ", "  ", "'", "\"", "\\ ", "\\'", "\\\"", " \\\n  ", " \\\n", "\\\n   ", "$x", "${x:-a  b}",
            "$(printf '%s.' a  b)", "\"$(printf %s. \"a  b\")\"", "#", "`printf a`", "$'", "${x:-'a  b'}", "\t",
            "; printf '{%s}'  ", " && \\\n\n  printf [%s] ", "(", ")",
        ];
        let script: String = pieces.iter().map(|&piece| PIECES[piece]).collect();
        let text = format!("FROM a\nRUN printf '[%s]' {script}\n");
        let ran = |text: &str| {
            let file = parse(text);
            match &file.instructions.get(1).map(|run| &run.body) {
                Some(crate::Body::Run(crate::CommandLine::Shell(word))) => Some(word.text.clone()),
                _ => None,
            }
        };
        let after = apply(&text, &format(&parse(&text), &Style::default()));
        let (Some(before), Some(now)) = (ran(&text), ran(&after)) else { return Ok(()) };
        if before != now {
            for shell in ["sh", "bash"] {
                prop_assert_eq!(said(shell, &before), said(shell, &now), "{}\n{}", text, after);
            }
        }
    }
}
