use rbx_dockerfile::parse;
use rbx_platform::Platform;

use super::*;
use crate::settings::Settings;
use crate::{Finding, apply, lint};

fn request() -> Request {
    let host = Platform::parse("linux/amd64").unwrap();
    let mut request = Request::new(vec![host.clone()], host);
    request.settings = Settings { threshold: Some(Severity::Style), ..Settings::only(&["shellcheck"]) };
    request
}

fn scripts(text: &str) -> Vec<String> {
    wanted_scripts(&parse(text), &request(), &Facts::default())
}

/// What is found if shellcheck says of the first place of a text, in whatever script has it, that it is wrong, and
/// would put quotes around it.
fn found(text: &str, wrong: &str, request: &Request) -> Vec<Finding> {
    let file = parse(text);
    let mut facts = Facts::default();
    for script in wanted_scripts(&file, request, &facts) {
        for (number, line) in script.lines().enumerate().skip(HEAD) {
            let Some(at) = line.find(wrong) else { continue };
            let column = line[..at].chars().count() + 1;
            let (start, end) = ((number + 1, column), (number + 1, column + wrong.chars().count()));
            let quote = |at| (ScriptPlace { start: at, end: at }, "\"".to_owned());
            let comment = ScriptComment {
                code: 2086,
                message: "Quote\u{1b} it.".to_owned(),
                level: ScriptLevel::Error,
                place: ScriptPlace { start, end },
                replacements: vec![quote(start), quote(end)],
            };
            facts.scripts.entry(script.clone()).or_default().push(comment);
        }
    }
    lint(&file, request, &facts)
}

#[test]
fn scripts_say_what_there_is_to_know() {
    insta::assert_snapshot!(scripts("FROM a\nARG b\nENV C=d E=f\nRUN g $b \\\n  # h\n  ${C} $I\n").concat(), @r##"
    # shellcheck shell=sh disable=SC1090,SC1091,SC2187
    :
    # shellcheck disable=all
    export C="$(:)" b="$(:)"
    g $b   ${C} $I
    "##);
    insta::assert_snapshot!(scripts("FROM a\nRUN <<-E\n\t#!/bin/bash -e\n\tb\nE\n").concat(), @r"
    # shellcheck shell=bash disable=SC1090,SC1091,SC2187
    set -e
    # shellcheck disable=all
    :
    # /bin/bash -e
    b
    ");
}

#[test]
fn other_languages_and_programs_are_not_asked_for() {
    for text in [
        "FROM a\nSHELL [\"pwsh\"]\nRUN b\n",
        "FROM a\nSHELL [\"zsh\", \"-c\"]\nRUN b\n",
        "FROM a\nRUN [\"b\", \"$c\"]\n",
        "FROM a\nRUN <<E\n#!/usr/bin/perl\nE\n",
        "FROM a\nHEALTHCHECK CMD b $c\n",
        "FROM a\nRUN\n",
    ] {
        assert!(scripts(text).is_empty(), "{text}");
    }
    let mut request = request();
    request.settings.threshold = Some(Severity::Warning);
    assert!(wanted_scripts(&parse("FROM a\nRUN b\n"), &request, &Facts::default()).is_empty());
}

#[test]
fn findings_stand_where_the_script_does() {
    for text in [
        "FROM a\nRUN b && \\\n    # c\n    é $d\n",
        "FROM a\nRUN <<-E\n\tb\n\t\té $d\nE\n",
        "FROM a\nRUN bash <<E\né $d\nE\n",
        "FROM a\nONBUILD RUN é $d\n",
    ] {
        let findings = found(text, "$d", &request());
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!((finding.name(), finding.message.as_str()), ("SC2086", "Quote it"));
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.span.slice(text), "$d");
        let fix = finding.fixes.first().unwrap();
        assert!(!fix.safe);
        assert_eq!(apply(text, &fix.edits), text.replace("$d", "\"$d\""));
    }
}

/// Before it or after it, the script and the Dockerfile go on in different ways.
#[test]
fn what_begins_or_ends_a_line_is_not_changed() {
    for text in
        ["FROM a\nRUN b \\\n$d\n", "FROM a\nRUN b $d\\\n c\n", "FROM a\nRUN [\"sh\", \"-c\", \"b\\t$d\"]\n"]
    {
        let findings = found(text, "$d", &request());
        assert_eq!(findings.len(), 1, "{text}");
        assert!(findings[0].fixes.is_empty(), "{text}");
    }
}

#[test]
fn comments_and_settings_silence_numbers_or_all() {
    let count = |text: &str, request: &Request| found(text, "$d", request).len();
    assert_eq!(count("FROM a\nRUN b $d\n", &request()), 1);
    for comment in ["# rbx: ignore=SC2086", "# hadolint ignore=SC2086", "# check=skip=SC2086"] {
        assert_eq!(count(&format!("FROM a\n{comment}\nRUN b $d\n"), &request()), 0, "{comment}");
    }
    assert_eq!(count("FROM a\n# rbx: ignore=SC2046\nRUN b $d\n", &request()), 1);
    for name in ["SC2086", "shellcheck"] {
        let mut request = request();
        request.settings.levels.insert(name.to_owned(), crate::Level::Off);
        assert_eq!(count("FROM a\nRUN b $d\n", &request), 0, "{name}");
    }
}

#[test]
fn nonsense_is_no_finding() {
    let file = parse("FROM a\nRUN b\n");
    let [script] = <[String; 1]>::try_from(wanted_scripts(&file, &request(), &Facts::default())).unwrap();
    let comment = |code, start, end| ScriptComment {
        code,
        message: "x".to_owned(),
        level: ScriptLevel::Info,
        place: ScriptPlace { start, end },
        replacements: vec![(ScriptPlace { start: end, end: start }, "y".to_owned())],
    };
    let comments = vec![
        comment(1, (5, 1), (5, 2)),
        comment(2086, (0, 0), (0, 0)),
        comment(2086, (1, 1), (1, 2)),
        comment(2086, (5, 2), (5, 1)),
        comment(2086, (99, 1), (99, 2)),
        comment(2086, (5, 1), (5, usize::MAX)),
    ];
    let facts = Facts { scripts: BTreeMap::from([(script, comments)]), ..Facts::default() };
    let findings = lint(&file, &request(), &facts);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].span.slice(&file.text), "b");
    assert!(findings[0].fixes.is_empty());
}

#[test]
fn numbers_are_rules() {
    assert_eq!(rule("SC2086").map(|rule| rule.name), Some("SC2086"));
    assert!(rule("SC2086").unwrap().explanation.starts_with("# SC2086\n\n"));
    for name in ["SC", "SC99", "SC9999", "SC20866", "SC-001", "sc2086"] {
        assert_eq!(rule(name), None, "{name}");
    }
}
