//! What [shellcheck](https://www.shellcheck.net) finds in the scripts of a Dockerfile.
//!
//! Nothing here runs it. [`wanted_scripts`] are texts for it, which say themselves what it has to know: the shell, the
//! variables that the Dockerfile sets, what not to look for. What it answers comes back as
//! [`Facts::scripts`](crate::Facts::scripts), by text, so that it is found where the script is, whatever else of the
//! Dockerfile changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use rbx_dockerfile::{Body, Dockerfile, Instruction, evaluate};

use crate::evaluated::{platforms_of, scope};
use crate::facts::Facts;
use crate::finding::{Edit, Fix, Severity};
use crate::lint::Request;
use crate::rule::{Family, Rule};
use crate::shell::{Purpose, Run, Script, Scripts, runs};
use crate::view::{Found, View};

/// Lines of a text before the script itself.
const HEAD: usize = 4;
/// What it says of every script that is no whole program: that it does not know a shell, or cannot read a file.
const NEVER: &str = "SC1090,SC1091,SC2187";
/// The number of characters that a message of it has, at most.
const MAX_MESSAGE: usize = 500;

/// What shellcheck says of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptComment {
    /// Its number: 2086 for SC2086.
    pub code: u32,
    /// What, in its own words.
    pub message: String,
    /// How bad it takes it to be.
    pub level: ScriptLevel,
    /// Where.
    pub place: ScriptPlace,
    /// What it would change.
    pub replacements: Vec<(ScriptPlace, String)>,
}

/// How bad shellcheck takes something to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptLevel {
    /// `error`
    Error,
    /// `warning`
    Warning,
    /// `info`
    Info,
    /// `style`
    Style,
}

/// A place in a text, as `--format=json1` has it: lines and characters from 1, the end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptPlace {
    /// Line and character of the beginning.
    pub start: (usize, usize),
    /// Line and character after the end.
    pub end: (usize, usize),
}

/// The texts that shellcheck is to look at, each once. There is none if what it finds is not asked for.
pub fn wanted_scripts(file: &Dockerfile, request: &Request, facts: &Facts) -> Vec<String> {
    // Nothing that it finds is worse than a warning, or is looked for where that is all that counts.
    if !request.settings.wants(Severity::Info) {
        return Vec::new();
    }
    let platforms = platforms_of(request);
    let Some(platform) = platforms.first() else { return Vec::new() };
    let evaluation = evaluate(file, &scope(request, facts, platform));
    let scripts = Scripts::new(file);
    let runs = runs(&scripts, &evaluation);
    let names = variables(file);
    let texts: BTreeSet<String> = runs.iter().filter_map(|run| text(run, &names)).collect();
    texts.into_iter().collect()
}

/// What it found, of the rules that are asked.
pub(crate) fn found(view: &View<'_>) -> Vec<(&'static Rule, Found)> {
    let comments = &view.facts.scripts;
    if comments.is_empty() {
        return Vec::new();
    }
    let names = variables(view.file);
    let mut all = Vec::new();
    for run in &view.runs {
        let Some(text) = text(run, &names) else { continue };
        let Some(comments) = comments.get(&text) else { continue };
        let lines = Lines::of(&run.script.text);
        all.extend(comments.iter().filter_map(|comment| one(run.script, &lines, comment)));
    }
    all
}

fn one(script: &Script<'_>, lines: &Lines<'_>, comment: &ScriptComment) -> Option<(&'static Rule, Found)> {
    let rule = numbered(comment.code)?;
    let range = lines.range(&comment.place)?;
    let message: String = comment.message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    let message = message.trim().trim_end_matches('.').to_owned();
    let mut found = Found::new(script.span(&range), message);
    found.severity = Some(match comment.level {
        ScriptLevel::Error => Severity::Warning,
        ScriptLevel::Warning | ScriptLevel::Info => Severity::Info,
        ScriptLevel::Style => Severity::Style,
    });
    found.fixes.extend(fix(script, lines, comment));
    Some((rule, found))
}

/// What it would change, if that stands in the Dockerfile as it is.
fn fix(script: &Script<'_>, lines: &Lines<'_>, comment: &ScriptComment) -> Option<Fix> {
    let mut edits = Vec::new();
    for (place, text) in &comment.replacements {
        let range = lines.range(place)?;
        // A place between two characters is one in the Dockerfile if they stand together there.
        let around = range.start.saturating_sub(1)..script.text.len().min(range.end + 1);
        if !script.text.is_char_boundary(around.start)
            || !script.text.is_char_boundary(around.end)
            || !script.is_verbatim(&around)
            || text.contains(['\n', '\r'])
        {
            return None;
        }
        edits.push(Edit { span: script.span(&range), text: text.clone() });
    }
    edits.sort_by_key(|edit| edit.span);
    let apart = edits.windows(2).all(|two| two[0].span.end <= two[1].span.start);
    (apart && !edits.is_empty()).then(|| Fix {
        title: "Do what shellcheck proposes".to_owned(),
        safe: false,
        edits,
    })
}

