//! Builders that build or not, their containers, and `docker build`.

use std::os::unix::net::UnixListener;
use std::path::Path;

use rbx_tests::{Engine, Store};

use super::{Ours, program, words};
use crate::world::{PROGRAM, Ran, World, ran};

#[test]
fn the_default_is_the_builder_of_the_current_endpoint() {
    let world = World::new();
    let rbx = |line: &str| {
        let mut command = world.command(Path::new(PROGRAM));
        command.env("RBX_ROOT", world.path("store")).env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        ran(command.args(words(line)))
    };
    let dead = "ERROR: Cannot connect to the Docker daemon at unix:///nowhere/docker.sock. Is the docker daemon \
                running?\nHint: --builder embedded needs no other\n";
    for line in ["build context", "build --builder=default context"] {
        let refused = rbx(line);
        assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), dead), "{line}");
    }
    let listed = rbx("ls");
    assert!(listed.stdout.contains("\ndefault*"), "{listed:?}");
    assert!(listed.stderr.ends_with("\n\"default\" is used (the default)\n"), "{listed:?}");

    rbx("create --name mine --driver remote tcp://127.0.0.1:9 --use").well();
    let listed = rbx("ls").well();
    assert!(format!("\n{}", listed.stdout).contains("\nmine* "), "{listed:?}");
    assert!(listed.stderr.ends_with("\n\"mine\" is used (chosen by use)\n"), "{listed:?}");

    rbx("use --default embedded").well();
    let base = world.base().replace('_', "~");
    let built = rbx(&format!("build --progress=plain {base} context")).well().stderr;
    assert!(
        built.contains("building with \"embedded\" instance using embedded driver (chosen by use; "),
        "{built}"
    );
    assert!(
        !world.path("config/buildx/activity/embedded").exists() && !world.path("config/buildx/refs").exists()
    );
}

#[test]
fn containers_of_builders_are_found_stopped_and_removed() {
    let world = World::new();
    let engine = Engine::start(Store::Graph);
    engine.install_plugin(PROGRAM.as_ref());
    let docker = |words: &[&str]| {
        let mut docker = engine.docker();
        ran(docker.env("RBX_ROOT", world.path("store")).current_dir(world.directory.path()).args(words))
    };
    docker(&["rbx", "build", "--builder=embedded", &world.base(), "-t", "hello", "context"]).well();
    let status = || {
        let template = "{{.Name}} {{.Status}} {{.Platforms}}";
        let listed = docker(&["rbx", "ls", "--format", template]).well().stdout;
        listed.lines().find(|line| line.starts_with("mine0 ")).map(str::to_owned)
    };
    let container = "buildx_buildkit_mine0";
    let volume = "buildx_buildkit_mine0_state";
    let start = || {
        docker(&[
            "rbx",
            "create",
            "--name",
            "mine",
            "--driver",
            "docker-container",
            "--platform",
            "linux/s390x",
        ])
        .well();
        let mount = format!("{volume}:/var/lib/buildkit");
        docker(&[
            "run",
            "-d",
            "--network=none",
            "--stop-signal=KILL",
            "--name",
            container,
            "-v",
            &mount,
            "hello",
            "sleep",
            "1000",
        ])
        .well();
    };
    let there = |kind: &str, name: &str| docker(&[kind, "inspect", name]).code == Some(0);

    start();
    // It runs, and nobody in it answers.
    assert_eq!(status().as_deref(), Some("mine0 error linux/s390x*"));
    docker(&["rbx", "rm", "--all-inactive", "--force"]).well();
    assert!(there("container", container), "it runs");
    docker(&["rbx", "stop", "mine"]).well();
    assert_eq!(status().as_deref(), Some("mine0 stopped linux/s390x*"));
    docker(&["rbx", "stop", "mine"]).well();

    let removed = docker(&["rbx", "rm", "--keep-state", "mine"]).well();
    assert_eq!((removed.stderr.as_str(), status()), ("mine removed\n", None));
    assert_eq!((there("container", container), there("volume", volume)), (false, true));
    start();
    docker(&["rbx", "rm", "mine"]).well();
    assert_eq!((there("container", container), there("volume", volume)), (false, false));
    start();
    docker(&["rbx", "rm", "--keep-daemon", "mine"]).well();
    assert_eq!((status(), there("container", container)), (None, true));
    // A builder of that name finds it again, and has to get an answer from it.
    let create = ["rbx", "create", "--name", "mine", "--driver", "docker-container"];
    let refused = docker(&create);
    let reason = "ERROR: failed to initialize builder mine (mine0): ";
    assert!(refused.stderr.starts_with(reason) && refused.stderr.contains("buildctl"), "{refused:?}");
    docker(&["stop", container]).well();
    docker(&create).well();
    docker(&["rbx", "stop", "mine"]).well();
    let removed = docker(&["rbx", "rm", "--all-inactive", "-f"]).well();
    assert_eq!(removed.stderr, "mine removed\n");
    assert_eq!((there("container", container), there("volume", volume)), (false, false));
}

