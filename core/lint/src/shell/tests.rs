//! Commands, and their places in Dockerfiles.

mod reads;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rbx_dockerfile::{Scope, evaluate, parse};
use rbx_platform::Platform;

use super::*;

/// A script's commands: what joins each to the one before, what it is a part of, its words between bars (those that are
/// worked out as they are written), and its redirections.
fn shown(script: &str) -> String {
    let program = Program::parse(script);
    let mut text = String::new();
    for command in &program.commands {
        let join = match command.before {
            Join::None => "",
            Join::Then => "; ",
            Join::Background => "& ",
            Join::And => "&& ",
            Join::Or => "|| ",
            Join::Pipe => "| ",
        };
        let Context { condition, branch, subshell, function, nested } = command.context;
        let flags = [
            (condition, "condition "),
            (branch, "branch "),
            (subshell, "subshell "),
            (function, "function "),
            (nested, "nested "),
        ];
        text += join;
        flags.iter().filter(|(set, _)| *set).for_each(|(_, name)| text += name);
        let word = |word: &Word| match word.literal() {
            Some(text) => text.to_owned(),
            None => format!("{{{}}}", &script[word.range.clone()]),
        };
        let assignments = command.assignments.iter().map(|it| format!("[{}]", word(&it.word)));
        let words = command.words.iter().map(word);
        text += &assignments.chain(words).collect::<Vec<_>>().join("|");
        for redirection in &command.redirections {
            let number = redirection.descriptor.map(|number| number.to_string()).unwrap_or_default();
            write!(text, " {number}{}{}", redirection.operator, word(&redirection.target)).unwrap();
            if let Some(content) = &redirection.content {
                write!(text, " {:?}", &script[content.clone()]).unwrap();
            }
        }
        text += "\n";
    }
    if let Some(at) = program.lost {
        writeln!(text, "lost at {at}").unwrap();
    }
    text
}

