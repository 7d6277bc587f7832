//! `--output`, `--load` and `--push`, as exporters of the daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbx_oci::Reference;
use rbx_request::{
    Annotation, AnnotationKind, BuildRequest, Failure, FailureKind, Output, OutputDestination, OutputKind,
    parse_bool,
};

use super::settings::{Load, Settings};
use super::{invalid, unsupported};

/// An exporter that the daemon is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    /// The exporter, as the daemon calls it.
    pub(super) kind: &'static str,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) target: Target,
}

/// Where what an exporter makes goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// It stays with the daemon, or is pushed by it.
    Daemon,
    /// One stream, into a file.
    File(PathBuf),
    /// One stream, to standard output.
    Stdout,
    /// Files, into a directory.
    Directory {
        path: PathBuf,
        /// What the result does not have is removed there.
        delete: bool,
    },
    /// Blobs, into a layout.
    Layout(PathBuf),
    /// One stream, to whoever loads it: which of the loads it is.
    Archive(usize),
    /// All but layers, to whoever loads it.
    Parts,
}

/// The exporters of a build, and what is left to do for the Engine that built it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exports {
    pub(super) all: Vec<Export>,
    /// Images that the Engine has to push by itself, since its `BuildKit` cannot.
    pub(super) pushes: Vec<String>,
    /// Images are named by the digest of their manifest or index, never by that of their configuration.
    pub(super) by_image_digest: bool,
}

impl Exports {
    pub(super) fn of(request: &BuildRequest, settings: &Settings) -> Result<Self, Failure> {
        let defaults = default_output(request, settings);
        let outputs = if request.outputs.is_empty() { defaults.as_slice() } else { &request.outputs };
        check_annotations(request, outputs, settings)?;
        let names: Vec<String> = request.tags.iter().map(Reference::to_string).collect();

        let mut exports = Self::default();
        let mut loads = 0;
        for output in outputs {
            let mut attributes = output.attributes.clone();
            if is_image(output.kind) && !names.is_empty() {
                attributes.insert("name".to_owned(), names.join(","));
            }
            let pushed = is_set(&attributes, "push");
            let name = attributes.get("name").filter(|name| !name.is_empty()).cloned();
            if output.kind == OutputKind::Image && pushed && name.is_none() {
                return Err(invalid("tag is needed when pushing to registry"));
            }
            let (kind, target) = match output.kind {
                OutputKind::CacheOnly => continue,
                OutputKind::Local => ("local", directory(output, &attributes)?),
                OutputKind::Tar => ("tar", stream(output)?),
                OutputKind::Oci => {
                    if !settings.features.oci_exporter {
                        return Err(unsupported("OCI exporter", settings, "build-exporters"));
                    }
                    ("oci", stream_or_layout(output, &attributes)?)
                }
                OutputKind::Docker if output.destination.is_some() => {
                    if has_index(request) {
                        return Err(invalid(
                            "docker exporter does not support exporting manifest lists, use the oci exporter instead",
                        ));
                    }
                    if !settings.features.docker_exporter {
                        return Err(unsupported("Docker exporter", settings, "build-exporters"));
                    }
                    ("docker", stream_or_layout(output, &attributes)?)
                }
                OutputKind::Docker => {
                    attributes.remove("context");
                    loads += 1;
                    load_into(loads - 1, request, settings)?
                }
                OutputKind::Image if settings.in_engine => ("moby", Target::Daemon),
                OutputKind::Image => ("image", Target::Daemon),
            };
            if kind == "moby" && pushed {
                if is_set(&attributes, "push-by-digest") {
                    return Err(invalid(
                        "push-by-digest is currently not implemented for docker driver, please create a new builder \
                         instance",
                    ));
                }
                if !settings.features.direct_push {
                    exports.pushes.extend(name.iter().flat_map(|name| name.split(',')).map(str::to_owned));
                }
            }
            // Where images are kept in containerd they are known by their manifest or index.
            let by_image_digest = match (kind, &target) {
                ("moby", _) => settings.features.multi_platform,
                ("oci", Target::Archive(_)) => true,
                _ => false,
            };
            if by_image_digest {
                exports.by_image_digest = true;
                attributes.insert("prefer-image-digest".to_owned(), "true".to_owned());
            }
            if is_image(output.kind) {
                add_image_attributes(&mut attributes, kind, request, settings)?;
            }
            exports.all.push(Export { kind, attributes, target });
        }
        // Where several exporters answer by one key, the last one is heard: that of a layout has to be, since its
        // table of contents is made of what it answers.
        exports.all.sort_by_key(|export| matches!(export.target, Target::Layout(_)));
        Ok(exports)
    }
}

