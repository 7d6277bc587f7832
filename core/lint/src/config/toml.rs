//! `rbx.toml`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rbx_platform::Platform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::error::{ConfigError, place};
use super::pattern::Patterns;
use super::{Config, Part};
use crate::finding::Severity;
use crate::rule::{Family, Rule, proposal, rule, rules};
use crate::settings::{LabelKind, Level, Settings};

/// How docker rbx checks the Dockerfiles of a project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    /// The platforms that Dockerfiles are built for that do not say so themselves, such as "linux/arm64".
    platforms: Vec<PlatformName>,
    /// Values of the Dockerfiles' ARG, as by --build-arg.
    build_args: BTreeMap<String, String>,
    /// Paths of Dockerfiles, or of directories of them, that are not checked: patterns as in .gitignore.
    ignore: Vec<Pattern>,
    /// Findings that are so bad or worse are shown.
    severity: Option<Severity>,
    /// Whether comments of hadolint ("# hadolint ignore=…") and of docker rbx ("# rbx: ignore=…") silence rules.
    inline_ignores: bool,
    /// Rules, and how they count: "off", "on", or with a severity of their own. "buildkit", "platform" and "hadolint"
    /// are all rules of that family.
    rules: BTreeMap<RuleName, LevelName>,
    /// Registries that images may come from (DL3026), such as "docker.io" or "*.example.com". Without any, all may.
    trusted_registries: Vec<String>,
    /// Labels that the image has to have (DL3049), and what they hold.
    labels: BTreeMap<String, LabelKind>,
    /// Whether other labels than these are found (DL3050).
    strict_labels: bool,
    /// What is different for some Dockerfiles. Of several tables that are for the same one, the last counts.
    files: Vec<Table>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            build_args: BTreeMap::new(),
            ignore: Vec::new(),
            severity: None,
            inline_ignores: true,
            rules: BTreeMap::new(),
            trusted_registries: Vec::new(),
            labels: BTreeMap::new(),
            strict_labels: false,
            files: Vec::new(),
        }
    }
}

/// What is different for some Dockerfiles.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    /// Their paths: patterns as in .gitignore.
    paths: Vec<Pattern>,
    /// The platforms that they are built for, in place of others.
    #[serde(default)]
    platforms: Vec<PlatformName>,
    /// Values of their ARG, beside others.
    #[serde(default)]
    build_args: BTreeMap<String, String>,
    /// Rules, and how they count, beside others.
    #[serde(default)]
    rules: BTreeMap<RuleName, LevelName>,
}

/// A platform.
#[derive(Debug, JsonSchema)]
#[schemars(transparent)]
struct PlatformName(#[schemars(with = "String")] Platform);

impl<'de> Deserialize<'de> for PlatformName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Platform::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A pattern of paths.
#[derive(Debug, JsonSchema)]
#[schemars(transparent)]
struct Pattern(String);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Patterns::new([text.as_str()]) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(D::Error::custom(format!("{}: {text:?} is no pattern", error.kind()))),
        }
    }
}

/// Rules by their name, families before others: those of a family may count differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum RuleName {
    Family(Family),
    Rule(&'static str),
}

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if let Some(family) = Family::ALL.into_iter().find(|family| family.name() == name) {
            return Ok(Self::Family(family));
        }
        rule(&name).map(|rule| Self::Rule(rule.name)).ok_or_else(|| {
            let hint = match proposal(&name) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "\"docker rbx check --explain all\" lists the rules".to_owned(),
            };
            D::Error::custom(ConfigError::message(&format!("no rule {name:?}"), &hint))
        })
    }
}

impl RuleName {
    fn rules(&self) -> Vec<&'static Rule> {
        let is_meant = |rule: &Rule| match self {
            Self::Family(family) => rule.family == *family,
            Self::Rule(name) => rule.name == *name,
        };
        rules().iter().copied().filter(|rule| is_meant(rule)).collect()
    }
}

