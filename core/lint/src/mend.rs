//! Fixing what can be fixed.

use std::collections::BTreeMap;

use rbx_dockerfile::{Dockerfile, Span, parse};

use crate::facts::Facts;
use crate::finding::{Edit, Finding, apply};
use crate::lint::{Request, lint};

/// How often a text is checked and changed, at most. A fix may uncover what another one is for.
const MAX_ROUNDS: usize = 16;

/// A Dockerfile after its fixes.
#[derive(Debug, Clone)]
pub struct Mended {
    /// What it is now.
    pub file: Dockerfile,
    /// What is still wrong with it.
    pub findings: Vec<Finding>,
    /// How many findings were fixed.
    pub fixed: usize,
}

/// Makes the fixes of all findings, again and again until none is left: those that are safe, and with `unsafe_too`
/// the others, too. Of fixes that overlap, one is made, and the next in a text that has it. A change after which the
/// language finds more wrong than before is not made.
pub fn mend(file: Dockerfile, request: &Request, facts: &Facts, unsafe_too: bool) -> Mended {
    let findings = lint(&file, request, facts);
    let mut mended = Mended { file, findings, fixed: 0 };
    for _ in 0..MAX_ROUNDS {
        let (edits, fixed) = edits(&mended.findings, unsafe_too);
        if edits.is_empty() {
            break;
        }
        let file = parse(&apply(&mended.file.text, &edits));
        let findings = lint(&file, request, facts);
        if errors(&findings) > errors(&mended.findings) {
            break;
        }
        mended = Mended { file, findings, fixed: mended.fixed + fixed };
    }
    mended
}

/// The edits of the safe fixes of some findings, as far as they can be made at once; and how many findings they are for.
pub fn together<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> (Vec<Edit>, usize) {
    edits(findings, false)
}

/// What the language finds wrong.
fn errors(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.rule.is_none()).count()
}

/// The edits of fixes that can be made at once, and how many findings they are for.
fn edits<'a>(findings: impl IntoIterator<Item = &'a Finding>, unsafe_too: bool) -> (Vec<Edit>, usize) {
    let mut chosen = Chosen::default();
    let mut fixed = 0;
    for finding in findings {
        let fix = finding.fixes.iter().find(|fix| fix.safe || unsafe_too);
        fixed += usize::from(fix.is_some_and(|fix| chosen.take(&fix.edits)));
    }
    let edits = chosen.0.into_iter().map(|((start, end), text)| Edit { span: Span { start, end }, text });
    (edits.collect(), fixed)
}

/// Edits that do not overlap, by their starts and ends.
#[derive(Default)]
struct Chosen(BTreeMap<(u32, u32), String>);

impl Chosen {
    /// Takes edits if all of them are possible with those that are there, or are there already.
    fn take(&mut self, edits: &[Edit]) -> bool {
        let key = |edit: &Edit| (edit.span.start, edit.span.end);
        let (known, new): (Vec<&Edit>, Vec<&Edit>) =
            edits.iter().partition(|edit| self.0.get(&key(edit)).is_some_and(|text| *text == edit.text));
        if new.iter().any(|edit| self.is_taken(edit.span)) || edits.is_empty() {
            return false;
        }
        // A fix of which a part is made would not be what it says.
        if !known.is_empty() && !new.is_empty() {
            return false;
        }
        self.0.extend(new.into_iter().map(|edit| (key(edit), edit.text.clone())));
        true
    }

    /// Whether there is an edit at a place already: two insertions at one place are in no order.
    fn is_taken(&self, span: Span) -> bool {
        let until = span.end.max(span.start.saturating_add(1));
        let nearest = self.0.range(..(until, 0)).next_back();
        nearest.is_some_and(|((start, end), _)| *start >= span.start || *end > span.start)
    }
}

#[cfg(test)]
mod tests {
    use rbx_platform::Platform;

    use super::*;
    use crate::finding::{Fix, Severity};

    fn finding(edits: &[(u32, u32, &str)], safe: bool) -> Finding {
        let edit = |(start, end, text): &(u32, u32, &str)| Edit {
            span: Span { start: *start, end: *end },
            text: (*text).to_owned(),
        };
        Finding {
            rule: None,
            severity: Severity::Warning,
            message: String::new(),
            span: Span { start: 0, end: 0 },
            related: Vec::new(),
            platforms: Vec::new(),
            fine_on: Vec::new(),
            fixes: vec![Fix { title: String::new(), safe, edits: edits.iter().map(edit).collect() }],
        }
    }

    fn made(findings: &[Finding], unsafe_too: bool) -> (String, usize) {
        let (edits, fixed) = edits(findings, unsafe_too);
        (apply("0123456789", &edits), fixed)
    }

    #[test]
    fn of_fixes_that_overlap_one_is_made() {
        let of = |edits| finding(edits, true);
        assert_eq!(made(&[of(&[(2, 4, "a")]), of(&[(4, 5, "b")])], false), ("01ab56789".to_owned(), 2));
        assert_eq!(made(&[of(&[(2, 4, "a")]), of(&[(3, 5, "b")])], false), ("01a456789".to_owned(), 1));
        assert_eq!(made(&[of(&[(3, 5, "b")]), of(&[(2, 9, "a")])], false), ("012b56789".to_owned(), 1));
        assert_eq!(made(&[of(&[(2, 9, "b")]), of(&[(3, 4, "a")])], false), ("01b9".to_owned(), 1));
        // The same, for two findings; and two that begin at one place.
        assert_eq!(made(&[of(&[(2, 2, "a")]), of(&[(2, 2, "a")])], false), ("01a23456789".to_owned(), 2));
        assert_eq!(made(&[of(&[(2, 2, "a")]), of(&[(2, 2, "b")])], false), ("01a23456789".to_owned(), 1));
        assert_eq!(made(&[of(&[(2, 2, "a")]), of(&[(2, 3, "b")])], false), ("01a23456789".to_owned(), 1));
        // All of a fix, or nothing of it.
        assert_eq!(
            made(&[of(&[(2, 2, "a")]), of(&[(2, 2, "a"), (5, 6, "")])], false),
            ("01a23456789".to_owned(), 1)
        );
        assert_eq!(
            made(&[of(&[(5, 6, "a")]), of(&[(1, 2, ""), (5, 7, "")])], false),
            ("01234a6789".to_owned(), 1)
        );
    }

    #[test]
    fn what_is_not_safe_is_made_where_it_is_asked_for() {
        let findings = [finding(&[(0, 1, "")], false), finding(&[(9, 10, "")], true)];
        assert_eq!(made(&findings, false), ("012345678".to_owned(), 1));
        assert_eq!(made(&findings, true), ("12345678".to_owned(), 2));
    }

    #[test]
    fn fixing_goes_on_until_nothing_is_left() {
        let text = "FROM a AS b\nRUN x $TARGETARCH $TARGETARCH\nRUN y $TARGETOS\nRUNN z\n";
        let amd64 = Platform::parse("linux/amd64").expect("a platform");
        let request = Request::new(vec![amd64.clone()], amd64);
        let mended = mend(parse(text), &request, &Facts::default(), true);
        assert_eq!(mended.findings, []);
        assert!(mended.fixed >= 3, "{mended:?}");
        let again = mend(mended.file.clone(), &request, &Facts::default(), true);
        assert_eq!((again.fixed, again.file.text), (0, mended.file.text));
    }
}
