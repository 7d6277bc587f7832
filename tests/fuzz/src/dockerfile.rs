//! Parser and evaluation. The input is a header of lines, a NUL, and the Dockerfile; without a NUL it is all
//! Dockerfile. A line of the header is a build argument (`NAME=value`), a trigger of every base image (`!RUN x`), a
//! variable of their environment (`%NAME=value`), a named context (`@name`) or the target (`>name`).

use std::collections::{BTreeMap, BTreeSet};

use rbx_dockerfile::{Base, BaseFacts, Dockerfile, Scope, Span, evaluate, parse};
use rbx_platform::Platform;

pub(crate) fn run(data: &[u8]) {
    let (header, text) = match data.iter().position(|&byte| byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[][..], data),
    };
    let text = String::from_utf8_lossy(text);
    let file = parse(&text);
    assert_eq!(file.text, text);
    lossless(&file);
    for instruction in &file.instructions {
        assert_eq!(file.instruction_at(instruction.span.start).map(|it| it.span), Some(instruction.span));
        file.comments_of(instruction);
        file.description(instruction, "a");
    }
    for diagnostic in &file.diagnostics {
        assert!(!file.error_text(diagnostic).is_empty());
        file.line_index.lines_of(diagnostic.span);
    }

    let header = Header::parse(&String::from_utf8_lossy(header));
    let platform = ["linux/amd64", "linux/arm/v7", "windows(10.0.17763)/amd64"][data.len() % 3];
    let platform = Platform::parse(platform).unwrap();
    let build = Platform::parse("linux/arm64").unwrap();
    let mut bases = BTreeMap::new();
    // What is learned about base images leads to more of them at most once for each stage.
    for _ in 0..2 {
        let scope = Scope {
            target_platform: &platform,
            build_platform: &build,
            build_args: &header.build_args,
            target: header.target.as_deref(),
            named_contexts: &header.contexts,
            bases: &bases,
        };
        let evaluation = evaluate(&file, &scope);
        assert_eq!(evaluation, evaluate(&file, &scope), "evaluation is a function");
        let whole = Span { start: 0, end: u32::try_from(text.len()).unwrap() };
        for (index, stage) in evaluation.stages.iter().enumerate() {
            assert_eq!(stage.index, index);
            assert!(whole.encloses(stage.span));
            assert!(stage.needs.iter().all(|&needed| needed < evaluation.stages.len()));
            if let Base::Stage(base) = stage.base {
                assert!(base < index, "a base comes before the stage");
            }
            for step in &stage.steps {
                assert!(whole.encloses(step.span));
                step.vertex_name(stage, Some(&platform));
                step.history();
                step.run_env.iter().for_each(|_| {});
            }
        }
        for diagnostic in &evaluation.diagnostics {
            assert!(whole.encloses(diagnostic.span));
            assert!(!file.error_text(diagnostic).is_empty());
        }
        for stage in evaluation.stages {
            if let Base::Image(name) | Base::Context(name) = stage.base {
                bases.insert((name, stage.platform), header.facts.clone());
            }
        }
    }
}

#[derive(Default)]
struct Header {
    build_args: BTreeMap<String, String>,
    contexts: BTreeSet<String>,
    target: Option<String>,
    facts: BaseFacts,
}

impl Header {
    fn parse(text: &str) -> Header {
        let mut header = Header::default();
        let pair = |line: &str| {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            (name.to_owned(), value.to_owned())
        };
        for line in text.lines() {
            match line.split_at_checked(1) {
                Some(("!", trigger)) => header.facts.on_build.push(trigger.to_owned()),
                Some(("%", variable)) => header.facts.env.push(pair(variable)),
                Some(("@", name)) => drop(header.contexts.insert(name.to_owned())),
                Some((">", name)) => header.target = Some(name.to_owned()),
                _ => header.build_args.extend([pair(line)]),
            }
        }
        header
    }
}

/// Lines and tokens make up the text, and every span lies in it on character boundaries.
fn lossless(file: &Dockerfile) {
    let gapless = |spans: &mut dyn Iterator<Item = Span>| {
        let end = spans.fold(0, |end, span| {
            assert_eq!(span.start, end, "gap or overlap");
            assert!(file.text.get(span.range()).is_some(), "{span:?} cuts a character");
            span.end
        });
        assert_eq!(end as usize, file.text.len());
    };
    gapless(&mut file.lines.iter().map(|line| line.span));
    gapless(&mut file.tokens().iter().map(|token| token.span));

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
    file.diagnostics.iter().for_each(|diagnostic| inside(diagnostic.span, whole));
    file.comments.iter().for_each(|comment| inside(comment.span, whole));
}
