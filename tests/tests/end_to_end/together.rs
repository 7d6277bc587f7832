//! buildx and docker-rbx on one state and one daemon: what one of them makes or sends, the other uses, and nothing is
//! lost where many of both work at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Failed, Trial};
use rbx_tests::Parts;
use rbx_tests::builders::{Builder, Program, Row};
use serde_json::{Value, json};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("together::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("what_one_built_is_cached_for_the_other", what_one_built_is_cached_for_the_other),
        trial("history_shows_builds_of_either", history_shows_builds_of_either),
        trial("twenty_at_once_lose_nothing", twenty_at_once_lose_nothing),
    ]
}

/// What a command printed and said, if it did well.
fn done(command: &mut Command) -> Result<(String, String), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let [out, said] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if output.status.success() { Ok((out, said)) } else { Err(format!("{command:?}: {out}{said}")) }
}

/// A build of a directory, from a base image that is no registry's.
fn build(builder: &Builder, program: Program, context: &Path) -> Command {
    let base = format!("base=oci-layout://{}", Parts::locate().layout("busybox").display());
    let mut command = builder.command(program);
    command.args(["build", "--network=host", "--provenance=false", "--output=type=cacheonly"]);
    command.args(["--progress=plain", "--build-context", &base]).arg(context);
    command
}

