//! What could be fewer layers: DL3010, DL3059

use std::collections::HashMap;

use rbx_dockerfile::{Body, Instruction, Keyword};

use super::USUAL;
use super::called::calls_of;
use crate::finding::shown;
use crate::rule::{Check, Rule};
use crate::shell::Word;
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3010",
        summary: "An archive is copied and then unpacked, where ADD would do both",
        explanation: include_str!("../../../rules/hadolint/DL3010.md"),
        check: Check::Once(archives),
        ..USUAL
    },
    Rule {
        name: "DL3059",
        summary: "Several RUNs in a row, each of which makes a layer",
        explanation: include_str!("../../../rules/hadolint/DL3059.md"),
        check: Check::Once(rows),
        ..USUAL
    },
];

/// What `ADD` unpacks.
const ARCHIVES: [&str; 10] =
    [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lzma"];

fn archives(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for (stage, instructions) in view.evaluation.stages.iter().zip(view.file.stages()) {
        let mut copied = instructions.iter().flat_map(copied_archives).peekable();
        if copied.peek().is_none() {
            continue;
        }
        // Where tar last reads a file of this name.
        let mut read: HashMap<&str, u32> = HashMap::new();
        for run in view.runs_of(stage) {
            for called in calls_of(run).filter(|called| called.call.name == "tar") {
                let words = called.call.arguments.iter().flat_map(Word::texts);
                read.extend(words.map(|text| (base_name(text), run.instruction.span.start)));
            }
        }
        for (word, name) in copied {
            if read.get(name).is_some_and(|&at| at > word.span.start) {
                let message = format!("{} is copied and then unpacked; ADD does both", shown(name));
                all.push(Found::new(word.span, message));
            }
        }
    }
    all
}

/// The archives that an instruction copies from the context, with the names they have in the image.
fn copied_archives(instruction: &Instruction) -> Vec<(&rbx_dockerfile::Word, &str)> {
    let Body::Copy(files) = &instruction.body else { return Vec::new() };
    if instruction.keyword != Keyword::Copy || instruction.flag("from").is_some() {
        return Vec::new();
    }
    let archives = files.sources.iter().filter(|word| {
        let name = word.text.to_ascii_lowercase();
        ARCHIVES.iter().any(|extension| name.ends_with(extension))
    });
    let target = files.destination.as_ref().map_or("", |word| word.text.as_str());
    let renamed = !target.ends_with('/') && ARCHIVES.iter().any(|extension| target.ends_with(extension));
    archives.map(|word| (word, if renamed { base_name(target) } else { base_name(&word.text) })).collect()
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn rows(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for (stage, instructions) in view.evaluation.stages.iter().zip(view.file.stages()) {
        if !view.in_image(stage) {
            continue;
        }
        for row in instructions
            .chunk_by(|one, next| is_plain_run(one) && is_plain_run(next) && same_flags(one, next))
        {
            if let [_, second, ..] = row {
                let message = format!("{} RUNs in a row make as many layers", row.len());
                all.push(Found::new(second.keyword_span, message));
            }
        }
    }
    all
}

/// A `RUN` of a command line.
fn is_plain_run(instruction: &Instruction) -> bool {
    matches!(&instruction.body, Body::Run(line) if !line.is_exec()) && instruction.heredocs.is_empty()
}

fn same_flags(one: &Instruction, other: &Instruction) -> bool {
    let flags = |instruction: &Instruction| -> Vec<(String, Option<String>)> {
        let text = |word: &rbx_dockerfile::Word| word.text.clone();
        instruction.flags.iter().map(|flag| (flag.name.text.clone(), flag.value.as_ref().map(text))).collect()
    };
    flags(one) == flags(other)
}
