//! Patterns of paths: Go's `filepath.Match`, and the same with `**`.

use std::iter::Peekable;
use std::str::Chars;

/// A pattern is malformed: a class is not closed or empty, or there is nothing after the last `\`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether a whole name matches a pattern, by the rules of Go's `filepath.Match`: `*` and `?` do not match `/`,
/// `[a-z]` and `[^a-z]` are classes, `\` escapes. `COPY` and `ADD` use it for each name of a source path.
pub fn go_match(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(matches(&tokens(pattern, false)?, name))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: any character but `/`.
    Any,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`: any number of characters but `/`.
    Star,
    /// `**` at the end: anything.
    All,
    /// `**` or `**/` elsewhere: nothing, or anything that ends in `/`. Two states: before it, and inside of it.
    Dirs,
    InDirs,
}

impl Token {
    fn may_match_slash(&self) -> bool {
        match self {
            Self::Char(c) => *c == '/',
            Self::Any | Self::Star => false,
            Self::Class { .. } => self.takes('/'),
            Self::All | Self::Dirs | Self::InDirs => true,
        }
    }

    /// For tokens that match one character.
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(wanted) => c == *wanted,
            Self::Any => c != '/',
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated
            }
            Self::Star | Self::All | Self::Dirs | Self::InDirs => false,
        }
    }
}

fn tokens(pattern: &str, double_stars: bool) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if double_stars && chars.next_if_eq(&'*').is_some() => {
                let _ = chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    tokens.push(Token::All);
                } else {
                    tokens.extend([Token::Dirs, Token::InDirs]);
                }
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::Any),
            '[' => tokens.push(class(&mut chars)?),
            '\\' => tokens.push(Token::Char(chars.next().ok_or(BadPattern)?)),
            c => tokens.push(Token::Char(c)),
        }
    }
    Ok(tokens)
}

/// After a `[`.
fn class(chars: &mut Peekable<Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let low = class_member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_member(chars)? } else { low };
        ranges.push((low, high));
    }
    Ok(Token::Class { negated, ranges })
}

fn class_member(chars: &mut Peekable<Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

/// Whether tokens match a whole text. All ways through the tokens are followed at once, so that the cost is at
/// most the product of both lengths.
fn matches(tokens: &[Token], text: &str) -> bool {
    // `states[i]`: what was read so far matches the tokens before `i`.
    let mut states = vec![false; tokens.len() + 1];
    let mut next = states.clone();
    enter(tokens, &mut states, 0);
    for c in text.chars() {
        next.fill(false);
        let mut alive = false;
        for (index, token) in tokens.iter().enumerate() {
            if !states[index] {
                continue;
            }
            match token {
                Token::Star if c != '/' => enter(tokens, &mut next, index),
                Token::All => enter(tokens, &mut next, index),
                Token::InDirs => {
                    enter(tokens, &mut next, index);
                    if c == '/' {
                        enter(tokens, &mut next, index + 1);
                    }
                }
                token if token.takes(c) => enter(tokens, &mut next, index + 1),
                _ => continue,
            }
            alive = true;
        }
        if !alive {
            return false;
        }
        std::mem::swap(&mut states, &mut next);
    }
    states[tokens.len()]
}

/// Enters a state and those that follow from it without reading.
fn enter(tokens: &[Token], states: &mut [bool], index: usize) {
    let mut index = index;
    while !states[index] {
        states[index] = true;
        match tokens.get(index) {
            Some(Token::Star | Token::All) => index += 1,
            Some(Token::Dirs) => {
                states[index + 1] = true;
                index += 2;
            }
            _ => return,
        }
    }
}

/// A pattern of `.dockerignore`, made ready to be asked often.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// No special characters: this path.
    Exact(String),
    /// `text**`: paths that begin so.
    Prefix(String),
    /// `**text`: paths that end so.
    Suffix(String),
    Glob(Glob),
}

/// Literal text, then something else, then literal text.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// The pattern began with `**/` and the rest has no `/`: only a path's last name counts.
    last_name: bool,
    prefix: String,
    middle: Vec<Token>,
    suffix: String,
    /// The longest literal text in the middle: what does not hold it cannot match.
    needle: String,
    /// How many `/` a path that matches has, if that is known.
    slashes: Option<usize>,
}

impl Pattern {
    /// `pattern` is clean in the sense of `filepath.Clean`.
    pub(super) fn new(pattern: &str) -> Result<Self, BadPattern> {
        // The rules of `filepath.Match` decide what is malformed.
        tokens(pattern, false)?;

        let plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
        if plain(pattern) {
            return Ok(Self::Exact(pattern.to_owned()));
        }
        if let Some(suffix) = pattern.strip_prefix("**").filter(|rest| plain(rest)) {
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        if let Some(prefix) = pattern.strip_suffix("**").filter(|rest| plain(rest)) {
            return Ok(Self::Prefix(prefix.to_owned()));
        }

        let mut tokens = tokens(pattern, true)?;
        let backwards = |token: &Token| match token {
            Token::Class { ranges, .. } => ranges.iter().any(|(low, high)| low > high),
            _ => false,
        };
        if tokens.iter().any(backwards) {
            return Err(BadPattern);
        }
        let last_name =
            tokens.first() == Some(&Token::Dirs) && !tokens[2..].iter().any(Token::may_match_slash);
        if last_name {
            tokens.drain(..2);
        }
        let slashes = tokens
            .iter()
            .all(|token| matches!(token, Token::Char(_)) || !token.may_match_slash())
            .then(|| tokens.iter().filter(|token| **token == Token::Char('/')).count())
            .filter(|_| !last_name);

        let literal = |token: &Token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        };
        let prefix: String = tokens.iter().map_while(literal).collect();
        tokens.drain(..prefix.chars().count());
        let suffix: Vec<char> = tokens.iter().rev().map_while(literal).collect();
        tokens.truncate(tokens.len() - suffix.len());
        let suffix = suffix.iter().rev().collect();
        let runs = tokens.split(|token| literal(token).is_none());
        let needle =
            runs.map(|run| run.iter().filter_map(literal).collect::<String>()).max_by_key(String::len);
        let needle = needle.unwrap_or_default();
        Ok(Self::Glob(Glob { last_name, prefix, middle: tokens, suffix, needle, slashes }))
    }

    /// Whether a path matches, whose last name is `name`.
    pub(super) fn matches(&self, path: &str, name: &str) -> bool {
        match self {
            Self::Exact(exact) => path.len() == exact.len() && starts_with(path, exact),
            Self::Prefix(prefix) => starts_with(path, prefix),
            // `**/name` is also `name` itself.
            Self::Suffix(suffix) => {
                ends_with(path, suffix)
                    || path.len() + 1 == suffix.len() && suffix.starts_with('/') && ends_with(suffix, path)
            }
            Self::Glob(glob) => glob.matches(if glob.last_name { name } else { path }),
        }
    }

    /// Whether a path below `dir` can match, as far as can be told cheaply: a `false` is certain.
    pub(super) fn may_match_below(&self, dir: &str) -> bool {
        match self {
            Self::Exact(exact) => below(exact, dir),
            Self::Prefix(prefix) => compatible(prefix, dir),
            Self::Suffix(_) => true,
            Self::Glob(glob) if glob.last_name => true,
            Self::Glob(glob) => {
                let dir_slashes = || dir.bytes().filter(|&byte| byte == b'/').count();
                compatible(&glob.prefix, dir) && glob.slashes.is_none_or(|slashes| slashes > dir_slashes())
            }
        }
    }
}

impl Glob {
    fn matches(&self, text: &str) -> bool {
        if text.len() < self.prefix.len() + self.suffix.len()
            || !starts_with(text, &self.prefix)
            || !ends_with(text, &self.suffix)
        {
            return false;
        }
        let middle = &text[self.prefix.len()..text.len() - self.suffix.len()];
        match self.middle.as_slice() {
            [] => middle.is_empty(),
            [Token::Star] => !middle.contains('/'),
            tokens => middle.contains(&self.needle) && matches(tokens, middle),
        }
    }
}

// A look at one byte first: most patterns fail there, and comparing the rest is a call. That is three quarters of
// the time of a walk.

fn starts_with(text: &str, prefix: &str) -> bool {
    prefix.is_empty() || text.as_bytes().first() == prefix.as_bytes().first() && text.starts_with(prefix)
}

fn ends_with(text: &str, suffix: &str) -> bool {
    suffix.is_empty() || text.as_bytes().last() == suffix.as_bytes().last() && text.ends_with(suffix)
}

/// `path` lies below `dir`.
fn below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// Something below `dir` can begin with `prefix`.
fn compatible(prefix: &str, dir: &str) -> bool {
    if prefix.len() > dir.len() { below(prefix, dir) } else { dir.starts_with(prefix) }
}
