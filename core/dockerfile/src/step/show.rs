//! Steps as progress output shows them.

use super::{Current, MAX_EXPANDED, Runner};
use crate::evaluate::Step as Planned;
use crate::expand::{ExpandOptions, expand_with};
use crate::heredoc;
use crate::instruction::{Body, CommandLine};
use crate::op::Op;

impl Runner<'_> {
    /// The instruction as progress output shows it.
    pub(super) fn text(&mut self, planned: &Planned<'_>, current: &Current<'_, '_>, op: &Op) -> String {
        let instruction = planned.instruction;
        let code = &instruction.code;
        let shown = match op {
            Op::Run(run) => {
                let mut text = code.clone();
                let lone = matches!(&instruction.body, Body::Run(CommandLine::Shell(word))
                    if heredoc::opening(&word.text).is_some());
                if let Some(first) = instruction.heredocs.first().filter(|_| lone) {
                    text = format!("{code} ({})", summary(first.content.slice(planned.text)));
                }
                let options = ExpandOptions::display(self.escape);
                let masked: Vec<&str> = run.mounts.iter().filter_map(|mount| mount.env.as_deref()).collect();
                self.display(current, &text, options, &masked)
            }
            Op::Copy(_) | Op::Workdir(_) => self.display(current, code, ExpandOptions::new(self.escape), &[]),
            _ => code.clone(),
        };
        match shown.split_once(' ') {
            Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
            None => shown.to_uppercase(),
        }
    }

    /// A text with its variables, or as it is where they cannot be expanded. Variables that hold secrets are masked.
    fn display(
        &mut self,
        current: &Current<'_, '_>,
        text: &str,
        options: ExpandOptions,
        masked: &[&str],
    ) -> String {
        if self.expanded > MAX_EXPANDED {
            return text.to_owned();
        }
        let lookup = |name: &str| {
            if masked.contains(&name) { Some("****".to_owned()) } else { self.get(current, name) }
        };
        let shown = expand_with(text, options, &lookup).unwrap_or_else(|_| text.to_owned());
        self.expanded += shown.len().saturating_sub(text.len());
        shown
    }
}

/// The first line of a heredoc, with dots if there are more.
fn summary(content: &str) -> String {
    let content = content.trim();
    match content.split_once('\n') {
        Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
        None => content.to_owned(),
    }
}