#[test]
fn who_never_answers_is_waited_for_no_longer_than_said() {
    let world = World::new();
    let silent = UnixListener::bind(world.path("silent.sock")).unwrap();
    let host = format!("unix://{}", world.path("silent.sock").display());
    // A connection is taken, and nothing is ever said.
    let listening = std::thread::spawn(move || silent.incoming().take(3).collect::<Vec<_>>());
    let run = |line: &str| ran(program(&world, Ours, "state").env("DOCKER_HOST", &host).args(words(line)));
    let listed = run("ls --timeout 100ms --format {{.Name}}|{{.Status}}|{{.Error}}").well();
    assert!(listed.stdout.contains("default|error|context deadline exceeded\n"), "{listed:?}");
    let inspected = run("inspect --timeout 100ms default").well();
    assert_eq!(inspected.stdout, "Name:   default\nDriver: \nError:  context deadline exceeded\n");
    let refused = run("create --name mine --timeout 100ms");
    assert_eq!(
        refused.stderr,
        "ERROR: failed to initialize builder mine (mine0): context deadline exceeded\n"
    );
    drop(listening);
}

#[test]
fn docker_build_can_be_this_plugins() {
    let world = World::new();
    world.command(Path::new(PROGRAM));
    ran(world.command(Path::new(PROGRAM)).arg("uninstall")).well();
    assert!(!world.path("config/config.json").exists());
    ran(world.command(Path::new(PROGRAM)).arg("install")).well();
    assert_eq!(world.read("config/config.json"), "{\n\t\"aliases\": {\n\t\t\"builder\": \"rbx\"\n\t}\n}");
    let built = world.docker(&["build", "--help"]).well().stdout;
    assert!(built.starts_with("Usage:  docker rbx build "), "{built}");

    // What docker does not know stays, in its order.
    let config = "{\n\t\"z\": {\n\t\t\"y\": 1\n\t},\n\t\"aliases\": {\n\t\t\"builder\": \"buildx\",\n\t\t\"other\": \"x\"\n\t},\n\t\"auths\": {}\n}";
    world.write("config/config.json", config);
    world.rbx(&["install"]).well();
    assert_eq!(world.read("config/config.json"), config.replace("buildx", "rbx"));
    world.rbx(&["uninstall"]).well();
    assert_eq!(world.read("config/config.json"), config.replace("\n\t\t\"builder\": \"buildx\",", ""));
    world.write("config/config.json", "{");
    let refused = world.rbx(&["install"]);
    assert!(refused.stderr.contains("failed to change ") && refused.code == Some(1), "{refused:?}");
    assert_eq!(world.read("config/config.json"), "{");
}

#[test]
fn flags_are_those_of_buildx() {
    let world = World::new();
    let flags = |ran: Ran| -> Vec<String> {
        let lines = ran.well().stdout;
        let flags = lines.lines().filter(|line| line.trim_start().starts_with('-'));
        let name = |line: &str| {
            let flag = line.trim_start().split("   ").next().unwrap_or_default();
            flag.trim_start_matches(|c| c != '-').to_owned()
        };
        flags.map(name).collect()
    };
    for command in ["create", "dial-stdio", "inspect", "ls", "rm", "stop", "use", "install", "uninstall"] {
        let mut ours = flags(world.docker(&["rbx", command, "--help"]));
        let mut theirs = flags(world.docker(&["buildx", command, "--help"]));
        // Newer than the buildx of the parts, and hidden there.
        ours.retain(|flag| flag != "--timeout duration" && flag != "--builder string");
        theirs.retain(|flag| flag != "--builder string");
        assert_eq!(ours, theirs, "{command}");
    }
    for command in ["inspect", "rm", "stop", "use"] {
        ran(program(&world, Ours, "config/buildx")
            .args(words("create --name mine --driver remote tcp://127.0.0.1:9")));
        let names = |plugin: &str| {
            let answer = world.docker(&["__completeNoDesc", plugin, command, "m"]).well().stdout;
            answer.lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!((names("rbx"), names("buildx")), ("mine".to_owned(), "mine".to_owned()), "{command}");
    }
}
