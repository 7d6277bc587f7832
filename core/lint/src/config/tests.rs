use std::collections::BTreeSet;

use super::*;

fn parse(text: &str) -> Config {
    Config::parse(Path::new("rbx.toml"), text).unwrap()
}

fn error(name: &str, text: &str) -> String {
    let path = Path::new(name);
    let error = Config::parse(path, text).unwrap_err();
    format!("{}\n{}", error.in_file(path), error.hint.as_deref().unwrap_or_default())
}

fn level(config: &FileConfig, rule: &str) -> Option<Level> {
    config.settings.levels.get(rule).copied()
}

#[test]
fn what_is_said_of_files_counts_in_order() {
    let config = parse(
        r#"
        platforms = ["linux/amd64", "linux/arm64"]
        build-args = { A = "1", B = "2" }
        ignore = ["vendor"]
        severity = "info"
        inline-ignores = false
        trusted-registries = ["docker.io"]
        labels = { version = "semver", any = "text" }
        strict-labels = true

        [rules]
        DL3006 = "off"
        hadolint = "style"
        platform-arg-default = "error"

        [[files]]
        paths = ["Dockerfile.windows"]
        platforms = ["windows/amd64"]

        [[files]]
        paths = ["tools/"]
        build-args = { B = "3" }
        rules = { DL3006 = "on", DL3007 = "warning" }
        "#,
    );
    let plain = config.file(Some(Path::new("Dockerfile")));
    assert_eq!(plain.platforms.len(), 2);
    assert_eq!(plain.build_args["B"], "2");
    assert_eq!((plain.severity, plain.settings.threshold), (Some(Severity::Info), Some(Severity::Info)));
    assert_eq!(level(&plain, "DL3006"), Some(Level::Off), "a rule counts more than its family");
    assert_eq!(level(&plain, "DL3007"), Some(Level::At(Severity::Style)));
    assert_eq!(level(&plain, "platform-arg-default"), Some(Level::At(Severity::Error)));
    assert_eq!(level(&plain, "platform-arg-undeclared"), None);
    assert!(!plain.ignored && plain.settings.strict_labels && !plain.settings.inline_ignores);
    assert_eq!(plain.settings.labels["version"], crate::LabelKind::Version);
    assert_eq!(plain.settings.trusted_registries, ["docker.io"]);

    assert_eq!(config.file(None), plain);
    let windows = config.file(Some(Path::new("tools/Dockerfile.windows")));
    assert_eq!(windows.platforms, [Platform::parse("windows/amd64").unwrap()]);
    assert_eq!((windows.build_args["A"].as_str(), windows.build_args["B"].as_str()), ("1", "3"));
    assert_eq!(level(&windows, "DL3006"), Some(Level::On));
    assert_eq!(level(&windows, "DL3007"), Some(Level::At(Severity::Warning)));
    assert!(config.file(Some(Path::new("a/vendor/b/Dockerfile"))).ignored);
}

#[test]
fn nothing_changes_nothing() {
    let file = parse("").file(Some(Path::new("Dockerfile")));
    assert_eq!(file, FileConfig::default());
    assert_eq!(file.settings, Settings::default());
    let hadolint = |text| Config::parse(Path::new(".hadolint.yaml"), text).unwrap().file(None);
    for text in ["", "---\n", "ignored:\n", "no-color: true\nformat: json\n"] {
        assert_eq!(hadolint(text), FileConfig::default(), "{text:?}");
    }
}

