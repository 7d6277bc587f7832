//! `os-mismatch`

use rbx_dockerfile::{Base, Body, Keyword, Stage};

use super::RULE;
use super::site::sites;
use crate::finding::{Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "os-mismatch",
    severity: Severity::Warning,
    summary: "An image or an instruction is for another operating system than the stage's",
    explanation: include_str!("../../../rules/platform/os-mismatch.md"),
    check: Check::EachPlatform(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    // A file of Windows' images alone is one for Windows, whatever it is checked for.
    let has_other = view.request.platforms.iter().any(|platform| platform.os == "windows")
        || view.evaluation.stages.iter().any(|stage| {
            matches!(&stage.base, Base::Image(name) if !is_windows(name) && stage.platform.os == "linux")
        });
    let bases = view.stages().filter(|_| has_other).filter_map(|(stage, _)| base(view, stage));
    bases.chain(instructions(view)).collect()
}

/// Parts of names of images for Windows.
const WINDOWS: [&str; 4] =
    ["mcr.microsoft.com/windows", "nanoserver", "windowsservercore", "mcr.microsoft.com/dotnet/framework/"];

/// Commands of package managers of Linux.
const LINUX: [&str; 6] =
    ["apk add", "apt install", "apt-get install", "dnf install", "yum install", "zypper install"];

fn is_windows(image: &str) -> bool {
    WINDOWS.iter().any(|part| image.contains(part))
}

/// An image for Windows under a stage that is not.
fn base(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let Base::Image(name) = &stage.base else { return None };
    let Body::From(body) = &view.from(stage)?.body else { return None };
    let wrong = stage.platform.os == "linux" && !body.image.text.contains('$') && is_windows(name);
    wrong.then(|| Found::new(body.image.span, format!("{:?} is an image for Windows", shown(name))))
}

/// What Windows does not have.
fn instructions(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for site in sites(view).filter(|site| site.stage.platform.os == "windows") {
        let instruction = site.instruction;
        match instruction.keyword {
            Keyword::Run => {
                if let Some(mount) = instruction.flag("mount") {
                    all.push(Found::new(mount.span, "Windows has no mounts for RUN: the build fails"));
                }
                let command = LINUX.iter().find(|command| instruction.code.contains(**command));
                all.extend(command.map(|command| {
                    Found::new(instruction.keyword_span, format!("Windows has no {command:?}"))
                }));
            }
            Keyword::Copy | Keyword::Add => {
                let flag = instruction.flag("chown");
                all.extend(flag.map(|flag| Found::new(flag.span, "Windows ignores --chown")));
            }
            Keyword::Stopsignal => {
                let message = "Windows has no signals: STOPSIGNAL does nothing";
                all.push(Found::new(instruction.keyword_span, message));
            }
            _ => {}
        }
    }
    all
}
