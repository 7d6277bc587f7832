//! The words of scripts as an editor shows them.

use std::ops::Range;

use rbx_dockerfile::{Dockerfile, Span};

use super::script::of_shells;
use super::word::is_name;
use super::{Command, Program, Word};

/// What a part of a script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShellToken {
    /// A word that the shell itself reads: `if`, `done`, `!`.
    Keyword,
    /// What is called: a program, a builtin, a function.
    Command,
    /// An argument that begins with a dash.
    Option,
    /// A variable, with the `$` before it; or one that is set.
    Variable {
        /// It is set here.
        set: bool,
    },
    /// A text in quotes, and what a here-document holds.
    Text,
    /// What stands between commands, redirections and the `=` of an assignment.
    Operator,
    /// A comment of the shell.
    Comment,
}

const RESERVED: [&str; 19] = [
    "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in",
    "select", "then", "until", "while", "time",
];

/// The scripts of a Dockerfile as tokens. They may contain one another: a text has variables in it.
pub fn shell_tokens(file: &Dockerfile) -> Vec<(Span, ShellToken)> {
    let mut tokens = Vec::new();
    for script in of_shells(file, |_| true) {
        let nested = script.program.commands.iter().filter(|command| command.context.nested);
        let nested = nested.map(|command| command.range.start).collect();
        let mut found = Vec::new();
        Reader { text: &script.text, program: &script.program, nested, found: &mut found }.read();
        tokens.extend(found.into_iter().map(|(range, token)| (script.span(&range), token)));
    }
    tokens
}

struct Reader<'a> {
    text: &'a str,
    program: &'a Program,
    /// Where commands begin that are of the scripts of other shells.
    nested: Vec<usize>,
    found: &'a mut Vec<(Range<usize>, ShellToken)>,
}

