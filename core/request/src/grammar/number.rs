//! Numbers and booleans as Go's `strconv` reads them.

/// Why a text is no number or boolean, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("strconv.{function}: parsing {text:?}: {}", if *.out_of_range { "value out of range" } else { "invalid syntax" })]
pub struct NumberError {
    /// The function of `strconv` that says so.
    pub function: &'static str,
    /// The text.
    pub text: String,
    /// It is a number, but too large.
    pub out_of_range: bool,
}

impl NumberError {
    fn syntax(function: &'static str, text: &str) -> Self {
        Self { function, text: text.to_owned(), out_of_range: false }
    }
}

/// A truth value as Go's `strconv.ParseBool` reads it.
///
/// # Errors
///
/// In Go's words, for what is none.
pub fn parse_bool(text: &str) -> Result<bool, NumberError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(NumberError::syntax("ParseBool", text)),
    }
}

pub(super) fn parse_int(text: &str) -> Result<i64, NumberError> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};

    text.parse::<i64>().map_err(|error| NumberError {
        out_of_range: matches!(error.kind(), PosOverflow | NegOverflow),
        ..NumberError::syntax("ParseInt", text)
    })
}

pub(super) fn parse_float(text: &str) -> Result<f64, NumberError> {
    text.parse().map_err(|_| NumberError::syntax("ParseFloat", text))
}
