//! `buildkitd.toml` for an Engine: what it says, in the words of `dockerd`.
//!
//! An Engine in a container has the same `BuildKit`, and other files for what is set there: `daemon.json` for the daemon
//! and the collection of caches, and a `hosts.toml` for each registry. What has no such place is an error: a builder that
//! does otherwise than its configuration says would be found out late.

use rbx_request::fields;
use serde_json::{Map, Value, json};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, value};

use super::daemon::object;
use crate::error::DriverError;

/// Where an Engine has what it knows of registries, below `/etc`.
const REGISTRIES: &str = "docker/certs.d";
/// Where Docker Hub's images are.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A configuration from which is taken what can be said otherwise.
#[derive(Debug, Default)]
struct Taken {
    /// What is left, by its path.
    left: Vec<String>,
}

/// Adds what a `buildkitd.toml` says to an Engine's configuration. Answers the files that it needs besides, below `/etc`.
pub(super) fn add_configuration(
    text: &[u8],
    engine: &mut Map<String, Value>,
) -> Result<Vec<(String, Vec<u8>)>, DriverError> {
    let wrong = |reason: String| DriverError::Refused(format!("{reason}: buildkitd.toml"));
    let text = str::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
    let document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| wrong(error.to_string().trim_end().to_owned()))?;
    let mut taken = Taken::default();
    let files = taken.all(tables(document.as_table()), engine).map_err(wrong)?;
    if taken.left.is_empty() {
        return Ok(files);
    }
    taken.left.sort();
    Err(DriverError::NotForEngines(taken.left.join(", ")))
}

impl Taken {
    fn all(
        &mut self,
        mut config: Map<String, Value>,
        engine: &mut Map<String, Value>,
    ) -> Result<Vec<(String, Vec<u8>)>, String> {
        let is_set = |value: Option<Value>| value == Some(Value::Bool(true));
        if is_set(config.remove("debug")) {
            engine.insert("debug".to_owned(), true.into());
        }
        if is_set(config.remove("trace")) {
            engine.insert("log-level".to_owned(), "trace".into());
        }
        self.section(&mut config, "log", &[("level", "log-level"), ("format", "log-format")], engine);
        let dns = [("nameservers", "dns"), ("options", "dns-opts"), ("searchDomains", "dns-search")];
        self.section(&mut config, "dns", &dns, engine);
        if config.contains_key("history") {
            let history = object(object(engine, "builder")?, "history")?;
            self.section(
                &mut config,
                "history",
                &[("maxAge", "maxAge"), ("maxEntries", "maxEntries")],
                history,
            );
        }
        self.devices(&mut config, engine)?;
        self.entitlements(config.remove("insecure-entitlements"), engine)?;
        if let Some(Value::Object(workers)) = config.remove("worker") {
            for (name, worker) in workers {
                match worker {
                    Value::Object(worker) if ["oci", "containerd"].contains(&name.as_str()) => {
                        self.worker(&format!("worker.{name}"), worker, engine)?;
                    }
                    _ => self.left.push(format!("worker.{name}")),
                }
            }
        }
        let files = match config.remove("registry") {
            Some(Value::Object(registries)) => self.registries(registries)?,
            _ => Vec::new(),
        };
        self.leave("", config);
        Ok(files)
    }

    /// Notes what nobody took.
    fn leave(&mut self, place: &str, rest: Map<String, Value>) {
        let names = rest.into_iter().flat_map(|(name, value)| match value {
            // A table is told by what is in it.
            Value::Object(fields) if !fields.is_empty() => {
                fields.keys().map(|field| format!("{name}.{field}")).collect()
            }
            _ => vec![name],
        });
        self.left.extend(names.map(|name| if place.is_empty() { name } else { format!("{place}.{name}") }));
    }

