//! The configuration of the image that a stage makes, instruction by instruction, with its history.

use rbx_dockerfile::{Op, Stage, Step};
use rbx_oci::{Healthcheck, History, ImageConfig};
use rbx_platform::Platform;

use crate::plan::VertexId;

/// Who wrote a history entry, in the words that every builder of Dockerfiles uses.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// The configuration of an image before its layers are known.
#[derive(Debug, Clone)]
pub(crate) struct ImagePlan {
    /// Without history; the digests of layers are those of the base.
    pub(crate) config: ImageConfig,
    /// What the base image says of itself.
    pub(crate) base_history: Vec<History>,
    /// What this build adds: entries with a layer name the vertex that made it.
    pub(crate) steps: Vec<(History, Option<VertexId>)>,
    /// This stage has a `CMD`, which an `ENTRYPOINT` after it leaves alone.
    has_command: bool,
}

impl ImagePlan {
    pub(crate) fn scratch(platform: &Platform) -> Self {
        Self {
            config: ImageConfig::new(platform),
            base_history: Vec::new(),
            steps: Vec::new(),
            has_command: false,
        }
    }

    pub(crate) fn from_base(config: &ImageConfig) -> Self {
        let mut config = config.clone();
        let base_history = std::mem::take(&mut config.history);
        // As the index names it: what reads images compares the two, and `arm64` is `arm64/v8`.
        config.variant = config.platform().normalized().variant;
        // As BuildKit: keys that it does not know are not passed on.
        config.config.extra.clear();
        Self { config, base_history, steps: Vec::new(), has_command: false }
    }

    /// The same image as the base of another stage.
    pub(crate) fn begin_stage(&mut self) {
        self.has_command = false;
    }

    pub(crate) fn set_platform(&mut self, platform: &Platform) {
        let same = (&self.config.os, &self.config.architecture) == (&platform.os, &platform.architecture);
        self.config.os.clone_from(&platform.os);
        self.config.architecture.clone_from(&platform.architecture);
        if platform.variant.is_some() || !same {
            self.config.variant.clone_from(&platform.variant);
        }
        if platform.os_version.is_some() || !same {
            self.config.os_version.clone_from(&platform.os_version);
        }
    }

    /// Applies one step; `vertex` is what it made, if it changes files.
    pub(crate) fn apply(&mut self, step: &Step, vertex: Option<VertexId>) {
        let run = &mut self.config.config;
        match &step.op {
            Op::Label(labels) => run.labels.extend(labels.iter().cloned()),
            Op::Cmd(command) => {
                run.cmd = command.argv(&step.shell);
                run.args_escaped = true;
                self.has_command = true;
            }
            Op::Entrypoint(command) => {
                run.entrypoint = command.argv(&step.shell);
                if !self.has_command {
                    run.cmd.clear();
                }
            }
            Op::Expose(ports) => run.exposed_ports.extend(ports.iter().cloned()),
            Op::Volume(volumes) => run.volumes.extend(volumes.iter().cloned()),
            Op::StopSignal(signal) => run.stop_signal.clone_from(signal),
            Op::Healthcheck(check) => run.healthcheck = Some(healthcheck(check)),
            Op::Maintainer(author) => self.config.author = Some(author.clone()),
            // What the stage has at its end is taken from there.
            Op::Run(_)
            | Op::Copy(_)
            | Op::Workdir(_)
            | Op::User(_)
            | Op::Env(_)
            | Op::Arg(_)
            | Op::OnBuild(_)
            | Op::Shell(_) => {}
        }
        if let Some((created_by, empty_layer)) = step.history() {
            let entry =
                History { created_by, comment: COMMENT.to_owned(), empty_layer, ..History::default() };
            self.steps.push((entry, vertex));
        }
    }

    /// Takes what a stage has at its end.
    pub(crate) fn end_stage(&mut self, stage: &Stage) {
        let run = &mut self.config.config;
        run.env = stage.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        // Windows has its own way to write paths.
        let backslashes = stage.platform.os == "windows";
        let directory = &stage.working_dir;
        run.working_dir = if backslashes { directory.replace('/', "\\") } else { directory.to_string() };
        stage.user.as_deref().unwrap_or_default().clone_into(&mut run.user);
        run.shell = stage.shell.as_deref().unwrap_or_default().to_vec();
        run.on_build.clone_from(&stage.on_build);
    }
}

fn healthcheck(check: &rbx_dockerfile::Healthcheck) -> Healthcheck {
    let nanoseconds = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Healthcheck {
        test: check.test(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: i64::from(check.retries),
    }
}
