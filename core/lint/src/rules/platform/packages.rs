//! `apt-arch-const`, `pkg-absent-on-arch` and `foreign-dpkg-arch`: packages of one architecture.

use std::ops::Range;

use rbx_dockerfile::Keyword;

use super::RULE;
use super::site::{Piece, Site, asks_itself, is_for, names_its_own, runs, sites};
use crate::arch::{self, Arch, Hit};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::shell::{Call, Command, Join, Run};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "apt-arch-const",
        severity: Severity::Info,
        summary: "A package or a source of packages is one of another architecture",
        explanation: include_str!("../../../rules/platform/apt-arch-const.md"),
        check: Check::EachPlatform(constant),
        ..RULE
    },
    Rule {
        name: "pkg-absent-on-arch",
        severity: Severity::Info,
        summary: "A package is installed that the distribution does not have for this architecture",
        explanation: include_str!("../../../rules/platform/pkg-absent-on-arch.md"),
        check: Check::EachPlatform(absent),
        ..RULE
    },
    Rule {
        name: "foreign-dpkg-arch",
        severity: Severity::Info,
        summary: "Packages for i386 are enabled on an architecture that does not run them",
        explanation: include_str!("../../../rules/platform/foreign-dpkg-arch.md"),
        check: Check::EachPlatform(foreign),
        ..RULE
    },
];

/// Ends of names of packages: Debian's, and others'.
pub(super) const PACKAGES: [&str; 2] = [".deb", ".rpm"];

/// Something of an architecture in a piece of text.
struct Spelled<'a> {
    piece: Piece<'a>,
    /// All that is about it.
    range: Range<usize>,
    hit: Hit,
    message: String,
}

fn constant(view: &View<'_>) -> Vec<Found> {
    let text = &view.file.text;
    if ![".deb", ".rpm", "arch=", "Architectures:", "ubuntu.com/ubuntu"]
        .iter()
        .any(|part| text.contains(part))
    {
        return Vec::new();
    }
    let is_about =
        |site: &Site<'_>| matches!(site.instruction.keyword, Keyword::Run | Keyword::Add | Keyword::Copy);
    sites(view).filter(is_about).filter_map(|site| of_instruction(view, &site)).collect()
}

fn of_instruction(view: &View<'_>, site: &Site<'_>) -> Option<Found> {
    let platform = &site.stage.platform;
    let asks = || asks_itself(view.file, site.instruction);
    for piece in site.pieces(view.file) {
        let found = arch::find(piece.text).into_iter().find_map(|hit| {
            let wrong = !hit.arch.runs_on(platform) && !piece.is_comment(hit.range.start);
            wrong.then(|| package(piece, &hit).or_else(|| source(piece, &hit))).flatten()
        });
        if let Some(spelled) = found {
            if asks() || names_its_own(view, site) || is_for(view, site.stage, spelled.hit.arch) {
                return None;
            }
            let mut found = Found::new(spelled.piece.span(&spelled.range), spelled.message.clone());
            found.fixes.extend(asked(site, &spelled));
            return Some(found);
        }
        let is_x86 = matches!(platform.architecture.as_str(), "amd64" | "386");
        if !is_x86
            && platform.os == "linux"
            && let Some(range) = main_archive(piece.text)
            && !asks()
            && !piece.text.contains("ports.ubuntu.com")
        {
            let message = "archive.ubuntu.com has packages for amd64 and i386 only";
            return Some(Found::new(piece.span(&range), message));
        }
    }
    None
}

/// The end of a word in a script.
fn is_end(c: char) -> bool {
    c.is_whitespace() || "\"'=;()|&<>`".contains(c)
}

/// The name of a package's file.
fn package<'a>(piece: Piece<'a>, hit: &Hit) -> Option<Spelled<'a>> {
    let text = piece.text;
    let start = text[..hit.range.start].rfind(is_end).map_or(0, |at| at + 1);
    let end = text[hit.range.end..].find(is_end).map_or(text.len(), |at| hit.range.end + at);
    let word = &text[start..end];
    let file_start = word.rfind('/').map_or(start, |slash| start + slash + 1);
    let is_package = PACKAGES.iter().any(|suffix| word.ends_with(suffix)) && hit.range.start >= file_start;
    // A package for all architectures may have one in its name, too.
    let is_for_all = ["_all.deb", ".noarch.rpm"].iter().any(|suffix| word.ends_with(suffix));
    (is_package && !is_for_all).then(|| Spelled {
        piece,
        range: start..end,
        hit: hit.clone(),
        message: format!("{} is a package for {}", shown(&text[file_start..end]), hit.arch.name()),
    })
}

