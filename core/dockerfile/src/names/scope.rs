//! What is in scope where: the walk that finds names and what they mean.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use super::text::Source;
use super::{Guess, Mention, Names, Role, ShellRead, Subject, SubjectKind, is_predefined, substitutions};
use crate::dockerfile::Dockerfile;
use crate::expand::{ExpandOptions, expand};
use crate::heredoc;
use crate::instruction::{Body, FromBody, Instruction, Keyword, Word};
use crate::span::Span;

/// Bytes of an argument's default that is looked at when a base is made out of it, at most.
const MAX_DEFAULT: usize = 256;
/// Names that are looked at for bases with variables, and definitions that triggers make, at most: both are products
/// of numbers that a file may have large.
const MAX_PRODUCT: usize = 1 << 18;
/// The stage of what stands before the first.
const OUTSIDE: usize = usize::MAX;

/// Where a variable was set last.
#[derive(Clone, Copy)]
struct Bound {
    /// The mention. Later ones have greater numbers as long as the walk goes down.
    mention: usize,
    /// The stage that set it.
    stage: usize,
}

/// Which of the two kinds of variables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Arg { value: bool },
    Env,
}

/// What the walk is about to do.
enum Work {
    /// To walk a stage, which may stand on another one.
    Enter(usize, Option<usize>),
    /// To forget what was set since.
    Leave(usize),
}

struct Stage {
    /// Its instructions, the `FROM` first.
    instructions: Range<usize>,
    /// The subject, before they are put in order.
    group: usize,
    definition: Option<usize>,
    /// The stages that stand on it.
    children: Vec<usize>,
    /// What its triggers define: the variable, how, and where.
    triggers: Vec<(String, Kind, usize)>,
}

/// Something that has a name, while the walk may still find out that it is the same as another.
struct Group {
    kind: SubjectKind,
    name: String,
    parent: usize,
}

