//! What projects say of how their Dockerfiles are checked.

use std::path::Path;

use rbx_lint::{FileConfig, Request};
use rbx_platform::Platform;
use rbx_project::Configs;

use super::files::Source;
use crate::cli::check::CheckArgs;
use crate::env::Env;
use crate::errors::CliError;

/// A Dockerfile, and what is asked about it.
pub(super) struct Asked {
    pub(super) source: Source,
    pub(super) request: Request,
    /// What it is built for by the configuration.
    pub(super) configured: Vec<Platform>,
}

/// What is asked about each Dockerfile: what the flags say, then what its project says. Those that are not to be
/// checked are left out.
pub(super) fn asked(
    sources: Vec<Source>,
    request: &Request,
    args: &CheckArgs,
    env: &Env,
) -> Result<Vec<Asked>, CliError> {
    let configs = Configs::once();
    let named = args.config.as_ref().map(|path| env.cwd.join(path));
    let mut all = Vec::with_capacity(sources.len());
    for source in sources {
        let (directory, name) = match &source {
            Source::Stdin => (env.cwd.as_path(), None),
            Source::File(path, _) => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                (directory, path.file_name().and_then(|name| name.to_str()))
            }
        };
        let config = configs.of(directory, name, named.as_deref()).map_err(|error| {
            let (reason, hint) = error.split_once('\n').unwrap_or((&error, ""));
            let error = CliError::new(reason);
            if hint.is_empty() { error } else { error.hint(hint) }
        })?;
        if !config.ignored {
            all.push(one(source, request, config, args));
        }
    }
    Ok(all)
}

fn one(source: Source, flags: &Request, config: FileConfig, args: &CheckArgs) -> Asked {
    let mut request = flags.clone();
    request.settings = config.settings;
    request.settings.levels.extend(flags.settings.levels.clone());
    request.settings.threshold = flags.settings.threshold;
    // Who asks for a rule, or for a severity, wants to see it.
    if args.severity.is_none() && args.select.is_empty() && config.severity.is_some() {
        request.settings.threshold = config.severity;
    }
    request.build_args = config.build_args;
    request.build_args.extend(flags.build_args.clone());
    Asked { source, request, configured: config.platforms }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rbx_lint::{Level, Settings, Severity};

    use super::*;
    use crate::cli::parse_line;

    fn merged(line: &[&str], config: FileConfig) -> Request {
        let line: Vec<String> = line.iter().map(|&arg| arg.to_owned()).collect();
        let args: CheckArgs = parse_line(&line, &[]).unwrap();
        let host = Platform::host();
        let mut flags = Request::new(Vec::new(), host);
        flags.settings = super::super::rules::settings(&args).unwrap();
        flags.build_args.insert("A".to_owned(), "flag".to_owned());
        one(Source::Stdin, &flags, config, &args).request
    }

    #[test]
    fn flags_count_more_than_what_a_project_says() {
        let config = || {
            let level = |name: &str, level| (name.to_owned(), level);
            let levels = [level("DL3006", Level::Off), level("DL3007", Level::At(Severity::Error))];
            let build_args = ["A", "B"].map(|name| (name.to_owned(), "file".to_owned()));
            FileConfig {
                settings: Settings {
                    levels: BTreeMap::from(levels),
                    strict_labels: true,
                    ..Settings::default()
                },
                severity: Some(Severity::Info),
                build_args: BTreeMap::from(build_args),
                ..FileConfig::default()
            }
        };
        let request = merged(&["--rule=DL3006=on"], config());
        assert_eq!(request.settings.levels["DL3006"], Level::On);
        assert_eq!(request.settings.levels["DL3007"], Level::At(Severity::Error));
        assert!(request.settings.strict_labels);
        assert_eq!(request.settings.threshold, Some(Severity::Info));
        assert_eq!((request.build_args["A"].as_str(), request.build_args["B"].as_str()), ("flag", "file"));
        let threshold = |line: &[&str]| merged(line, config()).settings.threshold;
        assert_eq!(threshold(&["--severity=error"]), Some(Severity::Error));
        assert_eq!(threshold(&["--select=DL3006"]), Some(Severity::Style));
        assert_eq!(merged(&[], FileConfig::default()).settings.threshold, Some(Severity::Warning));
    }
}
