//! Evaluation: from instructions to stages for one platform.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rbx_platform::Platform;

use crate::contexts::{contexts, familiar};
use crate::diagnostic::{Diagnostic, Moment, Phase, Severity};
use crate::dockerfile::Dockerfile;
use crate::expand::{ExpandError, expand};
use crate::instruction::{Body, FromBody, Instruction, Keyword, Word};
use crate::note::{Expanded, FromNotes, Names, Proposals, Undefined};
use crate::op::From;
use crate::parse::parse;
use crate::run::MountOptions;
use crate::span::Span;
use crate::stage::{Base, BaseFacts, Evaluation, Scope, StageOutline};
use crate::step::Runner;
use crate::trigger::on_build_of;

/// Bytes of triggers in all stages together, at most. Triggers multiply: without a bound ten thousand of them in ten
/// thousand stages would be a hundred million steps.
const MAX_TRIGGERS: usize = 4 << 20;
/// The argument that has the name of the stage that is built.
pub(crate) const TARGET_STAGE: &str = "TARGETSTAGE";
/// The arguments that are proxies; each is also known in lower case.
pub(crate) const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
/// What a trigger costs beside its text.
const TRIGGER_COST: usize = 100;

/// Evaluates a Dockerfile for a platform: what every `FROM` means, which stages the target needs, and every step with
/// its variables expanded. What is unknown (a base's environment) is taken as empty. Errors of the text itself are in
/// [`Dockerfile::diagnostics`] and not repeated; instructions that have them are left out.
pub fn evaluate(file: &Dockerfile, scope: &Scope<'_>) -> Evaluation {
    let mut resolver = Resolver::new(file, scope);
    let target = resolver.stages();
    let (triggers, broken) = resolver.triggers();
    resolver.commands(&triggers);
    resolver.cycles();
    resolver.reach(target);
    for (index, mut diagnostic) in broken {
        if !resolver.drafts[index].reachable {
            diagnostic.severity = Severity::Warning;
        }
        resolver.push(diagnostic);
    }
    let mut evaluation =
        Runner::new(scope, resolver.globals, file.escape).run(&resolver.drafts, resolver.external);
    evaluation.target = target;
    evaluation.diagnostics.splice(0..0, resolver.diagnostics);
    evaluation
}

/// How the stages of a Dockerfile depend on one another on a platform: what [`evaluate`] says of it, without any step,
/// in a fraction of the time.
pub fn outline(file: &Dockerfile, scope: &Scope<'_>) -> Vec<StageOutline> {
    let mut resolver = Resolver::new(file, scope);
    let target = resolver.stages();
    let (triggers, _) = resolver.triggers();
    resolver.commands(&triggers);
    resolver.reach(target);
    let outline =
        |draft: Draft<'_>| StageOutline { base: draft.base, needs: draft.needs, reachable: draft.reachable };
    resolver.drafts.into_iter().map(outline).collect()
}

/// The arguments that BuildKit sets by itself from the platform of the image and that of the build.
pub fn platform_arguments(target: &Platform, build: &Platform) -> [(&'static str, String); 10] {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", optional(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", optional(&build.variant)),
        ("TARGETPLATFORM", target.format_all()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", optional(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", optional(&target.variant)),
    ]
}

/// The proxies among the build arguments, in upper and lower case. BuildKit sets them for every `RUN` without making
/// them part of its cache key or the image.
pub fn proxy_variables(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for name in PROXIES {
        let given =
            build_args.iter().rfind(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty());
        if let Some((_, value)) = given {
            variables.push((name.to_owned(), value.clone()));
            variables.push((name.to_lowercase(), value.clone()));
        }
    }
    variables
}

/// A stage whose base is known, before its steps are.
pub(crate) struct Draft<'a> {
    pub(crate) name: Option<String>,
    pub(crate) from: &'a Instruction,
    pub(crate) notes: FromNotes,
    pub(crate) base: Base,
    /// A named context stands in the place of the whole stage.
    pub(crate) replaced: bool,
    pub(crate) platform: Platform,
    pub(crate) facts: Option<&'a BaseFacts>,
    /// The instructions after the `FROM`.
    instructions: &'a [Instruction],
    pub(crate) commands: Vec<Step<'a>>,
    pub(crate) needs: BTreeSet<usize>,
    pub(crate) reachable: bool,
}

