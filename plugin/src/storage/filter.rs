//! `--filter` of `du` and `prune`: buildx's flags, and the selectors that `BuildKit` reads them as.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;

use super::record::Record;
use crate::units::parse_duration;

/// What records are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Only those not used for this long.
    pub(crate) unused_for: Option<Duration>,
    selectors: Vec<Selector>,
    /// The selectors as daemons read them.
    texts: Vec<String>,
}

#[derive(Debug, Clone)]
struct Selector {
    field: String,
    operator: Operator,
}

#[derive(Debug, Clone)]
enum Operator {
    /// Is so.
    Present,
    Is(String),
    IsNot(String),
    Matches(Regex),
}

/// Fields that are so or not, and have no value.
const FLAGS: [&str; 5] = ["immutable", "inuse", "mutable", "private", "shared"];

/// Reads one `--filter`: a key, which may end in an operator's first letter, and a value.
pub(crate) fn parse_flag(text: &str) -> Result<(String, String), String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, value),
        // They are documented without a value, though buildx itself does not take them so.
        None if FLAGS.contains(&text.trim().to_lowercase().as_str()) => (text, ""),
        None => return Err("bad format of filter (expected name=value)".to_owned()),
    };
    Ok((key.trim().to_lowercase(), value.trim().to_owned()))
}

impl Filter {
    /// Makes a filter of flags. `what` says in errors whose.
    pub(crate) fn new(flags: &[(String, String)], what: &str) -> Result<Self, String> {
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, value) in flags {
            let values = keys.entry(key).or_default();
            if !values.contains(&value.as_str()) {
                values.push(value);
            }
        }
        if keys.contains_key("until") && keys.contains_key("unused-for") {
            return Err(r#"conflicting filters "until" and "unused-for""#.to_owned());
        }
        let mut filter = Self::default();
        let (mut texts, mut sent) = (Vec::new(), Vec::new());
        for (key, values) in keys {
            let [value] = values[..] else { return Err(format!("{key:?} filter expects only one value")) };
            if matches!(key, "until" | "unused-for") {
                let age = parse_duration(value)
                    .map_err(|error| format!("{key:?} filter expects a duration (e.g., '24h'): {error}"))?;
                filter.unused_for = Some(age).filter(|age| !age.is_zero());
                continue;
            }
            let text = if FLAGS.contains(&key) {
                sent.extend(sent_flag(key, value));
                flag(key, value)?
            } else {
                let text = match key {
                    "id" => format!("{key}~={value}"),
                    key if key.ends_with(['!', '~']) => format!("{key}={value}"),
                    key => format!("{key}=={value}"),
                };
                sent.push(text.clone());
                text
            };
            texts.push(text);
        }
        filter.texts = Some(sent.join(",")).filter(|text| !text.is_empty()).into_iter().collect();
        let text = texts.join(",");
        filter.selectors = selectors(&text).map_err(|error| {
            format!("failed to parse {what} filters [{text}]: filters: {error}: invalid argument")
        })?;
        Ok(filter)
    }

    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.selectors.is_empty() && self.unused_for.is_none()
    }

    /// What daemons are sent. They do not know of every flag that it is not so: what they answer is to be looked
    /// through once more.
    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Whether a record is wanted, but for its age.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        self.selectors.iter().all(|selector| selector.matches(record))
    }
}

/// A flag that is so or not, as a selector.
fn flag(key: &str, value: &str) -> Result<String, String> {
    match value {
        "" | "1" | "true" => Ok(key.to_owned()),
        "0" | "false" => Ok(format!("{key}!={NEVER}")),
        _ => Err(format!("invalid value {value:?} for filter {key:?}: expected true or false")),
    }
}

/// The same for daemons, for whom a flag is there or not, and has no value. Nothing that is in use is dropped anyway.
fn sent_flag(key: &str, value: &str) -> Option<String> {
    if !matches!(value, "0" | "false") {
        return Some(key.to_owned());
    }
    let opposite = match key {
        "immutable" => "mutable",
        "mutable" => "immutable",
        "private" => "shared",
        "shared" => "private",
        _ => return None,
    };
    Some(opposite.to_owned())
}

/// The value of a flag that is to be absent.
const NEVER: &str = "true";

impl Selector {
    fn matches(&self, record: &Record) -> bool {
        let flag = |so: bool| so.then(|| "true".to_owned());
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let value = match self.field.as_str() {
            "id" => text(&record.id),
            "parents" => text(&record.parents.join(";")),
            "description" => text(&record.description),
            "type" => text(&record.kind),
            "inuse" => flag(record.in_use),
            "mutable" => flag(record.mutable),
            "immutable" => flag(!record.mutable),
            "shared" => flag(record.shared),
            "private" => flag(!record.shared),
            _ => None,
        };
        match &self.operator {
            Operator::Present => value.is_some(),
            Operator::Is(wanted) => value.as_ref() == Some(wanted),
            Operator::IsNot(other) => value.as_ref() != Some(other),
            Operator::Matches(pattern) => pattern.is_match(value.as_deref().unwrap_or_default()),
        }
    }
}

