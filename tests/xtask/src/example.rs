//! The example: a build from nothing, with no Engine and no Docker Hub.

use std::process::Command;

use crate::House;
use crate::run::{self, Outcome};

/// Builds `examples/hello` with docker-rbx and prints where the image is.
pub(crate) fn run(house: &House) -> Outcome {
    run::programs(house)?;
    let layout = run::layout(house, "busybox")?;
    let image = house.target.join("hello.oci.tar");
    run::visibly(
        Command::new(house.target.join("debug/docker-rbx"))
            .current_dir(&house.root)
            .args(["build", "--builder", "embedded", "--progress", "plain"])
            .arg("--build-context")
            .arg(format!("base=oci-layout://{layout}"))
            .arg("--output")
            .arg(format!("type=oci,dest={}", image.display()))
            .arg("examples/hello"),
    )?;
    println!("built examples/hello with the embedded engine: {}", image.display());
    Ok(())
}
