//! `.dockerignore` and `--exclude`: which paths of a context stay out.
//!
//! The rules are those of `moby/patternmatcher` as BuildKit's file transfer applies them, which are not git's: a
//! pattern begins at the root, `**` is any depth, the last pattern that matches wins, a pattern that matched a
//! directory holds for all below it, and a later `!pattern` takes paths back in, even below an excluded directory.

use self::glob::Pattern;
pub use self::glob::{BadPattern, go_match};

mod glob;
#[cfg(test)]
mod tests;

/// Bytes of a line, at most: what BuildKit reads.
const MAX_LINE: usize = 64 * 1024;

/// Why a list of patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A pattern is malformed, such as `[a`.
    #[error("syntax error in pattern: {0}")]
    Syntax(String),
    /// A `!` with nothing after it.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyNegation,
    /// A line is longer than 64 KiB.
    #[error("line {0} is too long")]
    LineTooLong(usize),
}

/// A list of patterns that keep paths out of a context or a copy.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    negations: bool,
    excludes_all: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    negated: bool,
    pattern: Pattern,
}

/// Which patterns hold for everything below a directory.
#[derive(Debug, Clone, Default)]
pub struct DirState {
    /// A bit for each of the first 128 rules.
    first: u128,
    /// The bits of the others.
    more: Vec<u128>,
}

impl DirState {
    fn get(&self, index: usize) -> bool {
        let word = match index / 128 {
            0 => self.first,
            n => self.more.get(n - 1).copied().unwrap_or(0),
        };
        word >> (index % 128) & 1 == 1
    }

    fn set(&mut self, index: usize) {
        let word = match index / 128 {
            0 => &mut self.first,
            n => {
                if self.more.len() < n {
                    self.more.resize(n, 0);
                }
                &mut self.more[n - 1]
            }
        };
        *word |= 1 << (index % 128);
    }
}

/// What the patterns say of a path.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The path itself stays out. A directory that stays out is still needed if something below it comes in.
    pub excluded: bool,
    /// If the path is a directory: something below it may come in, so that it has to be walked.
    pub descend: bool,
    /// If the path is a directory: what its children are asked with.
    pub state: DirState,
}

impl Ignore {
    /// Reads a `.dockerignore` file. A byte order mark, empty lines, and lines with `#` in the first column are
    /// skipped; leading slashes mean nothing.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut ignore = Self::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            if line.len() >= MAX_LINE {
                return Err(IgnoreError::LineTooLong(index + 1));
            }
            if line.starts_with(b"#") {
                continue;
            }
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            let (negated, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                if negated {
                    return Err(IgnoreError::EmptyNegation);
                }
                continue;
            }
            let pattern = clean(pattern);
            ignore.push(
                negated,
                pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern),
            )?;
        }
        Ok(ignore)
    }

    /// Takes patterns as they come from `--exclude`: there are no comments, and a leading slash is one.
    pub fn from_patterns<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, IgnoreError> {
        let mut ignore = Self::default();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            if pattern.is_empty() {
                continue;
            }
            let pattern = clean(pattern);
            match pattern.strip_prefix('!') {
                Some(pattern) => ignore.push(true, pattern)?,
                None => ignore.push(false, &pattern)?,
            }
        }
        Ok(ignore)
    }

    fn push(&mut self, negated: bool, pattern: &str) -> Result<(), IgnoreError> {
        if negated && matches!(pattern, "" | "/") {
            return Err(IgnoreError::EmptyNegation);
        }
        self.negations |= negated;
        self.excludes_all |= !negated && matches!(pattern, "*" | "**" | "**/*");
        let compiled = Pattern::new(pattern).map_err(|BadPattern| IgnoreError::Syntax(pattern.to_owned()))?;
        self.rules.push(Rule { negated, pattern: compiled });
        Ok(())
    }

    /// No patterns: nothing stays out.
    pub fn none() -> Self {
        Self::default()
    }

    /// There are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Some pattern takes back in what others keep out.
    pub fn has_negations(&self) -> bool {
        self.negations
    }

    /// Some pattern keeps out everything, whatever others take back in.
    pub fn excludes_all(&self) -> bool {
        self.excludes_all
    }

    /// The state of the root, to ask its children with.
    pub fn root(&self) -> DirState {
        DirState::default()
    }

    /// Judges a path, relative to the root and with `/` between its names, given its directory's state. A walk
    /// asks this once for each path, from the root down.
    pub fn child(&self, parent: &DirState, path: &str) -> Verdict {
        let mut state = DirState::default();
        let mut excluded = false;
        let mut last_match = 0;
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        for (index, rule) in self.rules.iter().enumerate() {
            // A rule that would change nothing is not asked, and therefore not remembered for what is below.
            if parent.get(index) || (rule.negated == excluded && rule.pattern.matches(path, name)) {
                state.set(index);
                excluded = !rule.negated;
                last_match = index;
            }
        }
        // What matched here matches all below, so that only later negations can overrule it there.
        let descend = !excluded
            || self.negations
                && self.rules[last_match..]
                    .iter()
                    .any(|rule| rule.negated && rule.pattern.may_match_below(path));
        Verdict { excluded, descend, state }
    }

    /// Whether something below a directory may match a pattern that is no negation, whatever the directory itself
    /// does: what a walk asks that takes the patterns for what it wants. A `false` is certain.
    pub fn may_match_below(&self, path: &str) -> bool {
        self.rules.iter().any(|rule| !rule.negated && rule.pattern.may_match_below(path))
    }

    /// Judges one path by itself, as a walk from the root to it would.
    pub fn excludes(&self, path: &str) -> bool {
        let mut state = self.root();
        for (end, _) in path.match_indices('/') {
            state = self.child(&state, &path[..end]).state;
        }
        self.child(&state, path).excluded
    }
}

/// The shortest path that means the same, by its text alone: Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            name => names.push(name),
        }
    }
    match (rooted, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}
