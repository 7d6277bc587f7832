//! Which facts a Dockerfile asks for.

use std::collections::{BTreeMap, BTreeSet};

use rbx_dockerfile::{Base, Body, Dockerfile, From, Op, Source};
use rbx_platform::Platform;

use super::{Facts, ImageFacts, source_name};
use crate::evaluated::Evaluated;
use crate::lint::Request;

/// Names that a file may have looked up, and sources, at most.
const MAX_WANTED: usize = 500;

/// The images that a Dockerfile asks to know about, and that are not known yet: their names after expansion, and the
/// platforms whose configurations are of use. None are of what no stage stands on. It was evaluated with the bases of
/// these facts.
///
/// What is learned may make more of it worth asking for: whoever looks them up asks again, until nothing is wanted
/// that was not asked for before.
pub fn wanted_images(
    file: &Dockerfile,
    evaluated: &Evaluated,
    facts: &Facts,
) -> BTreeMap<String, BTreeSet<Platform>> {
    let mut wanted = Wanted { facts, images: BTreeMap::new() };
    if let Some(name) = syntax_image(file) {
        wanted.name(name);
    }
    for evaluation in &evaluated.evaluations {
        for stage in &evaluation.stages {
            if let Base::Image(name) = &stage.base {
                wanted.base(name, &stage.platform);
            }
            for step in &stage.steps {
                match &step.op {
                    Op::Run(run) => run.mounts.iter().for_each(|mount| wanted.from(&mount.from)),
                    Op::Copy(copy) => wanted.from(&copy.from),
                    _ => {}
                }
            }
        }
    }
    wanted.images
}

/// The sources in the build context that a Dockerfile names, by their names as [`source_name`] has them: paths, and
/// patterns.
pub fn wanted_sources(file: &Dockerfile, request: &Request) -> BTreeSet<String> {
    let files = file.instructions.iter().filter_map(|instruction| match &instruction.body {
        Body::Copy(files) | Body::Add(files) if instruction.flag("from").is_none() => Some(&files.sources),
        _ => None,
    });
    let written: BTreeSet<&str> = files.flatten().map(|word| word.text.as_str()).collect();
    let is_file =
        |path: &&str| Source::Path((*path).to_owned()).remote().is_none() && !path.starts_with("<<");
    // Most files have no variables there, and need not be evaluated.
    if !written.iter().any(|word| word.contains(['$', '\\', '"', '\''])) {
        let paths = written.into_iter().filter(is_file);
        return paths.map(source_name).take(MAX_WANTED).collect();
    }
    let facts = Facts::default();
    let Evaluated { evaluations, .. } = Evaluated::new(file, request, &facts);
    let steps = evaluations.iter().flat_map(|it| &it.stages).flat_map(|stage| &stage.steps);
    let sources = steps.filter_map(|step| match &step.op {
        Op::Copy(copy) if copy.from == From::Context => Some(&copy.sources),
        _ => None,
    });
    let paths =
        sources.flatten().filter(|source| source.remote().is_none()).filter_map(|source| match source {
            Source::Path(path) => Some(source_name(path)),
            Source::Heredoc(_) => None,
        });
    paths.take(MAX_WANTED).collect()
}

/// The image of the front end that a file names.
pub(crate) fn syntax_image(file: &Dockerfile) -> Option<&str> {
    file.directives.syntax.as_ref()?.value.split_whitespace().next()
}

struct Wanted<'a> {
    facts: &'a Facts,
    images: BTreeMap<String, BTreeSet<Platform>>,
}

impl Wanted<'_> {
    fn add(&mut self, name: &str) -> Option<&mut BTreeSet<Platform>> {
        if !self.images.contains_key(name) && self.images.len() >= MAX_WANTED {
            return None;
        }
        Some(self.images.entry(name.to_owned()).or_default())
    }

    /// Asks for what a name stands for. Where its digest is that of one image, the tag beside it may have the others.
    fn name(&mut self, name: &str) {
        match self.facts.images.get(name) {
            None => drop(self.add(name)),
            Some(ImageFacts::Manifest { .. }) => {
                if let Some(tagged) = without_digest(name)
                    && !self.facts.images.contains_key(tagged)
                {
                    self.add(tagged);
                }
            }
            Some(_) => {}
        }
    }

    fn base(&mut self, name: &str, platform: &Platform) {
        self.name(name);
        let known = match self.facts.images.get(name) {
            Some(ImageFacts::Missing) => true,
            Some(image) if image.platform_for(platform).is_none() => true,
            _ => self.facts.bases.contains_key(&(name.to_owned(), platform.clone())),
        };
        if !known && let Some(platforms) = self.add(name) {
            platforms.insert(platform.clone());
        }
    }

    fn from(&mut self, from: &From) {
        if let From::Image(name) = from {
            self.name(name);
        }
    }
}

/// The name of an image that has both a tag and a digest, without the digest.
pub(crate) fn without_digest(name: &str) -> Option<&str> {
    let (tagged, _) = name.split_once('@')?;
    tagged.rsplit('/').next().is_some_and(|last| last.contains(':')).then_some(tagged)
}
