//! Package managers of languages: DL3013, DL3042 (pip), DL3016 (npm), DL3028 (gem), DL3060 (yarn), DL3062 (go)

use super::USUAL;
use super::called::{Called, calls, does, has_extension, once_for_each};
use super::managers::{Manager, managers};
use crate::finding::shown;
use crate::rule::{Check, Rule};
use crate::shell::Word;
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3013",
        summary: "pip installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3013.md"),
        check: Check::Once(pip_unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3016",
        summary: "npm installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3016.md"),
        check: Check::Once(npm_unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3028",
        summary: "gem installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3028.md"),
        check: Check::Once(gem_unpinned),
        ..USUAL
    },
    Rule {
        name: "DL3042",
        summary: "pip leaves what it fetched in the image",
        explanation: include_str!("../../../rules/hadolint/DL3042.md"),
        changes: Some("the command gets an option, by which it keeps no cache"),
        check: Check::Once(pip_cache),
        ..USUAL
    },
    Rule {
        name: "DL3060",
        summary: "yarn leaves what it fetched in the image",
        explanation: include_str!("../../../rules/hadolint/DL3060.md"),
        check: Check::Once(yarn_cache),
        ..USUAL
    },
    Rule {
        name: "DL3062",
        summary: "go installs whatever version there is on the day",
        explanation: include_str!("../../../rules/hadolint/DL3062.md"),
        check: Check::Once(go_unpinned),
        ..USUAL
    },
];

/// `pip install`
fn pips<'a>(view: &'a View<'_>) -> impl Iterator<Item = Manager<'a>> {
    const WITH_VALUE: &[&str] = &[
        "-r",
        "--requirement",
        "-c",
        "--constraint",
        "-e",
        "--editable",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
        "-t",
        "--target",
        "-C",
        "--config-settings",
        "--abi",
        "--build",
        "--cache-dir",
        "--cert",
        "--exists-action",
        "--global-option",
        "--group",
        "--implementation",
        "--install-option",
        "--log",
        "--no-binary",
        "--only-binary",
        "--platform",
        "--prefix",
        "--progress-bar",
        "--proxy",
        "--python",
        "--python-version",
        "--report",
        "--retries",
        "--root",
        "--root-user-action",
        "--src",
        "--timeout",
        "--trusted-host",
        "--upgrade-strategy",
        "--use-deprecated",
        "--use-feature",
    ];
    calls(view).filter_map(|called| {
        let words = called.call.arguments;
        let words = match called.call.name {
            name if is_versioned(name, "pip") => words,
            name if is_versioned(name, "python") => {
                let module = words.iter().position(|word| word.is("-m"))?;
                if !words.get(module + 1)?.is("pip") {
                    return None;
                }
                words.get(module + 2..)?
            }
            _ => return None,
        };
        Manager::read(called, words, &["install"], WITH_VALUE)
    })
}

