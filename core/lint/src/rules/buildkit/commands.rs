//! What BuildKit warns of when it carries out the commands of a stage: `UndefinedVar`, `WorkdirRelativePath`,
//! `LegacyKeyValueFormat`, `SecretsUsedInArgOrEnv`, `JSONArgsRecommended`, `MultipleInstructionsDisallowed`,
//! `CopyIgnoredFile`, `ExposeProtoCasing`, `ExposeInvalidFormat`

use rbx_dockerfile::{
    Base, Body, Command, Dockerfile, From, Instruction, NoteKind, Op, Source, Span, Stage, Step, Undefined,
    clean_path, go_quoted, parse, platform_arguments,
};

use super::{Checked, Places, RULE, Turn, Warning, respelt};
use crate::facts::Facts;
use crate::finding::Severity;
use crate::rule::Rule;
use crate::silence::Comments;
use crate::view::Found;

mod fixes;

const UNDEFINED: &str = "UndefinedVar";
const WORKDIR: &str = "WorkdirRelativePath";
const LEGACY: &str = "LegacyKeyValueFormat";
const SECRETS: &str = "SecretsUsedInArgOrEnv";
const JSON: &str = "JSONArgsRecommended";
const MULTIPLE: &str = "MultipleInstructionsDisallowed";
const IGNORED: &str = "CopyIgnoredFile";
const PROTO: &str = "ExposeProtoCasing";
const FORMAT: &str = "ExposeInvalidFormat";

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: UNDEFINED,
        summary: "Variables should be defined before their use",
        explanation: include_str!("../../../rules/buildkit/UndefinedVar.md"),
        ..RULE
    },
    Rule {
        name: WORKDIR,
        aliases: &["DL3000"],
        summary: "Relative workdir without an absolute workdir declared within the build can have unexpected results \
                  if the base image changes",
        explanation: include_str!("../../../rules/buildkit/WorkdirRelativePath.md"),
        ..RULE
    },
    Rule {
        name: LEGACY,
        summary: "Legacy key/value format with whitespace separator should not be used",
        explanation: include_str!("../../../rules/buildkit/LegacyKeyValueFormat.md"),
        ..RULE
    },
    Rule {
        name: SECRETS,
        aliases: &["DL3064"],
        summary: "Sensitive data should not be used in the ARG or ENV commands",
        explanation: include_str!("../../../rules/buildkit/SecretsUsedInArgOrEnv.md"),
        ..RULE
    },
    Rule {
        name: JSON,
        aliases: &["DL3025"],
        summary: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        explanation: include_str!("../../../rules/buildkit/JSONArgsRecommended.md"),
        ..RULE
    },
    Rule {
        name: MULTIPLE,
        aliases: &["DL3012", "DL4003", "DL4004"],
        summary: "Multiple instructions of the same type should not be used in the same stage",
        explanation: include_str!("../../../rules/buildkit/MultipleInstructionsDisallowed.md"),
        ..RULE
    },
    Rule {
        name: IGNORED,
        summary: "Attempting to Copy file that is excluded by .dockerignore",
        explanation: include_str!("../../../rules/buildkit/CopyIgnoredFile.md"),
        ..RULE
    },
    Rule {
        name: PROTO,
        summary: "Protocol in EXPOSE instruction should be lowercase",
        explanation: include_str!("../../../rules/buildkit/ExposeProtoCasing.md"),
        ..RULE
    },
    Rule {
        name: FORMAT,
        summary: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an \
                  error in a future release",
        explanation: include_str!("../../../rules/buildkit/ExposeInvalidFormat.md"),
        ..RULE
    },
];

pub(super) fn walk(checked: &Checked<'_>, all: &mut Vec<Warning>) {
    // Whether a `WORKDIR` stands in each stage or its bases.
    let mut workdirs: Vec<bool> = Vec::new();
    for (stage, instructions) in checked.stages() {
        let base = match stage.base {
            Base::Stage(base) => Some(base),
            _ => None,
        };
        let mut walk = Walk {
            checked,
            stage,
            instructions,
            all: Vec::new(),
            workdir: base.and_then(|base| workdirs.get(base).copied()).unwrap_or(false),
            shell: begins_with_shell(checked, stage),
            seen: [None; 3],
            places: Places::default(),
        };
        walk.commands();
        workdirs.push(walk.workdir);
        if checked.covers(stage) {
            all.append(&mut walk.all);
        }
    }
}

