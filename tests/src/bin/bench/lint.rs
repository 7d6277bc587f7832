//! Checking Dockerfiles. BuildKit evaluates one platform, docker-rbx two.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::measure::{Bench, Sample, Side};

/// Lines of a stage.
const STAGE: usize = 50;

/// The directory of a Dockerfile of so many lines in which nothing is wrong.
pub(crate) fn context(bench: &Bench, lines: usize) -> Vec<PathBuf> {
    vec![bench.context(&format!("check-{lines}"), &[("Dockerfile", &dockerfile(lines))])]
}

/// Checks it once.
pub(crate) fn check(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    let context = contexts[0].display().to_string();
    match side {
        Side::BuildKit => bench.run(side, &["build", "--check", &context]),
        Side::Rbx => bench.run(side, &["check", "--platform=linux/amd64,linux/arm64", &context]),
    }
}

fn dockerfile(lines: usize) -> String {
    let mut text = String::new();
    for stage in 0..lines / STAGE {
        let _ = writeln!(
            text,
            "FROM registry.test/busybox AS stage-{stage}\nARG TARGETARCH\n\
             ENV MODE=release \\\n    LEVEL={stage}\nWORKDIR /app"
        );
        for part in 0..(STAGE - 5) / 9 {
            let _ = writeln!(
                text,
                "# Part {part} of what this stage makes.\n\
                 COPY --chown=1000:1000 part-{part}/ ./part-{part}/\n\
                 RUN apt-get update \\\n    && apt-get install -y --no-install-recommends curl=7.88.1-{part} \\\n    \
                 && rm -rf /var/lib/apt/lists/*\n\
                 RUN --mount=type=cache,id=part-$TARGETARCH,target=/root/.cache \\\n    \
                 make -C part-{part} ARCH=\"$TARGETARCH\" MODE=\"$MODE\" install\n\
                 ENV PART_{part}=/app/part-{part}\n"
            );
        }
    }
    text
}
