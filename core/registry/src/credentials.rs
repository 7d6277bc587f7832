//! Credentials of registries, from docker's `config.json`.
//!
//! Followed: docker's CLI (`credHelpers` before `credsStore` before `auths`; the Hub's key is its old index
//! address), buildx (registries that belong to the Hub, configurations of parts of a registry) and the protocol of
//! docker-credential-helpers. Helpers are run once per host for as long as an answer
//! is good, and never wait for longer than half a minute.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::error::CredentialsError;
use crate::scoped::{self, Scoped};

/// The key of Docker Hub in `config.json` and for helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Names under which people and tools write Docker Hub.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// Registries that take the Hub's credentials where they have none of their own.
const HUB_BACKED: [&str; 2] = ["dhi.io", "registry.scout.docker.com"];
/// The user name by which helpers say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// How long a helper may take: a keychain may ask its user first.
const HELPER_TIME: Duration = Duration::from_secs(30);
/// How long an answer is good; tokens of cloud helpers live for 5 minutes at the least.
const ANSWER_TIME: Duration = Duration::from_secs(290);
/// Bound on a configuration file and on a helper's output, in bytes.
const TEXT_LIMIT: u64 = 1 << 20;

/// One registry's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What they are.
    pub secret: Secret,
    /// Where they are from, for messages: `auths in /home/ann/.docker/config.json`.
    pub origin: String,
}

/// The forms credentials have.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A user name and a password or personal access token.
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// An OAuth 2 refresh token (`identitytoken`), to be exchanged at the registry's token server.
    IdentityToken(String),
    /// A bearer token to be sent as it is (`registrytoken`).
    RegistryToken(String),
}

impl fmt::Debug for Secret {
    // A secret's value never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
            Self::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.secret {
            Secret::Password { username, .. } => write!(f, "as user {username} from {}", self.origin),
            Secret::IdentityToken(_) => write!(f, "with the identity token from {}", self.origin),
            Secret::RegistryToken(_) => write!(f, "with the registry token from {}", self.origin),
        }
    }
}

/// The credentials of a user.
#[derive(Default)]
pub struct Credentials {
    /// `DOCKER_AUTH_CONFIG` first, then the file.
    sources: Vec<Source>,
    /// Configurations that go before these for parts of registries.
    scoped: Vec<Scoped>,
    /// Where helpers are looked for, as in `PATH`.
    search_path: OsString,
    /// By registry and, for a part of one, by its configuration.
    answers: Mutex<HashMap<(String, Option<PathBuf>), Kept>>,
}

/// When a registry was looked up, and what was found.
type Kept = (Instant, Arc<OnceCell<Answer>>);

type Answer = Result<Option<Credential>, CredentialsError>;

struct Source {
    origin: String,
    config: ConfigFile,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: Option<BTreeMap<String, AuthEntry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperReply {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> = self.sources.iter().map(|source| &source.origin).collect();
        f.debug_struct("Credentials").field("sources", &origins).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads docker's `config.json`. No path, and no file at the path, is no credentials.
    pub fn from_config_file(path: Option<&Path>) -> Result<Self, CredentialsError> {
        let source = path.map(Source::read).transpose()?.flatten();
        Ok(Self { sources: source.into_iter().collect(), ..Self::default() })
    }

    /// Adds the content of the variable `DOCKER_AUTH_CONFIG`, which goes before the file. As in docker's CLI, only
    /// its `auths` count.
    pub fn with_auth_config(mut self, content: Option<&str>) -> Result<Self, CredentialsError> {
        if let Some(content) = content.filter(|content| !content.trim().is_empty()) {
            let mut source = Source::parse("DOCKER_AUTH_CONFIG".to_owned(), content.as_bytes())?;
            source.config.cred_helpers = None;
            source.config.creds_store = None;
            self.sources.insert(0, source);
        }
        Ok(self)
    }

    /// Adds the configurations of parts of registries: `<host>[/<repository>][@<action>,…]/config.json` in
    /// `directory`, which need not exist (`config` in buildx's own directory).
    #[must_use]
    pub fn with_scoped(mut self, directory: &Path) -> Self {
        self.scoped = scoped::list(directory);
        self
    }

    /// Sets where helpers are looked for: directories in the form of `PATH`. Without it none is found.
    #[must_use]
    pub fn with_search_path(mut self, search_path: impl Into<OsString>) -> Self {
        self.search_path = search_path.into();
        self
    }

    /// The credentials of a registry, named by its host and port as in references (`docker.io`,
    /// `localhost:5000`); `None` where there are none.
    pub async fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialsError> {
        self.get_for(registry, "").await
    }

    /// The credentials of a registry for what a token is needed for: scopes, divided by spaces
    /// (`repository:team/app:pull`). If these are about one repository, a configuration of its own goes before the
    /// registry's.
    pub async fn get_for(&self, registry: &str, scope: &str) -> Result<Option<Credential>, CredentialsError> {
        let found = self.get_own(registry, scope).await;
        if matches!(found, Ok(None)) && HUB_BACKED.contains(&registry) {
            return Ok(self.get_own(HUB_NAMES[0], scope).await.unwrap_or_default());
        }
        found
    }

    async fn get_own(&self, registry: &str, scope: &str) -> Answer {
        let scoped = scoped::choose(&self.scoped, registry, scope);
        let key = (registry.to_owned(), scoped.map(|scoped| scoped.file.clone()));
        let cell = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let (since, cell) = answers.entry(key).or_insert_with(|| (Instant::now(), Arc::default()));
            if since.elapsed() > ANSWER_TIME {
                (*since, *cell) = (Instant::now(), Arc::default());
            }
            Arc::clone(cell)
        };
        cell.get_or_init(|| self.look_up(registry, scoped)).await.clone()
    }

