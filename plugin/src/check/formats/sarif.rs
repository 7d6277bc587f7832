//! SARIF 2.1.0.
//!
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rbx_dockerfile::Span;
use rbx_lint::{Finding, Fix, Rule, Severity};
use serde_json::{Value, json};

use super::gitlab::Fingerprints;
use super::{names, path};
use crate::check::{Checked, Done};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// What is not written as it is in a path.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A log with one run. Of the rules it has those that found something.
pub(in crate::check) fn sarif(checked: &[Checked]) -> String {
    let mut rules: Vec<Option<&'static Rule>> = Vec::new();
    let mut fingerprints = Fingerprints::default();
    let (mut results, mut notifications) = (Vec::new(), Vec::new());
    for file in checked {
        let location = location(path(&file.name));
        match &file.result {
            Ok(done) => results.extend(done.findings.iter().map(|finding| {
                let index = rules.iter().position(|rule| *rule == finding.rule).unwrap_or_else(|| {
                    rules.push(finding.rule);
                    rules.len() - 1
                });
                let print = fingerprints.of(&[path(&file.name), finding.name(), &finding.to_string()]);
                result(done, finding, index, &location, &print)
            })),
            Err(reason) => notifications.push(json!({
                "level": "error",
                "message": { "text": reason },
                "locations": [{ "physicalLocation": { "artifactLocation": location } }],
            })),
        }
    }
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "docker-rbx",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_iter().map(descriptor).collect::<Vec<Value>>(),
            } },
            "invocations": [{
                "executionSuccessful": notifications.is_empty(),
                "toolExecutionNotifications": notifications,
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

/// What there is to know of a rule; `None` is the language.
fn descriptor(rule: Option<&'static Rule>) -> Value {
    let Some(rule) = rule else {
        let text = "The text makes no sense as a Dockerfile, or none for a platform";
        return json!({ "id": "syntax", "shortDescription": { "text": text } });
    };
    json!({
        "id": rule.name,
        "shortDescription": { "text": rule.summary },
        "help": { "text": rule.explanation, "markdown": rule.explanation },
        "defaultConfiguration": { "enabled": rule.enabled, "level": level(rule.severity) },
        "properties": { "tags": [rule.family.name()], "problem.severity": problem(rule.severity) },
    })
}

fn result(done: &Done, finding: &Finding, rule: usize, location: &Value, fingerprint: &str) -> Value {
    let place = |span| json!({ "artifactLocation": location, "region": region(done, span) });
    let mut result = json!({
        "ruleId": finding.name(),
        "ruleIndex": rule,
        "level": level(finding.severity),
        "message": { "text": finding.to_string() },
        "locations": [{ "physicalLocation": place(finding.span) }],
        "partialFingerprints": { "rbx/v1": fingerprint },
        "properties": { "platforms": names(&finding.platforms), "fineOn": names(&finding.fine_on) },
    });
    if !finding.related.is_empty() {
        let related = finding.related.iter().enumerate().map(|(id, related)| {
            json!({ "id": id, "message": { "text": related.message }, "physicalLocation": place(related.span) })
        });
        result["relatedLocations"] = related.collect();
    }
    if !finding.fixes.is_empty() {
        result["fixes"] = finding.fixes.iter().map(|one| fix(done, one, location)).collect();
    }
    result
}

fn fix(done: &Done, fix: &Fix, location: &Value) -> Value {
    let replacements = fix.edits.iter().map(
        |edit| json!({ "deletedRegion": region(done, edit.span), "insertedContent": { "text": edit.text } }),
    );
    json!({
        "description": { "text": fix.title },
        "artifactChanges": [{
            "artifactLocation": location,
            "replacements": replacements.collect::<Vec<Value>>(),
        }],
    })
}

/// Lines and columns; the end is the place after the last character.
fn region(done: &Done, span: Span) -> Value {
    let (start, end) = done.places(span);
    json!({
        "startLine": start.line,
        "startColumn": start.column,
        "endLine": end.line,
        "endColumn": end.column,
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info | Severity::Style => "note",
    }
}

/// As GitHub's code scanning has it.
fn problem(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info | Severity::Style => "recommendation",
    }
}

/// Where a file is: a relative reference of RFC 3986, from the root of the sources; or a `file` URI.
fn location(path: &str) -> Value {
    let encoded = utf8_percent_encode(path, &RESERVED).to_string();
    if path.starts_with('/') {
        json!({ "uri": format!("file://{encoded}") })
    } else {
        json!({ "uri": encoded, "uriBaseId": "%SRCROOT%" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::several;
    use super::*;

    #[test]
    fn code_scanning_reads_it() {
        let mut log: Value = serde_json::from_str(&sarif(&several())).unwrap();
        // The pages have tests of their own.
        for rule in log["runs"][0]["tool"]["driver"]["rules"].as_array_mut().unwrap() {
            assert!(rule["help"]["markdown"].as_str().unwrap().starts_with("# platform-arg-"));
            rule.as_object_mut().unwrap().remove("help");
        }
        insta::assert_snapshot!(format!("{log:#}"), @r#"
        {
          "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
          "version": "2.1.0",
          "runs": [
            {
              "tool": {
                "driver": {
                  "name": "docker-rbx",
                  "semanticVersion": "0.1.0",
                  "rules": [
                    {
                      "id": "platform-arg-undeclared",
                      "shortDescription": {
                        "text": "RUN reads TARGETARCH or its like in a stage that does not declare it"
                      },
                      "properties": {
                        "tags": [
                          "platform"
                        ],
                        "problem.severity": "warning"
                      },
                      "defaultConfiguration": {
                        "enabled": true,
                        "level": "warning"
                      }
                    },
                    {
                      "id": "platform-arg-default",
                      "shortDescription": {
                        "text": "A default replaces the value that TARGETARCH and its like have by themselves"
                      },
                      "properties": {
                        "tags": [
                          "platform"
                        ],
                        "problem.severity": "warning"
                      },
                      "defaultConfiguration": {
                        "enabled": true,
                        "level": "warning"
                      }
                    }
                  ]
                }
              },
              "invocations": [
                {
                  "executionSuccessful": false,
                  "toolExecutionNotifications": [
                    {
                      "level": "error",
                      "message": {
                        "text": "no such file\n: failed"
                      },
                      "locations": [
                        {
                          "physicalLocation": {
                            "artifactLocation": {
                              "uri": "absent",
                              "uriBaseId": "%SRCROOT%"
                            }
                          }
                        }
                      ]
                    }
                  ]
                }
              ],
              "columnKind": "unicodeCodePoints",
              "results": [
                {
                  "ruleId": "platform-arg-undeclared",
                  "ruleIndex": 0,
                  "level": "warning",
                  "message": {
                    "text": "RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "app/Dockerfile",
                          "uriBaseId": "%SRCROOT%"
                        },
                        "region": {
                          "startLine": 2,
                          "startColumn": 7,
                          "endLine": 2,
                          "endColumn": 18
                        }
                      }
                    }
                  ],
                  "partialFingerprints": {
                    "rbx/v1": "b198010d343a4857d215abcac5f44bd7"
                  },
                  "properties": {
                    "platforms": [
                      "linux/amd64",
                      "linux/arm64"
                    ],
                    "fineOn": []
                  },
                  "fixes": [
                    {
                      "description": {
                        "text": "Insert ARG TARGETARCH"
                      },
                      "artifactChanges": [
                        {
                          "artifactLocation": {
                            "uri": "app/Dockerfile",
                            "uriBaseId": "%SRCROOT%"
                          },
                          "replacements": [
                            {
                              "deletedRegion": {
                                "startLine": 2,
                                "startColumn": 1,
                                "endLine": 2,
                                "endColumn": 1
                              },
                              "insertedContent": {
                                "text": "ARG TARGETARCH\n"
                              }
                            }
                          ]
                        }
                      ]
                    }
                  ]
                },
                {
                  "ruleId": "platform-arg-default",
                  "ruleIndex": 1,
                  "level": "warning",
                  "message": {
                    "text": "Default \"%,::error::]]>&<'\\u{1b}[31m\\u{fffe}\" of ARG TARGETARCH replaces the automatic value"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "a%2Cb%3Ac%25%0A%3A%3Aerror%3A%3Ax%5D%5D%3E%26%3C%22%27%1B%EF%BF%BE/d%20e",
                          "uriBaseId": "%SRCROOT%"
                        },
                        "region": {
                          "startLine": 2,
                          "startColumn": 5,
                          "endLine": 2,
                          "endColumn": 41
                        }
                      }
                    }
                  ],
                  "partialFingerprints": {
                    "rbx/v1": "58f13453a0229bca28a310dfb0114020"
                  },
                  "properties": {
                    "platforms": [
                      "linux/amd64",
                      "linux/arm64"
                    ],
                    "fineOn": []
                  },
                  "fixes": [
                    {
                      "description": {
                        "text": "Remove the default of TARGETARCH"
                      },
                      "artifactChanges": [
                        {
                          "artifactLocation": {
                            "uri": "a%2Cb%3Ac%25%0A%3A%3Aerror%3A%3Ax%5D%5D%3E%26%3C%22%27%1B%EF%BF%BE/d%20e",
                            "uriBaseId": "%SRCROOT%"
                          },
                          "replacements": [
                            {
                              "deletedRegion": {
                                "startLine": 2,
                                "startColumn": 15,
                                "endLine": 2,
                                "endColumn": 41
                              },
                              "insertedContent": {
                                "text": ""
                              }
                            }
                          ]
                        }
                      ]
                    }
                  ]
                }
              ]
            }
          ]
        }
        "#);
    }

    #[test]
    fn places_are_uris() {
        assert_eq!(
            location("a b/é:%#?"),
            json!({ "uri": "a%20b/%C3%A9%3A%25%23%3F", "uriBaseId": "%SRCROOT%" })
        );
        assert_eq!(location("/a b"), json!({ "uri": "file:///a%20b" }));
    }
}
