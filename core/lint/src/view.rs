//! What a rule looks at: a Dockerfile evaluated for one platform.

use std::collections::BTreeSet;

use rbx_dockerfile::{
    Base, Body, Dockerfile, Evaluation, Instruction, Keyword, Span, Stage, StageOutline, Word, expand,
    platform_arguments,
};
use rbx_platform::Platform;

use crate::facts::Facts;
use crate::finding::{Fix, Related, Severity};
use crate::lint::Request;
use crate::shell::{Run, Scripts, runs};
use crate::silence::{Comments, Silence};

/// A Dockerfile evaluated for one platform.
pub(crate) struct View<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) request: &'a Request,
    pub(crate) facts: &'a Facts,
    pub(crate) platform: &'a Platform,
    pub(crate) evaluation: &'a Evaluation,
    /// Those for every platform that was asked for, this one included.
    pub(crate) evaluations: &'a [Evaluation],
    /// Which stages are built for this platform, by index.
    in_play: &'a [bool],
    /// What the stages are on every platform that was asked for, and on others if a `FROM` can depend on them.
    pub(crate) outlines: &'a [Vec<StageOutline>],
    users: &'a [Users],
    pub(crate) silence: &'a Silence,
    automatic: [(&'static str, String); 10],
    /// For each stage, the one that has what it begins with.
    roots: Vec<usize>,
    /// What `RUN` and its like do in all stages, in order of the text: the scripts of shells of the POSIX kind, and
    /// what is run without a shell.
    pub(crate) runs: Vec<Run<'a>>,
    in_image: Vec<bool>,
}

/// Which stages need a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    None,
    One(usize),
    Many,
}

/// For each stage, which others need it on any platform.
pub(crate) fn users(outlines: &[Vec<StageOutline>]) -> Vec<Users> {
    let mut users = vec![Users::None; outlines.iter().map(Vec::len).max().unwrap_or(0)];
    for outline in outlines {
        for (user, stage) in outline.iter().enumerate() {
            for &needed in &stage.needs {
                if let Some(known) = users.get_mut(needed) {
                    *known = match *known {
                        Users::None => Users::One(user),
                        Users::One(other) if other == user => Users::One(user),
                        _ => Users::Many,
                    };
                }
            }
        }
    }
    users
}

/// What a rule finds on one platform.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) span: Span,
    pub(crate) message: String,
    /// How bad, where that is not as the rule says.
    pub(crate) severity: Option<Severity>,
    pub(crate) related: Vec<Related>,
    pub(crate) fixes: Vec<Fix>,
    /// Which of BuildKit's comments count.
    pub(crate) comments: Comments,
}