    async fn look_up(&self, registry: &str, scoped: Option<&Scoped>) -> Answer {
        if let Some(scoped) = scoped {
            let file = scoped.file.clone();
            let read = tokio::task::spawn_blocking(move || Source::read(&file)).await;
            let source = read.map_err(|error| CredentialsError::Read {
                path: scoped.file.display().to_string(),
                reason: error.to_string(),
            })??;
            return match source {
                Some(source) => self.look_up_in(&source, registry).await,
                None => Ok(None),
            };
        }
        for source in &self.sources {
            if let Some(found) = self.look_up_in(source, registry).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn look_up_in(&self, source: &Source, registry: &str) -> Answer {
        if let Some(name) = source.helper(registry)
            && let Some(found) = self.ask_helper(name, registry).await?
        {
            return Ok(Some(found));
        }
        source.entry(registry)
    }

    /// Runs `docker-credential-NAME get`.
    async fn ask_helper(&self, name: &str, registry: &str) -> Answer {
        let helper = format!("docker-credential-{name}");
        let fail = |reason: String| CredentialsError::Helper { helper: helper.clone(), reason };
        let program =
            self.find_helper(&helper).ok_or_else(|| fail("executable file not found in $PATH".to_owned()))?;
        let key = if is_hub(registry) { HUB_KEY } else { registry };
        let run = async {
            let mut child = Command::new(program)
                .arg("get")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A helper that does not read its input is free to do so.
                let _ = stdin.write_all(format!("{key}\n").as_bytes()).await;
            }
            let output = read_to_limit(child.stdout.take()).await?;
            Ok::<_, io::Error>((child.wait().await?, output))
        };
        let (status, output) = tokio::time::timeout(HELPER_TIME, run)
            .await
            .map_err(|_| fail(format!("no answer after {} s", HELPER_TIME.as_secs())))?
            .map_err(|error| fail(error.to_string()))?;
        if !status.success() {
            let said = crate::text::printable(&output);
            // The protocol has no codes: this text is how helpers say that they know no such server.
            if said.contains("credentials not found") {
                return Ok(None);
            }
            return Err(fail(if said.is_empty() { status.to_string() } else { format!("{status}: {said}") }));
        }
        let reply: HelperReply =
            serde_json::from_slice(&output).map_err(|_| fail("invalid answer, not JSON".to_owned()))?;
        if reply.secret.is_empty() {
            return Ok(None);
        }
        let secret = if reply.username == TOKEN_USER {
            Secret::IdentityToken(reply.secret)
        } else {
            Secret::Password { username: reply.username, password: reply.secret }
        };
        Ok(Some(Credential { secret, origin: helper }))
    }

    fn find_helper(&self, helper: &str) -> Option<PathBuf> {
        // The name is from a file: it names a program on the path, never a path.
        if helper.contains(['/', '\\', '\0']) {
            return None;
        }
        std::env::split_paths(&self.search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(format!("{helper}{}", std::env::consts::EXE_SUFFIX)))
            .find(|program| program.is_file())
    }
}

impl Source {
    /// Reads a file, if it is there.
    fn read(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let origin = path.display().to_string();
        match read_bounded(path) {
            Ok(text) => Self::parse(origin, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CredentialsError::Read { path: origin, reason: error.to_string() }),
        }
    }

