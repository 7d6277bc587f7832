//! The templates of `--format`: Go's `text/template`, with the functions that Docker's programs add.
//!
//! There is text, fields, pipelines, parentheses, literals, `if`, `with`, `range`, comments, `{{-` and `-}}`. There
//! are no variables and no templates in templates; whoever writes one is told.

mod parse;
mod run;

use serde_json::Value;

use crate::errors::CliError;
use crate::table;
use parse::Node;

/// A template that was read.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Reads a template; an error is its message.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse::parse(text).map(|nodes| Self { nodes })
    }

    /// Writes the template for a value, whose type an error calls `name`.
    pub(crate) fn run(&self, value: &Value, name: &str) -> Result<String, String> {
        run::run(&self.nodes, value, run::Functions::All, name)
    }

    /// The same, where `{{json .}}` is another value.
    pub(crate) fn run_as(&self, value: &Value, json: &Value, name: &str) -> Result<String, String> {
        run::run_as(&self.nodes, value, json, name)
    }

    /// Writes the template for the titles of columns, which most functions leave as they are.
    pub(crate) fn run_header(&self, titles: &Value) -> Result<String, String> {
        run::run(&self.nodes, titles, run::Functions::Header, "header")
    }
}

/// How a list is written: `--format` with a template for each row, after the word `table` if rows have titles and
/// columns.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// What a row is written by.
    pub(crate) template: Template,
    /// Whether rows have titles and columns.
    pub(crate) table: bool,
}

impl Listing {
    /// Reads a format.
    pub(crate) fn parse(format: &str) -> Result<Self, CliError> {
        let (body, table) = match format.strip_prefix("table") {
            Some(body) => (body, true),
            None => (format, false),
        };
        let body = body.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { template: Template::parse(&body).map_err(|error| refused(&error))?, table })
    }

    /// Puts rows, a line each, below their `titles`, if this is a table.
    pub(crate) fn lay_out(&self, rows: String, titles: &Value) -> Result<String, CliError> {
        if !self.table {
            return Ok(rows);
        }
        let titles = self.template.run_header(titles).map_err(|error| refused(&error))?;
        Ok(table::spaces(&format!("{titles}\n{rows}")))
    }
}

/// What is said of a template that cannot be read or written.
pub(crate) fn refused(error: &str) -> CliError {
    CliError::new(format!("template parsing error: {error}"))
}

/// JSON as Go writes it for objects: without spaces, and with letters escaped that mean something in HTML.
pub(crate) fn go_json(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(template: &str) -> String {
        let value = json!({
            "ID": "abc",
            "Description": "a <b> & c",
            "List": ["x", "y"],
            "None": null,
            "Count": 3,
            "Yes": true,
            "No": false,
        });
        match Template::parse(template).and_then(|template| template.run(&value, "*du")) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn templates_are_what_they_are_in_go() {
        let table = [
            ("plain", "plain"),
            ("{{.ID}}: {{ .Count }}", "abc: 3"),
            ("a {{- .ID -}} b", "aabcb"),
            ("a{{/* nothing */}}b", "ab"),
            ("a {{- /* nothing */ -}} b", "ab"),
            ("{{json .ID}} {{json .List}} {{json .None}}", "\"abc\" [\"x\",\"y\"] null"),
            ("{{json .Description}}", "\"a <b> & c\""),
            (
                "{{json .}}",
                "{\"Count\":3,\"Description\":\"a \\u003cb\\u003e \\u0026 c\",\"ID\":\"abc\",\"List\":[\"x\",\"y\"],\
                 \"No\":false,\"None\":null,\"Yes\":true}",
            ),
            ("{{.List}}{{.None}}{{.Yes}}", "[x y][]true"),
            ("{{upper .ID}}{{.ID | upper | lower}}{{title .ID}}", "ABCabcAbc"),
            ("{{join .List \", \"}}", "x, y"),
            ("{{index (split .ID \"b\") 1}}", "c"),
            ("{{pad .ID 1 2}}|{{truncate .ID 2}}|{{truncate .ID 9}}", " abc  |ab|abc"),
            ("{{if .No}}a{{else if .Yes}}b{{else}}c{{end}}", "b"),
            ("{{if .None}}a{{else}}c{{end}}{{if and .Yes .ID}}d{{end}}", "cd"),
            (
                "{{range .List}}<{{.}}{{$.ID}}>{{else}}none{{end}}{{range .None}}{{else}}none{{end}}",
                "<xabc><yabc>none",
            ),
            ("{{with .ID}}{{.}}{{end}}{{with .None}}{{.}}{{else}}e{{end}}", "abce"),
            ("{{len .List}}{{len .ID}}{{not .No}}", "23true"),
            ("{{if eq .ID \"x\" \"abc\"}}a{{end}}{{if and (gt .Count 2) (le .Count 3)}}b{{end}}", "ab"),
            ("{{if ne .ID `x`}}a{{end}}{{if or .No .None}}b{{end}}", "a"),
            ("{{printf \"%s-%5d|%-5s|%q|%v%%\" .ID .Count .ID .ID .List}}", "abc-    3|abc  |\"abc\"|[x y]%"),
            ("{{print .ID .Count 4 \"x\"}}{{println .ID}}", "abc3 4x\u{61}bc\n"),
            ("{{\"a\\n\\\"b\"}}", "a\n\"b"),
        ];
        for (template, wanted) in table {
            assert_eq!(run(template), wanted, "{template}");
        }
    }

    #[test]
    fn errors_say_what_go_says() {
        let table = [
            ("{{.ID", "template: :1: unclosed action"),
            ("a\n{{foo}}", "template: :2: function \"foo\" not defined"),
            ("{{if .ID}}", "template: :1: unexpected EOF"),
            ("{{end}}", "template: :1: unexpected {{end}}"),
            ("{{}}", "template: :1: missing value for command"),
            ("{{.ID | }}", "template: :1: missing value for command"),
            ("{{\"a}}", "template: :1: unterminated quoted string"),
            ("{{/* a}}", "template: :1: unclosed comment"),
            ("{{.Nope}}", "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *du"),
            (
                "{{json}}",
                "template: :1:2: executing \"\" at <json>: wrong number of args for json: want 1 got 0",
            ),
            ("{{$x := 1}}", "template: :1: variables are not supported here"),
            ("{{define \"x\"}}{{end}}", "template: :1: {{define}} is not supported here"),
            (
                "{{index .List 7}}",
                "template: :1:2: executing \"\" at <index>: error calling index: index out of range: 7",
            ),
        ];
        for (template, wanted) in table {
            assert_eq!(run(template), format!("error: {wanted}"), "{template}");
        }
    }

    #[test]
    fn headers_keep_their_titles() {
        let template =
            Template::parse("{{lower .ID}} {{truncate .ID 1}} {{pad .ID 1 0}} {{json .ID}}").unwrap();
        assert_eq!(template.run_header(&json!({"ID": "ID"})).unwrap(), "ID ID  ID ID");
    }

    #[test]
    fn nesting_ends_somewhere() {
        assert!(Template::parse("{{(((.ID)))}}").is_ok());
        let deep = format!("{{{{{}.ID{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(Template::parse(&deep).is_err());
        assert!(Template::parse(&"{{if 1}}".repeat(100_000)).is_err());
    }
}
