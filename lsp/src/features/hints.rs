//! Inlay hints: for which platforms a stage is, what arguments come to, and which steps are cached.

use std::ops::Range as Bytes;

use rbx_dockerfile::{Base, Body, Instruction, Keyword, Stage};
use rbx_platform::Platform;
use serde::{Deserialize, Serialize};
use tower_lsp::ls_types::{
    InlayHint, InlayHintKind, InlayHintLabel, InlayHintTooltip, MarkupContent, MarkupKind, Position, Range,
    Uri,
};

use crate::documents::Snapshot;
use crate::meaning::Worth;
use crate::outlook::{Outlook, Runner, State, Step};
use crate::platforms::names;

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// What a hint has for the request of its tooltip.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) uri: Uri,
    line: u32,
    kind: Kind,
}

/// What a hint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Platforms,
    Value,
    Cached,
}

/// The hints of the lines of a range.
pub(crate) fn hints(snapshot: &Snapshot, range: Range) -> Vec<InlayHint> {
    let shown = snapshot.configuration.hints;
    let (first, last) = (snapshot.offset(range.start), snapshot.offset(range.end));
    let instructions = &snapshot.tree().instructions;
    let from = instructions.partition_point(|it| it.span.end < first);
    let mut hints = Vec::new();
    for instruction in instructions[from..].iter().take_while(|it| it.span.start <= last) {
        let mut add = |kind, label: Option<String>| {
            hints.extend(label.map(|label| hint(snapshot, instruction, kind, &label)));
        };
        if shown.arguments {
            add(Kind::Value, value(snapshot, instruction));
        }
        if shown.platforms && instruction.keyword == Keyword::From {
            add(Kind::Platforms, platforms(snapshot, instruction));
        }
        if shown.cached {
            add(Kind::Cached, cached(snapshot, instruction));
        }
    }
    hints
}

/// The tooltip of a hint, of the document as it is now.
pub(crate) fn resolve(snapshot: &Snapshot, about: &About) -> Option<InlayHintTooltip> {
    let offset = snapshot.offset(Position::new(about.line, 0));
    let instructions = &snapshot.tree().instructions;
    let instruction = instructions.iter().find(|it| it.span.start >= offset)?;
    if snapshot.range(instruction.span).start.line != about.line {
        return None;
    }
    let text = match about.kind {
        Kind::Cached => steps_told(snapshot, instruction)?,
        Kind::Value => worth_told(&values(snapshot, instruction)?),
        Kind::Platforms => stages(snapshot, instruction)
            .iter()
            .map(|(target, stage)| format!("built for {target}: on {}", stage.platform))
            .collect::<Vec<_>>()
            .join("\n\n"),
    };
    Some(InlayHintTooltip::MarkupContent(MarkupContent { kind: MarkupKind::PlainText, value: text }))
}

fn hint(snapshot: &Snapshot, instruction: &Instruction, kind: Kind, label: &str) -> InlayHint {
    let whole = snapshot.range(instruction.span);
    // After the word that it is about, else after the first line.
    let word = match (&instruction.body, kind) {
        (Body::Arg(list), Kind::Value) => list.first().map(|arg| arg.name.span),
        (Body::From(body), Kind::Value) => Some(body.image.span),
        _ => None,
    };
    let position = if let Some(span) = word {
        snapshot.range(span).end
    } else {
        let start = instruction.span.range().start;
        let text = &snapshot.text.as_str()[start..instruction.span.range().end];
        let line = text.split('\n').next().unwrap_or_default().trim_end();
        snapshot.text.range(start..start + line.len(), snapshot.abilities.encoding).end
    };
    let about = About { uri: snapshot.uri.clone(), line: whole.start.line, kind };
    InlayHint {
        position,
        label: InlayHintLabel::String(label.to_owned()),
        kind: (kind == Kind::Value).then_some(InlayHintKind::TYPE),
        text_edits: None,
        tooltip: None,
        padding_left: Some(true),
        padding_right: None,
        data: serde_json::to_value(about).ok(),
    }
}

