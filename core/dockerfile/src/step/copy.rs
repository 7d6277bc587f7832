//! `COPY` and `ADD`.

use super::{Current, Failure, Runner};
use crate::evaluate::Step as Planned;
use crate::expand::ExpandOptions;
use crate::go;
use crate::heredoc;
use crate::instruction::Files;
use crate::op::{Copy, From, InlineFile, Remote, Source};

impl Runner<'_> {
    pub(super) fn copy(
        &mut self,
        planned: &Planned<'_>,
        current: &Current<'_, '_>,
        labels: &[String],
        files: &Files,
        add: bool,
    ) -> Result<Copy, Failure> {
        let instruction = planned.instruction;
        let Some(destination) = files.destination.as_ref().filter(|_| !files.sources.is_empty()) else {
            return Err(Failure::new(instruction.span, "no destination"));
        };
        let chown = self.flag(current, instruction, "chown")?;
        let chmod = self.flag(current, instruction, "chmod")?;
        let checksum = self.flag(current, instruction, "checksum")?;
        let mut sources = Vec::new();
        let mut inline = Vec::new();
        let mut paths = Vec::new();
        for word in &files.sources {
            if let Some(opening) = heredoc::opening(&word.text) {
                let found = instruction.heredocs.iter().rev().find(|heredoc| heredoc.name == opening.name);
                let mut content = found.map(|heredoc| heredoc.stripped(planned.text)).unwrap_or_default();
                if opening.expand {
                    content = self
                        .expand_with(
                            current,
                            &content,
                            planned.place(word.span),
                            ExpandOptions::heredoc_body(),
                        )
                        .map_err(|error| Failure::new(word.span, error.to_string()))?;
                }
                inline.push(Source::Heredoc(InlineFile { name: opening.name, content }));
            } else {
                let source = Source::Path(self.word(current, word)?);
                sources.push(source);
                paths.push(word);
            }
        }
        // Everything is expanded before anything is checked.
        let destination = self.word(current, destination)?;
        let from = planned.sources.first().cloned().unwrap_or(From::Context);
        if let From::Stage(index) = from
            && index >= current.index
        {
            let flag = instruction.flag_value("from");
            let message = format!(
                "cannot copy from stage {}, it needs to be defined before current stage {}",
                go::quoted(flag.map_or("", |flag| flag.text.as_str())),
                go::quoted(&labels[current.index])
            );
            return Err(Failure::new(flag.map_or(instruction.span, |flag| flag.span), message));
        }
        if let (Some(mode), Some(flag)) = (&chmod, instruction.flag_value("chmod"))
            && !is_mode(mode)
        {
            let message = if mode.starts_with(|c: char| c.is_ascii_digit()) {
                format!(
                    "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"
                )
            } else {
                "invalid syntax".to_owned()
            };
            return Err(Failure::new(flag.span, message));
        }
        if let (Some(_), Some(flag)) = (&checksum, instruction.flag_value("checksum")) {
            match sources.as_slice() {
                [one] if one.remote() == Some(Remote::Http) => {
                    check_digest(checksum.as_deref().unwrap_or_default())
                        .map_err(|message| Failure::new(flag.span, message))?;
                }
                [one] if one.remote().is_some() => {}
                [_] => return Err(Failure::new(flag.span, "checksum requires HTTP(S) or Git sources")),
                _ => return Err(Failure::new(flag.span, "checksum can't be specified for multiple sources")),
            }
        }
        if !add {
            for (source, word) in sources.iter().zip(paths) {
                match source.remote() {
                    Some(Remote::Http) => {
                        return Err(Failure::new(word.span, "source can't be a URL for COPY"));
                    }
                    Some(Remote::Git) => {
                        return Err(Failure::new(word.span, "source can't be a git ref for COPY"));
                    }
                    None => {}
                }
            }
        }
        sources.append(&mut inline);
        let exclude = instruction.flags.iter().filter(|flag| flag.name.text == "exclude");
        Ok(Copy {
            add,
            sources,
            destination,
            from,
            chown,
            chmod,
            link: instruction.is_set("link"),
            parents: instruction.is_set("parents"),
            exclude: exclude.filter_map(|flag| Some(flag.value.as_ref()?.text.clone())).collect(),
            checksum,
            keep_git_dir: instruction.is_set("keep-git-dir"),
            unpack: instruction.flag("unpack").map(|_| instruction.is_set("unpack")),
        })
    }
}

/// Checks a digest in the words of the OCI's library.
fn check_digest(digest: &str) -> Result<(), &'static str> {
    const FORMAT: &str = "invalid checksum digest format";
    let (algorithm, hex) = digest.split_once(':').filter(|(_, hex)| !hex.is_empty()).ok_or(FORMAT)?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => {
            let lower = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            let encoded = |b: u8| b.is_ascii_alphanumeric() || b"=_-".contains(&b);
            let right = algorithm.split(['.', '+', '_', '-']).all(lower) && hex.bytes().all(encoded);
            return Err(if right { "unsupported digest algorithm" } else { FORMAT });
        }
    };
    if hex.len() != length {
        Err("invalid checksum digest length")
    } else if hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err(FORMAT)
    }
}

/// Whether a mode is octal up to 7777 or symbolic, such as `u=rwX,go-w`.
fn is_mode(mode: &str) -> bool {
    if mode.bytes().all(|b| b.is_ascii_digit()) {
        return u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777);
    }
    mode.split(',').all(|clause| {
        let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        actions.starts_with(['+', '-', '=']) && actions.chars().all(|c| "+-=rwxXstugo".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked() {
        let format = Err("invalid checksum digest format");
        let (right, upper) = (format!("sha256:{}", "0a".repeat(32)), format!("sha256:{}", "0A".repeat(32)));
        assert_eq!(check_digest(&right), Ok(()));
        assert_eq!(check_digest(&upper), format);
        assert_eq!(check_digest(&right[1..]), Err("unsupported digest algorithm"));
        assert_eq!(check_digest(&right[..20]), Err("invalid checksum digest length"));
        for wrong in ["", "sha256", "sha256:", ":abc", "SHA256:abc", "a b:c"] {
            assert_eq!(check_digest(wrong), format, "{wrong}");
        }
    }

    #[test]
    fn knows_modes() {
        for mode in ["644", "0755", "7777", "u=rwX,go=rX", "+x", "a-w", "g=u", "u+rw-x", "u=go", "="] {
            assert!(is_mode(mode), "{mode}");
        }
        for mode in ["10000", "999", "rwx", "u", "u+q", "u+x,", "a+ar", ""] {
            assert!(!is_mode(mode), "{mode}");
        }
    }
}
