//! Safe fixes keep what a Dockerfile means, but for what their rules are about. The Dockerfiles are those of the rules'
//! cases and explanations.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use rbx_dockerfile::{Scope, Severity, evaluate, parse};
use rbx_lint::{Facts, Level, Request, Settings, apply, lint, rules};
use rbx_platform::Platform;

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

fn request() -> Request {
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"].map(|name| Platform::parse(name).unwrap());
    let mut request = Request::new(platforms.to_vec(), platforms[0].clone());
    let levels = rules().iter().map(|rule| (rule.name.to_owned(), Level::On));
    request.settings = Settings { levels: levels.collect(), threshold: None, ..Settings::default() };
    request
}

/// The Dockerfiles of a document.
fn blocks(text: &str) -> impl Iterator<Item = String> {
    text.split("\n```dockerfile\n").skip(1).map(|rest| {
        let block = rest.split("\n```\n").next().unwrap_or_default();
        block.replace('␍', "\r").replace('␉', "\t") + "\n"
    })
}

fn dockerfiles() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut texts: BTreeSet<String> = BTreeSet::new();
    for family in std::fs::read_dir(directory).unwrap() {
        for file in std::fs::read_dir(family.unwrap().path()).unwrap() {
            texts.extend(blocks(&std::fs::read_to_string(file.unwrap().path()).unwrap()));
        }
    }
    texts.extend(rules().iter().flat_map(|rule| blocks(rule.explanation)));
    texts
}

/// What is built for every platform, without places in the text, and how many errors there are.
fn meaning(text: &str, request: &Request) -> (String, usize) {
    let file = parse(text);
    let mut meaning = String::new();
    let is_error = |severity: Severity| severity == Severity::Error;
    let mut errors = file.diagnostics.iter().filter(|found| is_error(found.severity)).count();
    for platform in &request.platforms {
        let scope = Scope {
            target_platform: platform,
            build_platform: &request.build_platform,
            build_args: &BTreeMap::new(),
            target: None,
            named_contexts: &BTreeSet::new(),
            bases: &BTreeMap::new(),
        };
        let evaluation = evaluate(&file, &scope);
        errors += evaluation.diagnostics.iter().filter(|found| is_error(found.severity)).count();
        for stage in &evaluation.stages {
            let _ = write!(
                meaning,
                "{:?} {} {:?} {:?} {:?} ",
                stage.base, stage.platform, stage.shell, stage.on_build, stage.reachable
            );
            for step in &stage.steps {
                let _ = write!(meaning, "{:?} ", step.op);
            }
            meaning.push('\n');
        }
    }
    (without_places(&meaning), errors)
}

fn without_places(text: &str) -> String {
    let mut parts = text.split("Span { start: ");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("Span ");
        result.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    result
}

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
