//! Where rules about platforms look: instructions of stages that are built, with what they see.

use std::ops::Range;

use rbx_dockerfile::{
    Base, Body, CommandLine, Dockerfile, Instruction, Keyword, Op, Run, Span, Stage, StageOutline, Step,
};
use rbx_platform::Platform;

use crate::arch;
use crate::finding::Edit;
use crate::place;
use crate::shell;
use crate::view::View;

/// Stages on one another that are looked at, at most.
const MAX_CHAIN: usize = 100;

/// An instruction of a stage that is built for the platform.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) stage: &'a Stage,
    pub(super) instruction: &'a Instruction,
    pub(super) step: &'a Step,
}

/// Whether the image needs a stage on other platforms only: what it has in it is for those, even if a target of its own
/// gives it out.
pub(super) fn is_for_others(view: &View<'_>, stage: &Stage) -> bool {
    let is_needed = |outline: &Vec<StageOutline>| outline.get(stage.index).is_some_and(|it| it.reachable);
    !stage.reachable && view.outlines.iter().any(is_needed)
}

/// The stages that are built for the platform, without those that are for others.
pub(super) fn stages<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Stage, &'a [Instruction])> {
    view.stages().filter(|(stage, _)| !is_for_others(view, stage))
}

/// The instructions that do something, triggers of bases excluded.
pub(super) fn sites<'a>(view: &View<'a>) -> impl Iterator<Item = Site<'a>> {
    let file = view.file;
    stages(view).flat_map(move |(stage, _)| {
        let steps = stage.steps.iter().filter(|step| !step.on_build);
        steps.filter_map(move |step| {
            Some(Site { stage, instruction: file.instruction_at(step.span.start)?, step })
        })
    })
}

impl<'a> Site<'a> {
    /// What runs, where it is a `RUN`.
    pub(super) fn run(&self) -> Option<&'a Run> {
        match &self.step.op {
            Op::Run(run) => Some(run),
            _ => None,
        }
    }

    /// Whether a shell expands variables in its text.
    pub(super) fn is_shell(&self) -> bool {
        matches!(&self.instruction.body, Body::Run(CommandLine::Shell(_)))
    }

    /// The pieces of its text.
    pub(super) fn pieces(&self, file: &'a Dockerfile) -> Vec<Piece<'a>> {
        pieces(file, self.instruction)
    }

    /// The value of a variable that a `RUN` sees, or that is expanded elsewhere.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.step.run_env.get(name)
    }

    /// The instruction of a script.
    pub(super) fn of_run(run: &shell::Run<'a>) -> Option<Self> {
        Some(Self { stage: run.stage, instruction: run.instruction, step: run.step? })
    }

    /// Puts before it the declarations of platform arguments that it does not see.
    pub(super) fn declare(&self, view: &View<'_>, names: &[&str]) -> Option<Edit> {
        let missing: Vec<&str> = names.iter().copied().filter(|name| self.value(name).is_none()).collect();
        let arg = place::in_case_of(view.file, self.instruction, "ARG");
        let line = format!("{arg} {}", missing.join(" "));
        (!missing.is_empty()).then(|| place::line_before(view.file, self.instruction, &line))
    }
}

/// A part of an instruction: its line, or the content of a heredoc.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    instruction: &'a Instruction,
    /// Where the content of a heredoc begins.
    content: Option<u32>,
}

/// The parts of an instruction.
pub(super) fn pieces<'a>(file: &'a Dockerfile, instruction: &'a Instruction) -> Vec<Piece<'a>> {
    let code = Piece { text: &instruction.code, instruction, content: None };
    let contents = instruction.heredocs.iter().map(|heredoc| Piece {
        text: heredoc.content.slice(&file.text),
        instruction,
        content: Some(heredoc.content.start),
    });
    std::iter::once(code).chain(contents).collect()
}

impl Piece<'_> {
    /// Where a part of it stands in the Dockerfile.
    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        let source = |offset: usize| match self.content {
            Some(start) => start.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX)),
            None => self.instruction.source_of(offset),
        };
        let start = source(range.start);
        let end = source(range.end.saturating_sub(1)).saturating_add(1);
        Span { start, end: end.max(start) }
    }

    /// Whether what stands there is a comment of a script.
    pub(super) fn is_comment(&self, at: usize) -> bool {
        let before = self.text.get(..at).filter(|_| self.content.is_some()).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.trim_start().starts_with('#')
    }

    /// Whether what stands there is in single quotes, where a shell expands nothing.
    pub(super) fn is_quoted(&self, at: usize) -> bool {
        let (mut single, mut double) = (false, false);
        let mut chars = self.text.get(..at).unwrap_or_default().chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if !single => drop(chars.next()),
                '\'' if !double => single = !single,
                '"' if !single => double = !double,
                _ => {}
            }
        }
        single
    }
}