/// Whether what a stage begins with sets a shell.
fn begins_with_shell(checked: &Checked<'_>, stage: &Stage) -> bool {
    match &stage.base {
        Base::Stage(base) => checked.evaluation.stages.get(*base).is_some_and(|base| base.shell.is_some()),
        Base::Image(name) | Base::Context(name) => {
            let facts = checked.facts.bases.get(&(name.clone(), stage.platform.clone()));
            facts.and_then(|facts| facts.shell.as_ref()).is_some_and(|shell| !shell.is_empty())
        }
        Base::Scratch | Base::Unresolved => false,
    }
}

/// The walk over the commands of a stage.
struct Walk<'a> {
    checked: &'a Checked<'a>,
    stage: &'a Stage,
    instructions: &'a [Instruction],
    all: Vec<Warning>,
    workdir: bool,
    shell: bool,
    /// Where the last `CMD`, `ENTRYPOINT` and `HEALTHCHECK` stand.
    seen: [Option<(Span, Span)>; 3],
    places: Places,
}

/// A command: an instruction of the stage, or a trigger of its base.
struct Place<'a> {
    number: usize,
    /// `None` is a trigger.
    own: Option<&'a Instruction>,
    trigger: Option<Dockerfile>,
}

impl<'a> Place<'a> {
    fn instruction(&self) -> Option<&Instruction> {
        self.own.or_else(|| self.trigger.as_ref()?.instructions.first())
    }

    /// An instruction's name as it is written.
    fn keyword(&self, file: &'a Dockerfile) -> String {
        let text = self.trigger.as_ref().map_or(&file.text, |trigger| &trigger.text);
        self.instruction().map_or("", |instruction| instruction.keyword_span.slice(text)).to_owned()
    }
}

impl<'a> Walk<'a> {
    fn commands(&mut self) {
        let stage = self.stage;
        let (mut notes, mut steps) = (stage.notes.iter().peekable(), stage.steps.iter().peekable());
        loop {
            let next = [notes.peek().map(|note| note.command), steps.peek().map(|step| step.command)];
            let Some(number) = next.into_iter().flatten().min() else { return };
            let place = self.place(number);
            while let Some(note) = notes.next_if(|note| note.command == number) {
                self.note(&place, &note.kind);
            }
            while let Some(step) = steps.next_if(|step| step.command == number) {
                self.step(&place, step);
            }
        }
    }

