//! How users say how registries are reached: docker's configuration directory, and variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::config::{Config, Proxies};
use crate::credentials::Credentials;
use crate::error::SetupError;

/// The files and variables that say how registries are reached. They are read by [`Setup::config`].
#[derive(Clone, Default)]
pub struct Setup {
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// docker's configuration directory, with credentials in `config.json`, and mirrors and the like in
    /// `rbx/config.json`.
    pub directory: Option<PathBuf>,
    /// buildx's own directory; `buildx` in docker's unless set.
    pub buildx: Option<PathBuf>,
    /// The content of `DOCKER_AUTH_CONFIG`.
    pub auth_config: Option<String>,
    /// Where credential helpers are looked for, as in `PATH`.
    pub search_path: OsString,
    /// Proxies to go through.
    pub proxies: Proxies,
}

impl fmt::Debug for Setup {
    // Credentials, which proxies may have, too, never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// `rbx/config.json`, of which the rest is for others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnConfig {
    registries: BTreeMap<String, RegistrySettings>,
}

/// How one registry is reached.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistrySettings {
    /// Tried in order before the registry itself.
    mirrors: Vec<String>,
    /// Speaks HTTP without TLS.
    http: bool,
}

impl Setup {
    /// The same, with what it needs of the variables that `variable` gives: those for proxies, which may be written in
    /// small letters, `PATH` and `DOCKER_AUTH_CONFIG`. Those that are empty are as good as unset.
    #[must_use]
    pub fn with_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let filled = |name: &str| variable(name).filter(|value| !value.is_empty());
        let proxy = |name: &str| filled(name).or_else(|| filled(&name.to_ascii_lowercase()));
        self.proxies =
            Proxies { http: proxy("HTTP_PROXY"), https: proxy("HTTPS_PROXY"), no_proxy: proxy("NO_PROXY") };
        self.search_path = filled("PATH").unwrap_or_default().into();
        self.auth_config = filled("DOCKER_AUTH_CONFIG");
        self
    }

    /// Reads the files.
    pub fn config(&self) -> Result<Config, SetupError> {
        let directory = self.directory.as_deref();
        let file = directory.map(|directory| directory.join("config.json"));
        let mut credentials = Credentials::from_config_file(file.as_deref())
            .and_then(|credentials| credentials.with_auth_config(self.auth_config.as_deref()))?
            .with_search_path(&self.search_path);
        let usual = || directory.map(|directory| directory.join("buildx"));
        if let Some(buildx) = self.buildx.clone().or_else(usual) {
            credentials = credentials.with_scoped(&buildx.join("config"));
        }
        let mut config = Config {
            user_agent: self.user_agent.clone(),
            credentials: Arc::new(credentials),
            proxies: self.proxies.clone(),
            ..Config::default()
        };
        let own = directory.map(|directory| OwnConfig::read(&directory.join("rbx/config.json")));
        for (registry, settings) in own.transpose()?.unwrap_or_default().registries {
            if settings.http {
                config.plain_http.insert(registry.clone());
            }
            if !settings.mirrors.is_empty() {
                config.mirrors.insert(registry, settings.mirrors);
            }
        }
        Ok(config)
    }
}

impl OwnConfig {
    fn read(path: &Path) -> Result<Self, SetupError> {
        let failed = |reason: String| SetupError::Settings { reason, path: path.display().to_string() };
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (tempfile::TempDir, Setup) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let setup = Setup { directory: Some(directory.path().to_owned()), ..Setup::default() };
        let setup = setup.with_variables(variable);
        (directory, setup)
    }

    #[test]
    fn registries_are_set_up() {
        let text = r#"{"gc": {}, "registries": {
            "docker.io": {"mirrors": ["localhost:5000", "http://m"]},
            "registry.lan:5000": {"http": true}
        }}"#;
        let variables =
            [("https_proxy", "http://p:1"), ("HTTP_PROXY", ""), ("NO_PROXY", "lan"), ("no_proxy", "x")];
        let (_directory, setup) = setup(&[("rbx/config.json", text)], &variables);
        let config = setup.config().unwrap();
        assert_eq!(config.mirrors["docker.io"], ["localhost:5000", "http://m"]);
        assert_eq!(config.plain_http.iter().collect::<Vec<_>>(), ["registry.lan:5000"]);
        assert_eq!(config.proxies.https.as_deref(), Some("http://p:1"));
        assert_eq!(config.proxies.no_proxy.as_deref(), Some("lan"));
        assert_eq!(config.proxies.http, None);
        assert!(Setup::default().config().is_ok());
    }

    #[tokio::test]
    async fn parts_of_registries_have_credentials_of_their_own() {
        let auths = |user: &str| {
            format!(r#"{{"auths": {{"r.example": {{"username": "{user}", "password": "p"}}}}}}"#)
        };
        let (all, app) = (auths("all"), auths("app"));
        let (directory, setup) = setup(
            &[
                ("config.json", &all),
                ("buildx/config/r.example/team/app/config.json", &app),
                ("elsewhere/config/r.example@push/config.json", &app),
            ],
            &[],
        );
        let elsewhere = directory.path().join("elsewhere");
        for (buildx, scope, user) in [
            (None, "repository:team/app:pull", "app"),
            (None, "repository:team/app:pull repository:x:pull", "all"),
            (None, "repository:x:push", "all"),
            (Some(&elsewhere), "repository:x:push", "app"),
            (Some(&elsewhere), "repository:team/app:pull", "all"),
        ] {
            let config = Setup { buildx: buildx.cloned(), ..setup.clone() }.config().unwrap();
            let credential = config.credentials.get_for("r.example", scope).await.unwrap().unwrap();
            let shown = credential.to_string();
            assert!(shown.starts_with(&format!("as user {user} from ")), "{buildx:?} {scope}: {shown}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_an_error_that_names_the_file() {
        let text = r#"{"registries": {"docker.io": {"mirrrors": []}}}"#;
        let (_directory, setup) = setup(&[("rbx/config.json", text)], &[]);
        let text = setup.config().unwrap_err().to_string();
        assert!(text.contains("unknown field `mirrrors`") && text.ends_with("rbx/config.json"), "{text}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let (_directory, setup) =
            setup(&[], &[("DOCKER_AUTH_CONFIG", "secret"), ("HTTP_PROXY", "http://u:secret@p")]);
        assert!(!format!("{setup:?}").contains("secret"));
    }
}
