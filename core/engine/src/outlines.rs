//! The answer to the call `outline`: what a target can be given.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rbx_dockerfile::{
    Base, Body, Dockerfile, Evaluation, Keyword, MountKind, Op, Stage, Step, Word, expand, platform_arguments,
};
use rbx_platform::Platform;
use rbx_request::CallAnswer;
use serde::Serialize;

use crate::checks::Location;
use crate::source::Source;

/// An argument, as the `ARG` before the first `FROM` or the one in the stage has it.
#[derive(Clone, Default)]
struct Argument {
    value: String,
    description: String,
    lines: (u32, u32),
    /// Arguments that its default is made of.
    needs: BTreeSet<String>,
}

type Arguments = BTreeMap<String, Argument>;

#[derive(Serialize)]
struct Outline<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<JsonArg>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<JsonMount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<JsonMount>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct JsonArg {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    location: Location,
    #[serde(skip)]
    line: u32,
}

/// A secret or an agent.
#[derive(Serialize)]
struct JsonMount {
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
    #[serde(skip)]
    line: u32,
}

/// Says what the target can be given, as BuildKit's front end does: the arguments that it and the stages it needs
/// declare or stand in their `FROM`, and the secrets and agents of their steps.
pub(crate) fn answer(
    source: &Source,
    evaluation: &Evaluation,
    platforms: [&Platform; 2],
    build_args: &BTreeMap<String, String>,
) -> CallAnswer {
    let globals = Globals::new(&source.file, platforms, build_args);
    let named = globals.of_bases(&source.file, evaluation);
    let (mut args, mut secrets, mut ssh) = (Vec::new(), Vec::new(), Vec::new());
    let mut known: [HashSet<String>; 3] = Default::default();
    for stage in needed(evaluation) {
        let (mut all, mut used) = (globals.arguments.clone(), named[stage.index].clone());
        for step in &stage.steps {
            declare(source, evaluation, build_args, step, (&mut all, &mut used));
        }
        complete(&all, &mut used);
        for name in used {
            let Some(argument) = all.remove(&name).filter(|_| !known[0].contains(&name)) else { continue };
            known[0].insert(name.clone());
            let Argument { value, description, lines, .. } = argument;
            args.push(JsonArg { name, description, value, location: Location::of(lines), line: lines.0 });
        }
        for step in &stage.steps {
            let Op::Run(run) = &step.op else { continue };
            for mount in &run.mounts {
                let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
                let (list, known, name) = match mount.kind {
                    MountKind::Secret => {
                        let target = || mount.target.as_deref()?.rsplit('/').next().map(str::to_owned);
                        let name = named(&mount.source).or_else(|| named(&mount.id)).or_else(target);
                        (&mut secrets, &mut known[1], name.unwrap_or_default())
                    }
                    MountKind::Ssh => {
                        let name = named(&mount.id).unwrap_or_else(|| "default".to_owned());
                        (&mut ssh, &mut known[2], name)
                    }
                    _ => continue,
                };
                if known.insert(name.clone()) {
                    let lines = lines(source, step);
                    let (location, required) = (Location::of(lines), mount.required);
                    list.push(JsonMount { name, required, location, line: lines.0 });
                }
            }
        }
    }
    args.sort_by_key(|it| it.line);
    secrets.sort_by_key(|it| it.line);
    ssh.sort_by_key(|it| it.line);
    let target = evaluation.target.and_then(|index| evaluation.stages.get(index));
    let name = target.and_then(|stage| stage.name.as_deref()).unwrap_or_default();
    let from = target.and_then(|stage| source.file.instruction_at(stage.span.start));
    let description = from.and_then(|from| source.file.description(from, name)).unwrap_or_default();
    let sources = [BASE64_STANDARD.encode(source.text.as_bytes())];
    let outline = Outline { name, description, args, secrets, ssh, sources };
    CallAnswer { json: serde_json::to_string_pretty(&outline).ok(), text: Some(outline.text()), status: 0 }
}

impl Outline<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { self.name };
            let mut rows = vec![vec!["TARGET:", name]];
            if !self.description.is_empty() {
                rows.push(vec!["DESCRIPTION:", self.description]);
            }
            table(&mut text, &rows);
        }
        if !self.args.is_empty() {
            let rows = self.args.iter().map(|it| vec![it.name.as_str(), &it.value, &it.description]);
            let head = vec!["BUILD ARG", "VALUE", "DESCRIPTION"];
            table(&mut text, &std::iter::once(head).chain(rows).collect::<Vec<_>>());
        }
        for (head, list) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if !list.is_empty() {
                let required = |it: &JsonMount| if it.required { "true" } else { "" };
                let rows = list.iter().map(|it| vec![it.name.as_str(), required(it)]);
                let head = vec![head, "REQUIRED"];
                table(&mut text, &std::iter::once(head).chain(rows).collect::<Vec<_>>());
            }
        }
        text
    }
}

/// Columns three spaces apart, and an empty line after them.
fn table(text: &mut String, rows: &[Vec<&str>]) {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + 3;
    for row in rows {
        let (last, cells) = row.split_last().unwrap_or((&"", &[]));
        for (column, cell) in cells.iter().enumerate() {
            let _ = write!(text, "{cell:width$}", width = width(column));
        }
        let _ = writeln!(text, "{last}");
    }
    text.push('\n');
}

