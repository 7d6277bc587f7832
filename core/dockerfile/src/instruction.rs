//! The typed tree of a Dockerfile.

use std::ops::Range;

use crate::span::Span;

/// A word of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Word {
    /// Its place in the text. A word may run over several lines.
    pub span: Span,
    /// The word with continuations joined and nothing expanded: quotes and variables stand as written. In a JSON
    /// array it is the decoded string.
    pub text: String,
}

/// An instruction's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants are the language's keywords")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
    /// No keyword of the language.
    Unknown,
}

impl Keyword {
    /// Every keyword of the language.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::Stopsignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// The keyword in upper case; empty for [`Keyword::Unknown`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::Stopsignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
            Self::Unknown => "",
        }
    }

    /// The keyword `word` names, in any case.
    pub fn parse(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|keyword| keyword.name().eq_ignore_ascii_case(word))
            .unwrap_or(Self::Unknown)
    }

    /// The flags the instruction takes.
    pub fn flags(self) -> &'static [FlagSpec] {
        use FlagKind::{Bool, Text, Texts};
        const fn flag(name: &'static str, kind: FlagKind) -> FlagSpec {
            FlagSpec { name, kind }
        }
        match self {
            Self::Add => {
                const {
                    &[
                        flag("chown", Text),
                        flag("chmod", Text),
                        flag("link", Bool),
                        flag("keep-git-dir", Bool),
                        flag("checksum", Text),
                        flag("unpack", Bool),
                        flag("exclude", Texts),
                    ]
                }
            }
            Self::Copy => {
                const {
                    &[
                        flag("chown", Text),
                        flag("from", Text),
                        flag("chmod", Text),
                        flag("link", Bool),
                        flag("exclude", Texts),
                        flag("parents", Bool),
                    ]
                }
            }
            Self::From => const { &[flag("platform", Text)] },
            Self::Run => {
                const {
                    &[
                        flag("mount", Texts),
                        flag("network", Text),
                        flag("security", Text),
                        flag("device", Texts),
                    ]
                }
            }
            Self::Healthcheck => {
                const {
                    &[
                        flag("interval", Text),
                        flag("timeout", Text),
                        flag("start-period", Text),
                        flag("start-interval", Text),
                        flag("retries", Text),
                    ]
                }
            }
            _ => &[],
        }
    }
}

/// A flag an instruction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlagSpec {
    /// Its name without the dashes.
    pub name: &'static str,
    /// What value it takes.
    pub kind: FlagKind,
}

/// What value a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagKind {
    /// `true`, `false` or nothing; once.
    Bool,
    /// A text; once.
    Text,
    /// A text; any number of times.
    Texts,
}

/// A flag as written: `--name` or `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flag {
    /// The whole flag.
    pub span: Span,
    /// The name without the dashes.
    pub name: Word,
    /// What follows `=`, quotes and escapes removed, variables as written.
    pub value: Option<Word>,
}

/// A here-document of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Heredoc {
    /// The word that opens it, such as `<<-EOF`.
    pub word: Word,
    /// Its name: the terminator, quotes removed.
    pub name: String,
    /// The number before `<<`; 0 where there is none.
    pub file_descriptor: u32,
    /// `<<-`: leading tabs are stripped.
    pub strip_tabs: bool,
    /// No part of the name is quoted: variables in the content are expanded.
    pub expand: bool,
    /// The content, whole lines with their newlines.
    pub content: Span,
    /// The terminator's line without its newline; `None` where the text ends first.
    pub terminator: Option<Span>,
}

impl Heredoc {
    /// The content with tabs stripped where the heredoc says so. `text` is the Dockerfile's.
    pub fn stripped(&self, text: &str) -> String {
        let content = self.content.slice(text);
        if self.strip_tabs {
            content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
        } else {
            content.to_owned()
        }
    }
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// All of it, heredocs included, the last newline excluded.
    pub span: Span,
    /// Its name.
    pub keyword: Keyword,
    /// Where the name stands.
    pub keyword_span: Span,
    /// Its flags, in order, known and unknown.
    pub flags: Vec<Flag>,
    /// Its arguments.
    pub body: Body,
    /// Its heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// The comments right before it, as indexes into [`Dockerfile::comments`]. As in BuildKit a blank line does
    /// not part them from it, an empty comment does.
    ///
    /// [`Dockerfile::comments`]: crate::Dockerfile::comments
    pub comments: Range<usize>,
    /// The blank lines inside it, which BuildKit deprecates.
    pub empty_continuations: Vec<Span>,
    /// The instruction on one line: continuations joined, comments dropped, heredocs without their content.
    pub code: String,
    /// Where each piece of `code` begins: there, and in the Dockerfile.
    pub(crate) pieces: Vec<(u32, u32)>,
}

