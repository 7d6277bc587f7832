//! What flags say to the Dockerfile frontend, as its attributes.

use std::collections::BTreeMap;

use rbx_request::{BuildRequest, Failure, Network, NoCache, parse_bool};

use super::settings::Settings;
use super::{invalid, unsupported};

/// The address that stands for the host of an Engine.
pub(super) const HOST_GATEWAY: &str = "host-gateway";
/// The build argument that names another frontend than the Dockerfile does.
const SYNTAX: &str = "BUILDKIT_SYNTAX";
/// The attribute that asks for provenance.
const PROVENANCE: &str = "attest:provenance";
/// What provenance is attested of images when nobody says anything about it.
const DEFAULT_PROVENANCE: &str = "mode=min,inline-only=true";
/// The capability of daemons that can attest.
const CAN_ATTEST: &str = "exporter.image.attestations";
/// The capability of daemons that take several outputs.
const SEVERAL_EXPORTERS: &str = "exporter.multiple";

/// Attributes of the frontend.
pub(super) type Attributes = BTreeMap<String, String>;

/// The frontend of a build with what flags say to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// `dockerfile.v0`, or `gateway.v0` for one that is an image.
    pub(super) frontend: &'static str,
    pub(super) attributes: Attributes,
    /// What steps are allowed.
    pub(super) entitlements: Vec<String>,
}

impl Flags {
    /// `gateway` is the address of the host, where the daemon says one.
    pub(super) fn of(
        request: &BuildRequest,
        settings: &Settings,
        gateway: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut attributes = Attributes::new();
        let mut set = |key: &str, value: String| drop(attributes.insert(key.to_owned(), value));
        for (key, value) in &request.build_args {
            set(&format!("build-arg:{key}"), value.clone());
        }
        for (key, value) in &request.labels {
            set(&format!("label:{key}"), value.clone());
        }
        for (key, value) in &settings.vcs.attributes {
            set(key, value.clone());
        }

        let mut frontend = "dockerfile.v0";
        if let Some(command) = request.build_args.get(SYNTAX) {
            let image = command.split_whitespace().next().ok_or_else(|| {
                invalid(
                    "empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for \
                     optional behavior",
                )
            })?;
            frontend = "gateway.v0";
            set("source", image.to_owned());
            set("cmdline", command.clone());
        }
        if request.build_args.get("BUILDKIT_MULTI_PLATFORM").is_some_and(|it| parse_bool(it) == Ok(true)) {
            set("multi-platform", "true".to_owned());
        }
        if let Some(target) = &request.target {
            set("target", target.clone());
        }
        if !request.platforms.is_empty() {
            if request.platforms.len() > 1 && !settings.features.multi_platform {
                return Err(unsupported("Multi-platform build", settings, "build-multi-platform"));
            }
            let platforms = request.platforms.iter().map(rbx_platform::Platform::format_all);
            set("platform", platforms.collect::<Vec<_>>().join(","));
        }
        match &request.no_cache {
            NoCache::Use => {}
            NoCache::All => set("no-cache", String::new()),
            NoCache::Stages(stages) => set("no-cache", stages.join(",")),
        }
        if request.pull {
            set("image-resolve-mode", "pull".to_owned());
        } else if settings.in_engine {
            // An Engine's own images go before those of registries.
            set("image-resolve-mode", "local".to_owned());
        }

        let mut entitlements = request.allow.clone();
        let network = match request.network {
            Network::Default => settings.network,
            named => named,
        };
        match network {
            Network::Default => {}
            Network::None => set("force-network-mode", "none".to_owned()),
            Network::Host => {
                set("force-network-mode", "host".to_owned());
                if !entitlements.iter().any(|allowed| allowed == "network.host") {
                    entitlements.push("network.host".to_owned());
                }
            }
        }
        let hosts = hosts(request, settings, gateway)?;
        if !hosts.is_empty() {
            set("add-hosts", hosts.join(","));
        }
        if let Some(size) = request.shm_size {
            set("shm-size", size.to_string());
        }
        if !request.ulimits.is_empty() {
            set("ulimit", request.ulimits.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        }
        if let Some(parent) = &request.cgroup_parent {
            set("cgroup-parent", parent.clone());
        }
        for (key, value) in &request.resources {
            // Nothing and no limit are the same, which older daemons need not be told of. Sets have a first member.
            if !value.is_empty() && (value != "0" || key.starts_with("cpuset-")) {
                set(&resource_key(key), value.clone());
            }
        }
        for attestation in request.attestations.iter().filter(|attestation| attestation.enabled) {
            set(&format!("attest:{}", attestation.kind), attestation.to_string());
        }
        if wants_default_provenance(request, settings) {
            set(PROVENANCE, DEFAULT_PROVENANCE.to_owned());
        }
        if let Some(call) = &request.call {
            set("requestid", format!("frontend.{call}"));
        }
        Ok(Self { frontend, attributes, entitlements })
    }
}

/// Refuses attestations where there is no index to hold them.
pub(super) fn check_attestations(request: &BuildRequest, settings: &Settings) -> Result<(), Failure> {
    let mut asked = request.attestations.iter().filter(|attestation| attestation.enabled);
    // Its scanner is a step of the front end's own, which can be given no other network than the daemon's default.
    if settings.network == Network::Host && asked.clone().any(|attestation| attestation.kind == "sbom") {
        let mut failure = invalid(format!(
            "SBOM attestations are not supported by the Engine in the container of builder {:?}: it has no network \
             for their scanner",
            settings.builder
        ));
        failure.hint = Some("choose an image of BuildKit with `--driver-opt image=moby/buildkit`".to_owned());
        return Err(failure);
    }
    let asked = asked.next().is_some();
    if asked && !settings.features.multi_platform {
        return Err(unsupported("Attestation", settings, "attestations"));
    }
    Ok(())
}

/// Settles what depends on the daemon's capabilities, which `has` tells: an attribute that nobody asked for is removed,
/// and what an old daemon cannot do is refused.
pub(super) fn adjust(
    asked: Asked,
    has: impl Fn(&str) -> bool,
    remove: impl FnOnce(&str),
) -> Result<(), Failure> {
    let attests = has(CAN_ATTEST);
    if asked.attestations && !attests {
        return Err(invalid("Attestations are not supported by the current BuildKit daemon"));
    }
    if asked.default_provenance && !attests {
        remove(PROVENANCE);
    }
    if asked.several_exports && !has(SEVERAL_EXPORTERS) {
        return Err(invalid(
            "multiple outputs currently unsupported by the current BuildKit daemon, please upgrade to version v0.13+ or \
             use a single output",
        ));
    }
    Ok(())
}

/// What of a build depends on the daemon's capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Attestations were asked for.
    attestations: bool,
    /// Provenance is attested, though nobody asked for it.
    default_provenance: bool,
    several_exports: bool,
}

