//! What a renderer saw, for the report in the end.

use std::fmt::Write as _;

use rbx_request::Warning;

use crate::options::Colors;
use crate::plain::LOG_TAIL;
use crate::source::snippet;
use crate::state::State;
use crate::text::clean;

/// What was seen of a build.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The warnings, in the order in which they came, without those that say the same.
    pub warnings: Vec<Warning>,
    /// The vertices that failed by themselves, in the order in which they started; those that were cancelled
    /// because of them are left out.
    pub failed: Vec<FailedVertex>,
}

/// A vertex that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedVertex {
    /// Its identity within the build.
    pub digest: String,
    /// What people read, such as `[2/3] RUN make`.
    pub name: String,
    /// Why it failed.
    pub error: String,
    /// The last lines that it wrote, at most ten, without colours or control characters.
    pub log: Vec<String>,
}

impl Summary {
    pub(crate) fn of(state: &State) -> Self {
        let mut warnings: Vec<Warning> = Vec::new();
        for warning in state.warnings() {
            // Builds for several platforms say the same of each.
            let same = |other: &Warning| {
                Warning { vertex: String::new(), ..other.clone() }
                    == Warning { vertex: String::new(), ..warning.clone() }
            };
            if !warnings.iter().any(same) {
                warnings.push(warning.clone());
            }
        }
        let never_started = (0..state.vertices().len()).filter(|i| !state.vertices()[*i].is_started());
        let order = state.started().iter().copied().chain(never_started);
        let failed = order
            .filter_map(|i| {
                let vertex = &state.vertices()[i];
                Some(FailedVertex {
                    digest: vertex.digest.clone(),
                    name: vertex.name.clone(),
                    error: vertex.failure()?.to_owned(),
                    log: vertex.log.tail(LOG_TAIL),
                })
            })
            .collect();
        Self { warnings, failed }
    }

    /// The block about warnings that follows a build in the modes `plain` and `tty`; empty if there are none.
    /// With `expand` (`docker --debug`) each is explained and its place is shown.
    pub fn warnings_text(&self, expand: bool, colors: &Colors) -> String {
        let mut title = match self.warnings.len() {
            0 => return String::new(),
            1 => "1 warning found".to_owned(),
            n => format!("{n} warnings found"),
        };
        if !expand {
            title.push_str(" (use docker --debug to expand)");
        }
        title.push(':');

        let mut text = format!("\n {}\n", Colors::paint(colors.warning.as_deref(), &title));
        for warning in &self.warnings {
            let _ = writeln!(text, " - {}", clean(&warning.short));
            if !expand {
                continue;
            }
            for line in &warning.detail {
                let _ = writeln!(text, "{}", clean(line));
            }
            if !warning.url.is_empty() {
                let _ = writeln!(text, "More info: {}", clean(&warning.url));
            }
            let _ = writeln!(text, "{}", snippet(&warning.file, &warning.source, &warning.lines));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use rbx_request::{Event, Vertex};

    use super::*;
    use crate::state::tests::{at, log, vertex};

    fn warning(vertex: &str, short: &str) -> Warning {
        Warning {
            vertex: vertex.into(),
            level: 1,
            short: short.into(),
            detail: vec!["Legacy key/value format with whitespace separator should not be used".into()],
            url: "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/".into(),
            file: "Dockerfile".into(),
            lines: vec![(2, 2)],
            source: "FROM scratch\nENV a b\nENV c=d\n".into(),
        }
    }

    fn summary() -> Summary {
        let mut state = State::default();
        let mut apply = |event| state.apply(event, at(0));
        apply(Event::Vertex(vertex("a", "A", Some(0), None)));
        apply(log("a", 0, &(0..20).map(|i| format!("\x1b[31mline {i}")).collect::<Vec<_>>().join("\n")));
        apply(Event::Vertex(Vertex { error: Some("broken".into()), ..vertex("a", "A", Some(0), Some(1)) }));
        apply(Event::Vertex(Vertex {
            error: Some("x: context canceled".into()),
            ..vertex("b", "B", Some(0), Some(1))
        }));
        apply(Event::Vertex(Vertex { error: Some("never ran".into()), ..vertex("c", "C", None, None) }));
        apply(Event::Warning(warning("a", "LegacyKeyValueFormat: one (line 2)")));
        apply(Event::Warning(warning("b", "LegacyKeyValueFormat: one (line 2)")));
        Summary::of(&state)
    }

    #[test]
    fn failures_have_their_last_lines() {
        let summary = summary();
        let failed: Vec<_> =
            summary.failed.iter().map(|f| (f.name.as_str(), f.error.as_str(), f.log.len())).collect();
        assert_eq!(failed, [("A", "broken", 10), ("C", "never ran", 0)]);
        assert_eq!(summary.failed[0].log[9], "line 19");
    }

    #[test]
    fn warnings_are_told_once() {
        let mut summary = summary();
        insta::assert_snapshot!(summary.warnings_text(true, &Colors::none()), @"
         1 warning found:
         - LegacyKeyValueFormat: one (line 2)
        Legacy key/value format with whitespace separator should not be used
        More info: https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> ENV a b
           3 |     ENV c=d
           4 |     
        --------------------
        ");
        summary.warnings.push(warning("", "Other: two (line 3)"));
        insta::assert_snapshot!(summary.warnings_text(false, &Colors::default()).replace('\x1b', "^["), @"
        ^[[33m2 warnings found (use docker --debug to expand):^[[0m
        - LegacyKeyValueFormat: one (line 2)
        - Other: two (line 3)
        ");
        assert_eq!(Summary::default().warnings_text(true, &Colors::none()), "");
    }
}