/// In the schema every name that may stand in `rules`, with what it finds.
impl JsonSchema for RuleName {
    fn schema_name() -> Cow<'static, str> {
        "RuleName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let families = Family::ALL.iter().map(|family| family.name());
        let names = rules().iter().flat_map(|rule| std::iter::once(&rule.name).chain(rule.aliases)).copied();
        let names: Vec<&str> = families.chain(names).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// How a rule counts.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LevelName {
    /// Not at all.
    Off,
    /// As it does by itself, even if it has to be turned on.
    On,
    /// The build fails.
    Error,
    /// The result is wrong, or soon will be.
    Warning,
    /// Often wrong, or could be better.
    Info,
    /// A matter of taste.
    Style,
}

impl LevelName {
    fn level(self) -> Level {
        match self {
            Self::Off => Level::Off,
            Self::On => Level::On,
            Self::Error => Level::At(Severity::Error),
            Self::Warning => Level::At(Severity::Warning),
            Self::Info => Level::At(Severity::Info),
            Self::Style => Level::At(Severity::Style),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    let file: File = toml_edit::de::from_str(text).map_err(|error| {
        let place = error.span().map(|span| place(text, &span));
        ConfigError::new(error.message(), place)
    })?;
    let part = |rules: BTreeMap<RuleName, LevelName>, platforms: Vec<PlatformName>, build_args| Part {
        levels: levels(&rules),
        platforms: platforms.into_iter().map(|platform| platform.0).collect(),
        build_args,
    };
    let mut some = Vec::new();
    for table in file.files {
        some.push((patterns(&table.paths)?, part(table.rules, table.platforms, table.build_args)));
    }
    Ok(Config {
        settings: Settings {
            inline_ignores: file.inline_ignores,
            trusted_registries: file.trusted_registries,
            labels: file.labels,
            strict_labels: file.strict_labels,
            ..Settings::default()
        },
        severity: file.severity,
        ignored: patterns(&file.ignore)?,
        all: part(file.rules, file.platforms, file.build_args),
        some,
    })
}

fn levels(rules: &BTreeMap<RuleName, LevelName>) -> BTreeMap<String, Level> {
    let each =
        rules.iter().flat_map(|(name, level)| name.rules().into_iter().map(|rule| (rule, level.level())));
    each.map(|(rule, level)| (rule.name.to_owned(), level)).collect()
}

/// Each was tried by itself, so that only their number can be wrong.
fn patterns(list: &[Pattern]) -> Result<Patterns, ConfigError> {
    Patterns::new(list.iter().map(|pattern| pattern.0.as_str()))
        .map_err(|error| ConfigError::new(&error.to_string(), None))
}

pub(super) fn schema() -> String {
    let mut schema = schemars::schema_for!(File);
    schema.insert("title".to_owned(), json!("rbx.toml"));
    // What each rule finds is shown where its name is completed.
    let level = json!({ "$ref": "#/$defs/LevelName" });
    let mut properties = Map::new();
    for family in Family::ALL {
        let description = format!("Every rule of the family {}.", family.name());
        properties.insert(family.name().to_owned(), described(&level, description));
    }
    for rule in rules() {
        properties.insert(rule.name.to_owned(), described(&level, format!("{}.", rule.summary)));
        for alias in rule.aliases {
            properties.insert((*alias).to_owned(), described(&level, format!("{}.", rule.name)));
        }
    }
    let rules = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        definitions.remove("RuleName");
        definitions.insert("Rules".to_owned(), rules);
    }
    for pointer in ["/properties/rules", "/$defs/Table/properties/rules"] {
        if let Some(Value::Object(property)) = schema.pointer_mut(pointer) {
            let description = property.remove("description");
            property.clear();
            property.extend(description.map(|text| ("description".to_owned(), text)));
            property.insert("$ref".to_owned(), json!("#/$defs/Rules"));
        }
    }
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

fn described(schema: &Value, description: String) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), Value::String(description));
    }
    schema
}
