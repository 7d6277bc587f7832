//! A report of tests: each finding is a test that fails, each file without one a test that passes.
//!
//! <https://github.com/testmoapp/junitxml> says which elements and attributes programs read.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::check::{Checked, Done};
use crate::errors::CliError;

/// An XML document.
pub(in crate::check) fn junit(checked: &[Checked]) -> Result<String, CliError> {
    let mut report = Report::new("docker rbx check");
    for file in checked {
        let name = clean(&file.name);
        let cases = match &file.result {
            Ok(done) if done.findings.is_empty() => {
                vec![case("check".to_owned(), &name, TestCaseStatus::success())]
            }
            Ok(done) => findings(done, &name),
            Err(reason) => {
                let mut broken = TestCaseStatus::non_success(NonSuccessKind::Error);
                broken.set_type("error").set_message(clean(reason));
                vec![case("check".to_owned(), &name, broken)]
            }
        };
        let mut suite = TestSuite::new(&name);
        suite.add_test_cases(cases);
        report.add_test_suite(suite);
    }
    report.to_string().map_err(|error| CliError::new(format!("failed to write JUnit's XML: {error}")))
}

fn findings(done: &Done, name: &str) -> Vec<TestCase> {
    let findings = done.findings.iter().map(|finding| {
        let place = done.place(finding.span.start);
        let (rule, message) = (finding.name(), clean(&finding.to_string()));
        let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
        failed
            .set_type(finding.severity.name())
            .set_message(&message)
            .set_description(format!("{name}:{}:{}: {rule}: {message}", place.line, place.column));
        let mut case = case(format!("{rule}:{}:{}", place.line, place.column), name, failed);
        case.extra.insert("line".into(), place.line.to_string().into());
        case
    });
    findings.collect()
}

fn case(title: String, file: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(title, status);
    case.set_classname(file);
    case.extra.insert("file".into(), file.into());
    case
}

/// Text without what does something to a terminal, and without what XML cannot have.
fn clean(text: &str) -> String {
    rbx_progress::clean(text).replace(['\u{fffe}', '\u{ffff}'], "")
}

#[cfg(test)]
mod tests {
    use super::super::tests::several;
    use super::*;

    #[test]
    fn findings_are_tests_that_fail() {
        insta::assert_snapshot!(junit(&several()).unwrap(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="docker rbx check" tests="4" skipped="0" failures="2" errors="1">
            <testsuite name="./app/Dockerfile" tests="1" skipped="0" errors="0" failures="1">
                <testcase name="platform-arg-undeclared:2:7" classname="./app/Dockerfile" file="./app/Dockerfile" line="2">
                    <failure message="RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage" type="warning">./app/Dockerfile:2:7: platform-arg-undeclared: RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage</failure>
                </testcase>
            </testsuite>
            <testsuite name="a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e" tests="1" skipped="0" errors="0" failures="1">
                <testcase name="platform-arg-default:2:5" classname="a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e" file="a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e" line="2">
                    <failure message="Default &quot;%,::error::]]&gt;&amp;&lt;&apos;\u{1b}[31m\u{fffe}&quot; of ARG TARGETARCH replaces the automatic value" type="warning">a,b:c% ::error::x]]&gt;&amp;&lt;&quot;&apos;/d e:2:5: platform-arg-default: Default &quot;%,::error::]]&gt;&amp;&lt;&apos;\u{1b}[31m\u{fffe}&quot; of ARG TARGETARCH replaces the automatic value</failure>
                </testcase>
            </testsuite>
            <testsuite name="fine" tests="1" skipped="0" errors="0" failures="0">
                <testcase name="check" classname="fine" file="fine"/>
            </testsuite>
            <testsuite name="absent" tests="1" skipped="0" errors="1" failures="0">
                <testcase name="check" classname="absent" file="absent">
                    <error message="no such file : failed" type="error"/>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }
}