/// Where the lines of a script begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { text, starts: starts.collect() }
    }

    /// A place of the text that shellcheck saw, in the script; `None` if it is not in there.
    fn range(&self, place: &ScriptPlace) -> Option<Range<usize>> {
        let at = |(line, column): (usize, usize)| {
            let index = line.checked_sub(HEAD + 1)?;
            let start = *self.starts.get(index)?;
            let rest = self.text.get(start..)?;
            let line = rest.split('\n').next().unwrap_or(rest);
            let mut characters = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            Some(start + characters.nth(column.checked_sub(1)?).unwrap_or(line.len()))
        };
        let (start, end) = (at(place.start)?, at(place.end)?);
        (start <= end).then_some(start..end)
    }
}

/// The text that shellcheck gets for a script. `None` where it does not know the shell.
fn text(run: &Run<'_>, variables: &HashSet<&str>) -> Option<String> {
    let script = run.script;
    if run.purpose == Purpose::Check || script.text.trim().is_empty() || run.shell.is_empty() {
        return None;
    }
    let dialect = match run.shell_name() {
        "sh" => "sh",
        "bash" => "bash",
        // Of what it knows that is nearest.
        "ash" | "dash" => "dash",
        "ksh" | "mksh" => "ksh",
        _ => return None,
    };
    let stops = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('e');
    let first = if run.shell.iter().skip(1).any(stops) { "set -e" } else { ":" };
    let mut text =
        format!("# shellcheck shell={dialect} disable={NEVER}\n{first}\n# shellcheck disable=all\n");
    let read = script.program.expansions.iter().map(|expansion| expansion.name.as_str());
    let mut set: BTreeSet<&str> = read.filter(|name| variables.contains(name)).collect();
    let step = run.step;
    let base = script.program.expansions.iter().map(|expansion| expansion.name.as_str()).take(100);
    set.extend(base.filter(|name| step.is_some_and(|step| step.run_env.get(name).is_some())));
    if set.is_empty() {
        text.push(':');
    } else {
        text.push_str("export");
        for name in set {
            // Nothing is known of its value.
            let _ = write!(text, " {name}=\"$(:)\"");
        }
    }
    text.push('\n');
    match script.text.strip_prefix("#!") {
        // It is not the first line here.
        Some(rest) => text.extend(["# ", rest]),
        None => text.push_str(&script.text),
    }
    text.push('\n');
    Some(text)
}

/// The names that `ARG` and `ENV` give anywhere in a file.
fn variables(file: &Dockerfile) -> HashSet<&str> {
    fn of(instruction: &Instruction) -> Vec<&str> {
        match &instruction.body {
            Body::Arg(list) => list.iter().map(|arg| arg.name.text.as_str()).collect(),
            Body::Env(list) => list.iter().map(|pair| pair.name.text.as_str()).collect(),
            Body::Onbuild(trigger) => of(trigger),
            _ => Vec::new(),
        }
    }
    file.instructions.iter().flat_map(of).collect()
}

/// What stands for everything that shellcheck finds, such as in a setting.
const ALL: Rule = Rule {
    name: "shellcheck",
    family: Family::ShellCheck,
    enabled: true,
    summary: "What shellcheck finds in scripts, where it is installed",
    explanation: include_str!("../rules/shellcheck.md"),
    ..Rule::NONE
};

/// The rule of that name: `shellcheck`, or a number of it such as `SC2086`.
pub(crate) fn rule(name: &str) -> Option<&'static Rule> {
    static WHOLE: Rule = ALL;
    if name == WHOLE.name {
        return Some(&WHOLE);
    }
    let digits = name.strip_prefix("SC").filter(|digits| digits.len() == 4)?;
    numbered(digits.parse().ok()?)
}

/// The rule of a number. There are some hundred that shellcheck has; each is made once, and stays.
fn numbered(code: u32) -> Option<&'static Rule> {
    static KNOWN: LazyLock<Mutex<BTreeMap<u32, &'static Rule>>> = LazyLock::new(Mutex::default);
    if !(1000..4000).contains(&code) {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    Some(known.entry(code).or_insert_with(|| {
        let name = format!("SC{code}");
        let explanation = format!(
            "# {name}\n\nWhat shellcheck finds in the script of a `RUN`. It says more at \
             <https://www.shellcheck.net/wiki/{name}>.\n\n{}",
            ALL.explanation.split_once("\n\n").map_or("", |(_, rest)| rest)
        );
        Box::leak(Box::new(Rule {
            name: Box::leak(name.into_boxed_str()),
            explanation: Box::leak(explanation.into_boxed_str()),
            ..ALL
        }))
    }))
}

#[cfg(test)]
mod tests;
