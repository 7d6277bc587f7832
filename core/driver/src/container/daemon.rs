//! What runs in a container of a builder.

use bollard::models::ContainerInspectResponse;
use serde_json::{Map, Value, json};

use super::configuration::add_configuration;
use crate::error::DriverError;

/// The configuration of an Engine.
pub(super) const DAEMON_JSON: &str = "docker/daemon.json";
/// Where an Engine in a container listens.
const SOCKET: &str = "unix:///var/run/docker.sock";
/// The flag by which BuildKit's daemon is told what builds may ask for.
const ENTITLEMENT: &str = "--allow-insecure-entitlement";
/// The entitlement that steps in an Engine need to have the container's network.
const NETWORK: &str = "network.host";
/// What an Engine in a container is started with. It has no bridge of its own: steps have the network of the container,
/// as they have it in a container of BuildKit's, and nothing is asked of iptables, which an image may not have, or of
/// the host's own network where the container shares that.
const ENGINE_FLAGS: [&str; 5] = [
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--userland-proxy=false",
];

/// What runs in a container of a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    /// `buildkitd`.
    BuildKit,
    /// `dockerd`, in whose Engine `BuildKit` is: Docker in Docker.
    Engine,
}

impl Daemon {
    /// Both, in the order in which they are looked for.
    pub(super) const ALL: [Self; 2] = [Self::BuildKit, Self::Engine];

    /// The name of its program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::BuildKit => "buildkitd",
            Self::Engine => "dockerd",
        }
    }

    /// Where it keeps what it has built.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::BuildKit => "/var/lib/buildkit",
            Self::Engine => "/var/lib/docker",
        }
    }

    /// A directory that has to be empty when the container starts: an Engine that was killed leaves there who it was,
    /// and the next one would be that.
    pub(super) fn scratch(self) -> Option<&'static str> {
        (self == Self::Engine).then_some("/var/run")
    }

    /// The command in the container that passes on what the daemon speaks: gRPC, or the Engine's API.
    pub(super) fn dial(self) -> &'static [&'static str] {
        match self {
            Self::BuildKit => &["buildctl", "dial-stdio"],
            Self::Engine => &["docker", "--host", SOCKET, "system", "dial-stdio"],
        }
    }

    /// What a container runs, by the command that it was made with.
    pub(super) fn of_container(container: &ContainerInspectResponse) -> Self {
        let path = container.path.iter().map(String::as_str);
        let arguments = container.args.iter().flatten().map(String::as_str);
        Self::of_command(path.chain(arguments)).unwrap_or(Self::BuildKit)
    }

    /// The daemon that a command starts: the first word of it that is the name of one, or of a script named after one,
    /// such as `dockerd-entrypoint.sh`.
    pub(super) fn of_command<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        words.into_iter().filter(|word| !word.starts_with('-')).find_map(|word| {
            let name = word.rsplit('/').next().unwrap_or(word);
            Self::ALL.into_iter().find(|daemon| name.starts_with(daemon.program()))
        })
    }
}

/// How a container's first process is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// In place of the image's own.
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) arguments: Vec<String>,
}

/// The command of a daemon in an image with this entrypoint; `configured` says that it has a configuration.
pub(super) fn command(daemon: Daemon, entrypoint: &[String], flags: &[String], configured: bool) -> Command {
    match daemon {
        Daemon::BuildKit => {
            let config = ["--config", "/etc/buildkit/buildkitd.toml"].map(str::to_owned);
            let config = config.into_iter().filter(|_| configured);
            Command { entrypoint: None, arguments: config.chain(flags.iter().cloned()).collect() }
        }
        Daemon::Engine => {
            let (_, own) = split(flags);
            let fixed = [format!("--host={SOCKET}")].into_iter().chain(ENGINE_FLAGS.map(str::to_owned));
            let flags = fixed.chain(own);
            let name = entrypoint.last().map(|word| word.rsplit('/').next().unwrap_or(word));
            match name {
                Some("dockerd") => Command { entrypoint: None, arguments: flags.collect() },
                // A script prepares the container, and does as it is told when it is told everything.
                Some(name) if name.starts_with("dockerd") => {
                    let arguments = ["dockerd".to_owned()].into_iter().chain(flags).collect();
                    Command { entrypoint: None, arguments }
                }
                _ => Command { entrypoint: Some(vec!["dockerd".to_owned()]), arguments: flags.collect() },
            }
        }
    }
}

