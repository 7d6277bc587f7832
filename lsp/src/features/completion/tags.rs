//! The tags of an image, as its registry says them.

use std::cmp::{Ordering, Reverse};

use rbx_dockerfile::Keyword;
use tower_lsp::ls_types::{CompletionList, Position};

use super::{Around, Here, Item, Kind, of_protocol};
use crate::documents::Snapshot;
use crate::features::cursor::{Place, place};
use crate::online::Online;

/// Tags that are offered at a time.
const MAX_TAGS: usize = 300;

/// What is being written after the colon of an image.
struct Begun {
    repository: String,
    tag: String,
}

fn begun(snapshot: &Snapshot, position: Position) -> Option<Begun> {
    let Place::Arguments(arguments) = place(snapshot.tree(), snapshot.offset(position)) else { return None };
    let current = arguments.current.as_str();
    let image = match arguments.keyword {
        Keyword::From if arguments.words.is_empty() && !current.starts_with("--") => current,
        Keyword::Copy if arguments.words.is_empty() => current.strip_prefix("--from=")?,
        _ => return None,
    };
    let (repository, tag) = image.rsplit_once(':')?;
    // A port is followed by a path, and a variable is anything.
    let is_image = !repository.is_empty() && !tag.contains('/') && !image.contains(['$', '@', '"', '\'']);
    is_image.then(|| Begun { repository: repository.to_owned(), tag: tag.to_owned() })
}

/// Adds the tags that may follow to what is offered, if there can be any.
pub(crate) async fn add(snapshot: &Snapshot, online: &Online, position: Position, list: &mut CompletionList) {
    let Some(begun) = begun(snapshot, position) else { return };
    let tags = online.tags(&begun.repository).await;
    let mut fitting: Vec<&String> = tags.iter().filter(|tag| tag.starts_with(&begun.tag)).collect();
    fitting.sort_by_cached_key(|tag| ((*tag).as_str() != "latest", Reverse(Natural((*tag).as_str()))));
    list.is_incomplete |= fitting.len() > MAX_TAGS;
    fitting.truncate(MAX_TAGS);
    let here = Here { snapshot, file: snapshot.tree(), offset: snapshot.offset(position), roots: &[] };
    let around = Around::new(snapshot, here.offset);
    let items = fitting.into_iter().enumerate().map(|(number, tag)| {
        let item =
            Item::new(Kind::Value, tag, begun.tag.len()).detail(format!("a tag of {}", begun.repository));
        of_protocol(&here, &around, number, item)
    });
    // After the colon nothing else is right.
    list.items = items.collect();
}

/// A tag that is ordered by the numbers in it.
#[derive(PartialEq, Eq)]
struct Natural<'a>(&'a str);

impl Natural<'_> {
    /// Its parts: numbers, and what is between them.
    fn parts(&self) -> Vec<(u64, &str)> {
        let mut parts = Vec::new();
        let mut rest = self.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (between, left) = after.split_at(end);
            parts.push((number.parse().unwrap_or(0), between));
            rest = left;
        }
        parts
    }
}

impl PartialOrd for Natural<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts()).then_with(|| self.0.cmp(other.0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capabilities::Abilities;
    use crate::documents::tests::snapshot_of;

    #[test]
    fn newer_versions_come_first() {
        let mut tags = ["1.9", "1.26-alpine", "latest", "1.26", "1.26.1", "alpine", "1.10"];
        tags.sort_by(|one, other| Natural(other).cmp(&Natural(one)));
        assert_eq!(tags, ["1.26.1", "1.26-alpine", "1.26", "1.10", "1.9", "latest", "alpine"]);
    }

    #[test]
    fn tags_follow_the_colon_of_an_image() {
        let of = |text: &str| {
            let offset = text.find('‸').unwrap();
            let snapshot = snapshot_of(&text.replace('‸', ""), &json!({}), Abilities::default());
            let position = snapshot.text.position(offset, snapshot.abilities.encoding);
            begun(&snapshot, position).map(|begun| format!("{} {}", begun.repository, begun.tag))
        };
        assert_eq!(of("FROM golang:1.‸26").as_deref(), Some("golang 1."));
        assert_eq!(of("FROM a\nCOPY --from=host:5000/x/y:‸ b c").as_deref(), Some("host:5000/x/y "));
        for none in [
            "FROM golang‸",
            "FROM host:5000/x‸",
            "FROM a:$‸",
            "FROM $a:‸",
            "FROM a AS b:‸",
            "FROM :‸",
            "USER a:‸",
            "COPY --chown=a:‸",
            "FROM --platform=a:‸",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