/// The stage of a `FROM` on each of the platforms that need it.
fn stages<'a>(snapshot: &'a Snapshot, from: &Instruction) -> Vec<(&'a Platform, &'a Stage)> {
    let all = snapshot.evaluations().iter().filter_map(|(platform, evaluation)| {
        let stages = &evaluation.stages;
        let at = stages.binary_search_by_key(&from.span.start, |stage| stage.span.start).ok()?;
        Some((platform, &stages[at]))
    });
    all.filter(|(_, stage)| stage.reachable).collect()
}

/// What runs the commands of a stage on each platform, if it has some and that is known.
fn runners<'a>(outlook: &'a Outlook, stage: &Bytes<usize>) -> Vec<(&'a Platform, &'a Runner)> {
    let steps = outlook.within(stage.clone());
    let of_step = |step: &'a Step| {
        let runner = step.runner.as_ref();
        step.platforms.iter().filter_map(move |platform| Some((platform, runner?)))
    };
    let mut found: Vec<(&Platform, &Runner)> = Vec::new();
    for (platform, runner) in steps.flat_map(of_step) {
        if !found.iter().any(|(known, _)| *known == platform) {
            found.push((platform, runner));
        }
    }
    found
}

/// The bytes of the stage that begins with a `FROM`.
pub(crate) fn stage_bytes(snapshot: &Snapshot, from: &Instruction) -> Bytes<usize> {
    let instructions = &snapshot.tree().instructions;
    let after = instructions.partition_point(|it| it.span.start <= from.span.start);
    let next = instructions[after..].iter().find(|it| it.keyword == Keyword::From);
    from.span.range().start..next.map_or(usize::MAX, |next| next.span.range().start)
}

/// The platforms that a stage is for, where that is not plain: there are several, or it is not the target's.
fn platforms(snapshot: &Snapshot, from: &Instruction) -> Option<String> {
    let stages = stages(snapshot, from);
    let mut on: Vec<&Platform> = Vec::new();
    for (_, stage) in &stages {
        if !on.contains(&&stage.platform) {
            on.push(&stage.platform);
        }
    }
    let outlook = snapshot.outlook.as_deref();
    let runners = outlook.map(|it| runners(it, &stage_bytes(snapshot, from))).unwrap_or_default();
    // How the commands run is said of the platform that they are run for.
    let word = |platform: &Platform| {
        let targets = stages.iter().filter(|(_, stage)| stage.platform == *platform);
        let mut words = targets.filter_map(|(target, _)| {
            let (_, runner) = runners.iter().find(|(known, _)| known == target)?;
            Some(match runner {
                Runner::Native => " native",
                Runner::Emulated(_) => " emulated",
                Runner::Nothing(_) => " cannot run here",
            })
        });
        words.next().unwrap_or_default()
    };
    let plain = on.len() == 1 && stages.iter().all(|(target, stage)| **target == stage.platform);
    if on.is_empty() || plain && !matches!(word(on[0]), " emulated" | " cannot run here") {
        return None;
    }
    let said: Vec<String> = on.iter().map(|platform| format!("{platform}{}", word(platform))).collect();
    Some(said.join(", "))
}

/// What an argument or the name of an image comes to, if that is not written there.
fn values(snapshot: &Snapshot, instruction: &Instruction) -> Option<Vec<Worth>> {
    match &instruction.body {
        // Of several in one instruction it would have to be said of which.
        Body::Arg(list) => match list.as_slice() {
            [arg] if arg.value.is_none() => Some(snapshot.worth_after(&arg.name.text, instruction.span)),
            _ => None,
        },
        Body::From(body) if body.image.text.contains('$') => {
            let mut list: Vec<Worth> = Vec::new();
            for (platform, stage) in stages(snapshot, instruction) {
                let value = match &stage.base {
                    Base::Image(name) | Base::Context(name) => Some(name.clone()),
                    Base::Scratch => Some("scratch".to_owned()),
                    Base::Stage(_) | Base::Unresolved => None,
                };
                match list.iter_mut().find(|worth| worth.value == value) {
                    Some(worth) => worth.platforms.push(platform.clone()),
                    None => list.push(Worth { value, origin: None, platforms: vec![platform.clone()] }),
                }
            }
            Some(list)
        }
        _ => None,
    }
}

