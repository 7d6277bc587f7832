//! BuildKit's checks: what docker-rbx finds by them is what BuildKit itself finds, in its words, at its lines and in
//! its order.

use std::collections::BTreeMap;

use rbx_dockerfile::{Base, BaseFacts, Body, Ignore, Scope, evaluate, parse};
use rbx_lint::{ContextFacts, Facts, buildkit};
use serde_json::Value;

use crate::images::configurations;

/// What BuildKit's answer to `lint` warns of.
pub(crate) fn theirs(answer: &Value, registry: &str) -> Vec<String> {
    let list = answer["warnings"].as_array().into_iter().flatten();
    let show = |warning: &Value| {
        // A range for each line.
        let ranges = warning["location"]["ranges"].as_array().map_or(&[][..], Vec::as_slice);
        let line = |range: Option<&Value>| range.map_or(0, |it| it["start"]["line"].as_u64().unwrap_or(0));
        let (first, last) = (line(ranges.first()), line(ranges.last()));
        let text = |name: &str| warning[name].as_str().unwrap_or_default();
        let url = text("url").trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        format!("{} ({url}) {first}-{last}: {} | {}", text("ruleName"), text("detail"), text("description"))
            .replace(registry, "registry.test")
    };
    ordered(list.map(show).collect())
}

/// The same of docker-rbx, and why the Dockerfile cannot be built.
pub(crate) fn ours(text: &str, scope: &Scope<'_>, ignore: &str) -> (Vec<String>, Option<String>) {
    let file = parse(text);
    let ignore = Ignore::parse(ignore.as_bytes()).expect("the patterns can be read");
    let context = ContextFacts { ignore, ..ContextFacts::default() };
    let mut facts = Facts { context: Some(context), ..Facts::default() };
    let mut evaluation = evaluate(&file, scope);
    // The triggers of one base may name another.
    for _ in 0..3 {
        for stage in &evaluation.stages {
            if let Base::Image(name) = &stage.base
                && let Some(known) = base(name)
            {
                facts.bases.insert((name.clone(), stage.platform.clone()), known);
            }
        }
        evaluation = evaluate(&file, &Scope { bases: &facts.bases, ..*scope });
    }
    let answer = buildkit(&file, &evaluation, scope.build_args, &facts, scope.target.is_none());
    let warnings = answer.warnings.iter().map(|warning| {
        let url = warning.rule.url().unwrap_or_default();
        let url = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let (first, last) = warning.lines;
        let (name, summary) = (warning.rule.name, warning.rule.summary);
        format!("{name} ({url}) {first}-{last}: {} | {summary}", warning.message)
    });
    (ordered(warnings.collect()), answer.error.map(|error| error.message))
}

/// What is known of a base image of the registry.
fn base(name: &str) -> Option<BaseFacts> {
    let name = name.strip_prefix("registry.test/")?;
    let name = name.split([':', '@']).next()?;
    let config = configurations().remove(name)?;
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pairs = texts(&config["Env"]).into_iter();
    let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(BaseFacts {
        env: pairs.filter_map(pair).collect(),
        working_dir: text(&config["WorkingDir"]),
        user: text(&config["User"]),
        shell: Some(texts(&config["Shell"])).filter(|shell| !shell.is_empty()),
        on_build: texts(&config["OnBuild"]),
    })
}

/// What BuildKit finds at one place by one rule has no order there.
fn ordered(mut list: Vec<String>) -> Vec<String> {
    let place = |text: &String| text.split_once(": ").map_or(String::new(), |(place, _)| place.to_owned());
    list.chunk_by_mut(|left, right| place(left) == place(right)).for_each(<[String]>::sort);
    list
}

/// A Dockerfile of the cases of a rule, its bases being such as the registry has. A name that has a variable in it is
/// left alone: nothing has it, which is found out after the checks of `FROM`.
pub(crate) fn on_busybox(text: &str) -> String {
    let file = parse(text);
    let mut stages = vec!["scratch".to_owned()];
    let mut result = String::new();
    let mut at = 0;
    for instruction in &file.instructions {
        let Body::From(body) = &instruction.body else { continue };
        let span = body.image.span.range();
        let name = &body.image.text;
        if !stages.contains(name) && !name.contains('$') && span.start >= at {
            result += &text[at..span.start];
            result += "registry.test/busybox";
            at = span.end;
        }
        stages.extend(body.name.as_ref().map(|name| name.text.to_lowercase()));
    }
    result + &text[at..]
}

/// What differs between two lists, if anything does.
pub(crate) fn difference(theirs: &[String], ours: &[String]) -> Option<String> {
    if theirs == ours {
        return None;
    }
    let mut counts: BTreeMap<&String, i32> = BTreeMap::new();
    for (list, one) in [(theirs, 1), (ours, -1)] {
        for text in list {
            *counts.entry(text).or_default() += one;
        }
    }
    let lines = counts.iter().filter(|(_, count)| **count != 0);
    let lines: Vec<String> = lines
        .map(|(text, count)| format!("    {} {text}", if *count > 0 { "BuildKit:" } else { "docker-rbx:" }))
        .collect();
    if lines.is_empty() {
        return Some(format!(
            "another order of checks\n    BuildKit: {theirs:#?}\n    docker-rbx: {ours:#?}"
        ));
    }
    Some(format!("other checks\n{}", lines.join("\n")))
}