impl Draft<'_> {
    /// The stage in messages.
    pub(crate) fn label(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{index}"))
    }
}

/// An instruction to be carried out.
pub(crate) struct Step<'a> {
    pub(crate) instruction: &'a Instruction,
    /// The text its heredocs are in.
    pub(crate) text: &'a str,
    /// It is a trigger: its place is this `FROM`.
    pub(crate) trigger_of: Option<Span>,
    /// Where `COPY --from` and each mount of `RUN` take files from.
    pub(crate) sources: Vec<From>,
}

impl Step<'_> {
    /// Where to report a finding at `span`.
    pub(crate) fn place(&self, span: Span) -> Span {
        self.trigger_of.unwrap_or(span)
    }
}

struct Resolver<'a> {
    file: &'a Dockerfile,
    scope: &'a Scope<'a>,
    /// From a name in short form to the name as given.
    contexts: HashMap<String, &'a str>,
    globals: HashMap<String, String>,
    /// What they would be if no build argument were given. `None` where these cannot be expanded.
    defaults: Option<HashMap<String, String>>,
    /// Names of `ARG`s before the first `FROM` that have no value.
    valueless: BTreeSet<&'a str>,
    proposals: Proposals,
    moment: Moment,
    drafts: Vec<Draft<'a>>,
    /// The last stage of each name.
    names: HashMap<String, usize>,
    /// How many sources of `COPY --from` and mounts are no stages: BuildKit counts them among its states.
    external: usize,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Resolver<'a> {
    fn new(file: &'a Dockerfile, scope: &'a Scope<'a>) -> Self {
        Resolver {
            file,
            scope,
            contexts: contexts(scope.named_contexts),
            globals: HashMap::new(),
            defaults: None,
            valueless: BTreeSet::new(),
            proposals: Proposals::default(),
            moment: Moment::Globals,
            drafts: Vec::new(),
            names: HashMap::new(),
            external: 0,
            diagnostics: Vec::new(),
        }
    }

    /// Finds what the stages are; answers the target.
    fn stages(&mut self) -> Option<usize> {
        self.globals();
        self.bases();
        self.moment = Moment::Needs;
        self.target()
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(Phase::Evaluation, span, message));
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic.at(self.moment));
    }

    /// The automatic arguments, then the `ARG`s before the first `FROM`.
    fn globals(&mut self) {
        let (target, build) = (self.scope.target_platform, self.scope.build_platform);
        let last = self.file.stages().last().and_then(|stage| stage_name(&stage[0]));
        let stage = self.scope.target.map(str::to_owned).or(last).unwrap_or_else(|| "default".to_owned());
        for (name, value) in platform_arguments(target, build).into_iter().chain([(TARGET_STAGE, stage)]) {
            let value = self.scope.build_args.get(name).cloned().unwrap_or(value);
            self.globals.insert(name.to_owned(), value);
        }
        let mut defaults = self.globals.clone();
        let mut wrong = false;
        let before_stages =
            self.file.instructions.iter().take_while(|instruction| instruction.keyword != Keyword::From);
        for instruction in before_stages {
            let Body::Arg(list) = &instruction.body else { continue };
            for arg in list {
                let name = arg.name.text.as_str();
                if let Some(default) = &arg.value {
                    match self.expand_global(default, &defaults).0 {
                        Ok(value) => drop(defaults.insert(name.to_owned(), value)),
                        Err(_) => wrong = true,
                    }
                }
                let given = self.scope.build_args.get(name).cloned();
                let value = match (given, &arg.value) {
                    (Some(given), _) => given,
                    (None, Some(default)) => match self.expand_global(default, &self.globals).0 {
                        Ok(value) => value,
                        Err(error) => {
                            self.error(default.span, error.to_string());
                            continue;
                        }
                    },
                    (None, None) => {
                        self.valueless.insert(name);
                        continue;
                    }
                };
                self.globals.insert(name.to_owned(), value);
            }
        }
        self.defaults = Some(defaults).filter(|_| !wrong);
    }

    /// Expands a word; answers the variables that were found, and those that were not, too.
    fn expand_global(
        &self,
        word: &Word,
        values: &HashMap<String, String>,
    ) -> (Result<String, ExpandError>, Expanded) {
        let (found, missing) = (Names::default(), Names::default());
        let result = expand(&word.text, self.file.escape, &|name| {
            let value = values.get(name).cloned();
            if value.is_some() { &found } else { &missing }.add(name);
            value
        });
        let text = result.clone().unwrap_or_default();
        (result, Expanded { text, found: found.list(), missing: missing.list() })
    }

    /// Expands a word of a `FROM`, and notes what no `ARG` declares.
    fn expand_from(&mut self, word: &Word, notes: &mut FromNotes) -> (Result<String, ExpandError>, Expanded) {
        let (result, expanded) = self.expand_global(word, &self.globals);
        for name in &expanded.missing {
            if self.valueless.contains(name.as_str()) {
                continue;
            }
            let nearest = self.proposals.nearest(name, || {
                let mut known: Vec<&str> = self.globals.keys().map(String::as_str).collect();
                known.extend(&self.valueless);
                known.sort_unstable();
                let count = known.len();
                (known, count)
            });
            notes.undeclared.push(Undefined { name: name.clone(), nearest, span: word.span });
        }
        (result, expanded)
    }

    /// What each `FROM` means.
    fn bases(&mut self) {
        let file = self.file;
        for stage in file.stages() {
            let index = self.drafts.len();
            let from = &stage[0];
            self.moment = Moment::From(index);
            let mut draft = Draft {
                name: stage_name(from),
                from,
                notes: FromNotes::default(),
                base: Base::Unresolved,
                replaced: false,
                platform: self.scope.target_platform.clone(),
                facts: None,
                instructions: &stage[1..],
                commands: Vec::new(),
                needs: BTreeSet::new(),
                reachable: false,
            };
            if let Body::From(body) = &from.body {
                self.base(body, &mut draft);
            }
            if let Some(name) = &draft.name {
                self.names.insert(name.clone(), index);
            }
            self.drafts.push(draft);
        }
    }

    fn base(&mut self, body: &FromBody, draft: &mut Draft<'a>) {
        if let Some(defaults) = self.defaults.take() {
            let (default_base, _) = self.expand_global(&body.image, &defaults);
            draft.notes.default_base = default_base.ok();
            self.defaults = draft.notes.default_base.is_some().then_some(defaults);
        }
        let name = match self.expand_from(&body.image, &mut draft.notes).0 {
            Ok(name) => name,
            Err(error) => return self.error(body.image.span, error.to_string()),
        };
        if name.is_empty() {
            let message = format!("base name ({}) should not be blank", body.image.text);
            return self.error(body.image.span, message);
        }
        if let Some(flag) = draft.from.flag_value("platform").filter(|flag| !flag.text.is_empty()) {
            match self.platform(flag, &mut draft.notes) {
                Ok(platform) => draft.platform = platform,
                Err(diagnostic) => return self.push(diagnostic),
            }
        }
        if let Some(context) = draft.name.as_deref().and_then(|name| self.context(name, &draft.platform)) {
            draft.base = Base::Context(context);
            draft.replaced = true;
        } else if let Some(&index) = self.names.get(&name) {
            draft.base = Base::Stage(index);
            // A stage on a stage has that one's platform, whatever its own flag says.
            draft.platform = self.drafts[index].platform.clone();
            draft.needs.insert(index);
        } else if name == "scratch" {
            draft.base = Base::Scratch;
            draft.platform = self.scope.target_platform.clone();
        } else {
            draft.base = match self.context(&name, &draft.platform) {
                Some(context) => Base::Context(context),
                None => Base::Image(name),
            };
        }
        if let Base::Context(name) | Base::Image(name) = &draft.base {
            draft.facts = self.scope.bases.get(&(name.clone(), draft.platform.clone()));
        }
    }

    fn platform(&mut self, flag: &Word, notes: &mut FromNotes) -> Result<Platform, Diagnostic> {
        let error = |message: String| Diagnostic::error(Phase::Evaluation, flag.span, message);
        let (text, expanded) = self.expand_from(flag, notes);
        notes.platform = Some(expanded);
        let text = text.map_err(|reason| {
            // BuildKit names what the text came to, which is nothing.
            error(format!("failed to process arguments for platform : {reason}"))
        })?;
        let unset = || {
            flag.text
                .split(['$', '{', '}', '/', ':'])
                .find(|name| !name.is_empty() && flag.text.contains('$') && !self.globals.contains_key(*name))
        };
        let suggest = |diagnostic: Diagnostic| match unset() {
            Some(name) => {
                let mut known: Vec<&str> = self.globals.keys().map(String::as_str).collect();
                known.sort_unstable();
                diagnostic.suggest(name, known, false)
            }
            None => diagnostic,
        };
        if text.is_empty() {
            return Err(suggest(error(format!("empty platform value from expression {}", flag.text))));
        }
        Platform::parse(&text)
            .map_err(|reason| suggest(error(format!("failed to parse platform {}: {reason}", flag.text))))
    }

    /// The named context of that name, for the platform before that for all.
    fn context(&self, name: &str, platform: &Platform) -> Option<String> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        let name = familiar(name);
        let specific = format!("{name}::{}", platform.format_all());
        let found = self.contexts.get(&specific).or_else(|| self.contexts.get(name));
        found.map(|&name| name.to_owned())
    }

    /// The parsed triggers of each stage's base, and what is wrong with them, by stage.
    fn triggers(&self) -> (Vec<Vec<Dockerfile>>, Vec<(usize, Diagnostic)>) {
        let mut all = Vec::new();
        let mut diagnostics = Vec::new();
        let mut error = |index, span, message: String| {
            diagnostics.push((index, Diagnostic::error(Phase::Evaluation, span, message)));
        };
        let mut left = MAX_TRIGGERS;
        for index in 0..self.drafts.len() {
            let draft = &self.drafts[index];
            let span = draft.from.span;
            let mut expressions = match &draft.base {
                _ if left == 0 => Vec::new(),
                Base::Stage(base) => on_build_of(self.drafts[*base].instructions, &self.file.text),
                Base::Image(_) | Base::Context(_) if !draft.replaced => {
                    draft.facts.map(|facts| facts.on_build.clone()).unwrap_or_default()
                }
                _ => Vec::new(),
            };
            let cost: usize = expressions.iter().map(|expression| expression.len() + TRIGGER_COST).sum();
            let mut parsed = Vec::new();
            if cost > left {
                error(index, span, format!("triggers are larger than {MAX_TRIGGERS} bytes"));
                expressions.clear();
                left = 0;
            }
            left -= cost.min(left);
            for expression in expressions {
                let trigger = parse(&expression);
                let wrong = trigger.diagnostics.iter().find(|found| {
                    found.severity == Severity::Error
                        && matches!(found.phase, Phase::Syntax | Phase::Instruction)
                });
                let message = match (wrong, trigger.instructions.as_slice()) {
                    (Some(wrong), _) => Some(wrong.to_string()),
                    (None, [one]) if one.keyword == Keyword::From => {
                        Some("*instructions.Stage is not a command type".to_owned())
                    }
                    (None, [_]) => None,
                    (None, _) => Some("onbuild trigger should be a single expression".to_owned()),
                };
                match message {
                    Some(message) => error(index, span, message),
                    None => parsed.push(trigger),
                }
            }
            all.push(parsed);
        }
        (all, diagnostics)
    }

    /// The instructions of each stage with what they take files from.
    fn commands<'b>(&mut self, triggers: &'b [Vec<Dockerfile>])
    where
        'b: 'a,
    {
        let text = self.file.text.as_str();
        for (index, triggers) in triggers.iter().enumerate() {
            if self.drafts[index].replaced {
                continue;
            }
            let span = self.drafts[index].from.span;
            let own = self.drafts[index].instructions.iter().map(|instruction| (instruction, text, None));
            let inherited = triggers.iter().flat_map(|trigger| {
                trigger.instructions.iter().map(|it| (it, trigger.text.as_str(), Some(span)))
            });
            let all: Vec<_> = inherited.chain(own).collect();
            for (instruction, text, trigger_of) in all {
                let mut step = Step { instruction, text, trigger_of, sources: Vec::new() };
                step.sources = self.sources(&step, index);
                for source in &step.sources {
                    match source {
                        From::Stage(needed) => {
                            self.drafts[index].needs.insert(*needed);
                        }
                        From::Context => {}
                        From::Image(_) | From::Named(_) | From::Scratch => self.external += 1,
                    }
                }
                self.drafts[index].commands.push(step);
            }
        }
    }

    fn sources(&mut self, step: &Step<'_>, index: usize) -> Vec<From> {
        match step.instruction.body {
            Body::Copy(_) => {
                let Some(flag) = step.instruction.flag_value("from").filter(|flag| !flag.text.is_empty())
                else {
                    return vec![From::Context];
                };
                match self.copy_from(&flag.text, &self.drafts[index].platform) {
                    Ok(from) => vec![from],
                    Err(message) => {
                        self.error(step.place(flag.span), message);
                        vec![From::Context]
                    }
                }
            }
            Body::Run(_) => {
                let platform = self.drafts[index].platform.clone();
                let mounts = step.instruction.flags.iter().filter(|flag| flag.name.text == "mount");
                mounts
                    .map(|flag| match flag.value.as_ref().map(|value| MountOptions::source(&value.text)) {
                        Some(Some(name)) => self.source(&name, &platform),
                        // BuildKit registers `scratch` for a mount without a source.
                        _ => From::Scratch,
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn copy_from(&self, name: &str, platform: &Platform) -> Result<From, String> {
        let expanded = expand(name, self.file.escape, &|_| None).map_err(|error| error.to_string())?;
        if expanded != name {
            return Err(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG \
                        from global scope as a workaround"
                    .to_owned(),
            );
        }
        match name.parse::<i64>() {
            Ok(number) => usize::try_from(number)
                .ok()
                .filter(|&index| index < self.drafts.len())
                .map(From::Stage)
                .ok_or_else(|| format!("invalid stage index {number}")),
            Err(_) => Ok(self.source(name, platform)),
        }
    }

    /// What a name means that is no base: the last stage of that name, a context or an image.
    fn source(&self, name: &str, platform: &Platform) -> From {
        if let Some(&index) = self.names.get(&name.to_lowercase()) {
            From::Stage(index)
        } else if name == "scratch" {
            From::Scratch
        } else {
            match self.context(name, platform) {
                Some(context) => From::Named(context),
                None => From::Image(name.to_owned()),
            }
        }
    }

    fn target(&mut self) -> Option<usize> {
        let Some(name) = self.scope.target.filter(|name| !name.is_empty()) else {
            return self.drafts.len().checked_sub(1);
        };
        if let Some(&index) = self.names.get(&name.to_lowercase()) {
            return Some(index);
        }
        if !self.drafts.is_empty() {
            let labels: Vec<String> =
                self.drafts.iter().enumerate().map(|(i, draft)| draft.label(i)).collect();
            let message = format!("target stage {} could not be found", crate::go::quoted(name));
            let error = Diagnostic::error(Phase::Evaluation, Span::of(0, 0), message);
            self.push(error.suggest(name, labels.iter().map(String::as_str), false));
        }
        None
    }

    /// Finds stages that copy from one another in a circle.
    fn cycles(&mut self) {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        // Bases always come before: only files can go in circles.
        let edges: Vec<Vec<(usize, Span)>> = self
            .drafts
            .iter()
            .map(|draft| {
                let mut edges = Vec::new();
                for step in &draft.commands {
                    for source in &step.sources {
                        if let From::Stage(index) = source {
                            edges.push((*index, step.place(step.instruction.span)));
                        }
                    }
                }
                edges
            })
            .collect();
        let mut marks = vec![Mark::New; edges.len()];
        for root in 0..edges.len() {
            if marks[root] != Mark::New {
                continue;
            }
            let mut path = vec![(root, 0)];
            marks[root] = Mark::Open;
            while let Some((stage, next)) = path.last_mut() {
                let Some(&(needed, span)) = edges[*stage].get(*next) else {
                    marks[*stage] = Mark::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                match marks[needed] {
                    Mark::Done => {}
                    Mark::New => {
                        marks[needed] = Mark::Open;
                        path.push((needed, 0));
                    }
                    Mark::Open => {
                        let label = self.drafts[root].label(root);
                        return self.error(span, format!("circular dependency detected on stage: {label}"));
                    }
                }
            }
        }
    }

    /// Marks the stages the target needs.
    fn reach(&mut self, target: Option<usize>) {
        let mut queue: Vec<usize> = target.into_iter().collect();
        while let Some(index) = queue.pop() {
            if !std::mem::replace(&mut self.drafts[index].reachable, true) {
                queue.extend(&self.drafts[index].needs);
            }
        }
    }
}

/// The stage's name in lower case.
fn stage_name(from: &Instruction) -> Option<String> {
    match &from.body {
        Body::From(body) => body.name.as_ref().map(|name| name.text.to_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
