//! `--output`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::GrammarError;
use super::fields::{fields, join, pairs};
use super::number::parse_bool;
use crate::request::{Output, OutputDestination, OutputKind};

/// One `--output` as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputEntry {
    /// The type: an exporter, or `registry`.
    pub kind: String,
    /// `dest`.
    pub destination: Option<String>,
    /// All other keys, lower-case.
    pub attributes: BTreeMap<String, String>,
}

impl OutputEntry {
    /// Reads a path, `-`, or fields.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let fields = fields(text)?;
        let mut entry = Self { kind: String::new(), destination: None, attributes: BTreeMap::new() };
        if fields == [text] && !text.starts_with("type=") {
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(Self { kind: kind.to_owned(), destination: Some(text.to_owned()), ..entry });
        }
        for (key, value) in pairs(&fields)? {
            match key.to_lowercase().trim() {
                "type" => value.clone_into(&mut entry.kind),
                "dest" => entry.destination = Some(value.to_owned()).filter(|value| !value.is_empty()),
                key => drop(entry.attributes.insert(key.to_owned(), value.to_owned())),
            }
        }
        if entry.kind.is_empty() { Err(GrammarError::OutputType) } else { Ok(entry) }
    }

    /// What a builder is asked for: `registry` is an image that is pushed, and paths are made absolute.
    pub fn resolve(&self, cwd: &Path) -> Result<Output, GrammarError> {
        let mut attributes = self.attributes.clone();
        let kind = match self.kind.as_str() {
            "local" => OutputKind::Local,
            "tar" => OutputKind::Tar,
            "oci" => OutputKind::Oci,
            "docker" => OutputKind::Docker,
            "image" => OutputKind::Image,
            "cacheonly" => OutputKind::CacheOnly,
            "registry" => {
                attributes.insert("push".to_owned(), "true".to_owned());
                // What is only pushed need not be unpacked.
                attributes.entry("unpack".to_owned()).or_insert_with(|| "false".to_owned());
                OutputKind::Image
            }
            other => return Err(GrammarError::Exporter(other.to_owned())),
        };
        let is_tar = || attributes.get("tar").is_none_or(|tar| parse_bool(tar).unwrap_or(true));
        let is_file =
            kind == OutputKind::Tar || matches!(kind, OutputKind::Oci | OutputKind::Docker) && is_tar();
        let destination = match (kind, self.destination.as_deref()) {
            (OutputKind::Image | OutputKind::CacheOnly, _) => None,
            (OutputKind::Docker, None) if is_file => None,
            (_, None | Some("-")) if is_file => Some(OutputDestination::Stdout),
            (_, None) => return Err(GrammarError::DestinationRequired(self.kind.clone())),
            (_, Some("-")) => return Err(GrammarError::DestinationStdout(self.kind.clone())),
            (_, Some(path)) => Some(OutputDestination::Path(cwd.join(path))),
        };
        Ok(Output { kind, destination, attributes })
    }
}

/// The fields, such that [`OutputEntry::parse`] reads them back.
impl fmt::Display for OutputEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = self.destination.as_deref().map(|destination| ("dest", destination));
        let attributes = self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let fields = [("type", self.kind.as_str())].into_iter().chain(destination).chain(attributes);
        f.write_str(&join(fields))
    }
}

impl Output {
    /// Reads and resolves one `--output`.
    pub fn parse(text: &str, cwd: &Path) -> Result<Self, GrammarError> {
        OutputEntry::parse(text)?.resolve(cwd)
    }

