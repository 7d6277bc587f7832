//! What a Dockerfile has names for: stages, directories, users, images, variables.

use std::collections::BTreeSet;

use rbx_dockerfile::{Body, Dockerfile, Instruction, Keyword};

/// Names of one kind that are offered, at most.
const MAX_NAMES: usize = 200;
/// Programs that make a user, or a group, of their last word.
const USER_MAKERS: [&str; 2] = ["useradd", "adduser"];
const GROUP_MAKERS: [&str; 2] = ["groupadd", "addgroup"];

/// A stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage<'a> {
    /// Its number from 0.
    pub(crate) index: usize,
    /// Its name as written.
    pub(crate) name: Option<&'a str>,
    /// What it stands on, as written.
    pub(crate) base: &'a str,
    /// Its `FROM`.
    pub(crate) from: &'a Instruction,
    /// All of it, the `FROM` first.
    pub(crate) instructions: &'a [Instruction],
}

/// The stages that begin before a place.
pub(crate) fn stages(file: &Dockerfile, offset: u32) -> Vec<Stage<'_>> {
    let before = file.stages().take_while(|stage| stage[0].span.start < offset);
    let stage = |(index, instructions)| {
        let instructions: &[Instruction] = instructions;
        let from = &instructions[0];
        let (name, base) = match &from.body {
            Body::From(body) => (body.name.as_ref().map(|name| name.text.as_str()), body.image.text.as_str()),
            _ => (None, ""),
        };
        Stage { index, name, base, from, instructions }
    };
    before.enumerate().map(stage).collect()
}

/// The stage of `stages` that a name means, or its number.
pub(crate) fn stage_of<'a>(stages: &[Stage<'a>], name: &str) -> Option<Stage<'a>> {
    let named = |stage: &&Stage<'_>| stage.name.is_some_and(|own| own.eq_ignore_ascii_case(name));
    stages.iter().rfind(named).copied()
}

/// The last stage of `stages` and those that it stands on, each with its instructions before a place.
fn lineage<'a>(stages: &[Stage<'a>], offset: u32) -> Vec<&'a [Instruction]> {
    let mut parts = Vec::new();
    let Some(mut stage) = stages.last().copied() else { return parts };
    let here = stage.instructions.partition_point(|it| it.span.end < offset);
    parts.push(&stage.instructions[..here]);
    while let Some(base) = stage_of(&stages[..stage.index], stage.base) {
        parts.push(base.instructions);
        stage = base;
    }
    parts
}

/// A variable that an `ARG` or `ENV` sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'a str,
    /// As written.
    pub(crate) value: Option<&'a str>,
    /// It is set by `ENV`.
    pub(crate) env: bool,
}

fn variables_of(instruction: &Instruction) -> Vec<Variable<'_>> {
    match &instruction.body {
        Body::Arg(list) => list
            .iter()
            .map(|arg| Variable {
                name: &arg.name.text,
                value: arg.value.as_ref().map(|it| it.text.as_str()),
                env: false,
            })
            .collect(),
        Body::Env(pairs) => pairs
            .iter()
            .map(|pair| Variable { name: &pair.name.text, value: Some(&pair.value.text), env: true })
            .collect(),
        _ => Vec::new(),
    }
}

/// The arguments that are declared before the first `FROM` and before a place, each once, the latest first.
pub(crate) fn globals(file: &Dockerfile, offset: u32) -> Vec<Variable<'_>> {
    let all = file.instructions.iter();
    let before = all.take_while(|it| it.keyword != Keyword::From && it.span.end < offset);
    once(before.flat_map(variables_of).collect())
}

/// The variables that are set at a place of the last stage of `stages`, each once, the latest first.
pub(crate) fn variables<'a>(stages: &[Stage<'a>], offset: u32) -> Vec<Variable<'a>> {
    let mut parts = lineage(stages, offset);
    parts.reverse();
    once(parts.into_iter().flatten().flat_map(variables_of).collect())
}

fn once(mut all: Vec<Variable<'_>>) -> Vec<Variable<'_>> {
    let mut seen = BTreeSet::new();
    all.reverse();
    all.retain(|variable| !variable.name.is_empty() && seen.insert(variable.name));
    all.truncate(MAX_NAMES);
    all
}

/// Names in order of their first appearance, each once.
#[derive(Default)]
struct Names<'a> {
    seen: BTreeSet<&'a str>,
    list: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn add(&mut self, name: &'a str) {
        let fits = !name.is_empty() && !name.contains(['$', '"', '\'', '\\', '`']);
        if fits && self.list.len() < MAX_NAMES && self.seen.insert(name) {
            self.list.push(name);
        }
    }
}

/// The directories that the instructions of a Dockerfile name, but for those that a variable is in.
pub(crate) fn directories(file: &Dockerfile) -> Vec<&str> {
    let mut names = Names::default();
    for instruction in &file.instructions {
        match &instruction.body {
            Body::Workdir(path) => names.add(&path.text),
            Body::Volume(paths) => paths.iter().for_each(|path| names.add(&path.text)),
            Body::Copy(files) | Body::Add(files) => {
                let to = files.destination.as_ref().map(|word| word.text.as_str());
                // Only what ends so is sure to be one.
                to.into_iter().filter(|to| to.ends_with('/') && *to != "/").for_each(|to| names.add(to));
            }
            _ => {}
        }
    }
    names.list
}

