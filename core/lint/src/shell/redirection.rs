//! Redirections, here-documents, and the scripts of other shells.

use std::ops::Range;

use super::parse::{End, List, Lost, Mark, Parser, Pending, is_shell};
use super::word::Mode;
use super::{Call, Context, Redirection, Word};

impl Parser<'_, '_> {
    /// At a `<`, `>` or `&>`. `descriptor` is the number before it, with its place.
    pub(super) fn redirection(
        &mut self,
        list: &mut List,
        descriptor: Option<(usize, &str)>,
    ) -> Result<(), Lost> {
        const OPERATORS: [&str; 12] =
            ["<<<", "<<-", "<<", "<>", "<&", "<", "&>>", "&>", ">>", ">&", ">|", ">"];
        self.begin(list);
        let operator = OPERATORS.iter().find(|operator| self.rest().starts_with(**operator)).ok_or(Lost)?;
        self.at += operator.len();
        self.blanks();
        let heredoc = operator.starts_with("<<") && *operator != "<<<";
        let start = self.at;
        let (target, expand) = if heredoc { self.delimiter()? } else { (self.word(Mode::Command)?, false) };
        if heredoc && self.at == start {
            return Err(Lost);
        }
        let end = self.at;
        let index = self.command;
        let command = self.begin(list);
        command.range.end = end;
        if let Some((start, _)) = descriptor {
            command.range.start = command.range.start.min(start);
        }
        let number = command.redirections.len();
        let name = target.literal().unwrap_or_default().to_owned();
        command.redirections.push(Redirection {
            operator: (*operator).to_owned(),
            descriptor: descriptor.and_then(|(_, digits)| digits.parse().ok()),
            target,
            content: None,
        });
        if heredoc {
            let of = index.map(|index| (index, number));
            self.pending.push(Pending { name, expand, strip_tabs: *operator == "<<-", of });
        }
        Ok(())
    }

    /// At the beginning of a line: the contents of the here-documents that were opened before it.
    pub(super) fn contents(&mut self, list: &List) -> Result<(), Lost> {
        for heredoc in std::mem::take(&mut self.pending) {
            let start = self.at;
            let (mut end, mut after) = (self.text.len(), self.text.len());
            let mut line_start = start;
            for line in self.rest().split_inclusive('\n') {
                let content = line.trim_end_matches('\n');
                let content = if heredoc.strip_tabs { content.trim_start_matches('\t') } else { content };
                if content == heredoc.name {
                    (end, after) = (line_start, line_start + line.len());
                    break;
                }
                line_start += line.len();
            }
            let mut script = false;
            if let Some((command, number)) = heredoc.of
                && let Some(command) = self.out.commands.get_mut(command)
            {
                if let Some(redirection) = command.redirections.get_mut(number) {
                    redirection.content = Some(start..end);
                }
                let bare = |call: &Call<'_>| is_shell(call.name) && call.read(&["-o"]).operands.is_empty();
                script = command.call().is_some_and(|call| bare(&call) && !call.read(&[]).has(&["-c"]));
            }
            if script {
                self.script(start..end, heredoc.of.map(|(command, _)| command), list.context);
            } else if heredoc.expand {
                let mut inner = self.within(start..end);
                inner.command = heredoc.of.map(|(command, _)| command);
                let result = inner.expansions();
                if result.is_err() {
                    self.at = self.text.len();
                    return Err(Lost);
                }
            }
            self.at = after;
        }
        Ok(())
    }

    /// The script of another shell that stands here as it is.
    fn script(&mut self, range: Range<usize>, parent: Option<usize>, context: Context) {
        let mark = Mark::of(self.out);
        let mut inner = self.within(range);
        inner.command = parent;
        if inner.list(End::Text, Context { nested: true, ..context }).is_err() {
            mark.reset(self.out);
        }
    }

    /// Reads the script that a command gives to a shell, such as `sh -c '…'`, if it stands there as it is.
    pub(super) fn nested(&mut self, index: usize) {
        let Some(command) = self.out.commands.get(index) else { return };
        let Some(call) = command.call().filter(|call| is_shell(call.name)) else { return };
        let is_c = |word: &Word| {
            word.literal().is_some_and(|text| {
                text.starts_with('-') && !text.starts_with("--") && text.trim_end_matches('e').ends_with('c')
            })
        };
        let Some(at) = call.arguments.iter().position(is_c) else { return };
        let Some(script) = call.arguments.get(at + 1) else { return };
        let raw = self.text.get(script.range.clone()).unwrap_or_default();
        let quoted = |quote: char, never: &[char]| {
            let inner = raw.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(never)).then(|| script.range.start + 1..script.range.end - 1)
        };
        let range = quoted('\'', &['\'']).or_else(|| quoted('"', &['"', '\\', '`']));
        if let Some(range) = range {
            let context = command.context;
            self.script(range, Some(index), context);
        }
    }
}
