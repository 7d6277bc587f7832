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

/// A file system in memory, unmounted when dropped.
struct Memory(std::path::PathBuf);

impl Memory {
    fn mount(path: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(mounted.unwrap().success(), "root may mount");
        Self(path.to_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A collection may still be at work.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Waits until something is so. What is waited for takes no time worth naming, on a machine that has some.
fn wait_until(what: &str, so: impl Fn() -> bool) {
    let since = std::time::Instant::now();
    while !so() {
        assert!(since.elapsed() < std::time::Duration::from_mins(2), "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Bytes that do not compress, and are others for every seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

#[test]
fn a_small_disk_is_kept_from_filling_up() {
    let world = World::new();
    let _memory = Memory::mount(&world.path("store"), 64);
    world.write("context/Dockerfile", "FROM base\nCOPY data /data\nRUN cp /data /copy\n");
    // In all this is three times what the disk has.
    for round in 0..20 {
        std::fs::write(world.path("context/data"), noise(round, 3_000_000)).unwrap();
        ran(&mut world.build(&["context"])).well();
        // Four fifths of the disk, and what is beside the store's content.
        wait_until("the store is collected", || system_du(&world.path("store")) < 56 << 20);
    }
    // What was built last is there yet.
    assert!(ran(&mut world.build(&["context"])).well().stderr.contains("CACHED"));
}

#[test]
fn limits_of_the_store_are_in_the_configuration() {
    let world = World::new();
    std::fs::create_dir(world.path("config/rbx")).unwrap();
    let gc = |text: &str| world.write("config/rbx/config.json", &format!("{{\"gc\": {text}}}"));
    let store = world.path("store");
    world.write("context/Dockerfile", "FROM base\nCOPY data /data\n");
    let build = |round| {
        std::fs::write(world.path("context/data"), noise(round, 2_000_000)).unwrap();
        ran(world.build(&["context"]).arg("--debug")).well()
    };
    gc(r#"{"enabled": false, "maxUsedSpace": "5MB"}"#);
    (0..5).for_each(|round| drop(build(round)));
    let full = system_du(&store);
    assert!(full > 10_000_000, "{full}");
    gc(r#"{"maxUsedSpace": "5MB", "reservedSpace": "1MB", "minFreeSpace": "0%"}"#);
    let told = build(5).stderr;
    assert!(told.contains("removed rule=\"least recently used\""), "{told}");
    let left = system_du(&store);
    assert!(left < 7_000_000, "{left}");
    gc(r#"{"minFreeSpace": "lots"}"#);
    let wrong = ran(&mut world.build(&["context"]));
    let path = world.path("config/rbx/config.json");
    assert_eq!(
        wrong.stderr_from("ERROR"),
        format!("ERROR: invalid size: 'lots': gc.minFreeSpace in {}\n", path.display())
    );
}

#[test]
fn a_full_disk_is_told_with_what_can_be_done() {
    let world = World::new();
    let _memory = Memory::mount(&world.path("store"), 16);
    std::fs::write(world.path("context/data"), noise(1, 20_000_000)).unwrap();
    let hint = "Hint: the disk is full: `docker rbx prune` makes room";
    for dockerfile in
        ["FROM base\nCOPY data /data\n", "FROM base\nRUN dd if=/dev/zero of=/data bs=1M count=20\n"]
    {
        world.write("context/Dockerfile", dockerfile);
        let failed = ran(&mut world.build(&["context"]));
        assert_eq!(failed.code, Some(1));
        assert!(failed.stderr.contains(hint), "{}", failed.stderr);
    }
    // There is room for this one once the rest is gone.
    world.rbx(&["prune", "-af"]).well();
    world.write("context/Dockerfile", "FROM base\nRUN echo hello >/greeting\n");
    ran(&mut world.build(&["context"])).well();
}

#[test]
fn builds_and_prune_do_not_disturb_each_other() {
    let world = World::new();
    world.write(
        "context/Dockerfile",
        "FROM base AS other\nARG N\nRUN --mount=type=cache,target=/cache echo $N >>/cache/all && echo $N >/n\n\
         FROM base\nCOPY data /data\nCOPY --from=other /n /n\nRUN cat /data /n >/all\n",
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let words: &[&str] = if rounds % 3 == 0 { &["du"] } else { &["prune", "-af"] };
                world.rbx(words).well();
                rounds += 1;
            }
            rounds
        });
        let building = [0, 1].map(|builder| {
            let world = &world;
            scope.spawn(move || {
                let context = format!("context{builder}");
                std::fs::create_dir(world.path(&context)).unwrap();
                std::fs::copy(world.path("context/Dockerfile"), world.path(&context).join("Dockerfile"))
                    .unwrap();
                for round in 0..6 {
                    let n = builder * 100 + round;
                    world.write(&format!("{context}/data"), &format!("data {builder} {}\n", round / 2));
                    let out = format!("out{n}");
                    let (argument, output) = (format!("--build-arg=N={n}"), format!("--output={out}"));
                    ran(&mut world.build(&[&argument, &output, &context])).well();
                    assert_eq!(
                        world.read(&format!("{out}/all")),
                        format!("data {builder} {}\n{n}\n", round / 2)
                    );
                }
            })
        });
        for builder in building {
            builder.join().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(pruning.join().unwrap() > 1);
    });
    world.rbx(&["prune", "-af"]).well();
    assert_eq!(described(&world, &[]), ["records and directories of the store"]);
}

#[test]
fn caches_of_steps_are_listed_and_removed() {
    let world = World::new();
    world.write(
        "context/Dockerfile",
        "FROM base\nRUN --mount=type=cache,target=/cache dd if=/dev/zero of=/cache/file bs=100k count=1\n",
    );
    ran(&mut world.build(&["context"])).well();
    let caches = records(&world, &["--filter", "type=exec.cachemount"]);
    let [cache] = &caches[..] else { panic!("{caches:?}") };
    assert!(cache["Description"].as_str().unwrap().contains("/cache"), "{cache}");
    assert_eq!((&cache["Mutable"], &cache["Reclaimable"]), (&true.into(), &true.into()));
    let pruned = world.rbx(&["prune", "-f", "--filter=type=exec.cachemount"]).well();
    assert!((100_000.0..120_000.0).contains(&bytes_of(&pruned, "Total:")), "{}", pruned.stdout);
    assert!(records(&world, &["--filter", "type=exec.cachemount"]).is_empty());
    assert!(ran(&mut world.build(&["context"])).well().stderr.contains("CACHED"));
}
