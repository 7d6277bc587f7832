//! `--add-host`, `--network` and `--allow`.

use std::net::IpAddr;
use std::str::FromStr;

use super::GrammarError;
use super::fields::fields;
use crate::request::{AddHost, Network};

/// The entitlement that buildx itself keeps: a `local` output may delete what it does not write.
pub const LOCAL_DELETE: &str = "buildx.local.delete";

impl AddHost {
    /// Reads `host=address[,address…]`, where a `:` can stand for the `=`, and brackets around an address.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let invalid = || GrammarError::Host(text.to_owned());
        let (host, addresses) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(invalid)?;
        if host.is_empty() || addresses.is_empty() {
            return Err(invalid());
        }
        let addresses = if addresses == "host-gateway" {
            vec![addresses.to_owned()]
        } else {
            let address = |address: &str| {
                let bare =
                    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
                IpAddr::from_str(bare).map(|_| bare.to_owned()).map_err(|_| invalid())
            };
            addresses.split(',').map(address).collect::<Result<_, _>>()?
        };
        Ok(Self { host: host.to_owned(), addresses })
    }
}

impl Network {
    /// Reads `default`, `none` or `host`; nothing is `default`.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        match text {
            "" | "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            other => Err(GrammarError::Network(other.to_owned())),
        }
    }
}

/// Reads all `--allow` of a build: the entitlements that a builder is told, and whether [`LOCAL_DELETE`], which it is
/// not, was among them.
pub fn parse_entitlements<S: AsRef<str>>(texts: &[S]) -> Result<(Vec<String>, bool), GrammarError> {
    let mut entitlements = Vec::new();
    let mut local_delete = false;
    for text in texts.iter().map(AsRef::as_ref) {
        match text.split_once('=') {
            None if text.is_empty() => {}
            None if text == LOCAL_DELETE => local_delete = true,
            Some((LOCAL_DELETE, _)) => return Err(GrammarError::EntitlementValue),
            None if matches!(text, "network.host" | "security.insecure" | "device") => {
                entitlements.push(text.to_owned());
            }
            Some(("device", device)) => {
                if !device.is_empty() {
                    fields(device)?;
                }
                entitlements.push(text.to_owned());
            }
            _ => return Err(GrammarError::Entitlement(text.to_owned())),
        }
    }
    Ok((entitlements, local_delete))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        for (text, host, addresses) in [
            ("a=1.2.3.4", "a", &["1.2.3.4"][..]),
            ("a:1.2.3.4", "a", &["1.2.3.4"]),
            ("a:::1", "a", &["::1"]),
            ("a=[::1],[10.0.0.1]", "a", &["::1", "10.0.0.1"]),
            ("a=host-gateway", "a", &["host-gateway"]),
        ] {
            let wanted = AddHost {
                host: host.to_owned(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
            };
            assert_eq!(AddHost::parse(text), Ok(wanted), "{text}");
        }
        for text in ["", "a", "a=", "=1.2.3.4", "a=b", "a=1.2.3", "a=1.2.3.4,", "a=[]", "a=host-gateway,::1"]
        {
            assert_eq!(AddHost::parse(text).unwrap_err().to_string(), format!("invalid host {text}"));
        }
    }

    #[test]
    fn reads_networks() {
        assert_eq!(Network::parse(""), Ok(Network::Default));
        assert_eq!(Network::parse("default"), Ok(Network::Default));
        assert_eq!(Network::parse("none"), Ok(Network::None));
        assert_eq!(Network::parse("host"), Ok(Network::Host));
        assert_eq!(
            Network::parse("mine").unwrap_err().to_string(),
            "network mode \"mine\" not supported by buildkit - you can define a custom network for your builder using \
             the network driver-opt in buildx create"
        );
    }

    #[test]
    fn reads_entitlements() {
        let all = [
            "network.host",
            "",
            LOCAL_DELETE,
            "device=vendor/class=x,alias=y",
            "device",
            "security.insecure",
        ];
        let (entitlements, local_delete) = parse_entitlements(&all).unwrap();
        assert_eq!(
            entitlements,
            ["network.host", "device=vendor/class=x,alias=y", "device", "security.insecure"]
        );
        assert!(local_delete);
        assert!(!parse_entitlements(&["device="]).unwrap().1);
        for (text, message) in [
            ("network", "unknown entitlement network"),
            ("network.host=true", "unknown entitlement network.host=true"),
            ("buildx.local.delete=1", "buildx.local.delete does not accept a value"),
            ("device=a\"", "parse error on line 1, column 2: bare \" in non-quoted field"),
        ] {
            assert_eq!(parse_entitlements(&[text]).unwrap_err().to_string(), message);
        }
    }
}
