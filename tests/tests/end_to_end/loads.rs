//! What is sent to an Engine that has some of an image.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_tests::builders::{Builder, Program, Row};
use rbx_tests::{Engine, Pipe, Store};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let rows = [Row::Embedded, Row::RemoteUnix];
    let stores = [(Store::Containerd, "containerd"), (Store::Graph, "graph")];
    let trial = |row: Row, (store, name): (Store, &str)| {
        let name = format!("loads::{}::{name}_gets_what_it_lacks", row.name());
        Trial::test(name, move || gets_what_it_lacks(row, store).map_err(Failed::from))
    };
    rows.into_iter().flat_map(|row| stores.into_iter().map(move |store| trial(row, store))).collect()
}

/// Bytes of the file that makes a layer worth leaving out.
const LARGE: usize = 8 << 20;
/// Bytes that a load may take that sends no large layer.
const LITTLE: u64 = 512 << 10;

fn gets_what_it_lacks(row: Row, store: Store) -> Result<(), String> {
    let builder = Builder::shared(row);
    let _kept = builder.kept();
    let (engine, context) = (Engine::start(store), tempfile::tempdir().map_err(|error| error.to_string())?);
    let pipe = Pipe::start(&engine.socket());
    // It cannot be compressed.
    let mut state = 1_u64 + store as u64;
    let random = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    let large: Vec<u8> = random.take(LARGE).collect();
    fs::write(context.path().join("large"), large).map_err(|error| error.to_string())?;

    let load = |name: &str, instructions: &str| {
        let dockerfile = format!("FROM scratch\nCOPY large /\n{instructions}");
        fs::write(context.path().join("Dockerfile"), dockerfile).map_err(|error| error.to_string())?;
        let before = pipe.passed();
        let mut program = builder.command(Program::Rbx);
        program.env("DOCKER_HOST", pipe.host()).args(["build", "--load", "-t", name]).arg(context.path());
        run(&mut program)?;
        whole(&engine, name, context.path())?;
        Ok::<_, String>(pipe.passed() - before)
    };
    let first = load("it:1", "")?;
    if first < LARGE as u64 {
        return Err(format!("the first load took {first} bytes"));
    }
    let layer = "COPY Dockerfile /\n";
    for (name, instructions) in [("it:1", "LABEL a=1\n"), ("it:2", "LABEL a=2\n"), ("other", layer)] {
        let sent = load(name, instructions)?;
        if sent > LITTLE {
            return Err(format!("{name} took {sent} bytes"));
        }
    }
    // Everything is dropped, in the containerd of an Engine some time later: what it then gets is whole all the same.
    run(engine.docker().args(["rmi", "--force", "it:1", "it:2", "other"]))?;
    run(engine.docker().args(["image", "prune", "--all", "--force"]))?;
    let again = load("it:3", "LABEL a=3\n")?;
    if store == Store::Graph && again < LARGE as u64 {
        return Err(format!("after all was dropped, a load took {again} bytes"));
    }
    Ok(())
}

/// Whether an Engine has all of an image.
fn whole(engine: &Engine, name: &str, directory: &Path) -> Result<(), String> {
    let archive = directory.with_extension("saved");
    run(engine.docker().args(["save", "--output"]).arg(&archive).arg(name))?;
    let size = fs::metadata(&archive).map_err(|error| error.to_string())?.len();
    fs::remove_file(&archive).map_err(|error| error.to_string())?;
    if size > LARGE as u64 { Ok(()) } else { Err(format!("{name} has {size} bytes alone")) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
