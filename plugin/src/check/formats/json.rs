//! One JSON object.

use rbx_dockerfile::Span;
use rbx_lint::Finding;
use serde_json::{Value, json};

use super::{Place, names};
use crate::check::{Checked, Done};

/// One JSON object. Lines and columns count from 1, columns in characters; offsets count bytes from 0.
pub(in crate::check) fn json(checked: &[Checked]) -> String {
    let files = checked.iter().map(|file| match &file.result {
        Ok(done) => json!({
            "path": file.name,
            "platforms": names(&file.platforms.list),
            "platformsFrom": file.platforms.source.name(),
            "fixed": done.fixed,
            "findings": done.findings.iter().map(|finding| object(done, finding)).collect::<Vec<Value>>(),
        }),
        Err(reason) => json!({ "path": file.name, "error": reason }),
    });
    let mut text = format!("{:#}", json!({ "files": files.collect::<Vec<Value>>() }));
    text.push('\n');
    text
}

fn object(done: &Done, finding: &Finding) -> Value {
    let fixes = finding.fixes.iter().map(|fix| {
        let edits = fix.edits.iter().map(|edit| with_place(done, edit.span, "text", &edit.text));
        json!({ "title": fix.title, "safe": fix.safe, "edits": edits.collect::<Vec<_>>() })
    });
    let related = finding.related.iter().map(|it| with_place(done, it.span, "message", &it.message));
    json!({
        "rule": finding.name(),
        "severity": finding.severity.name(),
        "message": finding.message,
        "platforms": names(&finding.platforms),
        "fineOn": names(&finding.fine_on),
        "start": position(done, finding.span.start),
        "end": position(done, finding.span.end),
        "related": related.collect::<Vec<_>>(),
        "fixes": fixes.collect::<Vec<_>>(),
    })
}

fn with_place(done: &Done, span: Span, key: &str, value: &str) -> Value {
    json!({ "start": position(done, span.start), "end": position(done, span.end), key: value })
}

fn position(done: &Done, offset: u32) -> Value {
    let Place { line, column } = done.place(offset);
    json!({ "line": line, "column": column, "offset": offset })
}

#[cfg(test)]
mod tests {
    use super::super::tests::several;
    use super::*;

    #[test]
    fn programs_read_it() {
        let mut files = several();
        let read: Value = serde_json::from_str(&json(&files)).unwrap();
        assert_eq!(read["files"][1]["path"], files[1].name.as_str());
        files.drain(1..3);
        insta::assert_snapshot!(json(&files), @r#"
        {
          "files": [
            {
              "path": "./app/Dockerfile",
              "platforms": [
                "linux/amd64",
                "linux/arm64"
              ],
              "platformsFrom": "flag",
              "fixed": 0,
              "findings": [
                {
                  "rule": "platform-arg-undeclared",
                  "severity": "warning",
                  "message": "RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage",
                  "platforms": [
                    "linux/amd64",
                    "linux/arm64"
                  ],
                  "fineOn": [],
                  "start": {
                    "line": 2,
                    "column": 7,
                    "offset": 19
                  },
                  "end": {
                    "line": 2,
                    "column": 18,
                    "offset": 30
                  },
                  "related": [],
                  "fixes": [
                    {
                      "title": "Insert ARG TARGETARCH",
                      "safe": true,
                      "edits": [
                        {
                          "start": {
                            "line": 2,
                            "column": 1,
                            "offset": 12
                          },
                          "end": {
                            "line": 2,
                            "column": 1,
                            "offset": 12
                          },
                          "text": "ARG TARGETARCH\n"
                        }
                      ]
                    }
                  ]
                }
              ]
            },
            {
              "path": "absent",
              "error": "no such file\n: failed"
            }
          ]
        }
        "#);
    }
}
