//! Files of source policies.

use std::collections::HashMap;

use prost::Message as _;
use rbx_request::Failure;
use serde::{Deserialize, Deserializer};

use super::invalid;
use crate::proto::sourcepolicy;

/// Bytes that a policy may have.
const LIMIT: usize = 4 << 20;

/// Reads a policy: JSON as `BuildKit` writes it, or protobuf.
pub(super) fn parse(bytes: &[u8]) -> Result<sourcepolicy::Policy, Failure> {
    if bytes.len() > LIMIT {
        return Err(invalid(format!("failed to parse source policy: it has more than {LIMIT} bytes")));
    }
    match serde_json::from_slice::<Policy>(bytes) {
        Ok(policy) => Ok(policy.into()),
        Err(error) => sourcepolicy::Policy::decode(bytes)
            .map_err(|_| invalid(format!("failed to parse source policy: {error}"))),
    }
}

#[derive(Deserialize)]
struct Policy {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default, deserialize_with = "action")]
    action: i32,
    selector: Option<Selector>,
    updates: Option<Update>,
}

#[derive(Deserialize)]
struct Selector {
    #[serde(default)]
    identifier: String,
    #[serde(default, alias = "matchType", deserialize_with = "match_type")]
    match_type: i32,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

#[derive(Deserialize)]
struct Constraint {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "condition")]
    condition: i32,
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: HashMap<String, String>,
}

/// A word, or its number in the protocol.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(i32),
    Name(String),
}

fn word<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    number: impl Fn(&str) -> Option<i32>,
    is_known: impl Fn(i32) -> bool,
) -> Result<i32, D::Error> {
    let (found, shown) = match Word::deserialize(deserializer)? {
        Word::Number(value) => (Some(value).filter(|value| is_known(*value)), value.to_string()),
        Word::Name(name) => (number(&name), name),
    };
    found.ok_or_else(|| serde::de::Error::custom(format!("invalid {what} value: {shown}")))
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    use sourcepolicy::PolicyAction as Action;
    let number = |name: &str| Action::from_str_name(name).map(i32::from);
    word(deserializer, "PolicyAction", number, Action::is_valid)
}

fn match_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    use sourcepolicy::MatchType;
    let number = |name: &str| MatchType::from_str_name(name).map(i32::from);
    word(deserializer, "MatchType", number, MatchType::is_valid)
}

fn condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    use sourcepolicy::AttrMatch;
    let number = |name: &str| AttrMatch::from_str_name(name).map(i32::from);
    word(deserializer, "AttrMatch", number, AttrMatch::is_valid)
}

impl From<Policy> for sourcepolicy::Policy {
    fn from(policy: Policy) -> Self {
        Self { version: policy.version, rules: policy.rules.into_iter().map(Into::into).collect() }
    }
}

impl From<Rule> for sourcepolicy::Rule {
    fn from(rule: Rule) -> Self {
        let constraint = |constraint: Constraint| sourcepolicy::AttrConstraint {
            key: constraint.key,
            value: constraint.value,
            condition: constraint.condition,
        };
        let selector = |selector: Selector| sourcepolicy::Selector {
            identifier: selector.identifier,
            match_type: selector.match_type,
            constraints: selector.constraints.into_iter().map(constraint).collect(),
        };
        let update =
            |update: Update| sourcepolicy::Update { identifier: update.identifier, attrs: update.attrs };
        Self { action: rule.action, selector: rule.selector.map(selector), updates: rule.updates.map(update) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_json_with_words_or_numbers() {
        let policy = parse(
            br#"{"version": 1, "rules": [
                {"action": "CONVERT",
                 "selector": {"identifier": "docker-image://a", "matchType": "EXACT"},
                 "updates": {"identifier": "docker-image://b", "attrs": {"k": "v"}}},
                {"action": 1, "selector": {"identifier": "https://*", "match_type": "REGEX",
                 "constraints": [{"key": "a", "value": "b", "condition": "NOTEQUAL"}]}}]}"#,
        )
        .unwrap();
        assert_eq!(policy.version, 1);
        let [convert, deny] = policy.rules.as_slice() else { panic!("{policy:?}") };
        assert_eq!(convert.action, sourcepolicy::PolicyAction::Convert as i32);
        assert_eq!(convert.selector.as_ref().unwrap().match_type, sourcepolicy::MatchType::Exact as i32);
        assert_eq!(convert.updates.as_ref().unwrap().attrs["k"], "v");
        assert_eq!(deny.action, sourcepolicy::PolicyAction::Deny as i32);
        let constraint = &deny.selector.as_ref().unwrap().constraints[0];
        assert_eq!(constraint.condition, sourcepolicy::AttrMatch::Notequal as i32);
        // What is protobuf is read as well.
        assert_eq!(parse(&policy.encode_to_vec()).unwrap(), policy);
    }

    #[test]
    fn what_is_no_policy_is_an_error() {
        for (text, why) in [
            ("{", "failed to parse source policy: EOF"),
            (
                r#"{"rules": [{"action": "MAYBE"}]}"#,
                "failed to parse source policy: invalid PolicyAction value: MAYBE",
            ),
            (r#"{"rules": [{"action": 7}]}"#, "failed to parse source policy: invalid PolicyAction value: 7"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.reason.starts_with(why), "{}", error.reason);
        }
    }
}
