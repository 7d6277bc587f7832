//! BuildKit's checks in builds, and by themselves (`--check`): for every platform, where BuildKit makes them for the
//! first.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rbx_dockerfile::{BaseFacts, Evaluation};
use rbx_lint::{
    CheckAnswer, CheckError, CheckWarning, ContextFacts, Facts, ImageFacts, IndexEntry, buildkit,
};
use rbx_platform::Platform;
use rbx_request::{CallAnswer, Event, EventSender, Warning};
use serde::Serialize;

use crate::error::BuildError;
use crate::image::Image;
use crate::source::Source;

/// Images that are known, by name and platform.
type Known<'a, T> = &'a BTreeMap<(String, Platform), T>;

/// What BuildKit's checks say for each platform.
#[derive(Debug)]
pub(crate) struct Checks {
    /// Every stage is looked at, not only those that the target needs.
    pub(crate) all_stages: bool,
    /// Nothing else is asked for.
    pub(crate) alone: bool,
    answers: Vec<(Platform, CheckAnswer)>,
}

/// A warning, and the platforms it is for.
struct Merged<'a> {
    warning: &'a CheckWarning,
    on: Vec<&'a Platform>,
}

impl Checks {
    /// Those that a build makes on its way.
    pub(crate) fn of_build() -> Self {
        Self { all_stages: false, alone: false, answers: Vec::new() }
    }

    /// Those that are asked for by themselves.
    pub(crate) fn alone(all_stages: bool) -> Self {
        Self { all_stages, alone: true, answers: Vec::new() }
    }

    /// For how many platforms they were made.
    pub(crate) fn count(&self) -> usize {
        self.answers.len()
    }

    /// Makes the checks for a platform.
    pub(crate) fn make(
        &mut self,
        source: &Source,
        evaluation: &Evaluation,
        platform: &Platform,
        build_args: &BTreeMap<String, String>,
        bases: BTreeMap<(String, Platform), BaseFacts>,
        images: Known<'_, std::sync::Arc<Image>>,
    ) {
        let context = ContextFacts { ignore: source.ignore.clone(), ..ContextFacts::default() };
        let facts = Facts { bases, images: image_facts(images), context: Some(context), ..Facts::default() };
        let answer = buildkit(&source.file, evaluation, build_args, &facts, self.all_stages);
        self.answers.push((platform.clone(), answer));
    }

    /// A base image cannot be had: what BuildKit would find after that is left out.
    pub(crate) fn stop_at_base(&mut self, error: &BuildError) {
        if let Some((_, answer)) = self.answers.last_mut() {
            answer.warnings.retain(|warning| warning.before_bases);
            let lines = error.source_range.as_ref().map(|range| (range.first, range.last));
            answer.error = Some(CheckError { message: error.reason.clone(), lines, by_warnings: false });
        }
    }

    /// Tells of all warnings, each once.
    pub(crate) fn tell(&self, source: &Source, events: &EventSender) {
        for merged in self.merged() {
            let warning = merged.warning;
            let line = warning.lines.0;
            events.send(Event::Warning(Warning {
                level: 1,
                short: format!("{}: {} (line {line})", warning.rule.name, self.message(&merged)),
                detail: vec![warning.rule.summary.to_owned()],
                url: warning.rule.url().unwrap_or_default(),
                file: source.name.clone(),
                lines: each(warning.lines).map(|line| (line, line)).collect(),
                source: source.text.to_string(),
                ..Warning::default()
            }));
        }
    }

    /// The error that warnings are where the Dockerfile says that they are one.
    pub(crate) fn error(&self) -> Option<BuildError> {
        let errors = self.answers.iter().filter_map(|(_, answer)| answer.error.as_ref());
        errors.into_iter().find(|error| error.by_warnings).map(|it| BuildError::invalid(it.message.clone()))
    }