impl Instruction {
    /// Where the byte at `offset` of [`code`](Self::code) stands in the Dockerfile's text.
    pub fn source_of(&self, offset: usize) -> u32 {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let index = self.pieces.partition_point(|&(start, _)| start <= offset);
        match index.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(&(start, source)) => source.saturating_add(offset - start).min(self.span.end),
            None => self.span.start,
        }
    }

    /// The last flag of that name.
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().rev().find(|flag| flag.name.text == name)
    }

    /// The value of the last flag of that name, where it has one.
    pub fn flag_value(&self, name: &str) -> Option<&Word> {
        self.flag(name)?.value.as_ref()
    }

    /// Whether a flag that takes `true` or `false` is set.
    pub fn is_set(&self, name: &str) -> bool {
        self.flag(name).is_some_and(|flag| {
            flag.value.as_ref().is_none_or(|value| !value.text.eq_ignore_ascii_case("false"))
        })
    }

    /// The words of the body, in order of the text.
    pub fn words(&self) -> Vec<&Word> {
        self.body.words()
    }
}

/// The arguments of an instruction. Where they are wrong there is a diagnostic, and the body holds what could be
/// read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// `FROM`
    From(FromBody),
    /// `ARG`
    Arg(Vec<ArgBody>),
    /// `ENV`
    Env(Vec<Pair>),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `RUN`
    Run(CommandLine),
    /// `CMD`
    Cmd(CommandLine),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `COPY`
    Copy(Files),
    /// `ADD`
    Add(Files),
    /// `EXPOSE`: ports as written, in order of the text.
    Expose(Vec<Word>),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `USER`
    User(Word),
    /// `WORKDIR`
    Workdir(Word),
    /// `STOPSIGNAL`
    Stopsignal(Word),
    /// `MAINTAINER`
    Maintainer(Word),
    /// `SHELL`
    Shell(Vec<Word>),
    /// `HEALTHCHECK`
    Healthcheck(HealthBody),
    /// `ONBUILD`
    Onbuild(Box<Instruction>),
    /// An unknown instruction, or arguments that make no sense: their text.
    Invalid(Option<Word>),
}

impl Body {
    pub(crate) fn words(&self) -> Vec<&Word> {
        match self {
            Self::From(from) => from.words.iter().collect(),
            Self::Arg(list) => {
                list.iter().flat_map(|arg| std::iter::once(&arg.name).chain(&arg.value)).collect()
            }
            Self::Env(pairs) | Self::Label(pairs) => {
                pairs.iter().flat_map(|pair| [&pair.name, &pair.value]).collect()
            }
            Self::Run(line) | Self::Cmd(line) | Self::Entrypoint(line) => line.words(),
            Self::Copy(files) | Self::Add(files) => files.sources.iter().chain(&files.destination).collect(),
            Self::Expose(words) | Self::Volume(words) | Self::Shell(words) => words.iter().collect(),
            Self::User(word) | Self::Workdir(word) | Self::Stopsignal(word) | Self::Maintainer(word) => {
                vec![word]
            }
            Self::Healthcheck(health) => {
                let mut words = vec![&health.kind];
                words.extend(health.command.iter().flat_map(CommandLine::words));
                words
            }
            Self::Onbuild(inner) => inner.words(),
            Self::Invalid(word) => word.iter().collect(),
        }
    }
}

/// The arguments of `FROM`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FromBody {
    /// Image or stage, unexpanded.
    pub image: Word,
    /// The word `AS`, in the case it is written in.
    pub as_keyword: Option<Word>,
    /// The name given to the stage, as written.
    pub name: Option<Word>,
    /// Every word, those that do not belong included.
    pub words: Vec<Word>,
}

/// One declaration of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArgBody {
    /// The variable.
    pub name: Word,
    /// Its default, unexpanded.
    pub value: Option<Word>,
}

/// A name and a value of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The name, unexpanded.
    pub name: Word,
    /// The value, unexpanded.
    pub value: Word,
    /// Written `NAME value`, without `=`.
    pub legacy: bool,
}

/// A command in shell form or as a JSON array.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CommandLine {
    /// Given to the shell; may be empty.
    Shell(Word),
    /// Run as it is.
    Exec {
        /// The array with its brackets.
        span: Span,
        /// Its strings.
        words: Vec<Word>,
    },
}

impl CommandLine {
    /// Whether it is a JSON array.
    pub fn is_exec(&self) -> bool {
        matches!(self, Self::Exec { .. })
    }

    fn words(&self) -> Vec<&Word> {
        match self {
            Self::Shell(word) => vec![word],
            Self::Exec { words, .. } => words.iter().collect(),
        }
    }
}

/// The arguments of `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Files {
    /// Paths, URLs and heredoc words, in order.
    pub sources: Vec<Word>,
    /// Where to; `None` where there is not even one argument.
    pub destination: Option<Word>,
    /// Written as a JSON array.
    pub exec: bool,
}

/// The arguments of `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthBody {
    /// `NONE` or `CMD`, as written.
    pub kind: Word,
    /// The command, where one is written.
    pub command: Option<CommandLine>,
}
