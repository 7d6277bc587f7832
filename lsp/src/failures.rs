//! What is left of failed builds: steps that failed, and where they stand while the text around them changes.

use std::ops::Range;

use rbx_platform::Platform;

use crate::outlook::Outlook;

/// A part of a file that a build failed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Its bytes: whole lines, without the end of the last.
    pub(crate) place: Range<usize>,
    /// The platforms for which it fails.
    pub(crate) platforms: Vec<Platform>,
    /// The stage that was asked for, if it was not the last.
    pub(crate) target: Option<String>,
    /// Why.
    pub(crate) reason: String,
    /// What the user can do about it.
    pub(crate) hint: Option<String>,
    /// The last lines that the step wrote.
    pub(crate) output: Vec<String>,
}

/// A build that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// What it was for.
    pub(crate) platforms: Vec<Platform>,
    /// The stage that was asked for, if it was not the last.
    pub(crate) target: Option<String>,
    /// Why it failed, if it is for a part of the file. The place is in the text that was built.
    pub(crate) failure: Option<Failure>,
    /// What became of its steps, in the text that was built.
    pub(crate) steps: Outlook,
}

/// Forgets what is known of earlier builds where a later one knows better, and takes what it found.
pub(crate) fn take(failures: &mut Vec<Failure>, built: Built, text: &str, now: &str) {
    for failure in failures.iter_mut() {
        if built.target.is_none() || built.target == failure.target {
            failure.platforms.retain(|platform| !built.platforms.contains(platform));
        }
    }
    failures.retain(|failure| !failure.platforms.is_empty());
    let failure = built.failure.into_iter();
    failures.extend(
        failure.filter_map(|failure| Some(Failure { place: follow(text, now, &failure.place)?, ..failure })),
    );
}

/// Lets failures follow their lines through a change of the text. What changed itself, has not failed yet.
pub(crate) fn change(failures: &mut Vec<Failure>, old: &str, new: &str) {
    failures.retain_mut(|failure| {
        let place = follow(old, new, &failure.place);
        if let Some(place) = &place {
            failure.place.clone_from(place);
        }
        place.is_some()
    });
}

/// The bytes of lines counted from 1, without the end of the last; none if there are no such lines.
pub(crate) fn lines(text: &str, first: u32, last: u32) -> Option<Range<usize>> {
    let mut at = 0;
    let mut start = None;
    for (number, line) in (1..).zip(text.split('\n')) {
        if number == first {
            start = Some(at);
        }
        if number == last.max(first) {
            return Some(start?..at + line.trim_end_matches('\r').len());
        }
        at += line.len() + 1;
    }
    None
}

/// Where lines of an old text are in a new one: before or after all that is different, or else where there are the
/// same lines, if they are nowhere else in either text.
fn follow(old: &str, new: &str, place: &Range<usize>) -> Option<Range<usize>> {
    let lines = old.get(place.clone())?;
    let (a, b) = (old.as_bytes(), new.as_bytes());
    let before = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - before;
    let after = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let shifted = || {
        let start = (place.start + b.len()).checked_sub(a.len())?;
        Some(start..start + lines.len())
    };
    let found = if place.end <= before {
        Some(place.clone())
    } else if place.start >= a.len() - after {
        shifted()
    } else {
        None
    };
    found.filter(|found| are_lines(new, found)).or_else(|| {
        let only = |text: &str| {
            let mut places = text
                .match_indices(lines)
                .map(|(start, _)| start..start + lines.len())
                .filter(|place| are_lines(text, place));
            places.next().filter(|_| places.next().is_none())
        };
        only(old)?;
        only(new)
    })
}

