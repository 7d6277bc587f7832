//! What the embedded engine can do, checked before a build begins: what it cannot honour is an error that names
//! the flag.

use rbx_platform::Platform;
use rbx_request::{BuildRequest, Output, OutputDestination, OutputKind, check_destination, parse_bool};

use crate::error::{BuildError, INSTEAD};
use crate::export::{ImageOptions, Placement, boolean, is_annotation, platform_split};

/// Refuses a request that asks for what this engine does not have.
pub(crate) fn check(request: &BuildRequest) -> Result<(), BuildError> {
    let asked: [(bool, &str, &str); 3] = [
        (!request.cache_from.is_empty(), "--cache-from", "imported caches"),
        (!request.cache_to.is_empty(), "--cache-to", "exported caches"),
        (request.attestations.iter().any(|it| it.enabled), "--attest", "attestations"),
    ];
    for (asked, flag, feature) in asked {
        if asked {
            return Err(missing(flag, feature));
        }
    }
    for output in &request.outputs {
        check_output(request, output)?;
    }
    for host in &request.add_hosts {
        if host.addresses.iter().any(|address| address == "host-gateway") {
            return Err(BuildError::invalid("host-gateway is not supported by the embedded driver"));
        }
    }
    Ok(())
}

/// What is called for in the place of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// BuildKit's checks.
    Lint,
    /// What the target can be given.
    Outline,
    /// The stages.
    Targets,
}

/// Finds out what is called for.
pub(crate) fn called(name: &str) -> Result<Called, BuildError> {
    match name {
        "lint" => Ok(Called::Lint),
        "outline" => Ok(Called::Outline),
        "targets" => Ok(Called::Targets),
        other => {
            Err(missing(&format!("--call={other}"), "other calls than build, check, outline and targets"))
        }
    }
}

fn check_output(request: &BuildRequest, output: &Output) -> Result<(), BuildError> {
    const KNOWN: [&str; 20] = [
        "name",
        "tar",
        "compression",
        "compression-level",
        "force-compression",
        "platform-split",
        "oci-mediatypes",
        "unpack",
        "store",
        "mode",
        "push",
        "push-by-digest",
        "rewrite-timestamp",
        "registry.insecure",
        "name-canonical",
        "dangling-name-prefix",
        "danging-name-empty-only",
        "oci-artifact",
        "attestation-inline",
        "prefer-nondist-layers",
    ];
    let is = |name: &str, value: &str| output.attributes.get(name).is_some_and(|it| it == value);
    if is("mode", "delete") {
        return Err(missing("--output mode=delete", "deleting what an output does not have"));
    }
    for name in output.attributes.keys() {
        if !KNOWN.contains(&name.as_str()) && !is_annotation(name) {
            return Err(missing(&format!("--output {name}="), "this attribute"));
        }
    }
    if matches!(output.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image) {
        let options = ImageOptions::parse(output, &request.annotations)?;
        let platforms: Vec<&Platform> = request.platforms.iter().collect();
        let index = wants_index(request, platforms.len())?;
        // With none given, the base image says for what it is.
        if !platforms.is_empty() {
            options.check(&platforms, index)?;
        }
        if index && output.kind == OutputKind::Docker && output.destination.is_some() {
            return Err(BuildError::invalid(
                "docker exporter does not support exporting manifest lists, use the oci exporter instead",
            ));
        }
    }
    let mut directory = false;
    match output.kind {
        OutputKind::Image => drop(Placement::parse(output)?),
        OutputKind::Local | OutputKind::Tar => {
            directory = output.kind == OutputKind::Local;
            platform_split(output)?;
        }
        OutputKind::Oci | OutputKind::Docker => directory = !boolean(output, "tar", true)?,
        OutputKind::CacheOnly => {}
    }
    match &output.destination {
        Some(OutputDestination::Path(path)) => {
            check_destination(path, directory).map_err(|error| BuildError::invalid(error.to_string()))
        }
        Some(OutputDestination::Stdout) | None => Ok(()),
    }
}

/// Whether the result has an index: with several platforms, or where `BUILDKIT_MULTI_PLATFORM` asks for one.
pub(crate) fn wants_index(request: &BuildRequest, platforms: usize) -> Result<bool, BuildError> {
    let several = platforms > 1;
    let asked = request.build_args.get("BUILDKIT_MULTI_PLATFORM").map(String::as_str);
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(several) };
    match parse_bool(asked) {
        Ok(false) if several => {
            Err(BuildError::invalid("conflicting config: returning multiple target platforms is not allowed"))
        }
        Ok(index) => Ok(index),
        Err(_) => Err(BuildError::invalid(format!("invalid boolean value for multi-platform: {asked}"))),
    }
}

fn missing(flag: &str, feature: &str) -> BuildError {
    BuildError::invalid(format!("{flag}: the embedded engine does not have {feature} yet")).hint(INSTEAD)
}
