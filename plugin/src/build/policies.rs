//! `--policy`: files in Rego, which only buildx evaluates.

use rbx_request::{BuildRequest, DockerfileSource, fields};

use super::results::{is_false, is_true};
use crate::errors::CliError;

/// What is said of every policy.
const INSTEAD: &str = "--policy disabled=true builds without policies";

/// Reads the flags. Policies cannot be evaluated here, and a build that does without them has to say so.
pub(crate) fn check(flags: &[String]) -> Result<bool, CliError> {
    let (mut disabled, mut other) = (false, false);
    let mut file = None;
    for flag in flags {
        let mut settings = false;
        for field in fields(flag).map_err(|error| CliError::new(error.to_string()))? {
            let invalid = || CliError::new(format!("invalid value {field}"));
            let (key, value) = field.split_once('=').ok_or_else(invalid)?;
            match key.to_lowercase().trim() {
                "filename" if !value.is_empty() => file = Some(value.to_owned()),
                "disabled" if is_true(value) => disabled = true,
                "reset" | "disabled" if is_false(value) => {}
                "reset" | "strict" if is_true(value) || is_false(value) => settings = true,
                "log-level" if !value.is_empty() => settings = true,
                _ => return Err(invalid()),
            }
        }
        other |= settings;
    }
    if disabled && (other || file.is_some() || flags.len() > 1) {
        return Err(CliError::new("disabled policy cannot be combined with other policy flags"));
    }
    match file {
        Some(file) => Err(unsupported(&file)),
        None => Ok(disabled),
    }
}

/// Refuses a Dockerfile that has a policy beside it, which buildx would heed.
pub(crate) fn check_beside(request: &BuildRequest) -> Result<(), CliError> {
    let DockerfileSource::Path(path) = &request.dockerfile else { return Ok(()) };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let policy = path.with_file_name(format!("{name}.rego"));
    if policy.exists() { Err(unsupported(&policy.display().to_string())) } else { Ok(()) }
}

fn unsupported(file: &str) -> CliError {
    CliError::new(format!("policies in Rego cannot be evaluated: {file}")).hint(INSTEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(flags: &[&str]) -> Result<bool, String> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        check(&flags).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_policy_is_refused_unless_it_is_disabled() {
        assert_eq!(checked(&[]), Ok(false));
        assert_eq!(checked(&["disabled=true"]), Ok(true));
        assert_eq!(checked(&["disabled=0", "strict=true,log-level=debug"]), Ok(false));
        let combined = "disabled policy cannot be combined with other policy flags";
        for flags in
            [&["disabled=1,strict=true"][..], &["disabled=1", "strict=true"], &["disabled=1,filename=a"]]
        {
            assert_eq!(checked(flags).unwrap_err(), combined, "{flags:?}");
        }
        assert_eq!(
            checked(&["filename=a.rego"]).unwrap_err(),
            "policies in Rego cannot be evaluated: a.rego"
        );
        for (flag, field) in
            [("a", "a"), ("filename=", "filename="), ("strict=x", "strict=x"), ("a=b", "a=b")]
        {
            assert_eq!(checked(&[flag]).unwrap_err(), format!("invalid value {field}"));
        }
    }

    #[test]
    fn a_policy_beside_the_dockerfile_is_not_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("my.Dockerfile");
        let request =
            BuildRequest { dockerfile: DockerfileSource::Path(path.clone()), ..BuildRequest::default() };
        assert!(check_beside(&request).is_ok());
        std::fs::write(directory.path().join("my.Dockerfile.rego"), "").unwrap();
        assert!(check_beside(&request).unwrap_err().message().ends_with("my.Dockerfile.rego"));
    }
}