impl Asked {
    pub(super) fn of(request: &BuildRequest, settings: &Settings, exports: usize) -> Self {
        Self {
            attestations: request.attestations.iter().any(|attestation| attestation.enabled),
            default_provenance: wants_default_provenance(request, settings),
            several_exports: exports > 1,
        }
    }
}

/// Whether provenance is attested that nobody asked for or forbade.
fn wants_default_provenance(request: &BuildRequest, settings: &Settings) -> bool {
    let says = request.attestations.iter().any(|attestation| attestation.kind == "provenance");
    !says && settings.features.multi_platform && !settings.no_default_attestations
}

/// The frontend's name of a resource.
fn resource_key(key: &str) -> String {
    match key {
        "memory-swap" => "memswap".to_owned(),
        key => key.replace('-', ""),
    }
}

fn hosts(request: &BuildRequest, settings: &Settings, gateway: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut hosts = Vec::new();
    for host in &request.add_hosts {
        for address in &host.addresses {
            let address = match address.as_str() {
                HOST_GATEWAY if !settings.in_engine => {
                    let driver = &settings.driver;
                    return Err(invalid(format!("host-gateway is not supported by the {driver} driver")));
                }
                HOST_GATEWAY => gateway.ok_or_else(|| invalid("host-gateway IP not found"))?,
                address => address,
            };
            hosts.push(format!("{}={address}", host.host));
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use rbx_platform::Platform;
    use rbx_request::{AddHost, Attestation, Features, Ulimit, parse_pairs, parse_resources};

    use super::super::settings::Vcs;
    use super::*;

    fn settings() -> Settings {
        Settings {
            driver: "docker-container".to_owned(),
            features: Features { multi_platform: true, ..Features::default() },
            ..Settings::default()
        }
    }

    fn engine() -> Settings {
        Settings { driver: "docker".to_owned(), in_engine: true, ..Settings::default() }
    }

    /// `key=value` lines.
    fn of(request: &BuildRequest, settings: &Settings) -> Vec<String> {
        let flags = Flags::of(request, settings, Some("10.0.0.1")).unwrap();
        flags.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    fn error(request: &BuildRequest, settings: &Settings) -> String {
        Flags::of(request, settings, None).unwrap_err().reason
    }

    #[test]
    fn a_scanner_needs_a_network() {
        let told = |sbom: &str, network| {
            let attestations = Attestation::parse_all::<&str>(&[], "mode=max", sbom).unwrap();
            let request = BuildRequest { attestations, ..BuildRequest::default() };
            check_attestations(&request, &Settings { network, ..settings() })
        };
        assert!(told("true", Network::Default).is_ok());
        assert!(told("", Network::Host).is_ok());
        assert!(told("false", Network::Host).is_ok());
        let failure = told("generator=a", Network::Host).unwrap_err();
        assert!(failure.reason.starts_with("SBOM attestations are not supported by"), "{failure}");
        assert!(failure.hint.unwrap().contains("--driver-opt image="));
    }

    #[test]
    fn a_plain_build_says_nothing() {
        let without = Settings { no_default_attestations: true, ..settings() };
        assert_eq!(of(&BuildRequest::default(), &without), <[&str; 0]>::default());
        assert_eq!(of(&BuildRequest::default(), &engine()), ["image-resolve-mode=local"]);
    }

    #[test]
    fn every_flag_has_its_attribute() {
        let request = BuildRequest {
            target: Some("prod".to_owned()),
            platforms: ["linux/amd64", "linux/arm/v7"].map(|it| Platform::parse(it).unwrap()).to_vec(),
            build_args: parse_pairs(&["A=1", "BUILDKIT_MULTI_PLATFORM=1"], None).unwrap(),
            labels: parse_pairs(&["l=x=y"], None).unwrap(),
            no_cache: NoCache::Stages(vec!["a".to_owned(), "b".to_owned()]),
            pull: true,
            network: Network::Host,
            add_hosts: ["h=1.2.3.4", "v=::1,1.1.1.1"].map(|it| AddHost::parse(it).unwrap()).to_vec(),
            shm_size: Some(1024),
            ulimits: vec![
                Ulimit { name: "nofile".to_owned(), soft: 1, hard: 2 },
                Ulimit { name: "nproc".to_owned(), soft: -1, hard: -1 },
            ],
            cgroup_parent: Some("/g".to_owned()),
            resources: parse_resources(&[
                "memory=1k",
                "memory-swap=-1",
                "cpu-shares=1",
                "cpu-period=2",
                "cpu-quota=3",
                "cpuset-cpus=0-1",
                "cpuset-mems=0",
            ])
            .unwrap(),
            attestations: Attestation::parse_all(&["type=sbom,generator=g"], "mode=max", "").unwrap(),
            allow: vec!["security.insecure".to_owned()],
            call: Some("outline".to_owned()),
            ..BuildRequest::default()
        };
        let vcs =
            Vcs { root: None, attributes: parse_pairs(&["vcs:revision=r", "vcs:source=s"], None).unwrap() };
        let settings = Settings { vcs, ..settings() };
        insta::assert_snapshot!(of(&request, &settings).join("\n"), @r"
        add-hosts=h=1.2.3.4,v=::1,v=1.1.1.1
        attest:provenance=type=provenance,mode=max
        attest:sbom=type=sbom,generator=g
        build-arg:A=1
        build-arg:BUILDKIT_MULTI_PLATFORM=1
        cgroup-parent=/g
        cpuperiod=2
        cpuquota=3
        cpusetcpus=0-1
        cpusetmems=0
        cpushares=1
        force-network-mode=host
        image-resolve-mode=pull
        label:l=x=y
        memory=1024
        memswap=-1
        multi-platform=true
        no-cache=a,b
        platform=linux/amd64,linux/arm/v7
        requestid=frontend.outline
        shm-size=1024
        target=prod
        ulimit=nofile=1:2,nproc=-1:-1
        vcs:revision=r
        vcs:source=s
        ");
        let flags = Flags::of(&request, &settings, None).unwrap();
        assert_eq!(flags.entitlements, ["security.insecure", "network.host"]);
        assert_eq!(flags.frontend, "dockerfile.v0");
    }

    #[test]
    fn other_values_of_flags() {
        let with = |change: fn(&mut BuildRequest)| {
            let mut request = BuildRequest::default();
            change(&mut request);
            of(&request, &Settings { no_default_attestations: true, ..settings() })
        };
        assert_eq!(with(|it| it.no_cache = NoCache::All), ["no-cache="]);
        assert_eq!(with(|it| it.network = Network::None), ["force-network-mode=none"]);
        // What the builder needs is said where nothing else is.
        let flags = |network: Network| {
            let settings = Settings { network: Network::Host, no_default_attestations: true, ..settings() };
            Flags::of(&BuildRequest { network, ..BuildRequest::default() }, &settings, None).unwrap()
        };
        assert_eq!(flags(Network::Default), flags(Network::Host));
        assert_eq!(flags(Network::Default).entitlements, ["network.host"]);
        assert_eq!(flags(Network::None).attributes["force-network-mode"], "none");
        assert!(flags(Network::None).entitlements.is_empty());
        let resources = |it: &mut BuildRequest| {
            it.resources = parse_resources(&["memory=0", "memory-swap=2k"]).unwrap();
        };
        assert_eq!(with(resources), ["memswap=2048"]);
        assert_eq!(
            with(|it| drop(it.build_args.insert("BUILDKIT_MULTI_PLATFORM".to_owned(), "no".to_owned()))),
            ["build-arg:BUILDKIT_MULTI_PLATFORM=no"]
        );
    }

    #[test]
    fn a_build_argument_names_another_frontend() {
        let with = |syntax: &str| BuildRequest {
            build_args: BTreeMap::from([(SYNTAX.to_owned(), syntax.to_owned())]),
            ..BuildRequest::default()
        };
        let flags = Flags::of(&with("r.test/front:1 --opt"), &settings(), None).unwrap();
        assert_eq!(flags.frontend, "gateway.v0");
        assert_eq!(flags.attributes["source"], "r.test/front:1");
        assert_eq!(flags.attributes["cmdline"], "r.test/front:1 --opt");
        assert!(error(&with(" "), &settings()).starts_with("empty BUILDKIT_SYNTAX build-arg is invalid"));
    }

    #[test]
    fn the_hosts_address_is_an_engines_to_say() {
        let request = BuildRequest {
            add_hosts: vec![AddHost::parse("h=host-gateway").unwrap()],
            ..BuildRequest::default()
        };
        assert!(of(&request, &engine()).contains(&"add-hosts=h=10.0.0.1".to_owned()));
        assert_eq!(error(&request, &engine()), "host-gateway IP not found");
        assert_eq!(
            error(&request, &settings()),
            "host-gateway is not supported by the docker-container driver"
        );
    }

    #[test]
    fn what_a_driver_cannot_build_is_refused() {
        let several = BuildRequest {
            platforms: ["linux/amd64", "linux/arm64"].map(|it| Platform::parse(it).unwrap()).to_vec(),
            ..BuildRequest::default()
        };
        assert_eq!(
            error(&several, &engine()),
            "Multi-platform build is not supported for the docker driver."
        );
        let attested = BuildRequest {
            attestations: vec![Attestation::parse("type=sbom").unwrap()],
            ..BuildRequest::default()
        };
        assert_eq!(
            check_attestations(&attested, &engine()).unwrap_err().reason,
            "Attestation is not supported for the docker driver."
        );
        let forbidden = BuildRequest {
            attestations: vec![Attestation::parse("type=provenance,disabled=true").unwrap()],
            ..BuildRequest::default()
        };
        assert!(check_attestations(&forbidden, &engine()).is_ok());
    }

    #[test]
    fn provenance_is_attested_where_that_can_be() {
        let provenance = |attest: &str, settings: &Settings, caps: &[&str]| {
            let attestations = Attestation::parse_all(&[] as &[&str], attest, "").unwrap();
            let request = BuildRequest { attestations, ..BuildRequest::default() };
            let mut attributes = Flags::of(&request, settings, None).unwrap().attributes;
            let remove = |key: &str| drop(attributes.remove(key));
            adjust(Asked::of(&request, settings, 1), |cap| caps.contains(&cap), remove)
                .map(|()| attributes.remove(PROVENANCE))
        };
        let able = [CAN_ATTEST];
        assert_eq!(provenance("", &settings(), &able).unwrap().as_deref(), Some(DEFAULT_PROVENANCE));
        assert_eq!(provenance("", &settings(), &[]).unwrap(), None);
        assert_eq!(provenance("", &engine(), &able).unwrap(), None);
        assert_eq!(provenance("false", &settings(), &able).unwrap(), None);
        assert_eq!(provenance("true", &settings(), &able).unwrap().as_deref(), Some("type=provenance"));
        let without = Settings { no_default_attestations: true, ..settings() };
        assert_eq!(provenance("", &without, &able).unwrap(), None);
        assert_eq!(
            provenance("true", &settings(), &[]).unwrap_err().reason,
            "Attestations are not supported by the current BuildKit daemon"
        );
    }

    #[test]
    fn old_daemons_take_one_output() {
        let asked = |exports| Asked::of(&BuildRequest::default(), &engine(), exports);
        assert!(adjust(asked(1), |_| false, |_| ()).is_ok());
        assert!(adjust(asked(2), |cap| cap == SEVERAL_EXPORTERS, |_| ()).is_ok());
        let error = adjust(asked(2), |_| false, |_| ()).unwrap_err();
        assert!(
            error.reason.starts_with("multiple outputs currently unsupported by the current BuildKit daemon")
        );
    }
}
