//! What Dockerfiles of the rules' cases and explanations build.

mod meaning;

use std::collections::BTreeSet;
use std::path::Path;

pub(crate) use meaning::meaning;
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
