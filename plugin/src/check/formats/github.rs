//! Workflow commands, of which GitHub makes annotations.
//!
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>

use std::fmt::Write as _;

use rbx_lint::Severity;

use super::path;
use crate::check::Checked;

/// A line for each finding.
pub(in crate::check) fn github(checked: &[Checked]) -> String {
    let mut text = String::new();
    for file in checked {
        let name = property(path(&file.name));
        let done = match &file.result {
            Ok(done) => done,
            Err(reason) => {
                let _ = writeln!(text, "::error file={name},title=check::{}", data(reason));
                continue;
            }
        };
        for finding in &done.findings {
            let command = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info | Severity::Style => "notice",
            };
            let (start, end) = done.places(finding.span);
            let _ = write!(text, "::{command} file={name},line={},endLine={}", start.line, end.line);
            // Columns are those of one line.
            if start.line == end.line {
                let _ = write!(text, ",col={},endColumn={}", start.column, end.column);
            }
            let _ = writeln!(text, ",title={}::{}", property(finding.name()), data(&finding.to_string()));
        }
    }
    text
}

/// What follows `::`.
fn data(text: &str) -> String {
    rbx_progress::clean(text).replace('%', "%25")
}

/// The value of a property.
fn property(text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    rbx_progress::clean(&text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::tests::several;
    use super::*;

    #[test]
    fn each_finding_is_one_line() {
        insta::assert_snapshot!(github(&several()), @r#"
        ::warning file=app/Dockerfile,line=2,endLine=2,col=7,endColumn=18,title=platform-arg-undeclared::RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage
        ::warning file=a%2Cb%3Ac%25%0A%3A%3Aerror%3A%3Ax]]>&<"'￾/d e,line=2,endLine=2,col=5,endColumn=41,title=platform-arg-default::Default "%25,::error::]]>&<'\u{1b}[31m\u{fffe}" of ARG TARGETARCH replaces the automatic value
        ::error file=absent,title=check::no such file : failed
        "#);
    }
}
