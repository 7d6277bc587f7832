//! How figures are shown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::rows::{Measured, Row};

/// The middle of figures, and what 95 of 100 are not above.
fn summary(figures: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?));
    Some((*at(50)?, *at(95)?))
}

/// The median, and the 95th percentile in parentheses, or why there are no figures.
fn cell(figures: &Result<Vec<f64>, String>) -> String {
    match figures {
        Ok(figures) => match summary(figures) {
            Some((median, _)) if figures.len() == 1 => format!("{median:.1}"),
            Some((median, high)) => format!("{median:.2} ({high:.2})"),
            None => "–".to_owned(),
        },
        Err(reason) => reason.clone(),
    }
}

/// A thing that was just measured.
pub(crate) fn line((what, unit, figures): &Row) -> String {
    let unit = if figures.is_ok() { unit } else { "" };
    format!("  {what}: {} {unit}", cell(figures)).trim_end().to_owned()
}

/// A line for each thing, a column for each server.
pub(crate) fn table(all: &[(&str, Measured)]) -> String {
    let Some((_, first)) = all.first() else { return String::new() };
    let mut text = format!("{:<44}", "median (95th percentile)");
    for (name, _) in all {
        let _ = write!(text, "{name:>26}");
    }
    text.push('\n');
    for (number, (what, unit, _)) in first.iter().enumerate() {
        let _ =
            write!(text, "{:<44}", if unit.is_empty() { what.clone() } else { format!("{what}, {unit}") });
        for (_, measured) in all {
            let cell: String = cell(&measured[number].2).chars().take(24).collect();
            let _ = write!(text, "{cell:>26}");
        }
        text.push('\n');
    }
    text
}

/// All figures.
pub(crate) fn json(all: &[(&str, Measured)]) -> String {
    let mut servers = serde_json::Map::new();
    for (name, measured) in all {
        let mut rows = serde_json::Map::new();
        for (what, unit, figures) in measured {
            let value: Value = match figures {
                Ok(figures) => {
                    let (median, high) = summary(figures).unzip();
                    json!({ "unit": unit, "median": median, "p95": high, "all": figures })
                }
                Err(reason) => json!({ "unit": unit, "error": reason }),
            };
            rows.insert(what.clone(), value);
        }
        servers.insert((*name).to_owned(), rows.into());
    }
    format!("{:#}\n", Value::from(servers))
}
