//! What a document means on each of its platforms, and what its variables are worth there.

use std::sync::OnceLock;

use rbx_dockerfile::{
    ArgBody, Base, Body, Dockerfile, Evaluation, Instruction, Keyword, Op, Span, Stage, Step, expand,
};
use rbx_lint::{Evaluated, Facts, Request};
use rbx_platform::Platform;
use rbx_request::{parse_contexts, parse_pairs};

use crate::documents::Snapshot;
use crate::features::predefined::is_automatic;

/// What is worked out of a document when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    request: OnceLock<Request>,
    recalled: OnceLock<(Facts, Evaluated)>,
}

impl Snapshot {
    /// What the document is checked for: with the platforms, arguments and contexts of the settings and its project.
    pub(crate) fn request(&self) -> &Request {
        self.meaning.request.get_or_init(|| {
            let configuration = &self.configuration;
            let contexts: Vec<&str> = configuration.flag_values("build-context").collect();
            let arguments: Vec<&str> = configuration.flag_values("build-arg").collect();
            let config = self.config().as_ref().ok().cloned().unwrap_or_default();
            let mut build_args = config.build_args;
            // What is wrong with these flags is for builds to say.
            build_args.extend(parse_pairs(&arguments, Some(&|_| None)).unwrap_or_default());
            Request {
                build_args,
                settings: config.settings,
                named_contexts: parse_contexts(&contexts)
                    .map(|contexts| contexts.into_keys().collect())
                    .unwrap_or_default(),
                ..Request::new(self.platforms().list, Platform::host())
            }
        })
    }

    /// What registries said before of its images.
    pub(crate) fn recalled(&self) -> &Facts {
        &self.recollection().0
    }

    /// What it means on each of its platforms.
    pub(crate) fn evaluations(&self) -> &Evaluated {
        &self.recollection().1
    }

    fn recollection(&self) -> &(Facts, Evaluated) {
        self.meaning.recalled.get_or_init(|| {
            let mut facts = Facts::default();
            let evaluated = self.registries.recall(self.tree(), self.request(), &mut facts);
            (facts, evaluated)
        })
    }

    /// What a variable is worth for the instruction at a place, before it is carried out.
    pub(crate) fn worth(&self, name: &str, offset: u32) -> Vec<Worth> {
        self.worth_at(name, |file, evaluation| Place::at(file, evaluation, offset))
    }

    /// What a variable is worth after an instruction.
    pub(crate) fn worth_after(&self, name: &str, instruction: Span) -> Vec<Worth> {
        self.worth_at(name, |file, evaluation| Place::after(file, evaluation, instruction))
    }

    fn worth_at<'a>(
        &'a self,
        name: &str,
        place: impl Fn(&'a Dockerfile, &'a Evaluation) -> Place<'a>,
    ) -> Vec<Worth> {
        merged(self.evaluations().iter().map(|(platform, evaluation)| {
            let place = place(self.tree(), evaluation);
            let value = place.value(name);
            let origin = value.as_ref().map(|_| place.origin(name, self.request(), self.recalled()));
            (platform, value, origin)
        }))
    }

    /// What a word comes to that the instruction at a place expands. There is no value where it cannot be expanded.
    pub(crate) fn word_worth(&self, word: &str, offset: u32) -> Vec<Worth> {
        let file = self.tree();
        merged(self.evaluations().iter().map(|(platform, evaluation)| {
            let place = Place::at(file, evaluation, offset);
            let value = expand(word, file.escape, &|name| place.value(name)).ok();
            (platform, value, None)
        }))
    }
}

/// A value, and the platforms that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worth {
    /// The value; none of what is unset.
    pub(crate) value: Option<String>,
    /// Where it comes from, if that was asked for and there is one.
    pub(crate) origin: Option<Origin>,
    /// The platforms on which it is so.
    pub(crate) platforms: Vec<Platform>,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The `ENV` that has its name here.
    Env(Span),
    /// The default of the `ARG` that has its name here.
    Default(Span),
    /// The `ARG` before the first `FROM` that has its name here.
    Global(Span),
    /// A `--build-arg`, or the settings of the project.
    BuildArg,
    /// The platform, or another thing that the builder knows by itself.
    Automatic,
    /// The environment of a base image.
    Image(String),
    /// What a base brings along otherwise: a trigger.
    Trigger,
}

fn merged<'a>(all: impl Iterator<Item = (&'a Platform, Option<String>, Option<Origin>)>) -> Vec<Worth> {
    let mut list: Vec<Worth> = Vec::new();
    for (platform, value, origin) in all {
        match list.iter_mut().find(|worth| worth.value == value && worth.origin == origin) {
            Some(worth) => worth.platforms.push(platform.clone()),
            None => list.push(Worth { value, origin, platforms: vec![platform.clone()] }),
        }
    }
    list
}

/// A place in a Dockerfile that was evaluated for one platform.
struct Place<'a> {
    file: &'a Dockerfile,
    evaluation: &'a Evaluation,
    /// Instructions that begin here or later do not count yet.
    limit: u32,
    /// The stage; none for what stands before the first `FROM`, and for every `FROM`.
    stage: Option<&'a Stage>,
    /// What the instruction there sees, if that is a step.
    step: Option<&'a Step>,
    /// The step before it.
    before: Option<&'a Step>,
}

