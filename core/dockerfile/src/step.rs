//! Evaluation of the instructions of a stage.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rbx_platform::Platform;

use crate::body;
use crate::diagnostic::{Diagnostic, Moment, Phase, Severity};
use crate::evaluate::{Draft, Step as Planned};
use crate::expand::{ExpandError, ExpandOptions, expand_with};
use crate::expose;
use crate::instruction::{ArgBody, Body, CommandLine, HealthBody, Instruction, Pair, Word};
use crate::note::{Names, Note, NoteKind, Proposals, Undefined};
use crate::op::{Command, Healthcheck, Op};
use crate::path::join;
use crate::run::OptionError;
use crate::signal;
use crate::span::Span;
use crate::stage::{Base, Evaluation, Scope, Stage, Step};
use crate::trigger::trigger_text;
use crate::variables::{Head, LogWriter, Order};

mod copy;
mod run;
mod show;

/// Bytes that variables may add to all steps together, at most. A value of some megabytes is made in 22 lines, and
/// then every line that uses it costs as much.
const MAX_EXPANDED: usize = 64 << 20;
/// Ports an `EXPOSE` may name: every port of every protocol.
const MAX_PORTS: usize = 3 * 65536;
/// Bytes of a working directory, at most: no system takes a longer path, and relative ones add up.
const MAX_PATH: usize = 4096;
const UNIX_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Arguments that only tell what is scanned: they are in no environment.
const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Carries out the steps of all stages.
pub(crate) struct Runner<'a> {
    scope: &'a Scope<'a>,
    globals: HashMap<String, String>,
    escape: char,
    log: LogWriter,
    stages: Vec<Finished>,
    expanded: usize,
    /// What the commands of the stage being worked on came to.
    notes: Vec<Note>,
    proposals: Proposals,
    diagnostics: Vec<Diagnostic>,
}

/// The variables a stage has set with their last values, and what it has found or not found in its bases. Without
/// that, stages built on one another in a long row would each look through all before.
type Values = RefCell<HashMap<String, Option<Value>>>;

/// The value of a variable.
#[derive(Clone)]
struct Value {
    text: String,
    /// It is in the image's environment, not an argument's.
    image: bool,
}

/// What a stage leaves to those built on it.
#[derive(Clone)]
struct State {
    env: Head,
    args: Head,
    run_env: Head,
    /// Values of the image's environment that arguments of this stage hide from its steps.
    hidden: BTreeMap<String, String>,
    working_dir: Arc<str>,
    user: Option<Arc<str>>,
    shell: Option<Arc<[String]>>,
    known: bool,
}

struct Finished {
    values: Values,
    declared: RefCell<HashMap<String, bool>>,
    base: Option<usize>,
    state: State,
}

/// The stage being worked on.
struct Current<'a, 'd> {
    draft: &'a Draft<'d>,
    index: usize,
    /// The number of the command being carried out.
    command: usize,
    values: Values,
    /// Whether an `ARG` of the stage or its bases declares a name; kept as values are.
    declared: RefCell<HashMap<String, bool>>,
    base: Option<usize>,
    state: State,
    on_build: Vec<String>,
    vertex_count: usize,
    next_vertex: usize,
}

/// Why a step cannot be carried out.
struct Failure {
    span: Span,
    message: String,
    replacement: Option<String>,
}

impl Failure {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), replacement: None }
    }

    fn option(span: Span, error: OptionError) -> Self {
        Self { span, message: error.message, replacement: error.replacement }
    }
}

impl<'a> Runner<'a> {
    pub(crate) fn new(scope: &'a Scope<'a>, globals: HashMap<String, String>, escape: char) -> Self {
        Self {
            scope,
            globals,
            escape,
            log: LogWriter::default(),
            stages: Vec::new(),
            expanded: 0,
            notes: Vec::new(),
            proposals: Proposals::default(),
            diagnostics: Vec::new(),
        }
    }

