//! A build: from a request to the protocol, and from the daemon's answer to a result.
//!
//! What is sent is what buildx sends, and what cannot be done is refused as by buildx, before anything is begun. It
//! is different where
//!
//! - directories have shared keys made of where they are and whose (in buildx the last part of the path stands for
//!   that, and one directory can be taken for another); the keys say nothing to others, since provenance has those of
//!   named contexts;
//! - names of images are written in full;
//! - annotations also count where no output was named, and the image goes into the Engine that builds it;
//! - the last of several exporters is that into a layout, if there is one: of those that answer by one key the last
//!   is heard, and the layout's table of contents is made of its answer;
//! - a Dockerfile over HTTP is a definition among the inputs, where the context is no address: nothing is fetched
//!   beforehand;
//! - a Dockerfile from standard input is sent from memory: there are no temporary files;
//! - caches of GitHub's and of S3's are not left out where a daemon does not know them: it says so;
//! - what depends on the daemon's capabilities is settled within the build, not by one before it.
//!
//! As later versions of buildx than 0.29, images in an Engine's containerd are known by the digest of their manifest or
//! index alone. `reset` of a local cache, with which those remove what a cache no longer names, does nothing.

mod answer;
mod attributes;
mod caches;
mod definition;
mod exported;
mod exports;
mod history;

mod inputs;
mod policy;
mod provenance;

mod settings;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use rbx_oci::layout::{DirectoryWriter, Layout, LayoutImage};
use rbx_oci::{ANNOTATION_REF_NAME, Descriptor, Digest, Reference};
use rbx_request::{
    ArchiveStream, BuildRequest, BuildResult, CacheEntry, Cancel, EventSender, Failure, FailureKind, Stdout,
};
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::Client;

use crate::id::new_id;
use crate::proto::control;
use crate::session::{Auth, Contents, Locals, Output, Outputs, Secrets, Services, Session, Ssh, Uploads};
use crate::solve::{Solve, Solved, Work, solve};
use attributes::{Asked, Flags, HOST_GATEWAY};
use caches::Caches;
use exports::{Exports, Target};
use inputs::{CONTEXT, DOCKERFILE, DOCKERFILE_NAME, Inputs, Local};

pub use exported::Exported;
pub use settings::{CacheSecrets, Load, MetadataProvenance, Settings, Vcs};

/// The label by which an Engine's worker says the address of its host.
const GATEWAY_LABEL: &str = "org.mobyproject.buildkit.worker.moby.host-gateway-ip";
/// The id under which the daemon asks for the layout that it exports to.
const EXPORT: &str = "export";
/// The tag in a layout of an image without a name.
const DEFAULT_TAG: &str = "latest";
/// Bytes that a Dockerfile over HTTP may have.
const DOCKERFILE_LIMIT: usize = 2 << 20;
/// Bytes that are on their way from standard input.
const PIPE: usize = 1 << 20;

/// What a build made.
#[derive(Debug, Default)]
pub struct Built {
    /// The image's digests, and everything exporters answered.
    pub result: BuildResult,
    /// The frontend's answer, if the request was a call.
    pub call: Option<rbx_request::CallAnswer>,
    /// The id under which the daemon's history has the build.
    pub reference: String,
    /// Images that are in the Engine and still to be pushed by it, since its `BuildKit` cannot.
    pub pushes: Vec<String>,
    /// The image that is still to be loaded somewhere, where the builder lets its layers be read.
    pub exported: Option<Exported>,
}

