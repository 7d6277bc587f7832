//! `du` and `prune`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::{Ran, World, ran};

/// A world with a tagged image in its store.
fn built() -> World {
    let world = World::new();
    world.write(
        "context/Dockerfile",
        "FROM base AS other\nRUN echo hello >/greeting\nFROM base\nCOPY --from=other /greeting /\n",
    );
    ran(&mut world.build(&["-t", "hello", "context"])).well();
    world
}

/// The records of `du`, as JSON.
fn records(world: &World, words: &[&str]) -> Vec<serde_json::Value> {
    let listed = world.rbx(&[&["du", "--format=json"], words].concat()).well();
    listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The descriptions of records, sorted, the image's digest left out.
fn described(world: &World, words: &[&str]) -> Vec<String> {
    let mut descriptions: Vec<String> = records(world, words)
        .iter()
        .map(|record| record["Description"].as_str().unwrap().split('@').next().unwrap().to_owned())
        .collect();
    descriptions.sort();
    descriptions
}

/// What `du` of the system says of a directory, in bytes.
fn system_du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// The bytes of the line that begins so; a size with its unit.
fn bytes_of(listed: &Ran, line: &str) -> f64 {
    let found =
        listed.stdout.lines().find_map(|it| it.strip_prefix(line)).unwrap_or_else(|| panic!("{listed:?}"));
    let size = found.trim();
    let number = size.trim_end_matches(char::is_alphabetic);
    let unit = match &size[number.len()..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        other => panic!("unit {other:?}"),
    };
    number.parse::<f64>().unwrap() * unit
}

fn answer(command: &mut Command, text: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn what_is_listed_adds_up_to_what_the_disk_has() {
    let world = built();
    let listed = world.rbx(&["du"]).well();
    let disk = system_du(&world.path("store"));
    let total = bytes_of(&listed, "Total:");
    #[expect(clippy::cast_precision_loss, reason = "it is compared roughly")]
    let off = (total - disk as f64).abs() / total;
    assert!(off < 0.02, "{total} where the disk has {disk}:\n{}", listed.stdout);
    assert_eq!(
        described(&world, &["--filter", "type=regular", "--filter", "shared=true"]),
        [
            "[stage-1 1/2] COPY --from=other /greeting /",
            "image docker.io/library/hello:latest",
            "pulled from base"
        ]
    );
    assert_eq!(
        described(&world, &["--filter", "private", "--filter", "description~=exec"]),
        ["mount / from exec /bin/sh -c echo hello >/greeting"]
    );
}

#[test]
fn pruning_frees_what_it_says_and_a_rebuild_is_the_same() {
    let world = built();
    let id = |world: &World| {
        let built = ran(world.build(&["-q", "-t", "hello", "context"]).arg("--progress=auto")).well();
        built.stdout
    };
    let first = id(&world);
    // What the image holds stays.
    let pruned = world.rbx(&["prune", "-f", "--verbose"]).well();
    assert!(
        pruned.stdout.contains("Description:\tmount / from exec /bin/sh -c echo hello >/greeting"),
        "{}",
        pruned.stdout
    );
    assert!(!pruned.stdout.contains("COPY"), "{}", pruned.stdout);
    assert_eq!(described(&world, &["--filter", "description~=image"]).len(), 1);

    let before = system_du(&world.path("store"));
    let pruned = world.rbx(&["prune", "-af"]).well();
    let freed = bytes_of(&pruned, "Total:");
    #[expect(clippy::cast_precision_loss, reason = "it is compared roughly")]
    let difference = (before - system_du(&world.path("store"))) as f64;
    assert!((freed - difference).abs() < 0.1 * freed, "{freed} where the disk has {difference} less");
    assert_eq!(described(&world, &[]), ["records and directories of the store"]);

    let stripped = |world: &World| -> serde_json::Value {
        let built = ran(&mut world.build(&["-o", "out", "context"])).well();
        assert!(!built.stderr.contains("CACHED"), "{}", built.stderr);
        world.read("out/greeting").into()
    };
    assert_eq!(stripped(&world), "hello\n");
    // Another time is in its configuration: the layer was made again.
    assert_ne!(id(&world), first);
    let again = id(&world);
    assert_eq!(id(&world), again);
}

#[test]
fn questions_are_those_of_buildx() {
    let world = built();
    let rbx = |words: &[&str], text| {
        let mut command = world.command(Path::new(crate::world::PROGRAM));
        answer(command.args(words), text).well().stdout
    };
    let question =
        "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] ";
    for no in ["", "n\n", "yes\n", " y\n"] {
        assert_eq!(rbx(&["prune"], no), question, "{no:?}");
    }
    assert_eq!(
        rbx(&["prune", "--all"], ""),
        "Images in the builder's store are removed, too: docker.io/library/hello:latest\n\
         WARNING! This will remove all build cache. Are you sure you want to continue? [y/N] "
    );
    for yes in ["y\n", "Y\n", "y"] {
        let answered = rbx(&["prune", "--filter", "type=nothing"], yes);
        assert_eq!(answered, format!("{question}Total:\t0B\n"), "{yes:?}");
    }
    assert!(rbx(&["prune"], "y\n").starts_with(&format!("{question}ID\t")));
}

#[test]
fn flags_that_are_wrong_are_told_as_buildx_does() {
    let world = World::new();
    for (words, error) in [
        (
            &["du", "--filter", "foo"][..],
            "invalid argument \"foo\" for \"--filter\" flag: bad format of filter (expected name=value)",
        ),
        (&["du", "--verbose", "--format", "x"], "--format and --verbose cannot be used together"),
        (&["du", "--format", "{{.Nope"], "template parsing error: template: :1: unclosed action"),
        (
            &["prune", "-f", "--filter", "until=x"],
            "\"until\" filter expects a duration (e.g., '24h'): time: invalid duration \"x\"",
        ),
        (
            &["prune", "--reserved-space", "x"],
            "invalid argument \"x\" for \"--reserved-space\" flag: invalid size: 'x'",
        ),
        (
            &["prune", "--max-used-space", "1xb"],
            "invalid argument \"1xb\" for \"--max-used-space\" flag: invalid suffix: 'xb'",
        ),
    ] {
        let (ours, theirs) = (world.rbx(words), world.buildx(words));
        let error = format!("ERROR: {error}\n");
        assert_eq!((ours.code, ours.stderr.as_str()), (Some(1), error.as_str()), "{words:?}");
        // Without an Engine buildx gets no further than this.
        if theirs.stderr != ours.stderr {
            assert!(
                theirs.stderr.contains("docker daemon") || theirs.stderr.contains("docker API"),
                "{theirs:?}"
            );
        }
    }
    let old = world.rbx(&["prune", "-f", "--keep-storage=1gb"]).well();
    let theirs = world.buildx(&["prune", "-f", "--keep-storage=1gb"]);
    assert_eq!(
        old.stderr,
        "Flag --keep-storage has been deprecated, keep-storage flag has been changed to reserved-space\n"
    );
    assert!(theirs.stderr.starts_with(&old.stderr), "{theirs:?}");
    let other = world.rbx(&["du", "--builder", "other"]);
    assert!(other.stderr.starts_with("ERROR: no builder \"other\" found\n"), "{other:?}");
}

#[test]
fn docker_hands_builder_prune_on() {
    let world = built();
    world.write(
        "config/config.json",
        r#"{"aliases": {"builder": "rbx"}, "pruneFilters": ["description~=greeting"]}"#,
    );
    let pruned = world.docker(&["builder", "prune", "-f", "--keep-storage", "0"]).well();
    assert_eq!(pruned.stdout.lines().count(), 3, "{pruned:?}");
    assert!(!described(&world, &[]).iter().any(|description| description.contains("exec")));
}
