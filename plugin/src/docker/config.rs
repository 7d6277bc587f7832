//! docker's configuration directory: credentials, proxies for builds, and this program's own settings in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rbx_driver::docker::resolve_endpoint;
use rbx_emulation::Registration;
use rbx_engine::{Limits, Space};
use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_registry::Setup;
use rbx_request::parse_size;
use rbx_source::GitConfig;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::Called;
use crate::env::Env;
use crate::errors::CliError;
use crate::version::VERSION;

/// Where packages put QEMU, and where people do: looked at after `PATH`.
const QEMU_DIRECTORIES: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// The proxies that docker's `config.json` sets for builds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Proxies {
    #[serde(rename = "httpProxy")]
    http: String,
    #[serde(rename = "httpsProxy")]
    https: String,
    #[serde(rename = "noProxy")]
    none: String,
    #[serde(rename = "ftpProxy")]
    ftp: String,
    #[serde(rename = "allProxy")]
    all: String,
}

/// What is of interest here in `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    proxies: BTreeMap<String, Proxies>,
    #[serde(rename = "pruneFilters")]
    prune_filters: Vec<String>,
}

/// `rbx/config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RbxConfig {
    /// Read by [`Setup`].
    registries: IgnoredAny,
    gc: GcSettings,
    emulation: EmulationSettings,
}

/// How steps for platforms of other machines are run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EmulationSettings {
    registration: RegistrationSetting,
    qemu: QemuSettings,
    /// Platforms that are emulated even where the CPU runs them.
    always: Vec<String>,
}

/// Where emulators may be registered.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RegistrationSetting {
    #[default]
    Auto,
    Namespace,
    Host,
    None,
}

/// Where QEMU is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QemuSettings {
    image: Option<String>,
    directories: Option<Vec<PathBuf>>,
}

/// When the store is collected by itself, in the words of docker's `daemon.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct GcSettings {
    enabled: bool,
    reserved_space: Option<String>,
    max_used_space: Option<String>,
    min_free_space: Option<String>,
}

impl Default for GcSettings {
    fn default() -> Self {
        Self { enabled: true, reserved_space: None, max_used_space: None, min_free_space: None }
    }
}

/// How git repositories are reached: with the user's git, through the same proxies as registries.
pub(crate) fn git_config(env: &Env, registry: &rbx_registry::Config) -> GitConfig {
    let path = env.filled("PATH").unwrap_or_default();
    let programs = std::env::split_paths(path).map(|directory| directory.join("git"));
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let known_hosts = env.home().map(|home| home.join(".ssh/known_hosts"));
    GitConfig {
        program: programs.filter(|path| path.is_absolute()).find(is_program),
        path: path.into(),
        proxies: registry.proxies.clone(),
        known_hosts: known_hosts.filter(|path| path.exists()),
    }
}

impl Proxies {
    /// Those for the Engine that the user has chosen, which docker asks for whichever builder builds.
    pub(crate) fn of(called: &Called, env: &Env) -> Result<Self, CliError> {
        // Where it is is told by who needs to know.
        let endpoint = resolve_endpoint(&called.endpoint(env)).ok();
        Self::read(called.config_dir(env).as_deref(), endpoint.as_ref().map(|it| it.host.as_str()))
    }

    /// Reads those for the Engine at an address, or else those for any; none where there is no configuration.
    fn read(config_dir: Option<&Path>, host: Option<&str>) -> Result<Self, CliError> {
        let Some(config_dir) = config_dir else { return Ok(Self::default()) };
        let mut config: DockerConfig = read_json(&config_dir.join("config.json"))?;
        let own = host.and_then(|host| config.proxies.remove(host));
        Ok(own.or_else(|| config.proxies.remove("default")).unwrap_or_default())
    }

