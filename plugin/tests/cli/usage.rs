//! Help, errors about usage and completion, beside those of buildx.

use std::collections::BTreeSet;

use crate::world::{Ran, World};

/// What buildx said, had it been called rbx.
fn renamed(ran: Ran) -> Ran {
    let rename = |text: String| text.replace("buildx", "rbx");
    Ran { stdout: rename(ran.stdout), stderr: rename(ran.stderr), ..ran }
}

#[test]
fn wrong_usage_ends_as_with_buildx() {
    let world = World::new();
    let lines: &[&[&str]] = &[
        &["build", "--foo"],
        &["build", "--foo=bar", "."],
        &["build", "-x", "."],
        &["build", "-qzz", "."],
        &["build", "--progress"],
        &["build", "-f"],
        &["build", "--pull=x", "."],
        &["build", "-q=x", "."],
        &["build", "--shm-size=x", "."],
        &["build", "--ulimit=x", "."],
        &["build", "--ulimit=core=3:2", "."],
        &["build", "--=x", "."],
        &["build", "--help", "--foo"],
        &["b", "--foo"],
        &["build"],
        &["build", ".", "."],
        &["build", "--", ".", "."],
        &["version", "x"],
        &["--foo"],
        &["-x"],
        &["--builder"],
    ];
    for words in lines {
        let alone = renamed(world.buildx(words));
        assert_eq!(world.rbx(words), alone, "{words:?}");
        let by_docker = renamed(world.docker(&[&["buildx"], *words].concat()));
        assert_eq!(world.docker(&[&["rbx"], *words].concat()), by_docker, "docker {words:?}");
    }
    let by_docker = world.docker(&["rbx", "build", "--foo"]);
    assert_eq!(by_docker.code, Some(125), "{by_docker:?}");
}

#[test]
fn old_flags_are_warned_about_as_with_buildx() {
    let world = World::new();
    let words =
        ["build", "--isolation=x", "--security-opt=y", "--compress", "--rm", "--force-rm=1", "nowhere"];
    let warnings = |ran: Ran| {
        let lines: Vec<String> =
            ran.stderr.lines().filter(|line| line.starts_with("WARNING: ")).map(str::to_owned).collect();
        assert_eq!(lines.len(), 2, "{ran:?}");
        lines
    };
    assert_eq!(warnings(world.rbx(&words)), warnings(world.buildx(&words)));
}

#[test]
fn unknown_commands_are_answered_with_help() {
    let world = World::new();
    for ran in [world.rbx(&["no-such"]), world.docker(&["rbx", "no-such"])] {
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "ERROR: unknown command: \"no-such\"\n"));
        assert!(ran.stdout.starts_with("Usage:  "), "{}", ran.stdout);
    }
}

#[test]
fn help_is_reached_in_every_way() {
    let world = World::new();
    let root = world.docker(&["rbx", "--help"]).well().stdout;
    assert!(root.starts_with("Usage:  docker rbx [OPTIONS] COMMAND\n"), "{root}");
    for words in [&["rbx"][..], &["help", "rbx"], &["rbx", "help"], &["rbx", "-h"]] {
        assert_eq!(world.docker(words).well().stdout, root, "{words:?}");
    }
    let build = world.docker(&["rbx", "build", "--help"]).well().stdout;
    assert!(build.starts_with("Usage:  docker rbx build [OPTIONS] PATH | URL | -\n"), "{build}");
    for words in [&["rbx", "help", "build"][..], &["rbx", "b", "-h"], &["rbx", "build", ".", "--help"]] {
        assert_eq!(world.docker(words).well().stdout, build, "{words:?}");
    }
    assert!(world.rbx(&["build", "--help"]).well().stdout.starts_with("Usage:  docker-rbx build "));
}

/// The left column of a table of flags.
fn flags(help: &str) -> BTreeSet<String> {
    let rows = help.lines().filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    rows.map(|row| row.trim().split("  ").next().unwrap().to_owned()).collect()
}

#[test]
fn every_flag_of_buildx_is_there_with_its_type() {
    let world = World::new();
    let theirs = flags(&world.docker(&["buildx", "build", "--help"]).well().stdout);
    let ours = flags(&world.docker(&["rbx", "build", "--help"]).well().stdout);
    assert!(theirs.len() > 30, "{theirs:?}");
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // The first is ours alone; the others are newer than the buildx of the parts.
    let more: Vec<_> = ours.difference(&theirs).collect();
    assert_eq!(more, ["--dry-run", "--oci-runtime string", "--policy stringArray", "--resource stringArray"]);
}

#[test]
fn the_version_is_told_both_ways() {
    let world = World::new();
    let version = world.docker(&["rbx", "version"]).well().stdout;
    assert!(version.starts_with("docker-rbx v"), "{version}");
    for words in [&["--version"][..], &["version"], &["--builder", "x", "version"]] {
        assert_eq!(world.rbx(words).well().stdout, version, "{words:?}");
    }
    assert_eq!(world.docker(&["rbx", "--version"]).well().stdout, version);
}

#[test]
fn docker_completes_its_command_lines() {
    let world = World::new();
    let complete = |words: &[&str]| world.docker(&[&["__complete"], words].concat()).well().stdout;
    let flags = complete(&["rbx", "build", "--pro"]);
    assert!(flags.starts_with("--progress\tHow progress is shown"), "{flags}");
    assert!(flags.ends_with(":4\n"), "{flags}");
    assert!(complete(&["rbx", "b"]).starts_with("build\t"));
    assert_eq!(world.rbx(&["__completeNoDesc", "b"]).well().stdout, "build\n:4\n");
    assert_eq!(complete(&["rbx", "build", ""]), ":16\n");
    // The same questions to the program alone, as the scripts of buildx put them.
    assert_eq!(world.rbx(&["__complete", "build", "--pro"]).well().stdout, flags);
}

#[test]
fn bash_completes_commands_and_flags() {
    let world = World::new();
    let script = world.rbx(&["completion", "bash"]).well().stdout;
    let complete = |words: &str, last: &str| {
        let question = format!(
            "{script}\nCOMP_WORDS=(docker-rbx {words} {last}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             function=$(complete -p docker-rbx | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
             $function docker-rbx {last} {words}; echo \"${{COMPREPLY[*]}}\""
        );
        let output = std::process::Command::new("bash").args(["-c", &question]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("", "bu"), "build\n");
    assert_eq!(complete("build", "--pl"), "--platform\n");
}

#[test]
fn scripts_for_shells_are_printed() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.rbx(&["completion", shell]).well().stdout;
        assert!(script.contains("docker-rbx") && script.contains("metadata-file"), "{shell}");
    }
    let refused = world.rbx(&["completion", "tcsh"]);
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.stderr, "ERROR: no completion for shell \"tcsh\"\nHint: there is bash, fish, zsh\n");
}
