//! What the caller decides: which renderer, its texts, its colours.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which renderer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// [`Tty`](Self::Tty) on a terminal, else [`Plain`](Self::Plain). The caller, who knows what it writes to,
    /// puts one of the two in its place; [`display`](crate::display) takes it for `Plain`.
    #[default]
    Auto,
    /// Numbered lines.
    Plain,
    /// A picture that is redrawn in place.
    Tty,
    /// Nothing (`quiet` and `none`; that `quiet` prints an image ID in the end is the caller's affair).
    Quiet,
    /// One `client.SolveStatus` as JSON per line.
    RawJson,
}

/// The value of `--progress` is not a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid progress mode {0}")]
pub struct InvalidMode(pub String);

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        Ok(match text {
            "" | "auto" => Self::Auto,
            "plain" => Self::Plain,
            "tty" => Self::Tty,
            "quiet" | "none" => Self::Quiet,
            "rawjson" => Self::RawJson,
            other => return Err(InvalidMode(other.to_owned())),
        })
    }
}

/// Texts and measures of the renderers.
pub struct Options {
    /// The word in the first line of `tty`.
    pub title: String,
    /// At the right of the first line of `tty`: `driver:name`.
    pub builder: String,
    /// The first line of `plain`, such as `building with "default" instance using docker driver`.
    pub header: Option<String>,
    /// Colours.
    pub colors: Colors,
    /// Lines of output under a running step of `tty` (`BUILDKIT_TTY_LOG_LINES`).
    pub log_lines: u16,
    /// Names in `plain` are shown whole; else (`PROGRESS_NO_TRUNC=0`) they are cut after 72 bytes.
    pub no_trunc: bool,
    /// The shortest time between two pictures, except for the last (`TTY_DISPLAY_RATE`, milliseconds).
    pub min_interval: Duration,
    /// The longest time between two pictures while nothing happens (`TTY_DISPLAY_RATE`).
    pub max_interval: Duration,
    /// The terminal's columns and rows, asked for each picture; a zero stands for "not known".
    pub size: Box<dyn Fn() -> (u16, u16) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: "Building".to_owned(),
            builder: String::new(),
            header: None,
            colors: Colors::default(),
            log_lines: 6,
            no_trunc: true,
            min_interval: Duration::from_millis(100),
            max_interval: Duration::from_millis(150),
            size: Box::new(|| (0, 0)),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("title", &self.title)
            .field("builder", &self.builder)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Colours of finished lines, as SGR parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colors {
    pub(crate) run: Option<String>,
    pub(crate) cancel: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) warning: Option<String>,
    pub(crate) faint: Option<String>,
}

impl Default for Colors {
    /// BuildKit's: done is blue, cancelled and warnings are yellow, errors are red.
    fn default() -> Self {
        let code = |code: &str| Some(code.to_owned());
        Self { run: code("34"), cancel: code("33"), error: code("31"), warning: code("33"), faint: code("2") }
    }
}

impl Colors {
    /// No colours at all.
    pub fn none() -> Self {
        Self { run: None, cancel: None, error: None, warning: None, faint: None }
    }

    /// The colours that `BUILDKIT_COLORS` (`run=green:error=255,100,0`) and `NO_COLOR` ask for, and a line for
    /// the user about every entry that could not be understood and was passed over.
    pub fn from_settings(buildkit_colors: Option<&str>, no_color: Option<&str>) -> (Self, Vec<String>) {
        if no_color.is_some_and(|value| !value.is_empty()) {
            return (Self::none(), Vec::new());
        }
        let mut colors = Self::default();
        let mut complaints = Vec::new();
        for entry in buildkit_colors.unwrap_or_default().split(':').filter(|entry| !entry.is_empty()) {
            if let Err(complaint) = colors.set(entry) {
                complaints.push(complaint);
            }
        }
        (colors, complaints)
    }

    fn set(&mut self, entry: &str) -> Result<(), String> {
        let entry = entry.trim_matches('"');
        let Some((key, value)) = entry.split_once('=').filter(|(_, value)| !value.contains('=')) else {
            return Err(format!("could not parse BUILDKIT_COLORS component, expected name=color: {entry}"));
        };
        let code = color_code(&value.to_ascii_lowercase()).ok_or_else(|| {
            format!(
                "unknown color value found in BUILDKIT_COLORS, expected a name or red,green,blue: {entry}"
            )
        })?;
        let slot = match key.to_ascii_lowercase().as_str() {
            "run" => &mut self.run,
            "cancel" => &mut self.cancel,
            "error" => &mut self.error,
            "warning" => &mut self.warning,
            _ => {
                return Err(format!(
                    "unknown key found in BUILDKIT_COLORS (expected: run, cancel, error, or warning): {key}"
                ));
            }
        };
        *slot = Some(code);
        Ok(())
    }

    /// `text` in a colour of these.
    pub(crate) fn paint(color: Option<&str>, text: &str) -> String {
        match color {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

fn color_code(value: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    if value == "default" {
        return Some("39".to_owned());
    }
    let (base, name) = value.strip_prefix("light-").map_or((30, value), |name| (90, name));
    if let Some(i) = NAMES.iter().position(|known| *known == name) {
        return Some((base + i).to_string());
    }
    let mut parts = value.split(',').map(|part| part.trim().parse::<u8>().ok());
    let rgb = [parts.next()??, parts.next()??, parts.next()??];
    if parts.next().is_some() {
        return None;
    }
    // The colour cube of 256-colour terminals, six steps a side.
    let [red, green, blue] = rgb.map(|part| u16::from(part) * 6 / 256);
    Some(format!("38;5;{}", 16 + 36 * red + 6 * green + blue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_buildx_names() {
        assert_eq!("rawjson".parse(), Ok(Mode::RawJson));
        assert_eq!("none".parse(), Ok(Mode::Quiet));
        assert_eq!("".parse(), Ok(Mode::Auto));
        let error = "TTY".parse::<Mode>().unwrap_err();
        assert_eq!(error.to_string(), "invalid progress mode TTY");
    }

    #[test]
    fn colors_are_set_one_by_one() {
        let (colors, complaints) =
            Colors::from_settings(Some("run=light-green:Error=255,100,0:cancel=DEFAULT"), None);
        assert!(complaints.is_empty(), "{complaints:?}");
        assert_eq!(colors.run.as_deref(), Some("92"));
        assert_eq!(colors.error.as_deref(), Some("38;5;208"));
        assert_eq!(colors.cancel.as_deref(), Some("39"));
        assert_eq!(colors.warning, Colors::default().warning);
    }

    #[test]
    fn bad_colors_are_passed_over_and_told() {
        let (colors, complaints) =
            Colors::from_settings(Some("run=pink:error=1,2:cancel=1,2,256:what=red:nothing:a=b=c"), Some(""));
        assert_eq!(colors, Colors::default());
        assert_eq!(complaints.len(), 6, "{complaints:?}");
    }

    #[test]
    fn no_color_wins() {
        assert_eq!(Colors::from_settings(Some("run=red"), Some("1")).0, Colors::none());
        assert_eq!(Colors::paint(Colors::none().run.as_deref(), "x"), "x");
    }
}