    /// Those that are set, as variables, in the way that buildx shows them of a node.
    pub(crate) fn as_map(&self) -> Value {
        let values = [
            ("HTTP_PROXY", &self.http),
            ("HTTPS_PROXY", &self.https),
            ("NO_PROXY", &self.none),
            ("FTP_PROXY", &self.ftp),
        ];
        let set = values.into_iter().filter(|(_, value)| !value.is_empty());
        Value::Object(set.map(|(name, value)| (name.to_owned(), value.as_str().into())).collect())
    }

    /// Adds those that `build_args` do not have yet, in both spellings.
    pub(crate) fn add_to(&self, build_args: &mut BTreeMap<String, String>) {
        let values = [
            ("HTTP_PROXY", &self.http),
            ("HTTPS_PROXY", &self.https),
            ("NO_PROXY", &self.none),
            ("FTP_PROXY", &self.ftp),
            ("ALL_PROXY", &self.all),
        ];
        for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !build_args.keys().any(|given| given.eq_ignore_ascii_case(name)) {
                build_args.insert(name.to_owned(), value.clone());
                build_args.insert(name.to_ascii_lowercase(), value.clone());
            }
        }
    }
}

/// By what limits the store is collected by itself, as `rbx/config.json` has it; `None` is never.
pub(crate) fn collection_limits(config_dir: Option<&Path>) -> Result<Option<Limits>, CliError> {
    let Some(config_dir) = config_dir else { return Ok(Some(Limits::default())) };
    let path = config_dir.join("rbx/config.json");
    let RbxConfig { gc, .. } = read_json(&path)?;
    let space = |name: &str, text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let percent = text.strip_suffix('%').map(|number| number.trim().parse().ok().filter(|it| *it <= 100));
        match percent {
            Some(Some(percent)) => Ok(Some(Space::Percent(percent))),
            Some(None) => Err(format!("invalid size: '{text}'")),
            None => {
                parse_size(text).map(|bytes| Some(Space::Bytes(bytes))).map_err(|error| error.to_string())
            }
        }
        .map_err(|error| CliError::new(format!("{error}: gc.{name} in {}", path.display())))
    };
    let limits = Limits {
        reserved_space: space("reservedSpace", &gc.reserved_space)?,
        max_used_space: space("maxUsedSpace", &gc.max_used_space)?,
        min_free_space: space("minFreeSpace", &gc.min_free_space)?,
    };
    Ok(Some(limits).filter(|_| gc.enabled))
}

/// How steps for platforms of other machines are run, as `rbx/config.json` has it.
pub(crate) fn emulation_settings(
    config_dir: Option<&Path>,
    env: &Env,
) -> Result<rbx_emulation::Settings, CliError> {
    let path = config_dir.map(|directory| directory.join("rbx/config.json"));
    let RbxConfig { emulation, .. } = match &path {
        Some(path) => read_json(path)?,
        None => RbxConfig::default(),
    };
    let file = path.unwrap_or_default();
    let wrong = |reason: &dyn std::fmt::Display, setting: &str| {
        CliError::new(format!("{reason}: emulation.{setting} in {}", file.display()))
    };
    let standard = rbx_emulation::Settings::default();
    let QemuSettings { image, directories } = emulation.qemu;
    let directories = directories.unwrap_or_else(|| {
        let path = std::env::split_paths(env.filled("PATH").unwrap_or_default());
        let mut usual: Vec<PathBuf> = Vec::new();
        for directory in path.chain(QEMU_DIRECTORIES.map(PathBuf::from)) {
            if directory.is_absolute() && !usual.contains(&directory) {
                usual.push(directory);
            }
        }
        usual
    });
    if let Some(relative) = directories.iter().find(|path| !path.is_absolute()) {
        return Err(wrong(&format!("not an absolute path: {:?}", relative.display()), "qemu.directories"));
    }
    let qemu_image = match image {
        Some(name) if name.is_empty() => None,
        Some(name) => {
            Reference::parse(&name).map_err(|error| wrong(&error, "qemu.image"))?;
            Some(name)
        }
        None => standard.qemu_image,
    };
    let always = emulation.always.iter().map(|platform| Platform::parse(platform));
    Ok(rbx_emulation::Settings {
        registration: match emulation.registration {
            RegistrationSetting::Auto => Registration::Auto,
            RegistrationSetting::Namespace => Registration::Namespace,
            RegistrationSetting::Host => Registration::Host,
            RegistrationSetting::None => Registration::None,
        },
        qemu_directories: directories,
        qemu_image,
        always: always.collect::<Result<_, _>>().map_err(|error| wrong(&error, "always"))?,
        ..rbx_emulation::Settings::default()
    })
}