/// Whether a text asks on which architecture it is.
fn asks(text: &str) -> bool {
    const QUESTIONS: [&str; 14] = [
        "TARGETARCH",
        "TARGETPLATFORM",
        "TARGETVARIANT",
        "BUILDARCH",
        "uname",
        "print-arch",
        "dpkg-architecture",
        "$(arch)",
        "`arch`",
        "DEB_HOST",
        "DEB_TARGET",
        "HOSTTYPE",
        "MACHTYPE",
        "LONG_BIT",
    ];
    if QUESTIONS.iter().any(|question| text.contains(question)) {
        return true;
    }
    let tests = ["case ", "[ ", "[[", "test "].iter().any(|word| text.contains(word));
    tests && variables(text).any(is_about_platforms)
}

/// Whether a name is one of a variable that holds an architecture.
pub(super) fn is_about_platforms(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["arch", "platform", "machine", "cpu"].iter().any(|part| name.contains(part))
}

/// The names of the variables in a text.
pub(super) fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('$').filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        Some(&rest[..end]).filter(|name| !name.is_empty())
    })
}

/// Whether an instruction asks on which architecture it is.
pub(super) fn asks_itself(file: &Dockerfile, instruction: &Instruction) -> bool {
    pieces(file, instruction).iter().any(|piece| asks(piece.text))
}

/// Whether an instruction names an architecture that a platform runs.
pub(super) fn names_its_own(view: &View<'_>, site: &Site<'_>) -> bool {
    let platform = &site.stage.platform;
    let own = |piece: &Piece<'_>| arch::find(piece.text).iter().any(|hit| hit.arch.runs_on(platform));
    site.pieces(view.file).iter().any(own)
}

/// Whether a stage is for that architecture on purpose, to tell by its name or that of a stage it is built on.
pub(super) fn is_for(view: &View<'_>, stage: &Stage, wanted: arch::Arch) -> bool {
    let named = |stage: &Stage| stage.name.as_deref().is_some_and(|name| wanted.is_in(name));
    chain(view, stage).any(named)
}

/// A stage and those that it is built on, the uppermost first; so many that no file with a sense has more.
pub(super) fn chain<'v>(view: &'v View<'_>, stage: &'v Stage) -> impl Iterator<Item = &'v Stage> {
    view.lineage(stage).take(MAX_CHAIN)
}

/// The instructions of a stage.
pub(super) fn instructions_of<'a>(view: &View<'a>, stage: &Stage) -> &'a [Instruction] {
    let all = &view.file.instructions;
    let start = all.partition_point(|it| it.span.start < stage.span.start);
    let rest = all.get(start..).unwrap_or_default();
    let more = rest.iter().skip(1).position(|it| it.keyword == Keyword::From);
    rest.get(..more.map_or(rest.len(), |more| more + 1)).unwrap_or_default()
}

/// The scripts of `RUN` in stages that are built for the platform.
pub(super) fn runs<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = &'v shell::Run<'a>> {
    stages(view).flat_map(|(stage, _)| view.runs_of(stage)).filter(|run| run.step.is_some())
}

/// Whether a machine that builds for a platform runs another one's programs as its own.
pub(super) fn is_native(view: &View<'_>, platform: &Platform) -> bool {
    view.request.build_platform.accepted().iter().any(|accepted| accepted.matches(platform))
}

/// Whether anything in a stage, or in those below it, has one of these texts.
pub(super) fn any_of(view: &View<'_>, stage: &Stage, texts: &[&str]) -> bool {
    chain(view, stage).flat_map(|stage| instructions_of(view, stage)).any(|instruction| {
        let text = instruction.span.slice(&view.file.text);
        texts.iter().any(|part| text.contains(part))
    })
}

/// For each stage, whether something of it comes into a stage of the platform that is asked for.
pub(super) fn taken(view: &View<'_>) -> Vec<bool> {
    let mut taken = vec![false; view.evaluation.stages.len()];
    let mut used = vec![false; view.evaluation.stages.len()];
    let stages: Vec<&Stage> = view.stages().map(|(stage, _)| stage).collect();
    // What a stage needs stands before it.
    for user in stages.into_iter().rev() {
        let is_scratch = matches!(view.root(user).base, Base::Scratch);
        for &index in &user.needs {
            // What a stage takes to keep it is given to those that take from it.
            // Nobody may want an image of files alone that the target does not need.
            let passes_on =
                user.base == Base::Stage(index) || is_scratch && (used[user.index] || !user.reachable);
            let found = if passes_on { taken[user.index] } else { user.platform.matches(view.platform) };
            taken[index] |= found;
            used[index] = true;
        }
    }
    taken
}