#[test]
fn simple_commands_and_lists() {
    insta::assert_snapshot!(shown("set -eux; A=b C=\"d e\" x 'y'z \\\n && y|z||! w & v"), @r#"
    set|-eux
    ; [A=b]|[C=d e]|x|yz
    && y
    | z
    || w
    & v
    "#);
    insta::assert_snapshot!(shown("a # b\n\n# c; d\n&& e\nf#g $(h `i`) \"${j:-$(k)}\""), @r#"
    a
    && e
    ; f#g|{$(h `i`)}|{"${j:-$(k)}"}
    subshell h|{`i`}
    subshell i
    subshell k
    "#);
    insta::assert_snapshot!(shown("A=(b 'c)' # d\n e) f; g=$((1 + (2))) h; i"), @r"
    [{A=(b 'c)' # d
     e)}]|f
    ; [{g=$((1 + (2)))}]|h
    ; i
    ");
}

#[test]
fn compound_commands() {
    insta::assert_snapshot!(shown("if a; then b; elif c; then d; else e; fi && f"), @r"
    condition a
    branch b
    condition branch c
    branch d
    branch e
    && f
    ");
    insta::assert_snapshot!(shown("for x in a \"$b\"; do c \"$x\"; done | while read y; do d; done; e"), @r#"
    for|x|in|a|{"$b"}
    branch c|{"$x"}
    | condition read|y
    branch d
    ; e
    "#);
    insta::assert_snapshot!(shown("case $a in b|\"c\") d;; (e) f ;; *) esac; g"), @r"
    case|{$a}
    branch d
    branch f
    ; g
    ");
    insta::assert_snapshot!(shown("f() { a; }; function g { b; }; (c; d) > e; [[ $a == b* && ( c || d ) ]] && h"), @r"
    function a
    ; function b
    ; subshell c
    ; subshell d
     >e
    ; [[|{$a}|==|b*|&&|(|c||||d|)|]]
    && h
    ");
    insta::assert_snapshot!(shown("((a > 1)) && b; for ((i = 0; i < 3; i++)); do c; done; ((d); e)"), @r"
    && b
    ; for
    branch c
    ; subshell d
    ; subshell e
    ");
}

#[test]
fn redirections_and_here_documents() {
    insta::assert_snapshot!(shown("a >b 2>&1 <c >>d; e &>f; g <<< h; diff <(i) j"), @r"
    a >b 2>&1 <c >>d
    ; e &>f
    ; g <<<h
    ; diff|{<(i)}|j
    subshell i
    ");
    insta::assert_snapshot!(shown("cat <<A <<-'B' > x && y\n$(z)\nA\n\t$(no)\n\tB\nw"), @r#"
    cat <<A "$(z)\n" <<-B "\t$(no)\n" >x
    && y
    subshell z
    ; w
    "#);
}

#[test]
fn scripts_of_other_shells() {
    insta::assert_snapshot!(shown("sh -c 'a && b' && bash -exc \"c $d\"; bash <<'E'\ne; f\nE\npython <<E\ng; h\nE"), @r#"
    sh|-c|a && b
    nested a
    && nested b
    && bash|-exc|{"c $d"}
    nested c|{$d}
    ; bash <<E "e; f\n"
    nested e
    ; nested f
    ; python <<E "g; h\n"
    "#);
}

#[test]
fn what_no_shell_takes() {
    insta::assert_snapshot!(shown("a; b 'c"), @r"
    a
    ; b
    lost at 6
    ");
    insta::assert_snapshot!(shown("fi; done) a ;; esac b } c ("), @r"
    a
    b|}|c
    ");
}

#[test]
fn calls() {
    let call = |script: &str| {
        let program = Program::parse(script);
        let call = program.commands[0].call()?;
        let words =
            |words: &[Word]| words.iter().map(|word| word.prefix().to_owned()).collect::<Vec<_>>().join(" ");
        Some(format!("{} < {} < {}", words(call.arguments), call.name, words(call.prefixes)))
    };
    for (script, wanted) in [
        ("apt-get install x", Some("install x < apt-get < ")),
        ("sudo -u root -E A=b /usr/bin/apt-get -y update", Some("-y update < apt-get < sudo -u root -E A=b")),
        ("env -i A=b sudo x", Some(" < x < env -i A=b sudo")),
        ("timeout -k 5 10m x -a", Some("-a < x < timeout -k 5 10m")),
        ("xargs -0 -n 1 rm -f", Some("rm -f < xargs -0 -n 1").map(|_| "-f < rm < xargs -0 -n 1")),
        ("command -v x", Some("-v x < command < ")),
        ("exec \"$@\"", None),
        ("$x y", None),
        ("env", Some(" < env < ")),
        ("A=b", None),
        ("for x in y", None),
    ] {
        assert_eq!(call(script).as_deref(), wanted, "{script}");
    }
}

#[test]
fn arguments() {
    let script = "x -w=2 -qqy -t a --to b --in=c -ub -- -d";
    let program = Program::parse(script);
    let read = program.commands[0].call().unwrap().read(&["-t", "--to", "-u"]);
    let options: Vec<_> = read.options.iter().map(|(name, value, _)| (name.as_str(), *value)).collect();
    assert_eq!(
        options,
        [
            ("-w", Some("2")),
            ("-q", None),
            ("-q", None),
            ("-y", None),
            ("-t", Some("a")),
            ("--to", Some("b")),
            ("--in", Some("c")),
            ("-u", Some("b")),
        ]
    );
    assert_eq!(read.operands.iter().filter_map(|word| word.literal()).collect::<Vec<_>>(), ["-d"]);
    assert!(read.has(&["-y", "--yes"]) && !read.has(&["-z"]) && read.count(&["-q"]) == 2 && !read.unsure);
}

/// For each word of each command, what stands at its place in the Dockerfile.
fn places(text: &str) -> Vec<String> {
    let file = parse(text);
    let platform = Platform::parse("linux/amd64").unwrap();
    let (build_args, named_contexts, bases) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let scope = Scope {
        target_platform: &platform,
        build_platform: &platform,
        build_args: &build_args,
        target: None,
        named_contexts: &named_contexts,
        bases: &bases,
    };
    let evaluation = evaluate(&file, &scope);
    let scripts = Scripts::new(&file);
    let mut places = Vec::new();
    for run in runs(&scripts, &evaluation) {
        let words = run.script.program.commands.iter().flat_map(|command| &command.words);
        places.extend(words.map(|word| format!("{}:{}", run.shell_name(), run.script.written(&word.range))));
    }
    places
}

#[test]
fn places_in_dockerfiles() {
    assert_eq!(
        places(
            "FROM a\nRUN b 'c' && \\\n  # d\n  e \\\n f\nONBUILD RUN g\nHEALTHCHECK --retries=1 CMD h i\n"
        ),
        ["sh:b", "sh:'c'", "sh:e", "sh:f", "sh:g", "sh:h", "sh:i"]
    );
    assert_eq!(
        places(
            "FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN <<-E\n\tb 'c'\n\t\td\nE\nRUN cat <<F && g\nx\nF\n"
        ),
        ["bash:b", "bash:'c'", "bash:d", "bash:cat", "bash:g"]
    );
    assert_eq!(
        places(
            "FROM a\nRUN [\"b\", \"c\\td\"]\nRUN [\"bash\", \"-c\", \"e f\"]\nRUN [\"sh\", \"-c\", \"g \\\"h\\\"\"]\n"
        ),
        [":b", ":\"c\\td\"", "bash:e", "bash:f", "sh:\"g \\\"h\\\"\"", "sh:\"g \\\"h\\\"\""]
    );
}

#[test]
fn other_languages_are_no_shell() {
    assert!(places("FROM a\nRUN <<E\n#!/usr/bin/env python3\nb\nE\n").is_empty());
    assert!(places("FROM a\nSHELL [\"pwsh\", \"-Command\"]\nRUN b\nHEALTHCHECK CMD c\n").is_empty());
    assert!(places("# escape=`\n# hadolint shell=powershell\nFROM a\nRUN b\n").is_empty());
    assert!(places("FROM --platform=windows/amd64 a\nRUN b\n").is_empty());
    assert_eq!(places("FROM a AS b\nSHELL [\"pwsh\"]\nFROM b\nSHELL [\"ash\", \"-c\"]\nRUN c\n"), ["ash:c"]);
    assert_eq!(places("FROM a\nRUN <<E\n#!/bin/bash -e\nb\nE\n"), ["bash:b"]);
}

/// Every place is in the text, and commands are in order.
fn sound(text: &str) {
    let program = Program::parse(text);
    let inside =
        |range: &std::ops::Range<usize>| assert!(text.get(range.clone()).is_some(), "{range:?} in {text}");
    for (index, command) in program.commands.iter().enumerate() {
        inside(&command.range);
        assert!(command.parent.is_none_or(|parent| parent < index));
        for word in command.words.iter().chain(command.assignments.iter().map(|it| &it.word)) {
            inside(&word.range);
            for part in word.parts() {
                match part {
                    Part::Variable(index) => assert!(*index < program.expansions.len()),
                    Part::Commands(range) => assert!(range.end <= program.commands.len()),
                    Part::Literal(text) => assert!(!text.is_empty()),
                    Part::Other => {}
                }
            }
        }
        for redirection in &command.redirections {
            inside(&redirection.target.range);
            redirection.content.iter().for_each(inside);
        }
        command.call();
    }
    for expansion in &program.expansions {
        inside(&expansion.range);
        inside(&expansion.operand);
        assert!(expansion.command.is_none_or(|command| command < program.commands.len()));
    }
}

fn script() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        "b=c",
        "if ",
        "then ",
        "else ",
        "fi",
        "for x in ",
        "do ",
        "done",
        "while ",
        "case ",
        " in ",
        "esac",
        ";;",
        "{ ",
        "}",
        "(",
        ")",
        "((",
        "))",
        "[[ ",
        " ]]",
        "$(",
        "${",
        "}",
        ":-",
        "$((",
        "`",
        "'",
        "\"",
        "\\",
        "\n",
        "\r\n",
        " ",
        " ",
        ";",
        "&",
        "|",
        "<",
        ">",
        "<<X",
        "<<-'X'",
        "\nX\n",
        "$x",
        "$",
        "#",
        "sh -c ",
        "bash <<E\n",
        "E\n",
        "é",
        "2>",
        "x() ",
        "function f ",
        "!",
        "=(",
        "*(",
        "\t",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_has_places(text in script()) {
        sound(&text);
    }

    #[test]
    fn any_text_has_places(text in any::<String>()) {
        sound(&text);
    }
}

#[test]
fn long_scripts_take_linear_time() {
    let time = |text: &str| {
        let start = Instant::now();
        Program::parse(text);
        start.elapsed()
    };
    for unit in [
        "a b c; ",
        "(",
        "((",
        "( ( ",
        "$(",
        "\"$(b '",
        "cat <<X ",
        "cat <<X\n",
        "if a; then ",
        "case a in b) ",
        "{ ",
        "[[ a ",
        "f() { ",
        "a $(b) `c` ",
        ") ;; } fi done ",
        "x <<A\nA\n",
        "sh -c 'a' ",
        "bash <<E\n",
        "a=(b ",
        "?(",
        "for a in b; do ",
        "${a:-",
        "\\\n",
        "a | ",
        "a &&\n",
        "$((1",
        "'a' ",
        "# b\n",
        "<(",
        "a[",
        "a=",
        "1>",
    ] {
        let measured =
            std::iter::repeat_with(|| (time(&unit.repeat(3000)), time(&unit.repeat(12000)))).take(4);
        // A quadratic one takes sixteen times as long. What else the machine does may add to a measurement.
        let linear =
            |(small, large): &(Duration, Duration)| *large < (*small).max(Duration::from_millis(10)) * 10;
        assert!(measured.into_iter().any(|times| linear(&times)), "{unit}");
    }
}
