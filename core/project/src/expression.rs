//! Expressions in workflows, as far as what they mean is written in the workflow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Characters that a text may have after its expressions were put in.
const LONGEST: usize = 64 << 10;

/// What expressions of a step can name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// `env`
    pub(crate) env: &'a BTreeMap<String, String>,
    /// `matrix`
    pub(crate) matrix: &'a Map<String, Value>,
    /// Defaults of `inputs`.
    pub(crate) inputs: &'a BTreeMap<String, String>,
}

impl Names<'_> {
    /// A text with what its expressions mean; `None` where the workflow alone does not tell.
    pub(crate) fn resolve(&self, text: &str) -> Option<String> {
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (expression, after) = after.split_once("}}")?;
            resolved.push_str(before);
            resolved.push_str(&self.value(expression)?);
            if resolved.len() > LONGEST {
                return None;
            }
            rest = after;
        }
        resolved.push_str(rest);
        Some(resolved)
    }

    /// The first of several alternatives that is known and not empty.
    fn value(&self, expression: &str) -> Option<String> {
        let mut values = expression.split("||").map(|part| self.atom(part.trim()));
        values.find_map(|value| value.filter(|value| !value.is_empty()))
    }

    fn atom(&self, text: &str) -> Option<String> {
        if let Some(literal) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            return (!literal.contains('\'')).then(|| literal.to_owned());
        }
        let (context, path) = text.split_once('.')?;
        match context {
            "github" if path == "workspace" => Some(".".to_owned()),
            "env" => self.env.get(path).cloned(),
            "inputs" => self.inputs.get(path).cloned(),
            "matrix" => {
                let mut names = path.split('.');
                let first = self.matrix.get(names.next()?)?;
                names.try_fold(first, |value, name| value.get(name)).and_then(scalar)
            }
            _ => None,
        }
    }
}

/// A scalar as a text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