/// Builds what a request asks for.
///
/// Outputs are complete when this returns. What goes to `-` is written to `stdout`. Fails with what the driver cannot
/// do before anything is begun, then with what the daemon says. When `cancel` says so, the daemon is told to end its
/// steps, and the failure is of the kind [`FailureKind::Cancelled`].
pub async fn build(
    client: &Client,
    request: &BuildRequest,
    settings: &Settings,
    events: &EventSender,
    cancel: &Cancel,
    stdout: &Stdout,
) -> Result<Built, Failure> {
    let reference = if settings.reference.is_empty() { new_id() } else { settings.reference.clone() };
    let policy = settings.source_policy.as_deref().map(policy::parse).transpose()?;
    attributes::check_attestations(request, settings)?;
    let caches = Caches::of(request, settings)?;
    let mut exports = Exports::of(request, settings)?;
    let mut inputs = Inputs::of(request, settings, &reference)?;
    let gateway = host_gateway(client, request, settings, cancel).await?;
    let mut flags = Flags::of(request, settings, gateway.as_deref())?;

    if let Some(url) = inputs.fetched_dockerfile.take() {
        let session = Session::new("", "", services(request, settings, events)?);
        let text = fetch_dockerfile(client, session, &url, events, cancel).await?;
        let file = Local::File(Some((DOCKERFILE_NAME.to_owned(), text)));
        inputs.locals.insert(DOCKERFILE.to_owned(), file);
    }
    let mut services = services(request, settings, events)?;
    if let Some(archive) = inputs.upload.take() {
        let uploads = Uploads::default();
        let address = uploads.add(reader(&archive));
        inputs.attributes.insert(CONTEXT.to_owned(), address);
        services.uploads = Some(uploads);
    }
    services.locals = locals(&inputs)?;
    let parts = parts(client, &mut exports, settings, cancel).await?;
    services.outputs = outputs(&exports, settings, stdout)?;
    services.contents = contents(&inputs, &caches, &exports, parts.as_ref())?;

    flags.attributes.append(&mut inputs.attributes);
    let asked = Asked::of(request, settings, exports.all.len());
    let solve_request = Solve {
        reference: reference.clone(),
        session: Session::new(name_of(request), inputs.shared_key, services),
        work: Work::Frontend(flags.frontend.to_owned()),
        attributes: flags.attributes.into_iter().collect(),
        adjust: Box::new(move |capabilities, attributes| {
            let drop_one = |key: &str| drop(attributes.remove(key));
            attributes::adjust(asked, |id| capabilities.has_llb(id), drop_one).map_err(Box::new)
        }),
        inputs: inputs.definitions,
        exporters: exports.all.iter().map(exporter).collect(),
        cache_exports: caches.exports.iter().map(cache_entry).collect(),
        cache_imports: caches.imports.iter().map(cache_entry).collect(),
        entitlements: flags.entitlements,
        source_policy: policy,
        internal: request.call.is_some(),
    };
    let solved = solve(client, solve_request, events, cancel).await.map_err(in_buildx_words)?;
    list_in_layouts(&solved, &caches, &exports)?;
    let exported = parts.map(|parts| parts.exported(client, &solved)).transpose()?;

    let answered = request.call.as_ref().map(|_| &solved.answered);
    let mut result = answer::result(&solved.exported, answered, exports.by_image_digest);
    result.notes.extend(caches.notes);
    if request.call.is_none() {
        let place = format!("{}/{}/{reference}", settings.builder, settings.node);
        result.metadata.insert("buildx.build.ref".to_owned(), place.into());
        result
            .metadata
            .extend(history::provenance(client, &reference, settings.provenance, events, cancel).await?);
    }
    Ok(Built { result, call: answered.map(answer::call), reference, pushes: exports.pushes, exported })
}

/// What the session is called in the daemon's log.
fn name_of(request: &BuildRequest) -> &str {
    request.target.as_deref().unwrap_or_default()
}