pub(super) struct Walk<'a> {
    file: &'a Dockerfile,
    shell: &'a [ShellRead],
    mentions: Vec<Mention>,
    groups: Vec<Group>,
    guesses: Vec<Guess>,
    stages: Vec<Stage>,
    /// The last stage of each name.
    last: HashMap<String, usize>,
    /// The `ARG`s before the first `FROM`, and whether they have a value.
    globals: HashMap<String, (usize, bool)>,
    /// What they are if nobody sets them.
    defaults: HashMap<String, Option<String>>,
    /// All `ARG`s of a name are one.
    arguments: HashMap<String, usize>,
    /// Variables that are read and not set, by the stage that the reader stands on in the end.
    loose: HashMap<(usize, String), usize>,
    args: HashMap<String, Bound>,
    env: HashMap<String, Bound>,
    /// What `args` and `env` were before.
    undo: Vec<(Kind, String, Option<Bound>)>,
    /// What the triggers of the stage set, for those that follow.
    triggered: HashMap<String, usize>,
    /// What is read in containers of the stage: known when all of it is.
    containers: Vec<(usize, &'a ShellRead)>,
    /// The stage that is walked, and the one it stands on in the end.
    stage: usize,
    root: usize,
    /// An `ONBUILD` is being read.
    trigger: bool,
    left: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a Dockerfile, shell: &'a [ShellRead]) -> Self {
        Self {
            file,
            shell,
            mentions: Vec::new(),
            groups: Vec::new(),
            guesses: Vec::new(),
            stages: Vec::new(),
            last: HashMap::new(),
            globals: HashMap::new(),
            defaults: HashMap::new(),
            arguments: HashMap::new(),
            loose: HashMap::new(),
            args: HashMap::new(),
            env: HashMap::new(),
            undo: Vec::new(),
            triggered: HashMap::new(),
            containers: Vec::new(),
            stage: OUTSIDE,
            root: OUTSIDE,
            trigger: false,
            left: MAX_PRODUCT,
        }
    }

    pub(super) fn run(mut self) -> Names {
        let file = self.file;
        let is_from = |instruction: &Instruction| instruction.keyword == Keyword::From;
        let first = file.instructions.iter().position(is_from).unwrap_or(file.instructions.len());
        for (index, instruction) in file.instructions.iter().enumerate().take(first) {
            self.global(index, instruction);
        }
        let mut roots = Vec::new();
        let mut at = first;
        for stage in file.stages() {
            roots.extend(self.from(at..at + stage.len()));
            at += stage.len();
        }
        // A stage on another one begins with that one's variables: down to what stands on it, and back.
        let mut work: Vec<Work> = roots.into_iter().rev().map(|root| Work::Enter(root, None)).collect();
        while let Some(next) = work.pop() {
            match next {
                Work::Enter(stage, base) => {
                    if base.is_none() {
                        self.root = stage;
                    }
                    work.push(Work::Leave(self.undo.len()));
                    self.stage(stage, base);
                    let children = self.stages.get(stage).map_or(&[][..], |stage| &stage.children);
                    work.extend(children.iter().rev().map(|&child| Work::Enter(child, Some(stage))));
                }
                Work::Leave(mark) => self.back(mark),
            }
        }
        self.finish()
    }

    // What stands before the first stage, and what begins one.

    fn global(&mut self, index: usize, instruction: &'a Instruction) {
        let Body::Arg(list) = &instruction.body else { return };
        for arg in list {
            if let Some(value) = &arg.value {
                self.word(index, instruction, value);
            }
            let name = arg.name.text.as_str();
            if let Some(pieces) = name_pieces(instruction, &arg.name) {
                let kind = Kind::Arg { value: arg.value.is_some() };
                let mention = self.define(index, pieces, name, kind);
                self.globals.insert(name.to_owned(), (mention, arg.value.is_some()));
            }
            let default = arg.value.as_ref().and_then(|value| self.worth(&value.text));
            self.defaults.insert(name.to_owned(), default);
        }
    }

    /// What a word of a `FROM` or of an `ARG` before it comes to if nobody sets anything.
    fn worth(&self, text: &str) -> Option<String> {
        let unknown = Cell::new(text.len() > MAX_DEFAULT);
        let expanded = expand(text, self.file.escape, &|name| {
            let value = self.defaults.get(name).cloned().flatten();
            unknown.set(unknown.get() || value.is_none());
            value
        });
        expanded.ok().filter(|value| !unknown.get() && value.len() <= MAX_DEFAULT)
    }

    /// Takes in a stage; answers its number if it stands on no other.
    fn from(&mut self, instructions: Range<usize>) -> Option<usize> {
        let (file, at, number) = (self.file, instructions.start, self.stages.len());
        let from = file.instructions.get(at)?;
        for flag in from.flags.iter().filter(|flag| flag.name.text == "platform") {
            if let Some(source) = Source::value(from, flag, file.escape) {
                self.variables(at, &source, 0..source.text.len(), ExpandOptions::new(file.escape));
            }
        }
        let kind = SubjectKind::Stage { index: number, from: from.keyword_span };
        let mut stage = Stage {
            instructions,
            group: self.group(kind, String::new()),
            definition: None,
            children: Vec::new(),
            triggers: Vec::new(),
        };
        let mut base = None;
        if let Body::From(body) = &from.body {
            base = self.base(at, from, body);
            if let Some(word) = body.name.as_ref().filter(|word| !word.text.is_empty()) {
                let name = word.text.to_lowercase();
                if let Some(group) = self.groups.get_mut(stage.group) {
                    group.name.clone_from(&name);
                }
                let pieces = from.spans_of(from.code_of(word.span));
                stage.definition = Some(self.mention(at, pieces, None, stage.group, Role::Definition, None));
                self.last.insert(name, number);
            }
        }
        self.stages.push(stage);
        match base.and_then(|base: usize| self.stages.get_mut(base)) {
            Some(base) => {
                base.children.push(number);
                None
            }
            None => Some(number),
        }
    }

    /// The stage that a `FROM` stands on.
    fn base(&mut self, at: usize, from: &'a Instruction, body: &'a FromBody) -> Option<usize> {
        let word = &body.image;
        let options = ExpandOptions::new(self.file.escape);
        let source = Source::word(from, word);
        self.variables(at, &source, 0..source.text.len(), options);
        if let Some(name) = self.worth(&word.text) {
            let stage = *self.last.get(&name)?;
            if name == word.text {
                self.stage_mention(at, from.spans_of(from.code_of(word.span)), stage, Role::Reference);
            } else if word.text.contains('$') {
                self.guesses
                    .extend(self.subject_of(stage).map(|it| Guess { span: word.span, subjects: vec![it] }));
            }
            return Some(stage);
        }
        let found = substitutions(&word.text, options);
        let mut literals = Vec::new();
        let mut end = 0;
        for it in found {
            if it.whole.start >= end {
                literals.push(word.text.get(end..it.whole.start).unwrap_or_default());
                end = it.whole.end;
            }
        }
        literals.push(word.text.get(end..).unwrap_or_default());
        if literals.len() > 1 && literals.iter().any(|literal| !literal.is_empty()) {
            let mut stages: Vec<usize> = Vec::new();
            if self.left >= self.last.len() {
                self.left -= self.last.len();
                stages.extend(self.last.iter().filter(|(name, _)| fits(name, &literals)).map(|(_, &it)| it));
            }
            stages.sort_unstable();
            let subjects: Vec<usize> =
                stages.into_iter().filter_map(|stage| self.subject_of(stage)).collect();
            if !subjects.is_empty() {
                self.guesses.push(Guess { span: word.span, subjects });
            }
        }
        None
    }

    fn subject_of(&self, stage: usize) -> Option<usize> {
        self.stages.get(stage).map(|stage| stage.group)
    }

    // Stages.

    fn stage(&mut self, number: usize, base: Option<usize>) {
        self.stage = number;
        self.triggered.clear();
        // The triggers of its base are its first instructions.
        let count = base.and_then(|base| self.stages.get(base)).map_or(0, |base| base.triggers.len());
        if count > 0 && self.left >= count {
            self.left -= count;
            let triggers = base.and_then(|base| self.stages.get(base)).map(|base| base.triggers.clone());
            for (name, kind, mention) in triggers.unwrap_or_default() {
                self.bind(&name, kind, mention);
            }
        }
        let Some(range) = self.stages.get(number).map(|stage| stage.instructions.clone()) else { return };
        for at in range.skip(1) {
            if let Some(instruction) = self.file.instructions.get(at) {
                self.heredocs(at, instruction);
                self.trigger = false;
                self.instruction(at, instruction);
                self.scripts(at, instruction);
            }
        }
        for (at, read) in std::mem::take(&mut self.containers) {
            if let Some(bound) = self.env.get(&read.name).copied() {
                self.shell_mention(at, read, bound.mention, Role::Container);
            }
        }
    }

    fn instruction(&mut self, at: usize, instruction: &'a Instruction) {
        let escape = self.file.escape;
        for flag in &instruction.flags {
            let name = flag.name.text.as_str();
            let wanted = match instruction.keyword {
                Keyword::Copy | Keyword::Add => matches!(name, "from" | "chown" | "chmod" | "checksum"),
                Keyword::Run => name == "mount",
                _ => false,
            };
            let Some(source) = Source::value(instruction, flag, escape).filter(|_| wanted) else { continue };
            match name {
                "from" if instruction.keyword == Keyword::Copy => self.copy_from(at, &source),
                "from" => {}
                "mount" => self.mount(at, &source),
                _ => self.variables(at, &source, 0..source.text.len(), ExpandOptions::new(escape)),
            }
        }
        match &instruction.body {
            Body::Arg(list) => {
                for arg in list {
                    if let Some(value) = &arg.value {
                        self.word(at, instruction, value);
                    }
                    if let Some(pieces) = name_pieces(instruction, &arg.name) {
                        let kind = Kind::Arg { value: arg.value.is_some() };
                        self.define(at, pieces, &arg.name.text, kind);
                    }
                }
            }
            Body::Env(pairs) => {
                // All are worked out before any is set.
                for pair in pairs {
                    self.word(at, instruction, &pair.name);
                    self.word(at, instruction, &pair.value);
                }
                for pair in pairs {
                    if let Some(pieces) = name_pieces(instruction, &pair.name) {
                        self.define(at, pieces, &pair.name.text, Kind::Env);
                    }
                }
            }
            Body::Label(pairs) => {
                for pair in pairs {
                    self.word(at, instruction, &pair.name);
                    self.word(at, instruction, &pair.value);
                }
            }
            Body::Copy(files) | Body::Add(files) => {
                for word in files.sources.iter().chain(&files.destination) {
                    if files.exec || heredoc::opening(&word.text).is_none() {
                        self.word(at, instruction, word);
                    }
                }
                for heredoc in instruction.heredocs.iter().filter(|heredoc| heredoc.expand) {
                    self.content(at, heredoc.content);
                }
            }
            Body::Expose(words) | Body::Volume(words) => {
                for word in words {
                    self.word(at, instruction, word);
                }
            }
            Body::User(word) | Body::Workdir(word) | Body::Stopsignal(word) => {
                self.word(at, instruction, word);
            }
            Body::Onbuild(trigger) if !self.trigger => {
                self.trigger = true;
                self.instruction(at, trigger);
            }
            _ => {}
        }
    }

    fn copy_from(&mut self, at: usize, source: &Source<'_>) {
        let whole = 0..source.text.len();
        match source.text.parse::<i64>() {
            Ok(number) => {
                let number = usize::try_from(number).ok().filter(|&number| number < self.stages.len());
                if let Some(number) = number {
                    self.stage_mention(at, source.pieces(&whole), number, Role::Number);
                }
            }
            Err(_) => self.source_stage(at, source, whole),
        }
    }

    /// A name that is a stage, if there is one of it anywhere in the file.
    fn source_stage(&mut self, at: usize, source: &Source<'_>, range: Range<usize>) {
        let name = source.text.get(range.clone()).unwrap_or_default();
        if let Some(&number) = self.last.get(&name.to_lowercase()) {
            self.stage_mention(at, source.pieces(&range), number, Role::Reference);
        }
    }

    fn mount(&mut self, at: usize, source: &Source<'_>) {
        let options = ExpandOptions::new(self.file.escape);
        for field in fields(&source.text) {
            let text = source.text.get(field.clone()).unwrap_or_default();
            let Some(equals) = text.find('=') else { continue };
            let value = field.start + equals + 1..field.end;
            if text.get(..equals).is_some_and(|key| key.eq_ignore_ascii_case("from")) {
                self.source_stage(at, source, value);
            } else {
                self.variables(at, source, value, options);
            }
        }
    }

    fn heredocs(&mut self, at: usize, instruction: &'a Instruction) {
        for (number, heredoc) in instruction.heredocs.iter().enumerate() {
            let kind = SubjectKind::Heredoc { instruction: at, number };
            let group = self.group(kind, heredoc.name.clone());
            let Some(start) = heredoc.word.text.rfind(heredoc.name.as_str()) else { continue };
            let start = instruction.code_of(heredoc.word.span).start + start;
            let pieces = instruction.spans_of(start..start + heredoc.name.len());
            let opening = self.mention(at, pieces, None, group, Role::Definition, None);
            if let Some(end) = heredoc.terminator {
                let tabs = end.len().saturating_sub(heredoc.name.len());
                let start = end.start.saturating_add(u32::try_from(tabs).unwrap_or(0));
                let pieces = vec![Span { start, end: end.end }];
                self.mention(at, pieces, None, group, Role::End, Some(opening));
            }
        }
    }

    /// What the scripts of an instruction read.
    fn scripts(&mut self, at: usize, instruction: &'a Instruction) {
        let from = self.shell.partition_point(|read| read.whole.start < instruction.span.start);
        let to = self.shell.partition_point(|read| read.whole.start < instruction.span.end);
        let keyword = match &instruction.body {
            Body::Onbuild(trigger) => trigger.keyword,
            _ => instruction.keyword,
        };
        for read in self.shell.get(from..to).unwrap_or_default() {
            if keyword != Keyword::Run {
                self.containers.push((at, read));
            } else if let Some(target) = self.lookup(&read.name) {
                let role = if read.perhaps { Role::PerhapsShell } else { Role::Shell };
                self.shell_mention(at, read, target, role);
            }
        }
    }

    // Words.

    fn word(&mut self, at: usize, instruction: &'a Instruction, word: &'a Word) {
        if word.text.contains('$') {
            let source = Source::word(instruction, word);
            self.variables(at, &source, 0..source.text.len(), ExpandOptions::new(self.file.escape));
        }
    }

    /// The variables in a part of a text.
    fn variables(&mut self, at: usize, source: &Source<'_>, range: Range<usize>, options: ExpandOptions) {
        let text = source.text.get(range.clone()).unwrap_or_default();
        for found in substitutions(text, options) {
            let shift = |part: &Range<usize>| range.start + part.start..range.start + part.end;
            let name = text.get(found.name.clone()).unwrap_or_default();
            let (pieces, whole) = (source.pieces(&shift(&found.name)), source.span(&shift(&found.whole)));
            self.read(at, name, pieces, whole);
        }
    }

    /// The variables in the content of a heredoc.
    fn content(&mut self, at: usize, content: Span) {
        let text = content.slice(&self.file.text);
        let span = |part: Range<usize>| {
            let start = content.start as usize;
            Span::of(start + part.start, start + part.end)
        };
        for found in substitutions(text, ExpandOptions::heredoc_body()) {
            let name = text.get(found.name.clone()).unwrap_or_default();
            self.read(at, name, vec![span(found.name)], span(found.whole));
        }
    }

    fn read(&mut self, at: usize, name: &str, pieces: Vec<Span>, whole: Span) {
        if name.starts_with(|c: char| c != '_' && !c.is_alphabetic()) {
            return;
        }
        let target = self.lookup(name);
        let group = match target.and_then(|target| self.mentions.get(target)) {
            Some(mention) => mention.subject,
            None => self.loose(name),
        };
        self.mention(at, pieces, Some(whole), group, Role::Reference, target);
    }

    // Variables.

    /// The definition that is in force.
    fn lookup(&self, name: &str) -> Option<usize> {
        if self.stage == OUTSIDE {
            return self.globals.get(name).map(|&(mention, _)| mention);
        }
        if let Some(&mention) = self.triggered.get(name).filter(|_| self.trigger) {
            return Some(mention);
        }
        match (self.args.get(name), self.env.get(name)) {
            // Of the stages below, an `ENV` counts where there is one.
            (Some(arg), Some(env)) if arg.stage != self.stage || arg.mention < env.mention => {
                Some(env.mention)
            }
            (Some(bound), _) | (None, Some(bound)) => Some(bound.mention),
            (None, None) => None,
        }
    }

    fn define(&mut self, at: usize, pieces: Vec<Span>, name: &str, kind: Kind) -> usize {
        let before = self.lookup(name);
        let mut group = before.and_then(|before| self.mentions.get(before)).map(|before| before.subject);
        if kind != Kind::Env {
            let argument = self.argument(name);
            group.inspect(|&group| self.same(argument, group));
            group = Some(argument);
        }
        let group = group.unwrap_or_else(|| self.group(SubjectKind::Variable, name.to_owned()));
        if let Some(&loose) = self.loose.get(&(self.root, name.to_owned())) {
            self.same(group, loose);
        }
        let inherited = self.globals.get(name).copied().filter(|_| self.stage != OUTSIDE);
        let bare = kind == Kind::Arg { value: false };
        let target = inherited.map(|(mention, _)| mention).filter(|_| bare);
        let mention = self.mention(at, pieces, None, group, Role::Definition, target);
        if self.stage == OUTSIDE {
            return mention;
        }
        // Where nobody sets it, an `ARG` without a value leaves a variable as it is.
        let sets =
            !bare || before.is_none() || inherited.is_some_and(|(_, value)| value) || is_predefined(name);
        if self.trigger {
            if sets {
                self.triggered.insert(name.to_owned(), mention);
            }
            if let Some(stage) = self.stages.get_mut(self.stage).filter(|_| sets) {
                stage.triggers.push((name.to_owned(), kind, mention));
            }
        } else if sets {
            self.bind(name, kind, mention);
        }
        mention
    }

    fn bind(&mut self, name: &str, kind: Kind, mention: usize) {
        let variables = if kind == Kind::Env { &mut self.env } else { &mut self.args };
        let bound = Bound { mention, stage: self.stage };
        let before = variables.insert(name.to_owned(), bound);
        self.undo.push((kind, name.to_owned(), before));
    }

    fn back(&mut self, mark: usize) {
        while self.undo.len() > mark
            && let Some((kind, name, before)) = self.undo.pop()
        {
            let variables = if kind == Kind::Env { &mut self.env } else { &mut self.args };
            match before {
                Some(before) => variables.insert(name, before),
                None => variables.remove(&name),
            };
        }
    }

    /// The `ARG`s of a name.
    fn argument(&mut self, name: &str) -> usize {
        if let Some(&group) = self.arguments.get(name) {
            return group;
        }
        let group = self.group(SubjectKind::Variable, name.to_owned());
        self.arguments.insert(name.to_owned(), group);
        group
    }

    /// A variable that nothing sets which is in scope.
    fn loose(&mut self, name: &str) -> usize {
        if is_predefined(name) {
            return self.argument(name);
        }
        let key = (self.root, name.to_owned());
        if let Some(&group) = self.loose.get(&key) {
            return group;
        }
        let group = self.group(SubjectKind::Variable, name.to_owned());
        self.loose.insert(key, group);
        group
    }

    // What is found.

    fn group(&mut self, kind: SubjectKind, name: String) -> usize {
        let parent = self.groups.len();
        self.groups.push(Group { kind, name, parent });
        parent
    }

    /// The one that stands for all that are the same.
    fn leader(&mut self, mut group: usize) -> usize {
        while let Some(parent) = self.groups.get(group).map(|it| it.parent).filter(|&parent| parent != group)
        {
            let above = self.groups.get(parent).map_or(parent, |it| it.parent);
            if let Some(it) = self.groups.get_mut(group) {
                it.parent = above;
            }
            group = parent;
        }
        group
    }

    fn same(&mut self, one: usize, other: usize) {
        let (one, other) = (self.leader(one), self.leader(other));
        if let Some(group) = self.groups.get_mut(other) {
            group.parent = one;
        }
    }

    fn mention(
        &mut self,
        instruction: usize,
        pieces: Vec<Span>,
        whole: Option<Span>,
        subject: usize,
        role: Role,
        target: Option<usize>,
    ) -> usize {
        let first = pieces.first().copied().unwrap_or_default();
        let whole = whole.unwrap_or_else(|| pieces.last().map_or(first, |last| first.join(*last)));
        self.mentions.push(Mention { subject, role, pieces, whole, target, instruction });
        self.mentions.len() - 1
    }

    fn stage_mention(&mut self, at: usize, pieces: Vec<Span>, stage: usize, role: Role) {
        if let Some((group, definition)) = self.stages.get(stage).map(|stage| (stage.group, stage.definition))
        {
            self.mention(at, pieces, None, group, role, definition);
        }
    }

    fn shell_mention(&mut self, at: usize, read: &ShellRead, target: usize, role: Role) {
        if let Some(group) = self.mentions.get(target).map(|target| target.subject) {
            self.mention(at, read.pieces.clone(), Some(read.whole), group, role, Some(target));
        }
    }

    /// Puts everything in order of the text.
    fn finish(mut self) -> Names {
        let mut order: Vec<usize> = (0..self.mentions.len()).collect();
        let spans: Vec<Span> = self.mentions.iter().map(Mention::span).collect();
        order.sort_by_key(|&index| spans.get(index).copied());
        // What a script gives to another one is read twice.
        let mut end = 0;
        order.retain(|&index| {
            let span = spans.get(index).copied().unwrap_or_default();
            let keep = !span.is_empty() && span.start >= end;
            end = if keep { span.end } else { end };
            keep
        });
        let mut new = vec![None; self.mentions.len()];
        for (at, &index) in order.iter().enumerate() {
            if let Some(slot) = new.get_mut(index) {
                *slot = Some(at);
            }
        }
        let mut names = Names::default();
        let mut subjects: HashMap<usize, usize> = HashMap::new();
        for &index in &order {
            let Some(mut mention) = self.mentions.get(index).cloned() else { continue };
            let leader = self.leader(mention.subject);
            let subject = *subjects.entry(leader).or_insert_with(|| {
                if let Some(group) = self.groups.get(leader) {
                    let name = group.name.clone();
                    names.subjects.push(Subject { kind: group.kind, name, mentions: Vec::new() });
                }
                names.subjects.len() - 1
            });
            if let Some(subject) = names.subjects.get_mut(subject) {
                subject.mentions.push(names.mentions.len());
            }
            mention.subject = subject;
            mention.target = mention.target.and_then(|target| new.get(target).copied().flatten());
            names.mentions.push(mention);
        }
        for mut guess in std::mem::take(&mut self.guesses) {
            guess.subjects = guess.subjects.iter().filter_map(|group| subjects.get(group).copied()).collect();
            names.guesses.push(guess);
        }
        names
    }
}

/// Where a name stands that is given; `None` if it is none as it is written.
fn name_pieces(instruction: &Instruction, word: &Word) -> Option<Vec<Span>> {
    let plain = !word.text.is_empty() && !word.text.contains(['$', '\'', '"', '\\', '`', ' ']);
    plain.then(|| instruction.spans_of(instruction.code_of(word.span)))
}

/// Whether a name is these texts with something between each two.
fn fits(name: &str, literals: &[&str]) -> bool {
    let [first, middle @ .., last] = literals else { return false };
    let Some(mut rest) = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    middle.iter().all(|literal| match rest.find(literal) {
        Some(at) => {
            rest = rest.get(at + literal.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}

/// The fields of a line of CSV, without the quotes around them.
fn fields(text: &str) -> Vec<Range<usize>> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut quoted = false;
    for (at, c) in text.char_indices().chain([(text.len(), ',')]) {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted || at == text.len() => {
                let field = text.get(start..at).unwrap_or_default();
                let inner = field.strip_prefix('"').and_then(|field| field.strip_suffix('"'));
                fields.push(if inner.is_some() { start + 1..at - 1 } else { start..at });
                start = at + 1;
            }
            _ => {}
        }
    }
    fields
}
