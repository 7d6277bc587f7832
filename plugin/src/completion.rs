//! Completion of command lines: scripts for shells, and the questions that cobra's scripts (docker's own) ask.

use std::fmt;
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use crate::cli::flags::{Line, is_switch};
use crate::cli::{self, Context, ENTRIES, Entry, Root};
use crate::errors::CliError;

/// Words that could come next, and what the shell is to do beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    words: Vec<String>,
    directive: Directive,
}

/// cobra's directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    /// Complete files if there is no word.
    Default = 0,
    /// Complete no files.
    NoFiles = 4,
    /// Complete directories only.
    Directories = 16,
}

impl Answer {
    pub(crate) fn directive_name(&self) -> &'static str {
        match self.directive {
            Directive::Default => "ShellCompDirectiveDefault",
            Directive::NoFiles => "ShellCompDirectiveNoFileComp",
            Directive::Directories => "ShellCompDirectiveFilterDirs",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in &self.words {
            writeln!(f, "{word}")?;
        }
        writeln!(f, ":{}", self.directive as u8)
    }
}

/// What the last of `words`, which is not ended yet, could become. `builders` names those that there are.
pub(crate) fn answer(words: &[String], described: bool, builders: &dyn Fn() -> Vec<String>) -> Answer {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let root = Root::command();
    let mut definition = root.clone();
    let mut entry: Option<&Entry> = None;
    let mut operands = 0;
    let mut flag: Option<Arg> = None;
    for word in before {
        if flag.take().is_some() {
            // The value of the flag before it.
        } else if word.starts_with('-') && word != "-" {
            flag = needs_value(&definition, word);
        } else if entry.is_some() {
            operands += 1;
        } else {
            entry = cli::entry(word);
            match entry {
                Some(entry) => definition = (entry.definition)(),
                None => return Answer { words: Vec::new(), directive: Directive::NoFiles },
            }
        }
    }
    let (words, directive) = match (flag, last.split_once('='), entry) {
        (Some(flag), ..) => values(&flag, last, builders),
        (None, Some((name, value)), _) if name.starts_with("--") => match needs_value(&definition, name) {
            Some(flag) => values(&flag, value, builders),
            None => (Vec::new(), Directive::NoFiles),
        },
        (None, ..) if last.starts_with('-') => (flag_names(&definition, last), Directive::NoFiles),
        (None, _, None) => {
            let shown = ENTRIES.iter().filter(|entry| !entry.hidden);
            let commands =
                shown.map(|entry| (entry.name, entry.about)).chain([("help", "Help about any command")]);
            (starting(commands, last), Directive::NoFiles)
        }
        (None, _, Some(entry)) if entry.arguments.more_than(operands) => match entry.name {
            "completion" => (starting(SHELLS.map(|shell| (shell, "")), last), Directive::NoFiles),
            "check" => (Vec::new(), Directive::Default),
            "inspect" | "rm" | "stop" | "use" => (names(builders, last), Directive::NoFiles),
            "create" => (Vec::new(), Directive::NoFiles),
            _ => (Vec::new(), Directive::Directories),
        },
        (None, ..) => (Vec::new(), Directive::NoFiles),
    };
    let words = words
        .into_iter()
        .map(|(word, about)| if described && !about.is_empty() { format!("{word}\t{about}") } else { word })
        .collect();
    Answer { words, directive }
}

const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// The flag that a word is, if its value is the next word.
fn needs_value(command: &Command, word: &str) -> Option<Arg> {
    let find = |matches: &dyn Fn(&Arg) -> bool| {
        command.get_arguments().find(|arg| matches(arg) && !is_switch(arg)).cloned()
    };
    if let Some(name) = word.strip_prefix("--") {
        return find(&|arg| arg.get_long() == Some(name));
    }
    let letter = word.chars().last()?;
    find(&|arg| arg.get_short() == Some(letter))
}

/// What a flag's value can be.
fn values(flag: &Arg, begun: &str, builders: &dyn Fn() -> Vec<String>) -> (Vec<(String, String)>, Directive) {
    if flag.get_long() == Some("explain") {
        let rules = rbx_lint::rules().iter().map(|rule| (rule.name, rule.summary));
        return (starting(rules.chain([("all", "Every rule in a line")]), begun), Directive::NoFiles);
    }
    let known: &[&str] = match flag.get_long().unwrap_or_default() {
        "progress" => &["auto", "none", "plain", "quiet", "rawjson", "tty"],
        "network" => &["default", "host", "none"],
        "call" => &["build", "check", "dry-run", "outline", "targets"],
        "builder" => return (names(builders, begun), Directive::NoFiles),
        "driver" => &["docker-container", "remote"],
        "platform" => &[
            "linux/386",
            "linux/amd64",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64",
            "linux/ppc64le",
            "linux/riscv64",
            "linux/s390x",
            "local",
        ],
        "provenance" | "sbom" => &["false", "true"],
        _ => {
            let path = matches!(flag.get_value_hint(), ValueHint::FilePath | ValueHint::AnyPath);
            return (Vec::new(), if path { Directive::Default } else { Directive::NoFiles });
        }
    };
    (starting(known.iter().map(|word| (*word, "")), begun), Directive::NoFiles)
}

