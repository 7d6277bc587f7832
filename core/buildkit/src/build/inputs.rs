//! Where a build reads from: its context, its Dockerfile, and contexts that have names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rbx_oci::Digest;
use rbx_oci::layout::Layout;
use rbx_request::{ArchiveStream, BuildRequest, ContextSource, DockerfileSource, Failure, LayoutAddress};
use rbx_source::GitAddress;

use super::attributes::Attributes;
use super::definition;
use super::invalid;
use super::settings::Settings;
use crate::proto::pb;

/// The names under which the frontend asks for directories.
pub(super) const CONTEXT: &str = "context";
pub(super) const DOCKERFILE: &str = "dockerfile";
/// What a Dockerfile is called that is no file here.
pub(super) const DOCKERFILE_NAME: &str = "Dockerfile";
/// What a frontend must be able to do for a build with these inputs.
const NAMED_CONTEXTS: &str = "moby.buildkit.frontend.contexts+forward";
const GIT_QUERY: &str = "moby.buildkit.frontend.gitquerystring";

/// What the daemon may read, and what the frontend is told of it.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) attributes: Attributes,
    /// Directories by the names under which the daemon asks for them.
    pub(super) locals: BTreeMap<String, Local>,
    /// Layouts by the ids under which the daemon asks for their content.
    pub(super) layouts: BTreeMap<String, PathBuf>,
    /// An archive that is the context. Where the daemon finds it is not said yet.
    pub(super) upload: Option<ArchiveStream>,
    /// What stands for an input in the daemon's own terms.
    pub(super) definitions: HashMap<String, pb::Definition>,
    /// A Dockerfile that is to be fetched by the daemon first, and then to be the file of the directory `dockerfile`.
    pub(super) fetched_dockerfile: Option<String>,
    /// What makes the directories of this build comparable with those of one before it.
    pub(super) shared_key: String,
}

/// A directory that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Local {
    /// One of this machine, without links.
    Directory(PathBuf),
    /// One that is nowhere: a file or nothing.
    File(Option<(String, Vec<u8>)>),
}

impl Inputs {
    /// `reference` is the build's id, of which names are made that nobody else has.
    pub(super) fn of(request: &BuildRequest, settings: &Settings, reference: &str) -> Result<Self, Failure> {
        let mut inputs = Self::default();
        let mut needs = BTreeSet::new();
        inputs.context(request, settings, &mut needs)?;
        inputs.dockerfile(request)?;
        for (number, (name, value)) in request.named_contexts.iter().enumerate() {
            needs.insert(NAMED_CONTEXTS.to_owned());
            let store = format!("{reference}-{number}");
            inputs.named(name, value, settings, &store, &mut needs)?;
        }
        if request.call.is_some() {
            needs.insert("moby.buildkit.frontend.subrequests+forward".to_owned());
        }
        if !needs.is_empty() {
            inputs.set("frontend.caps", needs.into_iter().collect::<Vec<_>>().join(","));
        }
        inputs.tell_places(settings);
        Ok(inputs)
    }

    fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.attributes.insert(key.into(), value.into());
    }

    fn context(
        &mut self,
        request: &BuildRequest,
        settings: &Settings,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), Failure> {
        match &request.context {
            ContextSource::Empty => drop(self.locals.insert(CONTEXT.to_owned(), Local::File(None))),
            ContextSource::Directory(path) => {
                let directory = real(path).ok_or_else(|| {
                    invalid(format!(
                        "unable to prepare context: path {:?} not found",
                        path.display().to_string()
                    ))
                })?;
                self.shared_key = shared_key(&directory, settings);
                self.locals.insert(CONTEXT.to_owned(), Local::Directory(directory));
            }
            ContextSource::Tar(archive) => {
                self.upload = Some(archive.clone());
            }
            ContextSource::Url(address) => {
                self.set(CONTEXT, address.clone());
                if has_git_query(address)? {
                    needs.insert(GIT_QUERY.to_owned());
                }
            }
        }
        Ok(())
    }

    fn dockerfile(&mut self, request: &BuildRequest) -> Result<(), Failure> {
        let is_local = matches!(request.context, ContextSource::Empty | ContextSource::Directory(_));
        let mut filename = DOCKERFILE_NAME.to_owned();
        match &request.dockerfile {
            DockerfileSource::Path(path) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let directory = path.parent().and_then(real);
                let (Some(name), Some(directory)) = (name, directory) else {
                    let path = path.display();
                    return Err(invalid(format!(
                        "failed to read dockerfile: open {path}: no such file or directory"
                    )));
                };
                self.locals.insert(DOCKERFILE.to_owned(), Local::Directory(directory));
                filename = name;
                if !is_local {
                    self.set("dockerfilekey", DOCKERFILE);
                }
            }
            DockerfileSource::InContext(path) => {
                filename.clone_from(path);
                if is_local && let Some(context) = self.locals.get(CONTEXT).cloned() {
                    self.locals.insert(DOCKERFILE.to_owned(), context);
                }
            }
            DockerfileSource::Inline(text) => {
                let file = Local::File(Some((DOCKERFILE_NAME.to_owned(), text.clone())));
                self.locals.insert(DOCKERFILE.to_owned(), file);
                self.set("dockerfilekey", DOCKERFILE);
            }
            // The frontend takes a definition in place of a directory, unless the context has an address, too.
            DockerfileSource::Url(url) if is_local => {
                let name = format!("[internal] load {}", rbx_source::redacted(url));
                self.definitions.insert(DOCKERFILE.to_owned(), definition::http(url, DOCKERFILE_NAME, &name));
            }
            DockerfileSource::Url(url) => {
                self.fetched_dockerfile = Some(url.clone());
                self.set("dockerfilekey", DOCKERFILE);
            }
        }
        self.set("filename", filename);
        Ok(())
    }

    fn named(
        &mut self,
        name: &str,
        value: &str,
        settings: &Settings,
        store: &str,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), Failure> {
        let key = format!("context:{name}");
        if let Some(address) = LayoutAddress::parse(value) {
            let digest = digest_in(&address).map_err(|why| {
                invalid(format!("{why}: oci-layout reference {value:?} could not be resolved"))
            })?;
            self.layouts.insert(store.to_owned(), address.path);
            self.set(key, format!("oci-layout://{store}@{digest}"));
            return Ok(());
        }
        if ["docker-image://", "input:", "local:"].iter().any(|scheme| value.starts_with(scheme)) {
            self.set(key, value);
            return Ok(());
        }
        if is_address(value)? {
            if has_git_query(value)? {
                needs.insert(format!("{GIT_QUERY}+forward"));
            }
            self.set(key, value);
            return Ok(());
        }
        let path = Path::new(value);
        let directory = real(path).filter(|path| path.is_dir()).ok_or_else(|| {
            let why = if path.exists() { "not a directory" } else { "no such file or directory" };
            invalid(format!("failed to get build context {name}: stat {value}: {why}"))
        })?;
        // The frontend asks for these by itself.
        let local = if [CONTEXT, DOCKERFILE].contains(&name) { format!("_{name}") } else { name.to_owned() };
        self.set(key, format!("local:{local}"));
        self.set(format!("sharedkey:localdir:{name}"), shared_key(&directory, settings));
        self.locals.insert(local, Local::Directory(directory));
        Ok(())
    }

    /// Tells the daemon where in their repository the directories are.
    fn tell_places(&mut self, settings: &Settings) {
        let Some(root) = &settings.vcs.root else { return };
        for (name, local) in &self.locals {
            if let Local::Directory(path) = local
                && let Ok(place) = path.strip_prefix(root)
            {
                let place = place.display().to_string();
                let place = if place.is_empty() { ".".to_owned() } else { place };
                self.attributes.insert(format!("vcs:localdir:{name}"), place);
            }
        }
    }
}