/// The flags for an Engine in two: what builds may ask for, which it has in its configuration, and what it takes as
/// flags.
fn split(flags: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut entitlements, mut rest) = (Vec::new(), Vec::new());
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match flag.strip_prefix(ENTITLEMENT) {
            Some("") => entitlements.extend(flags.next().cloned()),
            Some(value) if value.starts_with('=') => entitlements.push(value[1..].to_owned()),
            _ => rest.push(flag.clone()),
        }
    }
    (entitlements, rest)
}

/// The configuration of an Engine in a container, as files below `/etc`: that of its image, with what a `buildkitd.toml`
/// says and what builds need. Images are kept by containerd, unless the image's configuration says otherwise: the other
/// store builds for one platform at a time. Steps may have the network of the Engine's host, which is that of the
/// container.
pub(super) fn engine_files(
    image: Option<&[u8]>,
    flags: &[String],
    buildkitd: Option<&[u8]>,
) -> Result<Vec<(String, Vec<u8>)>, DriverError> {
    let wrong =
        |reason: String| DriverError::Refused(format!("{reason}: /etc/{DAEMON_JSON} of the builder's image"));
    let mut configuration = match image {
        Some(text) if !text.trim_ascii().is_empty() => {
            serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?
        }
        _ => json!({}),
    };
    let Value::Object(fields) = &mut configuration else { return Err(wrong("not an object".to_owned())) };
    // Said by flags, and an Engine takes nothing twice; and where its state is, the volume is.
    for field in
        ["hosts", "bridge", "iptables", "ip6tables", "ip-forward", "userland-proxy", "data-root", "graph"]
    {
        fields.remove(field);
    }
    let mut files = match buildkitd {
        Some(text) => add_configuration(text, fields)?,
        None => Vec::new(),
    };
    let features = object(fields, "features").map_err(wrong)?;
    features.entry("containerd-snapshotter").or_insert(true.into());
    let granted = object(fields, "builder").and_then(|builder| object(builder, "entitlements"));
    let granted = granted.map_err(wrong)?;
    let (entitlements, own) = split(flags);
    let foreign: Vec<&str> = own.iter().map(String::as_str).filter(|flag| is_of_buildkit(flag)).collect();
    if !foreign.is_empty() {
        return Err(DriverError::NotForEngines(foreign.join(", ")));
    }
    for name in [NETWORK].into_iter().chain(entitlements.iter().map(String::as_str)) {
        granted.insert(name.replace('.', "-"), true.into());
    }
    files.push((DAEMON_JSON.to_owned(), configuration.to_string().into_bytes()));
    Ok(files)
}

/// Whether a flag is one of `buildkitd`'s that `dockerd` has not. Others it knows, or complains about.
fn is_of_buildkit(flag: &str) -> bool {
    const NAMES: [&str; 6] =
        ["--addr", "--config", "--root", "--tlsdir", "--otel-socket-path", "--debugaddr"];
    let name = flag.split('=').next().unwrap_or_default();
    let is_worker =
        ["--oci-", "--containerd-worker", "--save-cache-debug"].iter().any(|it| name.starts_with(it));
    is_worker || NAMES.contains(&name)
}

