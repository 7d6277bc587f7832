//! A report of tests: each finding is a test that fails, each file without one a test that passes.
//!
//! <https://github.com/testmoapp/junitxml> says which elements and attributes programs read.

use std::fmt::Write as _;

use crate::check::Checked;

/// An XML document.
pub(in crate::check) fn junit(checked: &[Checked]) -> String {
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    let mut suites = String::new();
    for file in checked {
        let name = escape(&file.name);
        let (mut cases, mut count, mut failed, mut broken) = (String::new(), 1, 0, 0);
        match &file.result {
            Ok(done) if done.findings.is_empty() => {
                let _ =
                    writeln!(cases, "    <testcase name=\"check\" classname=\"{name}\" file=\"{name}\"/>");
            }
            Ok(done) => {
                count = done.findings.len();
                failed = count;
                for finding in &done.findings {
                    let place = done.place(finding.span.start);
                    let (rule, severity) = (escape(finding.name()), finding.severity.name());
                    let message = escape(&finding.to_string());
                    let line = place.line;
                    let _ = writeln!(
                        cases,
                        "    <testcase name=\"{rule}:{line}:{column}\" classname=\"{name}\" file=\"{name}\" line=\"{line}\">\n      \
                         <failure type=\"{severity}\" message=\"{message}\">{name}:{line}:{column}: {rule}: {message}</failure>\n    \
                         </testcase>",
                        column = place.column,
                    );
                }
            }
            Err(reason) => {
                broken = 1;
                let _ = writeln!(
                    cases,
                    "    <testcase name=\"check\" classname=\"{name}\" file=\"{name}\">\n      \
                     <error type=\"error\" message=\"{}\"/>\n    </testcase>",
                    escape(reason)
                );
            }
        }
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failed}\" errors=\"{broken}\">\n{cases}  </testsuite>"
        );
        tests += count;
        failures += failed;
        errors += broken;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"docker rbx check\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"{errors}\">\n{suites}</testsuites>\n"
    )
}

/// Text as it may stand in an attribute or an element; characters that XML cannot have are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in rbx_progress::clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::several;
    use super::*;

    #[test]
    fn findings_are_tests_that_fail() {
        insta::assert_snapshot!(junit(&several()), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="docker rbx check" tests="4" failures="2" errors="1">
          <testsuite name="./app/Dockerfile" tests="1" failures="1" errors="0">
            <testcase name="platform-arg-undeclared:2:7" classname="./app/Dockerfile" file="./app/Dockerfile" line="2">
              <failure type="warning" message="RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage">./app/Dockerfile:2:7: platform-arg-undeclared: RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage</failure>
            </testcase>
          </testsuite>
          <testsuite name="a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e" tests="1" failures="1" errors="0">
            <testcase name="platform-arg-default:2:5" classname="a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e" file="a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e" line="2">
              <failure type="warning" message="Default &quot;%,::error::]]&gt;&amp;&lt;&apos;\u{1b}[31m\u{fffe}&quot; of ARG TARGETARCH replaces the automatic value">a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e:2:5: platform-arg-default: Default &quot;%,::error::]]&gt;&amp;&lt;&apos;\u{1b}[31m\u{fffe}&quot; of ARG TARGETARCH replaces the automatic value</failure>
            </testcase>
          </testsuite>
          <testsuite name="fine" tests="1" failures="0" errors="0">
            <testcase name="check" classname="fine" file="fine"/>
          </testsuite>
          <testsuite name="absent" tests="1" failures="0" errors="1">
            <testcase name="check" classname="absent" file="absent">
              <error type="error" message="no such file : failed"/>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
    }
}
