//! What a program says, without what is different in every run.

use serde_json::Value;

use crate::corpus::without_wrappings;

/// What was written to standard error.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Lines that are not of the progress.
    said: Vec<String>,
    /// Names of the steps, in the order of their numbers.
    steps: Vec<String>,
}

impl Words {
    pub(super) fn of(log: &str) -> Self {
        let mut words = Self::default();
        for line in log.lines() {
            let line = line.trim_end();
            match step(line) {
                Some(text) => {
                    if is_a_name(text) {
                        words.steps.push(without_digests(text));
                    }
                }
                // Hints are this program's own.
                None if without_colours(line).is_empty() || line.starts_with("Hint: ") => {}
                // What Go's library logs when a session ends; it depends on who is faster.
                None if line.contains(" http2: server") => {}
                None => words.said.push(plain(line)),
            }
        }
        words
    }

    /// Lines that are not of the progress.
    pub(super) fn said(&self) -> &[String] {
        &self.said
    }

    /// The names of steps, sorted: they are begun in any order.
    pub(super) fn steps(&self) -> Vec<String> {
        let mut steps = self.steps.clone();
        steps.sort();
        steps.dedup();
        steps
    }

    /// The last error.
    pub(super) fn error(&self) -> &str {
        self.said.iter().rfind(|line| line.starts_with("ERROR:")).map_or("", String::as_str)
    }
}

/// What follows the number of a step.
fn step(line: &str) -> Option<&str> {
    let (number, text) = line.strip_prefix('#')?.split_once(' ')?;
    // The first line names the builder, each program in words of its own.
    number.parse::<u32>().ok().map(|number| if number == 0 { "" } else { text })
}

/// Whether it is what a step is called, and not how it goes on. A base image may bear the name that another build has
/// for it, which runs at the same time; a local cache has a number.
fn is_a_name(text: &str) -> bool {
    // Who has a token needs none.
    !text.contains("] FROM ")
        && !text.ends_with("] OCI load from client")
        && !text.contains(" local:")
        && !text.starts_with("[auth] ")
        && ["[", "exporting to ", "exporting cache to ", "importing cache manifest from ", "importing to "]
            .iter()
            .any(|beginning| text.starts_with(beginning))
}

/// A line without times, BuildKit's ids, and what it puts before a reason.
fn plain(line: &str) -> String {
    let line = without_colours(line);
    let words = line.split(' ').map(|word| if word.contains("::") { "ID" } else { word });
    let line = without_wrappings(&words.collect::<Vec<_>>().join(" "));
    let (time, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let timed = time.contains('.') && time.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let line = if timed { format!("TIME {rest}") } else { line.clone() };
    without_digests(&line)
}

/// A line without what directs a terminal: buildx shows warnings in colour, wherever they are written to.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// A text without digests.
pub(super) fn without_digests(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_hexdigit()) {
        let length = rest[at..].chars().take_while(char::is_ascii_hexdigit).count();
        let (before, found) = (&rest[..at], &rest[at..at + length]);
        plain.push_str(before);
        plain.push_str(if length == 64 { "DIGEST" } else { found });
        rest = &rest[at + length..];
    }
    plain.push_str(rest);
    plain
}

/// JSON as a line for each value, aside from what is different in every run: times, sizes, what the machine was doing,
/// and what is by digests or sessions.
pub(super) fn lines_of(value: &Value) -> Vec<String> {
    fn walk(place: &str, value: &Value, lines: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let place = format!("{place}.{name}");
                    match name.as_str() {
                        "size"
                        | "buildStartedOn"
                        | "buildFinishedOn"
                        | "buildInvocationID"
                        | "invocationId"
                        | "startedOn"
                        | "finishedOn"
                        | "invocationID"
                        | "org.opencontainers.image.created"
                        | "sysUsage"
                        | "digestMapping"
                        | "definition" => lines.push(place),
                        "buildx.build.ref" => {
                            let text = value.as_str().unwrap_or_default();
                            let builder = text.rsplit_once('/').map_or(text, |(builder, _)| builder);
                            lines.push(format!("{place}: {builder}"));
                        }
                        // They come in any order.
                        "buildx.build.warnings" => {
                            value.as_array().into_iter().flatten().for_each(|one| walk(&place, one, lines));
                        }
                        _ => walk(&place, value, lines),
                    }
                }
            }
            Value::Array(values) => {
                for (number, value) in values.iter().enumerate() {
                    walk(&format!("{place}[{number}]"), value, lines);
                }
            }
            value => lines.push(format!("{place}: {}", without_digests(&value.to_string()))),
        }
    }
    let mut lines = Vec::new();
    walk("", value, &mut lines);
    lines.sort();
    lines
}

/// The last lines.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_in_every_run_is_left_out() {
        let digest = "0123456789abcdef".repeat(4);
        let log = format!(
            "#0 building with \"a\" instance\n#1 [internal] load build definition from Dockerfile\n#1 DONE 0.1s\n\
             #2 [2/2] RUN false\n#2 0.123 text\n\x1b[33m 1 warning\x1b[0m\n------\n > [2/2] RUN false:\n0.123 text\n------\n\
             ERROR: failed to build: failed to solve: of sha256:{digest} ref a::b\n\nHint: none\n"
        );
        let words = Words::of(&log);
        assert_eq!(words.error(), "ERROR: failed to build: of sha256:DIGEST ref ID");
        assert_eq!(words.steps(), ["[2/2] RUN false", "[internal] load build definition from Dockerfile"]);
        assert_eq!(words.said()[0], " 1 warning");
        assert_eq!(words.said()[3], "TIME text");
        assert_eq!(words.said().len(), 6);
    }

    #[test]
    fn values_of_json_are_lines() {
        let value = serde_json::json!({ "a": [{ "size": 1 }, "b"], "buildx.build.ref": "x/y/z" });
        assert_eq!(lines_of(&value), [".a[0].size", ".a[1]: \"b\"", ".buildx.build.ref: x/y"]);
    }
}
