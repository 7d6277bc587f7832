//! The options that drivers take: `--driver-opt`.

use std::collections::BTreeMap;
use std::path::Path;

use rbx_driver::DriverKind;
use rbx_request::parse_size;

use crate::error::BuilderError;
use crate::group::Node;

/// Reads `--driver-opt`: each has any number of `key=value`.
pub(crate) fn parse(given: &[String]) -> Result<Option<BTreeMap<String, String>>, BuilderError> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut options = BTreeMap::new();
    for line in given {
        let fields = rbx_request::fields(line).map_err(|error| BuilderError::refused(error.to_string()))?;
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| BuilderError::refused(format!("invalid value {field:?}, expecting k=v")))?;
            options.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(Some(options))
}

/// Checks what a node was given against what its driver takes; an error is its message.
pub(crate) fn check(driver: DriverKind, node: &Node) -> Result<(), String> {
    match driver {
        DriverKind::DockerContainer => {
            for (key, value) in node.driver_opts.iter().flatten() {
                container_option(key, value)?;
            }
        }
        DriverKind::Remote => {
            if node.files().next().is_some() {
                return Err("setting config file is not supported for remote driver".to_owned());
            }
            if node.flags.as_ref().is_some_and(|flags| !flags.is_empty()) {
                return Err("setting buildkit flags is not supported for remote driver".to_owned());
            }
            remote_options(node)?;
        }
        DriverKind::Docker if node.files().next().is_some() => {
            return Err(
                "setting config file is not supported for docker driver, use dockerd configuration file"
                    .to_owned(),
            );
        }
        DriverKind::Docker | DriverKind::Embedded | DriverKind::Kubernetes => {}
    }
    Ok(())
}

fn container_option(key: &str, value: &str) -> Result<(), String> {
    match key {
        "network" | "image" | "qemu.image" | "cpuset-cpus" | "cpuset-mems" | "cgroup-parent" => Ok(()),
        "memory-swap" if value == "-1" => Ok(()),
        "memory" | "memory-swap" => size(value),
        "cpu-period" | "cpu-quota" | "cpu-shares" => number(value),
        "restart-policy" => restart_policy(value),
        "default-load" | "provenance-add-gha" | "qemu.install" | "allow-untrusted-image" => truth(value),
        _ => match key.strip_prefix("env.") {
            Some("") => Err(format!("invalid env option {key:?}, expecting env.FOO=bar")),
            Some(_) => Ok(()),
            None => Err(format!("invalid driver option {key} for docker-container driver")),
        },
    }
}

fn remote_options(node: &Node) -> Result<(), String> {
    let mut tls = BTreeMap::new();
    for (key, value) in node.driver_opts.iter().flatten() {
        match key.as_str() {
            "servername" => {
                tls.insert(key.as_str(), value);
            }
            "cacert" | "cert" | "key" => {
                if !Path::new(value).is_absolute() {
                    return Err(format!("non-absolute path '{value}' provided for {key}"));
                }
                tls.insert(key, value);
            }
            "default-load" => truth(value)?,
            _ => return Err(format!("invalid driver option {key} for remote driver")),
        }
    }
    let has = |key: &str| tls.get(key).is_some_and(|value| !value.is_empty());
    let mut missing = Vec::new();
    if !tls.is_empty() {
        missing.extend((!has("cacert")).then_some("cacert"));
        missing.extend((has("cert") && !has("key")).then_some("key"));
        missing.extend((has("key") && !has("cert")).then_some("cert"));
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("tls enabled, but missing keys {}", missing.join(", ")))
    }
}

fn size(value: &str) -> Result<(), String> {
    parse_size(value).map(|_| ()).map_err(|error| error.to_string())
}

fn number(value: &str) -> Result<(), String> {
    let reason = match value.parse::<i64>() {
        Ok(_) => return Ok(()),
        Err(error) => match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        },
    };
    Err(format!("strconv.ParseInt: parsing {value:?}: {reason}"))
}

fn truth(value: &str) -> Result<(), String> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(()),
        _ => Err(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
    }
}

/// `name[:number]`. Which names there are, the Engine knows.
fn restart_policy(value: &str) -> Result<(), String> {
    let Some((name, times)) = value.split_once(':') else { return Ok(()) };
    if name.is_empty() {
        return Err("invalid restart policy format: no policy provided before colon".to_owned());
    }
    if times.parse::<i64>().is_err() {
        return Err("invalid restart policy format: maximum retry count must be an integer".to_owned());
    }
    Ok(())
}
