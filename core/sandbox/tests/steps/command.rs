//! The command: how it is found, what it is given, how it ends.

use rbx_sandbox::{Exit, Rlimit, SandboxError};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("exit_code_and_streams", exit_code_and_streams),
    ("signals_count_from_128", signals_count_from_128),
    ("environment_is_the_steps", environment_is_the_steps),
    ("working_directory", working_directory),
    ("users", users),
    ("unknown_users", unknown_users),
    ("commands_that_cannot_run", commands_that_cannot_run),
    ("pipes_break_as_in_a_shell", pipes_break_as_in_a_shell),
    ("process_state", process_state),
    ("limits", limits),
    ("user_may_open_its_output", user_may_open_its_output),
];

fn exit_code_and_streams(world: &World) {
    let outcome = world.sh("echo out; echo err >&2; exit 7");
    assert_eq!(outcome.exit, Exit { code: 7, signal: None, out_of_memory: false });
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    let large = world.sh("dd if=/dev/zero bs=1k count=300 2>/dev/null | tr '\\0' x").ok();
    assert_eq!(large.len(), 300 << 10);
}

fn signals_count_from_128(world: &World) {
    assert_eq!(
        world.sh("sh -c 'kill -15 $$'; exit $?").exit,
        Exit { code: 143, signal: None, out_of_memory: false }
    );
    let step = world.step("step", "echo ready; sleep 1000");
    let started = world.start(&step).expect("a step");
    assert_eq!(started.first_line(), "ready");
    started.running.kill();
    assert_eq!(
        started.finish().expect("an end").exit,
        Exit { code: 137, signal: Some(9), out_of_memory: false }
    );
}

fn environment_is_the_steps(world: &World) {
    let mut step = world.step("step", "env | grep -v SHLVL= | grep -v PWD= | sort");
    let variable = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    step.env.extend([variable("A", "1"), variable("B", "two words\"$"), variable("A", "3")]);
    let expected = format!("A=3\nB=two words\"$\nHOME=/root\nPATH={}\n", crate::world::PATH);
    assert_eq!(world.run(&step).expect("a step").ok(), expected);
    world.clear("step");

    let mut step = world.step("step", "echo $HOME");
    step.user = "bob".into();
    assert_eq!(world.run(&step).expect("a step").ok(), "/home/bob\n");
    world.clear("step");
    step = world.step("step", "echo $HOME");
    step.env.push(variable("HOME", "/elsewhere"));
    assert_eq!(world.run(&step).expect("a step").ok(), "/elsewhere\n");
}

fn working_directory(world: &World) {
    let mut step = world.step("step", "pwd; stat -c '%U %a' . ..");
    step.working_dir = "/srv/app/deep".into();
    step.user = "bob".into();
    assert_eq!(world.run(&step).expect("a step").ok(), "/srv/app/deep\nbob 755\nbob 755\n");
    assert!(world.upper("step").join("srv/app/deep").is_dir(), "it stays in the layer");
    world.clear("step");

    // A descriptor of the helper's as working directory (CVE-2024-21626): none leads out.
    for number in 3..20 {
        let mut step = world.step("step", "ls -a; pwd");
        step.working_dir = format!("/proc/self/fd/{number}");
        let error = world.run(&step).expect_err("no such directory").to_string();
        assert!(error.starts_with("changing to the working directory /proc/self/fd/"), "{error}");
        world.clear("step");
    }
    std::os::unix::fs::symlink("../../../../tmp", world.path("base/link")).expect("a link");
    let mut step = world.step("step", "pwd -P");
    step.working_dir = "/link".into();
    assert_eq!(world.run(&step).expect("a step").ok(), "/tmp\n");
}

fn users(world: &World) {
    let cases = [
        ("", "uid=0(root) gid=0(root) groups=0(root)"),
        ("root", "uid=0(root) gid=0(root) groups=0(root)"),
        ("bob", "uid=1000(bob) gid=1000(bob) groups=10(wheel),1000(bob)"),
        ("1000", "uid=1000(bob) gid=1000(bob) groups=10(wheel),1000(bob)"),
        ("bob:wheel", "uid=1000(bob) gid=10(wheel) groups=10(wheel)"),
        ("4321:1234", "uid=4321 gid=1234 groups=1234"),
        ("4321", "uid=4321 gid=0(root) groups=0(root)"),
    ];
    for (user, expected) in cases {
        let mut step = world.step("step", "id");
        step.user = user.into();
        assert_eq!(world.run(&step).expect(user).ok().trim(), expected, "{user:?}");
        world.clear("step");
    }
}

