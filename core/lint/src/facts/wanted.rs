//! Which facts a Dockerfile asks for.

use std::collections::{BTreeMap, BTreeSet};

use rbx_dockerfile::{Base, Dockerfile, From, Op, Source, evaluate};
use rbx_platform::Platform;

use super::{Facts, ImageFacts, source_name};
use crate::lint::{Request, platforms_of, scope};

/// Names that a file may have looked up, and sources, at most.
const MAX_WANTED: usize = 500;

/// The facts that a Dockerfile asks for, and that are not there yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names of images after expansion, and the platforms that they are built for: of those, the configuration is
    /// asked for, too. None are needed of what no stage stands on.
    pub images: BTreeMap<String, BTreeSet<Platform>>,
    /// Sources of the build context, by their names as [`source_name`] has them: paths, and patterns.
    pub sources: BTreeSet<String>,
}

impl Wanted {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.sources.is_empty()
    }

    fn image(&mut self, name: &str) -> Option<&mut BTreeSet<Platform>> {
        if !self.images.contains_key(name) && self.images.len() >= MAX_WANTED {
            return None;
        }
        Some(self.images.entry(name.to_owned()).or_default())
    }
}

/// The facts that a Dockerfile asks for, and that are not there yet. What is learned may make more of it worth asking
/// for: whoever fetches them asks again, until nothing is wanted that was not asked for before.
pub fn wanted(file: &Dockerfile, request: &Request, facts: &Facts) -> Wanted {
    let mut wanted = Wanted::default();
    if let Some(directive) = &file.directives.syntax
        && let Some(name) = directive.value.split_whitespace().next()
    {
        name_alone(&mut wanted, name, facts);
    }
    for platform in &platforms_of(request) {
        let evaluation = evaluate(file, &scope(request, facts, platform));
        for stage in &evaluation.stages {
            if let Base::Image(name) = &stage.base {
                name_alone(&mut wanted, name, facts);
                let known = match facts.images.get(name) {
                    Some(ImageFacts::Missing) => true,
                    Some(image) if image.platform_for(&stage.platform).is_none() => true,
                    _ => facts.bases.contains_key(&(name.clone(), stage.platform.clone())),
                };
                if !known && let Some(platforms) = wanted.image(name) {
                    platforms.insert(stage.platform.clone());
                }
            }
            for step in &stage.steps {
                match &step.op {
                    Op::Run(run) => run.mounts.iter().for_each(|mount| from(&mut wanted, &mount.from, facts)),
                    Op::Copy(copy) if copy.from == From::Context => {
                        for source in copy.sources.iter().filter(|source| source.remote().is_none()) {
                            let Source::Path(path) = source else { continue };
                            let name = source_name(path);
                            let known =
                                facts.context.as_ref().is_some_and(|it| it.sources.contains_key(&name));
                            if !known && wanted.sources.len() < MAX_WANTED {
                                wanted.sources.insert(name);
                            }
                        }
                    }
                    Op::Copy(copy) => from(&mut wanted, &copy.from, facts),
                    _ => {}
                }
            }
        }
    }
    wanted
}

fn from(wanted: &mut Wanted, from: &From, facts: &Facts) {
    if let From::Image(name) = from {
        name_alone(wanted, name, facts);
    }
}

/// Asks for what a name stands for. Where its digest is that of one image, the tag beside it may have the others.
fn name_alone(wanted: &mut Wanted, name: &str, facts: &Facts) {
    match facts.images.get(name) {
        None => drop(wanted.image(name)),
        Some(ImageFacts::Manifest { .. }) => {
            if let Some(tagged) = without_digest(name)
                && !facts.images.contains_key(tagged)
            {
                wanted.image(tagged);
            }
        }
        Some(_) => {}
    }
}

/// The name of an image that has both a tag and a digest, without the digest.
pub(crate) fn without_digest(name: &str) -> Option<&str> {
    let (tagged, _) = name.split_once('@')?;
    tagged.rsplit('/').next().is_some_and(|last| last.contains(':')).then_some(tagged)
}