/// A context with files of many kinds, of which one is large.
fn context(path: &Path) {
    fs::create_dir_all(path.join("directory/empty")).expect("directories");
    let write = |name: &str, content: &[u8], mode: u32| {
        fs::write(path.join(name), content).expect("a file");
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    write("Dockerfile", b"FROM base\nCOPY . /all/\n", 0o644);
    write(".dockerignore", b"ignored\n", 0o644);
    write("ignored", b"not sent", 0o644);
    write("large", &vec![7; LARGE], 0o600);
    write("directory/set-user-id", b"x", 0o4755);
    write("directory.before", b"sorts before what is in it", 0o440);
    write("f\u{fc}r \u{65e5}", b"a name", 0o644);
    fs::set_permissions(path.join("directory/empty"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    symlink("../large", path.join("directory/link")).expect("a link");
    fs::hard_link(path.join("large"), path.join("same")).expect("a hard link");
}

/// Bytes of the large file.
const LARGE: usize = 3 << 20;

/// Whether the copy was cached, and whether the large file was sent.
fn seen(said: &str) -> Result<(bool, bool), String> {
    let number = said.lines().find_map(|line| line.strip_suffix("COPY . /all/")?.split(' ').next());
    let number = number.ok_or_else(|| format!("nothing is copied:\n{said}"))?;
    let cached = said.lines().any(|line| line == format!("{number} CACHED"));
    let sent = said.lines().any(|line| line.contains("transferring context: ") && line.contains("MB"));
    Ok((cached, sent))
}

fn what_one_built_is_cached_for_the_other() -> Result<(), String> {
    // Of its own: while others build without a cache what is built here, too, BuildKit finds none for anybody.
    let builder = Builder::start(Row::DockerContainerd);
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    for (first, second) in [(Program::Buildx, Program::Rbx), (Program::Rbx, Program::Buildx)] {
        let path = directory.path().join(first.name());
        context(&path);
        // That no other is like it.
        fs::write(path.join("who"), first.name()).map_err(|error| error.to_string())?;
        // Each has sent everything once, since a daemon knows a directory by its name for buildx, and by its place for
        // docker-rbx.
        for (program, expected) in
            [(first, (false, true)), (second, (true, true)), (first, (true, false)), (second, (true, false))]
        {
            let (_, said) = done(&mut build(&builder, program, &path))?;
            let found = seen(&said)?;
            if found != expected {
                return Err(format!(
                    "{first:?} first, now {program:?}: cached and sent are {found:?}, not {expected:?}:\n{said}"
                ));
            }
        }
        // What one has changed is new for both, once.
        fs::write(path.join("who"), format!("{} again", first.name())).map_err(|error| error.to_string())?;
        for (program, expected) in [(first, (false, false)), (second, (true, false))] {
            let (_, said) = done(&mut build(&builder, program, &path))?;
            let found = seen(&said)?;
            if found != expected {
                return Err(format!("changed, now {program:?}: {found:?}, not {expected:?}:\n{said}"));
            }
        }
    }
    Ok(())
}

fn history_shows_builds_of_either() -> Result<(), String> {
    let builder = Builder::start(Row::RemoteUnix);
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    for program in [Program::Buildx, Program::Rbx] {
        // The same name, so that they can be compared.
        let path = directory.path().join(program.name()).join("project");
        fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let text = format!("FROM base\nRUN echo said by {}\n", program.name());
        fs::write(path.join("Dockerfile"), text).map_err(|error| error.to_string())?;
        let metadata = directory.path().join("metadata.json");
        let mut command = build(&builder, program, &path);
        done(command.arg("--metadata-file").arg(&metadata))?;
        let written = fs::read(&metadata).map_err(|error| error.to_string())?;
        let written: Value = serde_json::from_slice(&written).map_err(|error| error.to_string())?;
        let place = written["buildx.build.ref"].as_str().ok_or("no reference")?;
        let reference = place.rsplit('/').next().ok_or("no reference")?;
        let history = |words: &[&str]| {
            let mut command = builder.command(Program::Buildx);
            Ok::<_, String>(done(command.arg("history").args(words))?.0)
        };
        let listed = history(&["ls", "--format={{.Ref}} {{.Name}} {{.Status}}", "--no-trunc"])?;
        let line = listed.lines().find(|line| line.contains(reference));
        let line = line.ok_or_else(|| format!("{reference} is not in\n{listed}"))?;
        let logs = done(builder.command(Program::Buildx).args(["history", "logs", reference]))?;
        let logs = logs.0 + &logs.1;
        if !logs.lines().any(|line| line.ends_with(&format!("said by {}", program.name()))) {
            return Err(format!("the log of {program:?} has no output:\n{logs}"));
        }
        let inspected = history(&["inspect", "--format=json", reference])?;
        let mut inspected: Value = serde_json::from_str(&inspected).map_err(|error| error.to_string())?;
        let fields = inspected.as_object_mut().ok_or("no object")?;
        // What differs from build to build.
        for field in ["StartedAt", "CompletedAt", "Duration", "NumCachedSteps", "NamedContexts"] {
            fields.remove(field).ok_or_else(|| format!("no {field}"))?;
        }
        for field in ["Ref", "Materials", "Attachments"] {
            fields.remove(field);
        }
        if inspected["Context"] != "project" && !inspected["Context"].to_string().contains("project") {
            return Err(format!("{program:?} built {}", inspected["Context"]));
        }
        inspected["Context"] = json!("here");
        told.push((line.replace(reference, "REF"), inspected));
    }
    if told[0] == told[1] { Ok(()) } else { Err(format!("{:#?}\nis not\n{:#?}", told[1], told[0])) }
}

/// One of many that run at once.
struct Worker {
    what: String,
    child: Child,
}

fn twenty_at_once_lose_nothing() -> Result<(), String> {
    let builder = Builder::start(Row::RemoteUnix);
    let state = builder.engine().config().join("buildx");
    let endpoint = {
        let shared = json_of(&state.join("instances/table"))?;
        shared["Nodes"][0]["Endpoint"].as_str().ok_or("no endpoint")?.to_owned()
    };
    let programs = [Program::Buildx, Program::Rbx];
    let command = |program: Program, words: &[&str]| {
        let mut command = builder.command(program);
        command.args(words).env_remove("BUILDX_BUILDER");
        command
    };
    for (number, program) in programs.into_iter().cycle().take(4).enumerate() {
        let name = format!("old{number}");
        done(&mut command(program, &["create", "--driver=remote", "--name", &name, &endpoint]))?;
    }
    done(&mut command(Program::Rbx, &["create", "--driver=remote", "--name=ours", &endpoint]))?;
    // As a buildx of years to come may write it. Only docker-rbx works on it.
    let newer = state.join("instances/newer");
    let mut group = json_of(&state.join("instances/old1"))?;
    group["Name"] = json!("newer");
    group["Weight"] = json!({"of": [1, 2.5]});
    group["Nodes"][0]["Name"] = json!("newer0");
    group["Nodes"][0]["Zone"] = json!("b");
    fs::write(&newer, group.to_string()).map_err(|error| error.to_string())?;
    let nowhere = format!("unix://{}", state.join("nowhere.sock").display());

    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut commands = Vec::new();
    let mut add = |what: String, command: Command| commands.push((what, command));
    for (number, program) in programs.into_iter().cycle().take(5).enumerate() {
        let name = format!("new{number}");
        let words = ["create", "--driver=remote", "--name", &name, &endpoint];
        add(format!("create {name}"), command(program, &words));
    }
    for (number, program) in programs.into_iter().rev().cycle().take(4).enumerate() {
        let name = format!("old{number}");
        add(format!("rm {name}"), command(program, &["rm", &name]));
    }
    for program in programs {
        add("use table".to_owned(), command(program, &["use", "table"]));
        add("ls".to_owned(), command(program, &["ls"]));
        add("inspect table".to_owned(), command(program, &["inspect", "table"]));
        // One is buildx's, the other docker-rbx's.
        for target in ["table", "ours"] {
            let path = directory.path().join(format!("{}-{target}", program.name()));
            fs::create_dir(&path).map_err(|error| error.to_string())?;
            fs::write(path.join("Dockerfile"), "FROM base\nCOPY Dockerfile /\n")
                .map_err(|error| error.to_string())?;
            let mut command = build(&builder, program, &path);
            command.env("BUILDX_BUILDER", target);
            add(format!("build on {target}"), command);
        }
    }
    let words = ["create", "--append", "--name=newer", "--node=newer1", &nowhere];
    add("append to newer".to_owned(), command(Program::Rbx, &words));
    assert_eq!(commands.len(), 20, "as many as this test says");

    let ended = AtomicBool::new(false);
    let torn = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            // However short it is, what was begun before the end is looked at once.
            loop {
                let last = ended.load(Ordering::Acquire);
                if let Some(path) = files(&state).into_iter().find(|path| is_torn(path)) {
                    return Some(path);
                }
                if last {
                    return None;
                }
            }
        });
        let failed = run(commands);
        ended.store(true, Ordering::Release);
        let torn = watching.join().map_err(|_| "the watcher panicked".to_owned())?;
        failed.map(|()| torn)
    })?;
    if let Some(path) = torn {
        return Err(format!("a torn file: {}", path.display()));
    }

    let names: BTreeSet<String> = files(&state.join("instances")).iter().map(|path| name_of(path)).collect();
    let expected = ["new0", "new1", "new2", "new3", "new4", "newer", "ours", "table"].map(str::to_owned);
    if names != expected.clone().into() {
        return Err(format!("the builders are {names:?}"));
    }
    for program in programs {
        let (listed, _) = done(&mut command(program, &["ls", "--format={{.Builder.Name}}"]))?;
        let missing = expected.iter().find(|name| !listed.lines().any(|line| line == name.as_str()));
        if let Some(name) = missing {
            return Err(format!("{name} is not in what {program:?} lists:\n{listed}"));
        }
    }
    let group = json_of(&newer)?;
    let nodes: Vec<&Value> =
        group["Nodes"].as_array().into_iter().flatten().map(|node| &node["Name"]).collect();
    if (&group["Weight"], &group["Nodes"][0]["Zone"], nodes)
        != (&json!({"of": [1, 2.5]}), &json!("b"), vec![&json!("newer0"), &json!("newer1")])
    {
        return Err(format!("of what a newer buildx wrote is left {group}"));
    }
    let remembered: Vec<PathBuf> = files(&state.join("refs"));
    if remembered.len() != 4 {
        return Err(format!("of four builds these are remembered: {remembered:?}"));
    }
    let odd = files(&state).into_iter().find(|path| name_of(path).contains("tmp"));
    odd.map_or(Ok(()), |path| Err(format!("left behind: {}", path.display())))
}

/// Runs all at once; all have to do well.
fn run(commands: Vec<(String, Command)>) -> Result<(), String> {
    let mut workers = Vec::new();
    for (what, mut command) in commands {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("{what}: {error}"))?;
        workers.push(Worker { what, child });
    }
    let mut failed = Vec::new();
    for worker in workers {
        let output = worker.child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            failed.push(format!("{}: {}", worker.what, String::from_utf8_lossy(&output.stderr)));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn json_of(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| format!("{error}: {}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{error}: {}", path.display()))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let found = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { files(&path) } else { vec![path] }
    });
    found.collect()
}

/// Whether a file that has JSON in it has half of it. What is being written has another name.
fn is_torn(path: &Path) -> bool {
    let known = ["instances", "refs", "current"].iter().any(|part| path.iter().any(|it| it == *part));
    let name = name_of(path);
    known
        && !name.starts_with('.')
        && fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_err())
}
