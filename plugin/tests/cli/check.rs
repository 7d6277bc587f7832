//! `check`: which files it takes, and how it ends.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::{PROGRAM, ran};

const WRONG: &str = "FROM scratch\nARG TARGETARCH=s390x\nCOPY app-$TARGETARCH /\n";

/// Runs `check` in a directory; answers the exit code and what was printed, standard output first.
fn check(directory: &Path, args: &[&str]) -> (Option<i32>, String) {
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
    1 can be fixed by --fix.
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
    assert_eq!(code, Some(2));
    assert!(printed.contains("Check of 2 files complete, 1 unreadable file has been found!\n"), "{printed}");
    assert!(printed.contains("ERROR: no such file or directory: failed to read absent\n"), "{printed}");

    for (args, error) in [
        (
            &["--format=xml", "a"][..],
            "ERROR: invalid format \"xml\"\nHint: there are \"text\", \"json\", \"sarif\", ",
        ),
        (
            &["--platform=linux/amd64/x/y", "a"],
            "ERROR: \"linux/amd64/x/y\": cannot parse platform specifier: invalid argument\n",
        ),
        (&["-f", "a", "a"], "ERROR: with --file there can be one PATH, and it must be a directory\n"),
        (&["--explain", "no-such"], "ERROR: no rule \"no-such\"\n"),
        (&["."], "ERROR: no Dockerfile in .\n"),
        (
            &["--select=platfrom-arg-default", "a"],
            "ERROR: no rule \"platfrom-arg-default\"\nHint: did you mean \"platform-arg-default\"?\n",
        ),
        (&["--unsafe-fixes", "a"], "ERROR: --unsafe-fixes needs --fix or --diff\n"),
        (&["--diff", "--format=json", "a"], "ERROR: --diff has a format of its own\n"),
    ] {
        let (code, printed) = check(at, args);
        assert_eq!(code, Some(2), "{args:?}");
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
    assert!(
        printed.contains("\nCheck for linux/arm64 (by its comment) complete, 2 warnings have been found!\n"),
        "{printed}"
    );
    let (_, printed) = check(at, &["--platform=linux/s390x"]);
    assert!(printed.ends_with("Check for linux/s390x complete, no warnings found.\n"), "{printed}");
}

/// The same, with a text on standard input; standard output and standard error are apart.
fn check_text(args: &[&str], text: &str) -> (Option<i32>, String, String) {
    let mut program = Command::new(PROGRAM);
    program
        .args(["check", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn fixes_are_shown_and_made() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let write = || {
        fs::write(at.join("Dockerfile"), WRONG).unwrap();
        fs::write(at.join("b.Dockerfile"), "FROM scratch\nRUNN x\nARG TARGETOS=x\nCOPY $TARGETOS /\n")
            .unwrap();
        fs::write(at.join("c.Dockerfile"), b"FROM scratch\nARG TARGETOS=\xff\nCOPY $TARGETOS /\n").unwrap();
    };
    let arm = "--platform=linux/arm64";
    write();
    let before = fs::metadata(at.join("Dockerfile")).unwrap().modified().unwrap();
    let (code, printed) = check(at, &[arm, "--diff"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(printed, @"
    --- a/Dockerfile
    +++ b/Dockerfile
    @@ -1,3 +1,3 @@
     FROM scratch
    -ARG TARGETARCH=s390x
    +ARG TARGETARCH
     COPY app-$TARGETARCH /
    --- a/b.Dockerfile
    +++ b/b.Dockerfile
    @@ -1,4 +1,4 @@
     FROM scratch
     RUNN x
    -ARG TARGETOS=x
    +ARG TARGETOS
     COPY $TARGETOS /
    Would fix 2 findings in 2 files.
    ");
    assert_eq!(fs::metadata(at.join("Dockerfile")).unwrap().modified().unwrap(), before);

    let (code, printed) = check(at, &[arm, "--fix", "Dockerfile", "b.Dockerfile"]);
    assert_eq!(code, Some(1), "what is not safe is left");
    assert!(printed.contains("\nFixed 2 findings in 2 files.\n"), "{printed}");
    assert!(printed.contains("ERROR: syntax\nunknown instruction: RUNN"), "{printed}");
    let fixed = "FROM scratch\nARG TARGETARCH\nCOPY app-$TARGETARCH /\n";
    assert_eq!(fs::read_to_string(at.join("Dockerfile")).unwrap(), fixed);
    let ino = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(at.join(name)).unwrap());
    let before = ino("Dockerfile");
    let (code, printed) = check(at, &[arm, "--fix", "--unsafe-fixes", "Dockerfile", "b.Dockerfile"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("Fixed 1 finding in 1 file.\nCheck of 2 files"), "{printed}");
    assert_eq!(ino("Dockerfile"), before, "nothing is written where nothing changes");
    assert_eq!(check(at, &[arm, "--diff", "Dockerfile"]), (Some(0), String::new()));

    let (code, _) = check(at, &[arm, "--fix", "c.Dockerfile"]);
    assert_eq!(code, Some(1), "what is no UTF-8 is not changed");
    assert_eq!(
        fs::read(at.join("c.Dockerfile")).unwrap(),
        b"FROM scratch\nARG TARGETOS=\xff\nCOPY $TARGETOS /\n"
    );

    let (code, printed, told) = check_text(&[arm, "--fix"], WRONG);
    assert_eq!((code, printed.as_str()), (Some(0), fixed));
    assert_eq!(told, "Fixed 1 finding in 1 file.\nCheck for linux/arm64 complete, no warnings found.\n");
}

#[test]
fn a_threshold_says_what_is_shown_and_how_it_ends() {
    let arm = "--platform=linux/arm64";
    let code = |args: &[&str]| check_text(&[&[arm], args].concat(), WRONG).0;
    assert_eq!(code(&["--severity=error"]), Some(0));
    assert_eq!(code(&["--severity=style"]), Some(1));
    assert_eq!(code(&["--rule=platform-arg-default=info"]), Some(0));
    assert_eq!(code(&["--rule=platform=error", "--severity=error"]), Some(1));
    assert_eq!(code(&["--ignore=platform-arg-default"]), Some(0));
    assert_eq!(code(&["--select=platform-arg-undeclared"]), Some(0));
    assert_eq!(code(&["--exit-zero"]), Some(0));
    let (code, printed, _) = check_text(&[arm, "--format=github"], &format!("{WRONG}RUNN x\n"));
    assert_eq!((code, printed.lines().count()), (Some(1), 2), "{printed}");
}

#[test]
fn many_files_are_told_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..60 {
        fs::write(directory.path().join(format!("{number:02}.Dockerfile")), WRONG).unwrap();
    }
    let (_, printed) = check(directory.path(), &["--platform=linux/arm64", "--format=github"]);
    let names: Vec<_> = printed.lines().map(|line| line["::warning file=".len()..][..2].to_owned()).collect();
    assert_eq!(names, (0..60).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[test]
fn the_workflow_that_builds_a_file_says_for_what() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::create_dir_all(at.join(".github/workflows")).unwrap();
    let step = "{ uses: docker/build-push-action@v6, with: { platforms: \"linux/arm64,linux/s390x\" } }";
    fs::write(at.join(".github/workflows/ci.yml"), format!("jobs: {{ a: {{ steps: [{step}] }} }}")).unwrap();
    fs::create_dir(at.join("sub")).unwrap();
    fs::write(at.join("Dockerfile"), WRONG).unwrap();
    fs::write(at.join("sub/Dockerfile"), "FROM scratch\n").unwrap();
    let (code, printed) = check(at, &["Dockerfile"]);
    assert_eq!(code, Some(1));
    let found = "Check for linux/arm64, linux/s390x (by .github/workflows/ci.yml) complete, 1 warning";
    assert!(printed.contains(found), "{printed}");
    let (_, printed) = check(at, &["sub"]);
    assert!(printed.contains("(by default) complete, no warnings found."), "{printed}");
    let (_, printed) = check(at, &[]);
    let found = "Dockerfile for linux/arm64, linux/s390x (by .github/workflows/ci.yml)\n\nWARNING:";
    assert!(printed.starts_with(found), "{printed}");
    let (_, printed) = check(at, &["--platform=linux/s390x", "Dockerfile"]);
    assert_eq!(printed, "Check for linux/s390x complete, no warnings found.\n");
}
