//! How a build is shown.

use std::io::{self, Write};
use std::time::Duration;

use rbx_driver::DriverKind;
use rbx_progress::{Colors, Mode, Options, Summary, display};
use rbx_request::EventReceiver;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::builders::Selected;
use crate::cli::build::BuildArgs;
use crate::env::Env;
use crate::errors::CliError;

/// What is shown of a build, and how.
#[derive(Debug, Clone)]
pub(crate) struct Show {
    mode: Mode,
    colors: Colors,
    builder: String,
    header: String,
    log_lines: Option<u16>,
    no_trunc: bool,
    interval: Option<Duration>,
    debug: bool,
}

impl Show {
    /// Reads `--progress`, `--quiet` and the variables about progress.
    pub(crate) fn new(
        args: &BuildArgs,
        env: &Env,
        selected: &Selected,
        debug: bool,
    ) -> Result<Self, CliError> {
        let mode = mode(&args.progress, args.quiet, env)?;
        let (colors, complaints) = Colors::from_settings(env.var("BUILDKIT_COLORS"), env.var("NO_COLOR"));
        for complaint in complaints {
            super::warn(&complaint);
        }
        let (name, driver) = (&selected.builder.name, selected.driver);
        let network = match (driver, args.network.as_str()) {
            (DriverKind::Embedded, "none") => "; RUN steps have no network",
            (DriverKind::Embedded, _) => "; RUN steps have the host's network",
            _ => "",
        };
        let number = |name: &str| env.filled(name).and_then(|value| value.parse::<u16>().ok());
        Ok(Self {
            mode,
            colors,
            builder: format!("{driver}:{name}"),
            header: format!(
                "building with {name:?} instance using {driver} driver ({}{network})",
                selected.why
            ),
            log_lines: number("BUILDKIT_TTY_LOG_LINES").filter(|lines| *lines > 0),
            no_trunc: env.var("PROGRESS_NO_TRUNC") != Some("0"),
            interval: number("TTY_DISPLAY_RATE").map(|rate| Duration::from_millis(u64::from(rate))),
            debug,
        })
    }

    /// Starts to show events; what was seen is known when they end.
    pub(crate) fn start(&self, events: EventReceiver) -> JoinHandle<Summary> {
        let standard = Options::default();
        let options = Options {
            builder: self.builder.clone(),
            header: Some(self.header.clone()),
            colors: self.colors.clone(),
            log_lines: self.log_lines.unwrap_or(standard.log_lines),
            no_trunc: self.no_trunc,
            min_interval: self.interval.unwrap_or(standard.min_interval),
            max_interval: self.interval.unwrap_or(standard.max_interval),
            size: Box::new(|| crossterm::terminal::size().unwrap_or_default()),
            ..standard
        };
        let mode = self.mode;
        // On a thread of its own: a slow terminal holds up nothing but the steps that write to it.
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            runtime.block_on(display(mode, events, &mut io::stderr(), &options))
        })
    }

    fn for_people(&self) -> bool {
        matches!(self.mode, Mode::Plain | Mode::Tty)
    }

    /// Says what was warned about.
    pub(crate) fn warnings(&self, summary: &Summary) {
        if self.for_people() {
            let colors = if self.mode == Mode::Tty { self.colors.clone() } else { Colors::none() };
            let _ = write!(io::stderr(), "{}", summary.warnings_text(self.debug, &colors));
        }
    }

    /// Says a line once all is done.
    pub(crate) fn note(&self, line: &str) {
        if self.for_people() {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

/// Whether the image ID is printed in the end.
pub(crate) fn prints_id(args: &BuildArgs) -> bool {
    args.quiet || args.progress == "quiet"
}

/// How progress is shown: as the flags say, else the variable, else as fits where it goes.
pub(crate) fn mode(progress: &str, quiet: bool, env: &Env) -> Result<Mode, CliError> {
    let invalid = |error: rbx_progress::InvalidMode| CliError::new(error.to_string());
    if quiet && !matches!(progress, "" | "auto" | "quiet" | "none") {
        return Err(CliError::new(format!("progress={progress} and quiet cannot be used together")));
    }
    let mode = match (quiet, progress.parse().map_err(invalid)?) {
        (true, _) => Mode::Quiet,
        (false, Mode::Auto) => env.var("BUILDKIT_PROGRESS").unwrap_or_default().parse().map_err(invalid)?,
        (false, mode) => mode,
    };
    match mode {
        Mode::Auto if env.stderr_is_terminal => Ok(Mode::Tty),
        Mode::Auto => Ok(Mode::Plain),
        Mode::Tty if !env.stderr_is_terminal => {
            Err(CliError::new("failed to get console: provided file is not a console"))
        }
        mode => Ok(mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(progress: &str, quiet: bool, variable: &str, terminal: bool) -> String {
        let mut env = Env::with(&[("BUILDKIT_PROGRESS", variable)]);
        env.stderr_is_terminal = terminal;
        match mode(progress, quiet, &env) {
            Ok(mode) => format!("{mode:?}"),
            Err(error) => {
                let mut text = Vec::new();
                error.report(&mut text).unwrap();
                String::from_utf8(text).unwrap().trim_end().to_owned()
            }
        }
    }

    #[test]
    fn progress_follows_flags_then_the_variable_then_the_terminal() {
        assert_eq!(shown("auto", false, "", true), "Tty");
        assert_eq!(shown("auto", false, "", false), "Plain");
        assert_eq!(shown("auto", false, "rawjson", true), "RawJson");
        assert_eq!(shown("plain", false, "rawjson", true), "Plain");
        assert_eq!(shown("none", false, "", true), "Quiet");
        assert_eq!(shown("auto", true, "plain", true), "Quiet");
        assert_eq!(shown("plain", true, "", true), "ERROR: progress=plain and quiet cannot be used together");
        assert_eq!(shown("fancy", false, "", true), "ERROR: invalid progress mode fancy");
        assert_eq!(shown("auto", false, "fancy", true), "ERROR: invalid progress mode fancy");
        assert_eq!(
            shown("tty", false, "", false),
            "ERROR: failed to get console: provided file is not a console"
        );
    }
}