impl Exports {
    /// The load whose image need not come as one stream. There is room for one such image in a session, and none beside
    /// a layout.
    pub(super) fn to_be_loaded(&self) -> Option<usize> {
        let mut loads = self.all.iter().filter_map(|export| match &export.target {
            Target::Archive(load) if !export.attributes.contains_key("tar") => Some(*load),
            _ => None,
        });
        let load = loads.next()?;
        let alone = loads.next().is_none();
        let layout = self.all.iter().any(|export| matches!(export.target, Target::Layout(_)));
        (alone && !layout).then_some(load)
    }

    /// Has that image come in parts. Its exporter is the last one, since its answer has to be heard.
    pub(super) fn load_in_parts(&mut self) {
        for export in &mut self.all {
            if matches!(export.target, Target::Archive(_)) && !export.attributes.contains_key("tar") {
                export.attributes.insert("tar".to_owned(), "false".to_owned());
                export.target = Target::Parts;
            }
        }
        self.all.sort_by_key(|export| export.target == Target::Parts);
    }
}

/// What becomes of a result that nobody said anything about: in an Engine it is an image of it.
fn default_output(request: &BuildRequest, settings: &Settings) -> Vec<Output> {
    let plain = |kind| vec![Output { kind, destination: None, attributes: BTreeMap::new() }];
    if settings.no_default_load || request.call.is_some() {
        Vec::new()
    } else if settings.in_engine {
        plain(OutputKind::Image)
    } else if settings.features.default_load {
        plain(OutputKind::Docker)
    } else {
        Vec::new()
    }
}

fn is_image(kind: OutputKind) -> bool {
    matches!(kind, OutputKind::Image | OutputKind::Oci | OutputKind::Docker)
}

/// Whether an attribute is true, as Go reads it.
fn is_set(attributes: &BTreeMap<String, String>, key: &str) -> bool {
    attributes.get(key).is_some_and(|value| parse_bool(value) == Ok(true))
}

/// Whether the image has an index: for several platforms, or to hold attestations that were asked for.
fn has_index(request: &BuildRequest) -> bool {
    request.platforms.len() > 1 || request.attestations.iter().any(|attestation| attestation.enabled)
}

/// Engines that keep images by themselves have no indexes to annotate.
fn check_annotations(request: &BuildRequest, outputs: &[Output], settings: &Settings) -> Result<(), Failure> {
    let single = settings.in_engine && !settings.features.multi_platform && request.call.is_none();
    let kept = |output: &Output| matches!(output.kind, OutputKind::Image | OutputKind::Docker);
    if single && outputs.iter().any(kept) {
        for annotation in annotations(request)? {
            if matches!(annotation.kind, Some(AnnotationKind::Index | AnnotationKind::IndexDescriptor)) {
                return Err(invalid("index annotations not supported for single platform export"));
            }
        }
    }
    Ok(())
}

fn annotations(request: &BuildRequest) -> Result<Vec<Annotation>, Failure> {
    let parsed = request.annotations.iter().map(|text| Annotation::parse(text));
    let parsed: Vec<_> = parsed.collect::<Result<_, _>>().map_err(|error| invalid(error.to_string()))?;
    Ok(parsed.into_iter().flatten().collect())
}