impl Reader<'_> {
    fn read(mut self) {
        let mut covered: Vec<Range<usize>> = Vec::new();
        for command in &self.program.commands {
            self.command(command, &mut covered);
        }
        for at in &self.program.pipes {
            self.found.push((*at..at + 1, ShellToken::Operator));
        }
        for expansion in &self.program.expansions {
            let name = expansion.name_range();
            let closed = expansion.range.end == name.end + 1;
            let end = if closed { expansion.range.end } else { name.end };
            self.found.push((expansion.range.start..end, ShellToken::Variable { set: false }));
            if let Some(operator) = expansion.operator {
                let end = expansion.operand.start;
                let start = end.saturating_sub(operator.len_utf8() + usize::from(expansion.colon));
                self.found.push((start.max(name.end)..end, ShellToken::Operator));
            }
        }
        covered.sort_by_key(|range| range.start);
        let mut at = 0;
        for range in covered {
            if range.start > at {
                self.between(at..range.start);
            }
            at = at.max(range.end);
        }
        // What could not be read is not guessed at.
        self.between(at..self.program.lost.unwrap_or(self.text.len()).max(at));
    }

    fn command(&mut self, command: &Command, covered: &mut Vec<Range<usize>>) {
        for assignment in &command.assignments {
            let range = assignment.word.range.clone();
            let name = range.start..range.start + assignment.name.len();
            let written = self.text.get(range.clone()).unwrap_or_default();
            if let Some(equals) = written.find('=').map(|at| range.start + at) {
                self.found.push((name, ShellToken::Variable { set: true }));
                self.found.push((equals..equals + 1, ShellToken::Operator));
                self.quoted(&assignment.word, equals + 1);
            }
            covered.push(range);
        }
        let called = command.call().map(|call| call.word.range.clone());
        let mut options = false;
        for (index, word) in command.words.iter().enumerate() {
            let range = word.range.clone();
            covered.push(range.clone());
            let is_called = called.as_ref() == Some(&range) || index == 0;
            if command.keyword {
                let reserved = index == 0 || word.is("in");
                let variable = index == 1 && !command.words.first().is_some_and(|word| word.is("case"));
                if reserved {
                    self.found.push((range, ShellToken::Keyword));
                } else if variable && word.literal().is_some_and(is_name) {
                    self.found.push((range, ShellToken::Variable { set: true }));
                } else {
                    self.quoted(word, range.start);
                }
            } else if is_called && word.literal().is_some() {
                self.found.push((range, ShellToken::Command));
            } else if word.prefix().starts_with('-') && !options {
                options = word.is("--");
                self.found.push((range.clone(), ShellToken::Option));
                if word.literal().is_none() || word.quoted {
                    self.quoted(word, range.start);
                }
            } else {
                self.quoted(word, range.start);
            }
        }
        for redirection in &command.redirections {
            let target = &redirection.target.range;
            let before = self.text.get(..target.start).unwrap_or_default().trim_end();
            if before.ends_with(redirection.operator.as_str()) {
                let start = before.len() - redirection.operator.len();
                self.found.push((start..before.len(), ShellToken::Operator));
                covered.push(start..target.end);
            }
            self.quoted(&redirection.target, target.start);
            if let Some(content) = &redirection.content {
                // A script in it is a script.
                let next = self.nested.partition_point(|&start| start < content.start);
                let script = self.nested.get(next).is_some_and(|&start| start < content.end);
                if !script {
                    self.found.push((content.clone(), ShellToken::Text));
                    covered.push(content.clone());
                }
            }
        }
    }

    /// A word of which a part is quoted, from a place on.
    fn quoted(&mut self, word: &Word, from: usize) {
        let written = self.text.get(from..word.range.end).unwrap_or_default();
        if word.quoted && written.contains(['\'', '"']) {
            self.found.push((from..word.range.end, ShellToken::Text));
        }
    }

    /// What stands between words: operators, reserved words, comments.
    fn between(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let rest = self.text.get(at..range.end).unwrap_or_default();
            let Some(c) = rest.chars().next() else { break };
            let length = match c {
                '#' => {
                    let length = rest.find('\n').unwrap_or(rest.len());
                    self.found.push((at..at + length, ShellToken::Comment));
                    length
                }
                ';' | '&' | '|' | '(' | ')' => {
                    let length = rest.len() - rest.trim_start_matches([';', '&', '|']).len();
                    self.found.push((at..at + length.max(1), ShellToken::Operator));
                    length.max(1)
                }
                c if c.is_whitespace() || c == '\\' => c.len_utf8(),
                _ => {
                    let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')');
                    let length = rest.find(ends).unwrap_or(rest.len());
                    if rest.get(..length).is_some_and(|word| RESERVED.contains(&word)) {
                        self.found.push((at..at + length, ShellToken::Keyword));
                    }
                    length
                }
            };
            at += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn tokens(text: &str) -> String {
        let file = rbx_dockerfile::parse(text);
        let mut tokens = shell_tokens(&file);
        tokens.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
        let show = |(span, token): &(Span, ShellToken)| {
            let token = match token {
                ShellToken::Variable { set: true } => "set".to_owned(),
                ShellToken::Variable { set: false } => "variable".to_owned(),
                token => format!("{token:?}").to_lowercase(),
            };
            format!("{token} {:?}", span.slice(text))
        };
        tokens.iter().map(show).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn commands_have_tokens() {
        assert_snapshot!(tokens("RUN A=\"b $C\" sudo -E apt-get install -y --no-x=\"$D\" 'e f' g && ! h | i >>/j 2>&1; k ${L:-\"m\"} # n\n"), @r##"
        set "A"
        operator "="
        text "\"b $C\""
        variable "$C"
        command "sudo"
        option "-E"
        command "apt-get"
        option "-y"
        option "--no-x=\"$D\""
        text "--no-x=\"$D\""
        variable "$D"
        text "'e f'"
        operator "&&"
        keyword "!"
        command "h"
        operator "|"
        operator "|"
        command "i"
        operator ">>"
        operator ">&"
        operator ";"
        command "k"
        variable "${L"
        operator ":-"
        comment "# n"
        "##);
    }

    #[test]
    fn compound_commands_have_tokens() {
        assert_snapshot!(tokens("RUN <<E\nif [ -n \"$A\" ]; then # b\n  for c in d $(e | f); do g; done\nelse\n  case $h in i) j ;; esac\nfi\ncat <<K\nl $m\nK\nE\n"), @r##"
        keyword "if"
        command "["
        option "-n"
        text "\"$A\""
        variable "$A"
        operator ";"
        keyword "then"
        comment "# b"
        keyword "for"
        set "c"
        keyword "in"
        command "e"
        operator "|"
        command "f"
        operator ";"
        keyword "do"
        command "g"
        operator ";"
        keyword "done"
        keyword "else"
        keyword "case"
        variable "$h"
        keyword "in"
        operator ")"
        command "j"
        operator ";;"
        keyword "esac"
        keyword "fi"
        command "cat"
        operator "<<"
        text "l $m\n"
        variable "$m"
        "##);
    }

    #[test]
    fn only_scripts_have_tokens() {
        assert_snapshot!(tokens("FROM a\nRUN [\"b\", \"c\"]\nCMD [\"sh\", \"-c\", \"d $E\"]\nENTRYPOINT f -g\nHEALTHCHECK CMD h\nONBUILD RUN i\nRUN <<E\n#!/usr/bin/python\nimport j\nE\nRUN 'k\n"), @r#"
        command "d"
        variable "$E"
        command "f"
        option "-g"
        command "h"
        command "i"
        "#);
    }
}
