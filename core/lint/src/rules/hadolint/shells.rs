//! Shells: DL4005, DL4006

use super::USUAL;
use super::called::{calls, calls_of, steps};
use crate::finding::Fix;
use crate::place;
use crate::rule::{Check, Rule};
use crate::shell::Run;
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL4005",
        summary: "Another shell is put in the place of /bin/sh",
        explanation: include_str!("../../../rules/hadolint/DL4005.md"),
        check: Check::Once(replaced),
        ..USUAL
    },
    Rule {
        name: "DL4006",
        summary: "A pipe hides that the command before it failed",
        explanation: include_str!("../../../rules/hadolint/DL4006.md"),
        check: Check::Once(pipes),
        ..USUAL
    },
];

fn replaced(view: &View<'_>) -> Vec<Found> {
    let found = calls(view).filter(|called| called.call.name == "ln").filter_map(|called| {
        let last = called.call.arguments.last()?;
        let is_shell = last.is("/bin/sh") || last.is("/usr/bin/sh");
        is_shell.then(|| {
            called.found_at(last, "a link makes another shell of /bin/sh; SHELL does it for steps only")
        })
    });
    found.collect()
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
        if let [program, option] = &*run.shell
            && run.script.interpreter.is_none()
            && run.shell_name() == "bash"
            && option == "-c"
        {
            let keyword = place::in_case_of(view.file, run.instruction, "SHELL");
            let line = format!("{keyword} [\"{program}\", \"-o\", \"pipefail\", \"-c\"]");
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
