//! Safe fixes keep what a Dockerfile means, but for what their rules are about. The Dockerfiles are those of the rules'
//! cases and explanations.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod built;

use std::collections::{BTreeMap, BTreeSet};

use built::{dockerfiles, meaning, request};
use rbx_dockerfile::parse;
use rbx_lint::{Facts, apply, lint, rules};

#[test]
fn safe_fixes_keep_what_is_built() {
    let request = request();
    let mut changed: BTreeMap<&str, String> = BTreeMap::new();
    let mut made = 0;
    for text in dockerfiles() {
        let before = meaning(&text, &request);
        for finding in lint(&parse(&text), &request, &Facts::default()) {
            for fix in finding.fixes.iter().filter(|fix| fix.safe) {
                let fixed = apply(&text, &fix.edits);
                let after = meaning(&fixed, &request);
                made += 1;
                let example = || format!("{}\n{text}---\n{fixed}", fix.title);
                assert!(after.1 <= before.1, "{}: {}", finding.name(), example());
                if after.0 != before.0 {
                    changed.entry(finding.name()).or_insert_with(example);
                }
            }
        }
    }
    assert!(made > 100, "{made} fixes were made");
    let listed: BTreeSet<&str> =
        rules().iter().filter(|rule| rule.changes.is_some()).map(|rule| rule.name).collect();
    let unlisted: Vec<String> = changed
        .iter()
        .filter(|(name, _)| !listed.contains(**name))
        .map(|(name, example)| format!("{name}: {example}"))
        .collect();
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
    for name in listed {
        assert!(changed.contains_key(name), "{name} changes nothing");
    }
}
