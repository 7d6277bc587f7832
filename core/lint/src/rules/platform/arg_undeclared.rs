//! `platform-arg-undeclared`

use std::collections::HashMap;
use std::ops::Range;

use rbx_dockerfile::{Body, Command, CommandLine, Instruction, Keyword, Op, Span, Stage, Step};

use super::selector;
use crate::finding::{Fix, Related, Severity, shown};
use crate::place;
use crate::rule::{Check, Family, Rule};
use crate::shell::{self, Otherwise};
use crate::view::{Found, View};

/// Other reads of the same variable that are pointed out, at most.
const MAX_RELATED: usize = 20;

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "platform-arg-undeclared",
    family: Family::Platform,
    severity: Severity::Warning,
    enabled: true,
    summary: "RUN reads TARGETARCH or its like in a stage that does not declare it",
    explanation: include_str!("../../../rules/platform/platform-arg-undeclared.md"),
    check: Check::EachPlatform(check),
    ..Rule::NONE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    let names: Vec<&'static str> = view.names().collect();
    if !names.iter().any(|name| view.file.text.contains(name)) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (stage, instructions) in view.stages() {
        all.extend(in_stage(view, stage, instructions, &names));
        all.extend(triggers(view, stage, instructions, &names));
    }
    all
}

/// A read that gives something else than it should.
struct Wrong<'a> {
    name: &'static str,
    script: Script<'a>,
    range: Range<usize>,
    /// The instruction of the file: of a trigger, the `ONBUILD`.
    instruction: &'a Instruction,
    /// What it gives.
    value: String,
}

