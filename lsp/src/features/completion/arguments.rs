//! What follows an instruction's flags.

use rbx_dockerfile::{Body, Keyword};

use super::flags::list;
use super::{About, Here, Item, Kind, paths};
use crate::features::cursor::{Arguments, Json};
use crate::features::signals::SIGNALS;
use crate::features::{known, predefined};

/// Official images that many files stand on.
const IMAGES: [(&str, &str); 24] = [
    ("scratch", "nothing: an empty image"),
    ("alpine", "a small Linux with musl"),
    ("busybox", "a small set of commands"),
    ("debian", ""),
    ("ubuntu", ""),
    ("fedora", ""),
    ("amazonlinux", ""),
    ("rockylinux", ""),
    ("archlinux", ""),
    ("golang", "the Go compiler"),
    ("rust", "the Rust compiler and Cargo"),
    ("gcc", "C and C++"),
    ("node", "Node.js"),
    ("python", ""),
    ("ruby", ""),
    ("php", ""),
    ("perl", ""),
    ("eclipse-temurin", "Java"),
    ("maven", "Java with Maven"),
    ("gradle", "Java with Gradle"),
    ("nginx", "a web server"),
    ("httpd", "the Apache web server"),
    ("postgres", "a database"),
    ("redis", "a database in memory"),
];
/// The keys of labels that the OCI image specification describes.
const LABELS: [(&str, &str); 14] = [
    ("org.opencontainers.image.title", "a title for people"),
    ("org.opencontainers.image.description", "a description for people"),
    ("org.opencontainers.image.version", "the version of what is packaged"),
    ("org.opencontainers.image.source", "the address of its source code"),
    ("org.opencontainers.image.url", "the address of more about it"),
    ("org.opencontainers.image.documentation", "the address of its documentation"),
    ("org.opencontainers.image.licenses", "its licences, an SPDX expression"),
    ("org.opencontainers.image.authors", "who answers for it"),
    ("org.opencontainers.image.vendor", "who distributes it"),
    ("org.opencontainers.image.revision", "the commit of its source code"),
    ("org.opencontainers.image.created", "when it was built, as in RFC 3339"),
    ("org.opencontainers.image.ref.name", "the name of the reference"),
    ("org.opencontainers.image.base.name", "the image that it stands on"),
    ("org.opencontainers.image.base.digest", "the digest of that image"),
];
/// Shells as `SHELL` takes them.
const SHELLS: [(&str, &str); 6] = [
    (r#"["/bin/sh", "-c"]"#, "as without SHELL on Linux"),
    (r#"["/bin/bash", "-c"]"#, ""),
    (r#"["/bin/bash", "-o", "pipefail", "-c"]"#, "a pipe fails if any part of it does"),
    (r#"["/bin/bash", "-euxo", "pipefail", "-c"]"#, "stops at the first failure, and shows commands"),
    (r#"["cmd", "/S", "/C"]"#, "as without SHELL on Windows"),
    (r#"["powershell", "-Command"]"#, "PowerShell on Windows"),
];

/// What may follow.
pub(super) fn items(here: &Here<'_>, arguments: &Arguments) -> Vec<Item> {
    let current = arguments.current.as_str();
    let written = arguments.words.len();
    match arguments.keyword {
        Keyword::From => from(here, arguments),
        Keyword::Copy | Keyword::Add => files(here, arguments),
        Keyword::Arg => args(here, current),
        Keyword::Expose => expose(current),
        Keyword::User if written == 0 => owners(here, current),
        Keyword::Workdir if written == 0 => directories(here, current),
        Keyword::Volume => directories(here, current),
        Keyword::Stopsignal if written == 0 => {
            let label = |(name, text): &(&'static str, &'static str)| {
                Item::new(Kind::Constant, *name, current.len()).detail(*text)
            };
            SIGNALS.iter().map(label).collect()
        }
        Keyword::Shell if arguments.json == Json::No && written == 0 => list(&SHELLS, current),
        Keyword::Healthcheck if written == 0 => {
            let mut all = vec![("CMD", "the command that is run from time to time")];
            if arguments.flags.is_empty() {
                all.push(("NONE", "takes back what the base image has"));
            }
            all.iter()
                .map(|(name, detail)| Item::new(Kind::Keyword, *name, current.len()).detail(*detail))
                .collect()
        }
        Keyword::Label => labels(here, current),
        _ => Vec::new(),
    }
}

fn from(here: &Here<'_>, arguments: &Arguments) -> Vec<Item> {
    let current = arguments.current.as_str();
    match arguments.words.as_slice() {
        [] => {
            let mut items: Vec<Item> = Vec::new();
            let stages = known::stages(here.file, here.offset);
            // The stage that this instruction begins is not there yet.
            let before = stages.len().saturating_sub(1);
            for stage in stages[..before].iter().rev() {
                if let Some(name) = stage.name {
                    let base = format!("the stage FROM {}", stage.base);
                    items.push(Item::new(Kind::Stage, name, current.len()).detail(base));
                }
            }
            let contexts = here.snapshot.request().named_contexts.iter();
            let context = |name| Item::new(Kind::Folder, name, current.len()).detail("a named context");
            items.extend(contexts.map(context));
            // The word that is being written is among the names.
            let own: Vec<&str> =
                known::images(here.file).into_iter().filter(|name| *name != current).collect();
            items.extend(
                own.iter().map(|image| {
                    Item::new(Kind::Image, *image, current.len()).detail("an image of this file")
                }),
            );
            let others = IMAGES.iter().filter(|(name, _)| !own.contains(name));
            items.extend(others.map(|(name, text)| {
                let detail = if text.is_empty() { "an official image" } else { text };
                Item::new(Kind::Image, *name, current.len()).detail(detail)
            }));
            items
        }
        [_] => {
            let name = if current.starts_with('a') { "as" } else { "AS" };
            vec![Item::new(Kind::Keyword, name, current.len()).detail("gives the stage a name")]
        }
        _ => Vec::new(),
    }
}

fn files(here: &Here<'_>, arguments: &Arguments) -> Vec<Item> {
    if matches!(arguments.json, Json::Between | Json::After) {
        return Vec::new();
    }
    let current = arguments.current.as_str();
    let flag =
        |name: &str| arguments.flags.iter().rev().find_map(|flag| flag.strip_prefix(name)?.strip_prefix('='));
    let mut items = Vec::new();
    // What follows a source is a destination, or one more source.
    if !arguments.words.is_empty() {
        items.extend(directories(here, current));
    }
    if !current.starts_with("<<") {
        items.extend(match flag("from") {
            Some(from) => paths::in_stage(here, from, current),
            None => paths::in_context(here, current),
        });
    }
    items
}

fn directories(here: &Here<'_>, current: &str) -> Vec<Item> {
    let all = known::directories(here.file);
    let other = all.into_iter().filter(|path| *path != current);
    other.map(|path| Item::new(Kind::Folder, path, current.len()).detail("named in this file")).collect()
}

fn args(here: &Here<'_>, current: &str) -> Vec<Item> {
    if current.contains('=') {
        return Vec::new();
    }
    let item = |kind, name: &str, detail: &str| {
        let about = About::Variable(name.to_owned(), here.offset);
        Item::new(kind, name, current.len()).detail(detail).about(about)
    };
    let globals = known::globals(here.file, here.offset);
    let stages = known::stages(here.file, here.offset);
    let own = known::variables(&stages, here.offset);
    let is_new = |name: &str| !own.iter().any(|variable| variable.name == name);
    let mut items = Vec::new();
    if !stages.is_empty() {
        for global in globals.iter().filter(|global| is_new(global.name)) {
            let value = global.value.map(|value| format!("={value}")).unwrap_or_default();
            items.push(item(
                Kind::Variable,
                global.name,
                &format!("declared as {}{value} before", global.name),
            ));
        }
    }
    for variable in &predefined::ALL {
        // Before the first stage the automatic ones are there undeclared.
        let fits = variable.kind == predefined::Kind::Builder
            || variable.kind == predefined::Kind::Automatic && !stages.is_empty();
        if fits && is_new(variable.name) {
            let detail = match variable.kind {
                predefined::Kind::Automatic => "set by the builder",
                _ => "has a meaning to the builder",
            };
            items.push(item(Kind::Constant, variable.name, detail));
        }
    }
    items
}

fn expose(current: &str) -> Vec<Item> {
    let (port, protocol) = current.split_once('/').unwrap_or((current, ""));
    let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit() || c == '-' || c == '$');
    if !is_port && !port.is_empty() {
        return Vec::new();
    }
    if port.is_empty() {
        let usual =
            [("80", "HTTP"), ("443", "HTTPS"), ("8080", "HTTP"), ("3000", ""), ("5432", "PostgreSQL")];
        return list(&usual, current);
    }
    if current.contains('/') {
        return list(&[("tcp", "as without it"), ("udp", ""), ("sctp", "")], protocol);
    }
    ["tcp", "udp"].map(|it| Item::new(Kind::Value, format!("{port}/{it}"), current.len())).into()
}

/// Users, and after a colon groups.
pub(super) fn owners(here: &Here<'_>, current: &str) -> Vec<Item> {
    let (names, usual, written) = match current.rsplit_once(':') {
        Some((_, group)) => (known::groups(here.file), ["root", "0"], group),
        None => (known::users(here.file), ["root", "nobody"], current),
    };
    let other = |name: &&str| *name != written;
    let named = names.iter().copied().filter(other);
    let mut items: Vec<Item> =
        named.map(|name| Item::new(Kind::Value, name, written.len()).detail("named in this file")).collect();
    let more = usual.into_iter().filter(|name| !names.contains(name));
    items.extend(more.map(|name| Item::new(Kind::Value, name, written.len())));
    items
}

fn labels(here: &Here<'_>, current: &str) -> Vec<Item> {
    if current.contains('=') {
        return Vec::new();
    }
    let stages = known::stages(here.file, here.offset);
    let own = stages.last().map_or(&[][..], |stage| stage.instructions);
    let is_given = |key: &str| {
        own.iter().any(|instruction| match &instruction.body {
            Body::Label(pairs) => pairs.iter().any(|pair| pair.name.text.trim_matches('"') == key),
            _ => false,
        })
    };
    let quote = current.starts_with('"');
    let new = LABELS.iter().filter(|(key, _)| !is_given(key));
    new.map(|(key, detail)| {
        let mut item = Item::new(Kind::Constant, *key, current.len() - usize::from(quote)).detail(*detail);
        if !quote {
            item.insert = Some(format!("{key}="));
            item.snippet = Some(format!("{key}=\"${{1}}\""));
        }
        item
    })
    .collect()
}
