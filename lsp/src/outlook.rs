//! What is known of the steps of a document: which are cached, and what runs them.
//!
//! It is what a dry run said of the builder that is chosen, or, where a builder cannot be asked, what the last build
//! from this editor did. While the text changes, it stays where it is true.

use std::collections::BTreeMap;
use std::ops::Range;

use rbx_platform::Platform;
use serde::Deserialize;

use crate::documents::Snapshot;
use crate::failures;

/// What is known of the steps of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// The builder, and its driver.
    pub(crate) builder: String,
    /// See `builder`.
    pub(crate) driver: String,
    /// It is what the last build did; else it is what a build would do now.
    pub(crate) of_last_build: bool,
    pub(crate) steps: Vec<Step>,
}

/// A step, as a build found it or would find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its bytes: whole lines, without the end of the last.
    pub(crate) place: Range<usize>,
    /// The platforms of the build that need it.
    pub(crate) platforms: Vec<Platform>,
    pub(crate) state: State,
    /// Why it is not cached, or not known to be.
    pub(crate) reason: Option<String>,
    /// Of a command: what runs it.
    pub(crate) runner: Option<Runner>,
}

/// Whether a step is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Its result is there.
    Cached,
    /// It is done, or was done.
    Run,
    /// Its image is fetched.
    Fetch,
    /// Nobody knows before the build.
    Unknown,
    /// It cannot be done, or failed.
    Fails,
}

impl State {
    /// In a word, for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Run => "run",
            Self::Fetch => "fetch",
            Self::Unknown => "unknown",
            Self::Fails => "fails",
        }
    }
}

/// What runs the commands of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runner {
    Native,
    /// With what emulates, if that is known.
    Emulated(Option<String>),
    /// With what to do about it.
    Nothing(Option<String>),
}

/// What a dry run answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    builder: String,
    driver: String,
    /// None of a builder that cannot be asked.
    steps: Option<Vec<Answered>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    state: State,
    reason: Option<String>,
    lines: Option<(u32, u32)>,
    #[serde(default)]
    platforms: Vec<String>,
    runner: Option<String>,
    emulator: Option<String>,
    remedy: Option<String>,
}

/// What a build did, by the names of its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) name: String,
    pub(crate) state: State,
}

impl Answer {
    /// What is known of the steps of the text that was asked about; those of the last build if the builder told nothing.
    pub(crate) fn outlook(self, text: &str, last: Option<&Outlook>) -> Outlook {
        let Self { builder, driver, steps } = self;
        let Some(steps) = steps else {
            let steps = last.map(|last| last.steps.clone()).unwrap_or_default();
            return Outlook { builder, driver, of_last_build: true, steps };
        };
        let lines = Lines::of(text);
        let steps = steps.into_iter().filter_map(|step| {
            let (first, last) = step.lines?;
            Some(Step {
                place: lines.range(first, last)?,
                platforms: step.platforms.iter().filter_map(|name| Platform::parse(name).ok()).collect(),
                state: step.state,
                reason: step.reason.map(|reason| rbx_progress::clean(&reason)),
                runner: step.runner.and_then(|runner| match runner.as_str() {
                    "native" => Some(Runner::Native),
                    "emulated" => Some(Runner::Emulated(step.emulator)),
                    "nothing" => Some(Runner::Nothing(step.remedy)),
                    _ => None,
                }),
            })
        });
        Outlook { builder, driver, of_last_build: false, steps: steps.collect() }
    }
}

impl Outlook {
    /// What the last build for these platforms did. Its steps are found by the names that they have on each.
    pub(crate) fn of_build(done: &[Done], snapshot: &Snapshot, platforms: &[Platform]) -> Self {
        let done: BTreeMap<&str, State> = done.iter().map(|done| (done.name.as_str(), done.state)).collect();
        let file = snapshot.tree();
        let several = platforms.len() > 1;
        let mut steps: Vec<Step> = Vec::new();
        for (platform, evaluation) in snapshot.evaluations().iter() {
            if !platforms.contains(platform) {
                continue;
            }
            for stage in &evaluation.stages {
                for step in &stage.steps {
                    let name = step.vertex_name(stage, several.then_some(&stage.platform));
                    let Some(&state) = done.get(rbx_progress::clean(&name).as_str()) else { continue };
                    let (first, last) = file.line_index.lines_of(step.span);
                    let Some(place) = failures::lines(snapshot.text.as_str(), first, last) else { continue };
                    match steps.iter_mut().find(|it| it.place == place && it.state == state) {
                        Some(known) => known.platforms.push(platform.clone()),
                        None => steps.push(Step {
                            place,
                            platforms: vec![platform.clone()],
                            state,
                            reason: None,
                            runner: None,
                        }),
                    }
                }
            }
        }
        Self { of_last_build: true, steps, ..Self::default() }
    }