    /// Takes the fields of a table that an Engine has under other names.
    fn section(
        &mut self,
        config: &mut Map<String, Value>,
        name: &str,
        names: &[(&str, &str)],
        engine: &mut Map<String, Value>,
    ) {
        let Some(Value::Object(mut section)) = config.remove(name) else { return };
        for (theirs, its) in names {
            if let Some(value) = section.remove(*theirs) {
                engine.insert((*its).to_owned(), value);
            }
        }
        self.leave(name, section);
    }

    fn devices(
        &mut self,
        config: &mut Map<String, Value>,
        engine: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let Some(Value::Object(mut devices)) = config.remove("cdi") else { return Ok(()) };
        if let Some(disabled) = devices.remove("disabled") {
            let enabled = disabled != Value::Bool(true);
            object(engine, "features")?.insert("cdi".to_owned(), enabled.into());
        }
        if let Some(directories) = devices.remove("specDirs") {
            engine.insert("cdi-spec-dirs".to_owned(), directories);
        }
        self.leave("cdi", devices);
        Ok(())
    }

    fn entitlements(&mut self, list: Option<Value>, engine: &mut Map<String, Value>) -> Result<(), String> {
        let Some(Value::Array(list)) = list else { return Ok(()) };
        let granted = object(object(engine, "builder")?, "entitlements")?;
        for name in list.iter().filter_map(Value::as_str) {
            match name {
                "network.host" | "security.insecure" => {
                    granted.insert(name.replace('.', "-"), true.into());
                }
                _ => self.left.push(format!("insecure-entitlements: {name}")),
            }
        }
        Ok(())
    }

    /// What a worker is to be: an Engine has one, and what concerns its cache is said of the whole.
    fn worker(
        &mut self,
        place: &str,
        mut worker: Map<String, Value>,
        engine: &mut Map<String, Value>,
    ) -> Result<(), String> {
        // Which of both there is makes no difference, and these are what an Engine does.
        worker.remove("enabled");
        for (name, usual) in [("networkMode", "host"), ("networkMode", "auto"), ("snapshotter", "auto")] {
            if worker.get(name).and_then(Value::as_str) == Some(usual) {
                worker.remove(name);
            }
        }
        let enabled = worker.remove("gc");
        worker.retain(|_, value| *value != Value::Bool(false));
        if let Some(parent) = worker.remove("defaultCgroupParent") {
            engine.insert("cgroup-parent".to_owned(), parent);
        }
        let sizes = [
            ("gckeepstorage", "defaultReservedSpace"),
            ("reservedSpace", "defaultReservedSpace"),
            ("maxUsedSpace", "defaultMaxUsedSpace"),
            ("minFreeSpace", "defaultMinFreeSpace"),
        ];
        let builder = object(engine, "builder")?;
        self.sizes(place, &mut worker, &sizes, object(builder, "gc")?);
        let gc = object(builder, "gc")?;
        if let Some(enabled) = enabled {
            gc.insert("enabled".to_owned(), enabled);
        }
        if let Some(Value::Array(policies)) = worker.remove("gcpolicy") {
            let place = format!("{place}.gcpolicy");
            let policies = policies.into_iter().filter_map(|policy| match policy {
                Value::Object(policy) => Some(self.policy(&place, policy)),
                _ => None,
            });
            gc.insert("policy".to_owned(), policies.collect());
        }
        if gc.is_empty() {
            builder.remove("gc");
        }
        self.leave(place, worker);
        Ok(())
    }

    fn policy(&mut self, place: &str, mut policy: Map<String, Value>) -> Value {
        let mut made = Map::new();
        if let Some(all) = policy.remove("all") {
            made.insert("all".to_owned(), all);
        }
        let sizes = [
            ("keepBytes", "reservedSpace"),
            ("reservedSpace", "reservedSpace"),
            ("maxUsedSpace", "maxUsedSpace"),
            ("minFreeSpace", "minFreeSpace"),
        ];
        self.sizes(place, &mut policy, &sizes, &mut made);
        let mut filters = Vec::new();
        match policy.remove("keepDuration") {
            // Seconds.
            Some(Value::Number(seconds)) => filters.push(format!("until={seconds}s")),
            Some(Value::String(duration)) => filters.push(format!("until={duration}")),
            _ => {}
        }
        // One of several may be true for BuildKit; an Engine has one, all of which has to be.
        match policy.remove("filters").as_ref().and_then(Value::as_array).map(Vec::as_slice) {
            None | Some([]) => {}
            Some([one]) => match one.as_str().and_then(filter) {
                Some(terms) => filters.extend(terms),
                None => self.left.push(format!("{place}.filters: {one}")),
            },
            Some(_) => self.left.push(format!("{place}.filters: more than one")),
        }
        if !filters.is_empty() {
            made.insert("filter".to_owned(), filters.into());
        }
        self.leave(place, policy);
        Value::Object(made)
    }

