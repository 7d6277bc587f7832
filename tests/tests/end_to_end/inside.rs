//! What a step sees and may do, beside a step of a real Engine: one program and one script run in both, and what they
//! print must be the same, line by line, but for what `tests/sandbox/explained` gives a reason for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_tests::compare::Difference;
use rbx_tests::{Engine, Parts, Registry, Store, rbx};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("inside::a_step_is_as_in_an_engine", || {
            a_step_is_as_in_an_engine(&[]).map_err(Failed::from)
        }),
        Trial::test("inside::a_step_of_runc_is_as_in_an_engine", || {
            a_step_is_as_in_an_engine(&["--oci-runtime=runc"]).map_err(Failed::from)
        }),
    ]
}

const DOCKERFILE: &str = r"FROM registry.test/busybox AS steps
COPY --chmod=755 inside world.sh /usr/bin/
RUN mkdir -m 1777 /out && cp /usr/bin/inside /out/inside && chmod 777 /out/inside && mkdir -p -m 1777 /tmp
RUN sh /usr/bin/world.sh > /out/root.world
RUN inside state > /out/root.state
RUN inside numbers > /out/root.numbers
RUN inside attempts > /out/root.attempts
RUN --network=none sh /usr/bin/world.sh > /out/none.world
RUN echo bob:x:1001:1001::/home/bob:/bin/sh >> /etc/passwd
USER bob
WORKDIR /home/bob
RUN sh /usr/bin/world.sh > /out/bob.world
RUN inside state > /out/bob.state
RUN inside numbers > /out/bob.numbers
RUN inside attempts > /out/bob.attempts
FROM scratch
COPY --from=steps /out /
";

/// What the steps of [`DOCKERFILE`] print.
const REPORTS: [&str; 9] = [
    "root.world",
    "root.state",
    "root.numbers",
    "root.attempts",
    "none.world",
    "bob.world",
    "bob.state",
    "bob.numbers",
    "bob.attempts",
];

fn sandbox() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox")
}

fn a_step_is_as_in_an_engine(more: &[&str]) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (registry, engine) = (Registry::with_images(), Engine::start(Store::Containerd));
    let context = directory.path().join("context");
    fs::create_dir(&context).map_err(|error| error.to_string())?;
    compile(&context.join("inside"))?;
    fs::copy(sandbox().join("world.sh"), context.join("world.sh")).map_err(|error| error.to_string())?;
    fs::write(context.join("Dockerfile"), DOCKERFILE.replace("registry.test", registry.address()))
        .map_err(|error| error.to_string())?;

    let build = |program: &mut Command, name: &str| {
        let output = directory.path().join(name);
        program.args(["--progress=plain", "--network=host"]);
        program.arg(format!("--output=type=local,dest={}", output.display())).arg(&context);
        run(program).map(|()| output)
    };
    let theirs = build(engine.buildx().args(["build", "--provenance=false"]), "theirs")?;
    let mut program = rbx(&Parts::locate(), directory.path());
    let ours = build(program.args(["build", "--builder=embedded"]).args(more), "ours")?;

    let mut differences = Vec::new();
    for report in REPORTS {
        let read = |directory: &Path| {
            let text = fs::read(directory.join(report)).map_err(|error| format!("{report}: {error}"))?;
            Ok::<_, String>(lines(&String::from_utf8_lossy(&text)))
        };
        differences.extend(compare(report, &read(&theirs)?, &read(&ours)?));
    }
    let explained = fs::read_to_string(sandbox().join("explained")).map_err(|error| error.to_string())?;
    unexplained(&differences, &explained)
}

/// Compiles the program that asks, for any image: it needs no library of one.
fn compile(to: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/sandbox/examples/inside.rs");
    run(Command::new("rustc")
        .args(["--edition=2024", "-Copt-level=1", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"])
        .arg(to)
        .arg(source))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Lines by what they are about: the words before a colon, else the first two. Several about one thing are one.
fn lines(text: &str) -> BTreeMap<String, String> {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        let (about, fact) = line.split_once(": ").unwrap_or_else(|| {
            let end = line.match_indices(' ').nth(1).map_or(line.len(), |(end, _)| end);
            line.split_at(end)
        });
        let facts = lines.entry(about.to_owned()).or_default();
        facts.push_str(if facts.is_empty() { "" } else { "; " });
        facts.push_str(fact.trim());
    }
    lines
}

fn compare(
    report: &str,
    left: &BTreeMap<String, String>,
    right: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut abouts: Vec<&String> = left.keys().chain(right.keys()).collect();
    abouts.sort();
    abouts.dedup();
    let different = abouts.into_iter().filter(|about| left.get(*about) != right.get(*about));
    different
        .map(|about| Difference {
            place: format!("{report} {about}"),
            left: left.get(about).cloned(),
            right: right.get(about).cloned(),
        })
        .collect()
}

/// Holds differences against lines of `BEGINNING # REASON`, where a word may end in `*`. Which of them
/// occur depends on the kernel and on how its control groups are arranged.
fn unexplained(differences: &[Difference], explained: &str) -> Result<(), String> {
    let mut beginnings = Vec::new();
    for line in explained.lines().filter(|line| !line.trim().is_empty()) {
        let (beginning, reason) = line.split_once(" # ").ok_or_else(|| format!("no reason in {line:?}"))?;
        if reason.trim().is_empty() {
            return Err(format!("no reason in {line:?}"));
        }
        beginnings.push(beginning.split_whitespace().collect::<Vec<_>>());
    }
    let matches = |wanted: &str, word: &str| {
        wanted.strip_suffix('*').map_or(wanted == word, |beginning| word.starts_with(beginning))
    };
    let is_explained = |difference: &&Difference| {
        let words: Vec<&str> = difference.place.split_whitespace().collect();
        beginnings.iter().any(|beginning| {
            beginning.len() <= words.len()
                && beginning.iter().zip(&words).all(|(wanted, word)| matches(wanted, word))
        })
    };
    let rest: Vec<String> = differences
        .iter()
        .filter(|difference| !is_explained(difference))
        .map(Difference::to_string)
        .collect();
    if rest.is_empty() { Ok(()) } else { Err(format!("Engine | docker-rbx\n  {}", rest.join("\n  "))) }
}
