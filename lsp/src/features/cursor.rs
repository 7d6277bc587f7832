//! Where in a Dockerfile a place is, by what stands before it: the text may be one that is only being written.

use rbx_dockerfile::{Dockerfile, Instruction, Keyword, LineKind, continuation};

use crate::text::number;

/// What a place is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A comment or a parser directive: what stands between its `#` and the place.
    Comment {
        before: String,
        /// Parser directives may stand in this line.
        directive: bool,
    },
    /// The first word of a line, where an instruction may begin.
    Keyword {
        before: String,
        /// What follows is a trigger of `ONBUILD`.
        trigger: bool,
    },
    /// What follows the first word of an instruction.
    Arguments(Arguments),
    /// The content of a here-document.
    Heredoc { keyword: Keyword, before: String, expands: bool },
}

/// What follows the first word of an instruction, up to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) keyword: Keyword,
    /// The flags before the place, each whole, without their dashes.
    pub(crate) flags: Vec<String>,
    /// The other words before it, each whole, as written; of a JSON array, its strings.
    pub(crate) words: Vec<String>,
    /// The word that the place is in or after: what of it is before the place.
    pub(crate) current: String,
    /// How much of `current` is in the line of the place, in bytes.
    pub(crate) in_line: usize,
    /// The place is in a JSON array.
    pub(crate) json: Json,
    /// All that follows the first word, as one line.
    pub(crate) text: String,
}

/// Whether words are strings of a JSON array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Json {
    /// They are not.
    No,
    /// The place is between the strings of one.
    Between,
    /// The place is in a string of one.
    Within,
    /// The place is after its end.
    After,
}

/// Finds what a place is in.
pub(crate) fn place(file: &Dockerfile, offset: u32) -> Place {
    let text = file.text.as_str();
    let offset = text.floor_char_boundary(offset as usize);
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = &text[start..offset];
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    match kind_of(file, start) {
        Some(LineKind::HeredocContent) => {
            let instruction = file.instruction_at(number(start));
            let heredoc = instruction
                .and_then(|it| it.heredocs.iter().find(|heredoc| heredoc.content.range().contains(&start)));
            let expands = heredoc.is_some_and(|heredoc| heredoc.expand);
            let keyword = instruction.map_or(Keyword::Unknown, |it| inner(it).keyword);
            return Place::Heredoc { keyword, before: line.to_owned(), expands };
        }
        Some(LineKind::HeredocEnd) => {
            return Place::Heredoc { keyword: Keyword::Unknown, before: String::new(), expands: false };
        }
        _ => {}
    }
    if let Some(comment) = line.trim_start().strip_prefix('#') {
        let first = file.lines.iter().position(|line| line.kind != LineKind::Directive);
        let directives = first.map_or(text.len(), |index| file.lines[index].span.start as usize);
        return Place::Comment { before: comment.to_owned(), directive: start <= directives };
    }
    match begun(file, start) {
        Some(before) => words(before + line, line.len(), file.escape, false),
        None => words(line.trim_start().to_owned(), line.len(), file.escape, false),
    }
}

/// The instruction, or its trigger.
fn inner(instruction: &Instruction) -> &Instruction {
    match &instruction.body {
        rbx_dockerfile::Body::Onbuild(inner) => inner,
        _ => instruction,
    }
}

fn kind_of(file: &Dockerfile, start: usize) -> Option<LineKind> {
    let start = number(start);
    let index = file.lines.partition_point(|line| line.span.start <= start).checked_sub(1)?;
    file.lines.get(index).filter(|line| line.span.contains(start)).map(|line| line.kind)
}

