//! The scripts of a Dockerfile.

use std::borrow::Cow;
use std::ops::Range;

use rbx_dockerfile::{
    Base, Body, CommandLine, Dockerfile, Evaluation, Instruction, Keyword, MountKind, Op, Span, Stage, Step,
};

use super::parse::is_shell;
use super::{Command, Program, Word};

/// The scripts of a file, read once. They depend on no platform.
pub(crate) struct Scripts<'a> {
    file: &'a Dockerfile,
    /// By instruction.
    list: Vec<Option<Script<'a>>>,
}

impl<'a> Scripts<'a> {
    pub(crate) fn new(file: &'a Dockerfile) -> Self {
        Self { file, list: file.instructions.iter().map(|it| Script::of(file, it)).collect() }
    }
}

/// What an instruction gives to a shell, or runs without one.
pub(crate) struct Script<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) program: Program,
    /// The instruction that has it: of an `ONBUILD` the trigger.
    instruction: &'a Instruction,
    kind: Kind,
    /// The program that runs it where that is not the shell of the stage, with its options.
    pub(crate) interpreter: Option<Vec<String>>,
    file: &'a Dockerfile,
}

enum Kind {
    /// What follows the keyword, and the contents of its heredocs after it.
    Line,
    /// The content of a lone heredoc. Where tabs are stripped: where its lines begin in the script, and in the
    /// Dockerfile.
    Content(Vec<(usize, u32)>),
    /// The strings of a JSON array: where each stands in the script, and in the Dockerfile; and whether it is the same
    /// text there.
    Strings(Vec<(Range<usize>, Span, bool)>),
}

impl<'a> Script<'a> {
    fn of(file: &'a Dockerfile, instruction: &'a Instruction) -> Option<Self> {
        let line = match &instruction.body {
            Body::Onbuild(trigger) => {
                // A trigger takes no heredocs along.
                return if instruction.heredocs.is_empty() { Self::of(file, trigger) } else { None };
            }
            Body::Run(line) => line,
            Body::Healthcheck(check) => check.command.as_ref()?,
            _ => return None,
        };
        Self::of_line(file, instruction, line)
    }

    /// The same for what containers run, too: of `CMD` and `ENTRYPOINT`.
    pub(super) fn of_any(file: &'a Dockerfile, instruction: &'a Instruction) -> Option<Self> {
        match &instruction.body {
            Body::Onbuild(trigger) if instruction.heredocs.is_empty() => Self::of_any(file, trigger),
            Body::Cmd(line) | Body::Entrypoint(line) => Self::of_line(file, instruction, line),
            _ => Self::of(file, instruction),
        }
    }

    fn of_line(file: &'a Dockerfile, instruction: &'a Instruction, line: &'a CommandLine) -> Option<Self> {
        let word = match line {
            CommandLine::Shell(word) => word,
            CommandLine::Exec { words, .. } => return Self::strings(file, instruction, words),
        };
        let heredocs = match &instruction.body {
            Body::Run(_) => instruction.heredocs.as_slice(),
            _ => &[],
        };
        let mut interpreter = None;
        let (text, kind) = match heredocs {
            [] => (Cow::Borrowed(word.text.as_str()), Kind::Line),
            [only, ..] if only.word.text == word.text => {
                let content = if only.strip_tabs {
                    Cow::Owned(only.stripped(&file.text))
                } else {
                    Cow::Borrowed(only.content.slice(&file.text))
                };
                interpreter = shebang(&content);
                let lines =
                    if only.strip_tabs { stripped_lines(only.content, &file.text) } else { Vec::new() };
                (content, Kind::Content(lines))
            }
            several => {
                let mut text = word.text.clone();
                for heredoc in several {
                    text.push('\n');
                    text.push_str(heredoc.content.slice(&file.text));
                    text.push_str(&heredoc.name);
                }
                (Cow::Owned(text), Kind::Line)
            }
        };
        let is_script =
            interpreter.as_ref().and_then(|words| words.first()).is_none_or(|name| is_shell(name));
        let program = if is_script { Program::parse(&text) } else { Program::default() };
        Some(Self { text, program, instruction, kind, interpreter, file })
    }

