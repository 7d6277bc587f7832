//! What a builder's `BuildKit` daemon is started with: flags and configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rbx_driver::DriverKind;
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::error::BuilderError;

/// Bound on the configuration and each certificate, in bytes.
const FILE_LIMIT: u64 = 1 << 20;
/// Where a daemon in a container has its configuration.
const CONFIG_DIRECTORY: &str = "/etc/buildkit";
const NETWORK_HOST: &str = "network.host";
const ENTITLEMENT: &str = "--allow-insecure-entitlement";

/// A daemon's configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    document: DocumentMut,
}

impl Configuration {
    /// Reads a file that was named.
    pub(crate) fn read(path: &Path) -> Result<Self, BuilderError> {
        let text = read(path).map_err(|error| {
            let shown = path.display();
            if error.kind() == io::ErrorKind::NotFound {
                let reason = format!("stat {shown}: no such file or directory");
                BuilderError::refused(format!("buildkit configuration file not found: {shown}: {reason}"))
            } else {
                BuilderError::refused(format!("invalid buildkit configuration file: {shown}: {error}"))
            }
        })?;
        let text = String::from_utf8(text).map_err(|error| error.to_string());
        let document = text.and_then(|text| text.parse::<DocumentMut>().map_err(|error| error.to_string()));
        let document = document.map_err(|error| {
            BuilderError::refused(format!("failed to parse buildkit config: {}", error.trim_end()))
        })?;
        Ok(Self { document })
    }

    fn allows_network_host(&self) -> bool {
        let allowed = self.document.get("insecure-entitlements").and_then(Item::as_array);
        allowed.is_some_and(|allowed| allowed.iter().any(|one| one.as_str() == Some(NETWORK_HOST)))
    }