fn value(snapshot: &Snapshot, instruction: &Instruction) -> Option<String> {
    let mut values = values(snapshot, instruction)?;
    // Where it comes from does not matter here.
    let mut merged: Vec<Worth> = Vec::new();
    for worth in values.drain(..) {
        match merged.iter_mut().find(|known| known.value == worth.value) {
            Some(known) => known.platforms.extend(worth.platforms),
            None => merged.push(worth),
        }
    }
    let shown = |worth: &Worth| worth.value.as_deref().map(short);
    match merged.as_slice() {
        [] => None,
        [one] => shown(one).map(|value| format!("= {value}")),
        several => {
            let said = several.iter().map(|worth| {
                let value = shown(worth).unwrap_or_else(|| "unset".to_owned());
                format!("{value} on {}", names(&worth.platforms))
            });
            Some(format!("= {}", said.collect::<Vec<_>>().join("; ")))
        }
    }
}

fn short(value: &str) -> String {
    let clean = rbx_progress::clean(value);
    let mut text: String = clean.chars().take(SHOWN).collect();
    if text.len() < clean.len() {
        text.push('…');
    }
    if text.is_empty() { "\"\"".to_owned() } else { text }
}

fn worth_told(values: &[Worth]) -> String {
    let line = |worth: &Worth| {
        let value = worth.value.as_deref().map_or_else(|| "unset".to_owned(), rbx_progress::clean);
        format!("{}: {value}", names(&worth.platforms))
    };
    values.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The steps of an instruction.
fn steps<'a>(snapshot: &'a Snapshot, instruction: &Instruction) -> Vec<&'a Step> {
    let Some(outlook) = snapshot.outlook.as_deref() else { return Vec::new() };
    let range = instruction.span.range();
    // Its line may be indented.
    let line = snapshot.text.as_str()[..range.start].rfind('\n').map_or(0, |at| at + 1);
    outlook.within(line..range.end).collect()
}

/// In a word whether a step is cached.
pub(crate) fn word(state: State, of_last_build: bool) -> &'static str {
    match (state, of_last_build) {
        (State::Cached, _) => "cached",
        (State::Run, false) => "will run",
        (State::Run, true) => "was run",
        (State::Fetch, _) => "will be fetched",
        (State::Unknown, _) => "may run",
        (State::Fails, false) => "will fail",
        (State::Fails, true) => "failed",
    }
}

fn cached(snapshot: &Snapshot, instruction: &Instruction) -> Option<String> {
    let outlook = snapshot.outlook.as_deref()?;
    let mut states: Vec<(State, Vec<Platform>)> = Vec::new();
    for step in steps(snapshot, instruction) {
        let platforms = step.platforms.iter().cloned();
        match states.iter_mut().find(|(state, _)| *state == step.state) {
            Some((_, known)) => known.extend(platforms),
            None => states.push((step.state, platforms.collect())),
        }
    }
    let say = |state: State| word(state, outlook.of_last_build);
    let said = match states.as_slice() {
        [] => return None,
        [(state, _)] => say(*state).to_owned(),
        several => several
            .iter()
            .map(|(state, platforms)| format!("{} on {}", say(*state), names(platforms)))
            .collect::<Vec<_>>()
            .join("; "),
    };
    Some(if outlook.of_last_build { format!("last build: {said}") } else { said })
}

fn steps_told(snapshot: &Snapshot, instruction: &Instruction) -> Option<String> {
    let outlook = snapshot.outlook.as_deref()?;
    let mut lines = Vec::new();
    for step in steps(snapshot, instruction) {
        let line = format!("{}: {}", names(&step.platforms), word(step.state, outlook.of_last_build));
        let runner = match &step.runner {
            Some(Runner::Emulated(Some(emulator))) => format!(", emulated by {emulator}"),
            Some(Runner::Emulated(None)) => ", emulated".to_owned(),
            Some(Runner::Nothing(Some(remedy))) => format!(", and nothing here runs it: {remedy}"),
            Some(Runner::Nothing(None)) => ", and nothing here runs it".to_owned(),
            Some(Runner::Native) | None => String::new(),
        };
        let reason = step.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        lines.push([line, runner, reason].concat());
    }
    if lines.is_empty() {
        return None;
    }
    lines.push(if outlook.of_last_build {
        let Outlook { builder, driver, .. } = outlook;
        format!("This is what the last build did: builder {builder} ({driver}) cannot be asked beforehand")
    } else {
        format!("builder {}", outlook.builder)
    });
    Some(lines.join("\n"))
}
