//! Commands: DL3001, DL3003, DL3004, DL3046, DL3047, DL4001

use rbx_dockerfile::{Base, Span};

use super::USUAL;
use super::called::{Called, calls, calls_of, once_for_each, steps};
use crate::finding::{Edit, Fix, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::shell::{Join, Run};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3001",
        summary: "A command that does nothing useful in a container",
        explanation: include_str!("../../../rules/hadolint/DL3001.md"),
        check: Check::Once(useless),
        ..USUAL
    },
    Rule {
        name: "DL3003",
        summary: "A step begins with cd, where WORKDIR would do",
        explanation: include_str!("../../../rules/hadolint/DL3003.md"),
        check: Check::Once(directory),
        ..USUAL
    },
    Rule {
        name: "DL3004",
        summary: "sudo in a step",
        explanation: include_str!("../../../rules/hadolint/DL3004.md"),
        check: Check::Once(sudo),
        ..USUAL
    },
    Rule {
        name: "DL3046",
        summary: "useradd with a high number makes a large file of logins",
        explanation: include_str!("../../../rules/hadolint/DL3046.md"),
        changes: Some("the command gets an option, by which the log of logins stays small"),
        check: Check::Once(large_logins),
        ..USUAL
    },
    Rule {
        name: "DL3047",
        summary: "wget fills the output with a bar",
        explanation: include_str!("../../../rules/hadolint/DL3047.md"),
        check: Check::Once(bar),
        ..USUAL
    },
    Rule {
        name: "DL4001",
        summary: "wget and curl in one stage",
        explanation: include_str!("../../../rules/hadolint/DL4001.md"),
        check: Check::Once(two_clients),
        ..USUAL
    },
];

fn useless(view: &View<'_>) -> Vec<Found> {
    const USELESS: [&str; 10] =
        ["free", "ifconfig", "kill", "mount", "ps", "service", "shutdown", "ssh", "top", "vim"];
    let mut has_agent = once_for_each(|run| {
        let mut values = run.own().flags.iter().filter_map(|flag| flag.value.as_ref());
        values.any(|value| value.text.contains("type=ssh"))
    });
    let found = calls(view)
        .filter(|called| USELESS.contains(&called.call.name))
        .filter(|called| called.call.name != "ssh" || !has_agent(called.run));
    let found = found.map(|called| {
        let name = called.call.name;
        called.found_at(called.call.word, format!("{name} has little to do with making an image"))
    });
    found.collect()
}

fn directory(view: &View<'_>) -> Vec<Found> {
    steps(view).filter_map(|run| cd(view, run)).collect()
}

/// A step that begins with `cd`.
fn cd(view: &View<'_>, run: &Run<'_>) -> Option<Found> {
    let called = calls_of(run).next().filter(|called| called.call.name == "cd")?;
    let commands = &run.script.program.commands;
    let first = commands.first()?;
    let [target] = called.call.arguments else { return None };
    let path = target.literal().filter(|path| !path.is_empty() && *path != "-" && !path.starts_with('~'))?;
    if !std::ptr::eq(called.command, first) || first.context.subshell || run.script.interpreter.is_some() {
        return None;
    }
    let path = shown(path);
    let Some(next) = commands.get(1) else {
        return Some(
            called.found(format!("cd {path} holds for this step only; WORKDIR is for all that follow")),
        );
    };
    let mut found = called.found(format!("the step begins with cd {path}; WORKDIR says where steps run"));
    let away = Span { start: run.script.span(&first.range).start, end: run.script.span(&next.range).start };
    // What follows runs there, too; and a comment between them would be lost.
    if first.after == Join::And && !away.slice(&view.file.text).contains(['#', '(', '{']) {
        let keyword = place::in_case_of(view.file, run.instruction, "WORKDIR");
        let line = place::line_before(
            view.file,
            run.instruction,
            &format!("{keyword} {}", run.script.written(&target.range)),
        );
        let edits = vec![line, Edit { span: away, text: String::new() }];
        found.fixes.push(Fix { title: "Say it in a WORKDIR".to_owned(), safe: false, edits });
    }
    Some(found)
}

fn sudo(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for called in calls(view) {
        let prefix = called.call.prefixes.iter().find(|word| word.is("sudo") || word.is("/usr/bin/sudo"));
        let word = if called.call.name == "sudo" { Some(called.call.word) } else { prefix };
        all.extend(word.map(|word| called.found_at(word, "sudo in a step: USER says who runs it")));
    }
    all
}

fn large_logins(view: &View<'_>) -> Vec<Found> {
    const WITH_VALUE: &[&str] = &[
        "-b",
        "-c",
        "-d",
        "-e",
        "-f",
        "-g",
        "-G",
        "-k",
        "-K",
        "-p",
        "-s",
        "-u",
        "-R",
        "-P",
        "-Z",
        "--base-dir",
        "--comment",
        "--expiredate",
        "--gid",
        "--groups",
        "--home-dir",
        "--inactive",
        "--key",
        "--password",
        "--shell",
        "--skel",
        "--uid",
    ];
    let found = calls(view).filter(|called| called.call.name == "useradd").filter_map(|called| {
        let arguments = called.call.read(WITH_VALUE);
        let (_, number) = arguments.option(&["-u", "--uid"])?;
        let number = number?;
        let is_high = number.len() > 5 && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_high || arguments.has(&["-l", "--no-log-init"]) {
            return None;
        }
        let mut found = called.found_at(
            called.call.word,
            format!("useradd makes files of logins that are large for the user {number}"),
        );
        found.fixes.extend(called.with_option(called.call.word, "-l", true));
        Some(found)
    });
    found.collect()
}

fn bar(view: &View<'_>) -> Vec<Found> {
    const QUIET: &[&str] = &[
        "-q",
        "--quiet",
        "--progress",
        "--no-verbose",
        "-o",
        "--output-file",
        "-a",
        "--append-output",
        "--spider",
        "-V",
        "--version",
        "-h",
        "--help",
        "-b",
        "--background",
    ];
    let found = calls(view).filter(|called| called.call.name == "wget").filter_map(|called| {
        let words = called.call.arguments;
        let arguments = called.call.read(&["-O", "-P", "-o", "-a", "-T", "-t", "-U", "-e", "-i", "-Q"]);
        let no_verbose = words.iter().any(|word| word.prefix().starts_with("-nv"));
        // The wget of busybox has no such option.
        let busybox = match &view.root(called.run.stage).base {
            Base::Image(name) => name.contains("alpine") || name.contains("busybox"),
            _ => false,
        };
        if arguments.has(QUIET) || no_verbose || arguments.unsure || busybox {
            return None;
        }
        let mut found =
            called.found_at(called.call.word, "wget writes a line for every 50 kB that it fetches");
        found.fixes.extend(called.with_option(called.call.word, "--progress=dot:giga", false));
        Some(found)
    });
    found.collect()
}

fn two_clients(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for stage in &view.evaluation.stages {
        let called = view.runs_of(stage).iter().flat_map(calls_of);
        let mut first: Option<Called<'_>> = None;
        for called in called.filter(|called| matches!(called.call.name, "curl" | "wget")) {
            match &first {
                None => first = Some(called),
                Some(other) if other.call.name != called.call.name => {
                    let (name, other) = (called.call.name, other.call.name);
                    let message = format!("{name} fetches here, and {other} before; one of them is enough");
                    all.push(called.found_at(called.call.word, message));
                    break;
                }
                Some(_) => {}
            }
        }
    }
    all
}
