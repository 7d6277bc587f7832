//! Comma-separated fields with quotes as in RFC 4180.

use super::GrammarError;

/// Why a text is no list of fields. The messages are those of Go's `encoding/csv`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// There is nothing.
    #[error("EOF")]
    Empty,
    /// A quote inside of a field that does not begin with one.
    #[error("parse error on line 1, column {0}: bare \" in non-quoted field")]
    BareQuote(usize),
    /// A quoted field does not end, or goes on after its end.
    #[error("parse error on line 1, column {0}: extraneous or missing \" in quoted-field")]
    Quote(usize),
}

/// Splits a line at commas. One line break at the end is allowed.
pub fn fields(line: &str) -> Result<Vec<String>, FieldsError> {
    let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(FieldsError::Empty);
    }
    let column = |rest: &str| line.len() - rest.len() + 1;
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = quoted_field(quoted).ok_or_else(|| FieldsError::Quote(line.len() + 1))?;
            if !(after.is_empty() || after.starts_with(',')) {
                return Err(FieldsError::Quote(column(after) - 1));
            }
            (field, after)
        } else {
            let (field, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            if let Some(quote) = field.find('"') {
                return Err(FieldsError::BareQuote(column(rest) + quote));
            }
            (field.to_owned(), after)
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// What stands before the closing quote, and what after it.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, after)),
        }
    }
}

/// Splits fields into keys, as written, and values.
pub(super) fn pairs(fields: &[String]) -> Result<Vec<(&str, &str)>, GrammarError> {
    fields
        .iter()
        .map(|field| field.split_once('=').ok_or_else(|| GrammarError::Value(field.clone())))
        .collect()
}

/// Writes `key=value` fields so that [`fields`] reads them back.
pub(super) fn join<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let fields = pairs.into_iter().map(|(key, value)| {
        let field = format!("{key}={value}");
        if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    });
    fields.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_at_commas() {
        for (line, wanted) in [
            ("a", &["a"][..]),
            ("a,b=c", &["a", "b=c"]),
            ("a,,", &["a", "", ""]),
            (",", &["", ""]),
            (" a , b ", &[" a ", " b "]),
            ("a\r\n", &["a"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#"type=x,"k=a,""b""",z"#, &["type=x", r#"k=a,"b""#, "z"]),
            (r#""""#, &[""]),
            (r#""","#, &["", ""]),
            ("\"a\nb\"", &["a\nb"]),
        ] {
            assert_eq!(fields(line).unwrap(), wanted, "{line}");
        }
    }

    #[test]
    fn rejects_quotes_that_do_not_match() {
        for (line, message) in [
            ("", "EOF"),
            ("\n", "EOF"),
            ("a\"b", "parse error on line 1, column 2: bare \" in non-quoted field"),
            ("a,b=\"c\"", "parse error on line 1, column 5: bare \" in non-quoted field"),
            ("\"a", "parse error on line 1, column 3: extraneous or missing \" in quoted-field"),
            ("\"a\"b,c", "parse error on line 1, column 3: extraneous or missing \" in quoted-field"),
            ("x,\"a\"\"", "parse error on line 1, column 7: extraneous or missing \" in quoted-field"),
        ] {
            assert_eq!(fields(line).unwrap_err().to_string(), message, "{line}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(values in prop::collection::vec("[a,\"= \n]{0,5}", 1..4)) {
            let written = join(values.iter().map(|value| ("k", value.as_str())));
            // A line break at the very end belongs to the line, not to a field.
            prop_assume!(!written.ends_with('\n'));
            let wanted: Vec<String> = values.iter().map(|value| format!("k={value}")).collect();
            prop_assert_eq!(fields(&written), Ok(wanted));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[a,\"é=\r\n]{0,12}") {
            let _ = fields(&text);
        }
    }
}