    /// A JSON array: its words as the command they are, or the script that they give to a shell.
    fn strings(
        file: &'a Dockerfile,
        instruction: &'a Instruction,
        argv: &'a [rbx_dockerfile::Word],
    ) -> Option<Self> {
        // The same text between quotes has the same places.
        let same = |word: &rbx_dockerfile::Word| {
            let raw = word.span.slice(&file.text);
            raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) == Some(&word.text)
        };
        let inner = |span: Span| Span { start: span.start + 1, end: span.end.saturating_sub(1) };
        let place = |word: &rbx_dockerfile::Word, at: Range<usize>| {
            let same = same(word);
            (at, if same { inner(word.span) } else { word.span }, same)
        };
        let (script, shell) = argv.split_last()?;
        let names: Vec<String> = shell.iter().map(|word| word.text.clone()).collect();
        if takes_script(&names) {
            return Some(Self {
                text: Cow::Borrowed(&script.text),
                program: Program::parse(&script.text),
                instruction,
                kind: Kind::Strings(vec![place(script, 0..script.text.len())]),
                interpreter: Some(names),
                file,
            });
        }
        let mut text = String::new();
        let mut places = Vec::new();
        let mut words = Vec::new();
        for word in argv {
            if !text.is_empty() {
                text.push(' ');
            }
            let range = text.len()..text.len() + word.text.len();
            text.push_str(&word.text);
            places.push(place(word, range.clone()));
            words.push(Word::of_text(range, word.text.clone()));
        }
        let command = Command::of_words(0..text.len(), words);
        Some(Self {
            text: Cow::Owned(text),
            program: Program { commands: vec![command], ..Program::default() },
            instruction,
            kind: Kind::Strings(places),
            interpreter: Some(Vec::new()),
            file,
        })
    }

    /// Where a part of the script stands in the Dockerfile.
    pub(crate) fn span(&self, range: &Range<usize>) -> Span {
        if range.is_empty() {
            // After the byte before, so that an empty word does not jump to the next line.
            let at = match range.start.checked_sub(1) {
                Some(before) => self.source(before, true).saturating_add(1),
                None => self.source(0, false),
            };
            return Span { start: at, end: at };
        }
        let start = self.source(range.start, false);
        let end = self.source(range.end - 1, true).saturating_add(1);
        Span { start, end: end.max(start) }
    }

    /// Where a part of the script stands: one span, and more where a line is continued within it.
    pub(crate) fn pieces(&self, range: &Range<usize>) -> Vec<Span> {
        let mut pieces: Vec<Span> = Vec::new();
        for at in range.clone() {
            let (start, end) = (self.source(at, false), self.source(at, true).saturating_add(1));
            match pieces.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => pieces.push(Span { start, end }),
            }
        }
        pieces
    }

    /// How a part of the script is written in the Dockerfile.
    pub(crate) fn written(&self, range: &Range<usize>) -> &'a str {
        self.span(range).slice(&self.file.text)
    }

    /// Whether a part of the script stands in the Dockerfile as it is: on one line, nothing escaped.
    pub(crate) fn is_verbatim(&self, range: &Range<usize>) -> bool {
        self.text.get(range.clone()) == Some(self.written(range))
    }

    /// Where a byte of the script stands; `last` takes the end of a string that is written in another way.
    fn source(&self, offset: usize, last: bool) -> u32 {
        let instruction = self.instruction;
        let mut rest = offset;
        match &self.kind {
            Kind::Strings(places) => {
                let index = places.partition_point(|(range, ..)| range.start <= offset).saturating_sub(1);
                let Some((range, span, same)) = places.get(index) else { return instruction.span.start };
                if *same {
                    let within = u32::try_from(offset.saturating_sub(range.start)).unwrap_or(0);
                    return span.start.saturating_add(within).min(span.end);
                }
                return if last { span.end.saturating_sub(1) } else { span.start };
            }
            Kind::Line => {
                let length = match self.line() {
                    Some(text) => text.len(),
                    None => return instruction.span.start,
                };
                if offset < length {
                    return instruction.source_of(instruction.code.len() - length + offset);
                }
                rest -= length;
            }
            Kind::Content(lines) => {
                let index = lines.partition_point(|&(start, _)| start <= offset).checked_sub(1);
                let start = index.and_then(|index| lines.get(index)).copied();
                let content =
                    instruction.heredocs.first().map_or(instruction.span, |heredoc| heredoc.content);
                let (start, source) = start.unwrap_or((0, content.start));
                let within = u32::try_from(offset.saturating_sub(start)).unwrap_or(0);
                return source.saturating_add(within).min(content.end);
            }
        }
        for heredoc in &instruction.heredocs {
            let content = heredoc.content;
            // After a newline; the name that ends it follows.
            rest = rest.saturating_sub(1);
            if rest < content.len() {
                return content.start.saturating_add(u32::try_from(rest).unwrap_or(0));
            }
            rest -= (content.len() + heredoc.name.len()).min(rest);
        }
        instruction.span.start
    }

    /// What follows the keyword.
    fn line(&self) -> Option<&'a str> {
        match &self.instruction.body {
            Body::Run(CommandLine::Shell(word))
            | Body::Cmd(CommandLine::Shell(word))
            | Body::Entrypoint(CommandLine::Shell(word)) => Some(&word.text),
            Body::Healthcheck(check) => match &check.command {
                Some(CommandLine::Shell(word)) => Some(&word.text),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Where the lines of a content begin, without their leading tabs: there, and in the text.
fn stripped_lines(content: Span, text: &str) -> Vec<(usize, u32)> {
    let (mut at, mut source) = (0, content.range().start);
    let mut lines = Vec::new();
    for line in content.slice(text).split_inclusive('\n') {
        let stripped = line.trim_start_matches('\t');
        lines.push((at, u32::try_from(source + line.len() - stripped.len()).unwrap_or(content.end)));
        at += stripped.len();
        source += line.len();
    }
    lines
}

/// The program that a file is for, with its options.
fn shebang(content: &str) -> Option<Vec<String>> {
    let line = content.strip_prefix("#!")?.lines().next().unwrap_or_default();
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.first().is_some_and(|program| program.rsplit('/').next() == Some("env")) {
        words.remove(0);
        if words.first().is_some_and(|word| word == "-S") {
            words.remove(0);
        }
    }
    Some(words)
}

/// What shells of the POSIX kind read in the image and in containers of it, of those instructions that are wanted.
pub(super) fn of_shells(
    file: &Dockerfile,
    wanted: impl Fn(&Instruction) -> bool,
) -> impl Iterator<Item = Script<'_>> {
    let mut posix = true;
    file.instructions.iter().filter_map(move |instruction| {
        match &instruction.body {
            Body::From(_) => posix = true,
            Body::Shell(words) => posix = words.first().is_none_or(|word| is_shell(&word.text)),
            _ => {}
        }
        let script = if wanted(instruction) { Script::of_any(file, instruction)? } else { return None };
        let by_shell = match &script.interpreter {
            Some(words) => words.first().is_some_and(|name| is_shell(name)),
            None => posix,
        };
        by_shell.then_some(script)
    })
}

/// Whether the last word of a shell's command is followed by a script.
fn takes_script(shell: &[String]) -> bool {
    let Some((program, options)) = shell.split_first() else { return false };
    let Some((last, options)) = options.split_last() else { return false };
    let is_option = |word: &str| word.starts_with(['-', '+']) && !word.starts_with("--");
    // `-o pipefail` has a word of its own.
    let known = |word: &String| word.starts_with(['-', '+']) || word.chars().all(char::is_alphanumeric);
    is_shell(program) && last.ends_with('c') && is_option(last) && options.iter().all(known)
}

/// A script with what is known of where it runs.
pub(crate) struct Run<'a> {
    /// The stage, or the one that has it as a trigger.
    pub(crate) stage: &'a Stage,
    /// The step of a `RUN`; `None` of others, and where evaluation found it wrong.
    pub(crate) step: Option<&'a Step>,
    /// The instruction: of a trigger, the `ONBUILD`.
    pub(crate) instruction: &'a Instruction,
    pub(crate) purpose: Purpose,
    /// The program that takes the script, with its options; nothing if that is a command itself.
    pub(crate) shell: Cow<'a, [String]>,
    pub(crate) script: &'a Script<'a>,
}

