//! The options that drivers take: `--driver-opt`.

use std::collections::BTreeMap;

use rbx_driver::DriverKind;
use rbx_driver::docker::Endpoint;

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
    // Where it is makes no difference.
    let settings = node.settings_at(Endpoint::at(&node.endpoint));
    rbx_driver::check(driver, &settings).map_err(|error| error.to_string())
}