/// The target, then what it needs, bases first; each once.
fn needed(evaluation: &Evaluation) -> Vec<&Stage> {
    let mut order = Vec::new();
    let mut seen = HashSet::new();
    let mut next: Vec<usize> = evaluation.target.into_iter().collect();
    while let Some(stage) = next.pop().and_then(|index| evaluation.stages.get(index)) {
        if seen.insert(stage.index) {
            order.push(stage);
            next.extend(stage.needs.iter().rev());
            if let Base::Stage(base) = stage.base {
                next.push(base);
            }
        }
    }
    order
}

/// The lines of a step's instruction. A trigger has those of its own text.
fn lines(source: &Source, step: &Step) -> (u32, u32) {
    if step.on_build { (1, 1) } else { source.file.line_index.lines_of(step.span) }
}

/// Adds what an `ARG` declares.
fn declare(
    source: &Source,
    evaluation: &Evaluation,
    build_args: &BTreeMap<String, String>,
    step: &Step,
    (all, used): (&mut Arguments, &mut BTreeSet<String>),
) {
    let Op::Arg(list) = &step.op else { return };
    let own = source.file.instruction_at(step.span.start).filter(|_| !step.on_build);
    for (index, (name, value)) in list.iter().enumerate() {
        let written = match own.map(|own| &own.body) {
            Some(Body::Arg(written)) => written.get(index).is_some_and(|arg| arg.value.is_some()),
            _ => value.is_some(),
        };
        used.insert(name.clone());
        if !written && !build_args.contains_key(name) && evaluation.globals.contains_key(name) {
            // It is the one before the first `FROM`.
            continue;
        }
        let description = own.and_then(|own| source.file.description(own, name)).unwrap_or_default();
        let argument = Argument {
            value: value.clone().unwrap_or_default(),
            description: description.to_owned(),
            lines: lines(source, step),
            needs: BTreeSet::new(),
        };
        all.insert(name.clone(), argument);
    }
}

/// Adds what defaults are made of.
fn complete(all: &Arguments, used: &mut BTreeSet<String>) {
    let mut next: Vec<String> = used.iter().cloned().collect();
    while let Some(name) = next.pop() {
        for need in all.get(&name).into_iter().flat_map(|argument| &argument.needs) {
            if used.insert(need.clone()) {
                next.push(need.clone());
            }
        }
    }
}

/// The arguments before the first `FROM`.
struct Globals {
    arguments: Arguments,
    /// With the automatic ones.
    values: BTreeMap<String, String>,
    escape: char,
}

impl Globals {
    fn new(
        file: &Dockerfile,
        [target, build]: [&Platform; 2],
        build_args: &BTreeMap<String, String>,
    ) -> Self {
        let automatic = platform_arguments(target, build).into_iter();
        let given = |name: &str, value| build_args.get(name).cloned().unwrap_or(value);
        let values = automatic.map(|(name, value)| (name.to_owned(), given(name, value))).collect();
        let mut all = Self { arguments: Arguments::new(), values, escape: file.escape };
        for instruction in file.instructions.iter().take_while(|it| it.keyword != Keyword::From) {
            let Body::Arg(list) = &instruction.body else { continue };
            for arg in list {
                let name = &arg.name.text;
                let (mut value, mut needs) = (build_args.get(name).cloned(), BTreeSet::new());
                if let (None, Some(default)) = (&value, &arg.value) {
                    let (text, names) = all.expand(default);
                    (value, needs) = (Some(text), names);
                    if needs.remove(name)
                        && let Some(before) = all.arguments.get(name)
                    {
                        needs.extend(before.needs.iter().cloned());
                    }
                }
                if let Some(value) = &value {
                    all.values.insert(name.clone(), value.clone());
                }
                let argument = Argument {
                    value: value.unwrap_or_default(),
                    description: file.description(instruction, name).unwrap_or_default().to_owned(),
                    lines: file.line_index.lines_of(instruction.span),
                    needs,
                };
                all.arguments.insert(name.clone(), argument);
            }
        }
        all
    }

    /// A word with its variables expanded, and the names of those that have a value.
    fn expand(&self, word: &Word) -> (String, BTreeSet<String>) {
        let found = RefCell::new(BTreeSet::new());
        let value = expand(&word.text, self.escape, &|name| {
            let value = self.values.get(name)?;
            found.borrow_mut().insert(name.to_owned());
            Some(value.clone())
        });
        (value.unwrap_or_default(), found.into_inner())
    }

    /// For each stage, the arguments in its `FROM` and in those of its bases.
    fn of_bases(&self, file: &Dockerfile, evaluation: &Evaluation) -> Vec<BTreeSet<String>> {
        let mut all: Vec<BTreeSet<String>> = Vec::new();
        for (stage, instructions) in evaluation.stages.iter().zip(file.stages()) {
            let mut names = BTreeSet::new();
            if let Body::From(from) = &instructions[0].body {
                let platform = instructions[0].flag_value("platform");
                for word in std::iter::once(&from.image).chain(platform) {
                    names.extend(self.expand(word).1);
                }
            }
            if let Base::Stage(base) = stage.base
                && let Some(of_base) = all.get(base)
            {
                names.extend(of_base.iter().cloned());
            }
            all.push(names);
        }
        all
    }
}
