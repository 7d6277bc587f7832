//! The answer of `check`, for people and for programs.

use std::fmt::Write as _;

use rbx_dockerfile::{Dockerfile, Span};
use rbx_lint::{Finding, Severity};
use rbx_platform::Platform;
use serde_json::{Value, json};

use super::Checked;

/// For people: each finding as buildx shows that of a check, and how many there are.
pub(super) fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    let alike = checked.windows(2).all(|two| two[0].platforms == two[1].platforms);
    for file in checked {
        if let Ok((tree, findings)) = &file.result {
            if !alike {
                let _ = writeln!(
                    text,
                    "{} for {}\n",
                    rbx_progress::clean(&file.name),
                    names(&file.platforms).join(", ")
                );
            }
            for finding in findings {
                one(&mut text, &file.name, tree, finding);
            }
        }
    }
    let platforms = if alike { checked.first().map_or(&[][..], |file| &file.platforms) } else { &[] };
    let _ = writeln!(text, "{}", summary(checked, platforms));
    text
}

fn one(text: &mut String, name: &str, tree: &Dockerfile, finding: &Finding) {
    let clean = rbx_progress::clean;
    let _ = writeln!(text, "{}: {}", finding.severity.name().to_uppercase(), finding.name());
    let _ = writeln!(text, "{}", clean(&finding.to_string()));
    let lines = [tree.line_index.lines_of(finding.span)];
    text.push_str(&rbx_progress::snippet(name, &tree.text, &lines));
    for related in &finding.related {
        let _ = writeln!(
            text,
            "Line {}: {}",
            tree.line_index.line_of(related.span.start),
            clean(&related.message)
        );
    }
    if let Some(fix) = finding.fixes.first() {
        let _ = writeln!(text, "Fix: {}", clean(&fix.title));
    }
    text.push('\n');
}

fn summary(checked: &[Checked], platforms: &[Platform]) -> String {
    let count = |severity| {
        let findings =
            checked.iter().filter_map(|file| file.result.as_ref().ok()).flat_map(|(_, found)| found);
        findings.filter(|finding| finding.severity == severity).count()
    };
    let plural = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let unread = checked.iter().filter(|file| file.result.is_err()).count();
    let kinds = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
        (count(Severity::Info), "remark"),
        (count(Severity::Style), "nit"),
        (unread, "unreadable file"),
    ];
    let found: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n, what)).collect();
    let total: usize = kinds.iter().map(|(count, _)| count).sum();
    let result = match found.split_last() {
        None => "no warnings found.".to_owned(),
        Some((one, [])) if total == 1 => format!("{one} has been found!"),
        Some((one, [])) => format!("{one} have been found!"),
        Some((last, rest)) => format!("{} and {last} have been found!", rest.join(", ")),
    };
    let files = if checked.len() == 1 { String::new() } else { format!(" of {} files", checked.len()) };
    let platforms = names(platforms).join(", ");
    let platforms = if platforms.is_empty() { platforms } else { format!(" for {platforms}") };
    format!("Check{files}{platforms} complete, {result}")
}

/// For programs: one JSON object. Lines and columns count from 1, columns in characters; offsets count bytes from 0.
pub(super) fn json(checked: &[Checked]) -> String {
    let files = checked.iter().map(|file| {
        let platforms = names(&file.platforms);
        match &file.result {
            Ok((tree, findings)) => {
                let findings: Vec<Value> = findings.iter().map(|finding| object(tree, finding)).collect();
                json!({ "path": file.name, "platforms": platforms, "findings": findings })
            }
            Err(reason) => json!({ "path": file.name, "error": reason }),
        }
    });
    let mut text = format!("{:#}", json!({ "files": files.collect::<Vec<Value>>() }));
    text.push('\n');
    text
}

fn object(tree: &Dockerfile, finding: &Finding) -> Value {
    let fixes = finding.fixes.iter().map(|fix| {
        let edits = fix.edits.iter().map(|edit| with_place(tree, edit.span, "text", &edit.text));
        json!({ "title": fix.title, "edits": edits.collect::<Vec<_>>() })
    });
    let related = finding.related.iter().map(|it| with_place(tree, it.span, "message", &it.message));
    json!({
        "rule": finding.name(),
        "severity": finding.severity.name(),
        "message": finding.message,
        "platforms": names(&finding.platforms),
        "fineOn": names(&finding.fine_on),
        "start": position(tree, finding.span.start),
        "end": position(tree, finding.span.end),
        "related": related.collect::<Vec<_>>(),
        "fixes": fixes.collect::<Vec<_>>(),
    })
}

fn with_place(tree: &Dockerfile, span: Span, key: &str, value: &str) -> Value {
    json!({ "start": position(tree, span.start), "end": position(tree, span.end), key: value })
}

