//! Formatting. The input is a Dockerfile.

use std::collections::{BTreeMap, BTreeSet};

use rbx_dockerfile::{
    Command, Dockerfile, Edit, Indent, Op, Scope, Style, apply, evaluate, format, indent_at, parse,
};
use rbx_platform::Platform;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let file = parse(&text);
    let meaning = Meaning::of(&file);
    let same = |edits: &[Edit]| {
        let after = parse(&apply(&text, edits));
        assert_eq!(Meaning::of(&after), meaning, "{text:?}\n{:?}", after.text);
        after
    };
    let indent = Indent { width: [1, 4, 8][text.len() % 3], tabs: text.len().is_multiple_of(2) };
    for style in
        [Style::default(), Style { indent, trim_lines: false, final_newline: false, trim_end: false }]
    {
        let edits = format(&file, &style);
        within_lines(&file, &edits);
        let after = same(&edits);
        assert_eq!(format(&after, &style), [], "formatted again: {:?}", after.text);
        // Editors may ask for a part.
        for rest in 0..2 {
            let part: Vec<Edit> = edits.iter().skip(rest).step_by(2).cloned().collect();
            same(&part);
        }
    }
    for line in 0..=file.lines.len().min(50) {
        if let Some(edit) = indent_at(&file, &Style::default(), u32::try_from(line).unwrap()) {
            same(&[edit]);
        }
    }
}

/// Edits are in order, apart from each other, change something, and none runs over the end of a line.
fn within_lines(file: &Dockerfile, edits: &[Edit]) {
    let mut end = 0;
    for edit in edits {
        let old = edit.span.slice(&file.text);
        assert!(
            file.text.get(edit.span.range()).is_some() && edit.span.start >= end,
            "{edit:?} in {:?}",
            file.text
        );
        assert_ne!(old, edit.text);
        assert!(!old.trim_end_matches(['\r', '\n']).contains('\n'), "{edit:?} in {:?}", file.text);
        end = edit.span.end;
    }
}

/// What a file means, and what of it nobody may touch.
#[derive(Debug, PartialEq)]
struct Meaning {
    directives: [Option<String>; 3],
    comments: Vec<String>,
    wrong: usize,
    heredocs: Vec<String>,
    built: [Vec<String>; 2],
}

impl Meaning {
    fn of(file: &Dockerfile) -> Meaning {
        let directives = &file.directives;
        let heredocs = file.instructions.iter().flat_map(|instruction| &instruction.heredocs);
        let platforms = ["linux/amd64", "linux/arm/v7"].map(|name| Platform::parse(name).unwrap());
        Meaning {
            directives: [&directives.syntax, &directives.escape, &directives.check]
                .map(|directive| directive.as_ref().map(|directive| directive.value.clone())),
            comments: file.comments.iter().map(|comment| comment.text.clone()).collect(),
            wrong: file.diagnostics.len(),
            heredocs: heredocs.map(|heredoc| heredoc.content.slice(&file.text).to_owned()).collect(),
            built: platforms.map(|platform| built(file, &platform)),
        }
    }
}

/// What is built for a platform. Of what shells get, white space counts as one blank: what is quoted is compared by
/// running it (`core/dockerfile`).
fn built(file: &Dockerfile, platform: &Platform) -> Vec<String> {
    let build = Platform::parse("linux/amd64").unwrap();
    let scope = Scope {
        target_platform: platform,
        build_platform: &build,
        build_args: &BTreeMap::new(),
        target: None,
        named_contexts: &BTreeSet::new(),
        bases: &BTreeMap::new(),
    };
    let evaluation = evaluate(file, &scope);
    let mut all: Vec<String> = evaluation.diagnostics.iter().map(|found| found.message.clone()).collect();
    for stage in &evaluation.stages {
        all.push(format!(
            "{:?} {:?} {} {:?} {:?} {:?}",
            stage.name, stage.base, stage.platform, stage.shell, stage.on_build, stage.reachable
        ));
        for step in &stage.steps {
            let mut op = step.op.clone();
            match &mut op {
                Op::Run(run) => spaced(&mut run.command),
                Op::Cmd(command) | Op::Entrypoint(command) => spaced(command),
                Op::Healthcheck(check) => check.command.iter_mut().for_each(spaced),
                _ => {}
            }
            all.push(format!("{op:?}"));
        }
    }
    all
}

fn spaced(command: &mut Command) {
    if let Command::Shell(text) = command {
        *text = single(text);
    }
}

fn single(text: &str) -> String {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