impl<'a> Place<'a> {
    fn at(file: &'a Dockerfile, evaluation: &'a Evaluation, offset: u32) -> Self {
        let instruction = file.instruction_at(offset);
        let is_from = instruction.is_some_and(|found| found.keyword == Keyword::From);
        let limit = instruction.map_or(offset, |found| found.span.start);
        let mut place = Self::new(file, evaluation, limit);
        if is_from {
            (place.stage, place.step, place.before) = (None, None, None);
        }
        place
    }

    fn after(file: &'a Dockerfile, evaluation: &'a Evaluation, instruction: Span) -> Self {
        Self::new(file, evaluation, instruction.start.saturating_add(1))
    }

    fn new(file: &'a Dockerfile, evaluation: &'a Evaluation, limit: u32) -> Self {
        let stages = &evaluation.stages;
        let stage = stages[..stages.partition_point(|stage| stage.span.start < limit)].last();
        let steps = stage.map_or(&[][..], |stage| &stage.steps);
        let next = steps.partition_point(|step| step.span.start < limit);
        // What the next step sees is what the one before leaves.
        Self { file, evaluation, limit, stage, step: steps.get(next), before: steps[..next].last() }
    }

    fn value(&self, name: &str) -> Option<String> {
        let Some(stage) = self.stage else { return self.global(name) };
        if let Some(step) = self.step {
            return step.run_env.get(name).map(str::to_owned);
        }
        let Some(before) = self.before else { return stage.env.get(name).map(str::to_owned) };
        let set = match &before.op {
            Op::Env(pairs) => {
                pairs.iter().rfind(|(key, _)| key == name).map(|(_, value)| Some(value.clone()))
            }
            Op::Arg(list) => list.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.clone()),
            _ => None,
        };
        set.flatten().or_else(|| before.run_env.get(name).map(str::to_owned))
    }

    /// The value of a variable in a `FROM`, or in an `ARG` before the first.
    fn global(&self, name: &str) -> Option<String> {
        let is_there = self.global_arg(name).is_some() || is_automatic(name);
        self.evaluation.globals.get(name).filter(|_| is_there).cloned()
    }

    /// The last `ARG` before the first `FROM` that declares a name, if it stands before this place.
    fn global_arg(&self, name: &str) -> Option<&'a ArgBody> {
        let before_stages = self.file.instructions.iter().take_while(|it| it.keyword != Keyword::From);
        let here = before_stages.take_while(|it| it.span.start < self.limit);
        let args = here.filter_map(|instruction| match &instruction.body {
            Body::Arg(list) => Some(list),
            _ => None,
        });
        args.flatten().filter(|arg| arg.name.text == name).last()
    }

    /// Where a value of a variable comes from.
    fn origin(&self, name: &str, request: &Request, facts: &Facts) -> Origin {
        let is_given = request.build_args.contains_key(name);
        let of_global = || match self.global_arg(name) {
            _ if is_given => Some(Origin::BuildArg),
            Some(arg) if arg.value.is_some() => Some(Origin::Global(arg.name.span)),
            _ => is_automatic(name).then_some(Origin::Automatic),
        };
        let Some(stage) = self.stage else {
            return match of_global() {
                Some(Origin::Global(span)) => Origin::Default(span),
                other => other.unwrap_or(Origin::Automatic),
            };
        };
        let mut limit = self.limit;
        for stage in self.evaluation.lineage(stage) {
            for instruction in instructions_of(self.file, stage.span, limit).iter().rev() {
                match &instruction.body {
                    Body::Env(pairs) => {
                        if let Some(pair) = pairs.iter().rfind(|pair| pair.name.text == name) {
                            return Origin::Env(pair.name.span);
                        }
                    }
                    Body::Arg(list) => {
                        let Some(arg) = list.iter().rfind(|arg| arg.name.text == name) else { continue };
                        if is_given {
                            return Origin::BuildArg;
                        }
                        if arg.value.is_some() {
                            return Origin::Default(arg.name.span);
                        }
                        if let Some(origin) = of_global() {
                            return origin;
                        }
                    }
                    _ => {}
                }
            }
            if let Base::Image(image) | Base::Context(image) = &stage.base {
                let known = facts.bases.get(&(image.clone(), stage.platform.clone()));
                if known.is_some_and(|known| known.env.iter().any(|(key, _)| key == name)) {
                    return Origin::Image(image.clone());
                }
            }
            // All of the stage that this one stands on counts.
            limit = u32::MAX;
        }
        if name == "PATH" { Origin::Automatic } else { Origin::Trigger }
    }
}

