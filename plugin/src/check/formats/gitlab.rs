//! GitLab's report of code quality.
//!
//! <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>

use std::collections::HashMap;

use rbx_lint::Severity;
use rbx_oci::Digest;
use serde_json::{Value, json};

use super::path;
use crate::check::Checked;

/// A list of findings.
pub(in crate::check) fn gitlab(checked: &[Checked]) -> String {
    let mut fingerprints = Fingerprints::default();
    let mut issues: Vec<Value> = Vec::new();
    for file in checked {
        let name = path(&file.name);
        match &file.result {
            Ok(done) => issues.extend(done.findings.iter().map(|finding| {
                let (start, end) = done.places(finding.span);
                let description = finding.to_string();
                json!({
                    "description": description,
                    "check_name": finding.name(),
                    "fingerprint": fingerprints.of(&[name, finding.name(), &description]),
                    "severity": severity(finding.severity),
                    "location": { "path": name, "lines": { "begin": start.line, "end": end.line } },
                })
            })),
            Err(reason) => issues.push(json!({
                "description": reason,
                "check_name": "check",
                "fingerprint": fingerprints.of(&[name, "check", reason]),
                "severity": "blocker",
                "location": { "path": name, "lines": { "begin": 1 } },
            })),
        }
    }
    let mut text = format!("{:#}", Value::Array(issues));
    text.push('\n');
    text
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "critical",
        Severity::Warning => "major",
        Severity::Info => "minor",
        Severity::Style => "info",
    }
}

/// What findings are known by from one version of a file to the next: not by their lines.
#[derive(Default)]
pub(super) struct Fingerprints(HashMap<String, usize>);

impl Fingerprints {
    /// That of a finding which is this. Two that are the same have different ones.
    pub(super) fn of(&mut self, parts: &[&str]) -> String {
        let whole = parts.join("\0");
        let count = self.0.entry(whole.clone()).or_default();
        *count += 1;
        Digest::sha256_of(format!("{whole}\0{count}").as_bytes()).hex()[..32].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::several;
    use super::*;

    #[test]
    fn it_is_a_list() {
        insta::assert_snapshot!(gitlab(&several()), @r#"
        [
          {
            "description": "RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage",
            "check_name": "platform-arg-undeclared",
            "fingerprint": "b198010d343a4857d215abcac5f44bd7",
            "severity": "major",
            "location": {
              "path": "app/Dockerfile",
              "lines": {
                "begin": 2,
                "end": 2
              }
            }
          },
          {
            "description": "Default \"%,::error::]]>&<'\\u{1b}[31m\\u{fffe}\" of ARG TARGETARCH replaces the automatic value",
            "check_name": "platform-arg-default",
            "fingerprint": "58f13453a0229bca28a310dfb0114020",
            "severity": "major",
            "location": {
              "path": "a,b:c%\n::error::x]]>&<\"'\u001b￾/d e",
              "lines": {
                "begin": 2,
                "end": 2
              }
            }
          },
          {
            "description": "no such file\n: failed",
            "check_name": "check",
            "fingerprint": "f6db67921bd199e967b0a3e7624ee9f4",
            "severity": "blocker",
            "location": {
              "path": "absent",
              "lines": {
                "begin": 1
              }
            }
          }
        ]
        "#);
    }

    #[test]
    fn fingerprints_differ_and_stay() {
        let mut one = Fingerprints::default();
        let first = one.of(&["a", "b"]);
        assert_ne!(one.of(&["a", "b"]), first);
        assert_ne!(one.of(&["ab", ""]), first);
        assert_eq!(Fingerprints::default().of(&["a", "b"]), first);
    }
}
