//! What a command calls, and with which arguments.

use super::Word;

/// A program or builtin that is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Its name without a directory.
    pub(crate) name: &'a str,
    /// The word that has the name.
    pub(crate) word: &'a Word,
    /// What follows it.
    pub(crate) arguments: &'a [Word],
    /// What calls it, such as `sudo -E` or `env A=b`.
    pub(crate) prefixes: &'a [Word],
}

/// A command that calls another one: its name, and the options that have a word after them.
type Prefix = (&'static str, &'static [&'static str]);

const PREFIXES: [Prefix; 25] = [
    ("builtin", &[]),
    ("catchsegv", &[]),
    ("command", &[]),
    ("coproc", &[]),
    ("eatmydata", &[]),
    ("env", &["-u", "--unset", "-C", "--chdir"]),
    ("exec", &["-a"]),
    ("fakeroot", &[]),
    ("gosu", &[]),
    ("ionice", &["-c", "-n", "-p"]),
    ("linux32", &[]),
    ("linux64", &[]),
    ("nice", &["-n", "--adjustment"]),
    ("nohup", &[]),
    ("setarch", &[]),
    ("setsid", &[]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("su-exec", &[]),
    (
        "sudo",
        &[
            "-C", "-D", "-R", "-T", "-U", "-g", "-h", "-p", "-r", "-t", "-u", "--chdir", "--chroot",
            "--group", "--host", "--prompt", "--role", "--type", "--user",
        ],
    ),
    ("time", &["-f", "-o", "--format", "--output"]),
    ("timeout", &["-k", "-s", "--kill-after", "--signal"]),
    ("unbuffer", &[]),
    ("xargs", &["-E", "-I", "-L", "-P", "-a", "-d", "-n", "-s", "--arg-file", "--max-args", "--max-procs"]),
    ("xvfb-run", &["-n", "-s", "-e", "-f", "-w"]),
    ("doas", &["-u", "-C"]),
];

/// Prefixes that have an operand before the command.
const WITH_OPERAND: [&str; 4] = ["gosu", "setarch", "su-exec", "timeout"];

impl<'a> Call<'a> {
    /// What the words of a command call.
    pub(super) fn of(words: &'a [Word]) -> Option<Self> {
        let mut at = 0;
        loop {
            let word = words.get(at)?;
            let path = word.literal()?;
            let name = path.rsplit('/').next().unwrap_or(path);
            let after = at + 1;
            if let Some(next) = Self::after_prefix(name, words.get(after..).unwrap_or_default())
                && after + next < words.len()
            {
                at = after + next;
                continue;
            }
            if name.is_empty() {
                return None;
            }
            let (prefixes, rest) = words.split_at(at);
            return Some(Self { name, word, arguments: rest.get(1..).unwrap_or_default(), prefixes });
        }
    }

    /// How many words stand between a prefix and what it calls. `None` if that is no prefix.
    fn after_prefix(name: &str, words: &[Word]) -> Option<usize> {
        let (_, with_value) = PREFIXES.iter().find(|(prefix, _)| *prefix == name)?;
        let mut at = 0;
        let mut operand = WITH_OPERAND.contains(&name);
        while let Some(word) = words.get(at) {
            let text = word.prefix();
            if name == "command" && (text == "-v" || text == "-V") {
                return None;
            }
            let is_option = text.starts_with('-') && text.len() > 1;
            let is_assignment = matches!(name, "env" | "sudo") && super::word::assigned(text).is_some();
            if is_option {
                at += 1;
                if with_value.contains(&text) {
                    at += 1;
                }
            } else if is_assignment {
                at += 1;
            } else if operand {
                operand = false;
                at += 1;
            } else {
                break;
            }
        }
        Some(at)
    }

    /// The first argument that is no option.
    pub(crate) fn operand(&self) -> Option<&'a Word> {
        self.arguments.iter().find(|word| !word.prefix().starts_with('-'))
    }

    /// The arguments told apart. `with_value` are the options that have a word after them, as they are written:
    /// `-t`, `--target-release`.
    pub(crate) fn read(&self, with_value: &[&str]) -> Arguments<'a> {
        Arguments::read(self.arguments, with_value)
    }
}

/// Arguments told apart as most programs do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments<'a> {
    /// Options with their values: letters that are written together are taken apart.
    pub(crate) options: Vec<(String, Option<&'a str>, &'a Word)>,
    /// The other words.
    pub(crate) operands: Vec<&'a Word>,
    /// A word may be an option or several, since it is worked out.
    pub(crate) unsure: bool,
}

impl<'a> Arguments<'a> {
    /// Reads words. `with_value` are the options that have a word after them, as they are written.
    pub(crate) fn read(words: &'a [Word], with_value: &[&str]) -> Self {
        let mut read = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.prefix();
            read.unsure |= text.is_empty() && word.literal().is_none();
            if text == "--" {
                read.operands.extend(words);
                break;
            }
            if !text.starts_with('-') || text == "-" {
                read.operands.push(word);
                continue;
            }
            let mut next = || words.next().and_then(Word::literal);
            if text.starts_with("--") {
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None if with_value.contains(&text) => (text, next()),
                    None => (text, None),
                };
                read.options.push((name.to_owned(), value, word));
                continue;
            }
            let letters = text.get(1..).unwrap_or_default();
            if let Some((letter, value)) = letters.split_once('=').filter(|(letter, _)| letter.len() == 1) {
                read.options.push((format!("-{letter}"), Some(value), word));
                continue;
            }
            for (at, letter) in letters.char_indices() {
                let name = format!("-{letter}");
                if with_value.contains(&name.as_str()) {
                    let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
                    let value = if rest.is_empty() { next() } else { Some(rest) };
                    read.options.push((name, value, word));
                    break;
                }
                read.options.push((name, None, word));
            }
        }
        read
    }

    /// Whether one of these options is given, as they are written: `-y`, `--yes`.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        self.option(names).is_some()
    }

    /// The word and the value of the last of these options.
    pub(crate) fn option(&self, names: &[&str]) -> Option<(&'a Word, Option<&'a str>)> {
        let mut found = self.options.iter().rev().filter(|(name, ..)| names.contains(&name.as_str()));
        found.next().map(|(_, value, word)| (*word, *value))
    }

    /// How many times one of these options is given.
    pub(crate) fn count(&self, names: &[&str]) -> usize {
        self.options.iter().filter(|(name, ..)| names.contains(&name.as_str())).count()
    }
}
