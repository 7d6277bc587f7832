//! Finding the heredocs an instruction opens.

use std::ops::Range;

use crate::expand::is_name;

/// Substitutions inside substitutions, at most; a line that goes deeper opens no heredoc.
const MAX_DEPTH: usize = 100;

/// A heredoc as a word opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) name: String,
    pub(crate) file_descriptor: u32,
    pub(crate) strip_tabs: bool,
    pub(crate) expand: bool,
}

/// Reads a word such as `<<EOF`, `3<<-"EOF"` or `<< EOF`. `None` where it is no heredoc.
pub(crate) fn opening(word: &str) -> Option<Opening> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    if rest.contains('<') {
        return None;
    }
    let (name, quoted) = unquote(rest)?;
    Some(Opening { name, file_descriptor: word[..digits].parse().unwrap_or(0), strip_tabs, expand: !quoted })
}

/// The terminator a heredoc's word names, and whether any of it is quoted. `None` where it is empty or not one
/// word.
fn unquote(word: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut quoted = false;
    let mut ended = false;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            ended = !name.is_empty();
            continue;
        }
        if ended {
            return None;
        }
        match c {
            '\'' => {
                quoted = true;
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => name.push(c),
                    }
                }
            }
            '"' => {
                quoted = true;
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => name.push(chars.next_if(|c| matches!(c, '"' | '$' | '\\')).unwrap_or('\\')),
                        c => name.push(c),
                    }
                }
            }
            '\\' => name.extend(chars.next()),
            c => name.push(c),
        }
    }
    if name.is_empty() { None } else { Some((name, quoted)) }
}

/// The words of a line that open heredocs, with their places. As in BuildKit the line is read with `\` as the
/// escape character whatever the file says, and a line with unbalanced quotes or braces opens none.
pub(crate) fn openings(line: &str) -> Vec<(Range<usize>, Opening)> {
    let mut lexer = Lexer { text: line, position: 0, depth: 0, words: Vec::new(), word: None };
    if lexer.text(None, true).is_none() {
        return Vec::new();
    }
    lexer.cut(line.len());
    lexer.words.into_iter().filter_map(|range| Some((range.clone(), opening(&line[range])?))).collect()
}

/// Splits a line into shell words, which keep their quotes. Methods answer `None` where the line is malformed.
struct Lexer<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
    words: Vec<Range<usize>>,
    /// Where the word being read begins.
    word: Option<usize>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|&c| wanted(c)).inspect(|c| self.position += c.len_utf8())
    }

    fn cut(&mut self, end: usize) {
        if let Some(start) = self.word.take() {
            self.words.push(start..end);
        }
    }

    /// Reads up to `stop`, or to the end of the line. White space splits where `split` says so.
    fn text(&mut self, stop: Option<char>, split: bool) -> Option<()> {
        loop {
            let start = self.position;
            let Some(c) = self.next() else {
                return if stop.is_none() { Some(()) } else { None };
            };
            if Some(c) == stop {
                return Some(());
            }
            if c.is_whitespace() {
                if split {
                    self.cut(start);
                }
                continue;
            }
            if split {
                self.word.get_or_insert(start);
            }
            match c {
                '\'' => while self.next()? != '\'' {},
                '"' => self.double_quoted(start)?,
                '$' => self.dollar(split, start)?,
                '\\' => {
                    self.next();
                }
                '<' => {
                    let doubled = self.next_if(|c| c == '<').is_some();
                    while doubled && self.next_if(|c| matches!(c, ' ' | '\t' | '\r')).is_some() {}
                }
                _ => {}
            }
        }
    }

    /// After the opening quote, which stands at `start`.
    fn double_quoted(&mut self, start: usize) -> Option<()> {
        loop {
            match self.next()? {
                '"' => return Some(()),
                '$' => self.dollar(false, start)?,
                '\\' => {
                    self.next_if(|c| matches!(c, '"' | '$' | '\\'));
                }
                _ => {}
            }
        }
    }

    /// After a `$`; `start` is its place, or that of the quote it stands in.
    fn dollar(&mut self, split: bool, start: usize) -> Option<()> {
        if self.next_if(|c| c == '{').is_none() {
            self.name();
            return Some(());
        }
        if matches!(self.peek()?, '{' | '}' | ':') || self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.name();
        let operator = self.next()?;
        if operator != '}' && self.depth == 1 && self.word.is_some() {
            // BuildKit reads an operand where it keeps the word before it, which is lost.
            self.word = Some(start);
        }
        match operator {
            '}' => {}
            ':' => {
                if matches!(self.next()?, '#' | '%') {
                    return None;
                }
                self.text(Some('}'), split)?;
            }
            '+' | '-' | '?' | '#' | '%' => self.text(Some('}'), split)?,
            '/' => {
                self.next_if(|c| c == '/');
                self.text(Some('/'), split)?;
                self.text(Some('}'), split)?;
            }
            _ => return None,
        }
        self.depth -= 1;
        Some(())
    }

    fn name(&mut self) {
        if self.next_if(|c| c.is_ascii_digit()).is_some() {
            while self.next_if(|c| c.is_ascii_digit()).is_some() {}
        } else if self.next_if(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!')).is_none() {
            while self.next_if(is_name).is_some() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        openings(line).into_iter().map(|(_, opening)| opening.name).collect()
    }

    #[test]
    fn finds_words_that_open_heredocs() {
        assert_eq!(names("RUN <<EOF"), ["EOF"]);
        assert_eq!(names("RUN cat <<A >/a && cat <<-'B c' > /b"), ["A", "B c"]);
        assert_eq!(names("RUN 3<< EOF"), ["EOF"]);
        assert_eq!(names("COPY <<a.txt <<b.txt /dest/"), ["a.txt", "b.txt"]);
        assert_eq!(names("RUN <<$EOF"), ["$EOF"]);
        assert_eq!(names("RUN cat <<EOF>/f"), ["EOF>/f"]);
    }

    #[test]
    fn leaves_other_words_alone() {
        for line in [
            "RUN cat <<<EOF",
            "RUN '<<EOF'",
            r#"RUN "<<EOF""#,
            "RUN <<",
            "RUN <<-",
            "RUN \\<<EOF",
            "RUN echo $((1<<2)",
            "RUN echo 'open <<EOF",
            "RUN echo ${} <<EOF",
        ] {
            let found = names(line);
            assert!(found.is_empty() || line.contains("$(("), "{line}: {found:?}");
        }
    }

    #[test]
    fn a_quoted_name_stops_expansion() {
        assert!(opening("<<EOF").unwrap().expand);
        assert!(opening(r"<<eo\'f").unwrap().expand);
        assert!(!opening(r"<<'e'o\'f").unwrap().expand);
        assert_eq!(opening(r"<<'e'o\'f").unwrap().name, "eo'f");
        assert_eq!(opening("<<EOF sh"), None);
        assert_eq!(opening("12<<- EOF").unwrap().file_descriptor, 12);
    }

    #[test]
    fn deep_nesting_is_refused_quickly() {
        let line = format!("RUN {} <<EOF", "${a:-".repeat(200_000));
        assert!(openings(&line).is_empty());
    }
}
