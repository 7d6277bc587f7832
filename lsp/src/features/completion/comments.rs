//! Parser directives, and comments that mean something to `BuildKit` or to this program.

use rbx_lint::{Family, rules};

use super::{About, Here, Item, Kind, flags};

/// Front ends that are offered.
const FRONTENDS: [(&str, &str); 3] = [
    ("docker/dockerfile:1", "the newest of version 1"),
    ("docker/dockerfile:1-labs", "with what is not yet settled"),
    ("docker/dockerfile-upstream:master", "as it is developed"),
];

/// What may follow the `#` of a comment.
pub(super) fn items(here: &Here<'_>, before: &str, directive: bool) -> Vec<Item> {
    let text = before.trim_start();
    if let Some((name, value)) = text.split_once('=') {
        let name = name.trim().to_ascii_lowercase();
        let value = value.trim_start();
        return match name.as_str() {
            "syntax" if directive => {
                let item = |(image, detail): &(&str, &str)| {
                    Item::new(Kind::Image, *image, value.len()).detail(*detail)
                };
                FRONTENDS.iter().map(item).collect()
            }
            "escape" if directive => ["\\", "`"].map(|c| Item::new(Kind::Value, c, value.len())).into(),
            "check" => check(value),
            _ => own(here, &name, value),
        };
    }
    let mut items = Vec::new();
    let mut add = |label: &str, detail: &str, about: Option<About>| {
        let mut item = Item::new(Kind::Keyword, label, text.len()).detail(detail);
        // Between the sign and the name is a space, unless the user has begun otherwise.
        if before.is_empty() {
            item.insert = Some(format!(" {label}"));
        }
        item.about = about;
        items.push(item);
    };
    let known = &here.file.directives;
    if directive {
        let named = [
            ("syntax=", known.syntax.is_some(), "the front end that reads this file"),
            ("escape=", known.escape.is_some(), "the character that continues lines"),
        ];
        for (label, _, detail) in named.into_iter().filter(|(_, is_there, _)| !is_there) {
            add(label, detail, Some(About::Directive(label.trim_end_matches('=').to_owned())));
        }
        if known.check.is_none() {
            let about = || Some(About::Directive("check".to_owned()));
            add("check=skip=", "checks that are not made", about());
            add("check=error=true", "findings make builds fail", about());
            add("check=experimental=", "checks that are made only then", about());
        }
    } else {
        add(
            "check=skip=",
            "checks that are not made of the instruction below",
            Some(About::Directive("check".to_owned())),
        );
    }
    if here.file.platforms().is_empty() {
        add("rbx: platforms=", "what this file is built for", None);
    }
    add("rbx: ignore=", "rules that are silent for the instruction below", None);
    add("rbx: ignore-stage=", "rules that are silent in the stage", None);
    add("rbx: ignore-file=", "rules that are silent in this file", None);
    // Most comments are prose.
    items.retain(|item| item.label.starts_with(&text.to_ascii_lowercase()));
    items
}

/// The options of `# check=`, `before` being written of them.
fn check(before: &str) -> Vec<Item> {
    let (done, option) = before.rsplit_once(';').unwrap_or(("", before));
    let Some((key, value)) = option.split_once('=') else {
        let all = [
            ("skip=", "checks that are not made"),
            ("error=true", "findings make builds fail"),
            ("experimental=", "checks that are made only then"),
        ];
        let is_new = |label: &str| !done.contains(label.split('=').next().unwrap_or_default());
        let all = all.into_iter().filter(|(label, _)| is_new(label));
        return all
            .map(|(label, detail)| Item::new(Kind::Keyword, label, option.len()).detail(detail))
            .collect();
    };
    match key {
        "skip" => names(value, &|family, _| family == Family::BuildKit),
        "experimental" => names(value, &|family, enabled| family == Family::BuildKit && !enabled),
        "error" => ["true", "false"].map(|flag| Item::new(Kind::Value, flag, value.len())).into(),
        _ => Vec::new(),
    }
}

/// This program's own comments and hadolint's.
fn own(here: &Here<'_>, name: &str, value: &str) -> Vec<Item> {
    if let Some(own) = name.strip_prefix("rbx:") {
        return match own.trim_start() {
            "platforms" => {
                let (done, last) = value.rsplit_once([',', ' ']).unwrap_or(("", value));
                let done: Vec<&str> = done.split([',', ' ']).collect();
                let mut items = flags::platforms(here, last.len());
                items.retain(|item| item.label != last && !done.contains(&item.label.as_str()));
                items
            }
            "ignore" | "ignore-stage" | "ignore-file" => names(value, &|_, _| true),
            _ => Vec::new(),
        };
    }
    let is_hadolint = name.starts_with("hadolint ") && name.ends_with("ignore");
    if is_hadolint { names(value, &|family, _| family != Family::ShellCheck) } else { Vec::new() }
}

/// Names of rules after those that are written already.
fn names(before: &str, fits: &dyn Fn(Family, bool) -> bool) -> Vec<Item> {
    let (done, last) = before.rsplit_once(',').unwrap_or(("", before));
    let done: Vec<&str> = done.split(',').map(str::trim).collect();
    let last = last.trim_start();
    let fitting = rules().iter().filter(|rule| fits(rule.family, rule.enabled) && !done.contains(&rule.name));
    let item = |rule: &&'static rbx_lint::Rule| {
        Item::new(Kind::Rule, rule.name, last.len())
            .detail(rule.summary)
            .about(About::Rule(rule.name.to_owned()))
    };
    let mut items: Vec<Item> = fitting.map(item).collect();
    if done == [""] {
        items.push(Item::new(Kind::Rule, "all", last.len()).detail("every rule"));
    }
    items
}