/// What an instruction has before a line that continues it, as one line; nothing where the line begins anew.
fn begun(file: &Dockerfile, start: usize) -> Option<String> {
    let last = file.instructions.partition_point(|it| (it.span.start as usize) < start).checked_sub(1)?;
    let from = file.instructions[last].span.start;
    let first = file.lines.partition_point(|line| line.span.start <= from).checked_sub(1)?;
    let mut joined = None;
    for line in file.lines[first..].iter().take_while(|line| (line.span.start as usize) < start) {
        let content = &file.text[line.span.start.max(from) as usize..line.span.end as usize];
        let content = content.trim_end_matches(['\r', '\n']);
        match line.kind {
            LineKind::Comment | LineKind::Blank => {}
            LineKind::Instruction => {
                let length = continuation(content, file.escape)?;
                joined.get_or_insert_with(String::new).push_str(&content[..length]);
            }
            _ => return None,
        }
    }
    joined
}

/// Takes an instruction apart that is there up to a place, of which `in_line` bytes are in the line of the place.
fn words(text: String, in_line: usize, escape: char, trigger: bool) -> Place {
    let Some(end) = text.find(char::is_whitespace) else { return Place::Keyword { before: text, trigger } };
    let keyword = Keyword::parse(&text[..end]);
    let rest = text[end..].trim_start();
    if keyword == Keyword::Onbuild && !trigger {
        return words(rest.to_owned(), in_line, escape, true);
    }
    let mut arguments = Arguments {
        keyword,
        flags: Vec::new(),
        words: Vec::new(),
        current: String::new(),
        in_line: 0,
        json: Json::No,
        text: rest.to_owned(),
    };
    let mut left = rest;
    while let Some(flag) = left.strip_prefix("--") {
        let Some(length) = word_end(flag, escape) else { break };
        if length == 0 {
            break;
        }
        arguments.flags.push(flag[..length].to_owned());
        left = flag[length..].trim_start();
    }
    if left.starts_with('[') && keyword != Keyword::Arg && keyword != Keyword::Env {
        strings(left, &mut arguments);
    } else {
        while let Some(length) = word_end(left, escape) {
            arguments.words.push(left[..length].to_owned());
            left = left[length..].trim_start();
        }
        left.clone_into(&mut arguments.current);
    }
    arguments.in_line = arguments.current.len().min(in_line);
    Place::Arguments(arguments)
}

/// Length of the word that a text begins with, if white space follows it.
fn word_end(text: &str, escape: char) -> Option<usize> {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return Some(at),
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape && quote != Some('\'') => {
                chars.next();
            }
            _ => {}
        }
    }
    None
}

