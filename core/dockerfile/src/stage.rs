//! Stages and steps: what an evaluation answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rbx_platform::Platform;

use crate::diagnostic::Diagnostic;
use crate::go;
use crate::note::{FromNotes, Note};
use crate::op::{Copy, Healthcheck, Op, Run, Source};
use crate::span::Span;
use crate::variables::Variables;

/// What a Dockerfile is evaluated for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The platform the image is for.
    pub target_platform: &'a Platform,
    /// The platform the build runs on.
    pub build_platform: &'a Platform,
    /// `--build-arg`
    pub build_args: &'a BTreeMap<String, String>,
    /// `--target`: a stage's name in any case. `None` is the last stage.
    pub target: Option<&'a str>,
    /// Names of `--build-context`: they stand before stages and images of that name. A name may end in `::` and a
    /// platform.
    pub named_contexts: &'a BTreeSet<String>,
    /// What is known of base images and contexts, by the stage's platform and the name that [`Base::Image`] or
    /// [`Base::Context`] has.
    pub bases: &'a BTreeMap<(String, Platform), BaseFacts>,
}

/// What is known of a base image: the part of its configuration that steps see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseFacts {
    /// `Env`
    pub env: Vec<(String, String)>,
    /// `WorkingDir`
    pub working_dir: Option<String>,
    /// `User`
    pub user: Option<String>,
    /// `Shell`
    pub shell: Option<Vec<String>>,
    /// `OnBuild`: instructions that run first in the stage.
    pub on_build: Vec<String>,
}

/// A Dockerfile evaluated for a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// The arguments that `FROM` sees, automatic ones included, with their values.
    pub globals: BTreeMap<String, String>,
    /// Index of the target; `None` where there is none of that name.
    pub target: Option<usize>,
    /// What is wrong, beside [`Dockerfile::diagnostics`](crate::Dockerfile::diagnostics), in the order BuildKit comes
    /// upon it: it stops at the first error. What is wrong in the steps of a stage the target does not need is a
    /// warning.
    pub diagnostics: Vec<Diagnostic>,
}

impl Evaluation {
    /// A stage and those below it, down to the one that stands on no stage.
    pub fn lineage<'a>(&'a self, stage: &'a Stage) -> impl Iterator<Item = &'a Stage> {
        std::iter::successors(Some(stage), |stage| match stage.base {
            // A base always comes before.
            Base::Stage(base) if base < stage.index => self.stages.get(base),
            _ => None,
        })
    }
}

/// What a stage depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageOutline {
    /// What it begins with.
    pub base: Base,
    /// The stages it needs itself: as base, for `COPY --from` and for mounts.
    pub needs: BTreeSet<usize>,
    /// The target needs it.
    pub reachable: bool,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its number from 0.
    pub index: usize,
    /// Its name in lower case.
    pub name: Option<String>,
    /// What BuildKit calls it in progress output: the name, or `stage-N`; empty where it is the only one.
    pub display_name: String,
    /// Its `FROM`.
    pub span: Span,
    /// What its `FROM` came to.
    pub from: FromNotes,
    /// The platform its steps run on.
    pub platform: Platform,
    /// What it begins with.
    pub base: Base,
    /// Everything about the base is known: environment, user and the like are exact.
    pub base_known: bool,
    /// The target needs it.
    pub reachable: bool,
    /// The stages it needs itself: as base, for `COPY --from` and for mounts.
    pub needs: BTreeSet<usize>,
    /// What it does.
    pub steps: Vec<Step>,
    /// How many of its commands are triggers of its base.
    pub triggers: usize,
    /// What its commands came to, in order, those that failed included.
    pub notes: Vec<Note>,
    /// How many vertices BuildKit counts for it, the base included.
    pub vertex_count: usize,
    /// The image's environment at the end.
    pub env: Variables,
    /// The working directory at the end; empty where none was ever set.
    pub working_dir: Arc<str>,
    /// The user at the end.
    pub user: Option<Arc<str>>,
    /// The shell at the end, where one was ever set.
    pub shell: Option<Arc<[String]>>,
    /// The triggers it leaves in its image.
    pub on_build: Vec<String>,
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image, by the name in `FROM` after expansion.
    Image(String),
    /// An earlier stage.
    Stage(usize),
    /// A named context, by its name in [`Scope::named_contexts`].
    Context(String),
    /// The name could not be made out.
    Unresolved,
}