/// The architecture of a line of `sources.list`.
fn source<'a>(piece: Piece<'a>, hit: &Hit) -> Option<Spelled<'a>> {
    let text = piece.text;
    let before = &text[..hit.range.start];
    let line = before.rfind(['\n', '[']).map_or(0, |at| at + 1);
    let option = &before[line..];
    let in_brackets = before[..line].ends_with('[')
        && before[..line - 1].trim_end().ends_with("deb")
        && option.contains("arch=");
    let in_paragraph = option.trim_start().starts_with("Architectures:");
    let list_end = text[hit.range.end..].find(|c: char| c.is_whitespace() || c == ']');
    let rest = &text[hit.range.end..hit.range.end + list_end.unwrap_or(0)];
    let start = if in_brackets { line + option.rfind("arch=")? } else { line };
    (in_brackets || in_paragraph).then(|| Spelled {
        piece,
        range: start..hit.range.end + rest.len(),
        hit: hit.clone(),
        message: format!("A source of packages for {} only", hit.arch.name()),
    })
}

/// A line for `sources.list` that names Ubuntu's archive, which has two architectures.
fn main_archive(text: &str) -> Option<Range<usize>> {
    ["archive.ubuntu.com/ubuntu", "security.ubuntu.com/ubuntu"].into_iter().find_map(|host| {
        text.match_indices(host).find_map(|(at, _)| {
            let start = text[..at].rfind("deb ")?;
            let between = &text[start + 4..at];
            let options = between.split_once(']').map_or(between, |(_, rest)| rest).trim();
            matches!(options, "http://" | "https://").then_some(at..at + host.len())
        })
    })
}

/// Asks Debian's package manager in the place of a spelling that is its own.
fn asked(site: &Site<'_>, spelled: &Spelled<'_>) -> Option<Fix> {
    let Spelled { piece, hit, .. } = spelled;
    let is_debian = &piece.text[hit.range.clone()] == "amd64" || &piece.text[hit.range.clone()] == "arm64";
    let is_rpm = PACKAGES[1..].iter().any(|end| piece.text[spelled.range.clone()].ends_with(end));
    (site.is_shell() && is_debian && !is_rpm && !piece.is_quoted(hit.range.start)).then(|| Fix {
        title: "Ask dpkg for the architecture".to_owned(),
        safe: false,
        edits: vec![Edit { span: piece.span(&hit.range), text: "$(dpkg --print-architecture)".to_owned() }],
    })
}

