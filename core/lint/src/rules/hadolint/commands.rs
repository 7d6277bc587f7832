//! Commands and shells: DL3004, DL4006

use super::called::{calls, calls_of, steps};
use crate::finding::{Fix, Severity};
use crate::place;
use crate::rule::{Check, Family, Rule};
use crate::shell::Run;
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3004",
        family: Family::Hadolint,
        severity: Severity::Warning,
        enabled: true,
        summary: "sudo in a step",
        explanation: include_str!("../../../rules/hadolint/DL3004.md"),
        check: Check::Once(sudo),
        ..Rule::NONE
    },
    Rule {
        name: "DL4006",
        family: Family::Hadolint,
        severity: Severity::Info,
        enabled: true,
        summary: "A pipe hides that the command before it failed",
        explanation: include_str!("../../../rules/hadolint/DL4006.md"),
        check: Check::Once(pipes),
        ..Rule::NONE
    },
];

fn sudo(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for called in calls(view) {
        let prefix = called.call.prefixes.iter().find(|word| word.is("sudo") || word.is("/usr/bin/sudo"));
        let word = if called.call.name == "sudo" { Some(called.call.word) } else { prefix };
        all.extend(word.map(|word| called.found_at(word, "sudo in a step: USER says who runs it")));
    }
    all
}

fn pipes(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for run in steps(view) {
        let Some(&pipe) = run.script.program.pipes.first() else { continue };
        if run.shell.iter().any(|word| word.contains("pipefail")) || sets_pipefail(run) {
            continue;
        }
        let message = "a pipe without pipefail: the step goes on when the command before it fails";
        let mut found = Found::new(run.script.span(&(pipe..pipe + 1)), message);
        if run.script.interpreter.is_none() && run.shell.len() == 2 && run.shell_name() == "bash" {
            let line = format!("SHELL [\"{}\", \"-o\", \"pipefail\", \"-c\"]", run.shell[0]);
            let edits = vec![place::line_before(view.file, run.instruction, &line)];
            found.fixes.push(Fix { title: "Set pipefail in SHELL".to_owned(), safe: false, edits });
        }
        all.push(found);
    }
    all
}

/// Whether a script sets the option itself.
fn sets_pipefail(run: &Run<'_>) -> bool {
    let mut calls = calls_of(run).filter(|called| called.call.name == "set");
    calls.any(|called| called.call.arguments.iter().any(|word| word.is("pipefail")))
}
