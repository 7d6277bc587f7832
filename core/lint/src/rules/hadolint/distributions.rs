//! Package managers of distributions other than Debian's: DL3018, DL3019 (apk), DL3030, DL3032, DL3033 (yum), DL3034 to
//! DL3037 (zypper), DL3038, DL3040, DL3041 (dnf)

use super::USUAL;
use super::called::{does, has_extension, once_for_each, removes};
use super::managers::{Manager, managers};
use crate::finding::Severity;
use crate::rule::{Check, Rule};
use crate::shell::Run;
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3018",
        summary: "apk installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3018.md"),
        check: Check::Once(apk_unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3019",
        summary: "apk leaves its package index in the image",
        explanation: include_str!("../../../rules/hadolint/DL3019.md"),
        changes: Some("the command gets an option, by which it keeps no cache"),
        check: Check::Once(apk_cache),
        ..USUAL
    },
    Rule {
        name: "DL3030",
        severity: Severity::Warning,
        summary: "yum install asks, and nobody answers",
        explanation: include_str!("../../../rules/hadolint/DL3030.md"),
        changes: Some("the command gets an option, by which it answers its own questions"),
        check: Check::Once(yum_asks),
        ..USUAL
    },
    Rule {
        name: "DL3032",
        summary: "yum leaves what it fetched in the image",
        explanation: include_str!("../../../rules/hadolint/DL3032.md"),
        check: Check::Once(yum_cache),
        ..USUAL
    },
    Rule {
        name: "DL3033",
        summary: "yum installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3033.md"),
        check: Check::Once(yum_unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3034",
        severity: Severity::Warning,
        summary: "zypper asks, and nobody answers",
        explanation: include_str!("../../../rules/hadolint/DL3034.md"),
        changes: Some("the command gets an option, by which it answers its own questions"),
        check: Check::Once(zypper_asks),
        ..USUAL
    },
    Rule {
        name: "DL3035",
        summary: "zypper dist-upgrade makes another release of the base image",
        explanation: include_str!("../../../rules/hadolint/DL3035.md"),
        check: Check::Once(zypper_upgrade),
        ..USUAL
    },
    Rule {
        name: "DL3036",
        summary: "zypper leaves what it fetched in the image",
        explanation: include_str!("../../../rules/hadolint/DL3036.md"),
        check: Check::Once(zypper_cache),
        ..USUAL
    },
    Rule {
        name: "DL3037",
        summary: "zypper installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3037.md"),
        check: Check::Once(zypper_unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3038",
        severity: Severity::Warning,
        summary: "dnf install asks, and nobody answers",
        explanation: include_str!("../../../rules/hadolint/DL3038.md"),
        changes: Some("the command gets an option, by which it answers its own questions"),
        check: Check::Once(dnf_asks),
        ..USUAL
    },
    Rule {
        name: "DL3040",
        summary: "dnf leaves what it fetched in the image",
        explanation: include_str!("../../../rules/hadolint/DL3040.md"),
        check: Check::Once(dnf_cache),
        ..USUAL
    },
    Rule {
        name: "DL3041",
        summary: "dnf installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3041.md"),
        check: Check::Once(dnf_unpinned),
        ..USUAL
    },
];

const YUM: &[&str] = &["yum"];
const DNF: &[&str] = &["dnf", "dnf5", "microdnf"];

/// `apk add`
fn apks<'a>(view: &'a View<'_>) -> impl Iterator<Item = Manager<'a>> {
    const WITH_VALUE: &[&str] = &[
        "-t",
        "--virtual",
        "-X",
        "--repository",
        "--repositories-file",
        "-p",
        "--root",
        "--arch",
        "--keys-dir",
        "--cache-dir",
        "--cache-max-age",
        "--progress-fd",
        "--timeout",
        "--wait",
    ];
    managers(view, &["apk"], &["add"], WITH_VALUE)
}

fn apk_unpinned(view: &View<'_>) -> Vec<Found> {
    let is_pinned = |name: &str| {
        name.contains(['=', '<', '>', '~', '/', '{'])
            || has_extension(name, "apk")
            || name.starts_with(['!', '.'])
    };
    let found = apks(view).filter_map(|apk| apk.unpinned(is_pinned, "name=version"));
    found.collect()
}

fn apk_cache(view: &View<'_>) -> Vec<Found> {
    const CACHE: &str = "/var/cache/apk";
    let mut stays = once_for_each(|run| {
        let mounted = run.is_mounted(CACHE) || run.is_mounted("/etc/apk/cache");
        view.in_image(run.stage) && !mounted && !removes(run, CACHE)
    });
    let found = apks(view).filter_map(|apk| {
        if apk.arguments.has(&["--no-cache"]) || apk.arguments.unsure || !stays(apk.called.run) {
            return None;
        }
        let mut found = apk.called.found("apk add leaves its package index in the image");
        found.fixes.extend(apk.called.with_option(apk.action, "--no-cache", true));
        Some(found)
    });
    found.collect()
}

/// Calls of yum and what has come after it.
fn yums<'a>(
    view: &'a View<'_>,
    programs: &'a [&str],
    actions: &'a [&str],
) -> impl Iterator<Item = Manager<'a>> {
    const WITH_VALUE: &[&str] = &[
        "-c",
        "--config",
        "-d",
        "-e",
        "-x",
        "--exclude",
        "--enablerepo",
        "--disablerepo",
        "--repo",
        "--repoid",
        "--releasever",
        "--installroot",
        "--forcearch",
        "--setopt",
        "--disableplugin",
        "--enableplugin",
        "--advisory",
    ];
    managers(view, programs, actions, WITH_VALUE)
}

