//! The options of `RUN --mount=`.

use super::flags::{list, sources};
use super::{About, Here, Item, Kind, paths};
use crate::features::known;

/// The types, with what they are.
const TYPES: [(&str, &str); 5] = [
    ("bind", "files of the context, a stage or an image"),
    ("cache", "a directory that is kept between builds"),
    ("tmpfs", "memory"),
    ("secret", "a secret, as a file or a variable"),
    ("ssh", "the socket of an SSH agent"),
];

/// An option: its key, whether a value follows it, the types that have it, and what it does.
struct Option {
    key: &'static str,
    has_value: bool,
    types: &'static [&'static str],
    text: &'static str,
}

const fn option(
    key: &'static str,
    has_value: bool,
    types: &'static [&'static str],
    text: &'static str,
) -> Option {
    Option { key, has_value, types, text }
}

const ALL: &[&str] = &["bind", "cache", "tmpfs", "secret", "ssh"];

static OPTIONS: [Option; 13] = [
    option(
        "target",
        true,
        ALL,
        "Where the mount appears. A relative path begins in `WORKDIR`. Of a secret it is a file, `/run/secrets/<id>` if \
         neither this nor `env` is given. Also written `dst` or `destination`.",
    ),
    option(
        "from",
        true,
        &["bind", "cache"],
        "The stage, context or image whose files the mount shows, or a cache begins with; else the build context, and \
         for caches nothing.",
    ),
    option("source", true, &["bind", "cache"], "The path inside of `from`; all of it if none is given."),
    option(
        "id",
        true,
        &["cache", "secret", "ssh"],
        "The name of the cache, which is its target if none is given, or that of the secret or agent as `--secret` or \
         `--ssh` have it.",
    ),
    option(
        "sharing",
        true,
        &["cache"],
        "What steps do that use the cache at the same time: `shared` (they all use it, as if nothing is given), \
         `private` (each has its own) or `locked` (they wait for each other, as package managers need it).",
    ),
    option("env", true, &["secret"], "The variable that holds the secret, in the place of a file."),
    option(
        "required",
        false,
        &["secret", "ssh"],
        "The build fails without the secret or agent. Else the step runs without it.",
    ),
    option("readonly", false, &["bind", "cache"], "The step cannot write to it. Binds are so by themselves."),
    option("rw", false, &["bind"], "The step can write to it; what it writes is dropped after the step."),
    option(
        "size",
        true,
        &["tmpfs"],
        "How much it may hold at most, such as `64m`; without it there is no limit.",
    ),
    option(
        "mode",
        true,
        &["cache", "secret", "ssh"],
        "The permissions in octal digits: of caches `0755`, of secrets `0400`, of agents `0600` if none are given.",
    ),
    option("uid", true, &["cache", "secret", "ssh"], "The number of the owner, else 0."),
    option("gid", true, &["cache", "secret", "ssh"], "The number of the group, else 0."),
];

/// Directories that package managers keep what they fetched in.
const CACHES: [(&str, &str); 12] = [
    ("/root/.cache", "of many programs"),
    ("/root/.cache/go-build", "of the Go compiler"),
    ("/go/pkg/mod", "Go modules in the golang images"),
    ("/root/.npm", "npm"),
    ("/usr/local/share/.cache/yarn", "Yarn"),
    ("/root/.cache/pip", "pip"),
    ("/root/.cache/uv", "uv"),
    ("/usr/local/cargo/registry", "Cargo in the rust images"),
    ("/root/.m2", "Maven"),
    ("/root/.gradle", "Gradle"),
    ("/var/cache/apt", "apt, with sharing=locked"),
    ("/var/lib/apt", "apt, with sharing=locked"),
];

/// What an option does.
pub(super) fn text(key: &str) -> std::option::Option<&'static str> {
    OPTIONS.iter().find(|option| option.key == key).map(|option| option.text)
}

