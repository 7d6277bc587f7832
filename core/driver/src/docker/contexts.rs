//! docker's contexts: named endpoints.

use std::fs;
use std::io;

use serde::Deserialize;

use super::endpoint::{DEFAULT, Endpoint, EndpointChoice, from_context, from_host, given, named, read_json};
use crate::error::DriverError;

/// Bound on the number of contexts.
const MOST: usize = 10_000;

/// The name of the current context; `default` is the endpoint that flags and variables make. Whether there is such
/// a context is not looked up.
pub fn current_context(choice: &EndpointChoice) -> Result<String, DriverError> {
    Ok(named(choice)?.unwrap_or_else(|| DEFAULT.to_owned()))
}

/// The names of all contexts in their order, then `default`, which always is.
pub fn context_names(choice: &EndpointChoice) -> Result<Vec<String>, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Context {
        name: String,
    }
    let mut names = Vec::new();
    if let Some(directory) = choice.config_dir.as_ref().map(|folder| folder.join("contexts/meta")) {
        let failed = |error: io::Error| DriverError::Configuration {
            path: directory.clone(),
            reason: error.to_string(),
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries.into_iter().flatten().take(MOST) {
            let path = entry.map_err(failed)?.path().join("meta.json");
            if let Some(Context { name }) = read_json(&path)? {
                names.push(name);
            }
        }
    }
    names.retain(|name| name != DEFAULT);
    names.sort();
    names.dedup();
    names.push(DEFAULT.to_owned());
    Ok(names)
}

/// The endpoint of a context, or of `default`.
pub fn context_endpoint(choice: &EndpointChoice, name: &str) -> Result<Endpoint, DriverError> {
    let mut endpoint = if name == DEFAULT {
        let host = given(choice.host.as_deref()).or_else(|| given(choice.docker_host.as_deref()));
        from_host(choice, host)?
    } else {
        from_context(choice, name.to_owned())?
    };
    if choice.dial_stdio.is_some() && current_context(choice)? == name {
        endpoint.command.clone_from(&choice.dial_stdio);
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use rbx_oci::Digest;

    use super::*;

    fn context(folder: &tempfile::TempDir, name: &str, text: &str) {
        let id = Digest::sha256_of(name.as_bytes()).hex();
        let meta = folder.path().join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        fs::write(meta.join("meta.json"), text).unwrap();
    }

    #[test]
    fn contexts_are_listed_with_the_default_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut choice =
            EndpointChoice { config_dir: Some(folder.path().to_owned()), ..EndpointChoice::default() };
        assert_eq!(context_names(&EndpointChoice::default()).unwrap(), ["default"]);
        assert_eq!(context_names(&choice).unwrap(), ["default"]);
        for name in ["b", "a"] {
            let text = format!(
                r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"unix:///{name}"}}}}}}"#
            );
            context(&folder, name, &text);
        }
        fs::create_dir(folder.path().join("contexts/meta/empty")).unwrap();
        assert_eq!(context_names(&choice).unwrap(), ["a", "b", "default"]);
        assert_eq!(context_endpoint(&choice, "b").unwrap().host, "unix:///b");
        assert_eq!(current_context(&choice).unwrap(), "default");

        // `default` is what flags and variables make, whichever context is current.
        choice.context = Some("a".to_owned());
        choice.docker_host = Some("tcp://h:1".to_owned());
        assert_eq!(current_context(&choice).unwrap(), "a");
        assert_eq!(context_endpoint(&choice, "default").unwrap().host, "tcp://h:1");
        assert!(context_endpoint(&choice, "c").unwrap_err().to_string().starts_with("context \"c\": "));

        context(&folder, "c", "{");
        let error = context_names(&choice).unwrap_err().to_string();
        assert!(error.ends_with("meta.json") && error.starts_with("EOF"), "{error}");
    }
}
