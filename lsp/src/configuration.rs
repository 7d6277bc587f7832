//! What the user sets: for which platforms files are built, and how.

use rbx_platform::Platform;
use rbx_request::parse_platforms;
use serde_json::Value;

/// The section of the client's configuration.
pub(crate) const SECTION: &str = "rbx";
/// What is in it. Clients in `editors/` have the same list in their manifests.
pub(crate) const SETTINGS: [&str; 11] = [
    "platforms",
    "context",
    "program",
    "buildFlags",
    "online",
    "shellcheck",
    "builder",
    "hints.platforms",
    "hints.arguments",
    "hints.cached",
    "lenses",
];

/// What the user set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// `platforms`: what files are built for that do not say so themselves.
    pub(crate) platforms: Vec<Platform>,
    /// `context`: the build context, from the root of the project; else it is the directory of the Dockerfile.
    pub(crate) context: Option<String>,
    /// `program`: the `docker-rbx` that builds.
    pub(crate) program: Option<String>,
    /// `buildFlags`: more flags of `docker-rbx build`.
    pub(crate) build_flags: Vec<String>,
    /// `online`: registries may be asked.
    pub(crate) online: bool,
    /// `shellcheck`: `off` if it is not to be asked where it is installed.
    pub(crate) without_shellcheck: bool,
    /// `builder`: the builder that builds; else it is the one that is chosen on the command line.
    pub(crate) builder: Option<String>,
    /// `hints`: what is shown between the words of a document.
    pub(crate) hints: Hints,
    /// `lenses`: what can be done is shown above the lines that it is for.
    pub(crate) lenses: bool,
}

/// What is shown between the words of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hints {
    /// `hints.platforms`: the platforms of stages, and which of them are emulated.
    pub(crate) platforms: bool,
    /// `hints.arguments`: what arguments, and names of images with variables in them, come to.
    pub(crate) arguments: bool,
    /// `hints.cached`: which steps are cached.
    pub(crate) cached: bool,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            context: None,
            program: None,
            build_flags: Vec::new(),
            online: false,
            without_shellcheck: false,
            builder: None,
            hints: Hints { platforms: true, arguments: true, cached: true },
            lenses: true,
        }
    }
}

impl Configuration {
    /// Takes what the client sent: an object of settings, or one that has them in its member `rbx`. What is not in it
    /// stays as it was, and so does what is wrong; answers a line about each of these.
    pub(crate) fn apply(&mut self, sent: &Value) -> Vec<String> {
        let settings = sent.get(SECTION).unwrap_or(sent);
        let setting = |name: &str| {
            debug_assert!(SETTINGS.contains(&name), "{name} is missing in SETTINGS");
            // One of a group may be a member of the group, or stand by itself.
            let grouped = || name.split_once('.').and_then(|(group, name)| settings.get(group)?.get(name));
            settings.get(name).or_else(grouped).filter(|value| !value.is_null())
        };
        let mut complaints = Vec::new();
        if let Some(value) = setting("platforms") {
            let platforms = list(value)
                .ok_or_else(|| "neither a text nor a list of texts".to_owned())
                .and_then(|texts| platforms(&texts));
            match platforms {
                Ok(platforms) => self.platforms = platforms,
                Err(reason) => complaints.push(format!("{SECTION}.platforms: {reason}")),
            }
        }
        if let Some(value) = setting("buildFlags") {
            match value.as_array().and_then(|_| list(value)) {
                Some(flags) => self.build_flags = flags,
                None => complaints.push(format!("{SECTION}.buildFlags: not a list of texts")),
            }
        }
        let switches = [
            ("online", setting("online"), &mut self.online),
            ("hints.platforms", setting("hints.platforms"), &mut self.hints.platforms),
            ("hints.arguments", setting("hints.arguments"), &mut self.hints.arguments),
            ("hints.cached", setting("hints.cached"), &mut self.hints.cached),
            ("lenses", setting("lenses"), &mut self.lenses),
        ];
        for (name, value, field) in switches {
            match value.map(Value::as_bool) {
                Some(Some(value)) => *field = value,
                Some(None) => complaints.push(format!("{SECTION}.{name}: neither true nor false")),
                None => {}
            }
        }
        match setting("shellcheck").map(Value::as_str) {
            Some(Some("auto")) => self.without_shellcheck = false,
            Some(Some("off")) => self.without_shellcheck = true,
            Some(_) => complaints.push(format!("{SECTION}.shellcheck: neither \"auto\" nor \"off\"")),
            None => {}
        }
        for (name, field) in
            [("builder", &mut self.builder), ("context", &mut self.context), ("program", &mut self.program)]
        {
            match setting(name).map(Value::as_str) {
                Some(Some(text)) => *field = Some(text.to_owned()).filter(|text| !text.is_empty()),
                Some(None) => complaints.push(format!("{SECTION}.{name}: not a text")),
                None => {}
            }
        }
        complaints
    }

