//! `--call`.

use super::GrammarError;
use super::fields::fields;
use super::number::parse_bool;

/// One `--call` other than `build`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// `lint`, `outline`, `targets` or another subrequest of the frontend.
    pub name: String,
    /// `text`, `json` or another form the answer is printed in.
    pub format: Option<String>,
    /// The program succeeds whatever the answer is.
    pub ignore_status: bool,
}

impl Call {
    /// Reads `name[,format=…][,ignorestatus=…]`. `None` stands for an ordinary build; `check` is `lint`.
    pub fn parse(text: &str) -> Result<Option<Self>, GrammarError> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut call = Self::default();
        for field in fields(text)? {
            match field.split_once('=') {
                Some(("format", format)) => {
                    call.format = Some(format.to_owned()).filter(|format| !format.is_empty());
                }
                Some(("ignorestatus", value)) => {
                    call.ignore_status = parse_bool(value).map_err(|source| {
                        GrammarError::CallIgnoreStatus { value: value.to_owned(), source }
                    })?;
                }
                Some(_) => return Err(GrammarError::CallField(field)),
                None if call.name.is_empty() => call.name = field,
                None => return Err(GrammarError::Call(text.to_owned())),
            }
        }
        if call.name == "check" {
            "lint".clone_into(&mut call.name);
        }
        Ok(Some(call).filter(|call| call.name != "build"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_calls() {
        assert_eq!(Call::parse(""), Ok(None));
        assert_eq!(Call::parse("build"), Ok(None));
        let call = |name: &str| Call { name: name.to_owned(), ..Call::default() };
        assert_eq!(Call::parse("check"), Ok(Some(call("lint"))));
        assert_eq!(Call::parse("outline"), Ok(Some(call("outline"))));
        assert_eq!(
            Call::parse("format=json,targets,ignorestatus=true"),
            Ok(Some(Call { format: Some("json".to_owned()), ignore_status: true, ..call("targets") }))
        );
        for (text, message) in [
            ("lint,outline", "invalid print value: lint,outline"),
            ("lint,level=1", "invalid print field: level=1"),
            (
                "lint,ignorestatus=x",
                r#"invalid ignorestatus print value: x: strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
        ] {
            assert_eq!(Call::parse(text).unwrap_err().to_string(), message);
        }
    }
}