    fn place(&self, number: usize) -> Place<'a> {
        match number.checked_sub(self.stage.triggers) {
            Some(number_of_own) => {
                Place { number, own: self.instructions.get(number_of_own + 1), trigger: None }
            }
            None => Place { number, own: None, trigger: self.trigger(number).map(|text| parse(&text)) },
        }
    }

    /// The text of a trigger.
    fn trigger(&self, number: usize) -> Option<String> {
        let list = match &self.stage.base {
            Base::Stage(base) => &self.checked.evaluation.stages.get(*base)?.on_build,
            Base::Image(name) | Base::Context(name) => {
                &self.checked.facts.bases.get(&(name.clone(), self.stage.platform.clone()))?.on_build
            }
            Base::Scratch | Base::Unresolved => return None,
        };
        list.get(number).cloned()
    }

    /// Adds a finding at a part of an instruction; at the `FROM` for a trigger.
    fn add(&mut self, rule: &'static str, place: &Place<'_>, mut found: Found) {
        let turn = Turn::Command(self.stage.index, place.number);
        match place.own {
            // BuildKit looks at these only where they are needed.
            None if !self.stage.reachable => {}
            Some(own) => self.all.push(Warning::new(rule, turn, own.span, found)),
            None => {
                found.span = self.stage.span;
                found.fixes.clear();
                self.all.push(Warning::new(rule, turn, self.stage.span, found).regardless());
            }
        }
    }

    fn note(&mut self, place: &Place<'_>, note: &NoteKind) {
        match note {
            NoteKind::Undefined(undefined) => {
                if !self.is_undefined(undefined) {
                    return;
                }
                let found = self.undefined(undefined);
                self.add(UNDEFINED, place, found);
            }
            NoteKind::Workdir(path) => {
                if !std::mem::replace(&mut self.workdir, true)
                    && !is_absolute(path, &self.stage.platform.os)
                    && !self.is_unsure(place.number)
                {
                    let message = format!(
                        "Relative workdir {} can have unexpected results if the base image changes",
                        go_quoted(path)
                    );
                    let found = Found::new(words(place), message);
                    self.add(WORKDIR, place, fixes::absolute(found, self.checked.file, place.own, path));
                }
            }
            NoteKind::Port(port) => self.port(place, port),
        }
    }

    /// Whether a variable is sure not to be there. An image of which nothing is known may set it; what it does not
    /// set are the platform arguments, and what is near to a name that the file sets is more likely that.
    fn is_undefined(&self, undefined: &Undefined) -> bool {
        let root = self.checked.evaluation.lineage(self.stage).last().unwrap_or(self.stage);
        let is_known = match &root.base {
            Base::Image(name) | Base::Context(name) => {
                self.checked.facts.bases.contains_key(&(name.clone(), root.platform.clone()))
            }
            Base::Scratch | Base::Stage(_) | Base::Unresolved => true,
        };
        let platform = &self.stage.platform;
        let is_automatic =
            || platform_arguments(platform, platform).iter().any(|(name, _)| *name == undefined.name);
        let is_mistyped = || undefined.nearest.as_ref().is_some_and(|nearest| nearest != "PATH");
        self.checked.knows_bases || is_known || is_automatic() || is_mistyped()
    }

    /// Whether a command has a variable that an image may set of which nothing is known.
    fn is_unsure(&self, command: usize) -> bool {
        let notes = &self.stage.notes;
        let first = notes.partition_point(|note| note.command < command);
        let of_command = notes[first..].iter().take_while(|note| note.command == command);
        of_command
            .into_iter()
            .any(|note| matches!(&note.kind, NoteKind::Undefined(undefined) if !self.is_undefined(undefined)))
    }

    fn undefined(&mut self, undefined: &Undefined) -> Found {
        let mut message = format!("Usage of undefined variable '${}'", undefined.name);
        if let Some(nearest) = &undefined.nearest {
            message = format!("{message} (did you mean ${nearest}?)");
        }
        let places = self.places.of(self.checked.file, undefined.span, &undefined.name);
        // From the `$` or the `{` on.
        let first = places.first().map(|name| Span { start: name.start - 1, end: name.end });
        let mut found = Found::new(first.unwrap_or(undefined.span), message);
        found.fixes.extend(respelt(places, undefined.nearest.as_deref()));
        found
    }

    fn port(&mut self, place: &Place<'_>, port: &str) {
        let file = self.checked.file;
        let word = place.own.and_then(|own| match &own.body {
            Body::Expose(list) => list.iter().find(|word| word.text == port),
            _ => None,
        });
        let span = word.map_or_else(|| words(place), |word| word.span);
        let (before, container) = port.rsplit_once(':').unwrap_or(("", port));
        let (number, proto) = container.split_once('/').unwrap_or((container, ""));
        let is_proto = |proto: &str| matches!(proto, "" | "tcp" | "udp" | "sctp");
        // These are errors, and BuildKit finds them first.
        if number.is_empty() || !is_proto(&proto.to_lowercase()) {
            return;
        }
        if proto != proto.to_lowercase() {
            let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            let text = format!("{}/{}", &port[..port.len() - proto.len() - 1], proto.to_lowercase());
            let found = Found::new(span, message);
            self.add(PROTO, place, fixes::word(found, file, word, "Write it in lower case", text));
        }
        if !before.trim_matches(':').is_empty() {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            let found = Found::new(span, message);
            let title = format!("Expose {container} alone");
            self.add(FORMAT, place, fixes::word(found, file, word, &title, container.to_owned()));
        }
    }

    fn step(&mut self, place: &Place<'_>, step: &Step) {
        match &step.op {
            Op::Env(pairs) => {
                let written = match place.instruction().map(|it| &it.body) {
                    Some(Body::Env(written)) => written.as_slice(),
                    _ => &[],
                };
                for (index, (name, _)) in pairs.iter().enumerate() {
                    let pair = written.get(index);
                    if pair.is_some_and(|pair| pair.legacy) {
                        self.legacy(place);
                    }
                    let harmless = pair.is_some_and(|pair| is_no_secret(name, &pair.value.text));
                    self.secret(place, "ENV", name, pair.map(|pair| pair.name.span), harmless);
                }
            }
            Op::Label(_) => {
                if let Some(Body::Label(written)) = place.instruction().map(|it| &it.body)
                    && written.iter().any(|pair| pair.legacy)
                {
                    self.legacy(place);
                }
            }
            Op::Arg(list) => {
                let written = match place.instruction().map(|it| &it.body) {
                    Some(Body::Arg(written)) => written.as_slice(),
                    _ => &[],
                };
                for (index, (name, _)) in list.iter().enumerate() {
                    self.secret(place, "ARG", name, written.get(index).map(|arg| arg.name.span), false);
                }
            }
            Op::Shell(_) => self.shell = true,
            Op::Cmd(command) => self.command(place, command, 0),
            Op::Entrypoint(command) => self.command(place, command, 1),
            Op::Healthcheck(_) => self.once(place, 2),
            Op::Copy(copy) if copy.add || copy.from == From::Context => {
                for source in &copy.sources {
                    if let (Source::Path(path), None) = (source, source.remote()) {
                        self.ignored(place, path, copy.add);
                    }
                }
            }
            _ => {}
        }
    }

    fn legacy(&mut self, place: &Place<'_>) {
        let keyword = place.keyword(self.checked.file);
        let message = format!(
            "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
        );
        let found = Found::new(words(place), message);
        self.add(LEGACY, place, fixes::equals(found, self.checked.file, place.own));
    }

    /// `harmless` is what BuildKit warns of as well, though the value cannot be a secret.
    fn secret(&mut self, place: &Place<'_>, keyword: &str, name: &str, span: Option<Span>, harmless: bool) {
        const SECRET: [&str; 10] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
        ];
        const ALLOWED: [&str; 3] = ["public", "file", "version"];
        let has = |words: &[&str]| {
            name.split('_').any(|part| words.iter().any(|word| word.eq_ignore_ascii_case(part)))
        };
        if has(&SECRET) && !has(&ALLOWED) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({keyword} {})",
                go_quoted(name)
            );
            let mut found = Found::new(span.unwrap_or_default(), message);
            found.severity = harmless.then_some(Severity::Info);
            self.add(SECRETS, place, found);
        }
    }

    fn command(&mut self, place: &Place<'_>, command: &Command, kind: usize) {
        self.once(place, kind);
        if matches!(command, Command::Shell(_)) && !self.shell {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                place.keyword(self.checked.file)
            );
            let found = Found::new(words(place), message);
            self.add(JSON, place, fixes::array(found, self.checked.file, place.own));
        }
    }

    /// The instruction before, which is of no use, is what is found.
    fn once(&mut self, place: &Place<'_>, kind: usize) {
        let (span, keyword) = match place.own {
            Some(own) => (own.span, own.keyword_span),
            None => (self.stage.span, self.stage.span),
        };
        if let Some((before, at)) = self.seen[kind].replace((span, keyword)) {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                place.keyword(self.checked.file)
            );
            let turn = Turn::Command(self.stage.index, place.number);
            let mut warning = Warning::new(MULTIPLE, turn, before, Found::new(at, message));
            // Those above the later one count.
            warning.found.comments = match place.own {
                Some(own) => Comments::Of(own.span.start),
                None => Comments::Unread,
            };
            if at != before {
                warning.found.fixes.extend(fixes::removed(self.checked.file, before));
            }
            self.all.push(warning);
        }
    }

    fn ignored(&mut self, place: &Place<'_>, path: &str, add: bool) {
        let Some(path) = excluded(self.checked.facts, path) else { return };
        let what = if add { "Add" } else { "Copy" };
        let message =
            format!("Attempting to {what} file {} that is excluded by .dockerignore", go_quoted(&path));
        let sources = place.own.map(|own| match &own.body {
            Body::Copy(files) | Body::Add(files) => files.sources.as_slice(),
            _ => &[],
        });
        let word = sources.unwrap_or_default().iter().find(|word| word.text == path);
        let found = Found::new(word.map_or_else(|| words(place), |word| word.span), message);
        self.add(IGNORED, place, found);
    }
}

