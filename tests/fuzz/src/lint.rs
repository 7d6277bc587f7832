//! Rules. The input is a Dockerfile.

use rbx_dockerfile::{Span, parse};
use rbx_lint::{Facts, Level, Request, apply, lint, mend, rules};
use rbx_platform::Platform;

#[path = "../../../core/lint/tests/built/meaning.rs"]
mod built;

/// Fixes that are applied to one input, at most: each has one fault less to find.
const MAX_FIXES: usize = 30;

pub(crate) fn run(data: &[u8]) {
    let platforms = ["linux/amd64", "linux/arm/v7"].map(|name| Platform::parse(name).unwrap());
    let request = Request::new(platforms.to_vec(), platforms[0].clone());
    let mut text = String::from_utf8_lossy(data).into_owned();
    keeps_meaning(&text, &request);
    for _ in 0..MAX_FIXES {
        let file = parse(&text);
        let findings = lint(&file, &request, &Facts::default());
        assert_eq!(findings, lint(&file, &request, &Facts::default()), "a rule is a function");
        let inside = |span: Span| assert!(span.start <= span.end && text.get(span.range()).is_some());
        for finding in &findings {
            inside(finding.span);
            finding.related.iter().for_each(|related| inside(related.span));
            let edits = finding.fixes.iter().flat_map(|fix| &fix.edits);
            edits.for_each(|edit| inside(edit.span));
            assert!(!finding.to_string().is_empty() && !finding.platforms.is_empty());
        }
        let Some(fixed) = findings.iter().find(|finding| !finding.fixes.is_empty()) else { return };
        let after = apply(&text, &fixed.fixes[0].edits);
        assert_ne!(after, text, "a fix changes something");
        text = after;
    }
}

/// All safe fixes at once keep what is built, but for those of rules that say what they change.
fn keeps_meaning(text: &str, request: &Request) {
    let before = built::meaning(text, request);
    let mut request = request.clone();
    request.settings.threshold = None;
    let level = |changes| if changes { Level::Off } else { Level::On };
    let levels = rules().iter().map(|rule| (rule.name.to_owned(), level(rule.changes.is_some())));
    request.settings.levels.extend(levels);
    let fixed = mend(parse(text), &request, &Facts::default(), false).file.text;
    let after = built::meaning(&fixed, &request);
    assert!(after.1 <= before.1, "fixes make errors:\n{text}\n---\n{fixed}");
    // What cannot be built means nothing.
    if before.1 == 0 {
        assert_eq!(after.0, before.0, "fixes change what is built:\n{text}\n---\n{fixed}");
    }
}
