//! Which rules are asked, and what they are about.

use std::fmt::Write as _;

use rbx_lint::{Family, Level, Rule, Settings, Severity, proposal, rule, rules};

use crate::cli::check::CheckArgs;
use crate::errors::CliError;

/// What the flags want of rules.
pub(super) fn settings(args: &CheckArgs) -> Result<Settings, CliError> {
    let mut settings = Settings::default();
    let mut set = |list: &[&'static Rule], level: Level| {
        settings.levels.extend(list.iter().map(|rule| (rule.name.to_owned(), level)));
    };
    if !args.select.is_empty() {
        set(&meant("all")?, Level::Off);
        for name in names(&args.select) {
            set(&meant(name)?, Level::On);
        }
    }
    for text in &args.rule {
        let (name, level) = text
            .split_once('=')
            .ok_or_else(|| CliError::new(format!("invalid value {text:?} for --rule: no \"=\"")))?;
        set(&meant(name)?, parse_level(level)?);
    }
    for name in names(&args.ignore) {
        set(&meant(name)?, Level::Off);
    }
    if let Some(name) = &args.severity {
        settings.threshold = Some(severity(name)?);
    } else if !args.select.is_empty() {
        // Who asks for a rule wants to see what it finds.
        settings.threshold = Some(Severity::Style);
    }
    Ok(settings)
}

fn names(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

fn parse_level(text: &str) -> Result<Level, CliError> {
    match text {
        "off" => Ok(Level::Off),
        "on" => Ok(Level::On),
        name => Ok(Level::At(severity(name)?)),
    }
}

fn severity(name: &str) -> Result<Severity, CliError> {
    Severity::parse(name).ok_or_else(|| {
        let names = Severity::ALL.map(|severity| format!("{:?}", severity.name()));
        CliError::new(format!("invalid severity {name:?}")).hint(format!("there are {}", names.join(", ")))
    })
}

/// The rules that a name stands for: that of a rule, of a family, or `all`.
fn meant(name: &str) -> Result<Vec<&'static Rule>, CliError> {
    if name == "all" {
        return Ok(rules().iter().copied().chain(rule(Family::ShellCheck.name())).collect());
    }
    let mut families = Family::ALL.into_iter().filter(|family| *family != Family::ShellCheck);
    if let Some(family) = families.find(|family| family.name() == name) {
        return Ok(rules().iter().copied().filter(|rule| rule.family == family).collect());
    }
    Ok(vec![one(name)?])
}

fn one(name: &str) -> Result<&'static Rule, CliError> {
    rule(name).ok_or_else(|| {
        CliError::new(format!("no rule {name:?}")).hint(match proposal(name) {
            Some(proposal) => format!("did you mean {proposal:?}?"),
            None => "\"docker rbx check --explain all\" lists the rules".to_owned(),
        })
    })
}

/// What is known of a rule; or a line about each, by families.
pub(super) fn explain(name: &str) -> Result<String, CliError> {
    if name != "all" {
        let rule = one(name)?;
        let mut text = rule.explanation.to_owned();
        let off = if rule.enabled { "" } else { ", off by default" };
        let _ = write!(text, "\nSeverity: {}{off}. Family: {}.", rule.severity.name(), rule.family.name());
        if !rule.aliases.is_empty() {
            let _ = write!(text, " Also called {}.", rule.aliases.join(", "));
        }
        if let Some(changes) = rule.changes {
            let _ = write!(text, " What --fix changes in the image: {changes}.");
        }
        text.push('\n');
        return Ok(text);
    }
    let column = rules().iter().map(|rule| rule.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for family in Family::ALL {
        let of_family: Vec<_> = rules().iter().filter(|rule| rule.family == family).collect();
        if of_family.is_empty() && family != Family::ShellCheck {
            continue;
        }
        let space = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{space}{}: {}", family.name(), about(family));
        for rule in of_family {
            let severity = if rule.enabled { rule.severity.name() } else { "off" };
            let aliases = if rule.aliases.is_empty() {
                String::new()
            } else {
                format!(" ({})", rule.aliases.join(", "))
            };
            let _ = writeln!(text, "  {:column$}  {severity:7}  {}{aliases}", rule.name, rule.summary);
        }
    }
    Ok(text)
}

fn about(family: Family) -> &'static str {
    match family {
        Family::BuildKit => "what BuildKit checks",
        Family::Platform => "what goes wrong on some platforms only",
        Family::Hadolint => "what hadolint has numbers for",
        Family::ShellCheck => "what shellcheck finds in scripts, where it is installed: SC1000 and others",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_line;

    fn settled(args: &[&str]) -> Result<Settings, String> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let args: CheckArgs = parse_line(&args, &[]).unwrap();
        settings(&args).map_err(|error| error.message().to_owned())
    }

    fn level(settings: &Settings, name: &str) -> Option<Level> {
        settings.levels.get(name).copied()
    }

    const DEFAULT: &str = "platform-arg-default";
    const UNDECLARED: &str = "platform-arg-undeclared";

    #[test]
    fn rules_are_selected_and_ignored() {
        let settings = settled(&["--select", DEFAULT]).unwrap();
        assert_eq!(level(&settings, DEFAULT), Some(Level::On));
        assert_eq!(level(&settings, UNDECLARED), Some(Level::Off));
        assert_eq!(settings.threshold, Some(Severity::Style));

        let settings = settled(&["--select=platform", "--ignore", &format!("{DEFAULT}, ,")]).unwrap();
        assert_eq!(level(&settings, DEFAULT), Some(Level::Off));
        assert_eq!(level(&settings, UNDECLARED), Some(Level::On));

        let settings = settled(&["--rule=all=info", "--rule", &format!("{DEFAULT}=off")]).unwrap();
        assert_eq!(level(&settings, DEFAULT), Some(Level::Off));
        assert_eq!(level(&settings, UNDECLARED), Some(Level::At(Severity::Info)));
        assert_eq!(settings.threshold, Some(Severity::Warning));
        assert_eq!(settled(&["--select=all", "--severity=error"]).unwrap().threshold, Some(Severity::Error));
        assert_eq!(settled(&[]).unwrap().levels.len(), 0);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        assert_eq!(settled(&["--ignore=no-such"]).unwrap_err(), "no rule \"no-such\"");
        assert_eq!(settled(&["--rule=all=fatal"]).unwrap_err(), "invalid severity \"fatal\"");
        assert_eq!(settled(&["--rule=all"]).unwrap_err(), "invalid value \"all\" for --rule: no \"=\"");
        assert_eq!(settled(&["--severity=bad"]).unwrap_err(), "invalid severity \"bad\"");
        let told = explain("platform-arg-defualt").unwrap_err();
        let mut text = Vec::new();
        told.report(&mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().ends_with("Hint: did you mean \"platform-arg-default\"?\n"));
    }

    #[test]
    fn rules_are_explained_by_families() {
        let all = explain("all").unwrap();
        assert!(all.contains("platform: what goes wrong on some platforms only\n"), "{all}");
        for rule in rules() {
            assert!(all.contains(&format!("\n  {} ", rule.name)), "{}", rule.name);
            for name in rule.aliases.iter().chain([&rule.name]) {
                assert!(explain(name).unwrap().starts_with(&format!("# {}\n", rule.name)), "{name}");
            }
        }
    }
}
