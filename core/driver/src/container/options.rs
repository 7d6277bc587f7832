//! The options of the driver: `--driver-opt`.

use std::collections::BTreeMap;
use std::num::IntErrorKind;

use bollard::models::{RestartPolicy, RestartPolicyNameEnum};
use rbx_request::parse_size;

use crate::error::DriverError;

/// The image that a node runs unless another is chosen.
pub(super) const IMAGE: &str = "moby/buildkit:buildx-stable-1";
/// The image that has QEMU and registers it.
const QEMU_IMAGE: &str = "tonistiigi/binfmt";

/// The options of a node, checked. Names and words are buildx's; `qemu.install` and `qemu.image` are those that it has
/// for pods.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    pub(super) image: String,
    pub(super) network: Option<String>,
    /// Bytes.
    pub(super) memory: Option<i64>,
    /// Bytes, of memory and swap together; -1 for no bound.
    pub(super) memory_swap: Option<i64>,
    pub(super) cpu_period: Option<i64>,
    pub(super) cpu_quota: Option<i64>,
    pub(super) cpu_shares: Option<i64>,
    pub(super) cpuset_cpus: Option<String>,
    pub(super) cpuset_mems: Option<String>,
    pub(super) cgroup_parent: Option<String>,
    pub(super) restart_policy: RestartPolicy,
    /// `NAME=value`.
    pub(super) env: Vec<String>,
    pub(super) default_load: bool,
    /// Whether the daemon is told about the run of GitHub's Actions that it builds in.
    pub(super) provenance_add_gha: bool,
    /// Whether missing emulators are installed.
    pub(super) qemu_install: bool,
    pub(super) qemu_image: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            image: IMAGE.to_owned(),
            network: None,
            memory: None,
            memory_swap: None,
            cpu_period: None,
            cpu_quota: None,
            cpu_shares: None,
            cpuset_cpus: None,
            cpuset_mems: None,
            cgroup_parent: None,
            restart_policy: policy(RestartPolicyNameEnum::UNLESS_STOPPED),
            env: Vec::new(),
            default_load: false,
            provenance_add_gha: true,
            qemu_install: true,
            qemu_image: QEMU_IMAGE.to_owned(),
        }
    }
}

impl Options {
    /// Reads the options of a node. The reason of an error is buildx's.
    pub(super) fn parse(given: &BTreeMap<String, String>) -> Result<Self, DriverError> {
        let mut options = Self::default();
        for (key, value) in given {
            options.set(key, value).map_err(DriverError::Refused)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        // As in buildx, empty is not given.
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            "image" => self.image = text().unwrap_or_else(|| IMAGE.to_owned()),
            "network" => self.network = text(),
            "memory" => self.memory = Some(size(value)?),
            "memory-swap" => self.memory_swap = Some(if value == "-1" { -1 } else { size(value)? }),
            "cpu-period" => self.cpu_period = Some(number(value)?),
            "cpu-quota" => self.cpu_quota = Some(number(value)?),
            "cpu-shares" => self.cpu_shares = Some(number(value)?),
            "cpuset-cpus" => self.cpuset_cpus = text(),
            "cpuset-mems" => self.cpuset_mems = text(),
            "cgroup-parent" => self.cgroup_parent = text(),
            "restart-policy" => self.restart_policy = restart_policy(value)?,
            "default-load" => self.default_load = truth(value)?,
            "provenance-add-gha" => self.provenance_add_gha = truth(value)?,
            // Nothing is known here of images that cannot be trusted.
            "allow-untrusted-image" => drop(truth(value)?),
            "qemu.install" => self.qemu_install = truth(value)?,
            "qemu.image" => self.qemu_image = text().unwrap_or_else(|| QEMU_IMAGE.to_owned()),
            _ => match key.strip_prefix("env.") {
                Some("") => return Err(format!("invalid env option {key:?}, expecting env.FOO=bar")),
                Some(name) => self.env.push(format!("{name}={value}")),
                None => return Err(format!("invalid driver option {key} for docker-container driver")),
            },
        }
        Ok(())
    }
}