/// The paths that are known to be in a stage, or in one that it stands on: what it copied there, and its directories.
pub(crate) fn paths_in<'a>(stages: &[Stage<'a>], name: &str) -> Vec<&'a str> {
    let numbered = name.parse().ok().and_then(|index: usize| stages.get(index).copied());
    let Some(stage) = numbered.or_else(|| stage_of(stages, name)) else { return Vec::new() };
    let mut names = Names::default();
    for instruction in lineage(&stages[..=stage.index], u32::MAX).into_iter().flatten() {
        match &instruction.body {
            Body::Workdir(path) => names.add(&path.text),
            Body::Copy(files) | Body::Add(files) => {
                files.destination.iter().for_each(|path| names.add(&path.text));
            }
            Body::Run(_) => outputs(&instruction.code).for_each(|path| names.add(path)),
            _ => {}
        }
    }
    names.list.retain(|path| path.starts_with('/') && *path != "/");
    names.list
}

/// What commands say that they write: the absolute paths after `-o`.
fn outputs(code: &str) -> impl Iterator<Item = &str> {
    let mut words = code.split_whitespace();
    std::iter::from_fn(move || {
        words.by_ref().find(|word| *word == "-o")?;
        words.next().map(|word| word.trim_end_matches(';'))
    })
}

/// The users that a Dockerfile names or makes.
pub(crate) fn users(file: &Dockerfile) -> Vec<&str> {
    owners(file, |owner| Some(owner.split(':').next().unwrap_or(owner)), &USER_MAKERS)
}

/// The groups that a Dockerfile names or makes.
pub(crate) fn groups(file: &Dockerfile) -> Vec<&str> {
    owners(file, |owner| Some(owner.split_once(':')?.1), &GROUP_MAKERS)
}

fn owners<'a>(
    file: &'a Dockerfile,
    part: impl Fn(&'a str) -> Option<&'a str>,
    makers: &'a [&str],
) -> Vec<&'a str> {
    let mut names = Names::default();
    for instruction in &file.instructions {
        match &instruction.body {
            Body::Run(_) => made(&instruction.code, makers).for_each(|name| names.add(name)),
            Body::User(user) => part(&user.text).into_iter().for_each(|name| names.add(name)),
            Body::Copy(_) | Body::Add(_) => {
                let owner = instruction.flag_value("chown").and_then(|owner| part(&owner.text));
                if let Some(name) = owner {
                    names.add(name);
                }
            }
            _ => {}
        }
    }
    names.list
}

/// The names that commands make by these programs: their last words.
fn made<'a>(code: &'a str, makers: &'a [&str]) -> impl Iterator<Item = &'a str> {
    // Most scripts have none of these programs.
    let code = if makers.iter().any(|maker| code.contains(maker)) { code } else { "" };
    let commands = code.split(['&', '|', ';', '\n']);
    commands.filter_map(|command| {
        let words = command.split_whitespace().skip_while(|word| !makers.contains(word)).skip(1);
        let last = words.last()?;
        (!last.starts_with('-')).then_some(last)
    })
}

/// The images that a Dockerfile names, but for those that a variable is in.
pub(crate) fn images(file: &Dockerfile) -> Vec<&str> {
    let stages = stages(file, u32::MAX);
    let mut names = Names::default();
    for stage in &stages {
        if stage_of(&stages[..stage.index], stage.base).is_none() && stage.base != "scratch" {
            names.add(stage.base);
        }
    }
    for instruction in &file.instructions {
        let from = instruction.flag_value("from").map(|from| from.text.as_str());
        let is_image = |from: &&str| stage_of(&stages, from).is_none() && from.parse::<usize>().is_err();
        from.into_iter().filter(is_image).for_each(|name| names.add(name));
    }
    names.list
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;

    use super::*;

    #[test]
    fn names_are_found() {
        let file = parse(
            "ARG V=1\nFROM go AS Build\nARG A=1 V\nENV B=$A\nWORKDIR /src\nRUN go build -o /bin/app && addgroup -S staff && \\\n \
             adduser -D -G staff app; useradd --help\nFROM build\nARG C\nCOPY --from=busybox --chown=www:web a b/\nVOLUME /data $X\n\
             USER 1000:1001\nFROM $V\nCOPY --from=build /x /\n",
        );
        let all = stages(&file, u32::MAX);
        let second = &all[..2];
        let names = |list: Vec<Variable<'_>>| list.iter().map(|it| it.name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(variables(second, u32::MAX)), "C B V A");
        assert_eq!(names(variables(second, second[1].from.span.end + 1)), "B V A");
        assert_eq!(names(variables(&all, u32::MAX)), "");
        assert_eq!(names(globals(&file, u32::MAX)), "V");
        assert_eq!(directories(&file), ["/src", "b/", "/data"]);
        assert_eq!(paths_in(&all, "build"), ["/src", "/bin/app"]);
        assert_eq!(paths_in(&all, "1"), ["/src", "/bin/app"]);
        assert_eq!(paths_in(&all, "busybox"), [""; 0]);
        assert_eq!(users(&file), ["app", "www", "1000"]);
        assert_eq!(groups(&file), ["staff", "web", "1001"]);
        assert_eq!(images(&file), ["go", "busybox"]);
    }
}
