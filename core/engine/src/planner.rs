//! From evaluated stages to a plan. Nothing is read or run here.

mod copy;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use rbx_dockerfile::{Base, Dockerfile, Evaluation, From, Op, Stage, Step};
use rbx_oci::History;
use rbx_platform::Platform;
use rbx_request::{BuildRequest, NoCache, SourceRange};

use crate::config::ImagePlan;
use crate::error::BuildError;
use crate::image::Image;
use crate::main_context::MainContext;
use crate::named_context::NamedContext;
use crate::plan::{
    CopyFrom, CopyOperation, CopyPart, CopyPaths, DirectoryOperation, Operation, Plan, Target, VertexId,
};
use crate::tree::clean;

/// The name of the main context among a build's contexts.
pub(crate) const MAIN_CONTEXT: &str = "context";

/// What names layers in a history that no instruction made, as in BuildKit.
const EXPORTER: &str = "buildkit.exporter.image.v0";

/// One platform's stages, turned into vertices as they are needed.
pub(crate) struct Planner<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) context: &'a MainContext,
    pub(crate) file: &'a Dockerfile,
    pub(crate) file_name: &'a str,
    pub(crate) text: &'a Arc<str>,
    pub(crate) evaluation: &'a Evaluation,
    /// Base images and those copied from, by name and platform.
    pub(crate) images: &'a BTreeMap<(String, Platform), Arc<Image>>,
    pub(crate) platform: &'a Platform,
    /// What the commands of each stage run on: see [`crate::emulation::platforms`].
    pub(crate) runs_on: &'a [Platform],
    /// Several platforms are built: names say which.
    pub(crate) several: bool,
    pub(crate) epoch: Option<i64>,
    /// What each planned stage ends with.
    roots: BTreeMap<usize, Option<VertexId>>,
    /// The images of stages, each until all that are built on it are planned.
    stage_images: BTreeMap<usize, ImagePlan>,
    /// How many stages are yet to be built on each, the result of the build included.
    built_on: BTreeMap<usize, usize>,
}

impl<'a> Planner<'a> {
    #[expect(clippy::too_many_arguments, reason = "one value for each thing a plan is made from")]
    pub(crate) fn new(
        request: &'a BuildRequest,
        context: &'a MainContext,
        file: &'a Dockerfile,
        file_name: &'a str,
        text: &'a Arc<str>,
        evaluation: &'a Evaluation,
        images: &'a BTreeMap<(String, Platform), Arc<Image>>,
        platform: &'a Platform,
        runs_on: &'a [Platform],
        several: bool,
        epoch: Option<i64>,
    ) -> Self {
        let mut built_on = BTreeMap::new();
        let needed = evaluation.stages.iter().filter(|stage| stage.reachable);
        let bases = needed.filter_map(|stage| match stage.base {
            Base::Stage(below) => Some(below),
            _ => None,
        });
        for index in bases.chain(evaluation.target) {
            *built_on.entry(index).or_insert(0) += 1;
        }
        Self {
            request,
            context,
            file,
            file_name,
            text,
            evaluation,
            images,
            platform,
            runs_on,
            several,
            epoch,
            roots: BTreeMap::new(),
            stage_images: BTreeMap::new(),
            built_on,
        }
    }

    /// Adds what the target of the build needs.
    pub(crate) fn plan(&mut self, plan: &mut Plan) -> Result<(), BuildError> {
        let target = self
            .evaluation
            .target
            .ok_or_else(|| BuildError::invalid("the Dockerfile has no stage to build"))?;
        // A stage needs only those before it. In this order none waits for another, however long a row of them is.
        for index in 0..=target {
            if index == target || self.evaluation.stages[index].reachable {
                self.stage(plan, index)?;
            }
        }
        let root = self.roots.get(&target).copied().flatten();
        let mut image = self.image_of_stage(target)?;
        // An image is for what its base is for, unless the build says otherwise.
        let platform = if self.request.platforms.is_empty() {
            image.config.platform().normalized()
        } else {
            image.set_platform(self.platform);
            self.platform.clone()
        };
        for (name, value) in &self.request.labels {
            image.config.config.labels.insert(name.clone(), value.clone());
        }
        plan.targets.push(Target { platform, root, image });
        Ok(())
    }

    fn range(&self, span: rbx_dockerfile::Span) -> SourceRange {
        let (first, last) = self.file.line_index.lines_of(span);
        SourceRange { file: self.file_name.to_owned(), text: self.text.clone(), first, last }
    }