/// The object under a name, which is made if there is none.
pub(super) fn object<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>, String> {
    let value = fields.entry(name).or_insert_with(|| json!({}));
    value.as_object_mut().ok_or_else(|| format!("{name} is not an object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn daemons_are_known_by_what_starts_them() {
        let of = |text: &str| Daemon::of_command(text.split_whitespace());
        assert_eq!(of("buildkitd"), Some(Daemon::BuildKit));
        assert_eq!(of("rootlesskit /usr/bin/buildkitd"), Some(Daemon::BuildKit));
        assert_eq!(of("dockerd-entrypoint.sh"), Some(Daemon::Engine));
        assert_eq!(of("docker-init -- /usr/local/bin/dockerd --debug"), Some(Daemon::Engine));
        assert_eq!(of("sh -c true"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn engines_are_started_by_their_program_or_their_script() {
        let shown = |entrypoint: &str, flags: &str| {
            let command = command(Daemon::Engine, &words(entrypoint), &words(flags), false);
            let flags = format!("--host={SOCKET} {}", ENGINE_FLAGS.join(" "));
            let arguments = command.arguments.join(" ").replace(&flags, "FLAGS");
            format!("{:?} {arguments}", command.entrypoint.unwrap_or_default())
        };
        let allow = "--allow-insecure-entitlement=network.host";
        assert_eq!(shown("", allow), "[\"dockerd\"] FLAGS");
        assert_eq!(shown("sh -c", "--debug"), "[\"dockerd\"] FLAGS --debug");
        assert_eq!(shown("/usr/bin/dockerd", ""), "[] FLAGS");
        let secure = "--debug --allow-insecure-entitlement security.insecure --mtu=1400";
        assert_eq!(shown("dockerd-entrypoint.sh", secure), "[] dockerd FLAGS --debug --mtu=1400");
        let command = command(Daemon::BuildKit, &words("buildkitd"), &words(allow), true);
        assert_eq!(command.arguments.join(" "), format!("--config /etc/buildkit/buildkitd.toml {allow}"));
        assert_eq!(command.entrypoint, None);
    }

    #[test]
    fn an_engine_keeps_the_configuration_of_its_image() {
        let made = |image: Option<&str>, flags: &str| {
            engine_files(image.map(str::as_bytes), &words(flags), None).map_or_else(
                |error| error.to_string(),
                |files| String::from_utf8(files[0].1.clone()).unwrap(),
            )
        };
        assert_eq!(
            made(None, ""),
            r#"{"features":{"containerd-snapshotter":true},"builder":{"entitlements":{"network-host":true}}}"#
        );
        assert_eq!(
            made(
                Some(
                    r#"{"registry-mirrors":["https://m"],"hosts":["tcp://0.0.0.0:2375"],"data-root":"/x","features":{"containerd-snapshotter":false,"a":true}}"#
                ),
                "--allow-insecure-entitlement security.insecure"
            ),
            r#"{"registry-mirrors":["https://m"],"features":{"containerd-snapshotter":false,"a":true},"builder":{"entitlements":{"network-host":true,"security-insecure":true}}}"#
        );
        assert_eq!(
            made(None, "--debug --oci-worker-gc=false --root /a"),
            "an Engine in a container has nothing for: --oci-worker-gc=false, --root: buildkitd.toml or flags of the \
             builder"
        );
        let toml = b"insecure-entitlements = [\"security.insecure\"]\n[registry.\"a:1\"]\nhttp = true\n";
        let files = engine_files(None, &[], Some(toml)).unwrap();
        assert_eq!(files[0].0, "docker/certs.d/a:1/hosts.toml");
        let json = String::from_utf8(files[1].1.clone()).unwrap();
        assert!(json.contains(r#""entitlements":{"security-insecure":true,"network-host":true}"#), "{json}");
        let granting =
            r#"{"builder":{"gc":{},"entitlements":{"network-host":false,"security-insecure":true}}}"#;
        assert_eq!(
            made(Some(granting), ""),
            r#"{"builder":{"gc":{},"entitlements":{"network-host":true,"security-insecure":true}},"features":{"containerd-snapshotter":true}}"#
        );
        for (text, wanted) in
            [("[]", "not an object"), (r#"{"features":3}"#, "features is not an object"), ("{", "EOF")]
        {
            let error = made(Some(text), "");
            assert!(
                error.starts_with(wanted)
                    && error.ends_with("/etc/docker/daemon.json of the builder's image"),
                "{error}"
            );
        }
    }
}
