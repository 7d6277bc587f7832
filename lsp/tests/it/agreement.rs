//! The editor and `check` say the same: the rules asked as `check` asks them, against what the server answers.

use std::fs;
use std::path::{Path, PathBuf};

use rbx_dockerfile::parse;
use rbx_lint::{Facts, Request, Severity, lint, wanted_sources};
use rbx_platform::Platform;
use rbx_project::{Configs, Platforms, Said as Who};
use serde_json::{Value, json};

use crate::client::Client;

/// What is compared of a finding: the rule, the severity, and the lines, counted from 0.
type Said = (String, u64, [u64; 2]);

/// What `check` says of a file for platforms that are configured.
fn of_check(path: &Path, text: &str, platforms: &[&str]) -> Vec<Said> {
    let (file, directory) = (parse(text), path.parent().unwrap());
    let config = Configs::once().of(directory, path.file_name().unwrap().to_str(), None).unwrap();
    let configured: Vec<Platform> = platforms.iter().map(|name| Platform::parse(name).unwrap()).collect();
    let host = Platform::host();
    let who = Who { flag: &[], configured: &configured, projects: None, environment: &[], host: &host };
    let platforms = Platforms::of(&file, &who).list;
    let request = Request {
        build_args: config.build_args,
        settings: config.settings,
        ..Request::new(platforms, Platform::host())
    };
    let context = rbx_facts::context(directory, Some(path), &wanted_sources(&file, &request)).ok();
    let facts = Facts { context, ..Facts::default() };
    let line = |offset| u64::from(file.line_index.line_of(offset)) - 1;
    let said = lint(&file, &request, &facts).into_iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => 1,
            Severity::Warning => 2,
            Severity::Info => 3,
            Severity::Style => 4,
        };
        (finding.name().to_owned(), severity, [finding.span.start, finding.span.end].map(line))
    });
    said.collect()
}

/// What the editor says of a file.
fn of_editor(report: &Value) -> Vec<Said> {
    let said = report["items"].as_array().unwrap().iter().map(|finding| {
        let rule = finding.get("code").map_or("syntax", |code| code.as_str().unwrap());
        let line = |end: &str| finding["range"][end]["line"].as_u64().unwrap();
        (rule.to_owned(), finding["severity"].as_u64().unwrap(), [line("start"), line("end")])
    });
    said.collect()
}

/// Compares what both say of all Dockerfiles of a folder; answers how many files and findings there are.
async fn compare(folder: &Path) -> (usize, usize) {
    let platforms = ["linux/amd64", "linux/arm64"];
    let mut client = Client::connect();
    let folders = json!([{ "uri": format!("file://{}", folder.display()), "name": "x" }]);
    let capabilities = json!({
        "textDocument": { "diagnostic": {}, "publishDiagnostics": {} },
        "workspace": { "diagnostics": { "refreshSupport": true } },
    });
    client
        .initialize_with(json!({
            "capabilities": capabilities,
            "workspaceFolders": folders,
            "initializationOptions": { "platforms": platforms },
        }))
        .await;
    let reports = client.request("workspace/diagnostic", json!({ "previousResultIds": [] })).await;
    let (mut files, mut findings) = (0, 0);
    for report in reports["items"].as_array().unwrap() {
        let path = PathBuf::from(report["uri"].as_str().unwrap().strip_prefix("file://").unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let said = of_editor(report);
        assert_eq!(said, of_check(&path, &text, &platforms), "{}", path.display());
        files += 1;
        findings += said.len();
    }
    (files, findings)
}

#[tokio::test]
async fn the_corpus_is_judged_alike() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let (files, findings) = compare(&corpus.canonicalize().unwrap()).await;
    assert!(files > 100 && findings > 10, "{files} files, {findings} findings");
}

#[tokio::test]
async fn the_cases_of_the_rules_are_judged_alike() {
    let directory = tempfile::tempdir().unwrap();
    // All of them, of every severity.
    fs::create_dir(directory.path().join(".git")).unwrap();
    fs::write(directory.path().join("rbx.toml"), "severity = \"style\"\n").unwrap();
    for rule in rbx_lint::rules() {
        for (number, part) in rule.explanation.split("\n```dockerfile\n").skip(1).enumerate() {
            let text = part.split("\n```\n").next().unwrap();
            let path = directory.path().join(format!("{}-{number}.Dockerfile", rule.name));
            fs::write(path, format!("{text}\n")).unwrap();
        }
    }
    let (files, findings) = compare(directory.path()).await;
    assert!(files > 100 && findings > 100, "{files} files, {findings} findings");
}