/// Whether bytes begin where a line does and end where one does.
fn are_lines(text: &str, place: &Range<usize>) -> bool {
    let begins = place.start == 0 || text.as_bytes().get(place.start - 1) == Some(&b'\n');
    let ends = matches!(text.as_bytes().get(place.end), None | Some(b'\n' | b'\r'));
    begins && ends && !place.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines that a failure of line `line` is shown at after a change, each with its number.
    fn after(old: &str, line: u32, new: &str) -> Option<String> {
        let place = follow(old, new, &lines(old, line, line).unwrap())?;
        let number = new[..place.start].split('\n').count();
        Some(format!("{number}: {}", &new[place]))
    }

    #[test]
    fn a_failure_follows_its_lines_and_ends_with_them() {
        let old = "FROM a\nRUN b\nRUN c\n";
        let now = |new: &str| after(old, 2, new);
        assert_eq!(now(old).as_deref(), Some("2: RUN b"));
        assert_eq!(now("FROM a\nRUN b\nRUN d\n").as_deref(), Some("2: RUN b"));
        assert_eq!(now("FROM a\nRUN b\r\nRUN d\n").as_deref(), Some("2: RUN b"));
        assert_eq!(now("# x\nFROM a\n\nRUN b\nRUN c\n").as_deref(), Some("4: RUN b"));
        assert_eq!(now("RUN b").as_deref(), Some("1: RUN b"));
        assert_eq!(now("FROM x\nRUN b\nRUN y").as_deref(), Some("2: RUN b"), "a change on both sides");
        for new in ["FROM a\nRUN bb\nRUN c\n", "FROM a\nRUN b \nRUN c\n", "FROM a\nxRUN b\nRUN c\n", ""] {
            assert_eq!(now(new), None, "{new:?}");
        }
        assert_eq!(now("FROM a\nRUN b\\\nRUN c\n"), None, "the line goes on");
        assert_eq!(after("RUN b\nRUN b\n", 1, "RUN x\nRUN b\n"), None, "another line that is the same");
    }

    #[test]
    fn lines_are_counted_as_builders_do() {
        let text = "a\r\nb\rc\nd";
        assert_eq!(lines(text, 1, 1).map(|place| &text[place]), Some("a"));
        assert_eq!(lines(text, 2, 3).map(|place| &text[place]), Some("b\rc\nd"));
        assert_eq!(lines(text, 2, 0).map(|place| &text[place]), Some("b\rc"));
        assert_eq!(lines(text, 0, 0), None);
        assert_eq!(lines(text, 4, 4), None);
    }

    fn failure(platform: &str, target: Option<&str>) -> Failure {
        Failure {
            place: 0..6,
            platforms: vec![Platform::parse(platform).unwrap()],
            target: target.map(str::to_owned),
            reason: String::new(),
            hint: None,
            output: Vec::new(),
        }
    }

    #[test]
    fn a_build_knows_better_what_it_built() {
        let text = "FROM a";
        let known = |built: &[&str], target: Option<&str>, found: Option<Failure>| {
            let mut failures = vec![
                failure("linux/amd64", None),
                failure("linux/arm64", None),
                failure("linux/386", Some("x")),
            ];
            let platforms = built.iter().map(|name| Platform::parse(name).unwrap()).collect();
            let target = target.map(str::to_owned);
            take(
                &mut failures,
                Built { platforms, target, failure: found, steps: Outlook::default() },
                text,
                text,
            );
            failures.iter().map(|left| left.platforms[0].to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(known(&["linux/arm64"], None, None), "linux/amd64 linux/386");
        assert_eq!(known(&["linux/amd64", "linux/arm64", "linux/386"], None, None), "");
        assert_eq!(known(&["linux/386", "linux/arm64"], Some("x"), None), "linux/amd64 linux/arm64");
        let found = Some(failure("linux/arm64", None));
        assert_eq!(known(&["linux/arm64"], None, found), "linux/amd64 linux/386 linux/arm64");
    }

    proptest! {
        #[test]
        fn what_is_found_is_the_same_lines(old in "[ab\r\n]{0,12}", new in "[ab\r\n]{0,12}", line in 1..5u32) {
            if let Some(place) = lines(&old, line, line)
                && let Some(found) = follow(&old, &new, &place)
            {
                prop_assert_eq!(&old[place], &new[found.clone()]);
                prop_assert!(are_lines(&new, &found));
            }
        }
    }
}