    /// Sizes, which an Engine takes as texts and not as parts of the disk.
    fn sizes(
        &mut self,
        place: &str,
        from: &mut Map<String, Value>,
        names: &[(&str, &str)],
        to: &mut Map<String, Value>,
    ) {
        for (theirs, its) in names {
            match from.remove(*theirs) {
                None => {}
                Some(Value::Number(bytes)) => drop(to.insert((*its).to_owned(), bytes.to_string().into())),
                Some(Value::String(size)) if !size.contains('%') => {
                    to.insert((*its).to_owned(), size.into());
                }
                Some(other) => self.left.push(format!("{place}.{theirs}: {other}")),
            }
        }
    }

    /// The files that say how registries are reached.
    fn registries(&mut self, registries: Map<String, Value>) -> Result<Vec<(String, Vec<u8>)>, String> {
        let known = registries.clone();
        let mut files = Vec::new();
        for (name, registry) in registries {
            let Value::Object(mut registry) = registry else { continue };
            if !is_host(&name) {
                return Err(format!("invalid registry {name:?}"));
            }
            let mut document = DocumentMut::new();
            let upstream = if name == HUB.0 { HUB.1 } else { &name };
            let address = format!("{}://{upstream}", scheme(&name, known.get(&name)));
            document.insert("server", value(address));
            connection(document.as_table_mut(), &registry);
            let mut hosts = Table::new();
            hosts.set_implicit(true);
            for mirror in registry.remove("mirrors").as_ref().and_then(Value::as_array).into_iter().flatten()
            {
                let Some(mirror) = mirror.as_str() else { continue };
                let (host, path) = mirror.split_once('/').unwrap_or((mirror, ""));
                let own = known.get(host);
                let mut table = Table::new();
                table.insert("capabilities", value(Array::from_iter(["pull", "resolve"])));
                if let Some(Value::Object(own)) = own {
                    connection(&mut table, own);
                }
                let mut address = format!("{}://{host}", scheme(host, own));
                if !path.is_empty() {
                    address = format!("{address}/v2/{}", path.trim_end_matches('/'));
                    table.insert("override_path", value(true));
                }
                hosts.insert(&address, Item::Table(table));
            }
            if !hosts.is_empty() {
                document.insert("host", Item::Table(hosts));
            }
            for taken in ["http", "insecure", "ca", "keypair"] {
                registry.remove(taken);
            }
            self.leave(&format!("registry.{name:?}"), registry);
            files.push((format!("{REGISTRIES}/{name}/hosts.toml"), document.to_string().into_bytes()));
        }
        Ok(files)
    }
}

/// How a registry is trusted: certificates are where BuildKit has them, and so they are there for an Engine, too.
fn connection(table: &mut dyn TableLike, registry: &Map<String, Value>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(Value::Array(authorities)) = registry.get("ca") {
        table.insert("ca", value(authorities.iter().filter_map(text).collect::<Array>()));
    }
    if let Some(Value::Array(pairs)) = registry.get("keypair") {
        let pairs = pairs.iter().filter_map(|pair| {
            let pair = ["cert", "key"].map(|name| pair.get(name).and_then(text));
            pair.into_iter().collect::<Option<Array>>()
        });
        let mut client = Array::new();
        pairs.for_each(|pair| client.push(pair));
        table.insert("client", value(client));
    }
    if registry.get("insecure") == Some(&Value::Bool(true)) {
        table.insert("skip_verify", value(true));
    }
}

