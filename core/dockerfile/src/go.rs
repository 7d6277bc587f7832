//! Values as Go's standard library writes and reads them: BuildKit's messages and flags are made of them.

use std::time::Duration;

/// A string as `%q` writes it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => quoted.extend(["\\x", &format!("{:02x}", u32::from(c))]),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                quoted.extend(["\\u", &format!("{:04x}", u32::from(c))]);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A truth value as Go's `strconv.ParseBool` reads it; `None` for what is none.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseUint` of 32 bits: digits only.
pub(crate) fn parse_u32(text: &str, radix: u32) -> Option<u32> {
    if text.starts_with('+') { None } else { u32::from_str_radix(text, radix).ok() }
}

/// `time.ParseDuration`, where a negative duration is smaller than every bound and comes back as `Ok(None)`.
pub(crate) fn parse_duration(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Some(Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    while !rest.is_empty() {
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, tail) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(length);
        let scale: u128 = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quoted(text))),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!("time: unknown unit {} in duration {}", quoted(unit), quoted(text)));
            }
        };
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        // Digits past the 18th are below a nanosecond for every unit.
        let fraction: String = fraction.chars().take(18).collect();
        let fraction_value: u128 =
            if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| invalid())? };
        let power = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(18));
        total = whole
            .checked_mul(scale)
            .and_then(|nanoseconds| nanoseconds.checked_add(fraction_value * scale / power))
            .and_then(|nanoseconds| nanoseconds.checked_add(total))
            .filter(|&nanoseconds| nanoseconds <= u128::from(u64::MAX >> 1))
            .ok_or_else(invalid)?;
        rest = next;
    }
    let nanoseconds = u64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative && nanoseconds > 0 { None } else { Some(Duration::from_nanos(nanoseconds)) })
}

/// A size such as `64m` or `1.5GiB` in bytes, all units binary, as `units.RAMInBytes` reads it.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[number.len()..].to_ascii_lowercase();
    let number = number.strip_suffix(' ').unwrap_or(number);
    let power = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        "k" | "ki" => 1,
        "m" | "mi" => 2,
        "g" | "gi" => 3,
        "t" | "ti" => 4,
        "p" | "pi" => 5,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 1_u128 << (10 * power);
    let whole = whole.parse::<u64>().ok()?;
    let fraction = fraction.get(..fraction.len().min(15))?;
    let part = match fraction {
        "" => 0,
        fraction => fraction.parse::<u128>().ok()? * scale / 10_u128.pow(u32::try_from(fraction.len()).ok()?),
    };
    u64::try_from(u128::from(whole) * scale + part).ok().filter(|&size| i64::try_from(size).is_ok())
}

/// The fields of one CSV record, as `encoding/csv` reads them.
pub(crate) fn csv_fields(text: &str) -> Result<Vec<String>, String> {
    let error = |at: usize, what: &str| Err(format!("parse error on line 1, column {}: {what}", at + 1));
    if text.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut fields = Vec::new();
    let mut position = 0;
    loop {
        let rest = &text[position..];
        if let Some(inner) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut at = 0;
            loop {
                let Some(quote) = inner[at..].find('"') else {
                    return error(text.len() - inner.len() + at, "extraneous or missing \" in quoted-field");
                };
                field.push_str(&inner[at..at + quote]);
                at += quote + 1;
                if !inner[at..].starts_with('"') {
                    break;
                }
                field.push('"');
                at += 1;
            }
            fields.push(field);
            position += 1 + at;
            match text[position..].chars().next() {
                None => return Ok(fields),
                Some(',') => position += 1,
                Some(_) => return error(position - 1, "extraneous or missing \" in quoted-field"),
            }
        } else {
            let length = rest.find(',').unwrap_or(rest.len());
            let field = &rest[..length];
            if let Some(quote) = field.find('"') {
                return error(position + quote, "bare \" in non-quoted-field");
            }
            fields.push(field.to_owned());
            position += length;
            if position == text.len() {
                return Ok(fields);
            }
            position += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!(parse_duration("1m30s"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(parse_duration("1.5h"), Ok(Some(Duration::from_mins(90))));
        assert_eq!(parse_duration("0"), Ok(Some(Duration::ZERO)));
        assert_eq!(parse_duration("-5s"), Ok(None));
        assert_eq!(parse_duration("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(parse_duration("5x").unwrap_err(), "time: unknown unit \"x\" in duration \"5x\"");
        assert_eq!(parse_duration("1..5s").unwrap_err(), "time: missing unit in duration \"1..5s\"");
        assert_eq!(parse_duration(".s").unwrap_err(), "time: invalid duration \".s\"");
        assert_eq!(parse_duration(".5s"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(parse_duration("abc").unwrap_err(), "time: invalid duration \"abc\"");
        assert_eq!(parse_duration("99999999999h").unwrap_err(), "time: invalid duration \"99999999999h\"");
    }

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_size("64m"), Some(64 << 20));
        assert_eq!(parse_size("1.5GiB"), Some(3 << 29));
        assert_eq!(parse_size("12"), Some(12));
        assert_eq!(parse_size("1 kb"), Some(1024));
        assert_eq!(parse_size("-1"), None);
        assert_eq!(parse_size("m"), None);
        assert_eq!(parse_size("99999999p"), None);
    }

    #[test]
    fn reads_csv() {
        assert_eq!(csv_fields("a=1,b").unwrap(), ["a=1", "b"]);
        assert_eq!(csv_fields(r#""a=1,2","b=""x""",c"#).unwrap(), ["a=1,2", "b=\"x\"", "c"]);
        assert_eq!(csv_fields("a,").unwrap(), ["a", ""]);
        assert_eq!(
            csv_fields(r#"a,b"c"#).unwrap_err(),
            "parse error on line 1, column 4: bare \" in non-quoted-field"
        );
        assert_eq!(
            csv_fields(r#""a"#).unwrap_err(),
            "parse error on line 1, column 2: extraneous or missing \" in quoted-field"
        );
        assert_eq!(csv_fields("").unwrap_err(), "EOF");
        assert!(csv_fields(r#""a"b"#).is_err());
    }
}