/// A step of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its instruction; the stage's `FROM` for a trigger.
    pub span: Span,
    /// What it does.
    pub op: Op,
    /// Its number in the stage from 0, triggers of the base first. Commands that failed have one, too.
    pub command: usize,
    /// It is a trigger of the base.
    pub on_build: bool,
    /// The instruction as BuildKit shows it in the vertex's name, without the `[stage 1/2]`.
    pub text: String,
    /// Its number among the vertices of the stage, from 1, where BuildKit makes one of it.
    pub vertex: Option<usize>,
    /// The image's environment before the step.
    pub env: Variables,
    /// The arguments in scope that have a value, in order of declaration.
    pub args: Variables,
    /// The environment a `RUN` sees here: `env` and `args` in BuildKit's order. Of an argument and a variable of one
    /// name the later counts. Proxy variables are apart, see [`proxy_variables`](crate::proxy_variables).
    pub run_env: Variables,
    /// The working directory before the step; `/` where none was set.
    pub working_dir: Arc<str>,
    /// The user before the step.
    pub user: Option<Arc<str>>,
    /// The shell for this step.
    pub shell: Arc<[String]>,
}

impl Step {
    /// The name of the step's vertex in progress output, such as `[build 2/5] RUN make`. `platform` is put before the
    /// stage's name where more than one is built, with the one that the step can see it builds for if that is another:
    /// `[linux/amd64->arm64 build 2/5] RUN make`.
    pub fn vertex_name(&self, stage: &Stage, platform: Option<&Platform>) -> String {
        let on_build = if self.on_build { "ONBUILD " } else { "" };
        let platform = platform.map(|own| format!("{}{}", own.format_all(), self.target(own)));
        match self.vertex {
            Some(number) => format!("{}{on_build}{}", stage.numbered(number, platform.as_deref()), self.text),
            None => self.text.clone(),
        }
    }

    /// What the arguments in scope say the step builds for, where that is another architecture or system.
    fn target(&self, own: &Platform) -> String {
        let get = |name| self.run_env.get(name).map(str::to_owned);
        let whole = get("TARGETPLATFORM").and_then(|text| Platform::parse(&text).ok());
        let target = whole.unwrap_or_else(|| Platform {
            os: get("TARGETOS").unwrap_or_else(|| own.os.clone()),
            architecture: get("TARGETARCH").unwrap_or_else(|| own.architecture.clone()),
            variant: get("TARGETVARIANT").filter(|variant| !variant.is_empty()),
            os_version: None,
        });
        let target = target.normalized();
        if target.os != own.os {
            return format!("->{}", target.format_all());
        }
        if target.architecture == own.architecture {
            return String::new();
        }
        let variant = target.variant.map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("->{}{variant}", target.architecture)
    }