/// What BuildKit speaks with a registry: on this machine nothing is encrypted unless that is said.
fn scheme(host: &str, registry: Option<&Value>) -> &'static str {
    let plain = registry.and_then(|registry| registry.get("http")).and_then(Value::as_bool);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let local = name == "localhost" || name == "::1" || name.starts_with("127.");
    if plain.unwrap_or(local) { "http" } else { "https" }
}

/// Whether a text is a host, perhaps with a port, and so the name of a directory.
fn is_host(name: &str) -> bool {
    let is_right = |c: char| c.is_ascii_alphanumeric() || "-.:_[]".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_right)
}

/// The terms of a filter of BuildKit's, all of which have to be true, as an Engine takes them; `None` for what it does
/// not know.
fn filter(text: &str) -> Option<Vec<String>> {
    let known = ["parents", "type", "description", "inuse", "shared", "private"];
    let term = |term: &String| match term.split_once("==") {
        Some((name, value)) if known.contains(&name) => Some(format!("{name}={value}")),
        Some(_) => None,
        None => known.contains(&term.as_str()).then(|| term.clone()),
    };
    let terms = fields(text).ok()?.iter().map(term).collect::<Option<Vec<_>>>()?;
    let mut names: Vec<&str> = terms.iter().map(|term| term.split('=').next().unwrap_or_default()).collect();
    names.sort_unstable();
    // Each may be named once.
    names.windows(2).all(|pair| pair[0] != pair[1]).then_some(terms)
}

/// A table as JSON.
fn tables(table: &dyn TableLike) -> Map<String, Value> {
    table.iter().map(|(name, item)| (name.to_owned(), json_of(item))).collect()
}

fn json_of(item: &Item) -> Value {
    match item {
        Item::None => Value::Null,
        Item::Table(table) => tables(table).into(),
        Item::ArrayOfTables(list) => list.iter().map(|table| Value::from(tables(table))).collect(),
        Item::Value(value) => of_value(value),
    }
}

fn of_value(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => json!(text.value()),
        toml_edit::Value::Integer(number) => json!(number.value()),
        toml_edit::Value::Float(number) => json!(number.value()),
        toml_edit::Value::Boolean(value) => json!(value.value()),
        toml_edit::Value::Datetime(time) => json!(time.value().to_string()),
        toml_edit::Value::Array(list) => list.iter().map(of_value).collect(),
        toml_edit::Value::InlineTable(table) => inline(table),
    }
}