/// The filters that docker's `config.json` adds to those of `prune`.
pub(crate) fn prune_filters(config_dir: Option<&Path>) -> Result<Vec<(String, String)>, CliError> {
    let Some(config_dir) = config_dir else { return Ok(Vec::new()) };
    let config: DockerConfig = read_json(&config_dir.join("config.json"))?;
    let filters = config.prune_filters.iter().filter_map(|filter| filter.split_once('='));
    Ok(filters.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// How registries are reached: credentials of `config.json`, settings of `rbx/config.json`, proxies of the
/// environment.
pub(crate) fn registry_config(
    config_dir: Option<&Path>,
    env: &Env,
) -> Result<rbx_registry::Config, CliError> {
    let config =
        registry_setup(config_dir, env).config().map_err(|error| CliError::new(error.to_string()))?;
    // What else is misspelt in that file.
    if let Some(directory) = config_dir {
        let _: RbxConfig = read_json(&directory.join("rbx/config.json"))?;
    }
    Ok(config)
}

/// Where it is said how registries are reached.
pub(crate) fn registry_setup(config_dir: Option<&Path>, env: &Env) -> Setup {
    let setup = Setup {
        user_agent: format!("docker-rbx/{VERSION}"),
        directory: config_dir.map(Path::to_owned),
        buildx: env.path("BUILDX_CONFIG"),
        ..Setup::default()
    };
    setup.with_variables(|name| env.var(name).map(str::to_owned))
}

/// Reads a JSON file; without the file, what is the case without it.
fn read_json<T: DeserializeOwned + Default>(path: &Path) -> Result<T, CliError> {
    let failed = |reason: String| CliError::new(format!("{reason}: failed to read {}", path.display()));
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn proxies_are_arguments_unless_given() {
        let text = r#"{"auths": {}, "proxies": {"default": {"httpProxy": "http://p", "noProxy": "x"},
            "tcp://h": {"ftpProxy": "http://f"}}}"#;
        let directory = directory(&[("config.json", text)]);
        let mut args = BTreeMap::from([("No_Proxy".to_owned(), "mine".to_owned())]);
        let read = |host| Proxies::read(Some(directory.path()), host).unwrap();
        read(Some("unix:///s")).add_to(&mut args);
        let args: Vec<_> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(args, ["HTTP_PROXY=http://p", "No_Proxy=mine", "http_proxy=http://p"]);
        assert_eq!(read(None), read(Some("unix:///s")));
        assert_eq!(read(Some("tcp://h")).as_map().to_string(), r#"{"FTP_PROXY":"http://f"}"#);
        assert_eq!(Proxies::read(None, None).unwrap(), Proxies::default());
    }

    #[test]
    fn proxies_for_registries_are_the_environments() {
        let env = Env::with(&[("https_proxy", "http://p:1"), ("NO_PROXY", "lan")]);
        let config = registry_config(None, &env).unwrap();
        assert_eq!(config.proxies.https.as_deref(), Some("http://p:1"));
        assert_eq!(config.proxies.no_proxy.as_deref(), Some("lan"));
    }

    fn emulation(text: &str) -> Result<rbx_emulation::Settings, String> {
        let directory = directory(&[("rbx/config.json", text)]);
        emulation_settings(Some(directory.path()), &Env::with(&[])).map_err(|error| {
            let mut text = Vec::new();
            error.report(&mut text).unwrap();
            let path = directory.path().display().to_string();
            String::from_utf8(text).unwrap().replace(&path, "DIR").trim_end().to_owned()
        })
    }

    #[test]
    fn emulation_is_set_up() {
        let usual = emulation("{}").unwrap();
        assert_eq!(emulation_settings(None, &Env::with(&[])).unwrap(), usual);
        let env = Env::with(&[("PATH", "/usr/local/bin:bin::/opt/bin:/usr/local/bin")]);
        let found = emulation_settings(None, &env).unwrap().qemu_directories;
        assert_eq!(found, ["/usr/local/bin", "/opt/bin", "/usr/bin"].map(Path::new));
        assert_eq!(usual.registration, Registration::Auto);
        assert_eq!(usual.qemu_directories, [Path::new("/usr/bin"), Path::new("/usr/local/bin")]);
        assert_eq!(usual.qemu_image.as_deref(), Some("tonistiigi/binfmt"));
        let text = r#"{"emulation": {
            "registration": "host",
            "qemu": {"image": "mine/qemu:1", "directories": ["/opt/qemu"]},
            "always": ["linux/386", "arm"]
        }}"#;
        let set = emulation(text).unwrap();
        assert_eq!(set.registration, Registration::Host);
        assert_eq!(set.qemu_directories, [Path::new("/opt/qemu")]);
        assert_eq!(set.qemu_image.as_deref(), Some("mine/qemu:1"));
        let always: Vec<String> = set.always.iter().map(ToString::to_string).collect();
        assert_eq!(always, ["linux/386", "linux/arm/v7"]);
        assert_eq!(emulation(r#"{"emulation": {"qemu": {"image": ""}}}"#).unwrap().qemu_image, None);
    }

    #[test]
    fn what_emulation_cannot_be_is_an_error() {
        let refused = |text: &str| emulation(&format!(r#"{{"emulation": {text}}}"#)).unwrap_err();
        insta::assert_snapshot!(refused(r#"{"registration": "everywhere"}"#), @"ERROR: unknown variant `everywhere`, expected one of `auto`, `namespace`, `host`, `none` at line 1 column 43: failed to read DIR/rbx/config.json");
        insta::assert_snapshot!(refused(r#"{"qemu": {"image": "UPPER"}}"#), @"ERROR: invalid reference format: repository name (library/UPPER) must be lowercase: emulation.qemu.image in DIR/rbx/config.json");
        insta::assert_snapshot!(refused(r#"{"qemu": {"directories": ["bin"]}}"#), @r#"ERROR: not an absolute path: "bin": emulation.qemu.directories in DIR/rbx/config.json"#);
        insta::assert_snapshot!(refused(r#"{"always": ["linux/x86/y/z"]}"#), @r#"ERROR: "linux/x86/y/z": cannot parse platform specifier: invalid argument: emulation.always in DIR/rbx/config.json"#);
        insta::assert_snapshot!(refused(r#"{"allways": []}"#), @"ERROR: unknown field `allways`, expected one of `registration`, `qemu`, `always` at line 1 column 24: failed to read DIR/rbx/config.json");
    }

    #[test]
    fn a_misspelt_setting_is_an_error_that_names_the_file() {
        for (text, wrong) in [
            (r#"{"registries": {"docker.io": {"mirrrors": []}}}"#, "mirrrors"),
            (r#"{"registry": {}}"#, "registry"),
        ] {
            let directory = directory(&[("rbx/config.json", text)]);
            let error = registry_config(Some(directory.path()), &Env::with(&[])).unwrap_err();
            let mut text = Vec::new();
            error.report(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(&format!("unknown field `{wrong}`")), "{text}");
            assert!(text.contains("rbx/config.json"), "{text}");
        }
    }
}
