//! Variables, after a `$`.

use rbx_dockerfile::Keyword;
use tower_lsp::ls_types::{Range, TextEdit};

use super::instructions::is_lower;
use super::{About, Here, Item, Kind};
use crate::documents::Snapshot;
use crate::features::known::{self, Stage};
use crate::features::predefined::{self, Kind as Predefined};

/// Whether an instruction, or the program that it starts, expands variables.
fn expands(keyword: Keyword) -> bool {
    !matches!(keyword, Keyword::Maintainer | Keyword::Shell | Keyword::Unknown)
}

/// The name that is being written after a `$`, and whether that is in braces; nothing if there is none.
fn begun(word: &str, escape: char) -> Option<(&str, bool)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = &word[word.trim_end_matches(is_name).len()..];
    let rest = &word[..word.len() - name.len()];
    let (rest, braced) = match rest.strip_suffix('{') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let before = rest.strip_suffix('$')?;
    let quoted = before.matches('\'').count() % 2 == 1 && !before.contains('"');
    (!before.ends_with(escape) && !quoted).then_some((name, braced))
}

/// The variables that may follow what is written of a word; nothing if no variable is being written.
pub(super) fn items(here: &Here<'_>, keyword: Keyword, word: &str) -> Option<Vec<Item>> {
    let (name, braced) = begun(word, here.file.escape)?;
    // BuildKit takes none in the name of a source, nor in a device.
    let fixed =
        ["--from=", "--device=", "--network=", "--security="].iter().any(|flag| word.starts_with(flag));
    let in_from =
        word.starts_with("--mount") && word.rsplit(',').next().is_some_and(|it| it.starts_with("from="));
    if !expands(keyword) || fixed || in_from {
        return Some(Vec::new());
    }
    let rest = here.file.text.get(here.offset as usize..).unwrap_or_default();
    let close =
        braced && !rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').starts_with('}');
    let item = |kind, variable: &str| {
        let item =
            Item::new(kind, variable, name.len()).about(About::Variable(variable.to_owned(), here.offset));
        if close { item.insert(format!("{variable}}}")) } else { item }
    };
    let mut items = Vec::new();
    let globals = known::globals(here.file, here.offset);
    let stages = known::stages(here.file, here.offset);
    // What stands before the first stage, and a FROM, see the global ones.
    let stage = stages.last().filter(|_| keyword != Keyword::From);
    let Some(stage) = stage else {
        for variable in &globals {
            items.push(item(Kind::Variable, variable.name).detail(set("ARG", variable.value)));
        }
        let known = |name: &str| globals.iter().any(|global| global.name == name);
        let automatic = predefined::ALL.iter().filter(|it| it.kind == Predefined::Automatic);
        items.extend(
            automatic
                .filter(|it| !known(it.name))
                .map(|it| item(Kind::Constant, it.name).detail("set by the builder")),
        );
        return Some(items);
    };
    let own = known::variables(&stages, here.offset);
    let arguments_too = !matches!(keyword, Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck);
    for variable in &own {
        if variable.env {
            items.push(item(Kind::Variable, variable.name).detail(set("ENV", variable.value)));
        } else if arguments_too {
            let global = globals.iter().find(|global| global.name == variable.name);
            let value = variable.value.or(global.and_then(|global| global.value));
            items.push(item(Kind::Variable, variable.name).detail(set("ARG", value)));
        }
    }
    if !arguments_too {
        return Some(items);
    }
    let is_known = |name: &str| own.iter().any(|variable| variable.name == name);
    let mut declare = |kind, name: &str, detail: &str| {
        let mut item = item(kind, name).detail(detail);
        item.more = declaration(here, stage, name);
        items.push(item);
    };
    for global in globals.iter().filter(|global| !is_known(global.name)) {
        declare(Kind::Variable, global.name, "declares it in this stage");
    }
    let is_new = |name: &str| !is_known(name) && !globals.iter().any(|global| global.name == name);
    for automatic in predefined::ALL.iter().filter(|it| it.kind == Predefined::Automatic && is_new(it.name)) {
        declare(Kind::Constant, automatic.name, "set by the builder; declares it in this stage");
    }
    if keyword == Keyword::Run {
        let proxies = predefined::ALL.iter().filter(|it| it.kind == Predefined::Proxy && is_new(it.name));
        items.extend(proxies.map(|it| item(Kind::Constant, it.name).detail("a proxy, if one is given")));
    }
    Some(items)
}

fn set(by: &str, value: Option<&str>) -> String {
    value.map_or_else(|| by.to_owned(), |value| format!("{by} {value}"))
}

/// The edit that declares an argument on top of a stage.
fn declaration(here: &Here<'_>, stage: &Stage<'_>, name: &str) -> Option<TextEdit> {
    let snapshot: &Snapshot = here.snapshot;
    let text = snapshot.text.as_str();
    let end = stage.from.span.end as usize;
    // A FROM that is not ended yet has no line after it.
    let at = end + text.get(end..)?.find('\n')? + 1;
    let line = &text[..at];
    let newline = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
    let keyword = if is_lower(here.file, "") { "arg" } else { "ARG" };
    let position = snapshot.text.position(at, snapshot.abilities.encoding);
    Some(TextEdit::new(Range::new(position, position), format!("{keyword} {name}{newline}")))
}
