//! Dockerfiles that nobody should write: one clear error and exit code 1, or a build; and in time that grows with
//! their size, no faster.

use std::fmt::Write as _;
use std::fs;

use crate::world::{Ran, World, ran};

/// Builds a Dockerfile of these bytes.
fn build(dockerfile: impl AsRef<[u8]>) -> Ran {
    let world = World::new();
    fs::write(world.path("context/Dockerfile"), dockerfile).unwrap();
    ran(&mut world.build(&["context"]))
}

/// Builds a Dockerfile that cannot be built: the error, without progress and excerpt.
fn refused(dockerfile: impl AsRef<[u8]>) -> String {
    let ran = build(dockerfile);
    assert_eq!(ran.code, Some(1), "{:.2000}{:.2000}", ran.stdout, ran.stderr);
    let errors = ran.stderr.lines().filter(|line| line.starts_with("ERROR: "));
    assert_eq!(errors.count(), 1, "{:.2000}", ran.stderr);
    assert!(ran.stderr.len() < 1 << 20, "{} bytes of errors", ran.stderr.len());
    ran.stderr_from("ERROR: failed to build: ")["ERROR: failed to build: ".len()..].trim_end().to_owned()
}

const LONG_LINE: &str = "dockerfile line greater than max allowed size of 65535";

#[test]
fn long_lines_are_refused() {
    assert_eq!(refused(format!("FROM scratch\nLABEL a={}\n", "x".repeat(2 << 20))), LONG_LINE);
    assert_eq!(refused(format!("FROM scratch\n# {}\n", "x".repeat(2 << 20))), LONG_LINE);
    assert_eq!(refused(format!("FROM scratch\nCOPY <<E /a\n{}\nE\n", "x".repeat(2 << 20))), LONG_LINE);
    assert_eq!(refused("x".repeat(2 << 20)), LONG_LINE);
}

#[test]
fn large_files_are_refused() {
    for dockerfile in [vec![b'x'; 10 << 20], b"FROM scratch\n".repeat(1 << 20), vec![b'\n'; 10 << 20]] {
        let error = refused(dockerfile);
        assert!(error.ends_with("Dockerfile has more than 4194304 bytes"), "{error}");
    }
}

#[test]
fn what_is_no_text_is_an_unknown_instruction() {
    for dockerfile in [
        &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0"[..],
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"\xff\xfe\xfd\xfc\n\x80\x81",
        b"\0\0\0\0",
    ] {
        let error = refused(dockerfile);
        // Nothing is left of what is all zeros: control characters are not printed.
        assert!(error.starts_with("dockerfile parse error on line 1: unknown instruction:"), "{error:?}");
    }
    let error = refused(b"FROM scratch\nLABEL a=\xff\nFE\xffTCH\n");
    assert_eq!(error, "dockerfile parse error on line 3: unknown instruction: FE\u{fffd}TCH");
}

