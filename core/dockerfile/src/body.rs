//! The arguments of each instruction.

use std::ops::Range;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Phase, Severity};
use crate::go;
use crate::heredoc;
use crate::instruction::{
    ArgBody, Body, CommandLine, Files, FlagKind, FromBody, HealthBody, Instruction, Keyword, Pair, Word,
};
use crate::line::{Logical, is_separator, trim};
use crate::run::{self, Device, Network, OptionError, Security};
use crate::span::Span;
use crate::words::{self, Json};

/// Reads one logical line. Span, comments and heredocs are left to the caller.
pub(crate) fn instruction(line: &Logical, escape: char, diagnostics: &mut Vec<Diagnostic>) -> Instruction {
    let whole = trim(&line.text, 0..line.text.len());
    Reader { line, escape, diagnostics }.instruction(whole, false)
}

struct Reader<'a> {
    line: &'a Logical,
    escape: char,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn report(&mut self, phase: Phase, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(phase, span, message));
    }

    fn text(&self, range: &Range<usize>) -> &str {
        &self.line.text[range.clone()]
    }

    /// Reads an instruction; `trigger` says that it stands inside an `ONBUILD`.
    fn instruction(&mut self, whole: Range<usize>, trigger: bool) -> Instruction {
        let text = self.text(&whole);
        let length = text.find(is_separator).unwrap_or(text.len());
        let keyword_range = whole.start..whole.start + length;
        let name = self.text(&keyword_range);
        let keyword = Keyword::parse(name);
        let keyword_span = self.line.span(&keyword_range);
        let mut unknown = None;
        if keyword == Keyword::Unknown {
            let error =
                Diagnostic::error(Phase::Instruction, keyword_span, format!("unknown instruction: {name}"));
            unknown = Some(error.suggest(name, Keyword::ALL.map(Keyword::name), true));
        }
        let code = text.to_owned();
        self.diagnostics.extend(unknown);

        let (flags, rest) = words::flags(self.line, keyword_range.end..whole.end, self.escape);
        let arguments = trim(&self.line.text, rest..whole.end);
        let mut found = Instruction {
            span: self.line.span(&whole),
            keyword,
            keyword_span,
            flags,
            body: Body::Invalid(None),
            heredocs: Vec::new(),
            comments: 0..0,
            empty_continuations: Vec::new(),
            code,
            pieces: self.line.pieces(&whole),
        };
        found.body = self.body(&found, arguments, trigger);
        found
    }

    fn body(&mut self, instruction: &Instruction, arguments: Range<usize>, trigger: bool) -> Body {
        match instruction.keyword {
            Keyword::From => self.from(instruction, arguments),
            Keyword::Arg => self.arg(instruction, arguments),
            Keyword::Env => self.pairs(instruction, arguments).map_or_else(|invalid| invalid, Body::Env),
            Keyword::Label => self.pairs(instruction, arguments).map_or_else(|invalid| invalid, Body::Label),
            Keyword::Run => {
                let command = self.command(arguments);
                if self.flags(instruction) {
                    self.run_flags(instruction);
                }
                Body::Run(command)
            }
            Keyword::Cmd => {
                let command = self.command(arguments);
                self.flags(instruction);
                Body::Cmd(command)
            }
            Keyword::Entrypoint => {
                let command = self.command(arguments);
                self.flags(instruction);
                Body::Entrypoint(command)
            }
            Keyword::Copy => Body::Copy(self.files(instruction, arguments)),
            Keyword::Add => Body::Add(self.files(instruction, arguments)),
            Keyword::Expose => {
                let ports = self.plain(arguments);
                self.at_least_one(instruction, ports.is_empty());
                self.flags(instruction);
                Body::Expose(ports)
            }
            Keyword::Volume => self.volume(instruction, arguments),
            Keyword::User => self.exactly_one(instruction, arguments, Body::User),
            Keyword::Workdir => self.exactly_one(instruction, arguments, Body::Workdir),
            Keyword::Stopsignal => self.exactly_one(instruction, arguments, Body::Stopsignal),
            Keyword::Maintainer => self.exactly_one(instruction, arguments, Body::Maintainer),
            Keyword::Shell => self.shell(instruction, arguments),
            Keyword::Healthcheck => self.healthcheck(instruction, arguments),
            Keyword::Onbuild if !trigger => self.onbuild(instruction, arguments),
            Keyword::Onbuild | Keyword::Unknown => self.invalid(arguments),
        }
    }

    fn invalid(&self, arguments: Range<usize>) -> Body {
        Body::Invalid((!arguments.is_empty()).then(|| self.line.word(arguments)))
    }

    fn plain(&self, arguments: Range<usize>) -> Vec<Word> {
        words::plain(&self.line.text, arguments).into_iter().map(|range| self.line.word(range)).collect()
    }

    fn at_least_one(&mut self, instruction: &Instruction, missing: bool) {
        if missing {
            let message = format!("{} requires at least one argument", instruction.keyword.name());
            self.report(Phase::Instruction, instruction.keyword_span, message);
        }
    }

    fn exactly_one(
        &mut self,
        instruction: &Instruction,
        arguments: Range<usize>,
        body: impl Fn(Word) -> Body,
    ) -> Body {
        if arguments.is_empty() {
            let message = format!("{} requires exactly one argument", instruction.keyword.name());
            self.report(Phase::Instruction, instruction.keyword_span, message);
            return Body::Invalid(None);
        }
        // BuildKit does not look at the flags of STOPSIGNAL.
        if instruction.keyword != Keyword::Stopsignal {
            self.flags(instruction);
        }
        body(self.line.word(arguments))
    }

    /// Checks the flags against those the instruction takes, and answers whether they are right. As in BuildKit only
    /// the first wrong one counts.
    fn flags(&mut self, instruction: &Instruction) -> bool {
        match flag_error(instruction) {
            Some(error) => {
                self.diagnostics.push(error);
                false
            }
            None => true,
        }
    }

    /// Checks the values of the flags of `RUN`, in BuildKit's order.
    fn run_flags(&mut self, instruction: &Instruction) {
        type Check = fn(&str) -> Result<(), OptionError>;
        let checks: [(&str, Check); 4] = [
            ("device", |text| Device::parse(text).map(drop)),
            ("mount", run::check_mount),
            ("network", |text| Ok(Network::parse(text).map(drop)?)),
            ("security", |text| Ok(Security::parse(text).map(drop)?)),
        ];
        for (name, check) in checks {
            for flag in instruction.flags.iter().filter(|flag| flag.name.text == name) {
                if let Some(value) = &flag.value
                    && let Err(error) = check(&value.text)
                {
                    let found = Diagnostic::error(Phase::Instruction, value.span, error.message);
                    return self.diagnostics.push(found.propose(error.replacement));
                }
            }
        }
    }

    fn from(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Body {
        let words = self.plain(arguments.clone());
        let named = words.len() == 3 && words[1].text.eq_ignore_ascii_case("as");
        if !named && words.len() != 1 {
            let span = words.get(1).map_or(instruction.keyword_span, |word| word.span);
            self.report(Phase::Instruction, span, "FROM requires either one or three arguments");
        }
        if named && !is_stage_name(&words[2].text.to_lowercase()) {
            let message = format!(
                "invalid name for build stage: {}, name can't start with a number or contain symbols",
                go::quoted(&words[2].text)
            );
            self.report(Phase::Instruction, words[2].span, message);
        }
        self.flags(instruction);
        let Some(image) = words.first().cloned() else {
            return self.invalid(arguments);
        };
        Body::From(FromBody {
            image,
            as_keyword: named.then(|| words[1].clone()),
            name: named.then(|| words[2].clone()),
            words,
        })
    }

    fn arg(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Body {
        let ranges = words::quoted(&self.line.text, arguments, self.escape);
        self.at_least_one(instruction, ranges.is_empty());
        let mut list = Vec::new();
        for range in ranges {
            let (name, value) = match self.text(&range).find('=') {
                Some(at) => (range.start..range.start + at, Some(range.start + at + 1..range.end)),
                None => (range, None),
            };
            if name.is_empty() {
                let span = self.line.span(&(name.start..name.start + 1));
                self.report(Phase::Instruction, span, "ARG names can not be blank");
            }
            list.push(ArgBody {
                name: self.line.word(name),
                value: value.map(|value| self.line.word(value)),
            });
        }
        Body::Arg(list)
    }

    /// The pairs of `ENV` and `LABEL`.
    fn pairs(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Result<Vec<Pair>, Body> {
        let name = instruction.keyword.name();
        let ranges = words::quoted(&self.line.text, arguments.clone(), self.escape);
        let Some(first) = ranges.first() else {
            self.flags(instruction);
            self.at_least_one(instruction, true);
            return Err(self.invalid(arguments));
        };
        if !self.text(first).contains('=') {
            let text = self.text(&arguments);
            let Some(length) = text.find(is_separator) else {
                let span = self.line.span(&arguments);
                self.report(Phase::Syntax, span, format!("{name} must have two arguments"));
                return Err(self.invalid(arguments));
            };
            let value = arguments.end - text[length..].trim_start_matches(is_separator).len();
            self.flags(instruction);
            return Ok(vec![Pair {
                name: self.line.word(arguments.start..arguments.start + length),
                value: self.line.word(value..arguments.end),
                legacy: true,
            }]);
        }
        let mut pairs = Vec::new();
        for range in ranges {
            let Some(at) = self.text(&range).find('=') else {
                let message = format!(
                    "Syntax error - can't find = in {}. Must be of the form: name=value",
                    go::quoted(self.text(&range))
                );
                let span = self.line.span(&range);
                self.report(Phase::Syntax, span, message);
                continue;
            };
            let split = range.start + at;
            if at == 0 {
                let span = self.line.span(&(split..split + 1));
                self.report(Phase::Instruction, span, format!("{name} names can not be blank"));
            }
            pairs.push(Pair {
                name: self.line.word(range.start..split),
                value: self.line.word(split + 1..range.end),
                legacy: false,
            });
        }
        self.flags(instruction);
        Ok(pairs)
    }

    /// A JSON array of strings; reports one of something else. `None` where it is no array.
    fn json(&mut self, arguments: &Range<usize>) -> Option<Vec<Word>> {
        match words::json(self.line, arguments.clone()) {
            Json::No => None,
            Json::Strings(words) => Some(words),
            Json::NotStrings => {
                let span = self.line.span(arguments);
                self.report(
                    Phase::Syntax,
                    span,
                    "when using JSON array syntax, arrays must be comprised of strings only",
                );
                None
            }
        }
    }

    fn command(&mut self, arguments: Range<usize>) -> CommandLine {
        match self.json(&arguments) {
            Some(words) => CommandLine::Exec { span: self.line.span(&arguments), words },
            None => CommandLine::Shell(self.line.word(arguments)),
        }
    }

    fn files(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Files {
        let json = self.json(&arguments);
        let exec = json.is_some();
        let mut sources = json.unwrap_or_else(|| self.plain(arguments));
        let name = instruction.keyword.name();
        if sources.len() < 2 {
            let message = format!(
                "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
            );
            self.report(Phase::Instruction, instruction.keyword_span, message);
        }
        self.flags(instruction);
        let destination = sources.pop();
        if let Some(word) = &destination
            && !sources.is_empty()
            && heredoc::opening(&word.text).is_some()
        {
            let message = format!("{name} cannot accept a heredoc as a destination");
            self.report(Phase::Instruction, word.span, message);
        }
        Files { sources, destination, exec }
    }

    fn volume(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Body {
        let mut volumes = match self.json(&arguments) {
            Some(words) => words,
            None => self.plain(arguments),
        };
        self.at_least_one(instruction, volumes.is_empty());
        self.flags(instruction);
        for volume in &mut volumes {
            volume.text = volume.text.trim().to_owned();
        }
        if let Some(empty) = volumes.iter().find(|volume| volume.text.is_empty()) {
            self.report(Phase::Instruction, empty.span, "VOLUME specified can not be an empty string");
        }
        Body::Volume(volumes)
    }

    fn shell(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Body {
        self.flags(instruction);
        match self.json(&arguments) {
            Some(words) => {
                self.at_least_one(instruction, words.is_empty());
                Body::Shell(words)
            }
            None if arguments.is_empty() => {
                self.at_least_one(instruction, true);
                Body::Invalid(None)
            }
            None => {
                let span = self.line.span(&arguments);
                self.report(Phase::Instruction, span, "SHELL requires the arguments to be in JSON form");
                self.invalid(arguments)
            }
        }
    }

    fn healthcheck(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Body {
        if arguments.is_empty() {
            self.at_least_one(instruction, true);
            return Body::Invalid(None);
        }
        let text = self.text(&arguments);
        let length = text.find(char::is_whitespace).unwrap_or(text.len());
        let kind = self.line.word(arguments.start..arguments.start + length);
        let rest = trim(&self.line.text, arguments.start + length..arguments.end);
        let command = (!rest.is_empty()).then(|| self.command(rest));
        let upper = kind.text.to_uppercase();
        let empty = match &command {
            None => true,
            Some(CommandLine::Exec { words, .. }) => words.is_empty(),
            Some(CommandLine::Shell(_)) => false,
        };
        match upper.as_str() {
            "NONE" => {
                if !empty {
                    self.report(Phase::Instruction, kind.span, "HEALTHCHECK NONE takes no arguments");
                }
            }
            "CMD" => {
                self.flags(instruction);
                if empty {
                    self.report(Phase::Instruction, kind.span, "Missing command after HEALTHCHECK CMD");
                }
                self.health_flags(instruction);
            }
            _ => {
                self.flags(instruction);
                let message = format!("Unknown type {} in HEALTHCHECK (try CMD)", go::quoted(&upper));
                self.report(Phase::Instruction, kind.span, message);
            }
        }
        Body::Healthcheck(HealthBody { kind, command })
    }

    fn health_flags(&mut self, instruction: &Instruction) {
        for name in ["interval", "timeout", "start-period", "start-interval"] {
            if let Some(value) = instruction.flag_value(name)
                && let Err(message) = interval(name, &value.text)
            {
                return self.report(Phase::Instruction, value.span, message);
            }
        }
        if let Some(value) = instruction.flag_value("retries")
            && let Err(message) = retries(&value.text)
        {
            self.report(Phase::Instruction, value.span, message);
        }
    }

    fn onbuild(&mut self, instruction: &Instruction, arguments: Range<usize>) -> Body {
        if arguments.is_empty() {
            self.at_least_one(instruction, true);
            return Body::Invalid(None);
        }
        self.flags(instruction);
        let before = self.diagnostics.len();
        let trigger = self.instruction(arguments, true);
        let message = match trigger.keyword {
            Keyword::Onbuild => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
            Keyword::From | Keyword::Maintainer => {
                format!("{} isn't allowed as an ONBUILD trigger", trigger.keyword.name())
            }
            _ => {
                // What else is wrong with a trigger fails the builds on this image, not this one.
                for found in &mut self.diagnostics[before..] {
                    if found.phase == Phase::Instruction {
                        found.severity = Severity::Warning;
                    }
                }
                return Body::Onbuild(Box::new(trigger));
            }
        };
        let words: Vec<Diagnostic> = self.diagnostics.drain(before..).collect();
        self.diagnostics.extend(words.into_iter().filter(|found| found.phase == Phase::Syntax));
        self.report(Phase::Instruction, trigger.keyword_span, message);
        Body::Onbuild(Box::new(trigger))
    }
}

/// The first flag that is wrong.
fn flag_error(instruction: &Instruction) -> Option<Diagnostic> {
    let specs = instruction.keyword.flags();
    let error = |span, message| Some(Diagnostic::error(Phase::Instruction, span, message));
    let mut seen: Vec<&str> = Vec::new();
    for flag in &instruction.flags {
        let name = flag.name.text.as_str();
        let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
            let found = error(flag.name.span, format!("unknown flag: --{name}"))?;
            return Some(found.suggest(name, specs.iter().map(|spec| spec.name), false));
        };
        if seen.contains(&spec.name) {
            if spec.kind != FlagKind::Texts {
                return error(flag.span, format!("duplicate flag specified: --{name}"));
            }
        } else {
            seen.push(spec.name);
        }
        let value = flag.value.as_ref().map(|value| value.text.as_str());
        let missing = match spec.kind {
            FlagKind::Bool => value == Some(""),
            FlagKind::Text | FlagKind::Texts => value.is_none(),
        };
        if missing {
            return error(flag.span, format!("missing a value on flag: --{name}"));
        }
        if spec.kind == FlagKind::Bool
            && let Some(value) = value
            && !matches!(value.to_lowercase().as_str(), "true" | "false")
        {
            return error(flag.span, format!("expecting boolean value for flag --{name}, not: {value}"));
        }
    }
    None
}

/// Whether a lower-case name can name a stage.
pub fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

/// A duration of `HEALTHCHECK`: zero, or a millisecond at least.
pub(crate) fn interval(name: &str, text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    match go::parse_duration(text)? {
        Some(duration) if duration.is_zero() || duration >= Duration::from_millis(1) => Ok(duration),
        _ => Err(format!("Interval {} cannot be less than 1ms", go::quoted(name))),
    }
}

/// The retries of `HEALTHCHECK`.
pub(crate) fn retries(text: &str) -> Result<u32, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    if text.is_empty() {
        return Ok(0);
    }
    let retries: i32 = text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {}: {reason}", go::quoted(text))
    })?;
    u32::try_from(retries).map_err(|_| format!("--retries cannot be negative ({retries})"))
}