/// Reads the strings of a JSON array.
fn strings(text: &str, arguments: &mut Arguments) {
    arguments.json = Json::Between;
    let mut open = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (open, c) {
            (None, '"') => open = Some(at + 1),
            (None, ']') => arguments.json = Json::After,
            (Some(start), '"') => {
                arguments.words.push(text[start..at].to_owned());
                open = None;
            }
            (Some(_), '\\') => {
                chars.next();
            }
            _ => {}
        }
    }
    if let Some(start) = open {
        arguments.json = Json::Within;
        text[start..].clone_into(&mut arguments.current);
    }
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;

    use super::*;

    /// What the mark is in, in a line.
    fn at(text: &str) -> String {
        let offset = text.find('‸').unwrap();
        let file = parse(&text.replace('‸', ""));
        match place(&file, number(offset)) {
            Place::Comment { before, directive } => format!("comment {before:?} directive={directive}"),
            Place::Keyword { before, trigger } => format!("keyword {before:?} trigger={trigger}"),
            Place::Heredoc { keyword, before, expands } => {
                format!("heredoc of {} {before:?} expands={expands}", keyword.name())
            }
            Place::Arguments(it) => format!(
                "{} {:?} {:?} {:?}[{}] {:?}",
                it.keyword.name(),
                it.flags,
                it.words,
                it.current,
                it.in_line,
                it.json
            ),
        }
    }

    #[test]
    fn places_are_told_by_what_is_before() {
        let cases = [
            "‸",
            "FR‸OM a",
            "  cop‸",
            "FROM a\n‸",
            "FROM ‸",
            "FROM --platform=‸",
            "FROM --platform=a b‸c AS d",
            "COPY --from=a --link x \"y z\" w‸",
            "copy \\\n  # comment\n\n  --from=‸",
            "COPY --from=a\\\nb‸",
            "FROM a\nRUN x \\\n‸",
            "FROM a\nRUN x\n‸",
            "ONBUILD ‸",
            "ONBUILD COPY --fr‸",
            "CMD [\"a\", \"b‸",
            "CMD [\"a\", ‸",
            "CMD [\"a\"] ‸",
            "RUN <<EOF\na $‸x\nEOF\n",
            "COPY <<'E' /x\n$‸x\nE\n",
            "COPY <<E /x\nx\nE‸\n",
            "COPY <<E /x\nx\nE\n‸\n",
            "# ‸",
            "# syntax=a\n# ch‸",
            "FROM a\n # rbx: ‸x",
            "\n# syn‸",
            "\u{feff}# syn‸",
            "# escape=`\nRUN a `\n  b‸",
            "RUN echo 'a b‸",
            "ENV a=b\\ c d=‸",
            "FROM a\r\nRUN b \\\r\n c ‸\r\n",
        ];
        let all: Vec<String> = cases.iter().map(|text| format!("{text:?}: {}", at(text))).collect();
        insta::assert_snapshot!(all.join("\n"), @r##"
        "‸": keyword "" trigger=false
        "FR‸OM a": keyword "FR" trigger=false
        "  cop‸": keyword "cop" trigger=false
        "FROM a\n‸": keyword "" trigger=false
        "FROM ‸": FROM [] [] ""[0] No
        "FROM --platform=‸": FROM [] [] "--platform="[11] No
        "FROM --platform=a b‸c AS d": FROM ["platform=a"] [] "b"[1] No
        "COPY --from=a --link x \"y z\" w‸": COPY ["from=a", "link"] ["x", "\"y z\""] "w"[1] No
        "copy \\\n  # comment\n\n  --from=‸": COPY [] [] "--from="[7] No
        "COPY --from=a\\\nb‸": COPY [] [] "--from=ab"[1] No
        "FROM a\nRUN x \\\n‸": RUN [] ["x"] ""[0] No
        "FROM a\nRUN x\n‸": keyword "" trigger=false
        "ONBUILD ‸": keyword "" trigger=true
        "ONBUILD COPY --fr‸": COPY [] [] "--fr"[4] No
        "CMD [\"a\", \"b‸": CMD [] ["a"] "b"[1] Within
        "CMD [\"a\", ‸": CMD [] ["a"] ""[0] Between
        "CMD [\"a\"] ‸": CMD [] ["a"] ""[0] After
        "RUN <<EOF\na $‸x\nEOF\n": heredoc of RUN "a $" expands=true
        "COPY <<'E' /x\n$‸x\nE\n": heredoc of COPY "$" expands=false
        "COPY <<E /x\nx\nE‸\n": heredoc of  "" expands=false
        "COPY <<E /x\nx\nE\n‸\n": keyword "" trigger=false
        "# ‸": comment " " directive=true
        "# syntax=a\n# ch‸": comment " ch" directive=true
        "FROM a\n # rbx: ‸x": comment " rbx: " directive=false
        "\n# syn‸": comment " syn" directive=false
        "\u{feff}# syn‸": comment " syn" directive=true
        "# escape=`\nRUN a `\n  b‸": RUN [] ["a"] "b"[1] No
        "RUN echo 'a b‸": RUN [] ["echo"] "'a b"[4] No
        "ENV a=b\\ c d=‸": ENV [] ["a=b\\ c"] "d="[2] No
        "FROM a\r\nRUN b \\\r\n c ‸\r\n": RUN [] ["b", "c"] ""[0] No
        "##);
    }
}