fn unknown_users(world: &World) {
    for (user, expected) in [
        ("eve", "unable to find user eve: no matching entries in passwd file"),
        ("bob:eve", "unable to find group eve: no matching entries in group file"),
    ] {
        let mut step = world.step("step", "id");
        step.user = user.into();
        match world.run(&step) {
            Err(SandboxError::User(message)) => assert_eq!(message, expected),
            other => panic!("{other:?}"),
        }
        world.clear("step");
    }
    // Neither a FIFO nor a link out of the root is read, and neither holds the step up.
    let passwd = world.path("base/etc/passwd");
    std::fs::remove_file(&passwd).expect("removal");
    std::os::unix::fs::symlink("/../../../etc/passwd", &passwd).expect("a link");
    let mut step = world.step("step", "id");
    step.user = "daemon".into();
    assert!(matches!(world.run(&step), Err(SandboxError::User(_))), "the host's users are not the step's");
    world.clear("step");
    std::fs::remove_file(&passwd).expect("removal");
    assert!(std::process::Command::new("mkfifo").arg(&passwd).status().expect("mkfifo").success());
    let step = world.step("step", "grep -c '^Uid:.0' /proc/self/status");
    assert_eq!(world.run(&step).expect("a step").ok(), "1\n");
}

fn commands_that_cannot_run(world: &World) {
    std::fs::write(world.path("base/data"), "no program").expect("a file");
    std::fs::write(world.path("base/bin/noformat"), "no program").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.path("base/bin/noformat"), mode).expect("a mode");
    let cases: [(&[&str], &str); 7] = [
        (&["nope"], "exec: \"nope\": executable file not found in $PATH"),
        (&[""], "exec: \"\": executable file not found in $PATH"),
        (&["/nope"], "exec: \"/nope\": stat /nope: no such file or directory"),
        (&["/etc"], "exec: \"/etc\": is a directory"),
        (&["/data"], "exec: \"/data\": permission denied"),
        (&["noformat", "x"], "exec /bin/noformat: exec format error"),
        (&[], "no command specified"),
    ];
    for (args, expected) in cases {
        let mut step = world.step("step", "");
        step.args = args.iter().map(|&arg| arg.to_owned()).collect();
        match world.run(&step) {
            Err(SandboxError::Exec(message)) => assert_eq!(message, expected),
            other => panic!("{args:?}: {other:?}"),
        }
        world.clear("step");
    }
    let mut step = world.step("step", "");
    step.args = vec!["true".to_owned()];
    step.env.clear();
    assert!(matches!(world.run(&step), Err(SandboxError::Exec(_))), "no PATH, no program");
}

fn pipes_break_as_in_a_shell(world: &World) {
    assert_eq!(world.sh("set -o pipefail; yes | head -n 1").exit.code, 141);
}

fn process_state(world: &World) {
    assert_eq!(
        world.sh("echo $$; umask; hostname; cat; ls /proc/self/fd | wc -l").ok(),
        "1\n0022\nbuildkitsandbox\n4\n"
    );
    // Without a shell, which has its own mind about signals.
    let mut step = world.step("step", "");
    step.args = ["grep", "-E", "^Sig(Ign|Blk)|NSsid|NSpgid", "/proc/self/status"].map(str::to_owned).to_vec();
    let status = world.run(&step).expect("a step").ok();
    world.clear("step");
    let fields: Vec<&str> = status.split_whitespace().collect();
    assert_eq!(
        fields,
        ["NSpgid:", "1", "NSsid:", "1", "SigBlk:", "0000000000000000", "SigIgn:", "0000000000000000"]
    );
    assert_eq!(world.sh("ls /proc | grep -c '^[0-9]*$'").ok(), "3\n", "sh, ls and grep");
}

fn limits(world: &World) {
    let limit = |name: &str, soft, hard| Rlimit { name: name.to_owned(), soft, hard };
    let mut step = world.step("step", "ulimit -Sn; ulimit -Hn; ulimit -c");
    step.rlimits = vec![limit("nofile", 64, 128), limit("core", 0, 0)];
    assert_eq!(world.run(&step).expect("a step").ok(), "64\n128\n0\n");
    world.clear("step");
    let mut step = world.step("step", "");
    step.rlimits = vec![limit("colour", 1, 1)];
    assert_eq!(world.run(&step).expect_err("no such limit").to_string(), "invalid ulimit type: colour");
    world.clear("step");
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let seen = world.sh("ulimit -Sn").ok();
    assert_eq!(
        seen.trim(),
        own.map_or("unlimited".to_owned(), |limit| limit.to_string()),
        "else it is the caller's"
    );
}

fn user_may_open_its_output(world: &World) {
    let mut step = world.step("step", "echo out > /dev/stdout; echo err > /dev/stderr; echo x > /dev/null");
    step.user = "bob".into();
    let outcome = world.run(&step).expect("a step");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.exit.code), ("out\n", "err\n", 0));
}
