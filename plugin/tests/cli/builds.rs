//! Builds without an Engine.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use rbx_tests::Registry;

use crate::world::{World, ran};

#[test]
fn a_tagged_image_stays_in_the_store_and_can_be_taken_out() {
    let world = World::new();
    let built = ran(&mut world.build(&["-t", "hello", "context"])).well();
    assert_eq!(built.stdout, "");
    let first = built.stderr.lines().next().unwrap();
    assert!(
        first.starts_with(
            "#0 building with \"embedded\" instance using embedded driver (chosen by BUILDX_BUILDER; "
        ),
        "{first}"
    );
    let last = built.stderr.lines().last().unwrap();
    let store = world.path("store");
    assert!(
        last.starts_with(&format!(
            "hello:latest is in the image store at {} (no Docker Engine",
            store.display()
        )),
        "{last}"
    );
    let command = last.split_once("take it out with: docker-rbx ").unwrap().1;
    let words: Vec<&str> = command.split(' ').collect();
    let taken = world.rbx(&words).well();
    assert!(taken.stderr.contains("CACHED"), "{}", taken.stderr);
    assert!(world.path("image.tar").metadata().unwrap().len() > 1000);
}

#[test]
fn an_image_without_a_name_is_warned_about() {
    let world = World::new();
    let built = ran(&mut world.build(&["context"])).well();
    assert!(
        built.stderr.starts_with("WARNING: No output specified with embedded driver."),
        "{}",
        built.stderr
    );
}

#[test]
fn quiet_prints_the_id_alone_and_files_have_the_rest() {
    let world = World::new();
    let mut build =
        world.build(&["-q", "--iidfile=id", "--metadata-file", "metadata.json", "-thello", "context"]);
    // The last flag counts: `-q` wants no `plain`.
    let built = ran(build.arg("--progress=auto")).well();
    assert_eq!(built.stderr, "");
    assert!(built.stdout.starts_with("sha256:") && built.stdout.len() == 72, "{}", built.stdout);
    assert_eq!(world.read("id"), built.stdout.trim_end());
    let metadata: serde_json::Value = serde_json::from_str(&world.read("metadata.json")).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], built.stdout.trim_end());
    assert_eq!(metadata["image.name"], "docker.io/library/hello:latest");
    assert_eq!(metadata["containerimage.descriptor"]["digest"], metadata["containerimage.digest"]);
}

#[test]
fn an_old_image_id_does_not_outlive_a_failed_build() {
    let world = World::new();
    world.write("id", "sha256:old");
    world.write("context/Dockerfile", "FROM base\nRUN false\n");
    let failed = ran(&mut world.build(&["--iidfile=id", "context"]));
    assert_eq!(failed.code, Some(1));
    assert!(!world.path("id").exists());
}

#[test]
fn failures_are_told_in_the_order_of_buildx() {
    let world = World::new();
    world.write("context/Dockerfile", "FROM base\nRUN echo oh no >&2 && exit 7\n");
    let failed = ran(&mut world.build(&["context"]));
    assert_eq!(failed.code, Some(1));
    let told = failed.stderr_from("------");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].starts_with(" > [") && lines[1].ends_with("] RUN echo oh no >&2 && exit 7:"), "{told}");
    assert!(lines[2].ends_with("oh no"), "{told}");
    assert_eq!(lines[3..6], ["------", "Dockerfile:2", "--------------------"], "{told}");
    let error = lines.iter().position(|line| line.starts_with("ERROR: ")).unwrap();
    assert_eq!(lines[error - 1], "--------------------", "{told}");
    assert!(lines[error].starts_with("ERROR: failed to build: "), "{told}");
    assert!(lines[error].contains("exit code: 7"), "{told}");
}

#[test]
fn the_result_goes_to_standard_output() {
    let world = World::new();
    let built = ran(&mut world.build(&["-o", "-", "context"])).well();
    assert!(built.stdout.contains("greeting"), "a tar with the file");
}

#[test]
fn a_dockerfile_comes_from_standard_input() {
    let world = World::new();
    world.write("context/file", "content");
    let mut build = world.build(&["-f", "-", "-o", "out", "context"]);
    let mut child = build.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"FROM scratch\nCOPY file /\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(world.path("out/file")).unwrap(), "content");
}

#[test]
fn builders_that_are_not_there_are_errors() {
    let world = World::new();
    let refused = world.rbx(&["build", "--builder", "mine", "context"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.starts_with("ERROR: no builder \"mine\" found\nHint: "), "{}", refused.stderr);
    let by_variable = ran(world.build(&["context"]).env("BUILDX_BUILDER", "mine"));
    assert!(by_variable.stderr.starts_with("ERROR: no builder \"mine\" found\n"), "{}", by_variable.stderr);
    let chosen =
        world.rbx(&["--builder=embedded", "build", "--progress=plain", &world.base(), "context"]).well();
    assert!(chosen.stderr.contains("embedded driver (chosen by --builder; "), "{}", chosen.stderr);
}

#[test]
fn a_load_needs_an_engine() {
    let world = World::new();
    let refused = ran(world.build(&["--load", "context"]).env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.starts_with(
            "ERROR: failed to build: Cannot connect to the Docker daemon at unix:///nowhere/docker.sock. Is the \
             docker daemon running?\nHint: "
        ),
        "{}",
        refused.stderr
    );
}

#[test]
fn events_are_written_as_json() {
    let world = World::new();
    let built = ran(world.build(&["context"]).arg("--progress=rawjson")).well();
    let lines = built.stderr.lines().filter(|line| !line.starts_with("WARNING: "));
    let events: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["vertexes"].is_array()), "{}", built.stderr);
}

#[test]
fn base_images_come_from_the_mirror_that_is_configured() {
    let world = World::new();
    let registry = Registry::start();
    registry.push(&world.parts.layout("busybox"), "library/base:latest");
    let config = serde_json::json!({ "registries": { "docker.io": { "mirrors": [registry.address()] } } });
    fs::create_dir(world.path("config/rbx")).unwrap();
    world.write("config/rbx/config.json", &config.to_string());
    let built = world.rbx(&["build", "--progress=plain", "-o", "out", "context"]).well();
    assert_eq!(world.read("out/greeting"), "hello\n", "{}", built.stderr);

    world.write("config/rbx/config.json", "{\"registry\": {}}");
    let refused = world.rbx(&["build", "context"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("unknown field `registry`"), "{}", refused.stderr);
}

#[test]
fn proxies_of_the_configuration_reach_the_steps_alone() {
    let world = World::new();
    world.write("config/config.json", r#"{"proxies": {"default": {"httpProxy": "http://proxy:1"}}}"#);
    world.write("context/Dockerfile", "FROM base\nRUN echo $HTTP_PROXY $http_proxy >/proxies\n");
    ran(&mut world.build(&["-o", "out", "context"])).well();
    assert_eq!(world.read("out/proxies"), "http://proxy:1 http://proxy:1\n");
}

#[test]
fn docker_build_is_the_program_where_the_alias_says_so() {
    let world = World::new();
    world.write("config/config.json", r#"{"aliases": {"builder": "rbx"}}"#);
    for words in [&["build"][..], &["image", "build"], &["builder", "build"]] {
        let built = world
            .docker(&[words, &["--progress=plain", &world.base(), "-t", "hello", "context"]].concat())
            .well();
        assert!(built.stderr.contains("using embedded driver"), "{words:?}: {}", built.stderr);
    }
}
