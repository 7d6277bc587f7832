//! The files of builders: by turns, at once, of later versions, hostile.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbx_tests::{Engine, Store};
use serde_json::{Value, json};

use super::{Ours, Program, Theirs, program, words};
use crate::world::{Ran, World, ran};

/// The fields of what a builder is in its file.
fn instance(world: &World, name: &str) -> Value {
    serde_json::from_str(&world.read(&format!("state/instances/{name}"))).unwrap()
}

#[test]
fn both_work_on_one_state_by_turns() {
    let world = World::new();
    let run = |which: Program, line: &str| ran(program(&world, which, "state").args(words(line)));
    for (first, second) in [(Ours, Theirs), (Theirs, Ours)] {
        run(first, "create --name mine --driver remote tcp://127.0.0.1:9 --platform linux/arm64 --use")
            .well();
        let described = run(second, "inspect mine").well().stdout;
        assert!(
            described.contains("Platforms:     linux/arm64*") || described.contains("linux/arm64*"),
            "{described}"
        );
        assert_eq!(run(second, "inspect").well().stdout, described, "it is used");
        assert_eq!(run(first, "inspect mine").well().stdout, described);
        run(second, "create --name mine --append tcp://127.0.0.1:10").well();
        run(first, "create --name other --driver remote tcp://127.0.0.1:11").well();
        run(second, "use --default other").well();
        assert!(run(first, "inspect").well().stdout.starts_with("Name:          other\n"));
        let listed = run(first, "ls --format {{.Name}}").well().stdout.replace("embedded\n", "");
        assert_eq!(listed, run(second, "ls --format {{.Name}}").well().stdout.replace("embedded\n", ""));
        assert_eq!(listed, "mine\nmine0\nmine1\nother\nother0\ndefault\n");
        run(second, "rm mine").well();
        run(first, "rm other").well();
        assert_eq!(fs::read_dir(world.path("state/instances")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(world.path("state/activity")).unwrap().count(), 0);
    }
    // What only this program has is no builder to the other one, and disturbs nothing.
    run(Ours, "use embedded").well();
    assert!(run(Theirs, "inspect").well().stdout.starts_with("Name:   default\n"));
    assert!(run(Ours, "inspect").well().stdout.starts_with("Name:   embedded\n"));
}

#[test]
fn a_builder_stays_what_it_was_when_a_node_does_not_answer() {
    let world = World::new();
    let engine = Engine::start(Store::Graph);
    let run =
        |line: &str| ran(program(&world, Ours, "state").env("DOCKER_HOST", engine.host()).args(words(line)));
    run("create --name mine --platform linux/arm64 --driver-opt network=host").well();
    let before = instance(&world, "mine");
    let refused = run("create --name mine --append --platform linux/arm64 unix:///nowhere/docker.sock");
    assert!(refused.stderr.starts_with("ERROR: failed to initialize builder mine (mine1): Cannot connect to the Docker daemon at unix:///nowhere/docker.sock."), "{refused:?}");
    assert_eq!(instance(&world, "mine"), before);
    let refused = run("create --name new --driver docker-container unix:///nowhere/docker.sock --use");
    assert!(refused.stderr.starts_with("ERROR: failed to initialize builder new (new0): "), "{refused:?}");
    assert!(!world.path("state/instances/new").exists() && !world.path("state/current").exists());
}

#[test]
fn what_a_later_buildx_adds_is_kept() {
    let world = World::new();
    let run = |line: &str| ran(program(&world, Ours, "state").args(words(line))).well();
    run("create --name mine --driver remote tcp://127.0.0.1:9 --platform windows/amd64");
    let mut newer = instance(&world, "mine");
    newer["Schema"] = json!(2);
    newer["Nodes"][0]["Weight"] = json!({"b": [1, null], "a": 0.5});
    newer["Nodes"][0]["Platforms"][0]["os.features"] = json!(["win32k"]);
    world.write("state/instances/mine", &newer.to_string());
    run("create --name mine --append tcp://127.0.0.1:10");
    run("create --name mine --node mine0 --driver-opt default-load=true tcp://127.0.0.1:9");
    run("create --leave --name mine --node mine1");
    newer["Nodes"][0]["DriverOpts"] = json!({"default-load": "true"});
    assert_eq!(instance(&world, "mine"), newer);
}

/// With sudo, files are those of whoever called it.
#[test]
fn files_belong_to_whoever_called_sudo() {
    let owners = |which: Program| {
        let world = World::new();
        let home = world.path("home");
        fs::create_dir(&home).unwrap();
        world.write(
            "passwd",
            &format!("root:x:0:0::/root:/bin/sh\nann:x:4321:4322::{}:/bin/sh\n", home.display()),
        );
        // Its users are the machine's to nobody else.
        let script = "mount --bind passwd /etc/passwd && exec \"$@\"";
        let run = |line: &str| {
            let program = program(&world, which, "");
            let mut command = world.command(Path::new("unshare"));
            command
                .args(["--mount", "--propagation=private", "sh", "-c", script, "sh"])
                .arg(program.get_program());
            command.env("HOME", &home).env("DOCKER_CONFIG", home.join(".docker"));
            command.envs([("SUDO_COMMAND", "x"), ("SUDO_UID", "4321"), ("SUDO_GID", "4322")]);
            ran(command.args(words(line))).well()
        };
        run("create --name mine --driver remote tcp://127.0.0.1:9 --use");
        let mut owners = Vec::new();
        for name in ["", "instances", "instances/mine", "activity/mine", "defaults", "current"] {
            let found = fs::metadata(home.join(".docker/buildx").join(name)).unwrap();
            owners.push((name, found.uid(), found.gid()));
        }
        owners
    };
    let ours = owners(Ours);
    assert_eq!(ours, owners(Theirs));
    assert!(ours.iter().all(|(_, user, group)| (*user, *group) == (4321, 4322)), "{ours:?}");
}

/// Runs commands at once, each to its end.
fn at_once(commands: impl Iterator<Item = Command>) {
    let started: Vec<(String, Child)> = commands
        .map(|mut command| {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            (format!("{command:?}"), command.spawn().unwrap())
        })
        .collect();
    for (shown, child) in started {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn twenty_at_once_lose_nothing() {
    let world = World::new();
    let which = |number: usize| if number.is_multiple_of(4) { Theirs } else { Ours };
    let all = |line: &dyn Fn(usize) -> String| {
        at_once((0..20).map(|number| {
            let mut command = program(&world, which(number), "state");
            command.args(words(&line(number)));
            command
        }));
    };
    let instances = || {
        let files = fs::read_dir(world.path("state/instances")).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mut each: Vec<String> = (0..20).map(|number| format!("b{number}")).collect();
    each.sort();

    all(&|number| format!("create --name b{number} --driver remote tcp://127.0.0.1:9 --use"));
    assert_eq!(instances(), each);
    let current: Value = serde_json::from_str(&world.read("state/current")).unwrap();
    assert!(each.iter().any(|name| current["Name"] == **name), "{current}");

    // Every one of them reads what the one before it wrote.
    ran(program(&world, Ours, "state").args(words("create --name all --driver remote tcp://127.0.0.1:9")))
        .well();
    all(&|number| format!("create --name all --append --node n{number} tcp://127.0.0.1:{}", 10 + number));
    let nodes = instance(&world, "all")["Nodes"].as_array().unwrap().len();
    assert_eq!(nodes, 21);
    all(&|number| format!("create --leave --name all --node n{number}"));
    assert_eq!(instance(&world, "all")["Nodes"].as_array().unwrap().len(), 1);

    all(&|number| match number {
        0..12 => format!("rm b{number}"),
        _ => format!("use b{number}"),
    });
    each.retain(|name| name[1..].parse::<usize>().unwrap() >= 12);
    each.insert(0, "all".to_owned());
    assert_eq!(instances(), each);
    assert_eq!(fs::read_dir(world.path("state/instances")).unwrap().count(), 9, "and no temporary file");
}

/// Whether the kernel has this process wait for a lock.
fn waits_for_a_lock(child: &Child) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let pid = child.id().to_string();
    locks.lines().any(|line| line.contains("->") && line.split_whitespace().any(|word| word == pid))
}

#[test]
fn a_change_waits_for_whoever_has_the_lock() {
    let world = World::new();
    ran(program(&world, Ours, "state").args(words("create --name mine --driver remote tcp://127.0.0.1:9")))
        .well();
    let lock = fs::File::open(world.path("state/.lock")).unwrap();
    for (which, line) in [(Ours, "use mine"), (Theirs, "use mine"), (Ours, "rm mine")] {
        lock.lock().unwrap();
        let mut child = program(&world, which, "state").args(words(line)).spawn().unwrap();
        let start = Instant::now();
        while !waits_for_a_lock(&child) {
            assert_eq!(child.try_wait().unwrap(), None, "{line}: ended without the lock");
            assert!(start.elapsed() < Duration::from_mins(1), "{line}: does not ask for the lock");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Who only reads waits for nobody.
        ran(program(&world, Ours, "state").args(["inspect", "mine"])).well();
        lock.unlock().unwrap();
        assert!(child.wait().unwrap().success(), "{line}");
    }
}

#[test]
fn hostile_files_are_one_error_and_stay() {
    let world = World::new();
    let run = |line: &str| ran(program(&world, Ours, "state").args(words(line)));
    run("create --name good --driver remote tcp://127.0.0.1:9").well();
    let bad = world.path("state/instances/bad");
    let refused = |line: &str, wanted: &str| {
        let ran = run(line);
        assert_eq!(ran.code, Some(1), "{line}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.starts_with("ERROR: ") && ran.stderr.contains(wanted), "{line}: {ran:?}");
    };
    let texts = [
        ("", "EOF"),
        ("{\"Name\":\"bad\",\"Driver\":\"remote\",\"No", "EOF"),
        ("{\"Name\":\"bad\",\"Driver\":\"remote\",\"Nodes\":7}", "invalid type"),
        ("{\"Name\":\"../good\",\"Driver\":\"remote\",\"Nodes\":[]}", "invalid name"),
        (
            "{\"Name\":\"bad\",\"Driver\":\"remote\",\"Nodes\":[{\"Name\":\"\\u001b[2J\",\"Endpoint\":\"\"}]}",
            "invalid name [2J",
        ),
    ];
    for (text, wanted) in texts {
        fs::write(&bad, text).unwrap();
        refused("ls", wanted);
        refused("inspect bad", wanted);
        refused("create --name bad --driver remote tcp://127.0.0.1:9", wanted);
        assert_eq!(fs::read_to_string(&bad).unwrap(), text);
        assert!(run("rm bad").stderr.starts_with("failed to remove bad: "));
        assert_eq!(fs::read_to_string(&bad).unwrap(), text);
    }
    fs::File::create(&bad).unwrap().set_len(1 << 30).unwrap();
    refused("ls", "file too large");
    fs::remove_file(&bad).unwrap();
    symlink("/dev/zero", &bad).unwrap();
    refused("ls", "not a regular file");
    refused("inspect bad", "not a regular file");
    fs::remove_file(&bad).unwrap();

    // What is in them directs no terminal.
    let directing = json!({"Name": "bad", "Driver": "\u{1b}[2J", "Nodes": [{"Name": "a", "Endpoint": "\u{1b}[3J",
        "Platforms": [{"os": "\u{1b}[4J", "architecture": "a"}], "DriverOpts": {"\u{1b}[5J": "\u{1b}[6J"}}]});
    for driver in ["remote", "docker-container", "\u{1b}[2J"] {
        let mut directing = directing.clone();
        directing["Driver"] = driver.into();
        world.write("state/instances/bad", &directing.to_string());
        for line in [
            "ls",
            "ls --format {{.Name}}{{.DriverEndpoint}}{{.Platforms}}{{.Error}}",
            "ls --format json",
            "inspect bad",
            "rm bad",
        ] {
            let ran = run(line);
            assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{line}: {ran:?}");
        }
    }

    world.write("state/current", "{\"Name\":[]}");
    for line in ["ls", "inspect", "du"] {
        refused_with_hint(&run(line));
    }
    assert_eq!(world.read("state/current"), "{\"Name\":[]}");
    // What names its builder does not ask which one is used.
    run("--builder embedded du").well();
    run("use good").well();
    run("inspect").well();
    run("rm good").well();
}

fn refused_with_hint(ran: &Ran) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("state/current\n"), "{ran:?}");
}