/// What the steps of a stage read.
fn in_stage(
    view: &View<'_>,
    stage: &Stage,
    instructions: &[Instruction],
    names: &[&'static str],
) -> Vec<Found> {
    let mut wrong = Vec::new();
    let mut environment = Environment { steps: &stage.steps, known: HashMap::new() };
    for (number, step) in stage.steps.iter().enumerate().filter(|(_, step)| !step.on_build) {
        let Op::Run(run) = &step.op else { continue };
        let index = instructions.partition_point(|instruction| instruction.span.start < step.span.start);
        let Some(instruction) = instructions.get(index) else { continue };
        let script = match (&run.command, &run.script) {
            (_, Some(file)) => Script::file(instruction, &file.content),
            (Command::Shell(text), None) => Script::command(instruction, text, &step.shell),
            (Command::Exec(argv), None) => Script::argument(instruction, argv),
        };
        let Some(script) = script else { continue };
        let found = script.wrong(view, instruction, names, &mut |name| environment.has(name, number));
        // With these, the shell runs a file of the image's before the script, which may set anything.
        if !found.is_empty() && !["BASH_ENV", "ENV"].iter().any(|name| environment.has(name, number)) {
            wrong.extend(found);
        }
    }
    // Where the stage below is missing, nobody knows what it would declare.
    if wrong.is_empty() || selector::missing(view, view.root(stage)).is_some() {
        return Vec::new();
    }
    report(view, wrong, "RUN")
}

/// What the triggers of a stage read in the image that is built on it by another Dockerfile.
fn triggers(
    view: &View<'_>,
    stage: &Stage,
    instructions: &[Instruction],
    names: &[&'static str],
) -> Vec<Found> {
    if stage.on_build.is_empty() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let mut declared: Vec<&str> = Vec::new();
    // An argument of this stage is one of a stage of this file that is built on it, too.
    for step in &stage.steps {
        declared.extend(names.iter().filter(|name| step.args.get(name).is_some()));
    }
    let default = ["/bin/sh", "-c"].map(str::to_owned);
    let shell = stage.shell.as_deref().unwrap_or(&default);
    for instruction in instructions {
        let Body::Onbuild(trigger) = &instruction.body else {
            if let Body::Arg(list) = &instruction.body {
                declared.extend(list.iter().map(|arg| arg.name.text.as_str()));
            }
            continue;
        };
        match &trigger.body {
            Body::Arg(list) => declared.extend(list.iter().map(|arg| arg.name.text.as_str())),
            Body::Env(list) => declared.extend(list.iter().map(|pair| pair.name.text.as_str())),
            Body::Run(CommandLine::Shell(word)) if instruction.heredocs.is_empty() => {
                let Some(script) = Script::command(trigger, &word.text, shell) else { continue };
                let mut known = |name: &str| declared.contains(&name) || stage.env.get(name).is_some();
                wrong.extend(script.wrong(view, instruction, names, &mut known));
            }
            _ => {}
        }
    }
    report(view, wrong, "ONBUILD RUN")
}

/// One finding for each variable, at its first read.
fn report(view: &View<'_>, wrong: Vec<Wrong<'_>>, what: &str) -> Vec<Found> {
    let Some(rule) = crate::rule::rule("platform-arg-undeclared") else { return Vec::new() };
    let text = &view.file.text;
    let mut all: Vec<(&'static str, Found)> = Vec::new();
    let mut last: Option<(Span, bool)> = None;
    for wrong in wrong {
        // What silences a rule does so for an instruction.
        let own = wrong.instruction.span;
        let silent = match last {
            Some((span, silent)) if span == own => silent,
            _ => view.silence.covers(view.file, rule, own),
        };
        last = Some((own, silent));
        if silent {
            continue;
        }
        if let Some((_, first)) = all.iter_mut().find(|(name, _)| *name == wrong.name) {
            if first.related.len() < MAX_RELATED {
                let span = wrong.script.span(&wrong.range, text);
                first.related.push(Related { span, message: "read here, too".to_owned() });
            }
            continue;
        }
        let name = wrong.name;
        let span = wrong.script.span(&wrong.range, text);
        let written = wrong.script.text.get(wrong.range.clone()).unwrap_or(name);
        let written = if written.contains('\n') { name.to_owned() } else { shown(written) };
        let stage = if what == "RUN" { "this stage" } else { "a trigger before it" };
        let value = if wrong.value.is_empty() {
            "which is empty".to_owned()
        } else {
            format!("which is always {:?}", shown(&wrong.value))
        };
        let message = format!("{what} reads {written}, {value} without ARG {name} in {stage}");
        let mut found = Found::new(span, message);
        found.related.extend(global(view, name));
        let arg = if what == "RUN" { "ARG" } else { "ONBUILD ARG" };
        let arg = place::in_case_of(view.file, wrong.instruction, arg);
        let edit = place::line_before(view.file, wrong.instruction, &format!("{arg} {name}"));
        found.fixes.push(Fix { title: format!("Insert {arg} {name}"), safe: true, edits: vec![edit] });
        all.push((name, found));
    }
    all.into_iter().map(|(_, found)| found).collect()
}

/// The declaration before the first `FROM`, which many take for one that holds in stages.
fn global(view: &View<'_>, name: &str) -> Option<Related> {
    let mut before = view.file.instructions.iter().take_while(|it| it.keyword != Keyword::From);
    let span = before.find_map(|instruction| match &instruction.body {
        Body::Arg(list) => list.iter().find(|arg| arg.name.text == name).map(|arg| arg.name.span),
        _ => None,
    })?;
    Some(Related { span, message: "this ARG is for FROM only".to_owned() })
}

/// The environment of a stage's steps.
struct Environment<'a> {
    steps: &'a [Step],
    /// The first step that has a variable, by its name.
    known: HashMap<&'static str, usize>,
}

impl Environment<'_> {
    /// Whether a step has a variable. What is set stays so to the end of the stage, so that few steps have to be asked.
    fn has(&mut self, name: &'static str, step: usize) -> bool {
        let first = || self.steps.partition_point(|step| step.run_env.get(name).is_none());
        *self.known.entry(name).or_insert_with(first) <= step
    }
}

/// A script in a Dockerfile.
#[derive(Clone, Copy)]
struct Script<'a> {
    text: &'a str,
    instruction: &'a Instruction,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What follows `RUN`, and the contents of its heredocs after it.
    Line,
    /// The content of a lone heredoc.
    Content,
    /// A string of a JSON array.
    Argument(Span),
}

impl<'a> Script<'a> {
    /// A file that begins with `#!`.
    fn file(instruction: &'a Instruction, content: &'a str) -> Option<Self> {
        let line = content.strip_prefix("#!")?.lines().next()?;
        let mut words = line.split_whitespace();
        let mut program = words.next()?;
        if program.rsplit('/').next() == Some("env") {
            program = words.next()?;
        }
        let options: Vec<&str> = words.collect();
        (is_shell(program) && options.iter().all(|option| is_option(option))).then_some(Self {
            text: content,
            instruction,
            kind: Kind::Content,
        })
    }