#[test]
fn errors_have_a_place_and_a_hint() {
    let errors = [
        "platfroms = []",
        "a = 1",
        "\n[rules]\nDL3006 = \"of\"",
        "[rules]\n  platform-arg-defualt = \"off\"",
        "rules = { é = \"off\", x = \"off\" }",
        "platforms = [\n  \"linux/amd64\",\n  \"linux/a/b/c\",\n]",
        "platforms = \"linux/amd64\"",
        "ignore = [\"a[\"]",
        "severity = \"warn\"",
        "labels = { a = \"date\" }",
        "[[files]]\nplatforms = []",
        "[[files]]\npaths = []\nignore = []",
        "rules = {",
        "a = 1\na = 2",
    ];
    let all = errors.map(|text| error("rbx.toml", text)).join("\n");
    insta::assert_snapshot!(all, @r#"
    unknown key "platfroms": rbx.toml:1:1
    did you mean "platforms"?
    unknown key "a": rbx.toml:1:1
    there are platforms, build-args, ignore, severity, inline-ignores, rules, trusted-registries, labels, strict-labels, files
    unknown value "of": rbx.toml:3:10
    did you mean "off"?
    no rule "platform-arg-defualt": rbx.toml:2:3
    did you mean "platform-arg-default"?
    invalid unquoted key, expected letters, numbers, `-`, `_`: rbx.toml:1:11

    "linux/a/b/c": cannot parse platform specifier: invalid argument: rbx.toml:1:13

    invalid type: string "linux/amd64", expected a sequence: rbx.toml:1:13

    unclosed character class; missing ']': "a[" is no pattern: rbx.toml:1:10

    unknown value "warn": rbx.toml:1:12
    there are error, warning, info, style
    unknown value "date": rbx.toml:1:16
    there are text, url, rfc3339, spdx, hash, semver, email
    missing key "paths": rbx.toml:1:1

    unknown key "ignore": rbx.toml:3:1
    there are paths, platforms, build-args, rules
    unclosed inline table, expected `}`: rbx.toml:1:10

    duplicate key: rbx.toml:2:1
    "#);
}

#[test]
fn what_hadolint_is_told_is_taken() {
    let text = "
ignored:
  - DL3007
  - DL3008
  - SC2086
override:
  warning: [DL3006, DL3007]
  style:
    - DL9999
failure-threshold: info
trustedRegistries: [docker.io, '*.example.com']
label-schema:
  version: semver
  author: ''
strict-labels: true
disable-ignore-pragma: true
format: tty
";
    let file = Config::parse(Path::new("/a/.hadolint.yaml"), text).unwrap().file(None);
    assert_eq!(level(&file, "DL3006"), Some(Level::At(Severity::Warning)));
    assert_eq!(level(&file, "DL3007"), Some(Level::Off), "ignored and overridden");
    assert_eq!(file.severity, Some(Severity::Info));
    assert_eq!(file.settings.trusted_registries, ["docker.io", "*.example.com"]);
    assert_eq!(file.settings.labels["author"], crate::LabelKind::Text);
    assert!(file.settings.strict_labels && !file.settings.inline_ignores);
}

#[test]
fn what_is_wrong_with_the_file_of_hadolint_has_a_place() {
    let errors = ["ignored: DL3006\n", "label-schema:\n  a: date\n", "a: [\n"];
    let all = errors.map(|text| error(".hadolint.yaml", text)).join("\n");
    insta::assert_snapshot!(all, @r#"
    expected sequence start: .hadolint.yaml:1:10

    unknown value "date": .hadolint.yaml:2:6

    unclosed bracket '[': .hadolint.yaml:1:4
    "#);
}

#[test]
fn the_nearest_file_is_found() {
    let find = |directory: &str, there: &[&str]| {
        let there: BTreeSet<&Path> = there.iter().map(Path::new).collect();
        Config::find(Path::new(directory), |path| there.contains(path)).map(|path| path.display().to_string())
    };
    let found = |path: &str| Some(path.to_owned());
    assert_eq!(find("/a/b/c", &["/a/rbx.toml", "/a/b/rbx.toml"]), found("/a/b/rbx.toml"));
    assert_eq!(find("/a/b/c", &["/a/.git", "/a/rbx.toml", "/rbx.toml"]), found("/a/rbx.toml"));
    assert_eq!(find("/a/b/c", &["/a/b/.git", "/a/rbx.toml"]), None, "that is another repository");
    assert_eq!(find("/a/b/c", &["/a/b/c/.git", "/a/b/c/rbx.toml"]), found("/a/b/c/rbx.toml"));
    let both = ["/a/rbx.toml", "/a/b/.hadolint.yaml"];
    assert_eq!(find("/a/b", &both), found("/a/rbx.toml"), "ours counts more");
    assert_eq!(find("/a/b", &["/a/.hadolint.yml", "/.hadolint.yaml"]), found("/a/.hadolint.yml"));
    assert_eq!(find("/", &[]), None);
}

#[test]
fn the_example_of_the_readme_is_right() {
    let readme = include_str!("../../../../README.md");
    let (_, example) = readme.split_once("stands in `rbx.toml`").unwrap();
    let (_, example) = example.split_once("```toml\n").unwrap();
    let config = parse(example.split("```").next().unwrap());
    let file = config.file(Some(Path::new("windows/Dockerfile")));
    assert_eq!(file.platforms, [Platform::parse("windows/amd64").unwrap()]);
    assert_eq!(level(&file, "DL3002"), Some(Level::Off));
    assert!(config.file(Some(Path::new("a/b.test.Dockerfile"))).ignored);
}

/// `UPDATE_SCHEMA=1 cargo test -p rbx-lint schema` writes it.
#[test]
fn the_schema_is_that_of_these_rules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rbx.schema.json");
    let schema = Config::schema();
    if option_env!("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == schema, "{} is out of date: run this test with UPDATE_SCHEMA=1", path.display());
}

#[test]
fn names_of_rules_are_in_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&Config::schema()).unwrap();
    let rules = &schema["$defs"]["Rules"]["properties"];
    for name in ["hadolint", "platform-arg-default", "DL3007", "DL3025", "JSONArgsRecommended"] {
        assert_eq!(rules[name]["$ref"], "#/$defs/LevelName", "{name}");
    }
    assert_eq!(schema["properties"]["rules"]["$ref"], "#/$defs/Rules");
    assert_eq!(schema["$defs"]["Table"]["properties"]["rules"]["$ref"], "#/$defs/Rules");
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["$defs"].get("RuleName").is_none());
}