/// The exporter of a load: that of this number.
fn load_into(
    number: usize,
    request: &BuildRequest,
    settings: &Settings,
) -> Result<(&'static str, Target), Failure> {
    let indexes = match settings.loads.get(number) {
        Some(Load::Archive { indexes, .. }) => Some(*indexes),
        Some(Load::InEngine) => None,
        None if settings.in_engine => None,
        None => return Err(Failure::new(FailureKind::Failed, "no Docker Engine to load the image into")),
    };
    if has_index(request) && !indexes.unwrap_or(settings.features.multi_platform) {
        return Err(invalid("docker exporter does not currently support exporting manifest lists"));
    }
    match indexes {
        None => Ok(("moby", Target::Daemon)),
        Some(true) if settings.features.oci_exporter => Ok(("oci", Target::Archive(number))),
        Some(_) if settings.features.docker_exporter => Ok(("docker", Target::Archive(number))),
        Some(_) => Err(unsupported("Docker exporter", settings, "build-exporters")),
    }
}

fn directory(output: &Output, attributes: &BTreeMap<String, String>) -> Result<Target, Failure> {
    let delete = match attributes.get("mode").map(String::as_str) {
        None | Some("" | "copy") => false,
        Some("delete") => true,
        Some(mode) => return Err(invalid(format!("invalid local exporter mode {mode:?}"))),
    };
    match &output.destination {
        Some(OutputDestination::Path(path)) => Ok(Target::Directory { path: path.clone(), delete }),
        Some(OutputDestination::Stdout) => Err(invalid("dest cannot be stdout for local exporter")),
        None => Err(invalid("dest is required for local exporter")),
    }
}

fn stream(output: &Output) -> Result<Target, Failure> {
    match &output.destination {
        Some(OutputDestination::Path(path)) => Ok(Target::File(path.clone())),
        Some(OutputDestination::Stdout) => Ok(Target::Stdout),
        None => Err(invalid("output file writer is required for tar exporter")),
    }
}

fn stream_or_layout(output: &Output, attributes: &BTreeMap<String, String>) -> Result<Target, Failure> {
    let is_tar = attributes.get("tar").and_then(|tar| parse_bool(tar).ok()).unwrap_or(true);
    match &output.destination {
        Some(OutputDestination::Path(path)) if !is_tar => Ok(Target::Layout(path.clone())),
        _ => stream(output),
    }
}