    fn parse(origin: String, text: &[u8]) -> Result<Self, CredentialsError> {
        match serde_json::from_slice(text) {
            Ok(config) => Ok(Self { origin, config }),
            Err(error) => Err(CredentialsError::Parse { origin, reason: error.to_string() }),
        }
    }

    /// The helper that answers for a registry.
    fn helper(&self, registry: &str) -> Option<&str> {
        let helpers = self.config.cred_helpers.iter().flatten();
        let own = helpers.filter(|(key, _)| same_registry(key, registry)).map(|(_, name)| name).next();
        own.or(self.config.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The entry of a registry in `auths`: the one written as docker writes it, else any that names the same host.
    fn entry(&self, registry: &str) -> Result<Option<Credential>, CredentialsError> {
        let Some(auths) = &self.config.auths else { return Ok(None) };
        let exact = if is_hub(registry) { HUB_KEY } else { registry };
        let written = auths.get_key_value(exact);
        let found = written.or_else(|| auths.iter().find(|(key, _)| same_registry(key, registry)));
        let Some((key, entry)) = found else { return Ok(None) };
        let secret = entry.secret().map_err(|reason| CredentialsError::Parse {
            origin: self.origin.clone(),
            reason: format!("{reason} for {key}"),
        })?;
        Ok(secret.map(|secret| Credential { secret, origin: format!("auths in {}", self.origin) }))
    }
}

impl AuthEntry {
    fn secret(&self) -> Result<Option<Secret>, &'static str> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Secret::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Secret::RegistryToken(token)));
        }
        let (username, password) = if let Some(auth) = given(&self.auth) {
            let bytes = STANDARD.decode(auth.trim()).map_err(|_| "auth is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "auth is not text")?;
            let (username, password) = text.split_once(':').ok_or("auth has no colon")?;
            // Old versions of docker padded with zero bytes.
            (username.to_owned(), password.trim_matches('\0').to_owned())
        } else if let (Some(username), Some(password)) = (given(&self.username), given(&self.password)) {
            (username, password)
        } else {
            return Ok(None);
        };
        if username == TOKEN_USER {
            return Ok(Some(Secret::IdentityToken(password)));
        }
        Ok(Some(Secret::Password { username, password }))
    }
}

pub(crate) fn is_hub(registry: &str) -> bool {
    HUB_NAMES.contains(&registry)
}

/// Whether a key of `config.json` (a host, or an address with scheme and path) is about a registry.
pub(crate) fn same_registry(key: &str, registry: &str) -> bool {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.split('/').next().unwrap_or(host);
    host == registry || (is_hub(host) && is_hub(registry))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(TEXT_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > TEXT_LIMIT {
        return Err(io::Error::other("file too large"));
    }
    Ok(text)
}

async fn read_to_limit(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(TEXT_LIMIT).read_to_end(&mut output).await?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Credentials {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        Credentials::from_config_file(Some(&path)).unwrap()
    }

    fn password(username: &str, password: &str) -> Secret {
        Secret::Password { username: username.to_owned(), password: password.to_owned() }
    }

    async fn secret(credentials: &Credentials, registry: &str) -> Option<Secret> {
        credentials.get(registry).await.unwrap().map(|credential| credential.secret)
    }

    #[tokio::test]
    async fn no_file_is_no_credentials() {
        let credentials = Credentials::from_config_file(Some(Path::new("/nonexistent/config.json"))).unwrap();
        assert_eq!(credentials.get("docker.io").await.unwrap(), None);
        assert_eq!(Credentials::from_config_file(None).unwrap().get("x").await.unwrap(), None);
    }

    #[tokio::test]
    async fn auths_in_their_forms() {
        let credentials = from(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YW5uOnNlY3JldDp4AAA="},
                "ghcr.io": {"username": "bob", "password": "pw"},
                "https://old.example.com/v2/": {"auth": "Ym9iOnB3"},
                "azure.example.com": {"auth": "MDA6", "identitytoken": "refresh"},
                "tokens.example.com": {"auth": "PHRva2VuPjpyZWZyZXNo"},
                "bearer.example.com": {"registrytoken": "as-is"},
                "empty.example.com": {}
            }, "HttpHeaders": {"X": "y"}}"#,
        );
        for hub in HUB_NAMES {
            assert_eq!(secret(&credentials, hub).await, Some(password("ann", "secret:x")));
        }
        assert_eq!(secret(&credentials, "ghcr.io").await, Some(password("bob", "pw")));
        assert_eq!(secret(&credentials, "old.example.com").await, Some(password("bob", "pw")));
        let token = Some(Secret::IdentityToken("refresh".to_owned()));
        assert_eq!(secret(&credentials, "azure.example.com").await, token);
        assert_eq!(secret(&credentials, "tokens.example.com").await, token);
        assert_eq!(
            secret(&credentials, "bearer.example.com").await,
            Some(Secret::RegistryToken("as-is".to_owned()))
        );
        assert_eq!(secret(&credentials, "empty.example.com").await, None);
        assert_eq!(secret(&credentials, "example.com").await, None);
    }

