//! What a Dockerfile means, to be compared with what it means after fixes. The fuzz target of rules has it, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rbx_dockerfile::{Op, Scope, Severity, evaluate, parse};
use rbx_lint::Request;

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
                let mut op = step.op.clone();
                if let Op::Expose(ports) = &mut op {
                    // An image has them in no order.
                    ports.sort();
                }
                let _ = write!(meaning, "{op:?} ");
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