/// A package that not every architecture has.
struct Package {
    name: &'static str,
    how: How,
    /// The architectures, as Docker calls them, that surely do not have it.
    not_on: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum How {
    Whole,
    Beginning,
    End,
}

const NOT_X86: &[&str] = &["arm", "arm64", "ppc64le", "riscv64", "s390x"];
const NOT_AMD64: &[&str] = &["386", "arm", "arm64", "ppc64le", "riscv64", "s390x"];
const NO_ARM: &[&str] = &["arm", "arm64", "riscv64"];

/// Debian's and Ubuntu's packages, as their archives have them.
const DEBIAN: [Package; 19] = [
    Package { name: "-multilib", how: How::End, not_on: NO_ARM },
    Package { name: "amd64-microcode", how: How::Whole, not_on: NOT_X86 },
    Package { name: "cpuid", how: How::Whole, not_on: NOT_X86 },
    Package { name: "grub-pc", how: How::Beginning, not_on: NOT_X86 },
    Package { name: "i965-va-driver", how: How::Beginning, not_on: NOT_X86 },
    Package { name: "intel-media-va-driver", how: How::Beginning, not_on: NOT_X86 },
    Package { name: "intel-microcode", how: How::Whole, not_on: NOT_X86 },
    Package { name: "intel-mkl", how: How::Beginning, not_on: NOT_AMD64 },
    Package { name: "intel-oneapi-", how: How::Beginning, not_on: NOT_AMD64 },
    Package { name: "iucode-tool", how: How::Whole, not_on: NOT_X86 },
    Package { name: "lib32", how: How::Beginning, not_on: NO_ARM },
    Package { name: "libc6-dev-i386", how: How::Whole, not_on: NO_ARM },
    Package { name: "libc6-i386", how: How::Whole, not_on: NO_ARM },
    Package { name: "microsoft-edge-", how: How::Beginning, not_on: NOT_AMD64 },
    Package { name: "msr-tools", how: How::Whole, not_on: NOT_X86 },
    Package { name: "steamcmd", how: How::Whole, not_on: NOT_X86 },
    Package { name: "syslinux", how: How::Whole, not_on: NOT_X86 },
    Package { name: "wine32", how: How::Whole, not_on: &["arm64", "riscv64", "ppc64le", "s390x"] },
    Package { name: "x86info", how: How::Whole, not_on: NOT_X86 },
];

/// Alpine's.
const ALPINE: [Package; 4] = [
    Package { name: "intel-media-driver", how: How::Whole, not_on: NOT_X86 },
    Package { name: "intel-ucode", how: How::Whole, not_on: NOT_X86 },
    Package { name: "libva-intel-driver", how: How::Whole, not_on: NOT_X86 },
    Package { name: "syslinux", how: How::Whole, not_on: NOT_X86 },
];

impl Package {
    fn is_called(&self, name: &str) -> bool {
        match self.how {
            How::Whole => name == self.name,
            How::Beginning => name.starts_with(self.name),
            // `gcc-multilib-x86-64-linux-gnu` is another one.
            How::End => name.ends_with(self.name) && (name.starts_with("gcc") || name.starts_with("g++")),
        }
    }
}

/// The packages that a call installs, and what is known of its manager's.
fn known(call: &Call<'_>) -> Option<&'static [Package]> {
    let installs = |word: &str| call.arguments.iter().any(|argument| argument.is(word));
    match call.name {
        "apt" | "apt-get" | "aptitude" if installs("install") => Some(&DEBIAN),
        "apk" if installs("add") => Some(&ALPINE),
        _ => None,
    }
}

fn absent(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for run in runs(view) {
        let architecture = run.stage.platform.architecture.as_str();
        if matches!(architecture, "amd64") || run.stage.platform.os != "linux" {
            continue;
        }
        for command in run.script.program.commands.iter().filter(|command| is_sure(command)) {
            let Some(call) = command.call() else { continue };
            let Some(packages) = known(&call) else { continue };
            for word in call.arguments {
                let Some(text) = word.literal() else { continue };
                // What has an architecture is of another one.
                let name = text.split(['=', '/']).next().unwrap_or_default();
                let is_it = |package: &&Package| {
                    !name.contains(':') && package.is_called(name) && package.not_on.contains(&architecture)
                };
                if packages.iter().any(|package| is_it(&package)) && !asks_itself(view.file, run.instruction)
                {
                    let message = format!("There is no package {}", shown(name));
                    all.push(Found::new(run.script.span(&word.range), message));
                }
            }
        }
    }
    all
}

/// Whether a command is run in any case, and must succeed.
fn is_sure(command: &Command) -> bool {
    !command.context.branch && command.after != Join::Or && !matches!(command.before, Join::Or)
}

fn foreign(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("--add-architecture") {
        return Vec::new();
    }
    runs(view).filter_map(|run| i386(view, run)).collect()
}

fn i386(view: &View<'_>, run: &Run<'_>) -> Option<Found> {
    if Arch::I386.runs_on(&run.stage.platform) || is_for(view, run.stage, Arch::Amd64) {
        return None;
    }
    let adds = |command: &&Command| {
        command.call().is_some_and(|call| {
            call.name == "dpkg"
                && call.arguments.first().is_some_and(|word| word.is("--add-architecture"))
                && call.arguments.get(1).is_some_and(|word| word.is("i386"))
        })
    };
    let command = run.script.program.commands.iter().find(adds).filter(|command| is_sure(command))?;
    if asks_itself(view.file, run.instruction) {
        return None;
    }
    let message = "Programs for i386 do not run";
    Some(Found::new(run.script.span(&command.range), message))
}
