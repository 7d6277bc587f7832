//! Which part of a tree is wanted.

use rbx_dockerfile::{DirState, Ignore, IgnoreError};

/// Patterns of what is wanted and of what is not.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Without any, everything.
    include: Option<Ignore>,
    exclude: Option<Ignore>,
}

/// Which patterns hold for everything below a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct FilterState {
    include: DirState,
    exclude: DirState,
}

/// What the patterns say of a path.
pub(super) struct Judgement {
    /// It is wanted.
    pub(super) kept: bool,
    /// If it is a directory: something below it may be wanted.
    pub(super) descend: bool,
    /// If it is a directory: what its children are asked with.
    pub(super) state: FilterState,
}

impl Filter {
    /// Reads both lists. Errors have BuildKit's words.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let read = |what: &str, patterns: &[String]| {
            let ignore = Ignore::from_patterns(patterns).map_err(|error| {
                let reason = match error {
                    IgnoreError::Syntax(_) => "syntax error in pattern".to_owned(),
                    error => error.to_string(),
                };
                format!("invalid {what}: [{}]: {reason}", patterns.join(" "))
            })?;
            Ok::<_, String>(Some(ignore))
        };
        Ok(Self {
            include: if include.is_empty() { None } else { read("includepatterns", include)? },
            exclude: if exclude.is_empty() { None } else { read("excludepatterns", exclude)? },
        })
    }

    /// Judges a path, given its directory's state. A walk asks this once for each path, from the root down.
    pub(super) fn judge(&self, parent: &FilterState, path: &[u8]) -> Judgement {
        if self.include.is_none() && self.exclude.is_none() {
            return Judgement { kept: true, descend: true, state: FilterState::default() };
        }
        // Patterns are text; a name that is none matches as it is shown.
        let path = String::from_utf8_lossy(path);
        let mut judgement = Judgement { kept: true, descend: true, state: FilterState::default() };
        if let Some(include) = &self.include {
            let verdict = include.child(&parent.include, &path);
            judgement.kept = verdict.excluded;
            judgement.descend = verdict.excluded || include.may_match_below(&path);
            judgement.state.include = verdict.state;
        }
        if let Some(exclude) = &self.exclude
            && judgement.descend | judgement.kept
        {
            let verdict = exclude.child(&parent.exclude, &path);
            judgement.kept &= !verdict.excluded;
            judgement.descend &= verdict.descend;
            judgement.state.exclude = verdict.state;
        }
        judgement
    }
}