fn asks(view: &View<'_>, programs: &[&str]) -> Vec<Found> {
    const ACTIONS: &[&str] =
        &["groupinstall", "install", "localinstall", "reinstall", "swap", "update", "upgrade"];
    // A file of the configuration that says so may be written in the Dockerfile.
    if view.file.text.to_ascii_lowercase().contains("assumeyes=") {
        return Vec::new();
    }
    let answers = ["-y", "--assumeyes", "--assumeno", "--downloadonly", "-h", "--help"];
    yums(view, programs, ACTIONS).filter_map(|yum| yum.asks(&answers, "-y")).collect()
}

fn yum_asks(view: &View<'_>) -> Vec<Found> {
    asks(view, YUM)
}

fn dnf_asks(view: &View<'_>) -> Vec<Found> {
    // microdnf always assumes yes.
    asks(view, &["dnf", "dnf5"])
}

fn cache(view: &View<'_>, programs: &[&str]) -> Vec<Found> {
    const ALL: [&str; 4] = ["yum", "dnf", "dnf5", "microdnf"];
    const DIRECTORIES: [&str; 3] = ["/var/cache/yum", "/var/cache/dnf", "/var/cache/libdnf5"];
    const ACTIONS: &[&str] = &["groupinstall", "install", "localinstall", "reinstall", "update", "upgrade"];
    let mut stays = once_for_each(|run| {
        let away = |directory: &&str| run.is_mounted(directory) || removes(run, directory);
        view.in_image(run.stage) && !does(run, &ALL, &["clean"]) && !DIRECTORIES.iter().any(away)
    });
    let mut last = None;
    // One finding for each step.
    let mut is_first = |run: &Run<'_>| last.replace(run.instruction.span) != Some(run.instruction.span);
    yums(view, programs, ACTIONS)
        .filter(|yum| is_first(yum.called.run) && stays(yum.called.run))
        .map(|yum| {
            let name = yum.called.call.name;
            yum.called.found(format!("{name} {} leaves what it fetched in the image", yum.action.prefix()))
        })
        .collect()
}

fn yum_cache(view: &View<'_>) -> Vec<Found> {
    cache(view, YUM)
}

fn dnf_cache(view: &View<'_>) -> Vec<Found> {
    cache(view, DNF)
}

fn unpinned(view: &View<'_>, programs: &[&str]) -> Vec<Found> {
    let is_pinned = |name: &str| {
        let version = name.split('-').skip(1).any(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        version || name.contains(['=', '<', '>', '/', '*', '{', '@']) || has_extension(name, "rpm")
    };
    let found = yums(view, programs, &["install", "reinstall"])
        .filter_map(|yum| yum.unpinned(is_pinned, "name-version"));
    found.collect()
}

fn yum_unpinned(view: &View<'_>) -> Vec<Found> {
    unpinned(view, YUM)
}

fn dnf_unpinned(view: &View<'_>) -> Vec<Found> {
    unpinned(view, DNF)
}

fn zyppers<'a>(view: &'a View<'_>, actions: &'a [&str]) -> impl Iterator<Item = Manager<'a>> {
    const WITH_VALUE: &[&str] = &[
        "-R",
        "--root",
        "-D",
        "--reposd-dir",
        "-C",
        "--cache-dir",
        "-p",
        "--plus-repo",
        "-r",
        "--repo",
        "-t",
        "--type",
        "--from",
        "--releasever",
    ];
    managers(view, &["zypper"], actions, WITH_VALUE)
}

fn zypper_asks(view: &View<'_>) -> Vec<Found> {
    const ACTIONS: &[&str] = &[
        "dist-upgrade",
        "dup",
        "in",
        "install",
        "patch",
        "remove",
        "rm",
        "si",
        "source-install",
        "up",
        "update",
    ];
    let answers = ["-n", "--non-interactive", "-y", "--no-confirm", "-D", "--dry-run", "-h", "--help"];
    zyppers(view, ACTIONS).filter_map(|zypper| zypper.asks(&answers, "-y")).collect()
}

fn zypper_upgrade(view: &View<'_>) -> Vec<Found> {
    let found = zyppers(view, &["dist-upgrade", "dup"]).map(|zypper| {
        let action = zypper.action.prefix();
        zypper.called.found(format!("zypper {action} makes another release of what the base image is"))
    });
    found.collect()
}

fn zypper_cache(view: &View<'_>) -> Vec<Found> {
    const CACHE: &str = "/var/cache/zypp";
    const ACTIONS: &[&str] = &["dist-upgrade", "dup", "in", "install", "patch", "up", "update"];
    let mut stays = once_for_each(|run| {
        let away = does(run, &["zypper"], &["clean", "cc"]) || run.is_mounted(CACHE) || removes(run, CACHE);
        view.in_image(run.stage) && !away
    });
    zyppers(view, ACTIONS)
        .filter(|zypper| stays(zypper.called.run))
        .map(|zypper| zypper.called.found("zypper leaves what it fetched in the image"))
        .collect()
}

fn zypper_unpinned(view: &View<'_>) -> Vec<Found> {
    let is_pinned =
        |name: &str| name.contains(['=', '<', '>', '/', '*', '{', ':']) || has_extension(name, "rpm");
    let found =
        zyppers(view, &["in", "install"]).filter_map(|zypper| zypper.unpinned(is_pinned, "name=version"));
    found.collect()
}
