//! hadolint's file: what is in it of rules. How hadolint itself prints is passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::ConfigError;
use super::{Config, Part};
use crate::finding::Severity;
use crate::rule::rule;
use crate::settings::{LabelKind, Level, Settings};

/// What a key without a value has is nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    ignored: Option<Vec<String>>,
    r#override: Option<Overrides>,
    #[serde(rename = "trustedRegistries")]
    trusted_registries: Option<Vec<String>>,
    label_schema: Option<BTreeMap<String, LabelKind>>,
    strict_labels: Option<bool>,
    disable_ignore_pragma: Option<bool>,
    failure_threshold: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overrides {
    error: Option<Vec<String>>,
    warning: Option<Vec<String>>,
    info: Option<Vec<String>>,
    style: Option<Vec<String>>,
}

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| {
        let place = error
            .location()
            .map(|at| (at.line().try_into().unwrap_or(1), at.column().try_into().unwrap_or(1)));
        let message = error.without_snippet().to_string();
        // The place comes at the end, and again with the file's name.
        ConfigError::new(message.split(" at line ").next().unwrap_or_default(), place)
    })?;
    let file = file.unwrap_or_default();
    let overrides = file.r#override.unwrap_or_default();
    let mut levels = BTreeMap::new();
    // What is ignored stays so, whatever else is said of it. Names of rules that this program has not are no mistake:
    // it knows none of ShellCheck's that are about other shells, for one.
    for (names, level) in [
        (overrides.style, Level::At(Severity::Style)),
        (overrides.info, Level::At(Severity::Info)),
        (overrides.warning, Level::At(Severity::Warning)),
        (overrides.error, Level::At(Severity::Error)),
        (file.ignored, Level::Off),
    ] {
        let known = names.iter().flatten().filter_map(|name| rule(name));
        levels.extend(known.map(|rule| (rule.name.to_owned(), level)));
    }
    Ok(Config {
        settings: Settings {
            inline_ignores: !file.disable_ignore_pragma.unwrap_or_default(),
            trusted_registries: file.trusted_registries.unwrap_or_default(),
            labels: file.label_schema.unwrap_or_default(),
            strict_labels: file.strict_labels.unwrap_or_default(),
            ..Settings::default()
        },
        severity: file.failure_threshold.as_deref().and_then(Severity::parse),
        all: Part { levels, ..Part::default() },
        ..Config::default()
    })
}