fn names(platforms: &[Platform]) -> Vec<String> {
    platforms.iter().map(Platform::format_all).collect()
}

fn position(tree: &Dockerfile, offset: u32) -> Value {
    let line = tree.line_index.line_of(offset);
    let start = tree.line_index.span_of(line).map_or(offset, |line| line.start);
    let before = Span { start, end: offset }.slice(&tree.text);
    json!({ "line": line, "column": before.chars().count() + 1, "offset": offset })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use rbx_dockerfile::parse;
    use rbx_lint::{Facts, Request, lint};

    use super::*;

    fn platforms() -> Vec<Platform> {
        ["linux/amd64", "linux/arm64"].map(|name| Platform::parse(name).unwrap()).to_vec()
    }

    fn checked(text: &str) -> Checked {
        let request = Request::new(platforms(), platforms()[0].clone());
        let file = parse(text);
        let findings = lint(&file, &request, &Facts::default());
        Checked { name: "app/Dockerfile".to_owned(), platforms: platforms(), result: Ok((file, findings)) }
    }

    #[test]
    fn people_read_the_place_and_the_platforms() {
        let files = [checked("ARG TARGETARCH\nFROM alpine\nRUN fetch é$TARGETARCH\nRUNN x\n")];
        assert_snapshot!(text(&files), @r"
        WARNING: platform-arg-undeclared
        RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage
        app/Dockerfile:3
        --------------------
           1 |     ARG TARGETARCH
           2 |     FROM alpine
           3 | >>> RUN fetch é$TARGETARCH
           4 |     RUNN x
           5 |     
        --------------------
        Line 1: this ARG is for FROM only
        Fix: Insert ARG TARGETARCH

        ERROR: syntax
        unknown instruction: RUNN (did you mean RUN?)
        app/Dockerfile:4
        --------------------
           2 |     FROM alpine
           3 |     RUN fetch é$TARGETARCH
           4 | >>> RUNN x
           5 |     
        --------------------
        Fix: Replace RUNN with RUN

        Check for linux/amd64, linux/arm64 complete, 1 error and 1 warning have been found!
        ");
        let mut files = [checked("FROM alpine\n"), checked("FROM --platform=linux/arm64 alpine\n")];
        assert_snapshot!(text(&files), @r"
        WARNING: final-stage-build-platform
        The image gets files of linux/arm64, because its stage has --platform=linux/arm64 on linux/amd64 (fine on linux/arm64)
        app/Dockerfile:1
        --------------------
           1 | >>> FROM --platform=linux/arm64 alpine
           2 |     
        --------------------
        Fix: Remove --platform

        Check of 2 files for linux/amd64, linux/arm64 complete, 1 warning has been found!
        ");
        assert_snapshot!(text(&files[..1]), @"Check for linux/amd64, linux/arm64 complete, no warnings found.");
        files[1].result = Err("no such file".to_owned());
        files[1].platforms.clear();
        assert_snapshot!(text(&files), @r"
        app/Dockerfile for linux/amd64, linux/arm64

        Check of 2 files complete, 1 unreadable file has been found!
        ");
    }

    #[test]
    fn programs_read_json() {
        let mut files = vec![checked("FROM alpine\nRUN é $TARGETARCH\n")];
        let result = Err("no such file".to_owned());
        files.push(Checked { name: "b".to_owned(), platforms: Vec::new(), result });
        assert_snapshot!(json(&files), @r#"
        {
          "files": [
            {
              "path": "app/Dockerfile",
              "platforms": [
                "linux/amd64",
                "linux/arm64"
              ],
              "findings": [
                {
                  "rule": "platform-arg-undeclared",
                  "severity": "warning",
                  "message": "RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage",
                  "platforms": [
                    "linux/amd64",
                    "linux/arm64"
                  ],
                  "fineOn": [],
                  "start": {
                    "line": 2,
                    "column": 7,
                    "offset": 19
                  },
                  "end": {
                    "line": 2,
                    "column": 18,
                    "offset": 30
                  },
                  "related": [],
                  "fixes": [
                    {
                      "title": "Insert ARG TARGETARCH",
                      "edits": [
                        {
                          "start": {
                            "line": 2,
                            "column": 1,
                            "offset": 12
                          },
                          "end": {
                            "line": 2,
                            "column": 1,
                            "offset": 12
                          },
                          "text": "ARG TARGETARCH\n"
                        }
                      ]
                    }
                  ]
                }
              ]
            },
            {
              "path": "b",
              "error": "no such file"
            }
          ]
        }
        "#);
    }

    #[test]
    fn nothing_in_a_dockerfile_directs_the_terminal() {
        let files = [checked("FROM alpine\nARG TARGETARCH=\u{1b}[31m\nRUN \u{1b}]0;x\u{7} $TARGETARCH\n")];
        assert!(!text(&files).contains(['\u{1b}', '\u{7}']));
    }
}
