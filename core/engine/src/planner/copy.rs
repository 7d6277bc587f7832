//! `COPY` and `ADD`: what each source path is, and where it comes from.

use rbx_dockerfile::{Remote as RemoteKind, Source, Stage, Step, slashed};
use rbx_oci::Digest;
use rbx_source::{GitAddress, file_name};

use super::{Planner, absolute};
use crate::error::BuildError;
use crate::fetch::{GitSource, HttpSource, Remote};
use crate::mode::Chmod;
use crate::plan::{CopyFrom, CopyOperation, CopyPart, CopyPaths, Operation, Plan, VertexId};

/// What a file is called whose address does not say.
const UNNAMED: &str = "__unnamed__";

impl Planner<'_> {
    pub(super) fn copy(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        step: &Step,
        copy: &rbx_dockerfile::Copy,
        base: Option<VertexId>,
    ) -> Result<CopyOperation, BuildError> {
        let mut parts: Vec<CopyPart> = Vec::new();
        let mut inline = Vec::new();
        let name = step.vertex_name(stage, self.shown(&stage.platform));
        for source in &copy.sources {
            let path = match source {
                Source::Heredoc(file) => {
                    inline.push((file.name.clone(), file.content.clone()));
                    continue;
                }
                Source::Path(path) => path,
            };
            let (remote, paths) = match source.remote() {
                Some(RemoteKind::Http) if !copy.add => {
                    return Err(BuildError::invalid("source can't be a URL for COPY"));
                }
                Some(RemoteKind::Git) if !copy.add => {
                    return Err(BuildError::invalid("source can't be a git ref for COPY"));
                }
                Some(RemoteKind::Http) => {
                    let source = http_source(path, copy.checksum.as_deref())?;
                    let paths = CopyPaths::File(source.name.clone());
                    (Remote::Http(source), paths)
                }
                Some(RemoteKind::Git) => {
                    let everything = CopyPaths::Patterns(vec!["/".to_owned()]);
                    (Remote::Git(git_source(path, copy)?), everything)
                }
                None => {
                    let from = self.local(plan, stage, copy)?;
                    match parts.last_mut() {
                        Some(CopyPart { from: last, paths: CopyPaths::Patterns(paths), .. })
                            if *last == from =>
                        {
                            paths.push(path.clone());
                        }
                        _ => parts.push(CopyPart {
                            from,
                            paths: CopyPaths::Patterns(vec![path.clone()]),
                            unpack: copy.unpack.unwrap_or(copy.add),
                        }),
                    }
                    continue;
                }
            };
            let unpack = copy.unpack.unwrap_or(false) && matches!(remote, Remote::Http(_));
            let vertex = plan.add(&name, Operation::Fetch(remote), Vec::new(), None, false);
            parts.push(CopyPart { from: CopyFrom::Vertex(vertex), paths, unpack });
        }
        if copy.checksum.is_some() && !copy.sources.iter().any(|source| source.remote().is_some()) {
            return Err(BuildError::invalid(if copy.add {
                "checksum requires HTTP(S) or Git sources"
            } else {
                "checksum can't be specified for COPY"
            }));
        }
        Ok(CopyOperation {
            base,
            parts,
            inline,
            destination: absolute(&slashed(&copy.destination, &stage.platform), &step.working_dir),
            owner: copy.chown.clone(),
            chmod: copy.chmod.as_deref().map(Chmod::parse).transpose()?,
            exclude: copy.exclude.clone(),
            parents: copy.parents,
            // As BuildKit: a mode cannot be given to a layer that is merged in later.
            link: copy.link && copy.chmod.is_none(),
            epoch: self.epoch,
        })
    }

    /// Where the paths of an instruction are that are no addresses.
    fn local(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        copy: &rbx_dockerfile::Copy,
    ) -> Result<CopyFrom, BuildError> {
        Ok(match self.context_of(&copy.from) {
            Some(context) => CopyFrom::Context(context),
            None => self.source(plan, stage, &copy.from)?.map_or(CopyFrom::Nothing, CopyFrom::Vertex),
        })
    }
}

fn http_source(url: &str, checksum: Option<&str>) -> Result<HttpSource, BuildError> {
    let checksum = checksum.map(Digest::parse).transpose();
    Ok(HttpSource {
        url: url.to_owned(),
        name: file_name(url).unwrap_or_else(|| UNNAMED.to_owned()),
        checksum: checksum.map_err(|error| BuildError::invalid(error.to_string()))?,
    })
}

fn git_source(text: &str, copy: &rbx_dockerfile::Copy) -> Result<GitSource, BuildError> {
    let address = GitAddress::parse(text).map_err(|error| BuildError::invalid(error.to_string()))?;
    let mut address = address.ok_or_else(|| BuildError::invalid(format!("invalid git address {text}")))?;
    if copy.keep_git_dir && address.keep_git_dir == Some(false) {
        return Err(BuildError::invalid("inconsistent keep-git-dir configuration"));
    }
    match (&copy.checksum, &address.checksum) {
        (Some(given), Some(own)) if given != own => {
            return Err(BuildError::invalid(format!("checksum mismatch {given:?} != {own:?}")));
        }
        (Some(given), None) => address.checksum = Some(given.clone()),
        _ => {}
    }
    let keep_git_dir = copy.keep_git_dir || address.keep_git_dir == Some(true);
    Ok(GitSource { address, keep_git_dir })
}