fn inline(table: &InlineTable) -> Value {
    tables(table).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(text: &str) -> String {
        let mut engine = Map::new();
        match add_configuration(text.as_bytes(), &mut engine) {
            Ok(files) => {
                let files = files.into_iter().map(|(name, content)| {
                    format!("\n--- {name}\n{}", String::from_utf8(content).unwrap().trim_end())
                });
                Value::from(engine).to_string() + &files.collect::<String>()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn registries_have_files_of_their_own() {
        insta::assert_snapshot!(made(r#"
[registry."docker.io"]
mirrors = ["mirror.example:5000", "other.example/hub/"]
[registry."mirror.example:5000"]
http = true
insecure = true
[registry."secure.example"]
ca = ["/etc/buildkit/certs/secure.example/ca.pem"]
[[registry."secure.example".keypair]]
key = "/etc/buildkit/certs/secure.example/key.pem"
cert = "/etc/buildkit/certs/secure.example/cert.pem"
[registry."127.0.0.1:5000"]
[registry."localhost:5000"]
http = false
"#), @r#"
        {}
        --- docker/certs.d/docker.io/hosts.toml
        server = "https://registry-1.docker.io"

        [host."http://mirror.example:5000"]
        capabilities = ["pull", "resolve"]
        skip_verify = true

        [host."https://other.example/v2/hub"]
        capabilities = ["pull", "resolve"]
        override_path = true
        --- docker/certs.d/mirror.example:5000/hosts.toml
        server = "http://mirror.example:5000"
        skip_verify = true
        --- docker/certs.d/secure.example/hosts.toml
        server = "https://secure.example"
        ca = ["/etc/buildkit/certs/secure.example/ca.pem"]
        client = [["/etc/buildkit/certs/secure.example/cert.pem", "/etc/buildkit/certs/secure.example/key.pem"]]
        --- docker/certs.d/127.0.0.1:5000/hosts.toml
        server = "http://127.0.0.1:5000"
        --- docker/certs.d/localhost:5000/hosts.toml
        server = "https://localhost:5000"
        "#);
    }

    #[test]
    fn settings_of_the_daemon_are_its_own() {
        insta::assert_snapshot!(made(r#"
debug = true
insecure-entitlements = ["network.host", "security.insecure"]
[log]
format = "json"
[dns]
nameservers = ["10.0.0.1"]
[history]
maxAge = "24h"
maxEntries = 10
[cdi]
disabled = true
[worker.oci]
enabled = true
networkMode = "host"
rootless = false
gc = true
reservedSpace = "2GB"
maxUsedSpace = 10000000000
defaultCgroupParent = "/builds"
[[worker.oci.gcpolicy]]
filters = ["type==source.local,shared"]
keepDuration = "48h"
maxUsedSpace = "512MB"
[[worker.oci.gcpolicy]]
all = true
keepBytes = 1000
keepDuration = 60
[worker.containerd]
enabled = false
"#), @r#"{"debug":true,"log-format":"json","dns":["10.0.0.1"],"builder":{"history":{"maxAge":"24h","maxEntries":10},"entitlements":{"network-host":true,"security-insecure":true},"gc":{"defaultReservedSpace":"2GB","defaultMaxUsedSpace":"10000000000","enabled":true,"policy":[{"maxUsedSpace":"512MB","filter":["until=48h","type=source.local","shared"]},{"all":true,"reservedSpace":"1000","filter":["until=60s"]}]}},"features":{"cdi":false},"cgroup-parent":"/builds"}"#);
    }

    #[test]
    fn what_an_engine_does_not_have_is_named() {
        insta::assert_snapshot!(made(r#"
root = "/elsewhere"
insecure-entitlements = ["device"]
[grpc]
address = ["tcp://0.0.0.0:1234"]
[worker.oci]
max-parallelism = 4
platforms = ["linux/amd64"]
minFreeSpace = "10%"
[[worker.oci.gcpolicy]]
filters = ["type==a", "type==b"]
[[worker.oci.gcpolicy]]
filters = ["id~=a"]
[worker.other]
a = 1
[registry."a.example"]
tlsconfigdir = ["/certs"]
[frontend."gateway.v0"]
enabled = false
"#), @r#"an Engine in a container has nothing for: frontend.gateway.v0, grpc.address, insecure-entitlements: device, registry."a.example".tlsconfigdir, root, worker.oci.gcpolicy.filters: "id~=a", worker.oci.gcpolicy.filters: more than one, worker.oci.max-parallelism, worker.oci.minFreeSpace: "10%", worker.oci.platforms, worker.other: buildkitd.toml or flags of the builder"#);
        assert!(made("a = ").starts_with("TOML parse error"), "{}", made("a = "));
        assert_eq!(made("[registry.\"../up\"]"), "invalid registry \"../up\": buildkitd.toml");
    }

    proptest! {
        #[test]
        fn any_file_is_read(text in r#"(\[worker\.oci\]|\[\[worker\.oci\.gcpolicy\]\]|\[registry\."[a-z./:]{0,9}"\]|[a-z]{1,9} = ("[a-z=,%]{0,9}"|[0-9]{1,3}|true|\["a", 3\])|worker = 3|mirrors = \["a/b", 2\]|\n){0,20}"#) {
            let _ = add_configuration(text.as_bytes(), &mut Map::new());
        }
    }
}