/// The address of the host that an Engine gives its steps, if the request names it.
async fn host_gateway(
    client: &Client,
    request: &BuildRequest,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Option<String>, Failure> {
    let named = |host: &rbx_request::AddHost| host.addresses.iter().any(|address| address == HOST_GATEWAY);
    if !settings.in_engine || !request.add_hosts.iter().any(named) {
        return Ok(None);
    }
    let workers = async { client.workers().await.map_err(|error| error.into_failure(|_| None)) };
    let workers = cancel.unless(workers).await?;
    let label =
        workers.iter().find_map(|worker| worker.labels.get(GATEWAY_LABEL).filter(|ip| !ip.is_empty()));
    match label {
        Some(ip) if ip.parse::<IpAddr>().is_err() => {
            Err(Failure::new(FailureKind::Failed, format!("failed to parse host-gateway IP: {ip}")))
        }
        ip => Ok(ip.cloned()),
    }
}

/// Has the daemon fetch a Dockerfile.
async fn fetch_dockerfile(
    client: &Client,
    session: Session,
    url: &str,
    events: &EventSender,
    cancel: &Cancel,
) -> Result<Vec<u8>, Failure> {
    let name = format!("[internal] load {}", rbx_source::redacted(url));
    let fetch = Solve {
        reference: new_id(),
        session,
        work: Work::File {
            definition: definition::http(url, DOCKERFILE_NAME, &name),
            path: DOCKERFILE_NAME.to_owned(),
            limit: DOCKERFILE_LIMIT,
        },
        attributes: HashMap::new(),
        adjust: Box::new(|_, _| Ok(())),
        inputs: HashMap::new(),
        exporters: Vec::new(),
        cache_exports: Vec::new(),
        cache_imports: Vec::new(),
        entitlements: Vec::new(),
        source_policy: None,
        internal: true,
    };
    let mut solved = solve(client, fetch, events, cancel).await?;
    Ok(solved.answered.remove(DOCKERFILE_NAME).unwrap_or_default())
}

/// What every session of a build offers.
fn services(request: &BuildRequest, settings: &Settings, events: &EventSender) -> Result<Services, Failure> {
    let auth = settings.registry.clone();
    // Also where there is none: the daemon is told so, in words that say what lacks.
    let ssh = Ssh::open(&request.ssh).map_err(|error| invalid(error.to_string()))?;
    Ok(Services {
        auth: auth.map(|registry| Auth::new(registry, settings.token_seeds.clone(), events.clone())),
        secrets: (!request.secrets.is_empty()).then(|| Secrets::new(&request.secrets)),
        ssh: Some(ssh),
        ..Services::default()
    })
}

/// The directories that the daemon may read.
fn locals(inputs: &Inputs) -> Result<Locals, Failure> {
    let directories = inputs.locals.iter().filter_map(|(name, local)| match local {
        Local::Directory(path) => Some((name, path)),
        Local::File(_) => None,
    });
    let mut locals = Locals::new(directories).map_err(|error| invalid(error.to_string()))?;
    for (name, local) in &inputs.locals {
        if let Local::File(file) = local {
            locals.add_file(name, file.clone());
        }
    }
    Ok(locals)
}

/// Where streams and files of exporters go, by the number of the exporter.
fn outputs(exports: &Exports, settings: &Settings, stdout: &Stdout) -> Result<Outputs, Failure> {
    let output = |target: &Target| match target {
        Target::Daemon | Target::Layout(_) | Target::Parts => None,
        Target::File(path) => Some(Output::File(path.clone())),
        Target::Stdout => Some(Output::Stdout(stdout.clone())),
        Target::Directory { path, delete } => Some(Output::Directory { path: path.clone(), delete: *delete }),
        Target::Archive(load) => match settings.loads.get(*load) {
            Some(Load::Archive { open, .. }) => Some(Output::Pipe(open.clone())),
            Some(Load::InEngine) | None => None,
        },
    };
    let numbered = exports.all.iter().enumerate();
    let outputs = numbered.filter_map(|(number, export)| Some((number, output(&export.target)?)));
    Outputs::new(outputs).map_err(|error| invalid(error.to_string()))
}

/// Where an image is put together of which the daemon is not to send all.
struct Parts {
    load: usize,
    directory: TempDir,
}

impl Parts {
    fn writer(&self) -> Result<DirectoryWriter, Failure> {
        writer(self.directory.path())
    }

    fn exported(self, client: &Client, solved: &Solved) -> Result<Exported, Failure> {
        let descriptor = solved.exported.get(answer::DESCRIPTOR).and_then(|it| answer::descriptor(it));
        let descriptor = descriptor.ok_or_else(|| damaged(answer::DESCRIPTOR))?;
        let here = self.writer()?;
        Ok(Exported {
            load: self.load,
            names: names(solved),
            client: client.clone(),
            descriptor,
            here,
            _directory: self.directory,
        })
    }
}

/// Has the image to be loaded come in parts, if the daemon lets its content be read.
async fn parts(
    client: &Client,
    exports: &mut Exports,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Option<Parts>, Failure> {
    let Some((scratch, load)) = settings.scratch.as_ref().zip(exports.to_be_loaded()) else {
        return Ok(None);
    };
    // It need not have what is asked for, but know the question.
    let asked = async { client.has_content(Digest::sha256_of(b"")).await.map_err(Failure::from) };
    if cancel.unless(asked).await?.is_none() {
        return Ok(None);
    }
    // Where nothing can be written the image comes as one stream.
    let Ok(directory) = tempfile::Builder::new().prefix("rbx-load-").tempdir_in(scratch) else {
        return Ok(None);
    };
    exports.load_in_parts();
    Ok(Some(Parts { load, directory }))
}

/// The layouts that the daemon may read and write.
fn contents(
    inputs: &Inputs,
    caches: &Caches,
    exports: &Exports,
    parts: Option<&Parts>,
) -> Result<Option<Contents>, Failure> {
    let mut contents = Contents::default();
    if let Some(parts) = parts {
        contents.add_documents(EXPORT, parts.writer()?);
    }
    for (id, path) in &caches.stores {
        if caches.updates.contains_key(path) {
            contents.add_directory(id, writer(path)?);
        } else {
            contents.add_layout(id, layout(path)?);
        }
    }
    for (id, path) in &inputs.layouts {
        contents.add_layout(format!("oci:{id}"), layout(path)?);
    }
    let mut written = exports.all.iter().filter_map(|export| match &export.target {
        Target::Layout(path) => Some(path),
        _ => None,
    });
    if let Some(path) = written.next() {
        contents.add_directory(EXPORT, writer(path)?);
    }
    // The daemon asks for all of them by one name.
    if written.next().is_some() {
        return Err(invalid(format!("oci store key {EXPORT:?} already exists")));
    }
    Ok(Some(contents).filter(|contents| !contents.is_empty()))
}

fn writer(path: &Path) -> Result<DirectoryWriter, Failure> {
    DirectoryWriter::create(path).map_err(|error| unusable(path, &error))
}

fn layout(path: &Path) -> Result<Layout, Failure> {
    Layout::open(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureKind::Failed, format!("{error}: invalid store at {}", path.display()))
}

/// Lists what the daemon wrote into layouts in their tables of contents.
fn list_in_layouts(solved: &Solved, caches: &Caches, exports: &Exports) -> Result<(), Failure> {
    let list = |path: &Path, image: LayoutImage| {
        let listed = DirectoryWriter::create(path).and_then(|writer| writer.finish(&[image]));
        listed.map_err(|error| unusable(path, &error))
    };
    if let Some(manifest) = solved.exported.get(answer::CACHE_MANIFEST).filter(|it| !it.is_empty()) {
        let manifest: Descriptor =
            serde_json::from_str(manifest).map_err(|_| damaged(answer::CACHE_MANIFEST))?;
        for (path, tag) in &caches.updates {
            let descriptor = manifest.clone().with_annotation(ANNOTATION_REF_NAME, tag);
            list(path, LayoutImage { descriptor, names: Vec::new() })?;
        }
    }
    let written = exports.all.iter().find_map(|export| match &export.target {
        Target::Layout(path) => Some(path),
        _ => None,
    });
    if let (Some(path), Some(encoded)) = (written, solved.exported.get(answer::DESCRIPTOR)) {
        let mut descriptor = answer::descriptor(encoded).ok_or_else(|| damaged(answer::DESCRIPTOR))?;
        let names = names(solved);
        if names.is_empty() {
            descriptor = descriptor.with_annotation(ANNOTATION_REF_NAME, DEFAULT_TAG);
        }
        list(path, LayoutImage { descriptor, names })?;
    }
    Ok(())
}

/// The names that the exporter of an image gave it.
fn names(solved: &Solved) -> Vec<Reference> {
    let names = solved.exported.get(answer::IMAGE_NAME).map(String::as_str).unwrap_or_default();
    names.split(',').filter_map(|name| Reference::parse(name).ok()).collect()
}

fn damaged(key: &str) -> Failure {
    Failure::new(FailureKind::Failed, format!("the builder answered no descriptor as {key}"))
}

/// An archive that is read by blocking, as a stream.
fn reader(archive: &ArchiveStream) -> impl AsyncRead + Send + Unpin + 'static {
    let (read, write) = tokio::io::duplex(PIPE);
    let archive = archive.take();
    tokio::task::spawn_blocking(move || {
        let mut write = SyncIoBridge::new(write);
        let copied = archive.map(|mut archive| std::io::copy(&mut archive, &mut write));
        // An archive that ends early is one that its reader finds damaged.
        if let Some(Err(error)) = copied {
            tracing::debug!(%error, "failed to read the context");
        }
    });
    read
}

fn exporter(export: &exports::Export) -> control::Exporter {
    control::Exporter {
        r#type: export.kind.to_owned(),
        attrs: export.attributes.clone().into_iter().collect(),
    }
}

fn cache_entry(entry: &CacheEntry) -> control::CacheOptionsEntry {
    let attrs: HashMap<String, String> = entry.attributes.clone().into_iter().collect();
    control::CacheOptionsEntry { r#type: entry.kind.clone(), attrs }
}

/// Failures that mean something else to people than what the daemon says.
fn in_buildx_words(mut failure: Failure) -> Failure {
    const CAPABILITY: &str = "unsupported frontend capability moby.buildkit.frontend.";
    if let Some((_, capability)) = failure.reason.split_once(CAPABILITY) {
        let instead = "Use #syntax directive in Dockerfile or update to latest BuildKit.";
        let known = if capability.starts_with("contexts") {
            Some((
                "current frontend does not support --build-context.",
                "Named contexts are supported since Dockerfile v1.4.",
            ))
        } else if capability.starts_with("gitquerystring") {
            Some((
                "current frontend does not support Git URLs with query string components.",
                "Git URLs with query string are supported since Dockerfile v1.18 and BuildKit v0.24.",
            ))
        } else {
            None
        };
        if let Some((reason, since)) = known {
            reason.clone_into(&mut failure.reason);
            failure.hint = Some(format!("{since} {instead}"));
        }
    }
    failure
}

fn invalid(reason: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Invalid, reason)
}

/// What a driver cannot do. `topic` is the page of Docker's documentation about it.
fn unsupported(feature: &str, settings: &Settings, topic: &str) -> Failure {
    let mut failure = invalid(format!("{feature} is not supported for the {} driver.", settings.driver));
    failure.hint = Some(format!(
        "Switch to a different driver, or turn on the containerd image store, and try again.\n\
         Learn more at https://docs.docker.com/go/{topic}/"
    ));
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends_that_are_too_old_are_named() {
        let said = |capability: &str| {
            let reason = format!("unsupported frontend capability moby.buildkit.frontend.{capability}");
            let failure = in_buildx_words(Failure::new(FailureKind::Failed, reason));
            (failure.reason, failure.hint)
        };
        let (reason, hint) = said("contexts+forward");
        assert_eq!(reason, "current frontend does not support --build-context.");
        assert!(hint.unwrap().starts_with("Named contexts are supported since Dockerfile v1.4."));
        let (reason, _) = said("gitquerystring");
        assert_eq!(reason, "current frontend does not support Git URLs with query string components.");
        let (reason, hint) = said("other");
        assert_eq!(reason, "unsupported frontend capability moby.buildkit.frontend.other");
        assert_eq!(hint, None);
    }

    #[test]
    fn one_layout_at_a_time_is_exported() {
        let directory = tempfile::tempdir().unwrap();
        let export = |name: &str| exports::Export {
            kind: "oci",
            attributes: attributes::Attributes::new(),
            target: Target::Layout(directory.path().join(name)),
        };
        let of = |all: Vec<exports::Export>| {
            let exports = Exports { all, ..Exports::default() };
            contents(&Inputs::default(), &Caches::default(), &exports, None)
        };
        assert!(of(vec![export("a")]).unwrap().is_some());
        assert!(of(Vec::new()).unwrap().is_none());
        assert_eq!(
            of(vec![export("a"), export("b")]).unwrap_err().reason,
            "oci store key \"export\" already exists"
        );
    }
}
