//! `--secret`.

use std::fmt;
use std::path::Path;

use super::fields::{fields, join};
use super::{GrammarError, Lookup};
use crate::request::{Secret, SecretSource};

/// Bytes of a secret, at most.
pub const MAX_SECRET_LEN: usize = 500 * 1024;

/// One `--secret` as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretEntry {
    /// `id`.
    pub id: String,
    /// `src`: a file.
    pub file: Option<String>,
    /// `env`: a variable of the environment. It goes before a file.
    pub env: Option<String>,
}

impl SecretEntry {
    /// Reads fields.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let mut entry = Self::default();
        let mut is_env = false;
        for field in fields(text).map_err(GrammarError::SecretFields)? {
            let (key, value) =
                field.split_once('=').ok_or_else(|| GrammarError::SecretField(field.clone()))?;
            let given = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match key.to_lowercase().as_str() {
                "type" if matches!(value, "file" | "env") => is_env = value == "env",
                "type" => return Err(GrammarError::SecretType(value.to_owned())),
                "id" => value.clone_into(&mut entry.id),
                "source" | "src" => entry.file = given(),
                "env" => entry.env = given(),
                key => return Err(GrammarError::SecretKey { key: key.to_owned(), field: field.clone() }),
            }
        }
        if is_env && entry.env.is_none() {
            entry.env = entry.file.take();
        }
        Ok(entry)
    }

    /// Where the value is. If neither a file nor a variable is named, it is the variable of the id's name, or else
    /// the file of that name. `env` looks a variable up; an unset one is an empty secret.
    pub fn resolve(&self, cwd: &Path, env: Lookup<'_>) -> Result<Secret, GrammarError> {
        if self.id.is_empty() {
            return Err(GrammarError::SecretId);
        }
        let value = |variable: Option<String>| SecretSource::Value(variable.unwrap_or_default().into_bytes());
        let source = match (&self.env, &self.file) {
            (Some(name), _) => value(env(name)),
            (None, Some(file)) => SecretSource::File(cwd.join(file)),
            (None, None) => match env(&self.id) {
                Some(variable) => value(Some(variable)),
                None => SecretSource::File(cwd.join(&self.id)),
            },
        };
        Ok(Secret { id: self.id.clone(), source })
    }
}

/// The fields, such that [`SecretEntry::parse`] reads them back.
impl fmt::Display for SecretEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = Some(self.id.as_str()).filter(|id| !id.is_empty());
        let fields = [("id", id), ("src", self.file.as_deref()), ("env", self.env.as_deref())];
        f.write_str(&join(fields.into_iter().filter_map(|(key, value)| Some((key, value?)))))
    }
}

impl Secret {
    /// Reads and resolves one `--secret`. `env` looks a variable of the environment up.
    pub fn parse(text: &str, cwd: &Path, env: Lookup<'_>) -> Result<Self, GrammarError> {
        SecretEntry::parse(text)?.resolve(cwd, env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Secret, String> {
        let env = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        Secret::parse(text, Path::new("/cwd"), &env).map_err(|error| error.to_string())
    }

    #[test]
    fn finds_the_value() {
        let file = |path: &str| SecretSource::File(path.into());
        let value = |value: &str| SecretSource::Value(value.into());
        for (text, id, source) in [
            ("id=a,src=f", "a", file("/cwd/f")),
            ("ID=a,Source=/f", "a", file("/f")),
            ("id=a,type=file,src=f", "a", file("/cwd/f")),
            ("id=a,env=TOKEN", "a", value("s3cret")),
            ("id=a,type=env,src=TOKEN", "a", value("s3cret")),
            ("id=a,type=env,env=TOKEN,src=f", "a", value("s3cret")),
            ("id=a,env=UNSET", "a", value("")),
            ("id=TOKEN", "TOKEN", value("s3cret")),
            ("id=TOKEN,src=f", "TOKEN", file("/cwd/f")),
            ("id=other", "other", file("/cwd/other")),
            ("id=a,env=,src=f", "a", file("/cwd/f")),
            (r#""id=a,b",src=f"#, "a,b", file("/cwd/f")),
        ] {
            assert_eq!(parse(text), Ok(Secret { id: id.to_owned(), source }), "{text}");
        }
    }

    #[test]
    fn rejects_other_secrets() {
        for (text, message) in [
            ("", "failed to parse csv secret: EOF"),
            (
                "id=\"a\"",
                "failed to parse csv secret: parse error on line 1, column 4: bare \" in non-quoted field",
            ),
            ("token", "invalid field 'token' must be a key=value pair"),
            ("id=a,type=vault", r#"unsupported secret type "vault""#),
            ("id=a,Path=f", "unexpected key 'path' in 'Path=f'"),
            ("src=f", "secret missing ID"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads_and_shows_no_value() {
        let entry = SecretEntry::parse("type=env,src=E,id=a").unwrap();
        assert_eq!(entry.to_string(), "id=a,env=E");
        assert_eq!(SecretEntry::parse("source=f,id=a").unwrap().to_string(), "id=a,src=f");
        assert!(!format!("{:?}", parse("id=TOKEN")).contains("s3cret"));
    }
}
