//! Builders, beside those of the real buildx: in one directory by turns, and in two with the same commands.

mod far;
mod running;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbx_tests::{Engine, Store};
use serde_json::Value;

use crate::world::{PROGRAM, Ran, World, ran};

/// What the two programs are called in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Ours,
    Theirs,
}

use Program::{Ours, Theirs};

/// A program with its state in a directory of the world.
fn program(world: &World, program: Program, state: &str) -> Command {
    let path = match program {
        Ours => PathBuf::from(PROGRAM),
        Theirs => world.parts.program("docker-buildx"),
    };
    let mut command = world.command(&path);
    // The rows of what only one of them has are to be no wider than others.
    command.env("BUILDX_CONFIG", world.path(state)).env("RBX_ROOT", "/s");
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    command
}

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('_', " ").replace('~', "_"))
}

/// The files of a state, by their names; times as none.
fn files(directory: &Path) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for part in ["instances", "defaults", "activity", "."] {
        for entry in fs::read_dir(directory.join(part)).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_file() {
                let text = fs::read_to_string(entry.path()).unwrap();
                let value = match part {
                    "activity" => Value::Null,
                    "defaults" => Value::from(text),
                    _ => serde_json::from_str(&text).unwrap_or(Value::Null),
                };
                files.insert(format!("{part}/{}", entry.file_name().display()), value);
            }
        }
    }
    // buildx forgets to remove the time of a builder with capitals.
    let there: Vec<String> =
        files.keys().filter_map(|name| Some(name.strip_prefix("instances/")?.to_owned())).collect();
    let gone = |name: &str| !there.contains(&name.to_ascii_lowercase());
    files.retain(|name, _| !name.starts_with("./.") && !name.strip_prefix("activity/").is_some_and(gone));
    files
}

/// What a program did, without what only one of the two has: its name, its directory, the embedded builder, and the
/// words about which one is used.
fn comparable(ran: &Ran, world: &World, state: &str) -> Ran {
    let directory = world.path(state).display().to_string();
    let text = |text: &str| {
        let text = text.replace("docker-buildx", "docker-rbx").replace("docker-rbx", "PROGRAM");
        let lines = text.replace(&directory, "STATE").replace("SRun '", "Run '");
        let only_ours = |line: &&str| line.contains("embedded") || line.contains(" is used (");
        let lines = lines.lines().filter(|line| !only_ours(line)).map(|line| {
            // buildx has them in any order.
            let Some(options) = line.strip_prefix("Driver Options: ") else {
                return line.trim_end().to_owned();
            };
            let mut options: Vec<&str> = options.split(' ').collect();
            options.sort_unstable();
            format!("Driver Options: {}", options.join(" "))
        });
        lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    };
    // buildx removes several side by side.
    let mut errors: Vec<String> = text(&ran.stderr).lines().map(str::to_owned).collect();
    errors.sort();
    Ran { code: ran.code, stdout: text(&ran.stdout), stderr: errors.join("\n") }
}

/// The same lines by both programs, each with a state of its own: what they say and what they leave.
fn differences(world: &World, lines: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let mut differing = Vec::new();
    for line in lines {
        let did = |which: Program, state: &str| {
            let mut command = program(world, which, state);
            command.envs(environment.iter().copied()).args(words(line));
            comparable(&ran(&mut command), world, state)
        };
        let (ours, theirs) = (did(Ours, "ours"), did(Theirs, "theirs"));
        if ours != theirs {
            differing.push(format!("{line}\n  theirs {theirs:?}\n  ours   {ours:?}"));
        }
        let (mut ours, mut theirs) = (files(&world.path("ours")), files(&world.path("theirs")));
        // Looking is enough for buildx to write that none is used.
        for state in [&mut ours, &mut theirs] {
            let none = |value: &Value| value["Name"] == "";
            if state.get("./current").is_some_and(none) {
                state.remove("./current");
            }
        }
        // One of them was first.
        for state in ["ours", "theirs"] {
            for file in fs::read_dir(world.path(state).join("activity")).into_iter().flatten().flatten() {
                fs::write(file.path(), "2026-02-03T04:05:06Z").unwrap();
            }
        }
        if ours != theirs {
            differing.push(format!("after {line}\n  theirs {theirs:?}\n  ours   {ours:?}"));
            break;
        }
    }
    differing
}

