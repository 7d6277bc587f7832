//! Instructions, where one may begin.

use rbx_dockerfile::{Dockerfile, Keyword};

use super::{About, Here, Item, Kind};
use crate::features::manual;

/// What is inserted of instructions that are rarely written without more, where the client has snippets: a label, and
/// the text with its stops.
const SNIPPETS: [(&str, &str); 11] = [
    ("FROM … AS …", "FROM ${1:image} AS ${2:name}"),
    ("FROM --platform=$BUILDPLATFORM …", "FROM --platform=\\$BUILDPLATFORM ${1:image} AS ${2:build}"),
    ("ARG …=…", "ARG ${1:name}=${2:default}"),
    ("COPY --from=…", "COPY --from=${1:build} ${2:source} ${3:destination}"),
    ("RUN --mount=type=cache", "RUN --mount=type=cache,target=${1:directory} ${2:command}"),
    ("RUN --mount=type=secret", "RUN --mount=type=secret,id=${1:id},env=${2:NAME} ${3:command}"),
    ("RUN <<EOF", "RUN <<EOF\n${0}\nEOF"),
    ("ENTRYPOINT […]", "ENTRYPOINT [\"${1:executable}\"]"),
    ("CMD […]", "CMD [\"${1:executable}\"]"),
    ("HEALTHCHECK CMD …", "HEALTHCHECK --interval=${1:30s} --timeout=${2:5s} CMD ${3:command}"),
    ("SHELL […]", "SHELL [\"${1:/bin/bash}\", \"-c\"]"),
];

/// What may begin at a place, `before` having been written of it.
pub(super) fn items(here: &Here<'_>, before: &str, trigger: bool) -> Vec<Item> {
    let is_from = |keyword: Keyword| keyword == Keyword::From;
    let in_stage = here
        .file
        .instructions
        .iter()
        .take_while(|it| it.span.end < here.offset)
        .any(|instruction| is_from(instruction.keyword));
    let fits = |keyword: &Keyword| match keyword {
        Keyword::From => !trigger,
        Keyword::Arg => true,
        Keyword::Onbuild => !trigger && in_stage,
        // Nothing but arguments stands before the first stage.
        _ => trigger || in_stage,
    };
    // The usual first, and last what is deprecated.
    let order = |keyword: &Keyword| match keyword {
        Keyword::From if !in_stage => 0,
        Keyword::Run | Keyword::Copy => 1,
        Keyword::Maintainer => 3,
        _ => 2,
    };
    let mut keywords: Vec<Keyword> = Keyword::ALL.into_iter().filter(fits).collect();
    keywords.retain(|keyword| !(trigger && *keyword == Keyword::Maintainer));
    keywords.sort_by_key(order);
    let lower = is_lower(here.file, before);
    let written = |text: &str| if lower { text.to_lowercase() } else { text.to_owned() };
    let rest = here.file.text.get(here.offset as usize..).unwrap_or_default();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    // Another space would be one too many.
    let space = if rest.starts_with([' ', '\t']) { "" } else { " " };
    let mut items: Vec<Item> = keywords
        .iter()
        .map(|keyword| {
            let name = written(keyword.name());
            let usage = manual::instruction(*keyword).map_or("", |entry| entry.usage);
            let item = Item::new(Kind::Keyword, name.clone(), before.len()).insert(format!("{name}{space}"));
            item.detail(usage.lines().next().unwrap_or_default())
                .about(About::Instruction(keyword.name().to_owned()))
        })
        .collect();
    if here.snapshot.abilities.completion.snippets {
        let begins = |text: &str| Keyword::parse(text.split(' ').next().unwrap_or_default());
        for (label, text) in SNIPPETS.iter().filter(|(label, _)| keywords.contains(&begins(label))) {
            let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
            let mut item =
                Item::new(Kind::Snippet, *label, before.len()).about(About::Instruction(keyword.to_owned()));
            item.snippet = Some(format!("{} {rest}", written(keyword)));
            if lower {
                item.label = label.replacen(keyword, &written(keyword), 1);
            }
            items.push(item);
        }
    }
    items
}

/// Whether instructions are written in lower case: as the user began one, else as the file has most.
pub(super) fn is_lower(file: &Dockerfile, before: &str) -> bool {
    if let Some(first) = before.chars().next() {
        return first.is_lowercase();
    }
    let known = file.instructions.iter().filter(|it| it.keyword != Keyword::Unknown).take(20);
    let lower = |span: rbx_dockerfile::Span| span.slice(&file.text).starts_with(|c: char| c.is_lowercase());
    let (lower, upper): (Vec<_>, Vec<_>) = known.map(|it| it.keyword_span).partition(|span| lower(*span));
    lower.len() > upper.len()
}
