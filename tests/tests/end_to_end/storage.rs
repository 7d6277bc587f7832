//! What builders keep: `du` and `prune` of an Engine's BuildKit, beside those of buildx.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Engine, Registry, Store, rbx_program};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("storage::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("lists_are_those_of_buildx", lists_are_those_of_buildx),
        trial("what_is_removed_is_what_buildx_removes", what_is_removed_is_what_buildx_removes),
        trial("builds_go_on_while_caches_are_pruned", builds_go_on_while_caches_are_pruned),
        trial("who_cannot_be_asked_is_named", who_cannot_be_asked_is_named),
    ]
}

/// An Engine and what builds there need.
struct World {
    engine: Engine,
    registry: Registry,
}

impl World {
    fn new(store: Store) -> Self {
        Self { engine: Engine::start(store), registry: Registry::with_images() }
    }

    fn rbx(&self, arguments: &[&str]) -> Said {
        Said::of(self.engine.command(&rbx_program()).env("BUILDX_BUILDER", "default").args(arguments))
    }

    fn buildx(&self, arguments: &[&str]) -> Said {
        Said::of(self.engine.buildx().args(arguments))
    }

    /// Builds something that leaves records of every kind there is.
    fn build(&self, folder: &Path) -> Result<(), String> {
        let file = format!(
            "FROM {}/busybox\nCOPY a /\nRUN --mount=type=cache,target=/c echo hello > /b && echo x > /c/y\n",
            self.registry.address()
        );
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        fs::write(folder.join("Dockerfile"), file).map_err(|error| error.to_string())?;
        fs::write(folder.join("a"), "hi\n").map_err(|error| error.to_string())?;
        let folder = folder.display().to_string();
        let built = self.buildx(&["build", "--network=host", "--output=type=cacheonly", &folder]);
        if built.code == Some(0) { Ok(()) } else { Err(built.errors) }
    }
}

/// What a command printed.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    printed: String,
    errors: String,
    code: Option<i32>,
}

