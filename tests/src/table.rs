//! The table of end-to-end tests: builds (the columns) on builders of every driver (the rows).
//!
//! Each build is done by buildx and by docker-rbx on the same builder, in contexts that are alike, and what they leave and
//! say is compared. Where docker-rbx is its own builder, it is compared with buildx on the Engine beside it. What a column
//! is expected to come to stands in it; rows that differ are listed with a reason, and so is each difference from buildx.

mod cell;
mod site;
mod words;

use std::fmt;

pub use site::Site;

use crate::builders::{Program, Row};
use crate::compare::Difference;
use crate::corpus::explain;

/// A column: commands in a context, and what is looked at when they are done.
///
/// In files, the script and commands, `{registry}` stands for a registry with base images, `{push}` for the beginning of
/// the names of images in one that takes all, `{private}` for that in one that asks for a password, `{token}` in one that
/// sends its clients for tokens, `{http}` and `{git}` for servers of the files of [`Site`], `{busybox}` for an OCI layout,
/// `{context}` for the context, `{out}` for a directory of what is written, and `{image}` for the flags that make an image
/// be written as it can be on that row: to an archive, or into the Engine.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Its name.
    pub name: &'static str,
    /// The files of the context.
    pub files: &'static [(&'static str, &'static str)],
    /// What a shell does in the context first.
    pub script: &'static str,
    /// The command lines, in order. Words are as a shell has them. To `build` the network of the host and no provenance
    /// are added where it says neither.
    pub commands: &'static [&'static str],
    /// A file of the context that is standard input.
    pub stdin: &'static str,
    /// Of the environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// What is looked at when all commands have ended.
    pub seen: &'static [Seen],
    /// How the last command ends.
    pub verdict: Verdict,
}

impl Build {
    /// A build that ends well. The rest is set by update syntax.
    pub const DEFAULT: Self = Self {
        name: "",
        files: &[],
        script: "",
        commands: &[],
        stdin: "",
        environment: &[],
        seen: &[],
        verdict: Verdict::Done,
    };
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With 0.
    Done,
    /// With this exit status, and these words in its last error.
    Fails(i32, &'static str),
}

/// What is looked at after a build. Names are of files below `{out}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The images that `{image}` has written.
    Image,
    /// The images of an OCI archive.
    Archive(&'static str),
    /// The images of an OCI layout that is a directory.
    Layout(&'static str),
    /// The files of a tar.
    Tar(&'static str),
    /// The files of a directory.
    Directory(&'static str),
    /// JSON, aside from digests, times and ids.
    Json(&'static str),
    /// A text, aside from digests.
    Text(&'static str),
    /// What the last command printed, aside from digests.
    Printed,
    /// The images of this name in the registry that takes all.
    Pushed(&'static str),
    /// The images of this name in the Engine, as it saves them.
    Loaded(&'static str),
    /// Whether two files below `{out}` are the same.
    Same(&'static str, &'static str),
}

/// Rows on which a column ends otherwise than its verdict.
#[derive(Debug, Clone, Copy)]
pub struct Otherwise {
    /// The rows.
    pub rows: &'static [Row],
    /// The columns.
    pub columns: &'static [&'static str],
    /// How the builds end there.
    pub verdict: Verdict,
    /// Why.
    pub reason: &'static str,
}

/// Rows on which a column is not built.
#[derive(Debug, Clone, Copy)]
pub struct Omitted {
    /// The rows.
    pub rows: &'static [Row],
    /// The columns.
    pub columns: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// All that is said of cells.
#[derive(Debug, Clone, Copy)]
pub struct Lists {
    /// What ends otherwise.
    pub otherwise: &'static [Otherwise],
    /// What is not built.
    pub omitted: &'static [Omitted],
    /// What docker-rbx does otherwise than buildx.
    pub explained: &'static [Explained],
}

/// Differences of docker-rbx from buildx that are meant. Each must occur in every column on every row.
#[derive(Debug, Clone, Copy)]
pub struct Explained {
    /// The rows.
    pub rows: &'static [Row],
    /// The columns.
    pub columns: &'static [&'static str],
    /// What the differences begin with.
    pub differences: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// Builds a column's builds on a row by buildx, and by docker-rbx if it builds there, and judges what they came to.
///
/// # Errors
///
/// What is not as it should be, for a person to read.
pub fn check(site: &Site, build: &Build, lists: &Lists, programs: &[Program]) -> Result<(), String> {
    let row = site.builder().row();
    let is_here = |rows: &[Row], columns: &[&str]| rows.contains(&row) && columns.contains(&build.name);
    if lists.omitted.iter().any(|it| is_here(it.rows, it.columns)) {
        return Ok(());
    }
    let mut report = Vec::new();
    let listed: Vec<&Otherwise> = lists.otherwise.iter().filter(|it| is_here(it.rows, it.columns)).collect();
    let verdict = match listed[..] {
        [] => build.verdict,
        [it] => it.verdict,
        _ => return Err(format!("{}: two lists say how it ends", build.name)),
    };
    if !listed.is_empty() && verdict == build.verdict {
        report.push(format!("listed as different, and is not: {verdict:?}"));
    }
    let theirs = site.run(Program::Buildx, build);
    // What buildx does on the Engine beside a row is no verdict on that row.
    if row.is_buildkit() && programs.contains(&Program::Buildx) {
        report.extend(theirs.judge(verdict).map(|it| format!("buildx: {it}")));
    }
    if programs.contains(&Program::Rbx) {
        let ours = site.run(Program::Rbx, build);
        report.extend(ours.judge(verdict).map(|it| format!("docker-rbx: {it}")));
        let lines: Vec<String> = lists
            .explained
            .iter()
            .filter(|it| is_here(it.rows, it.columns))
            .flat_map(|it| it.differences.iter().map(|difference| format!("{difference} # {}\n", it.reason)))
            .collect();
        // A list has said already that this one ends otherwise than BuildKit.
        let is_listed = !listed.is_empty() && !row.is_buildkit();
        let differences: Vec<Difference> =
            if is_listed { Vec::new() } else { theirs.differences(&ours, row.is_buildkit()) };
        if let Err(differing) = explain(&differences, &lines.concat(), "") {
            report.push(format!(
                "{differing}\nbuildx said:\n{}\ndocker-rbx said:\n{}",
                theirs.log(),
                ours.log()
            ));
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(format!("{} on {}:\n{}", build.name, row.name(), report.join("\n")))
    }
}

/// Whether every list names columns that there are.
///
/// # Errors
///
/// The first name that is none.
pub fn check_lists(builds: &[&Build], lists: &Lists) -> Result<(), String> {
    let named = lists.otherwise.iter().flat_map(|it| it.columns);
    let named = named.chain(lists.omitted.iter().flat_map(|it| it.columns));
    let named = named.chain(lists.explained.iter().flat_map(|it| it.columns));
    for column in named {
        if !builds.iter().any(|build| build.name == *column) {
            return Err(format!("a list names a column that there is not: {column}"));
        }
    }
    let mut names: Vec<&str> = builds.iter().map(|build| build.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two columns are called {}", pair[0])),
        None => Ok(()),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(formatter, "well"),
            Self::Fails(status, words) => write!(formatter, "with {status} and {words:?}"),
        }
    }
}