/// What a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `RUN`
    Run,
    /// `ONBUILD RUN`
    Trigger,
    /// `HEALTHCHECK CMD`, or one in an `ONBUILD`.
    Check,
}

impl Run<'_> {
    /// The name of the shell: `sh`, `bash`. Empty where there is none.
    pub(crate) fn shell_name(&self) -> &str {
        self.shell.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default()
    }

    /// Whether what is written to a directory does not stay: a cache or memory is mounted there, or above it.
    pub(crate) fn is_mounted(&self, directory: &str) -> bool {
        self.mounts(|target| {
            let rest = directory.strip_prefix(target.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether a cache or memory is mounted at a directory that is meant.
    pub(crate) fn mounts(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        if let Some(Op::Run(run)) = self.step.map(|step| &step.op) {
            return run.mounts.iter().any(|mount| {
                let kind = matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
                kind && mount.target.as_deref().is_some_and(&is_meant)
            });
        }
        let flags = self.own().flags.iter().filter(|flag| flag.name.text == "mount");
        let mut fields = flags.flat_map(|flag| flag.value.iter()).flat_map(|value| value.text.split(','));
        fields.any(|field| field.split_once('=').is_some_and(|(_, target)| is_meant(target)))
    }

    /// The instruction that has the script: of a trigger, what stands after `ONBUILD`.
    pub(crate) fn own(&self) -> &Instruction {
        self.script.instruction
    }
}

/// The scripts of all stages that a shell of the POSIX kind runs, and what is run without a shell, in order of the text.
pub(crate) fn runs<'a>(scripts: &'a Scripts<'a>, evaluation: &'a Evaluation) -> Vec<Run<'a>> {
    let mut all = Vec::new();
    let file = scripts.file;
    let mut at = file.instructions.iter().position(|it| it.keyword == Keyword::From).unwrap_or(0);
    for (stage, instructions) in evaluation.stages.iter().zip(file.stages()) {
        let first = at;
        at += instructions.len();
        let mut steps = stage.steps.iter().filter(|step| !step.on_build).peekable();
        let mut shell = first_shell(evaluation, stage);
        let mut forced = None;
        for (index, instruction) in (first..).zip(instructions) {
            while steps.next_if(|step| step.span.start < instruction.span.start).is_some() {}
            if let Body::Shell(words) = &instruction.body {
                shell = words.iter().map(|word| word.text.clone()).collect();
                forced = None;
            }
            // hadolint is told in this way what it does not see.
            let told = file.comments_of(instruction).iter().filter_map(|comment| told_shell(&comment.text));
            forced = told.reduce(|_, last| last).or(forced);
            let purpose = match (&instruction.body, instruction.keyword) {
                (Body::Onbuild(trigger), _) if trigger.keyword == Keyword::Run => Purpose::Trigger,
                (_, Keyword::Run) => Purpose::Run,
                _ => Purpose::Check,
            };
            let Some(Some(script)) = scripts.list.get(index) else { continue };
            let step = steps.next_if(|step| step.span == instruction.span);
            let step = step.filter(|_| purpose == Purpose::Run);
            let own = match (&script.interpreter, &forced) {
                (Some(interpreter), _) => Cow::Owned(interpreter.clone()),
                (None, Some(name)) => Cow::Owned(vec![(*name).to_owned(), "-c".to_owned()]),
                (None, None) => match step {
                    Some(step) => Cow::Borrowed(&*step.shell),
                    None => shell.clone(),
                },
            };
            // A program that is called without a shell has no name here.
            if own.first().is_none_or(|program| is_shell(program)) {
                all.push(Run { stage, step, instruction, purpose, shell: own, script });
            }
        }
    }
    all
}

/// The shell with which a stage begins.
fn first_shell<'a>(evaluation: &'a Evaluation, stage: &'a Stage) -> Cow<'a, [String]> {
    let of_base = || match stage.base {
        Base::Stage(base) => evaluation.stages.get(base)?.shell.as_deref(),
        _ => None,
    };
    match stage.steps.first().map(|step| &*step.shell).or_else(of_base) {
        Some(shell) => Cow::Borrowed(shell),
        None => Cow::Owned(["/bin/sh", "-c"].map(str::to_owned).to_vec()),
    }
}

/// `hadolint shell=name`
fn told_shell(comment: &str) -> Option<&str> {
    let rest = comment.strip_prefix("hadolint")?.trim_start().strip_prefix("shell")?;
    rest.trim_start().strip_prefix('=')?.split_whitespace().next()
}
