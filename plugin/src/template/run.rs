//! Writing templates.

use std::cmp::Ordering;

use serde_json::Value;

use super::go_json;
use super::parse::{Command, FUNCTIONS, Kind, Node, Operand, Pipeline};

/// What functions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Functions {
    All,
    /// Those that change texts leave them as they are.
    Header,
}

struct Run<'a> {
    root: &'a Value,
    /// The root as JSON, if that is something else.
    json: Option<&'a Value>,
    functions: Functions,
    /// What errors call the type of the root.
    name: &'a str,
}

pub(super) fn run(nodes: &[Node], root: &Value, functions: Functions, name: &str) -> Result<String, String> {
    let mut out = String::new();
    Run { root, json: None, functions, name }.nodes(nodes, root, &mut out)?;
    Ok(out)
}

pub(super) fn run_as(nodes: &[Node], root: &Value, json: &Value, name: &str) -> Result<String, String> {
    let mut out = String::new();
    Run { root, json: Some(json), functions: Functions::All, name }.nodes(nodes, root, &mut out)?;
    Ok(out)
}

impl Run<'_> {
    fn nodes(&self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Action(pipeline) => out.push_str(&text(&self.pipeline(pipeline, dot)?)),
                Node::If(condition, yes, no) => {
                    let met = is_true(&self.pipeline(condition, dot)?);
                    self.nodes(if met { yes } else { no }, dot, out)?;
                }
                Node::With(condition, yes, no) => {
                    let value = self.pipeline(condition, dot)?;
                    if is_true(&value) {
                        self.nodes(yes, &value, out)?;
                    } else {
                        self.nodes(no, dot, out)?;
                    }
                }
                Node::Range(list, each, none) => match self.pipeline(list, dot)? {
                    Value::Array(items) if !items.is_empty() => {
                        for item in &items {
                            self.nodes(each, item, out)?;
                        }
                    }
                    Value::Array(_) | Value::Null => self.nodes(none, dot, out)?,
                    other => {
                        let place = list.0[0].0[0].place;
                        let message = format!("range can't iterate over {}", text(&other));
                        return Err(failed(place, "range", &message));
                    }
                },
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipeline.0 {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(&self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        let (first, rest) = command.0.split_first().expect("a command is read with an operand at least");
        let Kind::Function(name) = &first.kind else {
            if let Some(operand) = rest.first().or(piped.is_some().then_some(first)) {
                return Err(failed(operand.place, &shown(first), "can't give argument to non-function"));
            }
            return self.operand(first, dot);
        };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        self.call(name, &arguments).map_err(|message| failed(first.place, name, &message))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let mut value = match &operand.kind {
            Kind::Dot => dot.clone(),
            Kind::Root => self.root.clone(),
            Kind::Text(text) => Value::from(text.as_str()),
            Kind::Number(number) => Value::from(*number),
            Kind::Bool(value) => Value::from(*value),
            Kind::Nil => Value::Null,
            Kind::Function(name) => {
                self.call(name, &[]).map_err(|message| failed(operand.place, name, &message))?
            }
            Kind::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        };
        for field in &operand.fields {
            let kind = if value.is_object() { self.name } else { type_of(&value) };
            value = value.get_mut(field).map(Value::take).ok_or_else(|| {
                let message = format!("can't evaluate field {field} in type {kind}");
                failed(operand.place, &shown(operand), &message)
            })?;
        }
        Ok(value)
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let (_, least, most) = FUNCTIONS
            .iter()
            .find(|(known, ..)| *known == name)
            .expect("other names are not read as functions");
        if !(*least..=*most).contains(&arguments.len()) {
            let want = if most > least { format!("at least {least}") } else { least.to_string() };
            return Err(format!("wrong number of args for {name}: want {want} got {}", arguments.len()));
        }
        let header = self.functions == Functions::Header;
        let failed = |message: String| format!("error calling {name}: {message}");
        Ok(match (name, arguments) {
            ("json" | "split" | "join" | "title" | "lower" | "upper" | "truncate", [value, ..]) if header => {
                value.clone()
            }
            ("json", [value]) => {
                let value = self.json.filter(|_| value == self.root).unwrap_or(value);
                Value::from(if value.is_object() { sorted(value) } else { value.to_string() })
            }
            ("lower", [value]) => Value::from(string(value)?.to_lowercase()),
            ("upper", [value]) => Value::from(string(value)?.to_uppercase()),
            ("title", [value]) => Value::from(title(string(value)?)),
            ("split", [value, separator]) => {
                string(value)?.split(string(separator)?).map(Value::from).collect()
            }
            ("join", [value, separator]) => {
                let items: &[Value] = match value {
                    Value::Array(items) => items,
                    Value::Null => &[],
                    other => return Err(failed(format!("expected slice, got {}", type_of(other)))),
                };
                Value::from(items.iter().map(text).collect::<Vec<_>>().join(string(separator)?))
            }
            ("truncate", [value, length]) => {
                let (value, length) = (string(value)?, count(length)?);
                Value::from(&value[..value.floor_char_boundary(length)])
            }
            ("pad", [value, before, after]) => match string(value)? {
                "" => Value::from(""),
                value => Value::from(format!("{}{value}{}", spaces(before)?, spaces(after)?)),
            },
            ("len", [value]) => Value::from(match value {
                Value::String(text) => text.len(),
                Value::Array(items) => items.len(),
                Value::Object(fields) => fields.len(),
                Value::Null => 0,
                other => return Err(failed(format!("len of type {}", type_of(other)))),
            }),
            ("index", [value, keys @ ..]) => {
                let mut value = value;
                for key in keys {
                    value = match (value, key) {
                        (Value::Object(fields), Value::String(key)) => {
                            fields.get(key).unwrap_or(&Value::Null)
                        }
                        (Value::Array(items), key) => items
                            .get(count(key)?)
                            .ok_or_else(|| failed(format!("index out of range: {key}")))?,
                        (other, _) => {
                            return Err(failed(format!("can't index item of type {}", type_of(other))));
                        }
                    };
                }
                value.clone()
            }
            ("not", [value]) => Value::from(!is_true(value)),
            ("and", values) => values.iter().find(|value| !is_true(value)).or(values.last()).cloned().into(),
            ("or", values) => values.iter().find(|value| is_true(value)).or(values.last()).cloned().into(),
            ("eq", [value, others @ ..]) => Value::from(others.contains(value)),
            ("ne", [a, b]) => Value::from(a != b),
            ("lt", [a, b]) => Value::from(compare(a, b).map_err(failed)?.is_lt()),
            ("le", [a, b]) => Value::from(compare(a, b).map_err(failed)?.is_le()),
            ("gt", [a, b]) => Value::from(compare(a, b).map_err(failed)?.is_gt()),
            ("ge", [a, b]) => Value::from(compare(a, b).map_err(failed)?.is_ge()),
            ("print", values) => Value::from(print(values)),
            ("println", values) => {
                let texts: Vec<String> = values.iter().map(text).collect();
                Value::from(texts.join(" ") + "\n")
            }
            ("printf", [format, values @ ..]) => {
                Value::from(printf(string(format)?, values).map_err(failed)?)
            }
            _ => Value::Null,
        })
    }
}

fn failed((line, column): (usize, usize), part: &str, message: &str) -> String {
    format!("template: :{line}:{column}: executing \"\" at <{part}>: {message}")
}

/// An operand as it was written.
fn shown(operand: &Operand) -> String {
    let start = match &operand.kind {
        Kind::Dot if operand.fields.is_empty() => ".".to_owned(),
        Kind::Dot => String::new(),
        Kind::Root => "$".to_owned(),
        Kind::Text(text) => format!("{text:?}"),
        Kind::Number(number) => number.to_string(),
        Kind::Bool(value) => value.to_string(),
        Kind::Nil => "nil".to_owned(),
        Kind::Function(name) => name.clone(),
        Kind::Pipeline(_) => "(…)".to_owned(),
    };
    operand.fields.iter().fold(start, |shown, field| format!("{shown}.{field}"))
}

/// A value in a text. Lists that are not there are as empty ones.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "[]".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(_) => sorted(value),
        other => other.to_string(),
    }
}

