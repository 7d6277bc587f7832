//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*` and `?`, neither of which matches a line break.

use super::is_name;

/// Characters of a pattern, at most: matching costs a pattern's length times a value's.
const MAX_PATTERN: usize = 4096;

/// A pattern: pieces with a `*` between each two.
pub(super) struct Wildcard {
    head: Piece,
    after_stars: Vec<Piece>,
}

/// Part of a pattern that matches a fixed number of characters.
type Piece = Vec<Token>;

#[derive(Clone, Copy)]
enum Token {
    /// `?`
    Any,
    Char(char),
}

impl Wildcard {
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let mut pieces = vec![Piece::new()];
        let mut chars = pattern.chars().enumerate().peekable();
        while let Some((index, c)) = chars.next() {
            if index == MAX_PATTERN {
                return Err(format!("more than {MAX_PATTERN} characters"));
            }
            let token = match c {
                '*' => {
                    pieces.push(Piece::new());
                    continue;
                }
                '?' => Token::Any,
                // `}` and `/` are escaped for the sake of `${}`, which is over here.
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(c),
                    other => {
                        return Err(format!(
                            "invalid escape '\\{}'",
                            other.unwrap_or(char::REPLACEMENT_CHARACTER)
                        ));
                    }
                },
                c => Token::Char(c),
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(token);
            }
        }
        let after_stars = pieces.split_off(1);
        Ok(Self { head: pieces.pop().unwrap_or_default(), after_stars })
    }

    /// The end of the shortest or longest match at the beginning of `value`.
    pub(super) fn prefix(&self, value: &str, longest: bool) -> Option<usize> {
        Search::new(self, value).at(0, longest)
    }

    /// Puts `replacement` in the place of the first longest match.
    pub(super) fn replace_first(&self, value: &str, replacement: &str) -> String {
        match Search::new(self, value).next(0) {
            Some((start, end)) => [&value[..start], replacement, &value[end..]].concat(),
            None => value.to_owned(),
        }
    }

    /// Puts `replacement` in the place of every longest match, none of which overlap. `$0` in it is the match,
    /// every other `$name` is nothing and `$$` is a dollar sign, as BuildKit's use of Go's regular expressions
    /// has it. `None` if the result would be longer than `max` bytes.
    pub(super) fn replace_all(&self, value: &str, replacement: &str, max: usize) -> Option<String> {
        let template = template(replacement);
        let mut search = Search::new(self, value);
        let mut result = String::new();
        let (mut from, mut copied) = (0, 0);
        while from <= value.len() {
            let Some((start, end)) = search.next(from) else { break };
            result.push_str(&value[copied..start]);
            // An empty match right after another match is none.
            if end > copied || start == 0 {
                for part in &template {
                    result.push_str(part.as_deref().unwrap_or(&value[start..end]));
                }
            }
            if result.len() > max {
                return None;
            }
            copied = end;
            from = end.max(next_boundary(value, from));
        }
        result.push_str(&value[copied..]);
        (result.len() <= max).then_some(result)
    }
}

/// A replacement in parts; `None` stands for the match.
fn template(replacement: &str) -> Vec<Option<String>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let (braced, body) = match rest.strip_prefix('{') {
            Some(body) => (true, body),
            None => (false, rest),
        };
        let end = body.find(|c: char| !is_name(c)).unwrap_or(body.len());
        let (name, after) = body.split_at(end);
        let after = if braced { after.strip_prefix('}') } else { Some(after) };
        let Some(after) = after.filter(|_| !name.is_empty()) else {
            // Not a name: a dollar sign as it stands.
            literal.push('$');
            continue;
        };
        if name == "0" {
            parts.push(Some(std::mem::take(&mut literal)));
            parts.push(None);
        }
        rest = after;
    }
    literal.push_str(rest);
    parts.push(Some(literal));
    parts
}

/// The matches of one pattern in one value, asked for from left to right.
///
/// Where a piece was found is remembered, so that all questions together look at each place of the value once
/// for each piece.
struct Search<'a> {
    wildcard: &'a Wildcard,
    value: &'a str,
    found: Vec<Found>,
}

/// For every `from <= place <= to`: the first place at or after it where a piece matches.
#[derive(Clone, Copy)]
struct Found {
    from: usize,
    to: usize,
    at: Option<usize>,
}

impl<'a> Search<'a> {
    fn new(wildcard: &'a Wildcard, value: &'a str) -> Self {
        // An empty range: nothing is known.
        let unknown = Found { from: 1, to: 0, at: None };
        Self { wildcard, value, found: vec![unknown; wildcard.after_stars.len()] }
    }

    /// The first longest match that starts at or after `from`.
    fn next(&mut self, from: usize) -> Option<(usize, usize)> {
        let mut start = from;
        while start <= self.value.len() {
            if let Some(end) = self.at(start, true) {
                return Some((start, end));
            }
            start = next_boundary(self.value, start);
        }
        None
    }

    /// The end of the match that starts at `start`.
    ///
    /// The first occurrence of each piece is the right one: a star ends at the line's end at the latest, so a
    /// later occurrence on the same line leaves less to the pieces after it. For the longest match, only the
    /// last piece moves to its last occurrence.
    fn at(&mut self, start: usize, longest: bool) -> Option<usize> {
        let mut end = matches_at(&self.wildcard.head, self.value, start)?;
        for index in 0..self.wildcard.after_stars.len() {
            let piece = &self.wildcard.after_stars[index];
            let first = self.first(index, end)?;
            let last = index + 1 == self.wildcard.after_stars.len();
            end = if last && longest {
                self.last_end(piece, first)?
            } else {
                matches_at(piece, self.value, first)?
            };
        }
        Some(end)
    }

    /// The first place where a piece matches, at or after `from` and before or at the next line break.
    fn first(&mut self, index: usize, from: usize) -> Option<usize> {
        let known = self.found[index];
        if known.from <= from && from <= known.to {
            return known.at;
        }
        let piece = &self.wildcard.after_stars[index];
        let mut to = from;
        let at = loop {
            if matches_at(piece, self.value, to).is_some() {
                break Some(to);
            }
            if matches!(self.value.as_bytes().get(to), None | Some(b'\n')) {
                break None;
            }
            to = next_boundary(self.value, to);
        };
        self.found[index] = Found { from, to, at };
        at
    }

    /// The end of the last occurrence on the line of a piece that first occurs at `first`.
    fn last_end(&self, piece: &Piece, first: usize) -> Option<usize> {
        let mut place = line_end(self.value, first);
        loop {
            if let Some(end) = matches_at(piece, self.value, place) {
                return Some(end);
            }
            if place <= first {
                return None;
            }
            place = self.value.floor_char_boundary(place - 1);
        }
    }
}

fn matches_at(piece: &Piece, value: &str, at: usize) -> Option<usize> {
    let mut chars = value[at..].chars();
    for token in piece {
        let c = chars.next()?;
        let matches = match token {
            Token::Any => c != '\n',
            Token::Char(wanted) => c == *wanted,
        };
        if !matches {
            return None;
        }
    }
    Some(value.len() - chars.as_str().len())
}

fn line_end(value: &str, from: usize) -> usize {
    value[from..].find('\n').map_or(value.len(), |offset| from + offset)
}

/// The next character's place; one past the end after the last.
fn next_boundary(value: &str, place: usize) -> usize {
    place + value[place..].chars().next().map_or(1, char::len_utf8)
}
