//! Rules. The input is a Dockerfile.

use rbx_dockerfile::{Span, parse};
use rbx_lint::{Facts, Request, apply, lint};
use rbx_platform::Platform;

/// Fixes that are applied to one input, at most: each has one fault less to find.
const MAX_FIXES: usize = 30;

pub(crate) fn run(data: &[u8]) {
    let platforms = ["linux/amd64", "linux/arm/v7"].map(|name| Platform::parse(name).unwrap());
    let request = Request::new(platforms.to_vec(), platforms[0].clone());
    let mut text = String::from_utf8_lossy(data).into_owned();
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