/// Spaces in words are written `_`, and `_` itself `~`.
const WITHOUT_AN_ENGINE: &[&str] = &[
    "ls",
    "create --name foo --driver remote unix:///nowhere/foo",
    "create --name foo --driver remote unix:///nowhere/foo",
    "create --name Bar --driver remote tcp://127.0.0.1:9 --platform linux/arm64,linux/amd64 --driver-opt default-load=true --use",
    "ls",
    "ls --no-trunc",
    "ls --format {{.Name}}|{{.DriverEndpoint}}|{{.Status}}|{{.Platforms}}|{{.Buildkit}}|{{.Error}}",
    "ls --format {{.Builder.Name}}|{{.Builder.Driver}}|{{.Builder.DockerContext}}|{{.Builder.Dynamic}}",
    "ls --format table_{{.Name}}\\t{{.Status}}\\t{{.Error}}",
    "ls --format {{.Name}}_{{upper_.Name}}_{{json_.Platforms}}",
    "ls --format {{.Builder.Name}}_{{if_.Platforms}}{{.Platforms}}{{else}}-{{end}}",
    "ls --format {{.Name}}pretty",
    "ls --format {{.Nope}}",
    "ls --format {{json}}",
    "ls --format {{if_.Name}}",
    "ls x",
    "inspect foo",
    "inspect Bar",
    "inspect bar",
    "inspect",
    "inspect nope",
    "inspect 9",
    "inspect a b",
    "-D inspect foo",
    "create --name foo --append --node Second --driver remote tcp://127.0.0.1:10 --platform linux/s390x",
    "create --name foo --append unix:///nowhere/foo",
    "create --name foo --node second --platform linux/arm/v7,linux/s390x",
    "create --name foo --node nope",
    "create --name foo --driver docker-container --append",
    "create --name foo --append --node third tcp://127.0.0.1:11 --platform linux/arm/v7",
    "ls --format json",
    "create --leave --name foo --node foo0",
    "create --leave --name foo --node foo0",
    "create --leave --name foo --node third",
    "create --leave --name foo --node second",
    "create --leave --name foo",
    "create --leave",
    "create --leave --name nope --node a",
    "create --append",
    "create --append --name nope",
    "create --name default --driver remote tcp://127.0.0.1:9",
    "create --name 9 --driver remote tcp://127.0.0.1:9",
    "create --name a_b --driver remote tcp://127.0.0.1:9",
    "create --driver docker",
    "create --driver zip",
    "create --driver remote",
    "create --driver remote foo",
    "create --driver remote foo://x",
    "create a b",
    "create --name x foo://x",
    "create --name x --platform a/b/c/d tcp://127.0.0.1:9",
    "create --name x --driver-opt x tcp://127.0.0.1:9",
    "create --name x --driver-opt a=b tcp://127.0.0.1:9",
    "create --name x --driver-opt cacert=a tcp://127.0.0.1:9",
    "create --name x --driver-opt cert=/a tcp://127.0.0.1:9",
    "create --name x --driver-opt key=/a,cacert=/a tcp://127.0.0.1:9",
    "create --name x --driver-opt default-load=z tcp://127.0.0.1:9",
    "create --name x --buildkitd-flags=--debug tcp://127.0.0.1:9",
    "create --name x --buildkitd-flags=' tcp://127.0.0.1:9",
    "create --name x --buildkitd-config /nowhere/buildkitd.toml tcp://127.0.0.1:9",
    "create --name x --foo",
    "create --name x",
    "use foo",
    "use --default Bar",
    "use --global foo",
    "use --global --default foo",
    "use nope",
    "use a b",
    "use 9",
    "use dead-endpoint",
    "use default",
    "use --default foo",
    "inspect",
    "stop",
    "stop foo",
    "stop nope",
    "stop dead-endpoint",
    "stop a b",
    "rm nope",
    "rm --all-inactive foo",
    "create --name dead-endpoint --driver remote tcp://127.0.0.1:9",
    "rm foo nope bar",
    "ls",
];