    /// What of it is true of a changed text. A step is cached or not by what comes before it, so what a dry run said is
    /// true up to the change; what a build did is true wherever the lines are the same.
    pub(crate) fn change(&mut self, old: &str, new: &str) {
        if old == new {
            return;
        }
        let (a, b) = (old.as_bytes(), new.as_bytes());
        let before = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let rest = a.len().min(b.len()) - before;
        let after = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
        let of_last_build = self.of_last_build;
        self.steps.retain_mut(|step| {
            let Range { start, end } = step.place;
            // The line goes on if what comes after it is no end of a line.
            let whole = |end: usize| matches!(b.get(end), None | Some(b'\n' | b'\r'));
            if end <= before && whole(end) {
                return true;
            }
            let begins = start >= a.len() - after && of_last_build;
            let moved = (start + b.len()).wrapping_sub(a.len());
            let at_start = moved == 0 || b.get(moved.wrapping_sub(1)) == Some(&b'\n');
            if begins && at_start {
                step.place = moved..moved + (end - start);
            }
            begins && at_start
        });
    }

    /// The steps that begin within these bytes.
    pub(crate) fn within(&self, range: Range<usize>) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| range.contains(&step.place.start))
    }
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The bytes of lines counted from 1, without the end of the last.
    fn range(&self, first: u32, last: u32) -> Option<Range<usize>> {
        let index = |line: u32| usize::try_from(line).ok()?.checked_sub(1);
        let start = *self.starts.get(index(first)?)?;
        let last = *self.starts.get(index(last.max(first))?)?;
        let line = self.text[last..].split('\n').next()?;
        Some(start..last + line.trim_end_matches('\r').len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "FROM a\nRUN b\nRUN c \\\n  d\nRUN e";

    fn outlook(of_last_build: bool) -> Outlook {
        let steps = [(2, 2), (3, 4), (5, 5)].map(|lines| {
            format!(
                r#"{{"state":"cached","lines":[{},{}],"platforms":["linux/amd64"],"runner":"native"}}"#,
                lines.0, lines.1
            )
        });
        let answer = format!(r#"{{"builder":"b","driver":"d","steps":[{}]}}"#, steps.join(","));
        let answer: Answer = serde_json::from_str(&answer).unwrap();
        Outlook { of_last_build, ..answer.outlook(TEXT, None) }
    }

    /// The lines that something is known of after a change.
    fn left(of_last_build: bool, new: &str) -> Vec<String> {
        let mut outlook = outlook(of_last_build);
        outlook.change(TEXT, new);
        outlook.steps.iter().map(|step| new[step.place.clone()].to_owned()).collect()
    }

    #[test]
    fn what_a_dry_run_said_is_true_before_a_change() {
        assert_eq!(left(false, TEXT), ["RUN b", "RUN c \\\n  d", "RUN e"]);
        assert_eq!(left(false, &TEXT.replace("RUN c", "RUN x")), ["RUN b"]);
        assert_eq!(left(false, &TEXT.replace("FROM a", "FROM x")), [""; 0]);
        assert_eq!(left(false, &format!("{TEXT}\nRUN f")), ["RUN b", "RUN c \\\n  d", "RUN e"]);
        assert_eq!(left(false, &format!("{TEXT} more")), ["RUN b", "RUN c \\\n  d"], "the line goes on");
    }

    #[test]
    fn what_a_build_did_is_true_where_the_lines_are_the_same() {
        assert_eq!(left(true, &TEXT.replace("RUN c", "RUN x")), ["RUN b", "RUN e"]);
        assert_eq!(left(true, &TEXT.replace("FROM a", "FROM x\n")), ["RUN b", "RUN c \\\n  d", "RUN e"]);
        assert_eq!(left(true, &TEXT.replace("RUN e", "# RUN e")), ["RUN b", "RUN c \\\n  d"]);
        assert_eq!(left(true, ""), [""; 0]);
    }

    #[test]
    fn a_builder_that_tells_nothing_has_done_what_it_did() {
        let answer = || serde_json::from_str::<Answer>(r#"{"builder":"b","driver":"docker"}"#).unwrap();
        let last = outlook(true);
        assert_eq!(answer().outlook(TEXT, Some(&last)).steps, last.steps);
        let nothing = answer().outlook(TEXT, None);
        assert_eq!((nothing.of_last_build, nothing.steps.len()), (true, 0));
    }

    proptest! {
        #[test]
        fn steps_stay_lines_that_are_the_same(
            old in "[ab\n]{0,12}", new in "[ab\n]{0,12}", first in 1..5u32, more in 0..2u32, last in any::<bool>()
        ) {
            let Some(place) = Lines::of(&old).range(first, first + more) else { return Ok(()) };
            let before = old[place.clone()].to_owned();
            let step = Step { place, platforms: Vec::new(), state: State::Run, reason: None, runner: None };
            let mut outlook = Outlook { of_last_build: last, steps: vec![step], ..Outlook::default() };
            outlook.change(&old, &new);
            for step in outlook.steps {
                prop_assert_eq!(&new[step.place], &before);
            }
        }
    }
}