    #[tokio::test]
    async fn the_variable_goes_before_the_file() {
        let credentials =
            from(r#"{"auths": {"a.example": {"auth": "Ym9iOnB3"}, "b.example": {"auth": "Ym9iOnB3"}}}"#)
                .with_auth_config(Some(
                    r#"{"auths": {"a.example": {"auth": "YW5uOnB3"}}, "credsStore": "none"}"#,
                ))
                .unwrap();
        assert_eq!(secret(&credentials, "a.example").await, Some(password("ann", "pw")));
        assert_eq!(secret(&credentials, "b.example").await, Some(password("bob", "pw")));
        let origin = credentials.get("a.example").await.unwrap().unwrap();
        assert_eq!(origin.to_string(), "as user ann from auths in DOCKER_AUTH_CONFIG");
    }

    #[tokio::test]
    async fn registries_of_the_hub_take_its_credentials() {
        let hub = r#""https://index.docker.io/v1/": {"auth": "YW5uOnB3"}"#;
        let credentials = from(&format!(r#"{{"auths": {{{hub}, "dhi.io": {{"auth": "Ym9iOnB3"}}}}}}"#));
        assert_eq!(secret(&credentials, "registry.scout.docker.com").await, Some(password("ann", "pw")));
        assert_eq!(secret(&credentials, "dhi.io").await, Some(password("bob", "pw")));
        assert_eq!(secret(&credentials, "example.com").await, None);
    }

    #[tokio::test]
    async fn a_part_of_a_registry_has_a_configuration_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |scope: &str, config: &str| {
            let folder = folder.path().join(scope);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.json"), config).unwrap();
        };
        let user = |name: &str| {
            let auth = STANDARD.encode(format!("{name}:pw"));
            format!(
                r#"{{"auths": {{"r.example": {{"auth": "{auth}"}}, "https://index.docker.io/v1/": {{"auth": "{auth}"}}}}}}"#
            )
        };
        write("r.example", &user("registry"));
        write("r.example@push", &user("pusher"));
        write("r.example/team/app", &user("app"));
        write("r.example/team/app@pull,push", &user("app-pusher"));
        write("r.example/broken", "{");
        write("registry-1.docker.io/team/app", &user("hub-app"));
        let credentials = from(&user("general")).with_scoped(folder.path());
        let mut found = Vec::new();
        for (registry, scope) in [
            ("r.example", ""),
            ("r.example", "repository:other:pull"),
            ("r.example", "repository:other:pull,push"),
            ("r.example", "repository:team/app:pull"),
            ("r.example", "repository:team/app:pull,push"),
            ("r.example", "repository:team/app:pull repository:other:pull"),
            ("registry-1.docker.io", "repository:team/app:pull"),
            ("docker.io", "repository:team/app:pull"),
            ("docker.io", "repository:library/app:pull"),
        ] {
            match credentials.get_for(registry, scope).await.unwrap().unwrap().secret {
                Secret::Password { username, .. } => found.push(format!("{username}: {registry} {scope}")),
                other => panic!("{other:?}"),
            }
        }
        insta::assert_debug_snapshot!(found, @r#"
        [
            "general: r.example ",
            "registry: r.example repository:other:pull",
            "pusher: r.example repository:other:pull,push",
            "app: r.example repository:team/app:pull",
            "app-pusher: r.example repository:team/app:pull,push",
            "general: r.example repository:team/app:pull repository:other:pull",
            "hub-app: registry-1.docker.io repository:team/app:pull",
            "hub-app: docker.io repository:team/app:pull",
            "general: docker.io repository:library/app:pull",
        ]
        "#);
        let broken = credentials.get_for("r.example", "repository:broken:pull").await.unwrap_err();
        assert!(broken.to_string().ends_with("r.example/broken/config.json"), "{broken}");
    }

    #[tokio::test]
    async fn broken_configurations_say_where() {
        let error = Credentials::default().with_auth_config(Some("{")).unwrap_err();
        insta::assert_snapshot!(error, @"invalid credentials configuration: EOF while parsing an object at line 1 column 1: DOCKER_AUTH_CONFIG");
        let error = Credentials::default()
            .with_auth_config(Some(r#"{"auths": {"a": {"auth": "?"}}}"#))
            .unwrap()
            .get("a")
            .await
            .unwrap_err();
        insta::assert_snapshot!(error, @"invalid credentials configuration: auth is not base64 for a: DOCKER_AUTH_CONFIG");
    }

    #[test]
    fn secrets_do_not_reach_logs() {
        let secret = Secret::Password { username: "ann".to_owned(), password: "hush".to_owned() };
        let credential = Credential { secret, origin: "test".to_owned() };
        assert!(!format!("{credential:?} {credential}").contains("hush"));
    }

    #[cfg(unix)]
    mod helpers {
        use std::os::unix::fs::PermissionsExt;

        use super::*;

        /// A configuration beside a helper `docker-credential-fake` that runs a script.
        fn with_helper(config: &str, script: &str) -> (tempfile::TempDir, Credentials) {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("docker-credential-fake");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let credentials = from(config).with_search_path(folder.path());
            (folder, credentials)
        }

        #[tokio::test]
        async fn a_helper_is_asked_once_per_host() {
            let script = r#"cd "$(dirname "$0")"; read server; echo "$1 $server" >> calls
                echo "{\"ServerURL\":\"$server\",\"Username\":\"ann\",\"Secret\":\"for $server\"}""#;
            let config = r#"{"credsStore": "fake", "auths": {"ghcr.io": {"auth": "Ym9iOnB3"}}}"#;
            let (folder, credentials) = with_helper(config, script);
            let (first, second) =
                tokio::join!(secret(&credentials, "docker.io"), secret(&credentials, "docker.io"));
            assert_eq!(first, Some(password("ann", "for https://index.docker.io/v1/")));
            assert_eq!(first, second);
            assert_eq!(secret(&credentials, "ghcr.io").await, Some(password("ann", "for ghcr.io")));
            let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
            assert_eq!(calls, "get https://index.docker.io/v1/\nget ghcr.io\n");
        }

        #[tokio::test]
        async fn what_a_helper_does_not_know_is_looked_up_in_auths() {
            let script = "echo credentials not found in native keychain; exit 1";
            let config =
                r#"{"credHelpers": {"ghcr.io": "fake"}, "auths": {"ghcr.io": {"auth": "Ym9iOnB3"}}}"#;
            let (_folder, credentials) = with_helper(config, script);
            assert_eq!(secret(&credentials, "ghcr.io").await, Some(password("bob", "pw")));
        }

        #[tokio::test]
        async fn identity_tokens_and_failures() {
            let (_folder, credentials) = with_helper(
                r#"{"credsStore": "fake"}"#,
                r#"echo '{"Username":"<token>","Secret":"refresh"}'"#,
            );
            assert_eq!(secret(&credentials, "a").await, Some(Secret::IdentityToken("refresh".to_owned())));

            let (_folder, credentials) = with_helper(r#"{"credsStore": "fake"}"#, "echo locked; exit 3");
            insta::assert_snapshot!(credentials.get("a").await.unwrap_err(), @"exit status: 3: locked: credential helper docker-credential-fake");
            let (_folder, credentials) = with_helper(r#"{"credsStore": "fake"}"#, "echo hello");
            insta::assert_snapshot!(credentials.get("a").await.unwrap_err(), @"invalid answer, not JSON: credential helper docker-credential-fake");
            let (_folder, credentials) = with_helper(r#"{"credsStore": "absent"}"#, "");
            insta::assert_snapshot!(credentials.get("a").await.unwrap_err(), @"executable file not found in $PATH: credential helper docker-credential-absent");
            let (_folder, credentials) = with_helper(r#"{"credsStore": "/../fake"}"#, "");
            insta::assert_snapshot!(credentials.get("a").await.unwrap_err(), @"executable file not found in $PATH: credential helper docker-credential-/../fake");
        }
    }
}