/// How a mount is written: the form of its type, its parameters with what they are, and which is being written.
pub(crate) fn signature(written: &str) -> (String, Vec<(String, String)>, usize) {
    let fields: Vec<&str> = written.split(',').collect();
    let kind = fields.iter().rev().find_map(|field| field.strip_prefix("type="));
    let kind =
        kind.and_then(|kind| TYPES.iter().find(|(name, _)| *name == kind)).map_or("", |(name, _)| *name);
    let last = fields.last().map_or("", |field| field.split('=').next().unwrap_or_default());
    let types = if kind.is_empty() { "<bind|cache|tmpfs|secret|ssh>" } else { kind };
    let mut label = format!("--mount=type={types}");
    let mut parameters = vec![(format!("type={types}"), "The type; `bind` if none is given.".to_owned())];
    let mut active = 0;
    let shown = if kind.is_empty() { "bind" } else { kind };
    for option in OPTIONS.iter().filter(|option| option.types.contains(&shown)) {
        let piece = if option.has_value { format!("{}=<…>", option.key) } else { option.key.to_owned() };
        label.extend(["[,", &piece, "]"]);
        if option.key == last {
            active = parameters.len();
        }
        parameters.push((piece, option.text.to_owned()));
    }
    (label, parameters, active)
}

/// The options that may follow, or the values of the one that is being written.
pub(super) fn items(here: &Here<'_>, written: &str) -> Vec<Item> {
    let (done, last) = written.rsplit_once(',').unwrap_or(("", written));
    let done: Vec<(&str, &str)> =
        done.split(',').map(|field| field.split_once('=').unwrap_or((field, ""))).collect();
    let value_of = |key: &str| done.iter().rfind(|(known, _)| *known == key).map(|(_, value)| *value);
    let kind = value_of("type").unwrap_or("bind");
    if let Some((key, value)) = last.split_once('=') {
        return match key {
            "type" => list(&TYPES, value),
            "from" if matches!(kind, "bind" | "cache") => sources(here, value.len(), false),
            "sharing" => list(
                &[
                    ("shared", "all at once, as if nothing is given"),
                    ("private", "each its own"),
                    ("locked", "one after another"),
                ],
                value,
            ),
            "target" | "dst" | "destination" => targets(here, kind, value),
            "source" | "src" => match value_of("from") {
                Some(from) => paths::in_stage(here, from, value),
                None => paths::in_context(here, value),
            },
            "required" | "readonly" | "ro" | "rw" | "readwrite" => {
                list(&[("true", ""), ("false", "")], value)
            }
            "mode" => list(&[("0755", ""), ("0700", ""), ("0400", ""), ("0600", "")], value),
            "uid" | "gid" => list(&[("0", ""), ("1000", "")], value),
            _ => Vec::new(),
        };
    }
    let is_given = |key: &str| {
        let same: &[&str] = match key {
            "target" => &["target", "dst", "destination"],
            "source" => &["source", "src"],
            "readonly" | "rw" => &["readonly", "ro", "rw", "readwrite"],
            _ => &[],
        };
        done.iter().any(|(known, _)| *known == key || same.contains(known))
    };
    let fits = |option: &&Option| {
        // Types are offered with their values.
        option.key != "type" && option.types.contains(&kind) && !is_given(option.key)
    };
    let item = |option: &Option| {
        let item = Item::new(Kind::Flag, option.key, last.len()).about(About::Mount(option.key.to_owned()));
        if option.has_value { item.insert(format!("{}=", option.key)) } else { item }
    };
    let mut items: Vec<Item> = OPTIONS.iter().filter(fits).map(item).collect();
    if value_of("type").is_none() {
        let with_type = TYPES
            .iter()
            .map(|(kind, detail)| Item::new(Kind::Flag, format!("type={kind}"), last.len()).detail(*detail));
        let mut with_type: Vec<Item> = with_type.collect();
        with_type.append(&mut items);
        items = with_type;
    }
    items
}

/// Where a mount may appear.
fn targets(here: &Here<'_>, kind: &str, value: &str) -> Vec<Item> {
    let item = |path: &str| Item::new(Kind::Folder, path, value.len());
    let directories = known::directories(here.file);
    let mut items: Vec<Item> = directories.iter().map(|path| item(path)).collect();
    match kind {
        "cache" => {
            let new = CACHES.iter().filter(|(path, _)| !directories.contains(path));
            items.extend(new.map(|(path, detail)| item(path).detail(*detail)));
        }
        "secret" => items.push(item("/run/secrets/").detail("where secrets are by themselves")),
        "tmpfs" => items.push(item("/tmp")),
        _ => {}
    }
    items
}