/// Reads selectors with commas between them, in containerd's grammar.
fn selectors(text: &str) -> Result<Vec<Selector>, String> {
    let mut selectors = Vec::new();
    if text.is_empty() {
        return Ok(selectors);
    }
    let mut scanner = Scanner { text, at: 0 };
    loop {
        let field = scanner.field()?;
        while scanner.eat('.') {
            scanner.field()?;
        }
        let operator = match scanner.peek() {
            None | Some(',') => Operator::Present,
            Some(_) => scanner.operator()?,
        };
        selectors.push(Selector { field, operator });
        match scanner.peek() {
            None => return Ok(selectors),
            Some(',') => scanner.at += 1,
            Some(other) => return Err(scanner.error(scanner.at, &format!("unexpected input: {other}"))),
        }
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn skip_spaces(&mut self) {
        self.take(char::is_whitespace);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn error(&self, at: usize, message: &str) -> String {
        let (before, after) = self.text.split_at(at.min(self.text.len()));
        match after.chars().next() {
            Some(c) => format!("parse error: [{before} >|{c}|< {}]: {message}", &after[c.len_utf8()..]),
            None => format!("parse error: [{}]: {message}", self.text),
        }
    }

    fn field(&mut self) -> Result<String, String> {
        self.skip_spaces();
        let start = self.at;
        if let Some(quote @ ('"' | '/' | '|')) = self.peek() {
            let value = self.quoted(quote)?;
            return if quote == '"' {
                Ok(value)
            } else {
                Err(self.error(start, "invalid quote encountered"))
            };
        }
        match self.take(|c| c.is_ascii_alphanumeric() || c == '_') {
            "" => Err(self.error(start, "expected field or quoted")),
            field => Ok(field.to_owned()),
        }
    }

    fn operator(&mut self) -> Result<Operator, String> {
        self.skip_spaces();
        let start = self.at;
        let operator = self.take(|c| matches!(c, '=' | '!' | '~'));
        if operator.is_empty() {
            return Err(self.error(start, r#"expected an operator ("=="|"!="|"~=")"#));
        }
        if !["==", "!=", "~="].contains(&operator) {
            return Err(self.error(start, &format!("unsupported operator {operator:?}")));
        }
        let value = self.value(operator == "~=")?;
        Ok(match operator {
            "==" => Operator::Is(value),
            "!=" => Operator::IsNot(value),
            _ => Operator::Matches(
                Regex::new(&value).map_err(|_| self.error(start, &format!("invalid regexp {value:?}")))?,
            ),
        })
    }

    fn value(&mut self, any_quote: bool) -> Result<String, String> {
        self.skip_spaces();
        let start = self.at;
        if let Some(quote @ ('"' | '/' | '|')) = self.peek() {
            let value = self.quoted(quote)?;
            let fits = any_quote || quote == '"';
            return if fits { Ok(value) } else { Err(self.error(start, "invalid quote encountered")) };
        }
        // A value does not begin like an operator or a separator.
        match self.peek() {
            Some('.' | '=' | '!' | '~') | None => Err(self.error(start, "expected value or quoted")),
            Some(_) => match self.take(|c| c != ',' && !c.is_whitespace() && !c.is_control()) {
                "" => Err(self.error(start, "expected value or quoted")),
                value => Ok(value.to_owned()),
            },
        }
    }

    /// A value in quotes, with Go's escapes in double ones.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(c) = self.peek().filter(|c| *c != '\n') else {
                return Err(self.error(start, "quoted literal not terminated"));
            };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(value);
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let escaped = self.peek();
            self.at += escaped.map_or(0, char::len_utf8);
            match escaped {
                Some(escaped) if escaped == quote => value.push(escaped),
                Some('\\') if quote == '"' => value.push('\\'),
                Some('n') if quote == '"' => value.push('\n'),
                Some('t') if quote == '"' => value.push('\t'),
                // In other quotes there are patterns, whose escapes are theirs.
                Some(other) if quote != '"' => value.extend(['\\', other]),
                _ => return Err(self.error(start, "illegal escape sequence")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: "abc".to_owned(),
            kind: "exec.cachemount".to_owned(),
            description: "cached mount /c".to_owned(),
            parents: vec!["p".to_owned(), "q".to_owned()],
            uses: 1,
            mutable: true,
            ..Record::default()
        }
    }

    fn filter(flags: &[&str]) -> Result<Filter, String> {
        let flags = flags.iter().map(|flag| parse_flag(flag)).collect::<Result<Vec<_>, _>>()?;
        Filter::new(&flags, "diskusage")
    }

    #[test]
    fn filters_pick_what_those_of_buildkit_do() {
        let table: &[(&[&str], bool)] = &[
            (&[], true),
            (&["id=b"], true),
            (&["ID=b"], true),
            (&["id=^b"], false),
            (&["id~=c$"], true),
            (&["id!=abc"], false),
            (&["id!=a"], true),
            (&["type=exec.cachemount"], true),
            (&["type=regular"], false),
            (&["type!=regular", "id=a"], true),
            (&["type!=regular", "id=x"], false),
            (&["description=cached"], false),
            (&["description~=cached"], true),
            (&["description~=/mount \\//"], true),
            (&["description=\"cached mount /c\""], true),
            (&["parents=p;q"], true),
            (&["parents=p"], false),
            (&["parents~=q"], true),
            (&["mutable"], true),
            (&["immutable"], false),
            (&["mutable=true"], true),
            (&["mutable=false"], false),
            (&["inuse"], false),
            (&["inuse=0", "shared=false", "private=1"], true),
            (&["nothing=x"], false),
            (&["nothing!=x"], true),
            (&["type=exec.cachemount", "type=exec.cachemount"], true),
        ];
        for (flags, wanted) in table {
            assert_eq!(filter(flags).unwrap().matches(&record()), *wanted, "{flags:?}");
        }
        assert_eq!(filter(&["until=24h"]).unwrap().unused_for, Some(Duration::from_hours(24)));
        assert_eq!(filter(&["unused-for=0"]).unwrap().unused_for, None);
        assert!(filter(&["until=0s"]).unwrap().is_empty());
    }

    #[test]
    fn errors_are_those_of_buildkit() {
        let table: &[(&[&str], &str)] = &[
            (&["foo"], "bad format of filter (expected name=value)"),
            (&["until=1h", "unused-for=1h"], "conflicting filters \"until\" and \"unused-for\""),
            (&["until=1h", "until=2h"], "\"until\" filter expects only one value"),
            (&["type=a", "type=b"], "\"type\" filter expects only one value"),
            (&["until=x"], "\"until\" filter expects a duration (e.g., '24h'): time: invalid duration \"x\""),
            (
                &["=x"],
                "failed to parse diskusage filters [==x]: filters: parse error: [ >|=|< =x]: expected field or \
                 quoted: invalid argument",
            ),
            (
                &["type==regular"],
                "failed to parse diskusage filters [type===regular]: filters: parse error: [type >|=|< ==regular]: \
                 unsupported operator \"===\": invalid argument",
            ),
            (
                &["type="],
                "failed to parse diskusage filters [type==]: filters: parse error: [type==]: expected value or \
                 quoted: invalid argument",
            ),
            (
                &["parents~=."],
                "failed to parse diskusage filters [parents~=.]: filters: parse error: [parents~= >|.|< ]: expected \
                 value or quoted: invalid argument",
            ),
            (
                &["description=/"],
                "failed to parse diskusage filters [description==/]: filters: parse error: [description== >|/|< ]: \
                 quoted literal not terminated: invalid argument",
            ),
            (
                &["a-b=c"],
                "failed to parse diskusage filters [a-b==c]: filters: parse error: [a >|-|< b==c]: expected an \
                 operator (\"==\"|\"!=\"|\"~=\"): invalid argument",
            ),
            (&["mutable=x"], "invalid value \"x\" for filter \"mutable\": expected true or false"),
        ];
        for (flags, wanted) in table {
            assert_eq!(filter(flags).map(drop).unwrap_err(), *wanted, "{flags:?}");
        }
        assert!(filter(&["id=["]).is_err());
    }

    #[test]
    fn daemons_are_sent_what_they_understand() {
        let table: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["until=24h"], &[]),
            (&["until=24h", "type=regular"], &["type==regular"]),
            (&["id=b", "type!=regular", "description~=a"], &["description~=a,id~=b,type!=regular"]),
            (&["shared", "mutable=true"], &["mutable,shared"]),
            (&["shared=false", "mutable=0"], &["immutable,private"]),
            (&["private=false", "immutable=false"], &["mutable,shared"]),
            (&["inuse=false"], &[]),
            (&["inuse"], &["inuse"]),
        ];
        for (flags, sent) in table {
            assert_eq!(filter(flags).unwrap().texts(), *sent, "{flags:?}");
        }
    }
}
