//! What a rule looks at: a Dockerfile evaluated for one platform.

use std::collections::BTreeSet;

use rbx_dockerfile::{
    Base, Body, Dockerfile, Evaluation, Instruction, Keyword, Span, Stage, platform_arguments,
};
use rbx_platform::Platform;

use crate::finding::{Fix, Related};
use crate::lint::Request;
use crate::silence::Silence;

/// A Dockerfile evaluated for one platform.
pub(crate) struct View<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) request: &'a Request,
    pub(crate) platform: &'a Platform,
    pub(crate) evaluation: &'a Evaluation,
    /// Which stages are built for this platform, by index.
    in_play: &'a [bool],
    /// The evaluations for all platforms that were asked for, this one included.
    pub(crate) asked: &'a [Evaluation],
    /// The evaluations for platforms that were not asked for, where a `FROM` can depend on them.
    pub(crate) others: &'a [Evaluation],
    pub(crate) silence: &'a Silence,
    automatic: [(&'static str, String); 10],
}

/// What a rule finds on one platform.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) related: Vec<Related>,
    pub(crate) fixes: Vec<Fix>,
}

impl Found {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), related: Vec::new(), fixes: Vec::new() }
    }
}

impl<'a> View<'a> {
    #[expect(clippy::too_many_arguments, reason = "it is what there is to know, and is put together once")]
    pub(crate) fn new(
        file: &'a Dockerfile,
        request: &'a Request,
        platform: &'a Platform,
        evaluation: &'a Evaluation,
        in_play: &'a [bool],
        asked: &'a [Evaluation],
        others: &'a [Evaluation],
        silence: &'a Silence,
    ) -> Self {
        let automatic = platform_arguments(platform, &request.build_platform);
        Self { file, request, platform, evaluation, in_play, asked, others, silence, automatic }
    }

    /// The value a platform argument has by itself; `None` for other names.
    pub(crate) fn automatic(&self, name: &str) -> Option<&str> {
        self.automatic.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The names of the platform arguments.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.automatic.iter().map(|(name, _)| *name)
    }

    /// The stages that are built for this platform, with their instructions, the `FROM` first.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&'a Stage, &'a [Instruction])> {
        let stages = self.evaluation.stages.iter().zip(self.file.stages());
        stages.filter(|(stage, _)| self.in_play.get(stage.index).copied().unwrap_or(false))
    }

    /// The `FROM` of a stage.
    pub(crate) fn from(&self, stage: &Stage) -> Option<&'a Instruction> {
        self.file.instruction_at(stage.span.start).filter(|found| found.keyword == Keyword::From)
    }

    /// The stage that has what this one begins with: itself, or the first below it that stands on no stage.
    pub(crate) fn root(&self, stage: &'a Stage) -> &'a Stage {
        let mut at = stage;
        while let Base::Stage(base) = at.base
            && let Some(below) = self.evaluation.stages.get(base)
        {
            at = below;
        }
        at
    }
}

/// The platforms that BuildKit and the official images know. What a `FROM` with a variable means for them tells which
/// stages are there for one platform only.
const KNOWN: [&str; 13] = [
    "linux/386",
    "linux/amd64",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/loong64",
    "linux/mips64le",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
    "windows/arm64",
];

/// The platforms to evaluate for beside those asked for: none, unless a `FROM` can mean another stage there.
pub(crate) fn other_platforms(file: &Dockerfile, asked: &[Platform]) -> Vec<Platform> {
    let varies = |instruction: &Instruction| match &instruction.body {
        Body::From(body) => body.image.text.contains('$'),
        _ => false,
    };
    if !file.instructions.iter().any(varies) {
        return Vec::new();
    }
    let known = KNOWN.iter().filter_map(|name| Platform::parse(name).ok());
    known.filter(|platform| !asked.contains(platform)).collect()
}

/// For each platform asked for, which stages are built. Without a target that is what is needed by any stage that no
/// platform's build takes as a part of another stage: the last one, and others that are targets themselves. A stage
/// that is there for another platform is therefore not built for this one.
pub(crate) fn in_play(asked: &[Evaluation], others: &[Evaluation], targeted: bool) -> Vec<Vec<bool>> {
    let mut parts = BTreeSet::new();
    for evaluation in asked.iter().chain(others) {
        parts.extend(evaluation.stages.iter().flat_map(|stage| stage.needs.iter().copied()));
    }
    let reach = |evaluation: &Evaluation| {
        let mut built: Vec<bool> = evaluation.stages.iter().map(|stage| stage.reachable).collect();
        if !targeted {
            let count = evaluation.stages.len();
            let mut queue: Vec<usize> = (0..count).filter(|index| !parts.contains(index)).collect();
            while let Some(index) = queue.pop() {
                if let (Some(stage), Some(mark)) = (evaluation.stages.get(index), built.get_mut(index))
                    && !std::mem::replace(mark, true)
                {
                    queue.extend(&stage.needs);
                }
            }
        }
        built
    };
    asked.iter().map(reach).collect()
}
