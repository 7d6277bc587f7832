//! What BuildKit warns of when it knows all stages: `ReservedStageName`, `DuplicateStageName`,
//! `ConsistentInstructionCasing`

use std::collections::HashMap;

use rbx_dockerfile::{Body, Instruction, Keyword, Span, go_quoted};

use super::{Checked, RULE, Turn, Warning, replace};
use crate::finding::Related;
use crate::rule::Rule;
use crate::view::Found;

const RESERVED: &str = "ReservedStageName";
const DUPLICATE: &str = "DuplicateStageName";
const CASING: &str = "ConsistentInstructionCasing";

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: RESERVED,
        aliases: &["DL3063"],
        summary: "Reserved words should not be used as stage names",
        explanation: include_str!("../../../rules/buildkit/ReservedStageName.md"),
        ..RULE
    },
    Rule {
        name: DUPLICATE,
        aliases: &["DL3024"],
        summary: "Stage names should be unique",
        explanation: include_str!("../../../rules/buildkit/DuplicateStageName.md"),
        ..RULE
    },
    Rule {
        name: CASING,
        summary: "All commands within the Dockerfile should use the same casing (either upper or lower)",
        explanation: include_str!("../../../rules/buildkit/ConsistentInstructionCasing.md"),
        ..RULE
    },
];

pub(super) fn walk(checked: &Checked<'_>, all: &mut Vec<Warning>) {
    let mut add = |rule, instruction: &Instruction, found| {
        all.push(Warning::new(rule, Turn::Stages, instruction.span, found).regardless());
    };
    let mut seen: HashMap<String, Span> = HashMap::new();
    for stage in checked.file.stages() {
        let from = &stage[0];
        let Body::From(body) = &from.body else { continue };
        let Some(word) = &body.name else { continue };
        let name = word.text.to_lowercase();
        if matches!(name.as_str(), "context" | "scratch") {
            let message =
                format!("Stage name should not use the same name as reserved stage {}", go_quoted(&name));
            add(RESERVED, from, Found::new(word.span, message));
        }
        if let Some(first) = seen.get(&name) {
            let message = format!("Duplicate stage name {}, stage names should be unique", go_quoted(&name));
            let mut found = Found::new(word.span, message);
            found.related.push(Related { span: *first, message: "another stage of this name".to_owned() });
            add(DUPLICATE, from, found);
        }
        seen.insert(name, word.span);
    }

    // The `ARG`s before the first `FROM` do not count.
    let known = |instruction: &&Instruction| instruction.keyword != Keyword::Unknown;
    let instructions: Vec<&Instruction> = checked.file.stages().flatten().filter(known).collect();
    let is_lower_case = checked.file.is_lower_case();
    for instruction in instructions {
        let word = checked.keyword(instruction);
        let (wanted, casing) = if is_lower_case {
            (word.to_lowercase(), "lowercase")
        } else {
            (word.to_uppercase(), "uppercase")
        };
        if word != wanted {
            let message =
                format!("Command '{word}' should match the case of the command majority ({casing})");
            let mut found = Found::new(instruction.keyword_span, message);
            found.fixes.push(replace(format!("Write {wanted}"), true, instruction.keyword_span, wanted));
            add(CASING, instruction, found);
        }
    }
}