/// A path without links; `None` where there is nothing.
fn real(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// What a directory is known by to a daemon: where it is, and whose it is. In buildx its name stands for where it is, so
/// that one directory is taken for another and files of the same size and time for the same files. It says nothing to
/// others, since provenance has it.
fn shared_key(directory: &Path, settings: &Settings) -> String {
    let place = directory.as_os_str().as_encoded_bytes();
    let known = [settings.node_id.as_bytes(), b"\0", place].concat();
    Digest::sha256_of(&known).hex()[..32].to_owned()
}

fn is_address(value: &str) -> Result<bool, Failure> {
    Ok(value.starts_with("http://") || value.starts_with("https://") || git(value)?.is_some())
}

fn git(value: &str) -> Result<Option<GitAddress>, Failure> {
    GitAddress::parse(value).map_err(|error| invalid(error.to_string()))
}

/// Whether an address of a repository says what is meant by `?key=value`, which not every frontend reads.
fn has_git_query(value: &str) -> Result<bool, Failure> {
    let before_fragment = value.split('#').next().unwrap_or_default();
    let query = before_fragment.split_once('?').map(|(_, query)| query);
    Ok(query.is_some_and(|query| !query.is_empty()) && git(value)?.is_some())
}

/// The digest of the image that is meant.
fn digest_in(address: &LayoutAddress) -> Result<Digest, String> {
    if let Some(digest) = address.digest {
        return Ok(digest);
    }
    let layout = Layout::open(&address.path).map_err(|error| error.to_string())?;
    let image = layout.find(address.tag.as_deref()).map_err(|error| error.to_string())?;
    Ok(image.digest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use prost::Message as _;
    use rbx_oci::layout::{DirectoryWriter, LayoutImage};
    use rbx_oci::{Descriptor, media_type};
    use rbx_request::parse_contexts;

    use super::super::settings::Vcs;
    use super::*;

    fn settings() -> Settings {
        Settings { node_id: "node".to_owned(), ..Settings::default() }
    }

    fn of(request: &BuildRequest, settings: &Settings) -> Inputs {
        Inputs::of(request, settings, "ref").unwrap()
    }

    fn error(request: &BuildRequest) -> String {
        Inputs::of(request, &settings(), "ref").unwrap_err().reason
    }

    /// `key=value` lines.
    fn shown(inputs: &Inputs) -> Vec<String> {
        inputs.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn a_directory_is_sent_and_so_is_its_dockerfiles() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path().join("app");
        fs::create_dir_all(context.join("docker")).unwrap();
        std::os::unix::fs::symlink(&context, directory.path().join("link")).unwrap();
        let context = fs::canonicalize(context).unwrap();
        let sent = |at: &str, dockerfile: &str| {
            let at = directory.path().join(at);
            let request = BuildRequest {
                dockerfile: DockerfileSource::Path(at.join(dockerfile)),
                context: ContextSource::Directory(at),
                ..BuildRequest::default()
            };
            of(&request, &settings())
        };
        let inputs = sent("app", "Dockerfile");
        assert_eq!(shown(&inputs), ["filename=Dockerfile"]);
        assert_eq!(inputs.locals["context"], Local::Directory(context.clone()));
        assert_eq!(inputs.locals["dockerfile"], Local::Directory(context.clone()));
        assert_eq!(sent("link", "Dockerfile").shared_key, inputs.shared_key);

        let inputs = sent("link", "docker/Dockerfile.prod");
        assert_eq!(shown(&inputs), ["filename=Dockerfile.prod"]);
        assert_eq!(inputs.locals["context"], Local::Directory(context.clone()));
        assert_eq!(inputs.locals["dockerfile"], Local::Directory(context.join("docker")));
    }

    #[test]
    fn directories_of_one_name_have_keys_of_their_own() {
        let key = |path: &str, node: &str| {
            shared_key(Path::new(path), &Settings { node_id: node.to_owned(), ..Settings::default() })
        };
        assert_eq!(key("/a/app", "me"), key("/a/app", "me"));
        assert_ne!(key("/a/app", "me"), key("/b/app", "me"));
        assert_ne!(key("/a/app", "me"), key("/a/app", "you"));
        assert_eq!(key("/", "").len(), 32);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let nowhere =
            BuildRequest { context: ContextSource::Directory("/no/where".into()), ..BuildRequest::default() };
        assert_eq!(error(&nowhere), "unable to prepare context: path \"/no/where\" not found");
        let no_file = BuildRequest {
            dockerfile: DockerfileSource::Path("/no/Dockerfile".into()),
            ..BuildRequest::default()
        };
        assert_eq!(
            error(&no_file),
            "failed to read dockerfile: open /no/Dockerfile: no such file or directory"
        );
        let named = |value: &str| BuildRequest {
            named_contexts: parse_contexts(&[format!("n={value}")]).unwrap(),
            ..BuildRequest::default()
        };
        assert_eq!(
            error(&named("/no/dir")),
            "failed to get build context n: stat /no/dir: no such file or directory"
        );
        assert_eq!(
            error(&named("/dev/null")),
            "failed to get build context n: stat /dev/null: not a directory"
        );
        assert!(error(&named("oci-layout:///no/dir")).contains("could not be resolved"));
    }

    #[test]
    fn a_dockerfile_without_a_place_is_a_directory_of_its_own() {
        let inline = |context: ContextSource| BuildRequest {
            dockerfile: DockerfileSource::Inline(b"FROM scratch".to_vec()),
            context,
            ..BuildRequest::default()
        };
        let file = Local::File(Some(("Dockerfile".to_owned(), b"FROM scratch".to_vec())));
        let inputs = of(&inline(ContextSource::Empty), &settings());
        assert_eq!(shown(&inputs), ["dockerfilekey=dockerfile", "filename=Dockerfile"]);
        assert_eq!(inputs.locals["context"], Local::File(None));
        assert_eq!(inputs.locals["dockerfile"], file);

        let address = "https://h/x.git#main".to_owned();
        let inputs = of(&inline(ContextSource::Url(address.clone())), &settings());
        assert_eq!(
            shown(&inputs),
            [&format!("context={address}"), "dockerfilekey=dockerfile", "filename=Dockerfile"]
        );
        assert_eq!(inputs.locals.keys().collect::<Vec<_>>(), ["dockerfile"]);
    }

    #[test]
    fn a_context_elsewhere_has_its_dockerfile_with_it() {
        let remote = |context: ContextSource| BuildRequest {
            dockerfile: DockerfileSource::InContext("sub/Dockerfile".to_owned()),
            context,
            ..BuildRequest::default()
        };
        let inputs = of(&remote(ContextSource::Url("https://h/a.tar?x=1".to_owned())), &settings());
        assert_eq!(shown(&inputs), ["context=https://h/a.tar?x=1", "filename=sub/Dockerfile"]);
        assert!(inputs.locals.is_empty());

        let inputs = of(&remote(ContextSource::Url("https://h/x.git?branch=b".to_owned())), &settings());
        assert_eq!(
            shown(&inputs),
            [
                "context=https://h/x.git?branch=b",
                "filename=sub/Dockerfile",
                "frontend.caps=moby.buildkit.frontend.gitquerystring"
            ]
        );

        let archive = ArchiveStream::new(&b"tar"[..]);
        let inputs = of(&remote(ContextSource::Tar(archive.clone())), &settings());
        assert_eq!(shown(&inputs), ["filename=sub/Dockerfile"]);
        assert_eq!(inputs.upload, Some(archive));
    }

    #[test]
    fn a_dockerfile_over_http_is_the_daemons_to_fetch() {
        let over_http = |context: ContextSource| BuildRequest {
            dockerfile: DockerfileSource::Url("https://u:p@h/D".to_owned()),
            context,
            ..BuildRequest::default()
        };
        let inputs = of(&over_http(ContextSource::Empty), &settings());
        assert_eq!(shown(&inputs), ["filename=Dockerfile"]);
        let definition = &inputs.definitions["dockerfile"];
        let [source, last] = definition.def.as_slice() else { panic!("{definition:?}") };
        let digest = Digest::sha256_of(source).to_string();
        let Some(pb::op::Op::Source(source)) = pb::Op::decode(source.as_slice()).unwrap().op else {
            panic!()
        };
        assert_eq!(source.identifier, "https://u:p@h/D");
        assert_eq!(source.attrs["http.filename"], "Dockerfile");
        assert_eq!(pb::Op::decode(last.as_slice()).unwrap().inputs[0].digest, digest);
        assert_eq!(
            definition.metadata[&digest].description["llb.customname"],
            "[internal] load https://xxxxx:xxxxx@h/D"
        );

        let inputs = of(&over_http(ContextSource::Url("https://h/x.git".to_owned())), &settings());
        assert_eq!(inputs.fetched_dockerfile.as_deref(), Some("https://u:p@h/D"));
        assert!(inputs.definitions.is_empty());
    }

    #[test]
    fn contexts_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let writer = DirectoryWriter::create(root.join("layout")).unwrap();
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, b"{}");
        writer.finish(&[LayoutImage { descriptor: descriptor.clone(), names: Vec::new() }]).unwrap();
        let layout = root.join("layout").display().to_string();
        let here = root.display().to_string();
        let request = BuildRequest {
            named_contexts: parse_contexts(&[
                "alpine:latest=docker-image://alpine:3".to_owned(),
                "base=https://h/x.git?branch=b".to_owned(),
                "context=".to_owned() + &here,
                "empty=docker-image://scratch".to_owned(),
                "file=https://h/f".to_owned(),
                format!("layout=oci-layout://{layout}"),
                format!("pinned=oci-layout://{layout}:v1@sha256:{}", "a".repeat(64)),
                format!("src={here}"),
            ])
            .unwrap(),
            dockerfile: DockerfileSource::Inline(Vec::new()),
            ..BuildRequest::default()
        };
        let inputs = of(&request, &settings());
        let key = shared_key(&root, &settings());
        let expected = [
            "context:alpine=docker-image://alpine:3".to_owned(),
            "context:base=https://h/x.git?branch=b".to_owned(),
            "context:context=local:_context".to_owned(),
            "context:empty=docker-image://scratch".to_owned(),
            "context:file=https://h/f".to_owned(),
            format!("context:layout=oci-layout://ref-5@{}", descriptor.digest),
            format!("context:pinned=oci-layout://ref-6@sha256:{}", "a".repeat(64)),
            "context:src=local:src".to_owned(),
            "dockerfilekey=dockerfile".to_owned(),
            "filename=Dockerfile".to_owned(),
            "frontend.caps=moby.buildkit.frontend.contexts+forward,moby.buildkit.frontend.gitquerystring+forward"
                .to_owned(),
            format!("sharedkey:localdir:context={key}"),
            format!("sharedkey:localdir:src={key}"),
        ];
        assert_eq!(shown(&inputs), expected);
        assert_eq!(inputs.layouts["ref-5"], PathBuf::from(&layout));
        assert_eq!(inputs.locals.keys().collect::<Vec<_>>(), ["_context", "context", "dockerfile", "src"]);
    }

    #[test]
    fn the_daemon_is_told_where_in_a_repository_directories_are() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        let request = BuildRequest {
            context: ContextSource::Directory(root.clone()),
            dockerfile: DockerfileSource::Path(root.join("a/b/Dockerfile")),
            named_contexts: parse_contexts(&["out=/".to_owned()]).unwrap(),
            ..BuildRequest::default()
        };
        let settings = Settings { vcs: Vcs { root: Some(root), ..Vcs::default() }, ..settings() };
        let places = shown(&of(&request, &settings));
        let places: Vec<_> = places.iter().filter(|line| line.starts_with("vcs:")).collect();
        assert_eq!(places, ["vcs:localdir:context=.", "vcs:localdir:dockerfile=a/b"]);
    }

    #[test]
    fn a_call_is_something_the_frontend_must_know() {
        let request = BuildRequest { call: Some("lint".to_owned()), ..BuildRequest::default() };
        let attributes = of(&request, &settings()).attributes;
        assert_eq!(attributes["frontend.caps"], "moby.buildkit.frontend.subrequests+forward");
    }
}
