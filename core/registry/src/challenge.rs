//! `WWW-Authenticate`, by RFC 9110, section 11, and scopes, by the distribution project's token specification.

use std::collections::{BTreeMap, BTreeSet};

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    /// Parameters, names in lower case.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// The challenges of one header value. What cannot be understood is left out.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        let after = after.trim_start_matches([' ', '\t']);
        if let (Some(value), Some(challenge)) = (after.strip_prefix('='), challenges.last_mut()) {
            let (value, after) = value_of(value.trim_start_matches([' ', '\t']));
            challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            rest = after;
        } else {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// A quoted string or a word, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // Registries write unquoted addresses, which are no tokens.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// The union of lists of scopes (`repository:library/alpine:pull`, divided by spaces): one entry per resource, its
/// actions together, in order.
pub(crate) fn union(lists: &[&str]) -> String {
    let mut resources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for scope in lists.iter().flat_map(|list| list.split_ascii_whitespace()) {
        let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
        let actions = actions.split(',').filter(|action| !action.is_empty());
        resources.entry(resource).or_default().extend(actions);
    }
    let scopes = resources.into_iter().map(|(resource, actions)| {
        format!("{resource}:{}", actions.into_iter().collect::<Vec<_>>().join(","))
    });
    scopes.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(header: &str) -> Vec<String> {
        parse(header).iter().map(|c| format!("{} {:?}", c.scheme, c.parameters)).collect()
    }

    #[test]
    fn challenges_of_real_registries() {
        insta::assert_debug_snapshot!(
            shown(r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="insufficient_scope""#),
            @r#"
            [
                "bearer {\"error\": \"insufficient_scope\", \"realm\": \"https://auth.docker.io/token\", \"scope\": \"repository:a/b:pull,push\", \"service\": \"registry.docker.io\"}",
            ]
            "#
        );
        insta::assert_debug_snapshot!(shown(r#"Basic realm="a \"quoted\" realm", Bearer realm=https://x/token , service=y"#), @r#"
        [
            "basic {\"realm\": \"a \\\"quoted\\\" realm\"}",
            "bearer {\"realm\": \"https://x/token\", \"service\": \"y\"}",
        ]
        "#);
        insta::assert_debug_snapshot!(shown("Negotiate, Basic"), @r#"
        [
            "negotiate {}",
            "basic {}",
        ]
        "#);
        insta::assert_debug_snapshot!(shown(r#", ,Bearer realm="open"#), @r#"
        [
            "bearer {\"realm\": \"open\"}",
        ]
        "#);
        assert!(parse("").is_empty());
    }

    #[test]
    fn scopes_unite() {
        assert_eq!(union(&["repository:a:pull", "repository:a:pull"]), "repository:a:pull");
        assert_eq!(
            union(&["repository:b:pull", "repository:a:push,pull  repository:b:delete", ""]),
            "repository:a:pull,push repository:b:delete,pull"
        );
        assert_eq!(union(&["registry:catalog:*"]), "registry:catalog:*");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(header in "[ -~]*|[a-zA-Z=\", \\\\]*|.*") {
            parse(&header);
        }

        #[test]
        fn quoted_values_come_back(value in "[ -~]*") {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
            let challenges = parse(&format!("Bearer a=b, realm=\"{escaped}\", c=d"));
            prop_assert_eq!(challenges.len(), 1);
            prop_assert_eq!(challenges[0].get("realm"), value);
            prop_assert_eq!(challenges[0].get("c"), "d");
        }
    }
}