#[test]
fn a_directory_is_no_dockerfile() {
    let world = World::new();
    fs::create_dir(world.path("context/directory")).unwrap();
    let ran = ran(&mut world.build(&["--file=context/directory", "context"]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let error = ran.stderr_from("ERROR: ");
    assert!(error.contains("directory"), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
}

#[test]
fn nothing_is_not_enough() {
    assert_eq!(refused(""), "the Dockerfile cannot be empty");
    assert_eq!(refused("# only a comment\n"), "file with no instructions");
    assert_eq!(refused("\n".repeat(1 << 20)), "file with no instructions");
}

/// A row of stages, each built on the one before.
fn stages(count: usize) -> String {
    (0..count).fold("FROM scratch AS s0\n".to_owned(), |mut text, index| {
        writeln!(text, "FROM s{index} AS s{}\nENV V{}=$PATH", index + 1, index % 7).unwrap();
        text
    })
}

#[test]
fn ten_thousand_stages_are_built() {
    let built = build(stages(10_000));
    assert_eq!(built.code, Some(0), "{:.2000}", built.stderr);
    let unneeded: String = (0..10_000).fold(String::new(), |mut text, index| {
        writeln!(text, "FROM nothing.invalid/image AS s{index}\nRUN false").unwrap();
        text
    });
    build(unneeded + "FROM scratch\n").well();
}

#[test]
fn circles_are_found() {
    let circle = |count: usize| {
        (0..count).fold(String::new(), |mut text, index| {
            writeln!(text, "FROM scratch AS s{index}\nCOPY --from=s{} /a /b", (index + 1) % count).unwrap();
            text
        })
    };
    let expected = "circular dependency detected on stage: s0";
    for count in [2, 3, 10_000] {
        assert_eq!(refused(circle(count)), expected);
    }
    let own = "cannot copy from stage \"a\", it needs to be defined before current stage \"a\"";
    assert!(
        [own, "circular dependency detected on stage: a"]
            .contains(&refused("FROM scratch AS a\nCOPY --from=a /a /b\n").as_str())
    );
}

#[test]
fn deep_expansions_are_refused() {
    let deep =
        |count: usize| format!("FROM scratch\nLABEL a={}{}\n", "${a:-".repeat(count), "}".repeat(count));
    build(deep(50)).well();
    let error = refused(deep(10_000));
    assert!(error.ends_with("syntax error: substitutions are nested too deeply"), "{error:.200}");
    let quotes = format!("FROM scratch\nLABEL a={}{}\n", "\"${a:-".repeat(8_000), "}\"".repeat(8_000));
    let error = refused(quotes);
    assert!(error.ends_with("syntax error: substitutions are nested too deeply"), "{error:.200}");
}

#[test]
fn variables_that_double_are_refused() {
    let error = refused(format!("FROM scratch\nENV A=xxxxxxxx\n{}", "ENV A=$A$A\n".repeat(64)));
    assert!(
        error.contains("substitution adds more than 4194304 bytes"),
        "{:.200}",
        &error[error.len() - 200..]
    );
}

#[test]
fn thousands_of_heredocs_are_read() {
    let mut text = "FROM scratch\n".to_owned();
    for index in 0..2_000 {
        writeln!(text, "COPY <<E{index} <<-'F{index}' /files/\n$PATH\nE{index}\n\tx\n\tF{index}").unwrap();
    }
    // Every one is a layer to build, and a build of thousands is another test's.
    build(format!("{text}FROM scratch\n")).well();
    assert_eq!(refused(format!("FROM scratch\nRUN {}\n", "<<E ".repeat(10_000))), "unterminated heredoc");
    let (mut row, mut ends) = (String::new(), String::new());
    for index in 0..5_000 {
        write!(row, "<<E{index} ").unwrap();
        writeln!(ends, "E{index}").unwrap();
    }
    build(format!("FROM scratch AS unneeded\nRUN {row}\n{ends}FROM scratch\n")).well();
}

#[test]
fn zeros_in_names_are_errors() {
    let error = refused("FROM scratch\nCOPY a\0b /x\n");
    assert!(!error.is_empty() && error.lines().count() <= 2, "{error:?}");
    let error = refused("FROM scratch\nUSER a\0b\nWORKDIR /x\0y\n");
    assert!(!error.is_empty() && error.lines().count() <= 2, "{error:?}");
}

#[test]
fn other_front_ends_are_errors_that_say_who_can() {
    let front_end = "the embedded engine cannot run the front end example.com/other:1\n\
                     Hint: `docker buildx build` can do this, with a BuildKit builder";
    for text in [
        "# syntax=example.com/other:1\nFROM scratch\n",
        "#!/usr/bin/env other\n# syntax = example.com/other:1 --option\nFROM scratch\n",
        "// syntax=example.com/other:1\n",
        "{\"syntax\": \"example.com/other:1\"}\n",
    ] {
        assert_eq!(refused(text), front_end, "{text}");
    }
    for text in [
        "# syntax=docker/dockerfile:1\nFROM scratch\n",
        "# syntax=docker/dockerfile:1-labs\nFROM scratch\n",
        "# syntax=docker.io/docker/dockerfile-upstream:master\nFROM scratch\n",
    ] {
        build(text).well();
    }
    let world = World::new();
    world.write("context/Dockerfile", "# syntax=example.com/other:1\nFROM scratch\n");
    let argument = |value| format!("--build-arg=BUILDKIT_SYNTAX={value}");
    ran(&mut world.build(&[&argument("docker/dockerfile:1.20"), "context"])).well();
    world.write("context/Dockerfile", "# syntax=docker/dockerfile:1\nFROM scratch\n");
    let refused = ran(&mut world.build(&[&argument("example.com/other:1"), "context"]));
    assert!(refused.stderr_from("ERROR: ").contains(front_end), "{}", refused.stderr);
}
