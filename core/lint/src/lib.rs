//! Rules for Dockerfiles: (Dockerfile × platforms × facts) → findings with fixes.
//!
//! [`lint`] evaluates a Dockerfile for every platform that it is built for and asks each of the [`rules`] about each
//! evaluation. Equal findings of several platforms are one, which says on which platforms it is true. What the language
//! itself finds wrong is among the findings, so that nothing else has to be asked.
//!
//! A rule is a pure function. It reads no file and asks no registry: what is to be known about base images is handed
//! in as [`Facts`], and [`wanted_images`] and [`wanted_sources`]
//! say what a Dockerfile asks for.

mod arch;
mod buildkit;
mod config;
mod evaluated;
mod facts;
mod finding;
mod lint;
mod mend;
mod place;
mod refactor;
mod rule;
mod rules;
mod settings;
mod shell;
mod shellcheck;
mod silence;
mod suppress;
mod view;

pub use buildkit::{CheckAnswer, CheckError, CheckWarning, buildkit};
pub use config::{Config, ConfigError, FileConfig};
pub use evaluated::Evaluated;
pub use facts::{
    BaseBuild, BaseImage, Binary, ContextFacts, ContextFile, Facts, Format, ImageFacts, IndexEntry,
    SourceFacts, base_facts, base_images, source_name, wanted_images, wanted_sources,
};
pub use finding::{Edit, Finding, Fix, Related, Severity, apply};
pub use lint::{Request, lint, lint_evaluated};
pub use mend::{Mended, mend, together};
pub use refactor::{Refactoring, RefactoringKind, refactorings};
pub use rule::{Family, Rule, proposal, rule, rules};
pub use settings::{LabelKind, Level, Settings};
pub use shell::{ShellToken, shell_reads, shell_tokens};
pub use shellcheck::{ScriptComment, ScriptLevel, ScriptPlace, wanted_scripts};
pub use suppress::suppressions;