    /// The values of a flag of builds, whichever way it is written.
    pub(crate) fn flag_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let mut flags = self.build_flags.iter().map(String::as_str);
        std::iter::from_fn(move || {
            loop {
                let after = flags.next()?.strip_prefix("--").and_then(|flag| flag.strip_prefix(name));
                match after {
                    Some("") => return flags.next(),
                    Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                    _ => {}
                }
            }
        })
    }
}

/// A text, or a list of texts.
fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// Platforms as `--platform` takes them, each once.
pub(crate) fn platforms(texts: &[String]) -> Result<Vec<Platform>, String> {
    let filled: Vec<&String> = texts.iter().filter(|text| !text.trim().is_empty()).collect();
    let parsed = parse_platforms(&filled, &Platform::host()).map_err(|error| error.to_string())?;
    let mut platforms = Vec::new();
    for platform in parsed {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_taken_one_by_one() {
        let mut configuration = Configuration::default();
        let sent =
            json!({ "rbx": { "platforms": "arm64,linux/arm64", "buildFlags": ["-t", "x"], "other": 1 } });
        assert_eq!(configuration.apply(&sent), Vec::<String>::new());
        assert_eq!(
            configuration.apply(&json!({ "platforms": ["linux/amd64", "amd64"], "context": "." })),
            [""; 0]
        );
        assert!(!configuration.online);
        configuration.apply(&json!({ "rbx": { "online": true } }));
        assert!(configuration.online);
        assert_eq!(configuration.platforms, [Platform::parse("linux/amd64").unwrap()]);
        assert_eq!(configuration.build_flags, ["-t", "x"]);
        assert_eq!(configuration.context.as_deref(), Some("."));
        configuration.apply(&json!({ "context": "", "platforms": [], "program": null }));
        assert_eq!((configuration.context, configuration.platforms), (None, vec![]));
    }

    #[test]
    fn values_of_flags_are_found() {
        let mut configuration = Configuration::default();
        let flags =
            ["--build-arg=a=b", "x", "--build-arg", "c", "--build-args", "--build-argx=1", "--build-arg"];
        configuration.build_flags = flags.map(str::to_owned).to_vec();
        assert_eq!(configuration.flag_values("build-arg").collect::<Vec<_>>(), ["a=b", "c"]);
    }

    #[test]
    fn what_is_wrong_is_said_and_passed_over() {
        let mut configuration = Configuration::default();
        configuration.apply(&json!({ "platforms": "linux/amd64" }));
        let before = configuration.clone();
        let sent = json!({ "platforms": ["linux/a/b/c"], "context": 1, "program": [], "buildFlags": "-t x", "online": 1, "shellcheck": true });
        insta::assert_snapshot!(configuration.apply(&sent).join("\n"), @r#"
        rbx.platforms: "linux/a/b/c": cannot parse platform specifier: invalid argument
        rbx.buildFlags: not a list of texts
        rbx.online: neither true nor false
        rbx.shellcheck: neither "auto" nor "off"
        rbx.context: not a text
        rbx.program: not a text
        "#);
        insta::assert_snapshot!(configuration.apply(&json!({ "platforms": [1] })).join("\n"), @"rbx.platforms: neither a text nor a list of texts");
        assert_eq!(configuration, before);
        for nothing in [json!(null), json!([]), json!("x"), json!({ "rbx": null })] {
            assert_eq!(configuration.apply(&nothing), [""; 0], "{nothing}");
        }
        assert_eq!(configuration, before);
    }
}