    /// The answer to the call `lint`, as BuildKit's front end gives it.
    pub(crate) fn answer(&self, source: &Source) -> CallAnswer {
        let warnings: Vec<JsonWarning<'_>> = self
            .merged()
            .iter()
            .map(|merged| JsonWarning {
                rule_name: merged.warning.rule.name,
                description: merged.warning.rule.summary,
                url: merged.warning.rule.url(),
                detail: self.message(merged),
                location: Location::of(merged.warning.lines),
            })
            .collect();
        let error = self.answers.iter().find_map(|(_, answer)| answer.error.as_ref());
        let lint = JsonLint {
            sources: vec![JsonSource {
                filename: &source.name,
                data: BASE64_STANDARD.encode(source.text.as_bytes()),
                language: "Dockerfile",
            }],
            error: error.map(|error| JsonError {
                message: &error.message,
                location: error.lines.map(Location::of).unwrap_or_default(),
            }),
            warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        };
        let status = i32::from(lint.warnings.is_some() || lint.error.is_some());
        CallAnswer { json: serde_json::to_string_pretty(&lint).ok(), text: None, status }
    }

    /// The warnings of all platforms, equal ones being one.
    fn merged(&self) -> Vec<Merged<'_>> {
        let mut all: Vec<Merged<'_>> = Vec::new();
        let mut known: HashMap<(&CheckWarning, usize), usize> = HashMap::new();
        for (platform, answer) in &self.answers {
            // One may be there twice.
            let mut counts: HashMap<&CheckWarning, usize> = HashMap::new();
            for warning in &answer.warnings {
                let count = counts.entry(warning).or_default();
                *count += 1;
                let index = *known.entry((warning, *count)).or_insert(all.len());
                if index == all.len() {
                    all.push(Merged { warning, on: Vec::new() });
                }
                all[index].on.push(platform);
            }
        }
        all
    }

    /// What a warning says, with the platforms if it is not for all.
    fn message(&self, merged: &Merged<'_>) -> String {
        let message = &merged.warning.message;
        if merged.on.len() == self.answers.len() {
            return message.clone();
        }
        let list = |platforms: Vec<&Platform>| {
            platforms.into_iter().map(Platform::format_all).collect::<Vec<_>>().join(", ")
        };
        let fine = self.answers.iter().map(|(platform, _)| platform).filter(|it| !merged.on.contains(it));
        format!("{message} on {} (fine on {})", list(merged.on.clone()), list(fine.collect()))
    }
}

/// The lines of a range, which BuildKit names one by one.
fn each((first, last): (u32, u32)) -> std::ops::RangeInclusive<u32> {
    first..=last
}

/// What the images say that they are for that were taken for each platform.
fn image_facts(images: Known<'_, std::sync::Arc<Image>>) -> BTreeMap<String, ImageFacts> {
    let mut facts: BTreeMap<String, Vec<IndexEntry>> = BTreeMap::new();
    for ((name, platform), image) in images {
        let config = &image.config;
        facts.entry(name.clone()).or_default().push(IndexEntry {
            digest: String::new(),
            platform: Some(platform.clone()),
            config: Platform::parse(&format!("{}/{}", config.os, config.architecture)).ok(),
        });
    }
    let index = |entries| ImageFacts::Index { digest: String::new(), entries };
    facts.into_iter().map(|(name, entries)| (name, index(entries))).collect()
}

/// The answer to the call `lint`.
#[derive(Serialize)]
struct JsonLint<'a> {
    warnings: Option<Vec<JsonWarning<'a>>>,
    sources: Vec<JsonSource<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<JsonError<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonWarning<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: String,
    location: Location,
}

#[derive(Serialize)]
struct JsonSource<'a> {
    filename: &'a str,
    data: String,
    language: &'a str,
}

#[derive(Serialize)]
struct JsonError<'a> {
    message: &'a str,
    location: Location,
}

/// Lines of the Dockerfile, as front ends name them.
#[derive(Serialize, Default)]
pub(crate) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

impl Location {
    /// The first and the last line, from 1.
    pub(crate) fn of(lines: (u32, u32)) -> Self {
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Self { ranges: each(lines).map(range).collect() }
    }
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: u32,
}