fn size(value: &str) -> Result<i64, String> {
    let size = parse_size(value).map_err(|error| error.to_string())?;
    i64::try_from(size).map_err(|_| format!("invalid size: '{value}'"))
}

fn number(value: &str) -> Result<i64, String> {
    value.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {value:?}: {reason}")
    })
}

/// A truth value as Go reads one.
pub(crate) fn truth(value: &str) -> Result<bool, String> {
    rbx_request::parse_bool(value).map_err(|error| error.to_string())
}

fn policy(name: RestartPolicyNameEnum) -> RestartPolicy {
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

/// `name[:number]`
fn restart_policy(value: &str) -> Result<RestartPolicy, String> {
    let (name, times) = value.split_once(':').map_or((value, None), |(name, times)| (name, Some(times)));
    if name.is_empty() && times.is_some() {
        return Err("invalid restart policy format: no policy provided before colon".to_owned());
    }
    let maximum_retry_count = times
        .map(str::parse)
        .transpose()
        .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?;
    let name = match name {
        "" => RestartPolicyNameEnum::EMPTY,
        "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => {
            return Err(format!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or \
                 'unless-stopped'"
            ));
        }
    };
    Ok(RestartPolicy { maximum_retry_count, ..policy(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<Options, String> {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::parse(&given).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_read() {
        assert_eq!(parse(&[]), Ok(Options::default()));
        let options = parse(&[
            ("image", "docker:dind"),
            ("network", "host"),
            ("memory", "1g"),
            ("memory-swap", "-1"),
            ("cpu-period", "100000"),
            ("cpu-quota", "50000"),
            ("cpu-shares", "512"),
            ("cpuset-cpus", "0-1"),
            ("cpuset-mems", "0"),
            ("cgroup-parent", "/builds"),
            ("restart-policy", "on-failure:3"),
            ("env.A", "b=c"),
            ("env.HTTP_PROXY", ""),
            ("default-load", "true"),
            ("provenance-add-gha", "0"),
            ("allow-untrusted-image", "t"),
            ("qemu.install", "false"),
            ("qemu.image", "mine/binfmt:1"),
        ]);
        let name = Some(RestartPolicyNameEnum::ON_FAILURE);
        let expected = Options {
            image: "docker:dind".to_owned(),
            network: Some("host".to_owned()),
            memory: Some(1 << 30),
            memory_swap: Some(-1),
            cpu_period: Some(100_000),
            cpu_quota: Some(50_000),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            cgroup_parent: Some("/builds".to_owned()),
            restart_policy: RestartPolicy { name, maximum_retry_count: Some(3) },
            env: vec!["A=b=c".to_owned(), "HTTP_PROXY=".to_owned()],
            default_load: true,
            provenance_add_gha: false,
            qemu_install: false,
            qemu_image: "mine/binfmt:1".to_owned(),
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn wrong_options_are_refused_in_the_words_of_buildx() {
        for (key, value, wanted) in [
            ("color", "red", "invalid driver option color for docker-container driver"),
            ("env.", "x", "invalid env option \"env.\", expecting env.FOO=bar"),
            ("memory", "much", "invalid size: 'much'"),
            ("cpu-quota", "half", "strconv.ParseInt: parsing \"half\": invalid syntax"),
            (
                "cpu-quota",
                "9223372036854775808",
                "strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
            ),
            ("default-load", "yes", "strconv.ParseBool: parsing \"yes\": invalid syntax"),
            ("qemu.install", "", "strconv.ParseBool: parsing \"\": invalid syntax"),
            ("restart-policy", ":3", "invalid restart policy format: no policy provided before colon"),
            (
                "restart-policy",
                "on-failure:x",
                "invalid restart policy format: maximum retry count must be an integer",
            ),
        ] {
            assert_eq!(parse(&[(key, value)]).unwrap_err(), wanted);
        }
        let unknown = parse(&[("restart-policy", "never")]).unwrap_err();
        assert!(unknown.starts_with("invalid restart policy: unknown policy 'never'"), "{unknown}");
    }
}