    /// What the image's history says of the step, and whether that entry is without a layer. `None` for `ONBUILD`,
    /// which leaves no entry.
    pub fn history(&self) -> Option<(String, bool)> {
        let pairs = |keyword: &str, pairs: &[(String, String)]| {
            pairs.iter().fold(keyword.to_owned(), |line, (name, value)| line + " " + name + "=" + value)
        };
        let command = |keyword: &str, argv: &[String]| {
            let argv: Vec<_> = argv.iter().map(|argument| go::quoted(argument)).collect();
            format!("{keyword} [{}]", argv.join(" "))
        };
        Some(match &self.op {
            Op::Run(run) => (self.run_history(run), false),
            Op::Copy(copy) => (copy_history(copy), false),
            Op::Workdir(directory) => (format!("WORKDIR {directory}"), directory == "/"),
            Op::User(user) => (format!("USER {user}"), true),
            Op::Env(list) => (pairs("ENV", list), true),
            Op::Label(list) => (pairs("LABEL", list), true),
            Op::Arg(list) => {
                let line = list.iter().fold("ARG".to_owned(), |line, (name, value)| match value {
                    Some(value) => line + " " + name + "=" + value,
                    None => line + " " + name,
                });
                (line, true)
            }
            Op::Cmd(line) => (command("CMD", &line.argv(&self.shell)), true),
            Op::Entrypoint(line) => (command("ENTRYPOINT", &line.argv(&self.shell)), true),
            Op::Expose(ports) => (format!("EXPOSE [{}]", ports.join(" ")), true),
            Op::Volume(volumes) => (format!("VOLUME [{}]", volumes.join(" ")), true),
            Op::StopSignal(signal) => (format!("STOPSIGNAL {signal}"), true),
            Op::Healthcheck(check) => (health_history(check), true),
            Op::Shell(shell) => (format!("SHELL [{}]", shell.join(" ")), true),
            Op::Maintainer(maintainer) => (format!("MAINTAINER {maintainer}"), true),
            Op::OnBuild(_) => return None,
        })
    }

    fn run_history(&self, run: &Run) -> String {
        let run_env: HashMap<&str, &str> =
            self.run_env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let declared = self.args.declared();
        let mut line = "RUN".to_owned();
        if !declared.is_empty() {
            line = format!("{line} |{}", declared.len());
            for (name, value) in declared {
                let value = run_env.get(name).copied().or(value).unwrap_or_default();
                line.extend([" ", name, "=", value]);
            }
        }
        for argument in run.command.argv(&self.shell) {
            line.push(' ');
            line.push_str(&argument);
        }
        line + " # buildkit"
    }
}

impl Stage {
    /// The prefix of a vertex's name, such as `[build 2/5] `; the base's number is 1.
    pub fn prefix(&self, number: usize, platform: Option<&Platform>) -> String {
        self.numbered(number, platform.map(Platform::format_all).as_deref())
    }

    fn numbered(&self, number: usize, platform: Option<&str>) -> String {
        if self.vertex_count == 0 {
            return String::new();
        }
        let platform = platform.map(|platform| format!("{platform} ")).unwrap_or_default();
        let name =
            if self.display_name.is_empty() { String::new() } else { format!("{} ", self.display_name) };
        let width = self.vertex_count.to_string().len();
        format!("[{platform}{name}{number:>width$}/{}] ", self.vertex_count)
    }
}

fn copy_history(copy: &Copy) -> String {
    let mut line = if copy.add { "ADD" } else { "COPY" }.to_owned();
    if copy.parents {
        line += " --parents";
    }
    for (flag, value) in [("chown", &copy.chown), ("chmod", &copy.chmod)] {
        if let Some(value) = value {
            line.extend([" --", flag, "=", value.as_str()]);
        }
    }
    for source in &copy.sources {
        match source {
            Source::Path(path) => line.extend([" ", path.as_str()]),
            Source::Heredoc(file) => line.extend([" <<", file.name.as_str()]),
        }
    }
    line + " " + &copy.destination + " # buildkit"
}

fn health_history(check: &Healthcheck) -> String {
    let duration = go_duration;
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test().join(" "),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries,
    )
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `250ms`.
fn go_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let fraction = |value: u128, unit: u128| {
        let digits = unit.to_string().len() - 1;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanoseconds, 1_000_000)),
        _ => {
            let minutes = nanoseconds / 60_000_000_000;
            let mut text = String::new();
            if minutes >= 60 {
                text = format!("{}h", minutes / 60);
            }
            if minutes > 0 {
                text = format!("{text}{}m", minutes % 60);
            }
            text + &fraction(nanoseconds % 60_000_000_000, 1_000_000_000) + "s"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_durations_as_go_does() {
        for (milliseconds, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_500, "1.5s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
            (5_400_500, "1h30m0.5s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
