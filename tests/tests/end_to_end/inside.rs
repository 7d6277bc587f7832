//! What a step sees and may do, beside a step of a real Engine: one program and one script run in both, and what they
//! print must be the same, line by line, but for what `tests/sandbox/explained` gives a reason for.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_tests::inside::{self, compare, lines, run, unexplained};
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

fn a_step_is_as_in_an_engine(more: &[&str]) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (registry, engine) = (Registry::with_images(), Engine::start(Store::Containerd));
    let context = directory.path().join("context");
    fs::create_dir(&context).map_err(|error| error.to_string())?;
    inside::compile(&context.join("inside"))?;
    fs::copy(inside::directory().join("world.sh"), context.join("world.sh"))
        .map_err(|error| error.to_string())?;
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
    let explained =
        fs::read_to_string(inside::directory().join("explained")).map_err(|error| error.to_string())?;
    unexplained(&differences, &explained).map_err(|rest| format!("Engine | docker-rbx\n  {rest}"))
}
