//! The clients in `editors/` know the server's settings and commands.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::commands;
use crate::configuration::{Configuration, SECTION, SETTINGS};

/// Settings of VS Code that the client itself reads.
const OF_CLIENT: [&str; 2] = ["rbx.path", "rbx.trace.server"];

fn manifest() -> Value {
    serde_json::from_str(include_str!("../../editors/vscode/package.json")).unwrap()
}

/// What is between single quotes in the client's files, and begins with the name of the section.
fn mentioned() -> BTreeSet<String> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../editors/vscode/src");
    let files = std::fs::read_dir(directory).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let prefix = format!("{SECTION}.");
    texts
        .flat_map(|text| text.split('\'').map(str::to_owned).collect::<Vec<_>>())
        .filter(|text| text.starts_with(&prefix))
        .collect()
}

#[test]
fn settings_of_vs_code_are_those_of_the_server() {
    let manifest = manifest();
    let settings = manifest["contributes"]["configuration"]["properties"].as_object().unwrap();
    let servers = settings.keys().filter(|name| !OF_CLIENT.contains(&name.as_str()));
    let servers: BTreeSet<String> = servers.map(|name| name.replacen("rbx.", "", 1)).collect();
    assert_eq!(servers, BTreeSet::from(SETTINGS.map(str::to_owned)));
}

#[test]
fn what_vs_code_sets_by_itself_is_what_the_server_has() {
    let manifest = manifest();
    let settings = manifest["contributes"]["configuration"]["properties"].as_object().unwrap();
    let mut configuration = Configuration::default();
    let defaults = settings
        .iter()
        .map(|(name, setting)| (name.strip_prefix("rbx.").unwrap().to_owned(), setting["default"].clone()));
    assert_eq!(configuration.apply(&Value::Object(defaults.collect())), [""; 0]);
    assert_eq!(configuration, Configuration::default());
}

#[test]
fn commands_of_vs_code_are_its_own_or_the_servers() {
    let manifest = manifest();
    let contributed = manifest["contributes"]["commands"].as_array().unwrap();
    let own: BTreeSet<String> =
        contributed.iter().map(|command| command["command"].as_str().unwrap().to_owned()).collect();
    let servers = BTreeSet::from(commands::NAMES.map(str::to_owned));
    // The client library registers those of the server under their names.
    assert!(own.is_disjoint(&servers), "registered twice: {:?}", own.intersection(&servers));

    let mentioned = mentioned();
    assert!(own.is_subset(&mentioned), "nothing does {:?}", own.difference(&mentioned));
    let settings = manifest["contributes"]["configuration"]["properties"].as_object().unwrap();
    let known =
        |name: &&String| own.contains(*name) || servers.contains(*name) || settings.contains_key(*name);
    let unknown: Vec<&String> = mentioned.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "neither the server's nor the client's: {unknown:?}");
}
