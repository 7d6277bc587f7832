//! Which variables of its environment a script reads.

use std::collections::HashMap;
use std::ops::Range;

use rbx_dockerfile::{Dockerfile, ShellRead};

use super::reads::SETTERS;
use super::script::of_shells;
use super::word::{assigned, is_name};
use super::{Command, Context, Join, Program, Word};

/// The variables that the scripts of a Dockerfile read from their environment, in order of the text. A read of one that
/// the script has set before is none; where that cannot be told, the read is said to be perhaps one.
pub fn shell_reads(file: &Dockerfile) -> Vec<ShellRead> {
    let mut reads = Vec::new();
    for script in of_shells(file, |instruction| instruction.span.slice(&file.text).contains('$')) {
        for (name, place, perhaps) in outer(&script.program) {
            let whole = script.span(&place.whole);
            reads.push(ShellRead { name, pieces: script.pieces(&place.name), whole, perhaps });
        }
    }
    reads.sort_by_key(|read| read.whole);
    reads
}

struct Place {
    name: Range<usize>,
    whole: Range<usize>,
}

/// Where a script sets a variable.
#[derive(Clone, Copy)]
struct Set {
    /// From here on it is the script's own …
    from: usize,
    /// … whatever happens before.
    surely: bool,
}

fn outer(program: &Program) -> Vec<(String, Place, bool)> {
    if program.expansions.is_empty() {
        return Vec::new();
    }
    let (sets, foreign) = sets(program);
    let mut outer = Vec::new();
    for expansion in program.expansions.iter().filter(|expansion| is_name(&expansion.name)) {
        let start = expansion.range.start;
        let set = sets.get(expansion.name.as_str());
        let perhaps = match set {
            Some(set) if set.surely && start >= set.from => continue,
            Some(set) => !set.surely,
            None => false,
        };
        let perhaps = perhaps || program.lost.is_some() || foreign.is_some_and(|from| start >= from);
        // Between the `$` and the name there may be `{` and `#` or `!`.
        let name = expansion.name_range();
        outer.push((expansion.name.clone(), Place { name, whole: expansion.range.clone() }, perhaps));
    }
    outer
}

/// Where a script sets which variables, and from where on others may be set by commands from elsewhere.
fn sets(program: &Program) -> (HashMap<&str, Set>, Option<usize>) {
    let mut sets: HashMap<&str, Set> = HashMap::new();
    let mut foreign = None;
    // After `a && B=1; c` it depends on `a` whether B is set.
    let only_and =
        program.commands.iter().all(|command| matches!(command.before, Join::None | Join::And | Join::Pipe));
    let straight = |command: &Command| {
        let joined = match command.before {
            Join::None | Join::Then => true,
            Join::And => only_and,
            Join::Or | Join::Background | Join::Pipe => false,
        };
        let piped = matches!(command.after, Join::Pipe | Join::Background);
        joined
            && !piped
            && !command.keyword
            && command.context == Context::default()
            && program.functions.is_empty()
    };
    let mut add = |name, from, surely| {
        let set = sets.entry(name).or_insert(Set { from, surely });
        set.surely &= surely;
        set.from = set.from.min(from);
    };
    for command in &program.commands {
        let surely = straight(command);
        if command.words.is_empty() {
            for assignment in &command.assignments {
                add(assignment.name.as_str(), assignment.word.range.end, surely);
            }
        }
        let Some(first) = command.words.first().and_then(Word::literal) else { continue };
        let (name, words) = match command.call() {
            Some(call) => (call.name, call.arguments),
            None => (first, command.words.get(1..).unwrap_or_default()),
        };
        if matches!(name, "." | "source" | "eval" | "trap" | "alias") {
            foreign.get_or_insert(command.range.end);
        } else if SETTERS.contains(&name) {
            for word in words {
                let bare = word.literal().filter(|text| name != "export" && is_name(text));
                if let Some(set) = assigned(word.prefix()).or(bare) {
                    add(set, word.range.end, surely && name != "printf");
                }
            }
        }
    }
    for expansion in program.expansions.iter().filter(|expansion| expansion.operator == Some('=')) {
        add(expansion.name.as_str(), expansion.range.end, false);
    }
    (sets, foreign)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    /// The reads of a script: their names, with a question mark where they may be the script's own.
    fn outer(text: &str) -> String {
        let show = |(name, place, perhaps): (String, Place, bool)| {
            assert_eq!(text[place.name], name);
            assert!(text[place.whole].starts_with('$'));
            if perhaps { name + "?" } else { name }
        };
        super::outer(&Program::parse(text)).into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_environment_is_what_is_not_set() {
        assert_eq!(outer("a $A ${B} ${#C} ${D:-$E} \"$F\" '$G' \\$H $1 $@"), "A B C D E F");
        assert_eq!(outer("A=${A#v} && b $A $B"), "A B", "the value is read before");
        assert_eq!(outer("echo $A; A=1; echo $A"), "A");
        assert_eq!(outer("A=1 b $A"), "A", "for the command only");
        assert_eq!(outer("export A=$A; b $A"), "A");
        assert_eq!(outer("export A; b $A"), "A");
        assert_eq!(outer("sh -c 'b $A'; cat <<E\n$B\nE\ncat <<'E'\n$C\nE\n"), "A B");
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        assert_eq!(outer("if a; then A=1; fi; b $A $B"), "A? B");
        assert_eq!(outer("for A in $B; do c $A; done"), "B A?");
        assert_eq!(outer("a || A=1; b $A"), "A?");
        assert_eq!(outer("a && A=1; b $A"), "A?");
        assert_eq!(outer("(A=1); b $A"), "A?");
        assert_eq!(outer("f() { b $A; }; A=1; f"), "A?");
        assert_eq!(outer("b $A; . x; b $A $B"), "A A? B?");
        assert_eq!(outer("b ${A:=1} $A"), "A? A?");
        assert_eq!(outer("a | read A; b $A $B 'c"), "A? B?");
    }

    #[test]
    fn reads_have_their_places() {
        let text = "FROM i\nRUN a $A \\\n # $N\n  ${B\\\n2} <<-E\n\t\t$C\n\tE\nCMD [\"sh\", \"-c\", \"b $D\"]\nCMD $F\nENTRYPOINT [\"e\", \"$N\"]\nHEALTHCHECK CMD $G\nONBUILD RUN $H\nONBUILD CMD $I\nRUN <<E\n#!/usr/bin/python\n$N\nE\nSHELL [\"$N\"]\n";
        let reads: Vec<String> = shell_reads(&rbx_dockerfile::parse(text))
            .iter()
            .map(|read| {
                let pieces: Vec<&str> = read.pieces.iter().map(|piece| piece.slice(text)).collect();
                format!("{} {} of {:?}", read.name, pieces.join("|"), read.whole.slice(text))
            })
            .collect();
        assert_snapshot!(reads.join("\n"), @r#"
        A A of "$A"
        B2 B|2 of "${B\\\n2}"
        C C of "$C"
        D D of "$D"
        F F of "$F"
        G G of "$G"
        H H of "$H"
        I I of "$I"
        "#);
    }
}
