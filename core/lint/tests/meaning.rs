//! Safe fixes keep what a Dockerfile means, but for what their rules are about. The Dockerfiles are those of the rules'
//! cases and explanations.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod built;

use std::collections::{BTreeMap, BTreeSet};

use built::{dockerfiles, meaning, request};
use rbx_dockerfile::parse;
use rbx_lint::{Facts, apply, lint};

/// Rules whose safe fixes change what is built, and what they change.
const CHANGES: &[(&str, &str)] = &[
    ("DL3014", "the command gets an option, which answers"),
    ("DL3019", "the command gets an option"),
    ("DL3020", "the files are the same, copied by COPY"),
    ("DL3021", "a build that failed does not"),
    ("DL3027", "another command, which does the same"),
    ("DL3030", "the command gets an option, which answers"),
    ("DL3034", "the command gets an option, which answers"),
    ("DL3038", "the command gets an option, which answers"),
    ("DL3042", "the command gets an option"),
    ("DL3044", "a variable has the value that was meant"),
    ("DL3045", "the same directory, by another name"),
    ("DL3046", "the command gets an option"),
    ("MaintainerDeprecated", "the author is in a label"),
    ("cache-mount-shared-arch", "the name of a cache"),
    ("copy-platform-flag", "a build that failed does not"),
    ("final-stage-build-platform", "the platform of the image"),
    ("platform-arg-default", "the value of an argument"),
    ("platform-arg-undeclared", "an argument is declared"),
    ("platform-flag-on-stage", "the platform of a stage"),
    ("platform-string", "a platform that there is"),
    ("qemu-known-bad", "the command gets an option"),
    ("xx-needs-targetplatform", "an argument is declared"),
];

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
    let listed: BTreeSet<&str> = CHANGES.iter().map(|(name, _)| *name).collect();
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