#[test]
fn commands_say_and_do_what_those_of_buildx_do() {
    let world = World::new();
    world.docker(&["context", "create", "dead-endpoint", "--docker", "host=tcp://127.0.0.1:9"]).well();
    let differing = differences(&world, WITHOUT_AN_ENGINE, &[]);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// What is said about `BuildKit` in Engines, with either store, and about daemons at addresses.
const WITH_BUILDKIT: &[&str] = &[
    "ls",
    "ls --no-trunc",
    "ls --format {{.Name}}|{{.Buildkit}}|{{.Platforms}}|{{.Status}}",
    "ls --format json",
    "inspect default",
    "inspect other",
    "-D inspect other",
    "-D inspect default",
    "create --name far --driver remote --platform linux/riscv64 unix://FAR",
    "create --name nobody --driver remote unix:///nowhere/far",
    "inspect far",
    "-D inspect far",
    "inspect nobody",
    "ls",
    "ls --format json",
    "inspect --bootstrap far",
    "rm --all-inactive --force",
    "ls --format {{.Name}}|{{.Status}}",
];

#[test]
fn builders_are_shown_as_buildx_shows_them() {
    let world = World::new();
    let (containerd, graph) = (Engine::start(Store::Containerd), Engine::start(Store::Graph));
    let host = format!("host={}", graph.host());
    world.docker(&["context", "create", "other", "--docker", &host]).well();
    world.docker(&["context", "create", "dead-endpoint", "--docker", "host=tcp://127.0.0.1:9"]).well();
    let host = containerd.host();
    far::listen(&world.path("far.sock"), containerd.socket());
    let lines: Vec<String> = WITH_BUILDKIT
        .iter()
        .map(|line| line.replace("FAR", &world.path("far.sock").display().to_string()))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    // buildx cannot remove all that is inactive beside a context that is dead; this can.
    let (lines, last) = lines.split_at(lines.len() - 2);
    let environment = [("DOCKER_HOST", host.as_str())];
    let mut differing = differences(&world, lines, &environment);
    world.docker(&["context", "rm", "dead-endpoint"]).well();
    differing.extend(differences(&world, last, &environment));
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

const WITH_AN_ENGINE: &[&str] = &[
    "ls --format {{.Name}}|{{.DriverEndpoint}}|{{.Status}}|{{.Error}}",
    "create --name one --use",
    "create --name two --driver docker-container other --platform linux/arm64 --driver-opt image=x,network=host,\"env.A=b,c\"",
    "create --name three --buildkitd-flags --debug_--allow-insecure-entitlement=security.insecure default",
    "create --name four --buildkitd-config buildkitd.toml",
    "create --name four --node four0 --buildkitd-flags=--debug",
    "create --name five --driver-opt memory=1g,memory-swap=-1,cpu-quota=1000,restart-policy=on-failure:3,default-load=1",
    "create --name six --driver-opt memory=z",
    "create --name six --driver-opt cpu-period=z",
    "create --name six --driver-opt cpu-shares=99999999999999999999",
    "create --name six --driver-opt restart-policy=:3",
    "create --name six --driver-opt restart-policy=on-failure:z",
    "create --name six --driver-opt env.=z",
    "create --name six --driver-opt default-load=z",
    "create --name other",
    "create --name one --append other",
    "create --name one --append other",
    "create --name two --append --platform linux/arm64",
    "ls --format {{.Name}}|{{.DriverEndpoint}}|{{.Status}}|{{.Error}}",
    "inspect one",
    "inspect two",
    "inspect three",
    "inspect five",
    "-D inspect five",
    "stop one",
    "stop default",
    "rm one default other two",
    "rm --all-inactive --force",
    "ls --format {{.Name}}|{{.Status}}",
];

#[test]
fn commands_do_what_those_of_buildx_do_with_an_engine() {
    let world = World::new();
    let engine = Engine::start(Store::Graph);
    let host = format!("host={}", engine.host());
    world.docker(&["context", "create", "other", "--docker", &host]).well();
    world.write("buildkitd.toml", "debug = true\n");
    // buildx cannot remove all that is inactive beside a context that is dead; this can.
    let (last, lines) = WITH_AN_ENGINE.split_at(WITH_AN_ENGINE.len() - 2);
    let environment = [("DOCKER_HOST", engine.host())];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.docker(&["context", "create", "dead-endpoint", "--docker", "host=tcp://127.0.0.1:9"]).well();
    let mut differing = differences(&world, last, &environment);
    world.docker(&["context", "rm", "dead-endpoint"]).well();
    differing.extend(differences(&world, lines, &environment));
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