/// A source as BuildKit names it, if it stays out of the context. Nothing is said where the patterns take something
/// back in.
fn excluded(facts: &Facts, path: &str) -> Option<String> {
    let ignore = &facts.context.as_ref()?.ignore;
    if ignore.is_empty() || ignore.has_negations() {
        return None;
    }
    let path = clean_path(path);
    if path == "." || path == "/" {
        return ignore.excludes_all().then_some(path);
    }
    ignore.excludes(&path).then_some(path)
}

/// What an instruction says, its name and flags aside; nothing for a trigger.
fn words(place: &Place<'_>) -> Span {
    let Some(own) = place.own else { return Span::default() };
    let words = own.words();
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => first.span.join(last.span),
        _ => own.keyword_span,
    }
}

fn is_absolute(path: &str, os: &str) -> bool {
    if os == "windows" {
        let drive = path.get(..2).is_some_and(|drive| drive.eq_ignore_ascii_case("c:"));
        let path = if drive { &path[2..] } else { path };
        return path.starts_with(['/', '\\']);
    }
    path.starts_with('/')
}

/// Whether a value, as it is written, cannot be a secret: there is none, or it is the fingerprint of a public key.
fn is_no_secret(name: &str, value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']);
    let public = || name.split('_').any(|part| ["gpg", "pgp"].iter().any(|it| it.eq_ignore_ascii_case(part)));
    value.is_empty() || value.len() == 40 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) && public()
}