/// An object as JSON, its fields in the order of their names.
fn sorted(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    go_json(&value)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]string",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("wrong type for value; expected string; got {}", type_of(value)))
}

fn count(value: &Value) -> Result<usize, String> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("wrong type for value; expected int; got {}", type_of(value)))
}

/// Spaces to pad with. No terminal is wider than the most.
fn spaces(number: &Value) -> Result<String, String> {
    const MOST: usize = 10_000;
    Ok(" ".repeat(count(number)?.min(MOST)))
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    let order = match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.ok_or_else(|| "incompatible types for comparison".to_owned())
}

/// The first letter of every word in upper case.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if before.is_alphanumeric() || before == '_' || before == '\'' {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        before = c;
    }
    out
}

/// With spaces between two values of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&text(value));
    }
    out
}

/// The verbs `%s`, `%v`, `%d`, `%t`, `%q` and `%%`, with a width.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    const WIDEST: usize = 10_000;
    let (mut out, mut values) = (String::new(), values.iter());
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let left = chars.next_if_eq(&'-').is_some();
        let mut width = 0_usize;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            width = width.saturating_mul(10).saturating_add(digit as usize).min(WIDEST);
            chars.next();
        }
        let verb = chars.next().ok_or("%!(NOVERB)")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("%!{verb}(MISSING)"))?;
        let value = match verb {
            's' | 'v' | 'd' | 't' => text(value),
            'q' => Value::from(text(value)).to_string(),
            _ => return Err(format!("verb %{verb} is not supported here")),
        };
        let padding = " ".repeat(width.saturating_sub(value.chars().count()));
        out.extend(if left { [value, padding] } else { [padding, value] });
    }
    Ok(out)
}
