//! Comments to be written so that a finding is silent.

use rbx_dockerfile::{Comment, Dockerfile, Instruction, Span};

use crate::finding::{Edit, Finding, Fix};
use crate::place;
use crate::rule::{Family, Rule};
use crate::silence::{Pragma, Scope, buildkit};

/// The ways to silence a finding: for its instruction, and for its file. None for what the language finds wrong.
///
/// What BuildKit checks is silenced as BuildKit reads it, too. A comment that is there already gets another name: on top
/// of a file there can be only one `# check=`.
pub fn suppressions(file: &Dockerfile, finding: &Finding) -> Vec<Fix> {
    let Some(rule) = finding.rule else { return Vec::new() };
    let fix = |title: &str, edit| Fix {
        title: format!("Ignore {} {title}", rule.name),
        safe: true,
        edits: vec![edit],
    };
    let here = file.instruction_at(finding.span.start).map(|it| fix("here", above(file, it, rule)));
    here.into_iter().chain([fix("in this file", in_file(file, rule))]).collect()
}

fn above(file: &Dockerfile, instruction: &Instruction, rule: &Rule) -> Edit {
    let comments = file.comments_of(instruction);
    let name = rule.name;
    if rule.family == Family::BuildKit {
        // Only the first counts.
        match buildkit::first(file, comments) {
            Some(comment) if buildkit::of_comments(file, comments).is_some() => {
                return skip(file, comment.span, name);
            }
            Some(_) => {}
            None => {
                let line = place::line_before(file, instruction, &format!("# check=skip={name}"));
                // On top of the file it would be for all of it; BuildKit reads none that is indented.
                let is_before = |span: Span| span.end <= line.span.start;
                let is_first = !file.comments.first().is_some_and(|it| is_before(it.span))
                    && !file.instructions.first().is_some_and(|it| is_before(it.span));
                if !is_first && line.text.starts_with('#') {
                    return line;
                }
            }
        }
    }
    match pragma(file, comments, Scope::Instruction) {
        Some(list) => insert(list, format!("{name},")),
        None => place::line_before(file, instruction, &format!("# rbx: ignore={name}")),
    }
}

fn in_file(file: &Dockerfile, rule: &Rule) -> Edit {
    let name = rule.name;
    if rule.family == Family::BuildKit {
        match &file.directives.check {
            Some(check)
                if buildkit::begins_line(file, check.span) && buildkit::of_file(file, None).is_ok() =>
            {
                return skip(file, check.span, name);
            }
            None if !file.text.starts_with(['/', '{']) && !file.text.starts_with("#!") => {
                return line_on_top(file, &format!("# check=skip={name}"));
            }
            _ => {}
        }
    }
    match pragma(file, &file.comments, Scope::File) {
        Some(list) => insert(list, format!("{name},")),
        None => line_on_top(file, &format!("# rbx: ignore-file={name}")),
    }
}

/// Adds a name to those that a comment of BuildKit's skips.
fn skip(file: &Dockerfile, comment: Span, name: &str) -> Edit {
    let text = comment.slice(&file.text);
    let value = text.find('=').map_or(text, |at| text[at + 1..].trim_start());
    let start = text.len() - value.len();
    let read = value.split(' ').next().unwrap_or_default();
    let (at, text) = match read.find("skip=") {
        Some(at) => (start + at + "skip=".len(), format!("{name},")),
        None => (start, format!("skip={name};")),
    };
    insert(comment.start.saturating_add(u32::try_from(at).unwrap_or(0)), text)
}

/// Where the names begin of the first comment that holds so far.
fn pragma(file: &Dockerfile, comments: &[Comment], scope: Scope) -> Option<u32> {
    let is_meant =
        |comment: &&Comment| Pragma::read(&comment.text).is_some_and(|pragma| pragma.scope == scope);
    let comment = comments.iter().find(is_meant)?;
    let at = comment.span.slice(&file.text).find('=')? + 1;
    comment.span.start.checked_add(u32::try_from(at).ok()?)
}

fn insert(at: u32, text: String) -> Edit {
    Edit { span: Span { start: at, end: at }, text }
}