/// The instructions of a stage that begin before `limit`, its `FROM` excluded.
fn instructions_of(file: &Dockerfile, from: Span, limit: u32) -> &[Instruction] {
    let first = file.instructions.partition_point(|it| it.span.start <= from.start);
    let rest = &file.instructions[first..];
    let ends = |it: &Instruction| it.keyword == Keyword::From || it.span.start >= limit;
    &rest[..rest.iter().position(ends).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::BaseFacts;
    use serde_json::json;

    use super::*;
    use crate::capabilities::Abilities;
    use crate::documents::tests::snapshot_of;

    /// What a variable is worth at the mark, a line for each value.
    fn worth(text: &str, name: &str) -> String {
        let offset = text.find('‸').unwrap();
        let text = text.replace('‸', "");
        let options = json!({ "platforms": "linux/amd64,linux/arm64,linux/arm/v7", "buildFlags": ["--build-arg=GIVEN=1"] });
        let snapshot = snapshot_of(&text, &options, Abilities::default());
        snapshot.meaning.recalled.get_or_init(|| {
            let facts = BaseFacts { env: vec![("GOPATH".into(), "/go".into())], ..BaseFacts::default() };
            let amd64 = Platform::parse("linux/amd64").unwrap();
            let facts = Facts { bases: [(("go".to_owned(), amd64), facts)].into(), ..Facts::default() };
            let evaluated = Evaluated::new(snapshot.tree(), snapshot.request(), &facts);
            (facts, evaluated)
        });
        let line = |worth: &Worth| {
            let place = |span: Span| text[..span.start as usize].lines().count();
            let origin = match &worth.origin {
                None => "unset".to_owned(),
                Some(Origin::Env(span)) => format!("ENV {}", place(*span)),
                Some(Origin::Default(span)) => format!("default {}", place(*span)),
                Some(Origin::Global(span)) => format!("global {}", place(*span)),
                Some(other) => format!("{other:?}"),
            };
            let value = worth.value.as_deref().unwrap_or("-");
            format!("{value} ({origin}) on {}", crate::platforms::names(&worth.platforms))
        };
        let offset = u32::try_from(offset).unwrap();
        snapshot.worth(name, offset).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn variables_are_worth_what_the_instruction_sees() {
        let text =
            "ARG V=1\nARG W=$V$TARGETARCH\nFROM go AS a\nARG V W TARGETARCH\nARG X=$W\nENV V=2\nRUN ‸echo";
        insta::assert_snapshot!(worth(text, "V"), @"2 (ENV 6) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth(text, "W"), @"
        1amd64 (global 2) on linux/amd64
        1arm64 (global 2) on linux/arm64
        1arm (global 2) on linux/arm/v7
        ");
        insta::assert_snapshot!(worth(text, "X"), @"
        1amd64 (default 5) on linux/amd64
        1arm64 (default 5) on linux/arm64
        1arm (default 5) on linux/arm/v7
        ");
        insta::assert_snapshot!(worth(text, "GOPATH"), @r#"
        /go (Image("go")) on linux/amd64
        - (unset) on linux/arm64, linux/arm/v7
        "#);
        insta::assert_snapshot!(worth(text, "PATH"), @"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin (Automatic) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth(text, "TARGETVARIANT"), @"- (unset) on linux/amd64, linux/arm64, linux/arm/v7");
    }

    #[test]
    fn places_have_their_own_variables() {
        // In a FROM only what was declared before the first, and what builders know.
        insta::assert_snapshot!(worth("ARG A=x\nFROM a:$‸A AS b\nARG B=y\n", "A"), @"x (default 1) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth("ARG A=x\nFROM b\nARG B=y\nFROM $‸B\n", "B"), @"- (unset) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth("FROM --platform=$‸TARGETPLATFORM b\n", "TARGETPLATFORM"), @"
        linux/amd64 (Automatic) on linux/amd64
        linux/arm64 (Automatic) on linux/arm64
        linux/arm/v7 (Automatic) on linux/arm/v7
        ");
        insta::assert_snapshot!(worth("ARG A=$‸B\nARG B=1\nFROM a", "B"), @"- (unset) on linux/amd64, linux/arm64, linux/arm/v7");
        // Before an instruction, after it, and in one that is not finished.
        insta::assert_snapshot!(worth("FROM a\nENV A=1\nENV A=$‸A:2\n", "A"), @"1 (ENV 2) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth("FROM a\nENV A=1\nENV A=$A:2\n‸\nFROM b", "A"), @"1:2 (ENV 3) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth("FROM a\nENV A=1\nCOPY $‸\n", "A"), @"1 (ENV 2) on linux/amd64, linux/arm64, linux/arm/v7");
        // From stage to stage, and not to others.
        insta::assert_snapshot!(worth("FROM a AS b\nARG A=1\nFROM b\nRUN ‸x", "A"), @"1 (default 2) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth("FROM a AS b\nARG A=1\nFROM a\nRUN ‸x", "A"), @"- (unset) on linux/amd64, linux/arm64, linux/arm/v7");
        // Given, and given to nobody.
        insta::assert_snapshot!(worth("FROM a\nARG GIVEN=0\nRUN ‸x", "GIVEN"), @"1 (BuildArg) on linux/amd64, linux/arm64, linux/arm/v7");
        insta::assert_snapshot!(worth("FROM a\nRUN ‸x", "GIVEN"), @"- (unset) on linux/amd64, linux/arm64, linux/arm/v7");
    }
}
