//! Command lines as pflag, Go's flag library, reads them.
//!
//! clap reads a little differently (values that begin with a dash, `--pull=false`, `-f=x`, what errors say), so
//! every command line is read here first, after the definitions of a clap command, and clap is given a form in
//! which nothing can be mistaken.

use clap::{Arg, ArgAction, Command};

/// A command line after it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    /// The flags, each as `--name=value`, or as `--name` where it takes none.
    pub(crate) flags: Vec<String>,
    /// What is no flag.
    pub(crate) operands: Vec<String>,
    /// What follows the first operand, where reading was to stop there.
    pub(crate) rest: Vec<String>,
}

/// Whether flags can follow operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mixed {
    /// They can.
    Yes,
    /// The first operand ends the reading: the rest is for the command of that name.
    No,
}

/// Reads a command line; an error is its message.
pub(crate) fn read(command: &Command, args: &[String], mixed: Mixed) -> Result<Line, String> {
    let mut reader = Reader { command, switches: Vec::new(), line: Line::default() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut next = || args.next().cloned();
        if arg == "--" {
            reader.line.operands.extend(args.cloned());
            break;
        } else if let Some(flag) = arg.strip_prefix("--") {
            reader.long(arg, flag, &mut next)?;
        } else if let Some(cluster) = arg.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
            reader.cluster(cluster, &mut next)?;
        } else {
            reader.line.operands.push(arg.clone());
            if mixed == Mixed::No {
                reader.line.rest = args.cloned().collect();
                break;
            }
        }
    }
    Ok(reader.end())
}

struct Reader<'a> {
    command: &'a Command,
    /// Flags without a value, and what was said of each last.
    switches: Vec<(String, bool)>,
    line: Line,
}

impl Reader<'_> {
    fn long(
        &mut self,
        arg: &str,
        flag: &str,
        next: &mut dyn FnMut() -> Option<String>,
    ) -> Result<(), String> {
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("bad flag syntax: {arg}"));
        }
        let definition = self
            .command
            .get_arguments()
            .find(|definition| definition.get_long() == Some(name))
            .ok_or_else(|| format!("unknown flag: --{name}"))?;
        match value {
            Some(value) => self.set(definition, value),
            None if is_switch(definition) => self.set(definition, "true"),
            None => {
                let value = next().ok_or_else(|| format!("flag needs an argument: --{name}"))?;
                self.set(definition, &value)
            }
        }
    }

    /// Letters after one dash, of which the last can have a value.
    fn cluster(&mut self, cluster: &str, next: &mut dyn FnMut() -> Option<String>) -> Result<(), String> {
        let mut letters = cluster;
        while let Some(letter) = letters.chars().next() {
            let after = &letters[letter.len_utf8()..];
            let definition = self
                .command
                .get_arguments()
                .find(|definition| definition.get_short() == Some(letter))
                .ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{letters}"))?;
            // A lone `=` is a value.
            if let Some(value) = after.strip_prefix('=').filter(|value| !value.is_empty()) {
                return self.set(definition, value);
            }
            if is_switch(definition) {
                self.set(definition, "true")?;
                letters = after;
                continue;
            }
            if !after.is_empty() {
                return self.set(definition, after);
            }
            let value = next().ok_or_else(|| format!("flag needs an argument: '{letter}' in -{letters}"))?;
            return self.set(definition, &value);
        }
        Ok(())
    }

    fn set(&mut self, definition: &Arg, value: &str) -> Result<(), String> {
        let name = definition.get_long().unwrap_or_default();
        if !is_switch(definition) {
            self.line.flags.push(format!("--{name}={value}"));
            return Ok(());
        }
        let on = rbx_request::parse_bool(value)
            .map_err(|reason| invalid(definition, value, &reason.to_string()))?;
        self.switches.retain(|(other, _)| other != name);
        self.switches.push((name.to_owned(), on));
        Ok(())
    }

    fn end(mut self) -> Line {
        let on = self.switches.iter().filter(|(_, on)| *on);
        self.line.flags.extend(on.map(|(name, _)| format!("--{name}")));
        self.line
    }
}

/// Whether a flag stands without a value.
pub(crate) fn is_switch(definition: &Arg) -> bool {
    matches!(definition.get_action(), ArgAction::SetTrue)
}

/// What is said of a value that a flag does not take.
pub(crate) fn invalid(definition: &Arg, value: &str, reason: &str) -> String {
    let short = definition.get_short().map(|letter| format!("-{letter}, ")).unwrap_or_default();
    let long = definition.get_long().unwrap_or_default();
    format!("invalid argument {value:?} for \"{short}--{long}\" flag: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("test")
            .arg(Arg::new("file").long("file").short('f'))
            .arg(Arg::new("tag").long("tag").short('t').action(ArgAction::Append))
            .arg(Arg::new("quiet").long("quiet").short('q').action(ArgAction::SetTrue))
            .arg(Arg::new("debug").long("debug").short('D').action(ArgAction::SetTrue))
    }

    fn line(args: &[&str], mixed: Mixed) -> Result<Line, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        read(&command(), &args, mixed)
    }

    fn words(args: &[&str]) -> String {
        match line(args, Mixed::Yes) {
            Ok(line) => [line.flags, vec!["|".to_owned()], line.operands].concat().join(" "),
            Err(message) => message,
        }
    }

    #[test]
    fn command_lines_are_read_as_pflag_does() {
        let table: &[(&[&str], &str)] = &[
            (&[".", "--file", "x"], "--file=x | ."),
            (&["--file=x=y", "-"], "--file=x=y | -"),
            (&["-fx", "-f=y", "-f", "z"], "--file=x --file=y --file=z |"),
            (&["-f="], "--file== |"),
            (&["--file", "--quiet"], "--file=--quiet |"),
            (&["--file="], "--file= |"),
            (&["-qDf", "x", "."], "--file=x --quiet --debug | ."),
            (&["-q=false", "--debug=1"], "--debug |"),
            (&["--quiet", "--quiet=f"], " |"),
            (&["--quiet=0", "-q"], "--quiet |"),
            (&["--", "--quiet", "-x"], " | --quiet -x"),
            (&["-t", "a", "-t", "b"], "--tag=a --tag=b |"),
            (&["--foo"], "unknown flag: --foo"),
            (&["--fil", "x"], "unknown flag: --fil"),
            (&["-qzz"], "unknown shorthand flag: 'z' in -zz"),
            (&["--file"], "flag needs an argument: --file"),
            (&["-qf"], "flag needs an argument: 'f' in -f"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["---"], "bad flag syntax: ---"),
            (
                &["-q=maybe"],
                r#"invalid argument "maybe" for "-q, --quiet" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
            ),
        ];
        for (args, wanted) in table {
            assert_eq!(words(args).trim_start(), wanted.trim_start(), "{args:?}");
        }
    }

    #[test]
    fn the_flags_of_a_command_are_left_to_it() {
        let line = line(&["-D", "build", "--foo", "-D"], Mixed::No).unwrap();
        assert_eq!(line.flags, ["--debug"]);
        assert_eq!(line.operands, ["build"]);
        assert_eq!(line.rest, ["--foo", "-D"]);
    }
}
