//! `check`: which files it takes, and how it ends.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::world::{PROGRAM, ran};

const WRONG: &str = "FROM scratch\nARG TARGETARCH=s390x\nCOPY app-$TARGETARCH /\n";

/// Runs `check` in a directory; answers the exit code and what was printed, standard output first.
fn check(directory: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let mut program = Command::new(PROGRAM);
    program.arg("check").args(args).current_dir(directory).env_remove("DOCKER_DEFAULT_PLATFORM");
    let ran = ran(&mut program);
    (ran.code, ran.stdout + &ran.stderr)
}

#[test]
fn directories_files_and_standard_input_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::create_dir(at.join("app")).unwrap();
    fs::write(at.join("Dockerfile"), "FROM scratch\n").unwrap();
    fs::write(at.join("app/web.Dockerfile"), WRONG).unwrap();
    fs::write(at.join("app/other"), WRONG).unwrap();

    let arm = "--platform=linux/arm64";
    assert_eq!(
        check(at, &[arm, "Dockerfile"]),
        (Some(0), "Check for linux/arm64 complete, no warnings found.\n".to_owned())
    );
    assert_eq!(check(at, &["--platform=linux/s390x"]).0, Some(0), "the default is the platform's own value");

    let (code, printed) = check(at, &[arm, "--platform", "linux/s390x"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(printed, @r#"
    WARNING: platform-arg-default
    Default "s390x" of ARG TARGETARCH replaces the automatic value on linux/arm64 (fine on linux/s390x)
    app/web.Dockerfile:2
    --------------------
       1 |     FROM scratch
       2 | >>> ARG TARGETARCH=s390x
       3 |     COPY app-$TARGETARCH /
       4 |     
    --------------------
    Fix: Remove the default of TARGETARCH

    Check of 2 files for linux/arm64, linux/s390x complete, 1 warning has been found!
    "#);
    for args in [&["app/other"][..], &["-f", "app/other"], &["-f", "app/other", "app"], &["app"]] {
        let (code, printed) = check(at, &[&[arm], args].concat());
        assert_eq!(code, Some(1), "{args:?}");
        assert!(printed.contains("complete, 1 warning has been found!"), "{printed}");
    }

    let mut program = Command::new(PROGRAM);
    program.args(["check", arm, "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all(WRONG.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("-:2\n"));
}

#[test]
fn what_cannot_be_checked_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("a"), "FROM scratch\n").unwrap();
    let (code, printed) = check(at, &["a", "absent"]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("Check of 2 files complete, 1 unreadable file has been found!\n"), "{printed}");
    assert!(
        printed.contains("ERROR: No such file or directory (os error 2): failed to read absent\n"),
        "{printed}"
    );

    for (args, error) in [
        (
            &["--format=sarif", "a"][..],
            "ERROR: invalid format \"sarif\"\nHint: there are \"text\" and \"json\"\n",
        ),
        (
            &["--platform=linux/amd64/x/y", "a"],
            "ERROR: \"linux/amd64/x/y\": cannot parse platform specifier: invalid argument\n",
        ),
        (&["-f", "a", "a"], "ERROR: with --file there can be one PATH, and it must be a directory\n"),
        (&["--explain", "no-such"], "ERROR: no rule \"no-such\"\n"),
        (&["."], "ERROR: no Dockerfile in .\n"),
    ] {
        let (code, printed) = check(at, args);
        assert_eq!(code, Some(1), "{args:?}");
        assert!(printed.starts_with(error), "{args:?}: {printed}");
    }
    let (code, page) = check(at, &["--explain", "platform-arg-default"]);
    assert_eq!((code, page.lines().next()), (Some(0), Some("# platform-arg-default")));
}

#[test]
fn a_file_says_what_it_is_built_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("Dockerfile"), format!("# rbx: platforms=linux/arm64,x/y/z/w\n{WRONG}")).unwrap();
    let (code, printed) = check(at, &[]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("\"x/y/z/w\": cannot parse platform specifier"), "{printed}");
    assert!(printed.ends_with("Check for linux/arm64 complete, 2 warnings have been found!\n"), "{printed}");
    let (_, printed) = check(at, &["--platform=linux/s390x"]);
    assert!(printed.ends_with("Check for linux/s390x complete, no warnings found.\n"), "{printed}");
}