/// A line after the parser directives.
fn line_on_top(file: &Dockerfile, line: &str) -> Edit {
    let directives = &file.directives;
    let spans = [&directives.syntax, &directives.escape, &directives.check];
    let last =
        spans.into_iter().flatten().map(|it| it.span).filter(|it| it.slice(&file.text).starts_with('#'));
    let shebang = file.text.starts_with("#!").then_some(Span::default());
    let line_of = |span: Span| file.line_index.span_of(file.line_index.line_of(span.start));
    let above = last.chain(shebang).max().and_then(line_of);
    let newline = if file.text.contains("\r\n") { "\r\n" } else { "\n" };
    match above {
        Some(above) if above.slice(&file.text).ends_with('\n') => {
            insert(above.end, format!("{line}{newline}"))
        }
        Some(above) => insert(above.end, format!("{newline}{line}")),
        None => {
            let start = if file.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
            insert(u32::try_from(start).unwrap_or(0), format!("{line}{newline}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;
    use rbx_platform::Platform;

    use super::*;
    use crate::finding::apply;
    use crate::lint::{Request, lint};
    use crate::{Facts, Settings};

    /// The file after each way to silence the first finding of a rule, which is silent then.
    fn silenced(text: &str, rule: &str) -> Vec<String> {
        let find = |text: &str| {
            let mut request = Request::new(Vec::new(), Platform::host());
            request.settings = Settings::only(&[rule]);
            let file = parse(text);
            let findings = lint(&file, &request, &Facts::default());
            (file, findings)
        };
        let (file, findings) = find(text);
        let first = findings.iter().find(|finding| finding.name() == rule).expect("a finding");
        let wrong = file.diagnostics.len();
        suppressions(&file, first)
            .into_iter()
            .map(|fix| {
                let after = apply(text, &fix.edits);
                let (file, left) = find(&after);
                assert!(left.len() < findings.len(), "{} leaves it in {after}", fix.title);
                assert!(file.diagnostics.len() <= wrong, "{after}");
                after
            })
            .collect()
    }

    /// Whatever stands above: the finding is silent, and the file as good as before.
    #[test]
    fn comments_of_every_kind_get_another_name() {
        for above in [
            "",
            "\n",
            "# a\n",
            "# check=x\n",
            "# check=skip=A\n",
            "# check=error=false skip=B\n",
            "# rbx: ignore=B\n",
            "# rbx: ignore-file=\n",
            "# hadolint ignore=B # x\n",
            "# escape=`\n",
            "  # check=skip=A\n",
        ] {
            for before in [
                "",
                "# escape=`\n",
                "# a\n",
                "\u{feff}",
                "# check=skip=C\n",
                "# syntax=a\n# check=error=false\n",
            ] {
                let text = format!("{before}{above}FROM a AS B\n{above} MAINTAINER c\n");
                assert_eq!(silenced(&text, "StageNameCasing").len(), 2, "{text}");
                assert_eq!(silenced(&text, "MaintainerDeprecated").len(), 2, "{text}");
                assert_eq!(silenced(&text, "DL3006").len(), 2, "{text}");
            }
        }
    }

    #[test]
    fn a_comment_silences_an_instruction_or_the_file() {
        let text = "FROM a:1\n  # why\n  LABEL A=b\n";
        assert_eq!(
            silenced(text, "DL3048"),
            [
                "FROM a:1\n  # rbx: ignore=DL3048\n  # why\n  LABEL A=b\n",
                "# rbx: ignore-file=DL3048\nFROM a:1\n  # why\n  LABEL A=b\n"
            ]
        );
        let text = "# syntax=a\r\n# rbx: ignore-file=x # why\r\nFROM a:1\r\n# hadolint ignore=y # z\r\nLABEL A=b\r\n";
        assert_eq!(
            silenced(text, "DL3048"),
            [text.replace("ignore=y", "ignore=DL3048,y"), text.replace("file=x", "file=DL3048,x")]
        );
        assert_eq!(
            silenced("#!a\nFROM a\n", "DL3006")[1],
            "#!a\n# rbx: ignore-file=DL3006\nFROM a\n",
            "a shebang stays first"
        );
    }

    #[test]
    fn what_buildkit_checks_is_silent_there_too() {
        let rule = "MaintainerDeprecated";
        let text = "FROM a\nMAINTAINER b\n";
        assert_eq!(
            silenced(text, rule),
            [
                "FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER b\n",
                "# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER b\n"
            ]
        );
        // There is one on top already, and there can be no other.
        let text = "# check=error=true\n# syntax=x\nFROM a\n# check=skip=Other;error=true\nMAINTAINER b\n";
        assert_eq!(
            silenced(text, rule),
            [
                text.replace("skip=Other", "skip=MaintainerDeprecated,Other"),
                text.replace("# check=error=true\n#", "# check=skip=MaintainerDeprecated;error=true\n#")
            ]
        );
        let text = "# check=skip=Other\nFROM a AS B\n";
        assert_eq!(
            silenced(text, "StageNameCasing"),
            [
                "# check=skip=Other\n# rbx: ignore=StageNameCasing\nFROM a AS B\n",
                "# check=skip=StageNameCasing,Other\nFROM a AS B\n"
            ]
        );
    }
}
