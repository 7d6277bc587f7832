//! What Dockerfiles of the rules' cases and explanations build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use rbx_dockerfile::{Scope, Severity, evaluate, parse};
use rbx_lint::{Level, Request, Settings, rules};
use rbx_platform::Platform;

pub(crate) fn request() -> Request {
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

pub(crate) fn dockerfiles() -> BTreeSet<String> {
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
pub(crate) fn meaning(text: &str, request: &Request) -> (String, usize) {
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
