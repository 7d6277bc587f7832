//! The parser on whole files: against another parser, on arbitrary text, and on large files.
#![expect(clippy::unwrap_used, reason = "the lint lets only functions marked as tests, not their helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dockerfile_parser as other;
use proptest::prelude::*;
use rbx_dockerfile::{
    Body, Dockerfile, Instruction, Keyword, Scope, Severity, Span, StageOutline, Word, evaluate, outline,
    parse,
};
use rbx_platform::Platform;

fn corpus() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn platform() -> Platform {
    Platform { os: "linux".into(), architecture: "arm64".into(), variant: None, os_version: None }
}

/// Evaluates a file with nothing known.
fn evaluated(file: &Dockerfile) -> rbx_dockerfile::Evaluation {
    let platform = platform();
    let scope = Scope {
        target_platform: &platform,
        build_platform: &platform,
        build_args: &BTreeMap::new(),
        target: None,
        named_contexts: &BTreeSet::new(),
        bases: &BTreeMap::new(),
    };
    let evaluation = evaluate(file, &scope);
    let stages = evaluation.stages.iter().map(|stage| StageOutline {
        base: stage.base.clone(),
        needs: stage.needs.clone(),
        reachable: stage.reachable,
    });
    assert_eq!(outline(file, &scope), stages.collect::<Vec<_>>());
    evaluation
}

#[test]
fn the_corpus_is_free_of_errors() {
    let files = corpus();
    assert!(files.len() >= 30, "{} files", files.len());
    let mut seen = BTreeSet::new();
    for (name, text) in &files {
        let file = parse(text);
        assert_eq!(file.diagnostics, [], "{name}");
        let evaluation = evaluated(&file);
        let errors: Vec<_> =
            evaluation.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        lossless(&file);
        seen.extend(file.instructions.iter().map(|instruction| instruction.keyword));
    }
    assert_eq!(seen, Keyword::ALL.into_iter().collect(), "every instruction occurs");
}

/// An instruction reduced to what both parsers see in it.
fn ours(instruction: &Instruction) -> Vec<String> {
    let texts = |words: Vec<&Word>| words.into_iter().map(|word| unquoted(&word.text)).collect::<Vec<_>>();
    let name = instruction.keyword.name().to_owned();
    let rest = match &instruction.body {
        Body::From(from) => texts(std::iter::once(&from.image).chain(&from.name).collect()),
        Body::Arg(list) => texts(list.iter().take(1).map(|arg| &arg.name).collect()),
        Body::Env(pairs) | Body::Label(pairs) => texts(pairs.iter().map(|pair| &pair.name).collect()),
        Body::Run(line) | Body::Cmd(line) | Body::Entrypoint(line) if line.is_exec() => {
            instruction.words().into_iter().map(|word| word.text.clone()).collect()
        }
        Body::Copy(files) if !files.exec => texts(files.sources.iter().chain(&files.destination).collect()),
        _ => Vec::new(),
    };
    std::iter::once(name).chain(rest).collect()
}

fn theirs(instruction: &other::Instruction) -> Vec<String> {
    use other::Instruction as I;
    let exec = |expression: &other::ShellOrExecExpr| match expression.as_exec() {
        Some(array) => array.elements.iter().map(|it| it.content.clone()).collect(),
        None => Vec::new(),
    };
    let (name, rest) = match instruction {
        I::From(from) => {
            let alias = from.alias.iter().map(|alias| alias.content.clone());
            ("FROM", std::iter::once(from.image.content.clone()).chain(alias).collect())
        }
        I::Arg(arg) => ("ARG", vec![arg.name.content.clone()]),
        I::Label(label) => ("LABEL", label.labels.iter().map(|it| unquoted(&it.name.content)).collect()),
        I::Env(env) => ("ENV", env.vars.iter().map(|it| it.key.content.clone()).collect()),
        I::Run(run) => ("RUN", exec(&run.expr)),
        I::Cmd(cmd) => ("CMD", exec(&cmd.expr)),
        I::Entrypoint(entrypoint) => ("ENTRYPOINT", exec(&entrypoint.expr)),
        I::Copy(copy) => {
            // It takes flags without a value for paths.
            let words = copy.sources.iter().chain([&copy.destination]).map(|it| it.content.as_str());
            let words: Vec<_> = words.filter(|word| !word.starts_with("--")).collect();
            let exec = words[0].starts_with('[');
            ("COPY", if exec { Vec::new() } else { words.into_iter().map(unquoted).collect() })
        }
        I::Misc(misc) => (misc.instruction.content.as_str(), Vec::new()),
    };
    std::iter::once(name.to_uppercase()).chain(rest).collect()
}