impl Said {
    fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the program can be run");
        Self {
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// Without what differs between two moments: how long ago something was.
    fn at_any_time(mut self) -> Self {
        self.printed = ages(&self.printed);
        self
    }

    /// Without what differs between two Engines: names and times of records, and their order.
    fn on_any_engine(self) -> Vec<String> {
        let is_id = |word: &str| word.len() == 25 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let line = |line: &str| {
            if line.starts_with("Created at:") {
                return "Created at".to_owned();
            }
            let words = line.split(['\t', ' ', ',']).filter(|word| !word.is_empty());
            let words = words.map(|word| if is_id(word.trim_end_matches('*')) { "ID" } else { word });
            words.collect::<Vec<_>>().join(" ")
        };
        let mut lines: Vec<String> = ages(&self.printed).lines().map(line).collect();
        lines.sort();
        lines
    }
}

/// A text without ages: they follow two spaces, a tab or a quote.
fn ages(text: &str) -> String {
    let line = |line: &str| match line.split_once(" ago") {
        Some((before, after)) => {
            let begins = ["  ", "\t", "\""].map(|mark| before.rfind(mark).map_or(0, |at| at + mark.len()));
            format!("{}AGO{after}", &before[..begins.into_iter().max().unwrap_or(0)])
        }
        None => line.to_owned(),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn lists_are_those_of_buildx() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    world.build(&world.engine.directory().join("context"))?;
    for arguments in [
        &["du"][..],
        &["du", "--verbose"],
        &["du", "--format=pretty"],
        &["du", "--format=json"],
        &["du", "--format=table {{.ID}}\t{{.Type}}\t{{.Size}}\t{{.Shared}}"],
        &["du", "--format={{.ID}}: {{.Description}} ({{.Parents}})"],
        &["du", "--filter=type=source.local"],
        &["du", "--filter=type!=regular", "--filter=description~=context"],
        &["du", "--filter=id=zz"],
        &["du", "--filter=mutable=true", "--format={{.ID}}", "--filter=type=none"],
    ] {
        let (ours, theirs) = (world.rbx(arguments).at_any_time(), world.buildx(arguments).at_any_time());
        if ours != theirs {
            return Err(format!("{arguments:?}:\n{ours:#?}\nbuildx:\n{theirs:#?}"));
        }
    }
    // buildx takes no flags without a value, and passes them on in a form that the daemon does not know.
    let ids = |flag: &str| {
        let said = world.rbx(&["du", "--format={{.ID}}", &format!("--filter={flag}")]);
        said.printed.lines().count()
    };
    let all = world.rbx(&["du", "--format={{.ID}}"]).printed.lines().count();
    for (flag, opposite) in
        [("mutable", "mutable=false"), ("shared", "private"), ("shared=false", "shared=true")]
    {
        let (some, others) = (ids(flag), ids(opposite));
        if some + others != all || (flag == "mutable" && (some == 0 || others == 0)) {
            return Err(format!("{flag}: {some}, {opposite}: {others}, of {all}"));
        }
    }
    match ids("until=24h") {
        0 => Ok(()),
        count => Err(format!("{count} records are a day old")),
    }
}

fn what_is_removed_is_what_buildx_removes() -> Result<(), String> {
    let (ours, theirs) = (World::new(Store::Graph), World::new(Store::Graph));
    for world in [&ours, &theirs] {
        world.build(&world.engine.directory().join("context"))?;
    }
    for arguments in [
        &["prune"][..],
        &["prune", "--all"],
        &["prune", "--force", "--filter=until=24h"],
        &["prune", "--force", "--filter=type=exec.cachemount"],
        &["prune", "--force", "--reserved-space=100GB"],
        &["prune", "--force", "--max-used-space=100GB", "--min-free-space=1B"],
        &["prune", "--force", "--keep-storage=100GB"],
        &["prune", "--force", "--verbose", "--filter=description~=dockerfile"],
        &["prune", "--force"],
        &["prune", "--all", "--force"],
        &["prune", "-a", "-f"],
        &["du"],
    ] {
        let (ours, theirs) = (ours.rbx(arguments), theirs.buildx(arguments));
        let errors = (ours.errors.clone(), theirs.errors.clone());
        let codes = (ours.code, theirs.code);
        let (ours, theirs) = (ours.on_any_engine(), theirs.on_any_engine());
        if ours != theirs || errors.0 != errors.1 || codes.0 != codes.1 {
            return Err(format!("{arguments:?}: {codes:?} {errors:?}\n{ours:#?}\nbuildx:\n{theirs:#?}"));
        }
    }
    Ok(())
}

fn builds_go_on_while_caches_are_pruned() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    let folder = world.engine.directory().join("context");
    world.build(&folder)?;
    let file = format!(
        "FROM {}/busybox\nCOPY a /\nRUN echo begun; for i in $(seq 300); do test -e /c/go && exit; sleep 0.1; done; exit 1\n",
        world.registry.address()
    )
    .replace("RUN echo", "RUN --mount=type=cache,target=/c echo");
    fs::write(folder.join("Dockerfile"), file).map_err(|error| error.to_string())?;
    let mut build = world.engine.buildx();
    build.args(["build", "--network=host", "--progress=plain", "--output=type=cacheonly"]).arg(&folder);
    let mut build =
        build.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(build.stderr.take().expect("a pipe")).lines();
    let begun = lines.by_ref().map_while(Result::ok).any(|line| line.ends_with(" begun"));
    let pruned = world.rbx(&["prune", "--all", "--force"]);
    // The other step writes to the cache that this one waits for: it must be the same as before.
    let go = folder.with_file_name("go");
    fs::create_dir_all(&go).map_err(|error| error.to_string())?;
    let file =
        format!("FROM {}/busybox\nRUN --mount=type=cache,target=/c touch /c/go\n", world.registry.address());
    fs::write(go.join("Dockerfile"), file).map_err(|error| error.to_string())?;
    let went =
        world.buildx(&["build", "--network=host", "--output=type=cacheonly", &go.display().to_string()]);
    if went.code != Some(0) {
        let _ = build.kill();
    }
    lines.for_each(drop);
    let built = build.wait().map_err(|error| error.to_string())?;
    if begun && pruned.code == Some(0) && pruned.printed.contains("Total:") && built.success() {
        return Ok(());
    }
    Err(format!("begun: {begun}, built: {built}\n{pruned:#?}\n{went:#?}"))
}

fn who_cannot_be_asked_is_named() -> Result<(), String> {
    let world = World::new(Store::Graph);
    for arguments in [
        &["create", "--name=boxed", "--driver=docker-container"][..],
        &["create", "--name=far", "--driver=remote", "unix:///nonexistent/buildkitd.sock"],
    ] {
        let created = world.buildx(arguments);
        if created.code != Some(0) {
            return Err(created.errors);
        }
    }
    for (builder, reason) in
        [("boxed", "node boxed0 of builder boxed is inactive"), ("far", "/nonexistent/buildkitd.sock")]
    {
        for command in [&["du"][..], &["prune", "--force"]] {
            let said = world.rbx(&[command, &["--builder", builder, "--timeout=5s"]].concat());
            if said.code != Some(1) || !said.errors.contains(reason) || !said.printed.is_empty() {
                return Err(format!("{command:?}: {said:#?}"));
            }
        }
    }
    Ok(())
}