fn flag_names(command: &Command, begun: &str) -> Vec<(String, String)> {
    let mut shown: Vec<&Arg> =
        command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set()).collect();
    shown.sort_by_key(|arg| arg.get_long());
    let mut names = Vec::new();
    for arg in shown {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let long = arg.get_long().map(|name| format!("--{name}"));
        let short = arg.get_short().map(|letter| format!("-{letter}"));
        names.extend(long.into_iter().chain(short).map(|name| (name, about.clone())));
    }
    names.push(("--help".to_owned(), "Print usage".to_owned()));
    names.retain(|(name, _)| name.starts_with(begun));
    names
}

fn names(builders: &dyn Fn() -> Vec<String>, begun: &str) -> Vec<(String, String)> {
    let names = builders().into_iter().filter(|name| name.starts_with(begun));
    names.map(|name| (name, String::new())).collect()
}

fn starting<'a>(words: impl IntoIterator<Item = (&'a str, &'a str)>, begun: &str) -> Vec<(String, String)> {
    let fitting = words.into_iter().filter(|(word, _)| word.starts_with(begun));
    fitting.map(|(word, about)| (word.to_owned(), about.to_owned())).collect()
}

/// `completion SHELL`
pub(crate) fn script(context: &Context<'_>, line: &Line) -> Result<ExitCode, CliError> {
    let shell = match line.operands.first().map(String::as_str) {
        Some("bash") => Shell::Bash,
        Some("fish") => Shell::Fish,
        Some("zsh") => Shell::Zsh,
        other => {
            let message = format!("no completion for shell {:?}", other.unwrap_or_default());
            return Err(CliError::new(message).hint(format!("there is {}", SHELLS.join(", "))));
        }
    };
    let mut tree = Root::command().about(cli::ABOUT);
    for entry in &ENTRIES {
        let command = (entry.definition)().name(entry.name).about(entry.about).hide(entry.hidden);
        tree = tree.subcommand(command.visible_aliases(entry.alias));
    }
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, context.env.program_name(), &mut script);
    let script = String::from_utf8_lossy(&script);
    if shell == Shell::Bash {
        // clap_complete names the states of a program with a dash in its name in two ways, which never meet.
        let name = context.env.program_name();
        let (wrong, right) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
        return cli::print(&script.replace(&wrong, &right));
    }
    cli::print(&script)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn ask(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        answer(&words, true, &|| vec!["mine".to_owned(), "embedded".to_owned()]).to_string()
    }

    #[test]
    fn commands_are_completed() {
        assert_snapshot!(ask(&[""]), @r"
        build	Build an image from a Dockerfile
        check	Check Dockerfiles for each platform they are built for
        create	Create a builder, or change one
        dial-stdio	Connect standard input and output to a builder's BuildKit
        doctor	Show what can be built here, and what is missing
        du	Show what the builder keeps and what that takes
        inspect	Show a builder
        ls	List builders
        lsp	Run the language server for Dockerfiles
        prune	Remove what the builder keeps
        rm	Remove builders
        stop	Stop a builder
        use	Choose the builder that is used
        version	Show version information
        help	Help about any command
        :4
        ");
        let words = ["--builder".to_owned(), "x".to_owned(), "bu".to_owned()];
        assert_eq!(answer(&words, false, &Vec::new).to_string(), "build\n:4\n");
        assert_eq!(ask(&["no-such", ""]), ":4\n");
    }

    #[test]
    fn flags_are_completed() {
        assert_snapshot!(ask(&["build", "--pu"]), @r#"
        --pull	Ask the registry for base images even if they are here
        --push	Same as "--output=type=registry,unpack=false"
        :4
        "#);
        assert!(ask(&["b", "-"]).contains("-t\tName the image"));
    }

    #[test]
    fn values_and_operands_are_completed() {
        assert_eq!(ask(&["build", "--progress", "p"]), "plain\n:4\n");
        assert_eq!(ask(&["build", "--progress=r"]), "rawjson\n:4\n");
        assert_eq!(ask(&["build", "--builder", ""]), "mine\nembedded\n:4\n");
        assert_eq!(ask(&["rm", "embedded", "m"]), "mine\n:4\n");
        assert_eq!(ask(&["use", "mine", ""]), ":4\n");
        assert_eq!(ask(&["build", "-f", ""]), ":0\n");
        assert_eq!(ask(&["build", "-qf", ""]), ":0\n");
        assert_eq!(ask(&["build", "--target", ""]), ":4\n");
        assert_eq!(ask(&["build", ""]), ":16\n");
        assert_eq!(ask(&["build", "--pull", ""]), ":16\n");
        assert_eq!(ask(&["build", ".", ""]), ":4\n");
        assert_eq!(ask(&["completion", "z"]), "zsh\n:4\n");
        assert_eq!(ask(&["check", "a", ""]), ":0\n");
        assert_eq!(ask(&["check", "--platform=linux/s"]), "linux/s390x\n:4\n");
        assert!(ask(&["check", "--explain", "platform-arg-d"]).starts_with("platform-arg-default\t"));
    }
}