fn unquoted(text: &str) -> String {
    text.trim_matches('"').to_owned()
}

/// Every character of an instruction's code stands where it says.
fn mapped(instruction: &Instruction, file: &Dockerfile) {
    for (at, c) in instruction.code.char_indices() {
        let source = instruction.source_of(at) as usize;
        assert!(file.text.get(source..).is_some_and(|rest| rest.starts_with(c)), "{at} of {instruction:?}");
    }
}

/// Files of which the other parser makes something else than BuildKit does, and why.
const DIFFERENT: [(&str, &str); 2] = [
    ("exec-form-invalid", "a list with a comma at its end is no JSON, so the command is one for the shell"),
    ("unknown-instruction", "an instruction that nobody knows is an error here"),
];

/// The Dockerfiles that docker-rbx builds as BuildKit does.
fn built() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .filter_map(|case| {
            let case = case.unwrap();
            // Those that are no text are read by nobody.
            let text = fs::read_to_string(case.path().join("Dockerfile")).ok()?;
            Some((case.file_name().into_string().unwrap(), text))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn what_another_parser_reads_we_read_the_same() {
    let (mut compared, mut differing) = (0, Vec::new());
    for (name, text) in corpus().into_iter().chain(built()) {
        match other::Dockerfile::parse(&text) {
            Err(error) => {
                let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
                println!("not read by dockerfile-parser: {name}: {reason}");
            }
            Ok(_) if DIFFERENT.iter().any(|(known, _)| *known == name) => {
                println!("read differently by dockerfile-parser: {name}");
            }
            Ok(read) => {
                compared += 1;
                let expected: Vec<_> = read.instructions.iter().map(theirs).collect();
                let found: Vec<_> = parse(&text).instructions.iter().map(ours).collect();
                for (ours, theirs) in found.iter().zip(&expected).filter(|(ours, theirs)| ours != theirs) {
                    differing.push(format!("{name}: {ours:?} | {theirs:?}"));
                }
                if found.len() != expected.len() {
                    differing.push(format!("{name}: {} instructions | {}", found.len(), expected.len()));
                }
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(compared >= 100, "only {compared} files were compared");
}

/// Lines and tokens make up the text, and every span lies in it on character boundaries.
fn lossless(file: &Dockerfile) {
    for instruction in &file.instructions {
        mapped(instruction, file);
        if let Body::Onbuild(trigger) = &instruction.body {
            mapped(trigger, file);
        }
    }
    let join = |spans: Vec<Span>| {
        let mut end = 0;
        for span in &spans {
            assert_eq!(span.start, end, "gap or overlap");
            assert!(span.end >= span.start);
            end = span.end;
        }
        spans.iter().map(|span| &file.text[span.range()]).collect::<String>()
    };
    assert_eq!(join(file.lines.iter().map(|line| line.span).collect()), file.text);
    assert_eq!(join(file.tokens().iter().map(|token| token.span).collect()), file.text);

    let inside = |span: Span, outer: Span| {
        assert!(outer.encloses(span), "{span:?} outside of {outer:?}");
        assert!(file.text.get(span.range()).is_some(), "{span:?} cuts a character");
    };
    let whole = Span { start: 0, end: u32::try_from(file.text.len()).unwrap() };
    let mut end = 0;
    for instruction in &file.instructions {
        assert!(instruction.span.start >= end, "instructions overlap");
        end = instruction.span.end;
        inside(instruction.span, whole);
        inside(instruction.keyword_span, instruction.span);
        for flag in &instruction.flags {
            inside(flag.span, instruction.span);
            inside(flag.name.span, flag.span);
            flag.value.iter().for_each(|value| inside(value.span, flag.span));
        }
        for word in instruction.words() {
            inside(word.span, instruction.span);
        }
        for heredoc in &instruction.heredocs {
            inside(heredoc.word.span, instruction.span);
            inside(heredoc.content, whole);
            heredoc.terminator.into_iter().for_each(|span| inside(span, instruction.span));
        }
    }
    for diagnostic in &file.diagnostics {
        inside(diagnostic.span, whole);
    }
    for comment in &file.comments {
        inside(comment.span, whole);
        assert!(file.text[comment.span.range()].starts_with('#'));
    }
}

/// Text made of what Dockerfiles are made of, put together without sense.
fn dockerfile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "ARG",
        "LABEL",
        "CMD",
        "SHELL",
        "ONBUILD",
        "HEALTHCHECK",
        "EXPOSE",
        "VOLUME",
        "USER",
        "WORKDIR",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "from",
        "as",
        "AS",
        "a",
        "b",
        "x=y",
        "k",
        "$A",
        "${A",
        "${A:-b}",
        "${A#",
        "}",
        "=",
        "\"",
        "'",
        "\\",
        "`",
        "\\\n",
        "`\n",
        "\n",
        "\n",
        "\n",
        "\r\n",
        " ",
        " ",
        " ",
        "\t",
        "#",
        "# escape=`\n",
        "# syntax=a\n",
        "# check=skip=all\n",
        "#!",
        "<<E",
        "<<-E",
        "<<'E'",
        "<<\"E",
        "<<",
        "E\n",
        "\nE\n",
        "\tE\n",
        "[",
        "]",
        "[\"a\"]",
        "[\"a\", 1]",
        ",",
        "--",
        "--from=",
        "--link",
        "--mount=",
        "type=cache,",
        "target=/x",
        "--platform=",
        "CMD",
        "NONE",
        "é",
        "\u{a0}",
        "\u{feff}",
        "😀",
        "80/tcp",
        "0-65535",
        "&&",
        ";",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_is_parsed_without_loss(text in dockerfile()) {
        let file = parse(&text);
        lossless(&file);
        for stage in evaluated(&file).stages {
            for step in &stage.steps {
                step.vertex_name(&stage, None);
                step.history();
            }
        }
    }

    #[test]
    fn arbitrary_text_is_parsed_without_loss(text in any::<String>()) {
        lossless(&parse(&text));
    }
}

/// The time to parse, make tokens and evaluate.
fn work(text: &str) -> Duration {
    let start = Instant::now();
    let file = parse(text);
    assert!(!file.tokens().is_empty());
    evaluated(&file);
    start.elapsed()
}

#[test]
fn large_files_take_linear_time() {
    // Each of these is quadratic in a careless parser. The bound leaves room for a busy machine and no optimisation.
    let mut stages = String::new();
    for index in 0..4_000 {
        writeln!(stages, "FROM s{index} AS s{}\nENV V{index}=$V0\nRUN x $V1", index + 1).unwrap();
    }
    for (name, text) in [
        ("instructions", format!("FROM a\n{}", "RUN make install\n".repeat(20_000))),
        ("continuations", format!("FROM a\nRUN x \\\n{}y\n", "  && y \\\n".repeat(40_000))),
        ("comments", format!("FROM a\nRUN x \\\n{}y\n", "# c\n".repeat(40_000))),
        ("heredocs", format!("FROM a\n{}", "RUN cat <<E\nx\nE\n".repeat(10_000))),
        ("open heredocs", format!("FROM a\nRUN {}\n", "<<E ".repeat(20_000))),
        ("flags", format!("FROM a\nRUN {}x\n", "--mount=target=/x ".repeat(4_000))),
        ("pairs", format!("FROM a\nENV {}\n", "A=b ".repeat(40_000))),
        ("variables", format!("FROM a\n{}", "ENV A=$A$B\nRUN $A\n".repeat(10_000))),
        ("quotes", format!("FROM a\n{}", "RUN \"x <<\n".repeat(10_000))),
        ("triggers", format!("FROM a\n{}", "ONBUILD RUN x\n".repeat(10_000))),
        ("stages", stages),
    ] {
        let took = work(&text);
        println!("{name}: {} bytes in {took:?}", text.len());
        assert!(took < Duration::from_secs(10), "{name} took {took:?}");
    }
}
