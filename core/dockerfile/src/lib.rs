//! The Dockerfile language: text → lossless tokens → typed instructions → stages; and `.dockerignore`.
//!
//! [`parse`] never fails: it answers a tree with a place for everything, and what is wrong as data. [`evaluate`] is a
//! pure function of that tree and a [`Scope`]: builds, lint and the editor all ask it what a file means for a
//! platform. The language is that of BuildKit's front end 1.20, its error messages included.

mod body;
mod contexts;
mod diagnostic;
mod dockerfile;
mod edit;
mod evaluate;
mod expand;
mod expose;
mod format;
mod go;
mod heredoc;
mod ignore;
mod instruction;
mod line;
mod names;
mod note;
mod op;
mod parse;
mod path;
mod platforms;
mod run;
mod signal;
mod span;
mod stage;
mod step;
mod suggest;
mod syntax;
mod tokens;
mod trigger;
mod variables;
mod words;

pub use body::is_stage_name;
pub use diagnostic::{Diagnostic, Moment, Phase, Severity};
pub use dockerfile::{Comment, Directive, Directives, Dockerfile};
pub use edit::{Edit, apply};
pub use evaluate::{evaluate, outline, platform_arguments, proxy_variables};
pub use expand::{
    ExpandError, ExpandOptions, expand, expand_keep_quotes, expand_with, expand_words, expand_words_with,
};
pub use format::{Indent, Style, format, indent_at};
pub use go::{parse_bool as go_bool, quoted as go_quoted};
pub use ignore::{BadPattern, DirState, Ignore, IgnoreError, Verdict, go_match};
pub use instruction::{
    ArgBody, Body, CommandLine, Files, Flag, FlagKind, FlagSpec, FromBody, HealthBody, Heredoc, Instruction,
    Keyword, Pair, Word,
};
pub use line::{Line, LineKind, continuation};
pub use names::{
    Guess, Mention, Names, Role, ShellRead, Subject, SubjectKind, Substitution, is_predefined, names,
    substitutions,
};
pub use note::{Expanded, FromNotes, Note, NoteKind, Undefined};
pub use op::{Command, Copy, From, Healthcheck, InlineFile, Op, Remote, Run, Source};
pub use parse::parse;
pub use path::{clean as clean_path, slashed};
pub use run::{Device, Mount, MountKind, Network, Security, Sharing};
pub use span::{LineIndex, Span};
pub use stage::{Base, BaseFacts, Evaluation, Scope, Stage, StageOutline, Step};
pub use suggest::nearest;
pub use tokens::{Token, TokenKind};
pub use variables::Variables;