/// `pip`, `pip3`, `pip3.12`
fn is_versioned(name: &str, program: &str) -> bool {
    name.strip_prefix(program).is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn pip_unpinned(view: &View<'_>) -> Vec<Found> {
    let is_pinned = |name: &str| {
        name.contains(['=', '<', '>', '~', '!', '@', '/', ':']) || name.starts_with('.') || is_archive(name)
    };
    pips(view)
        .filter(|pip| !pip.arguments.has(&["-c", "--constraint"]))
        .filter_map(|pip| pip.unpinned(is_pinned, "name==version"))
        .collect()
}

fn is_archive(name: &str) -> bool {
    ["whl", "gz", "zip", "tgz", "bz2"].iter().any(|extension| has_extension(name, extension))
}

fn pip_cache(view: &View<'_>) -> Vec<Found> {
    let mut stays = once_for_each(|run| {
        let set = run.step.is_some_and(|step| step.run_env.get("PIP_NO_CACHE_DIR").is_some());
        let mounted = run.mounts(|target| {
            let target = target.trim_end_matches('/');
            target.ends_with("/.cache") || target.contains("pip")
        });
        let mentioned = ["PIP_NO_CACHE_DIR", "/.cache"].iter().any(|text| run.script.text.contains(text));
        view.in_image(run.stage) && !(set || mounted || mentioned || does(run, &["pip", "pip3"], &["purge"]))
    });
    let found = pips(view).filter_map(|pip| {
        let told = pip.arguments.has(&["--no-cache-dir", "--no-cache", "--cache-dir", "--dry-run"]);
        if told || pip.arguments.unsure || !stays(pip.called.run) {
            return None;
        }
        let mut found = pip.called.found("pip install leaves what it fetched in the image");
        found.fixes.extend(pip.called.with_option(pip.action, "--no-cache-dir", true));
        Some(found)
    });
    found.collect()
}

fn npm_unpinned(view: &View<'_>) -> Vec<Found> {
    const WITH_VALUE: &[&str] = &[
        "-C",
        "--prefix",
        "--registry",
        "--cache",
        "--loglevel",
        "-w",
        "--workspace",
        "--omit",
        "--include",
        "--userconfig",
        "--tag",
        "--location",
        "--fetch-retries",
        "--fetch-timeout",
    ];
    let is_pinned = |name: &str| {
        let after_scope = name.get(1..).unwrap_or_default();
        after_scope.contains(['@', '#', ':', '{'])
            || name.starts_with(['.', '/', '~'])
            || ["tgz", "gz", "tar"].iter().any(|extension| has_extension(name, extension))
    };
    managers(view, &["npm"], &["install", "i", "add"], WITH_VALUE)
        .filter_map(|npm| npm.unpinned(is_pinned, "name@version"))
        .collect()
}

fn gem_unpinned(view: &View<'_>) -> Vec<Found> {
    const WITH_VALUE: &[&str] = &[
        "-v",
        "--version",
        "-i",
        "--install-dir",
        "-n",
        "--bindir",
        "-s",
        "--source",
        "-P",
        "--trust-policy",
        "--platform",
        "-g",
        "--file",
        "-p",
        "--http-proxy",
        "--build-root",
        "--target-rbconfig",
    ];
    let is_pinned =
        |name: &str| name.contains([':', '/', '{']) || has_extension(name, "gem") || name.starts_with('.');
    let found = calls(view).filter(|called| called.call.name == "gem").filter_map(|called| {
        // After `--` are options of what builds it.
        let words = called.call.arguments;
        let end = words.iter().position(|word| word.is("--")).unwrap_or(words.len());
        let gem = Manager::read(called, words.get(..end)?, &["install", "i"], WITH_VALUE)?;
        if gem.arguments.has(&["-v", "--version", "-g", "--file"]) {
            return None;
        }
        gem.unpinned(is_pinned, "name:version")
    });
    found.collect()
}

fn yarn_cache(view: &View<'_>) -> Vec<Found> {
    let mut stays = once_for_each(|run| {
        let mounted =
            run.mounts(|target| target.contains("yarn") || target.trim_end_matches('/').ends_with("/.cache"));
        let mentioned = ["cache-folder", "/.cache"].iter().any(|text| run.script.text.contains(text));
        view.in_image(run.stage) && !(mounted || mentioned || does(run, &["yarn"], &["clean"]))
    });
    let installs = |called: &Called<'_>| {
        called.call.name == "yarn" && called.call.operand().is_some_and(|word| word.is("install"))
    };
    let found = calls(view).filter(|called| installs(called) && stays(called.run));
    found.map(|called| called.found("yarn install leaves what it fetched in the image")).collect()
}

fn go_unpinned(view: &View<'_>) -> Vec<Found> {
    const WITH_VALUE: &[&str] =
        &["-C", "-o", "-p", "-ldflags", "-tags", "-gcflags", "-asmflags", "-mod", "-modfile"];
    let mut all = Vec::new();
    for called in calls(view).filter(|called| called.call.name == "go") {
        let mut words = called.call.arguments.iter();
        let Some(action) = words.next().and_then(Word::literal) else { continue };
        if !["get", "install", "run"].contains(&action) {
            continue;
        }
        let mut found = None;
        while let Some(word) = words.next() {
            let text = word.prefix();
            if text.starts_with('-') {
                if WITH_VALUE.contains(&text) {
                    words.next();
                }
                continue;
            }
            let Some(name) = word.literal() else { continue };
            let version = name.split_once('@').map(|(_, version)| version);
            let is_remote =
                name.split('/').next().is_some_and(|host| host.contains('.') && !host.starts_with('.'));
            let any = match version {
                Some(version) => {
                    matches!(version, "latest" | "upgrade" | "patch" | "main" | "master" | "HEAD")
                }
                // In a module, its go.mod says which version others are.
                None => action == "get",
            };
            if is_remote && any {
                found.get_or_insert((word, name));
            }
            if action == "run" {
                break;
            }
        }
        if let Some((word, name)) = found {
            let message =
                format!("go {action} takes any version of {}; name@version says which", shown(name));
            all.push(called.found_at(word, message));
        }
    }
    all
}