    /// The image of a planned stage, for one that is built on it. The last of these takes it: otherwise a row of
    /// stages would cost the square of its length.
    fn image_of_stage(&mut self, index: usize) -> Result<ImagePlan, BuildError> {
        let left = self.built_on.get(&index).copied().unwrap_or(0).saturating_sub(1);
        self.built_on.insert(index, left);
        let image =
            if left == 0 { self.stage_images.remove(&index) } else { self.stage_images.get(&index).cloned() };
        image.ok_or_else(|| BuildError::failed(format!("stage {index} was not planned")))
    }

    /// Plans a stage, and answers the vertex it ends with.
    fn stage(&mut self, plan: &mut Plan, index: usize) -> Result<Option<VertexId>, BuildError> {
        if let Some(known) = self.roots.get(&index) {
            return Ok(*known);
        }
        let stage = &self.evaluation.stages[index];
        let range = self.range(stage.span);
        let (mut root, mut image) = match &stage.base {
            Base::Scratch => (None, ImagePlan::scratch(&stage.platform)),
            Base::Stage(below) => {
                let root = self.stage(plan, *below)?;
                let mut image = self.image_of_stage(*below)?;
                image.begin_stage();
                (root, image)
            }
            Base::Context(name) if !self.named(name)?.is_image() => {
                let vertex = self.named_vertex(plan, name, &stage.platform)?;
                let mut image = ImagePlan::scratch(&stage.platform);
                if let Some(vertex) = vertex {
                    // What no instruction made is named by the exporter.
                    let entry = History { comment: EXPORTER.to_owned(), ..History::default() };
                    image.steps.push((entry, Some(vertex)));
                }
                (vertex, image)
            }
            Base::Image(name) | Base::Context(name) => {
                let found =
                    self.image(name, &stage.platform).map_err(|error| error.at(Some(range.clone())))?;
                let prefix = match &stage.base {
                    Base::Context(name) => format!("[context {name}] "),
                    _ => stage.prefix(1, self.shown(&stage.platform)),
                };
                let name = format!("{prefix}FROM {}", found.name);
                let plan_of_image = ImagePlan::from_base(&found.config);
                let vertex = plan.add(&name, Operation::Image(found), Vec::new(), Some(range), false);
                (Some(vertex), plan_of_image)
            }
            Base::Unresolved => {
                return Err(BuildError::invalid("the base of a stage is not known").at(Some(range)));
            }
        };
        let fresh = match &self.request.no_cache {
            NoCache::Use => false,
            NoCache::All => true,
            NoCache::Stages(names) => names.iter().any(|name| {
                stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
                    || stage.index.to_string() == *name
            }),
        };
        for step in &stage.steps {
            let range = self.range(step.span);
            let vertex =
                self.step(plan, stage, step, root, &range, fresh).map_err(|error| error.at(Some(range)))?;
            image.apply(step, vertex);
            root = vertex.or(root);
        }
        image.end_stage(stage);
        self.roots.insert(index, root);
        if self.built_on.get(&index).is_some_and(|&left| left > 0) {
            self.stage_images.insert(index, image);
        }
        Ok(root)
    }