/// What the request has beside the output for images.
fn add_image_attributes(
    attributes: &mut BTreeMap<String, String>,
    kind: &str,
    request: &BuildRequest,
    settings: &Settings,
) -> Result<(), Failure> {
    for annotation in annotations(request)? {
        attributes.insert(annotation.attribute(), annotation.value);
    }
    if let Some(value) = request.build_args.get("BUILDKIT_INLINE_BUILDINFO_ATTRS") {
        attributes.insert("buildinfo-attrs".to_owned(), value.clone());
    }
    if settings.no_default_oci_artifact && settings.features.multi_platform && kind != "docker" {
        attributes.entry("oci-artifact".to_owned()).or_insert_with(|| "false".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use rbx_platform::Platform;
    use rbx_request::{Attestation, Features};

    use super::*;

    const ALL: Features = Features {
        oci_exporter: true,
        docker_exporter: true,
        cache_export: true,
        multi_platform: true,
        direct_push: true,
        default_load: true,
    };

    /// The `docker` driver on an Engine that keeps images by itself, and on one that keeps them in containerd.
    fn engine(containerd: bool) -> Settings {
        let graph = Features { default_load: true, ..Features::default() };
        Settings {
            driver: "docker".to_owned(),
            in_engine: true,
            features: if containerd { ALL } else { graph },
            ..Settings::default()
        }
    }

    fn container() -> Settings {
        Settings {
            driver: "docker-container".to_owned(),
            features: Features { default_load: false, ..ALL },
            ..Settings::default()
        }
    }

    fn archive(indexes: bool) -> Load {
        Load::Archive { indexes, open: Arc::new(|_| Box::pin(async { Ok(None) })) }
    }

    fn request(outputs: &[&str], tags: &[&str]) -> BuildRequest {
        BuildRequest {
            outputs: outputs.iter().map(|text| Output::parse(text, Path::new("/c")).unwrap()).collect(),
            tags: tags.iter().map(|tag| Reference::parse(tag).unwrap()).collect(),
            ..BuildRequest::default()
        }
    }

    /// `kind(attributes) target`, one for each exporter.
    fn shown(exports: &Exports) -> Vec<String> {
        let attributes = |export: &Export| {
            let pairs = export.attributes.iter().map(|(key, value)| format!("{key}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        exports.all.iter().map(|it| format!("{}({}) {:?}", it.kind, attributes(it), it.target)).collect()
    }

    fn of(request: &BuildRequest, settings: &Settings) -> Vec<String> {
        shown(&Exports::of(request, settings).unwrap())
    }

    fn error(request: &BuildRequest, settings: &Settings) -> String {
        Exports::of(request, settings).unwrap_err().reason
    }

    #[test]
    fn exporters_are_the_daemons() {
        let asked = request(
            &[
                "type=local,dest=l,platform-split=false",
                "type=local,dest=d,mode=delete",
                "type=tar,dest=t",
                "-",
                "type=oci,dest=o",
                "type=oci,dest=od,tar=false",
                "type=docker,dest=k",
                "type=registry",
                "type=image,push=false,compression=zstd",
                "type=cacheonly",
            ],
            &["a", "r.test/b:1"],
        );
        let names = "name=docker.io/library/a:latest,r.test/b:1";
        assert_eq!(
            of(&asked, &container()),
            [
                "local(platform-split=false) Directory { path: \"/c/l\", delete: false }".to_owned(),
                "local(mode=delete) Directory { path: \"/c/d\", delete: true }".to_owned(),
                "tar() File(\"/c/t\")".to_owned(),
                "tar() Stdout".to_owned(),
                format!("oci({names}) File(\"/c/o\")"),
                format!("docker({names}) File(\"/c/k\")"),
                format!("image({names} push=true unpack=false) Daemon"),
                format!("image(compression=zstd {names} push=false) Daemon"),
                format!("oci({names} tar=false) Layout(\"/c/od\")"),
            ]
        );
    }

    #[test]
    fn what_nobody_asked_for_goes_where_the_driver_puts_it() {
        let mut asked = request(&[], &[]);
        assert_eq!(of(&asked, &engine(false)), ["moby() Daemon"]);
        assert_eq!(of(&asked, &engine(true)), ["moby(prefer-image-digest=true) Daemon"]);
        assert_eq!(of(&asked, &container()), <[&str; 0]>::default());
        let loading = Settings { features: ALL, loads: vec![archive(false)], ..container() };
        assert_eq!(of(&asked, &loading), ["docker() Archive(0)"]);
        let silent = Settings { no_default_load: true, ..engine(true) };
        assert_eq!(of(&asked, &silent), <[&str; 0]>::default());
        asked.call = Some("lint".to_owned());
        assert_eq!(of(&asked, &engine(true)), <[&str; 0]>::default());
    }

    #[test]
    fn loads_go_into_the_engine_that_builds_or_travel_as_archives() {
        let asked = request(&["type=docker", "type=docker,context=far"], &[]);
        let into =
            |loads: &[Load], settings: Settings| of(&asked, &Settings { loads: loads.to_vec(), ..settings });
        let both = [Load::InEngine, archive(true)];
        assert_eq!(
            into(&both, engine(true)),
            ["moby(prefer-image-digest=true) Daemon", "oci(prefer-image-digest=true) Archive(1)"]
        );
        assert_eq!(error(&asked, &container()), "no Docker Engine to load the image into");
        let old = [archive(false), archive(true)];
        assert_eq!(
            into(&old, container()),
            ["docker() Archive(0)", "oci(prefer-image-digest=true) Archive(1)"]
        );
        let settings = Settings { loads: both.to_vec(), ..engine(false) };
        assert_eq!(error(&asked, &settings), "Docker exporter is not supported for the docker driver.");
    }

    #[test]
    fn several_platforms_and_attestations_need_an_index() {
        let several = |outputs: &[&str]| BuildRequest {
            platforms: ["linux/amd64", "linux/arm64"].map(|it| Platform::parse(it).unwrap()).to_vec(),
            ..request(outputs, &[])
        };
        let attested = |outputs: &[&str]| BuildRequest {
            attestations: vec![Attestation::parse("type=sbom").unwrap()],
            ..request(outputs, &[])
        };
        for asked in [several(&["type=docker,dest=f"]), attested(&["type=docker,dest=f"])] {
            assert_eq!(
                error(&asked, &container()),
                "docker exporter does not support exporting manifest lists, use the oci exporter instead"
            );
        }
        let words = "docker exporter does not currently support exporting manifest lists";
        for asked in [several(&["type=docker"]), attested(&["type=docker"])] {
            let old = Settings { loads: vec![archive(false)], ..container() };
            assert_eq!(error(&asked, &old), words);
            assert_eq!(error(&asked, &engine(false)), words);
            assert_eq!(of(&asked, &engine(true)), ["moby(prefer-image-digest=true) Daemon"]);
        }
    }

    #[test]
    fn what_a_driver_cannot_write_is_refused() {
        let oci = request(&["type=oci,dest=f"], &[]);
        let refused = Exports::of(&oci, &engine(false)).unwrap_err();
        assert_eq!(refused.reason, "OCI exporter is not supported for the docker driver.");
        assert!(refused.hint.unwrap().ends_with("Learn more at https://docs.docker.com/go/build-exporters/"));
        let docker = request(&["type=docker,dest=f"], &[]);
        assert_eq!(error(&docker, &engine(false)), "Docker exporter is not supported for the docker driver.");
        assert_eq!(
            error(&request(&["type=registry"], &[]), &container()),
            "tag is needed when pushing to registry"
        );
        let by_digest = request(&["type=registry,push-by-digest=true"], &["a"]);
        assert!(error(&by_digest, &engine(true)).starts_with("push-by-digest is currently not implemented"));
        assert!(Exports::of(&by_digest, &container()).is_ok());
    }

    #[test]
    fn engines_without_containerd_push_by_themselves() {
        let asked = request(&["type=registry"], &["r.test/a", "r.test/b:2"]);
        let exports = Exports::of(&asked, &engine(false)).unwrap();
        assert_eq!(exports.pushes, ["r.test/a:latest", "r.test/b:2"]);
        assert!(Exports::of(&asked, &engine(true)).unwrap().pushes.is_empty());
    }

    #[test]
    fn annotations_become_attributes_of_images() {
        let mut asked = request(&["type=image", "type=local,dest=l"], &[]);
        asked.annotations = ["a=1", "index:b=2", "manifest[linux/amd64]:c=3"].map(str::to_owned).to_vec();
        assert_eq!(
            of(&asked, &container()),
            [
                "image(annotation-index.b=2 annotation-manifest[linux/amd64].c=3 annotation.a=1) Daemon",
                "local() Directory { path: \"/c/l\", delete: false }"
            ]
        );
        assert_eq!(
            error(&asked, &engine(false)),
            "index annotations not supported for single platform export"
        );
    }

    #[test]
    fn build_arguments_and_settings_change_attributes() {
        let mut asked = request(&["type=oci,dest=f", "type=oci,dest=g,oci-artifact=true"], &[]);
        asked.build_args.insert("BUILDKIT_INLINE_BUILDINFO_ATTRS".to_owned(), "1".to_owned());
        let settings = Settings { no_default_oci_artifact: true, ..container() };
        assert_eq!(
            of(&asked, &settings),
            [
                "oci(buildinfo-attrs=1 oci-artifact=false) File(\"/c/f\")",
                "oci(buildinfo-attrs=1 oci-artifact=true) File(\"/c/g\")"
            ]
        );
    }
}
