//! Input that cannot be used, as people meet it: one clear error, exit code 1, and nothing that directs a terminal.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::world::{PROGRAM, Ran, World, ran};

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Runs a build that must fail; answers its last lines, from the error on.
fn refused(world: &World, ran: &Ran) -> String {
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    let errors = ran.stderr.lines().filter(|line| line.starts_with("ERROR: ")).count();
    assert_eq!(errors, 1, "one error in:\n{}", ran.stderr);
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!ran.stderr.contains(odd), "control characters in {:?}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let directory = world.directory.path().to_str().unwrap();
    let error = ran.stderr_from("ERROR: ").replace(directory, "WORLD");
    // A lease has a random name.
    match error.split_once("/leases/") {
        Some((before, after)) => {
            format!("{before}/leases/…{}", after.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
        }
        None => error,
    }
}

#[test]
fn what_is_no_dockerfile_is_said() {
    let world = World::new();
    let build = || refused(&world, &ran(&mut world.build(&["context"])));
    let dockerfile = world.path("context/Dockerfile");
    fs::remove_file(&dockerfile).unwrap();
    insta::assert_snapshot!(build(), @"ERROR: failed to build: failed to read dockerfile: open Dockerfile: no such file or directory");
    fs::create_dir(&dockerfile).unwrap();
    insta::assert_snapshot!(build(), @"ERROR: failed to build: is a directory: failed to read WORLD/context/Dockerfile");
    fs::remove_dir(&dockerfile).unwrap();
    assert!(Command::new("mkfifo").arg(&dockerfile).status().unwrap().success());
    insta::assert_snapshot!(build(), @"ERROR: failed to build: not a regular file: failed to read WORLD/context/Dockerfile");
    fs::remove_file(&dockerfile).unwrap();
    fs::write(&dockerfile, (0..=255).collect::<Vec<u8>>().repeat(100)).unwrap();
    let error = build();
    assert!(error.starts_with("ERROR: failed to build: dockerfile parse error on line 1: "), "{error}");

    fs::write(&dockerfile, "FROM base\nCOPY there /\n").unwrap();
    insta::assert_snapshot!(build(), @r#"ERROR: failed to build: "/there": not found"#);
    // A name that would change the terminal's title and colour, and turn the writing around.
    fs::write(&dockerfile, "FROM base\nCOPY \x1b]0;title\x07\u{9b}31m\u{202e}x /\n").unwrap();
    insta::assert_snapshot!(build(), @r#"ERROR: failed to build: "/\u{1b}]0;title\u{7}\u{9b}31m\u{202e}x": not found"#);
}

/// A store that another user's build can use.
fn of_nobody(world: &World, command: &mut Command) -> Ran {
    let home = world.path("nobody");
    fs::create_dir_all(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    ran(command.env("HOME", &home).env("RBX_ROOT", home.join("store")).uid(NOBODY).gid(NOBODY))
}

#[test]
fn what_may_not_be_read_is_said() {
    let world = World::new();
    let program = world.path("docker-rbx");
    fs::copy(PROGRAM, &program).unwrap();
    let build = || {
        let mut command = world.command(&program);
        let out = format!("--output=type=oci,dest={}", world.path("nobody/out.tar").display());
        command.args(["build", "--progress=plain", &out, "context"]);
        of_nobody(&world, &mut command)
    };
    world.write("context/Dockerfile", "FROM scratch\nCOPY . /\n");
    world.write("context/secret", "secret");
    let only_root = |name: &str| {
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    only_root("context/secret");
    insta::assert_snapshot!(refused(&world, &build()), @"ERROR: failed to build: permission denied: failed to read /secret");
    // What the ignore file keeps out is not looked at; the store took no harm.
    world.write("context/.dockerignore", "secret\n");
    build().well();
    only_root("context/Dockerfile");
    insta::assert_snapshot!(refused(&world, &build()), @"ERROR: failed to build: permission denied: failed to read WORLD/context/Dockerfile");
    // Somebody else's store.
    let mut command = world.command(&program);
    world.write("context/Dockerfile", "FROM scratch\nCOPY . /\n");
    fs::set_permissions(world.path("context/Dockerfile"), fs::Permissions::from_mode(0o644)).unwrap();
    command.args(["build", "--progress=plain", "context"]);
    world.rbx(&["build", "context"]).well();
    command.uid(NOBODY).gid(NOBODY);
    insta::assert_snapshot!(refused(&world, &ran(&mut command)), @"
    ERROR: failed to build: permission denied: cannot create WORLD/store/v1
    Hint: name a directory that can be written by RBX_ROOT
    ");
}

#[test]
fn a_store_that_cannot_be_written_is_said() {
    let world = World::new();
    world.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let store = world.path("store");
    let read_only = |store: &Path| {
        // In a mount namespace of its own, which ends with the build.
        let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
        let mut command = world.command(Path::new("unshare"));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["--mount", "sh", "-c", script]).arg(store);
        command.args([PROGRAM, "build", "--progress=plain", "context"]);
        ran(&mut command)
    };
    fs::create_dir(&store).unwrap();
    insta::assert_snapshot!(refused(&world, &read_only(&store)), @"
    ERROR: failed to build: read-only file system: cannot create WORLD/store/v1
    Hint: name a directory that can be written by RBX_ROOT
    ");
    world.rbx(&["build", "context"]).well();
    insta::assert_snapshot!(refused(&world, &read_only(&store)), @"
    ERROR: failed to build: read-only file system: cannot make the lease WORLD/store/v1/leases/…
    Hint: name a directory that can be written by RBX_ROOT
    ");
    world.rbx(&["build", "context"]).well();

    world.write("store/v1/store.db", &"no database ".repeat(1000));
    for name in ["store/v1/store.db-wal", "store/v1/store.db-shm"] {
        let _ = fs::remove_file(world.path(name));
    }
    insta::assert_snapshot!(refused(&world, &world.rbx(&["build", "context"])), @"
    ERROR: failed to build: file is not a database: cannot use the store's database WORLD/store/v1/store.db
    Hint: all that the store holds can be made again: remove WORLD/store/v1
    ");
    fs::remove_dir_all(world.path("store/v1")).unwrap();
    world.rbx(&["build", "context"]).well();
}