    /// The platform that names of vertices say, where several are built.
    fn shown<'p>(&self, platform: &'p Platform) -> Option<&'p Platform> {
        self.several.then_some(platform)
    }

    fn image(&self, name: &str, platform: &Platform) -> Result<Arc<Image>, BuildError> {
        self.images
            .get(&(name.to_owned(), platform.clone()))
            .cloned()
            .ok_or_else(|| BuildError::failed(format!("image {name} was not resolved")))
    }

    /// The vertex of a step that changes files; `None` for those that change the configuration only.
    fn step(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        step: &Step,
        base: Option<VertexId>,
        range: &SourceRange,
        fresh: bool,
    ) -> Result<Option<VertexId>, BuildError> {
        let mut inputs: Vec<VertexId> = base.into_iter().collect();
        let operation = match &step.op {
            Op::Run(run) => {
                let (run, mounted) = self.run(plan, stage, step, run, base)?;
                inputs.extend(mounted);
                Operation::Run(run)
            }
            Op::Copy(copy) => {
                let copy = self.copy(plan, stage, step, copy, base)?;
                inputs.extend(copy.inputs());
                Operation::Copy(copy)
            }
            Op::Workdir(path) if path != "/" => Operation::Directory(DirectoryOperation {
                base,
                path: path.clone(),
                owner: step.user.as_deref().filter(|user| !user.is_empty()).map(str::to_owned),
                epoch: self.epoch,
            }),
            _ => return Ok(None),
        };
        let (own, name) =
            (step.vertex_name(stage, None), step.vertex_name(stage, self.shown(&stage.platform)));
        Ok(Some(plan.add_step(name, &own, operation, inputs, Some(range.clone()), fresh)))
    }

    /// The vertex that a `from=` means; `None` for an empty file system.
    fn source(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        from: &From,
    ) -> Result<Option<VertexId>, BuildError> {
        match from {
            From::Stage(index) => self.stage(plan, *index),
            From::Scratch => Ok(None),
            From::Image(name) => self.image_vertex(plan, name, &stage.platform).map(Some),
            From::Named(name) => self.named_vertex(plan, name, &stage.platform),
            From::Context => Ok(Some(match self.context {
                MainContext::Fetched { layer, .. } => {
                    let operation = Operation::Layers(vec![*layer]);
                    plan.add("[internal] load build context", operation, Vec::new(), None, false)
                }
                MainContext::Directory(_) => self.context_vertex(plan, MAIN_CONTEXT.to_owned(), "/"),
            })),
        }
    }

    fn image_vertex(&self, plan: &mut Plan, name: &str, platform: &Platform) -> Result<VertexId, BuildError> {
        let image = self.image(name, platform)?;
        let name = format!("FROM {}", image.name);
        Ok(plan.add(&name, Operation::Image(image), Vec::new(), None, false))
    }

    fn named(&self, name: &str) -> Result<NamedContext, BuildError> {
        match self.request.named_contexts.get(name) {
            Some(value) => NamedContext::parse(name, value),
            None => Err(BuildError::invalid(format!("there is no build context {name:?}"))),
        }
    }

    /// The vertex that a named context means; `None` for an empty file system.
    fn named_vertex(
        &self,
        plan: &mut Plan,
        name: &str,
        platform: &Platform,
    ) -> Result<Option<VertexId>, BuildError> {
        Ok(match self.named(name)? {
            NamedContext::Scratch => None,
            NamedContext::Directory(_) => Some(self.context_vertex(plan, name.to_owned(), "/")),
            NamedContext::Remote(remote) => {
                let title = format!("[context {name}] {}", remote.shown());
                Some(plan.add(&title, Operation::Fetch(remote), Vec::new(), None, false))
            }
            NamedContext::Image(_) | NamedContext::Layout { .. } => {
                Some(self.image_vertex(plan, name, platform)?)
            }
        })
    }

    /// The directory of this machine that a `from=` means, by its name in the build.
    fn context_of(&self, from: &From) -> Option<String> {
        match from {
            From::Context if matches!(self.context, MainContext::Directory(_)) => {
                Some(MAIN_CONTEXT.to_owned())
            }
            From::Named(name) if matches!(self.named(name), Ok(NamedContext::Directory(_))) => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    /// The vertex that brings part of a context into the store, for a step to mount.
    fn context_vertex(&self, plan: &mut Plan, context: String, source: &str) -> VertexId {
        let copy = CopyOperation {
            base: None,
            parts: vec![CopyPart {
                from: CopyFrom::Context(context),
                paths: CopyPaths::Patterns(vec![source.to_owned()]),
                unpack: false,
            }],
            inline: Vec::new(),
            destination: "/".to_owned(),
            owner: None,
            chmod: None,
            exclude: Vec::new(),
            // The path stays what it is, so that it is found under it.
            parents: !clean(source.as_bytes()).is_empty(),
            link: false,
            epoch: self.epoch,
        };
        let name =
            format!("[internal] mount build context /{}", String::from_utf8_lossy(&clean(source.as_bytes())));
        plan.add(&name, Operation::Copy(copy), Vec::new(), None, false)
    }
}

/// A path from the root; a trailing slash stays.
fn absolute(path: &str, working_dir: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{working_dir}/{path}") };
    let cleaned = format!("/{}", String::from_utf8_lossy(&clean(joined.as_bytes())));
    let into = joined.ends_with('/') || joined.ends_with("/.") || path.is_empty() || path == ".";
    if into && cleaned != "/" { format!("{cleaned}/") } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_begin_in_the_working_directory() {
        assert_eq!(absolute("a", "/w"), "/w/a");
        assert_eq!(absolute("a/", "/w"), "/w/a/");
        assert_eq!(absolute("/a/../b", "/w"), "/b");
        assert_eq!(absolute(".", "/w"), "/w/");
        assert_eq!(absolute("./", ""), "/");
        assert_eq!(absolute("../x", "/w/v"), "/w/x");
    }
}
