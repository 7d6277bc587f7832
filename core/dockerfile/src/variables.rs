//! Variables as they stand at one place of a stage.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// No assignment.
const NONE: u32 = u32::MAX;

/// An assignment, and the one before it.
#[derive(Debug)]
struct Assignment {
    before: u32,
    name: String,
    /// `None` is an `ARG` without a value.
    value: Option<String>,
}

/// The assignments of an evaluation, shared by all that look back from one of them. A list of variables for every
/// step would take memory quadratic in the length of the Dockerfile.
#[derive(Default)]
pub(crate) struct Log {
    assignments: OnceLock<Vec<Assignment>>,
}

/// A [`Log`] being written.
#[derive(Default)]
pub(crate) struct LogWriter {
    log: Arc<Log>,
    assignments: Vec<Assignment>,
}

/// A place in the log.
#[derive(Clone, Copy)]
pub(crate) struct Head(u32);

impl Default for Head {
    fn default() -> Self {
        Self(NONE)
    }
}

impl LogWriter {
    /// Adds an assignment after `head`, which moves to it.
    pub(crate) fn assign(&mut self, head: &mut Head, name: &str, value: Option<&str>) {
        let index = u32::try_from(self.assignments.len()).unwrap_or(NONE);
        self.assignments.push(Assignment {
            before: head.0,
            name: name.to_owned(),
            value: value.map(str::to_owned),
        });
        head.0 = index;
    }

    /// The names that have been assigned up to `head`, each once, in the order of their last assignments;
    /// and how many assignments that are.
    pub(crate) fn names(&self, head: Head) -> (Vec<&str>, usize) {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        let (mut at, mut count) = (head.0, 0);
        while let Some(assignment) = self.assignments.get(at as usize) {
            count += 1;
            if seen.insert(assignment.name.as_str()) {
                names.push(assignment.name.as_str());
            }
            at = assignment.before;
        }
        names.reverse();
        (names, count)
    }

    /// The variables at `head`, readable once the log is finished.
    pub(crate) fn variables(&self, head: Head, order: Order) -> Variables {
        Variables { log: Arc::clone(&self.log), head: head.0, order, list: OnceLock::new() }
    }

    /// Ends the writing.
    pub(crate) fn finish(self) {
        // Only this writer sets it, and it is gone after this.
        drop(self.log.assignments.set(self.assignments));
    }
}

/// Where a variable stands that was assigned more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Where it was first: an image's environment.
    First,
    /// Where it was last: the environment of BuildKit's `RUN`.
    Last,
}

/// An ordered list of variables, each once. It is put together when it is first looked at, and then is a slice of
/// names and values.
#[derive(Clone)]
pub struct Variables {
    log: Arc<Log>,
    head: u32,
    order: Order,
    list: OnceLock<Vec<(String, String)>>,
}

impl Variables {
    /// The value of a variable. Puts no list together.
    pub fn get(&self, name: &str) -> Option<&str> {
        let assignments = self.log.assignments.get().map_or(&[][..], Vec::as_slice);
        let mut at = self.head;
        while let Some(assignment) = assignments.get(at as usize) {
            if assignment.name == name {
                return assignment.value.as_deref();
            }
            at = assignment.before;
        }
        None
    }

    /// Every variable, those without a value included.
    pub(crate) fn declared(&self) -> Vec<(&str, Option<&str>)> {
        let assignments = self.log.assignments.get().map_or(&[][..], Vec::as_slice);
        let mut chain = Vec::new();
        let mut at = self.head;
        while let Some(assignment) = assignments.get(at as usize) {
            chain.push((assignment.name.as_str(), assignment.value.as_deref()));
            at = assignment.before;
        }
        match self.order {
            Order::Last => {
                let mut seen = HashSet::new();
                chain.retain(|(name, _)| seen.insert(*name));
                chain.reverse();
            }
            Order::First => {
                let mut latest = HashMap::new();
                for (name, value) in &chain {
                    latest.entry(*name).or_insert(*value);
                }
                chain.reverse();
                let mut seen = HashSet::new();
                chain.retain(|(name, _)| seen.insert(*name));
                for (name, value) in &mut chain {
                    *value = latest.get(name).copied().flatten();
                }
            }
        }
        chain
    }
}

impl Deref for Variables {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        self.list.get_or_init(|| {
            let declared = self.declared();
            declared
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect()
        })
    }
}

impl<'a> IntoIterator for &'a Variables {
    type Item = &'a (String, String);
    type IntoIter = std::slice::Iter<'a, (String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Variables {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_first_or_last_assignment() {
        let mut log = LogWriter::default();
        let mut head = Head::default();
        log.assign(&mut head, "A", Some("1"));
        log.assign(&mut head, "B", Some("2"));
        let early = log.variables(head, Order::Last);
        log.assign(&mut head, "A", Some("3"));
        log.assign(&mut head, "C", None);
        let first = log.variables(head, Order::First);
        let last = log.variables(head, Order::Last);
        log.finish();
        assert_eq!(format!("{early:?}"), r#"{"A": "1", "B": "2"}"#);
        assert_eq!(format!("{first:?}"), r#"{"A": "3", "B": "2"}"#);
        assert_eq!(format!("{last:?}"), r#"{"B": "2", "A": "3"}"#);
        assert_eq!(first.declared(), [("A", Some("3")), ("B", Some("2")), ("C", None)]);
        assert_eq!(last.get("A"), Some("3"));
        assert_eq!((early.get("A"), first.get("C"), first.get("D")), (Some("1"), None, None));
    }
}