    /// The files that a daemon in a container gets: the configuration, and the certificates that it names for
    /// registries, under the paths that they have there.
    pub(crate) fn files(mut self) -> Result<BTreeMap<String, Vec<u8>>, BuilderError> {
        let mut files = BTreeMap::new();
        if let Some(registries) = self.document.get_mut("registry").and_then(Item::as_table_like_mut) {
            for (name, registry) in registries.iter_mut() {
                let Some(registry) = registry.as_table_like_mut() else { continue };
                let directory = format!("certs/{}", directory_name(name.get()));
                let mut take = |path: &mut Value, what: &str| take(path, what, &directory, &mut files);
                for authority in registry
                    .get_mut("ca")
                    .and_then(Item::as_array_mut)
                    .into_iter()
                    .flat_map(|list| list.iter_mut())
                {
                    take(authority, "CA")?;
                }
                match registry.get_mut("keypair") {
                    Some(Item::ArrayOfTables(pairs)) => {
                        for pair in pairs.iter_mut().map(|pair| pair as &mut Table) {
                            for what in ["key", "cert"] {
                                if let Some(path) = pair.get_mut(what).and_then(Item::as_value_mut) {
                                    take(path, what)?;
                                }
                            }
                        }
                    }
                    Some(Item::Value(Value::Array(pairs))) => {
                        for pair in pairs.iter_mut().filter_map(Value::as_inline_table_mut) {
                            for what in ["key", "cert"] {
                                if let Some(path) = pair.get_mut(what) {
                                    take(path, what)?;
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        files.insert("buildkitd.toml".to_owned(), self.document.to_string().into_bytes());
        Ok(files)
    }
}

/// Takes a file that the configuration names, and names it there as it will be called.
fn take(
    path: &mut Value,
    what: &str,
    directory: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BuilderError> {
    let Some(local) = path.as_str().filter(|path| !path.is_empty()).map(str::to_owned) else { return Ok(()) };
    let failed =
        |reason: String| BuilderError::refused(format!("failed to read {what} file: {local}: {reason}"));
    let name = Path::new(&local).file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| failed("not a file".to_owned()))?;
    let file = format!("{directory}/{name}");
    files.insert(file.clone(), read(Path::new(&local)).map_err(|error| failed(error.to_string()))?);
    let decor = path.decor().clone();
    *path = Value::from(format!("{CONFIG_DIRECTORY}/{file}"));
    *path.decor_mut() = decor;
    Ok(())
}

/// A registry's name as one directory.
fn directory_name(registry: &str) -> String {
    let mut name = String::new();
    for c in registry.chars() {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other("file too large"));
    }
    Ok(content)
}

/// The flags of a daemon: those that were given, and the right to the host's network where a container's own is
/// what it isolates.
pub(crate) fn flags(
    given: &str,
    driver: DriverKind,
    driver_opts: Option<&BTreeMap<String, String>>,
    configuration: Option<&Configuration>,
) -> Result<Option<Vec<String>>, BuilderError> {
    let mut flags = shlex::split(given).ok_or_else(|| {
        BuilderError::refused("failed to parse buildkit flags: EOF found when expecting closing quote")
    })?;
    let entitlements = entitlements(&flags);
    let on_host = driver_opts.and_then(|options| options.get("network")).is_some_and(|name| name == "host");
    let add = match driver {
        DriverKind::DockerContainer if on_host => !entitlements.iter().any(|one| one == NETWORK_HOST),
        DriverKind::DockerContainer | DriverKind::Kubernetes => {
            entitlements.is_empty() && !configuration.is_some_and(Configuration::allows_network_host)
        }
        _ => false,
    };
    if add {
        flags.push(format!("{ENTITLEMENT}={NETWORK_HOST}"));
    }
    Ok(Some(flags).filter(|flags| !flags.is_empty()))
}

/// The entitlements that flags allow. As in buildx, nothing is seen after the first flag that is another.
fn entitlements(flags: &[String]) -> Vec<String> {
    let mut allowed = Vec::new();
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        if flag == ENTITLEMENT {
            allowed.extend(flags.next().cloned());
        } else if let Some(value) = flag.strip_prefix(ENTITLEMENT).and_then(|rest| rest.strip_prefix('=')) {
            allowed.push(value.to_owned());
        } else if flag.starts_with('-') && flag != "-" {
            break;
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(text: &str) -> (tempfile::TempDir, Result<Configuration, BuilderError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buildkitd.toml");
        std::fs::write(&path, text.replace("HERE", &folder.path().display().to_string())).unwrap();
        let configuration = Configuration::read(&path);
        (folder, configuration)
    }

    #[test]
    fn flags_allow_the_hosts_network_unless_they_speak_of_rights() {
        let host = BTreeMap::from([("network".to_owned(), "host".to_owned())]);
        let shown = |given: &str, driver, on_host: bool, configuration: Option<&Configuration>| {
            flags(given, driver, on_host.then_some(&host), configuration)
                .map_or_else(|error| error.to_string(), |flags| flags.unwrap_or_default().join(" "))
        };
        let container = DriverKind::DockerContainer;
        let added = "--allow-insecure-entitlement=network.host";
        let secure = "--allow-insecure-entitlement security.insecure";
        assert_eq!(shown("", container, false, None), added);
        assert_eq!(shown("", DriverKind::Remote, false, None), "");
        assert_eq!(shown("--debug", container, false, None), format!("--debug {added}"));
        assert_eq!(shown(secure, container, false, None), secure);
        assert_eq!(shown(secure, container, true, None), format!("{secure} {added}"));
        assert_eq!(shown(added, container, true, None), added);
        // As buildx does it.
        let hidden = format!("--debug {secure}");
        assert_eq!(shown(&hidden, container, false, None), format!("{hidden} {added}"));
        assert_eq!(
            shown("'", container, false, None),
            "failed to parse buildkit flags: EOF found when expecting closing quote"
        );
        let (_folder, allowing) = configuration("insecure-entitlements = [\"network.host\"]\n");
        assert_eq!(shown("", container, false, Some(&allowing.unwrap())), "");
    }

    #[test]
    fn certificates_come_along_under_the_paths_they_will_have() {
        let (folder, configuration) = configuration(
            "# kept\ndebug = true\n[registry.\"my.io:5000/a\"]\nca = [\"HERE/ca.pem\"] # an authority\n\
             [[registry.\"my.io:5000/a\".keypair]]\nkey = \"HERE/key.pem\"\ncert = \"HERE/cert.pem\"\n\
             [registry.plain]\nhttp = true\nkeypair = [{key = \"HERE/key.pem\", cert = \"\"}]\n",
        );
        for name in ["ca", "key", "cert"] {
            std::fs::write(folder.path().join(format!("{name}.pem")), name).unwrap();
        }
        let files = configuration.unwrap().files().unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "buildkitd.toml",
                "certs/my.io_5000_a/ca.pem",
                "certs/my.io_5000_a/cert.pem",
                "certs/my.io_5000_a/key.pem",
                "certs/plain/key.pem"
            ]
        );
        assert_eq!(files["certs/plain/key.pem"], b"key");
        insta::assert_snapshot!(String::from_utf8_lossy(&files["buildkitd.toml"]), @r#"
        # kept
        debug = true
        [registry."my.io:5000/a"]
        ca = ["/etc/buildkit/certs/my.io_5000_a/ca.pem"] # an authority
        [[registry."my.io:5000/a".keypair]]
        key = "/etc/buildkit/certs/my.io_5000_a/key.pem"
        cert = "/etc/buildkit/certs/my.io_5000_a/cert.pem"
        [registry.plain]
        http = true
        keypair = [{key = "/etc/buildkit/certs/plain/key.pem", cert = ""}]
        "#);
    }

    #[test]
    fn configurations_that_cannot_be_used() {
        let missing = Configuration::read(Path::new("/nope")).unwrap_err().to_string();
        assert_eq!(
            missing,
            "buildkit configuration file not found: /nope: stat /nope: no such file or directory"
        );
        let refused = |text: &str| {
            let (folder, configuration) = configuration(text);
            let error = configuration.and_then(Configuration::files).unwrap_err().to_string();
            error.replace(&folder.path().display().to_string(), "HERE")
        };
        assert!(refused("a = [").starts_with("failed to parse buildkit config: TOML parse error"));
        assert!(
            refused("[registry.x]\nca = [\"HERE/no.pem\"]")
                .starts_with("failed to read CA file: HERE/no.pem: No such")
        );
        assert!(refused("[registry.x]\nca = [\"/\"]").starts_with("failed to read CA file: /: not a file"));
        assert!(refused("[registry.x]\nca = [\"/dev/zero\"]").contains("/dev/zero: not a regular file"));
        // What is no table or no text is the daemon's to complain about.
        let (_folder, odd) = configuration("registry = 3\n");
        assert_eq!(odd.unwrap().files().unwrap().len(), 1);
        let (_folder, odd) = configuration("[registry]\na = 1\n[registry.x]\nca = [1]\nkeypair = \"x\"\n");
        assert_eq!(odd.unwrap().files().unwrap().len(), 1);
    }
}
