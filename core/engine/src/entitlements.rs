//! What a `RUN` may do only if `--allow` grants it, in BuildKit's words.

use rbx_dockerfile::{Network, Run, Security};
use rbx_request::BuildRequest;

use crate::error::BuildError;

/// Refuses a step that asks for more than the build was granted. There is no daemon whose configuration could forbid
/// a grant: who builds is who runs this.
pub(crate) fn check(run: &Run, request: &BuildRequest) -> Result<(), BuildError> {
    let granted = |entitlement: &str| request.allow.iter().any(|it| it == entitlement);
    // `--network=host` grants it as well.
    let host = request.network == rbx_request::Network::Host || granted("network.host");
    let asked = [
        (run.network == Network::Host && !host, "network.host"),
        (run.security == Security::Insecure && !granted("security.insecure"), "security.insecure"),
    ];
    match asked.into_iter().find(|(refused, _)| *refused) {
        Some((_, entitlement)) => Err(BuildError::invalid(format!("{entitlement} is not allowed"))
            .hint(format!("add --allow {entitlement}"))),
        None => Ok(()),
    }
}

/// The devices that were granted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceGrants {
    /// `--allow device`: all.
    pub(crate) all: bool,
    /// Names, and for an alias the device that it stands for.
    pub(crate) names: Vec<(String, Option<String>)>,
}

impl DeviceGrants {
    /// Those of `--allow device[=NAME[,alias=ALIAS]]`.
    pub(crate) fn of(request: &BuildRequest) -> Result<Self, BuildError> {
        let mut grants = Self::default();
        for entitlement in &request.allow {
            let Some(("device", config)) = entitlement.split_once('=').or_else(|| {
                // Without a value: all of them.
                (entitlement == "device").then_some(("device", ""))
            }) else {
                continue;
            };
            if config.is_empty() {
                grants.all = true;
                continue;
            }
            // No name of a device has a comma or a quote in it.
            let mut fields = config.split(',').map(|field| field.trim().trim_matches('"'));
            let device = fields.next().unwrap_or_default().to_owned();
            let mut alias = None;
            for field in fields {
                match field.split_once('=') {
                    Some(("alias", name)) => alias = Some(name.to_owned()),
                    Some((key, _)) => {
                        return Err(BuildError::invalid(format!("unknown device config key {key:?}")));
                    }
                    None => return Err(BuildError::invalid(format!("invalid device config {field:?}"))),
                }
            }
            grants.names.push(match alias {
                Some(alias) => (alias, Some(device)),
                None => (device, None),
            });
        }
        Ok(grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(allow: &[&str]) -> BuildRequest {
        BuildRequest { allow: allow.iter().map(|&it| it.to_owned()).collect(), ..BuildRequest::default() }
    }

    #[test]
    fn grants_of_devices() {
        let grants = DeviceGrants::of(&request(&["network.host", "device=v/c=x", "device=v/c=y,alias=gpu"]));
        let names = vec![("v/c=x".to_owned(), None), ("gpu".to_owned(), Some("v/c=y".to_owned()))];
        assert_eq!(grants.expect("grants"), DeviceGrants { all: false, names });
        assert!(DeviceGrants::of(&request(&["device"])).expect("grants").all);
        assert!(DeviceGrants::of(&request(&["device="])).expect("grants").all);
        assert_eq!(
            DeviceGrants::of(&request(&["security.insecure"])).expect("grants"),
            DeviceGrants::default()
        );
        for (config, reason) in [
            ("device=x,y", "invalid device config \"y\""),
            ("device=x,y=z", "unknown device config key \"y\""),
        ] {
            assert_eq!(DeviceGrants::of(&request(&[config])).expect_err("a refusal").reason, reason);
        }
    }
}