impl Found {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            severity: None,
            related: Vec::new(),
            fixes: Vec::new(),
            comments: Comments::Here,
        }
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(
        (file, request, facts): (&'a Dockerfile, &'a Request, &'a Facts),
        (platform, evaluation): (&'a Platform, &'a Evaluation),
        evaluations: &'a [Evaluation],
        in_play: &'a [bool],
        (outlines, users): (&'a [Vec<StageOutline>], &'a [Users]),
        silence: &'a Silence,
        scripts: &'a Scripts<'a>,
    ) -> Self {
        let automatic = platform_arguments(platform, &request.build_platform);
        let mut roots: Vec<usize> = Vec::with_capacity(evaluation.stages.len());
        for stage in &evaluation.stages {
            // A base always comes before.
            roots.push(match stage.base {
                Base::Stage(base) => roots.get(base).copied().unwrap_or(stage.index),
                _ => stage.index,
            });
        }
        let in_image = in_image(request, evaluation, users);
        let runs = runs(scripts, evaluation);
        Self {
            file,
            request,
            facts,
            platform,
            evaluation,
            evaluations,
            in_play,
            outlines,
            users,
            silence,
            automatic,
            roots,
            runs,
            in_image,
        }
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

    /// What `RUN` and its like do in one stage.
    pub(crate) fn runs_of(&self, stage: &Stage) -> &[Run<'a>] {
        let start = self.runs.partition_point(|run| run.stage.index < stage.index);
        let end = self.runs.partition_point(|run| run.stage.index <= stage.index);
        self.runs.get(start..end).unwrap_or_default()
    }

    /// Every stage with its instructions, built for this platform or not: for rules that do not depend on it.
    pub(crate) fn all_stages(&self) -> impl Iterator<Item = (&'a Stage, &'a [Instruction])> {
        self.evaluation.stages.iter().zip(self.file.stages())
    }

    /// A stage and those below it, down to the one that stands on no stage.
    pub(crate) fn lineage(&self, stage: &'a Stage) -> impl Iterator<Item = &'a Stage> {
        self.evaluation.lineage(stage)
    }

    /// The stage that the image is made of, unless another is asked for.
    pub(crate) fn target(&self) -> Option<&'a Stage> {
        self.evaluation.stages.get(self.evaluation.target?)
    }

    /// What a word says without its quotes; `None` where it has variables in it.
    pub(crate) fn literal(&self, word: &Word) -> Option<String> {
        let variable = std::cell::Cell::new(false);
        let text = expand(&word.text, self.file.escape, &|_| {
            variable.set(true);
            None
        });
        text.ok().filter(|_| !variable.get())
    }

    /// The `FROM` of a stage.
    pub(crate) fn from(&self, stage: &Stage) -> Option<&'a Instruction> {
        self.file.instruction_at(stage.span.start).filter(|found| found.keyword == Keyword::From)
    }

    /// Whether what a stage has comes into an image: it is built for itself, or such a stage stands on it. What is left
    /// in others makes no image larger.
    pub(crate) fn in_image(&self, stage: &Stage) -> bool {
        self.in_image.get(stage.index).copied().unwrap_or(true)
    }

    /// Whether a stage is needed by this other one and no third, on any platform.
    pub(crate) fn only_needed_by(&self, needed: &Stage, by: &Stage) -> bool {
        self.users.get(needed.index) == Some(&Users::One(by.index))
    }

    /// The stage that has what this one begins with: itself, or the first below it that stands on no stage.
    pub(crate) fn root(&self, stage: &'a Stage) -> &'a Stage {
        self.roots.get(stage.index).and_then(|&root| self.evaluation.stages.get(root)).unwrap_or(stage)
    }
}

/// For each stage, whether what it has comes into an image.
fn in_image(request: &Request, evaluation: &Evaluation, users: &[Users]) -> Vec<bool> {
    let stages = &evaluation.stages;
    let target = evaluation.target.or(stages.len().checked_sub(1));
    let is_result = |index: usize| {
        Some(index) == target || request.target.is_none() && users.get(index) == Some(&Users::None)
    };
    let mut marks: Vec<bool> = (0..stages.len()).map(is_result).collect();
    for stage in stages.iter().rev() {
        // A base always comes before.
        if let Base::Stage(base) = stage.base
            && marks.get(stage.index) == Some(&true)
            && let Some(mark) = marks.get_mut(base)
        {
            *mark = true;
        }
    }
    marks
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

/// For each of the first `asked` outlines, which stages are built. Without a target that is what is needed by any stage that no
/// platform's build takes as a part of another stage: the last one, and others that are targets themselves. A stage
/// that is there for another platform is therefore not built for this one.
pub(crate) fn in_play(outlines: &[Vec<StageOutline>], asked: usize, targeted: bool) -> Vec<Vec<bool>> {
    let stages = outlines.iter().flatten();
    let parts: BTreeSet<usize> = stages.flat_map(|stage| stage.needs.iter().copied()).collect();
    let reach = |outline: &Vec<StageOutline>| {
        let mut built: Vec<bool> = outline.iter().map(|stage| stage.reachable).collect();
        if !targeted {
            let mut queue: Vec<usize> = (0..built.len()).filter(|index| !parts.contains(index)).collect();
            while let Some(index) = queue.pop() {
                if let (Some(stage), Some(mark)) = (outline.get(index), built.get_mut(index))
                    && !std::mem::replace(mark, true)
                {
                    queue.extend(&stage.needs);
                }
            }
        }
        built
    };
    outlines.iter().take(asked).map(reach).collect()
}