    /// What is given to a shell.
    fn command(instruction: &'a Instruction, text: &'a str, shell: &[String]) -> Option<Self> {
        let Body::Run(CommandLine::Shell(word)) = &instruction.body else { return None };
        let kind = if text.starts_with(&word.text) { Kind::Line } else { Kind::Content };
        takes_script(shell).then_some(Self { text, instruction, kind })
    }

    /// What a command without a shell gives to one.
    fn argument(instruction: &'a Instruction, argv: &'a [String]) -> Option<Self> {
        let (script, shell) = argv.split_last()?;
        let Body::Run(CommandLine::Exec { words, .. }) = &instruction.body else { return None };
        let kind = Kind::Argument(words.last()?.span);
        takes_script(shell).then_some(Self { text: script, instruction, kind })
    }

    fn wrong(
        &self,
        view: &View<'_>,
        instruction: &'a Instruction,
        names: &[&'static str],
        is_set: &mut dyn FnMut(&'static str) -> bool,
    ) -> Vec<Wrong<'a>> {
        let strip_tabs = self.instruction.heredocs.first().is_some_and(|heredoc| heredoc.strip_tabs);
        let mut reads = shell::reads(self.text, names, strip_tabs && self.kind == Kind::Content);
        for name in names {
            if reads.iter().any(|read| read.name == *name) && is_set(name) {
                reads.retain(|read| read.name != *name);
            }
        }
        let wrong = reads.into_iter().filter_map(|read| {
            let value = match read.otherwise {
                Otherwise::Empty => String::new(),
                Otherwise::Literal(text) => text,
                Otherwise::Unknown => return None,
            };
            (value != view.automatic(read.name).unwrap_or_default()).then_some(Wrong {
                name: read.name,
                script: *self,
                range: read.range,
                instruction,
                value,
            })
        });
        wrong.collect()
    }

    /// Where a part of the script stands in the Dockerfile.
    fn span(&self, range: &Range<usize>, text: &str) -> Span {
        if let Kind::Argument(span) = self.kind {
            return span;
        }
        let start = self.source(range.start, text);
        let end = self.source(range.end.saturating_sub(1), text).saturating_add(1);
        Span { start, end: end.max(start) }
    }

    fn source(&self, offset: usize, text: &str) -> u32 {
        let instruction = self.instruction;
        let mut rest = offset;
        if self.kind == Kind::Line {
            let Body::Run(CommandLine::Shell(word)) = &instruction.body else {
                return instruction.span.start;
            };
            if offset < word.text.len() {
                return instruction.source_of(instruction.code.len() - word.text.len() + offset);
            }
            rest = offset - word.text.len();
        }
        for heredoc in &instruction.heredocs {
            let content = heredoc.content;
            if self.kind == Kind::Content {
                return in_lines(content, heredoc.strip_tabs, rest, text);
            }
            // After a newline; the name that ends it follows.
            rest = rest.saturating_sub(1);
            if rest < content.len() {
                return content.start.saturating_add(u32::try_from(rest).unwrap_or(0));
            }
            rest -= (content.len() + heredoc.name.len()).min(rest);
        }
        instruction.span.start
    }
}

/// Where a byte of a content stands whose leading tabs may be stripped.
fn in_lines(content: Span, strip_tabs: bool, offset: usize, text: &str) -> u32 {
    let (mut source, mut left) = (content.range().start, offset);
    for line in content.slice(text).split_inclusive('\n') {
        let stripped = if strip_tabs { line.trim_start_matches('\t') } else { line };
        if left < stripped.len() {
            source += line.len() - stripped.len() + left;
            break;
        }
        left -= stripped.len();
        source += line.len();
    }
    u32::try_from(source).unwrap_or(content.end).min(content.end)
}

/// Whether the last word of a shell's command is followed by a script, before which the shell runs nothing else.
fn takes_script(shell: &[String]) -> bool {
    let Some((program, options)) = shell.split_first() else { return false };
    let Some((last, options)) = options.split_last() else { return false };
    // `-o pipefail` has a word of its own.
    let known = |option: &String| is_option(option) || !option.starts_with(['-', '+']);
    is_shell(program) && last.ends_with('c') && is_option(last) && options.iter().all(known)
}

/// A shell that reads variables as the POSIX shell does.
fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    matches!(name, "sh" | "ash" | "bash" | "dash" | "ksh" | "mksh" | "zsh")
}

/// Options that let no other file be read first, as those of a login shell or of an interactive one do.
fn is_option(word: &str) -> bool {
    word.starts_with(['-', '+']) && !word.starts_with("--") && !word.contains(['l', 'i'])
}