    /// Resolves all outputs of a build, of which only one can write to standard output.
    pub fn resolve_all(entries: &[OutputEntry], cwd: &Path) -> Result<Vec<Self>, GrammarError> {
        let outputs: Vec<Self> = entries.iter().map(|entry| entry.resolve(cwd)).collect::<Result<_, _>>()?;
        let stdout =
            outputs.iter().filter(|output| output.destination == Some(OutputDestination::Stdout)).count();
        if stdout > 1 { Err(GrammarError::SeveralStdout) } else { Ok(outputs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, String> {
        let output = Output::parse(text, Path::new("/cwd")).map_err(|error| error.to_string())?;
        let destination = match &output.destination {
            None => "none".to_owned(),
            Some(OutputDestination::Stdout) => "stdout".to_owned(),
            Some(OutputDestination::Path(path)) => path.display().to_string(),
        };
        let mut words = vec![format!("{:?}", output.kind), destination];
        words.extend(output.attributes.iter().map(|(key, value)| format!("{key}={value}")));
        Ok(words.join(" "))
    }

    #[test]
    fn reads_outputs() {
        for (text, wanted) in [
            ("out", "Local /cwd/out"),
            ("/abs/out", "Local /abs/out"),
            ("a=b", "Local /cwd/a=b"),
            ("dest=x", "Local /cwd/dest=x"),
            ("-", "Tar stdout"),
            ("type=local,dest=.", "Local /cwd/."),
            ("type=local,dest=d,Mode =delete", "Local /cwd/d mode=delete"),
            ("TYPE=tar,dest=f.tar", "Tar /cwd/f.tar"),
            ("type=tar", "Tar stdout"),
            ("type=tar,dest=-", "Tar stdout"),
            ("type=tar,tar=false", "Tar stdout tar=false"),
            ("type=oci", "Oci stdout"),
            ("type=oci,dest=", "Oci stdout"),
            ("type=oci,tar=false,dest=d", "Oci /cwd/d tar=false"),
            ("type=oci,tar=maybe,dest=d", "Oci /cwd/d tar=maybe"),
            ("type=docker", "Docker none"),
            ("type=docker,dest=-", "Docker stdout"),
            ("type=docker,dest=i.tar,context=c", "Docker /cwd/i.tar context=c"),
            ("type=image,name=a", "Image none name=a"),
            ("type=image,dest=x", "Image none"),
            ("type=image,tar=false", "Image none tar=false"),
            (r#"type=image,"name=a,b",push=true"#, "Image none name=a,b push=true"),
            ("type=registry", "Image none push=true unpack=false"),
            ("type=registry,push=false,unpack=true", "Image none push=true unpack=true"),
            ("type=cacheonly", "CacheOnly none"),
        ] {
            assert_eq!(resolved(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn rejects_other_outputs() {
        for (text, message) in [
            ("", "EOF"),
            ("a,b", "invalid value a"),
            ("type=local", "dest is required for local exporter"),
            ("type=local,dest=-", "dest cannot be stdout for local exporter"),
            ("type=oci,tar=false", "dest is required for oci exporter"),
            ("type=docker,tar=0,dest=-", "dest cannot be stdout for docker exporter"),
            ("type=docker,tar=0", "dest is required for docker exporter"),
            ("type=", "type is required for output"),
            ("dest=x,name=y", "type is required for output"),
            ("type=floppy", "exporter \"floppy\" could not be found"),
            ("type=local,dest", "invalid value dest"),
            ("type=a\"b", "parse error on line 1, column 7: bare \" in non-quoted field"),
        ] {
            assert_eq!(resolved(text), Err(message.to_owned()), "{text}");
        }
        let entries = [OutputEntry::parse("-").unwrap(), OutputEntry::parse("type=oci").unwrap()];
        let error = Output::resolve_all(&entries, Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "multiple outputs configured to write to stdout");
        assert_eq!(Output::resolve_all(&entries[..1], Path::new("/")).unwrap().len(), 1);
    }

    #[test]
    fn writes_what_it_reads() {
        for (text, wanted) in [
            ("out", "type=local,dest=out"),
            ("-", "type=tar,dest=-"),
            (r#"push=true,type=registry,"name=a,b""#, r#"type=registry,"name=a,b",push=true"#),
        ] {
            let entry = OutputEntry::parse(text).unwrap();
            assert_eq!(entry.to_string(), wanted);
            assert_eq!(OutputEntry::parse(wanted).unwrap(), entry);
        }
    }
}
