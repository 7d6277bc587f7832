//! Flags of instructions, and their values.

use rbx_dockerfile::{FlagKind, Keyword};

use super::{About, Here, Item, Kind, arguments, mounts, paths};
use crate::features::cursor::Arguments;
use crate::features::known;

/// Platforms that images are usually built for, beside those of the document.
const PLATFORMS: [&str; 9] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
];
/// Permissions that are often given.
const MODES: [(&str, &str); 6] = [
    ("755", "rwxr-xr-x: programs and directories"),
    ("644", "rw-r--r--: files"),
    ("600", "rw-------: what only its owner reads"),
    ("700", "rwx------"),
    ("u=rwX,go=rX", "755 for directories and programs, 644 for other files"),
    ("+x", "as at the source, and executable"),
];

/// The flags that an instruction may still have.
pub(super) fn names(arguments: &Arguments) -> Vec<Item> {
    let given = |name: &str| arguments.flags.iter().any(|flag| flag.split('=').next() == Some(name));
    let keyword = arguments.keyword;
    let flags = keyword.flags().iter().filter(|flag| flag.kind == FlagKind::Texts || !given(flag.name));
    flags
        .map(|flag| {
            let label = format!("--{}", flag.name);
            let insert = match flag.kind {
                FlagKind::Bool => label.clone(),
                FlagKind::Text | FlagKind::Texts => format!("{label}="),
            };
            let usage = crate::features::manual::flag(keyword, flag.name).map_or("", |entry| entry.usage);
            Item::new(Kind::Flag, label, arguments.current.len())
                .insert(insert)
                .detail(usage)
                .about(About::Flag(keyword.name().to_owned(), flag.name.to_owned()))
        })
        .collect()
}

/// The values of the flag that is being written.
pub(super) fn values(here: &Here<'_>, arguments: &Arguments) -> Vec<Item> {
    let Some((name, value)) = arguments.current.trim_start_matches('-').split_once('=') else {
        return Vec::new();
    };
    let quote = value.starts_with(['"', '\'']);
    let value = if quote { &value[1..] } else { value };
    let keyword = arguments.keyword;
    let Some(flag) = keyword.flags().iter().find(|flag| flag.name == name) else { return Vec::new() };
    if flag.kind == FlagKind::Bool {
        return list(&[("true", ""), ("false", "")], value);
    }
    match (keyword, name) {
        (Keyword::From, "platform") => {
            let variables = [
                ("$BUILDPLATFORM", "the machine that builds: steps run natively"),
                ("$TARGETPLATFORM", "what the image is for, as without the flag"),
            ];
            let mut items = list(&variables, value);
            items.extend(platforms(here, value.len()));
            items
        }
        (Keyword::Run, "mount") => mounts::items(here, value),
        (Keyword::Run, "network") => list(
            &[
                ("default", "that of the build"),
                ("none", "no more than a loopback device"),
                ("host", "the machine's own; needs --allow network.host"),
            ],
            value,
        ),
        (Keyword::Run, "security") => list(
            &[("sandbox", "as usual"), ("insecure", "all capabilities; needs --allow security.insecure")],
            value,
        ),
        (Keyword::Run, "device") => {
            let last = value.rsplit(',').next().unwrap_or_default();
            let all = [("required", "the build fails without the device"), ("name=", "the device")];
            let fits = |(label, _): &&(&str, &str)| !value.contains(label);
            let all: Vec<_> = all.iter().filter(fits).copied().collect();
            list(&all, last)
        }
        (Keyword::Copy, "from") => sources(here, value.len(), true),
        (_, "chown") => arguments::owners(here, value),
        (_, "chmod") => list(&MODES, value),
        (_, "exclude") => paths::in_context(here, value),
        (Keyword::Add, "checksum") => {
            list(&[("sha256:", "of a file"), ("sha512:", "of a file"), ("sha384:", "of a file")], value)
        }
        (Keyword::Healthcheck, "retries") => {
            list(&[("3", "as without the flag"), ("1", ""), ("5", "")], value)
        }
        (Keyword::Healthcheck, name) => {
            let usual = match name {
                "start-period" => "0s",
                "start-interval" => "5s",
                _ => "30s",
            };
            let mut all = vec![(usual, "as without the flag")];
            all.extend(["5s", "10s", "1m", "5m"].into_iter().filter(|it| *it != usual).map(|it| (it, "")));
            list(&all, value)
        }
        _ => Vec::new(),
    }
}

/// Items of these values with a word on each.
pub(super) fn list(all: &[(&str, &str)], written: &str) -> Vec<Item> {
    let item = |(label, detail): &(&str, &str)| {
        let item = Item::new(Kind::Value, *label, written.len());
        if detail.is_empty() { item } else { item.detail(*detail) }
    };
    all.iter().map(item).collect()
}

/// Platforms: those of the document first.
pub(super) fn platforms(here: &Here<'_>, replaces: usize) -> Vec<Item> {
    let own: Vec<String> =
        here.snapshot.platforms().list.iter().map(rbx_platform::Platform::format_all).collect();
    let others = PLATFORMS.iter().filter(|name| !own.iter().any(|own| own == *name));
    let of_document =
        |name: &String| Item::new(Kind::Constant, name.clone(), replaces).detail("this file is built for it");
    let mut items: Vec<Item> = own.iter().map(of_document).collect();
    items.extend(others.map(|name| Item::new(Kind::Constant, *name, replaces)));
    items
}

/// What files can be taken from: earlier stages by name, and by number where `COPY` takes them, contexts, images.
pub(super) fn sources(here: &Here<'_>, replaces: usize, numbers: bool) -> Vec<Item> {
    let mut stages = known::stages(here.file, here.offset);
    // A stage does not copy from itself.
    stages.pop();
    let named = |stage: &known::Stage<'_>| Some((stage.name?.to_owned(), format!("FROM {}", stage.base)));
    let mut items: Vec<Item> = stages
        .iter()
        .rev()
        .filter_map(named)
        .map(|(name, base)| Item::new(Kind::Stage, name, replaces).detail(base))
        .collect();
    let of_contexts = here.snapshot.request().named_contexts.iter();
    items.extend(of_contexts.map(|name| Item::new(Kind::Folder, name, replaces).detail("a named context")));
    items.extend(stages.iter().rev().filter(|_| numbers).map(|stage| {
        let name = stage.name.map(|name| format!(" AS {name}")).unwrap_or_default();
        Item::new(Kind::Stage, stage.index.to_string(), replaces).detail(format!("FROM {}{name}", stage.base))
    }));
    items.extend(known::images(here.file).into_iter().map(|image| Item::new(Kind::Image, image, replaces)));
    items
}
