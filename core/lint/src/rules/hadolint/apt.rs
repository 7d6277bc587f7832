//! `apt-get`: DL3008, DL3009, DL3014, DL3015, DL3027

use super::USUAL;
use super::called::{calls, has_extension, once_for_each, removes};
use super::managers::{Manager, managers};
use crate::finding::{Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::shell::Arguments;
use crate::view::{Found, View};

const LISTS: &str = "/var/lib/apt/lists";

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3008",
        summary: "apt-get installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3008.md"),
        check: Check::Once(unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3009",
        summary: "Package lists of apt-get stay in the image",
        explanation: include_str!("../../../rules/hadolint/DL3009.md"),
        check: Check::Once(lists),
        ..USUAL
    },
    Rule {
        name: "DL3014",
        severity: Severity::Warning,
        summary: "apt-get install asks, and nobody answers",
        explanation: include_str!("../../../rules/hadolint/DL3014.md"),
        changes: Some("the command gets an option, by which it answers its own questions"),
        check: Check::Once(asks),
        ..USUAL
    },
    Rule {
        name: "DL3015",
        summary: "apt-get installs recommended packages, too",
        explanation: include_str!("../../../rules/hadolint/DL3015.md"),
        check: Check::Once(recommended),
        ..USUAL
    },
    Rule {
        name: "DL3027",
        summary: "apt is for people, apt-get for scripts",
        explanation: include_str!("../../../rules/hadolint/DL3027.md"),
        changes: Some("another command does the same"),
        check: Check::Once(apt),
        ..USUAL
    },
];

/// Calls of `apt-get` and `apt`.
fn apts<'a>(view: &'a View<'_>, actions: &'a [&str]) -> impl Iterator<Item = Manager<'a>> {
    const WITH_VALUE: &[&str] = &[
        "-t",
        "--target-release",
        "--default-release",
        "-o",
        "--option",
        "-c",
        "--config-file",
        "-a",
        "--host-architecture",
        "-P",
        "--build-profiles",
    ];
    managers(view, &["apt", "apt-get"], actions, WITH_VALUE)
}

/// Whether an option of the configuration is set on the command line.
fn configures(arguments: &Arguments<'_>, name: &str) -> bool {
    let options = arguments.options.iter();
    let mut values = options.filter(|(option, ..)| option == "-o" || option == "--option");
    values.any(|(_, value, _)| value.is_some_and(|value| value.to_ascii_lowercase().contains(name)))
}

fn unpinned(view: &View<'_>) -> Vec<Found> {
    let is_pinned = |name: &str| {
        name.contains(['=', '/', '*', '{']) || has_extension(name, "deb") || name.ends_with(['-', '^'])
    };
    let found = apts(view, &["install"]).filter_map(|apt| apt.unpinned(is_pinned, "name=version"));
    found.collect()
}

fn lists(view: &View<'_>) -> Vec<Found> {
    let mut stay =
        once_for_each(|run| view.in_image(run.stage) && !run.is_mounted(LISTS) && !removes(run, LISTS));
    apts(view, &["update"])
        .filter(|apt| stay(apt.called.run))
        .map(|apt| apt.called.found("apt-get update leaves its package lists in the image"))
        .collect()
}

fn asks(view: &View<'_>) -> Vec<Found> {
    // A file of the configuration that says so may be written in the Dockerfile.
    if view.file.text.to_ascii_lowercase().contains("assume-yes") {
        return Vec::new();
    }
    let answers = [
        "-y",
        "--yes",
        "--assume-yes",
        "--assume-no",
        "-s",
        "--simulate",
        "--just-print",
        "--dry-run",
        "--recon",
        "--no-act",
        "-d",
        "--download-only",
        "--print-uris",
        "-h",
        "--help",
    ];
    let found = apts(view, &["install"]).filter_map(|apt| {
        let quiet = apt.arguments.count(&["-q", "--quiet"]) >= 2
            || apt.arguments.option(&["-q", "--quiet"]).is_some_and(|(_, value)| value == Some("2"));
        if quiet { None } else { apt.asks(&answers, "-y") }
    });
    found.collect()
}

fn recommended(view: &View<'_>) -> Vec<Found> {
    if view.file.text.to_ascii_lowercase().contains("install-recommends \"") {
        return Vec::new();
    }
    let found = apts(view, &["install"]).filter_map(|apt| {
        let told = apt.arguments.has(&["--no-install-recommends", "--install-recommends"])
            || configures(&apt.arguments, "apt::install-recommends");
        if told || apt.arguments.unsure || apt.operands().is_empty() || !view.in_image(apt.called.run.stage) {
            return None;
        }
        let mut found = apt.called.found("apt-get install brings recommended packages along");
        // Something may need a package that came along.
        found.fixes.extend(apt.called.with_option(apt.action, "--no-install-recommends", false));
        Some(found)
    });
    found.collect()
}

fn apt(view: &View<'_>) -> Vec<Found> {
    /// Actions that do the same in both.
    const SAME: [&str; 8] =
        ["autoclean", "autoremove", "build-dep", "clean", "install", "purge", "remove", "update"];
    let called = calls(view).filter(|called| called.call.name == "apt");
    let found = called.map(|called| {
        let action =
            called.call.arguments.iter().find_map(|word| word.literal().filter(|it| !it.starts_with('-')));
        let message = match action {
            Some(action) => format!("apt {} may change from one release to the next", shown(action)),
            None => "apt may change from one release to the next".to_owned(),
        };
        let mut found = called.found(message);
        if action.is_some_and(|action| SAME.contains(&action)) && called.call.word.is("apt") {
            let edits = called.replace(called.call.word, "apt-get");
            found.fixes.extend(edits.map(|edit| Fix {
                title: "Call apt-get".to_owned(),
                safe: true,
                edits: vec![edit],
            }));
        }
        found
    });
    found.collect()
}