    /// Carries out all stages. `external` sources are states of their own to BuildKit, which names a lone state
    /// nothing.
    pub(crate) fn run(mut self, drafts: &[Draft<'_>], external: usize) -> Evaluation {
        let lone = drafts.len() + external == 1;
        let labels: Vec<String> = drafts.iter().enumerate().map(|(i, draft)| draft.label(i)).collect();
        let mut stages = Vec::new();
        for (index, draft) in drafts.iter().enumerate() {
            let mut stage = self.stage(index, draft, &labels);
            stage.display_name = if lone { String::new() } else { labels[index].clone() };
            stages.push(stage);
        }
        self.log.finish();
        let globals = self.globals.into_iter().collect();
        Evaluation { stages, globals, target: None, diagnostics: self.diagnostics }
    }

    fn stage(&mut self, index: usize, draft: &Draft<'_>, labels: &[String]) -> Stage {
        let base = match draft.base {
            Base::Stage(base) => Some(base),
            _ => None,
        };
        let mut current = Current {
            draft,
            index,
            command: 0,
            values: Values::default(),
            declared: RefCell::default(),
            base,
            state: State {
                env: Head::default(),
                args: Head::default(),
                run_env: Head::default(),
                hidden: BTreeMap::new(),
                working_dir: "".into(),
                user: None,
                shell: None,
                known: true,
            },
            on_build: Vec::new(),
            vertex_count: 0,
            next_vertex: 1,
        };
        self.begin(&mut current);
        count_vertices(&mut current);

        let mut steps = Vec::new();
        for (command, planned) in draft.commands.iter().enumerate() {
            current.command = command;
            let noted = self.notes.len();
            match self.step(planned, &mut current, labels) {
                Ok(Some(step)) => steps.push(step),
                Ok(None) => {}
                Err(failure) => {
                    let mut diagnostic =
                        Diagnostic::error(Phase::Evaluation, planned.place(failure.span), failure.message)
                            .propose(failure.replacement)
                            .at(Moment::Command { stage: index, command });
                    if !draft.reachable {
                        diagnostic.severity = Severity::Warning;
                    }
                    self.diagnostics.push(diagnostic);
                }
            }
            for note in &mut self.notes[noted..] {
                if let NoteKind::Undefined(undefined) = &mut note.kind {
                    undefined.span = planned.place(undefined.span);
                }
            }
        }
        let Current { values, declared, state, on_build, vertex_count, .. } = current;
        let stage = Stage {
            index,
            name: draft.name.clone(),
            display_name: String::new(),
            span: draft.from.span,
            from: draft.notes.clone(),
            platform: draft.platform.clone(),
            base: draft.base.clone(),
            base_known: state.known,
            reachable: draft.reachable,
            needs: draft.needs.clone(),
            steps,
            triggers: draft.commands.iter().filter(|planned| planned.trigger_of.is_some()).count(),
            notes: std::mem::take(&mut self.notes),
            vertex_count,
            env: self.log.variables(state.env, Order::First),
            working_dir: state.working_dir.clone(),
            user: state.user.clone(),
            shell: state.shell.clone(),
            on_build,
        };
        self.stages.push(Finished { values, declared, base, state });
        stage
    }

    /// Sets what the base leaves.
    fn begin(&mut self, current: &mut Current<'_, '_>) {
        let draft = current.draft;
        match &draft.base {
            Base::Stage(base) => {
                current.state = self.stages[*base].state.clone();
                // A stage begins with the environment of the image it stands on.
                for (name, value) in std::mem::take(&mut current.state.hidden) {
                    self.log.assign(&mut current.state.run_env, &name, Some(&value));
                    current.values.get_mut().insert(name, Some(Value { text: value, image: true }));
                }
            }
            Base::Scratch => current.state.working_dir = "/".into(),
            Base::Image(_) | Base::Context(_) | Base::Unresolved => {
                current.state.known = draft.facts.is_some();
                if let Some(facts) = draft.facts {
                    for (name, value) in &facts.env {
                        self.set(current, name, value, true);
                    }
                    if let Some(directory) = facts.working_dir.as_deref().filter(|it| !it.is_empty()) {
                        current.state.working_dir = join("", directory, &draft.platform).into();
                    }
                    current.state.user =
                        facts.user.as_deref().filter(|user| !user.is_empty()).map(Into::into);
                    current.state.shell =
                        facts.shell.as_deref().filter(|shell| !shell.is_empty()).map(Into::into);
                }
            }
        }
        if draft.platform.os != "windows" && self.get(current, "PATH").is_none() {
            self.set(current, "PATH", UNIX_PATH, true);
        }
    }

    /// Sets a variable; `image` says that it stays in the image.
    fn set(&mut self, current: &mut Current<'_, '_>, name: &str, value: &str, image: bool) {
        if image {
            self.log.assign(&mut current.state.env, name, Some(value));
            current.state.hidden.remove(name);
        } else if let Some(before) = self.find(current, name).filter(|before| before.image) {
            current.state.hidden.insert(name.to_owned(), before.text);
        }
        self.log.assign(&mut current.state.run_env, name, Some(value));
        let value = Value { text: value.to_owned(), image };
        current.values.get_mut().insert(name.to_owned(), Some(value));
    }

    fn get(&self, current: &Current<'_, '_>, name: &str) -> Option<String> {
        self.find(current, name).map(|value| value.text)
    }

    fn find(&self, current: &Current<'_, '_>, name: &str) -> Option<Value> {
        if let Some(value) = current.values.borrow().get(name) {
            return value.clone();
        }
        let bases = std::iter::successors(current.base, |&index| self.stages[index].base);
        let value = bases
            .into_iter()
            .find_map(|index| self.stages[index].values.borrow().get(name).cloned())
            .flatten();
        current.values.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    /// Whether an `ARG` of the stage or its bases declares a name.
    fn is_declared(&self, current: &Current<'_, '_>, name: &str) -> bool {
        if let Some(known) = current.declared.borrow().get(name) {
            return *known;
        }
        let mut bases = std::iter::successors(current.base, |&index| self.stages[index].base);
        let known = bases.find_map(|index| self.stages[index].declared.borrow().get(name).copied());
        let known = known.unwrap_or(false);
        current.declared.borrow_mut().insert(name.to_owned(), known);
        known
    }

    fn note(&mut self, current: &Current<'_, '_>, kind: NoteKind) {
        self.notes.push(Note { command: current.command, kind });
    }

    /// Notes variables that were not found, unless they are declared without a value.
    fn undefined(&mut self, current: &Current<'_, '_>, span: Span, names: Vec<String>) {
        for name in names {
            if self.is_declared(current, &name) || NOT_IN_ENVIRONMENT.contains(&name.as_str()) {
                continue;
            }
            let nearest = self.proposals.nearest(&name, || self.log.names(current.state.run_env));
            self.note(current, NoteKind::Undefined(Undefined { name, nearest, span }));
        }
    }

    /// Expands a text with the variables as they are now, and notes those that are not there. After too much of it
    /// nothing expands any more.
    fn expand_with(
        &mut self,
        current: &Current<'_, '_>,
        text: &str,
        span: Span,
        options: ExpandOptions,
    ) -> Result<String, ExpandError> {
        if !text.contains(['$', '\'', '"', options.escape]) {
            return Ok(text.to_owned());
        }
        let too_much = || ExpandError {
            word: String::new(),
            reason: format!("variables add more than {MAX_EXPANDED} bytes"),
        };
        if self.expanded > MAX_EXPANDED {
            return Err(too_much());
        }
        let missing = Names::default();
        let expanded = expand_with(text, options, &|name| {
            self.get(current, name).or_else(|| {
                missing.add(name);
                None
            })
        });
        self.undefined(current, span, missing.list());
        let expanded = expanded?;
        self.expanded += expanded.len().saturating_sub(text.len());
        if self.expanded > MAX_EXPANDED { Err(too_much()) } else { Ok(expanded) }
    }

    fn expand(&mut self, current: &Current<'_, '_>, text: &str, span: Span) -> Result<String, Failure> {
        let options = ExpandOptions::new(self.escape);
        self.expand_with(current, text, span, options).map_err(|error| Failure::new(span, error.to_string()))
    }

    fn word(&mut self, current: &Current<'_, '_>, word: &Word) -> Result<String, Failure> {
        self.expand(current, &word.text, word.span)
    }

    /// A flag's value, expanded; an empty one is none.
    fn flag(
        &mut self,
        current: &Current<'_, '_>,
        instruction: &Instruction,
        name: &str,
    ) -> Result<Option<String>, Failure> {
        match instruction.flag_value(name) {
            Some(value) => Ok(Some(self.word(current, value)?).filter(|value| !value.is_empty())),
            None => Ok(None),
        }
    }

    /// Carries out one instruction. `None` where it is broken or no step.
    fn step(
        &mut self,
        planned: &Planned<'_>,
        current: &mut Current<'_, '_>,
        labels: &[String],
    ) -> Result<Option<Step>, Failure> {
        let before = current.state.clone();
        let instruction = planned.instruction;
        let Some(op) = self.op(planned, current, labels)? else { return Ok(None) };
        let text = self.text(planned, current, &op);
        let vertex = match &op {
            Op::Run(_) | Op::Copy(_) => true,
            Op::Workdir(directory) => directory != "/",
            _ => false,
        }
        .then(|| {
            current.next_vertex += 1;
            current.next_vertex - 1
        });
        let shell = match &op {
            Op::Shell(shell) => shell.as_slice().into(),
            _ => before.shell.unwrap_or_else(|| default_shell(&current.draft.platform)),
        };
        Ok(Some(Step {
            span: planned.place(instruction.span),
            op,
            command: current.command,
            on_build: planned.trigger_of.is_some(),
            text,
            vertex,
            env: self.log.variables(before.env, Order::First),
            args: self.log.variables(before.args, Order::First),
            run_env: self.log.variables(before.run_env, Order::Last),
            working_dir: if before.working_dir.is_empty() { "/".into() } else { before.working_dir },
            user: before.user,
            shell,
        }))
    }

    fn op(
        &mut self,
        planned: &Planned<'_>,
        current: &mut Current<'_, '_>,
        labels: &[String],
    ) -> Result<Option<Op>, Failure> {
        let instruction = planned.instruction;
        Ok(Some(match &instruction.body {
            Body::From(_) | Body::Invalid(_) => return Ok(None),
            Body::Arg(list) => self.arg(current, list)?,
            Body::Env(list) => {
                let pairs = self.pairs(current, list)?;
                for (name, value) in &pairs {
                    self.set(current, name, value, true);
                }
                Op::Env(pairs)
            }
            Body::Label(list) => Op::Label(self.pairs(current, list)?),
            Body::Run(command) => Op::Run(self.run_op(planned, current, command)?),
            Body::Cmd(command) => Op::Cmd(command_of(command)),
            Body::Entrypoint(command) => Op::Entrypoint(command_of(command)),
            Body::Copy(files) => Op::Copy(self.copy(planned, current, labels, files, false)?),
            Body::Add(files) => Op::Copy(self.copy(planned, current, labels, files, true)?),
            Body::Expose(words) => self.expose(current, words)?,
            Body::Volume(words) => {
                let mut volumes = Vec::new();
                for word in words {
                    let volume = self.word(current, word)?;
                    if volume.is_empty() {
                        return Err(Failure::new(word.span, "VOLUME specified can not be an empty string"));
                    }
                    volumes.push(volume);
                }
                Op::Volume(volumes)
            }
            Body::User(word) => {
                let user = self.word(current, word)?;
                current.state.user = Some(user.as_str()).filter(|user| !user.is_empty()).map(Into::into);
                Op::User(user)
            }
            Body::Workdir(word) => {
                let path = self.word(current, word)?;
                self.note(current, NoteKind::Workdir(path.clone()));
                let directory = join(&current.state.working_dir, &path, &current.draft.platform);
                if directory.len() > MAX_PATH {
                    return Err(Failure::new(
                        word.span,
                        format!("working directory longer than {MAX_PATH} bytes"),
                    ));
                }
                current.state.working_dir = directory.as_str().into();
                Op::Workdir(directory)
            }
            Body::Stopsignal(word) => {
                let name = self.word(current, word)?;
                if !signal::is_known(&name) {
                    return Err(Failure::new(word.span, format!("invalid signal: {name}")));
                }
                Op::StopSignal(name)
            }
            Body::Maintainer(word) => Op::Maintainer(word.text.clone()),
            Body::Shell(words) => {
                let shell: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
                if shell.is_empty() {
                    return Ok(None);
                }
                current.state.shell = Some(shell.as_slice().into());
                Op::Shell(shell)
            }
            Body::Healthcheck(body) => match healthcheck(instruction, body) {
                Some(check) => Op::Healthcheck(check),
                None => return Ok(None),
            },
            Body::Onbuild(_) => match trigger_text(instruction, planned.text) {
                Some(trigger) => {
                    current.on_build.push(trigger.clone());
                    Op::OnBuild(trigger)
                }
                None => return Ok(None),
            },
        }))
    }

    fn arg(&mut self, current: &mut Current<'_, '_>, list: &[ArgBody]) -> Result<Op, Failure> {
        let mut declared = Vec::new();
        for arg in list {
            let name = arg.name.text.as_str();
            let value = match (self.scope.build_args.get(name), &arg.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(current, default)?),
                (None, None) => self.globals.get(name).cloned(),
            };
            current.declared.get_mut().insert(name.to_owned(), true);
            self.log.assign(&mut current.state.args, name, value.as_deref());
            if let Some(value) = &value
                && !NOT_IN_ENVIRONMENT.contains(&name)
            {
                self.set(current, name, value, false);
            }
            declared.push((name.to_owned(), value));
        }
        Ok(Op::Arg(declared))
    }

    fn pairs(&mut self, current: &Current<'_, '_>, list: &[Pair]) -> Result<Vec<(String, String)>, Failure> {
        list.iter()
            .map(|pair| Ok((self.word(current, &pair.name)?, self.word(current, &pair.value)?)))
            .collect()
    }

    fn expose(&mut self, current: &Current<'_, '_>, words: &[Word]) -> Result<Op, Failure> {
        let mut sorted: Vec<&Word> = words.iter().collect();
        sorted.sort_by(|a, b| a.text.cmp(&b.text));
        // What cannot be expanded comes before what is no port.
        let mut specifications = Vec::new();
        for word in sorted {
            let expanded = self.word_list(current, word)?;
            specifications.extend(expanded.into_iter().map(|specification| (word.span, specification)));
        }
        let mut ports = Vec::new();
        for (span, specification) in specifications {
            self.note(current, NoteKind::Port(specification.clone()));
            ports.extend(expose::ports(&specification).map_err(|message| Failure::new(span, message))?);
            if ports.len() > MAX_PORTS {
                return Err(Failure::new(span, format!("more than {MAX_PORTS} ports")));
            }
        }
        Ok(Op::Expose(ports))
    }

    fn word_list(&self, current: &Current<'_, '_>, word: &Word) -> Result<Vec<String>, Failure> {
        crate::expand::expand_words(&word.text, self.escape, &|name| self.get(current, name))
            .map_err(|error| Failure::new(word.span, error.to_string()))
    }
}

/// How many vertices BuildKit announces for a stage.
fn count_vertices(current: &mut Current<'_, '_>) {
    let draft = current.draft;
    if draft.replaced {
        return;
    }
    let with_base = matches!(draft.base, Base::Image(_) | Base::Context(_) | Base::Unresolved);
    let own = draft.commands.iter().filter(|step| {
        // Every trigger is counted, whatever it does.
        step.trigger_of.is_some()
            || matches!(step.instruction.body, Body::Add(_) | Body::Copy(_) | Body::Run(_) | Body::Workdir(_))
    });
    current.vertex_count = usize::from(with_base) + own.count();
    if matches!(draft.base, Base::Image(_) | Base::Unresolved) {
        current.next_vertex = 2;
    }
}

fn command_of(line: &CommandLine) -> Command {
    match line {
        CommandLine::Shell(word) => Command::Shell(word.text.clone()),
        CommandLine::Exec { words, .. } => {
            Command::Exec(words.iter().map(|word| word.text.clone()).collect())
        }
    }
}

/// `None` where the parser has reported it.
fn healthcheck(instruction: &Instruction, body: &HealthBody) -> Option<Healthcheck> {
    let command = match body.kind.text.to_uppercase().as_str() {
        "NONE" => None,
        "CMD" => Some(command_of(body.command.as_ref()?)),
        _ => return None,
    };
    // Flags mean nothing to `NONE`.
    let has_flags = command.is_some();
    let flag = |name| instruction.flag_value(name).filter(|_| has_flags);
    let value = |name| flag(name).map_or("", |value| value.text.as_str());
    let interval = |name| body::interval(name, value(name)).ok();
    Some(Healthcheck {
        command,
        interval: interval("interval")?,
        timeout: interval("timeout")?,
        start_period: interval("start-period")?,
        start_interval: interval("start-interval")?,
        retries: body::retries(value("retries")).ok()?,
    })
}

fn default_shell(platform: &Platform) -> Arc<[String]> {
    let shell: &[&str] = if platform.os == "windows" { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
    shell.iter().map(|&word| word.to_owned()).collect()
}
