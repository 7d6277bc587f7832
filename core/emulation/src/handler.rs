//! Entries of `binfmt_misc`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Architecture;

/// How much of a program's start the kernel compares.
const START: usize = 256;
/// What an entry's text is at most: a page of the kernel's, of whatever size here.
const LONGEST_TEXT: u64 = 64 << 10;
/// Entries that are looked at, at most.
const MOST_ENTRIES: usize = 4096;

/// What an entry applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Files with these bytes at a place near their start.
    Magic {
        /// Where, in bytes.
        offset: usize,
        /// The bytes.
        magic: Vec<u8>,
        /// Which of their bits count, as many bytes; all of them if there is no mask.
        mask: Option<Vec<u8>>,
    },
    /// Files whose names end in a dot and this.
    Extension(String),
}

/// One entry of `binfmt_misc`: which files, and who interprets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Its name, a file name.
    pub name: String,
    /// Whether it is in use.
    pub enabled: bool,
    /// The program that is executed in the place of those files.
    pub interpreter: PathBuf,
    /// Letters: `P`, `O`, `C`, `F`, and what later kernels may have.
    pub flags: String,
    /// What it applies to.
    pub pattern: Pattern,
}

/// Why the text of an entry cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseHandlerError {
    /// It begins with something else than `enabled` or `disabled`.
    #[error("says neither that it is enabled nor that it is disabled")]
    State,
    /// It has no line `interpreter PATH`.
    #[error("names no interpreter")]
    Interpreter,
    /// Magic, mask or offset are no numbers, do not go together, or are where the kernel does not look.
    #[error("has an invalid {0}")]
    Field(&'static str),
    /// It has neither magic nor extension.
    #[error("says neither by which bytes files are recognised nor by which extension")]
    Pattern,
}

impl Handler {
    /// The entry by which QEMU at this path runs an architecture's programs, wherever the path leads to in the root
    /// that they run in (`F`), with their own name in `argv[0]` (`P`) and with the rights that their files give (`C`).
    pub fn qemu(architecture: Architecture, interpreter: &Path) -> Self {
        let (magic, mask) = architecture.elf();
        Self {
            name: format!("rbx-{}", architecture.qemu()),
            enabled: true,
            interpreter: interpreter.to_owned(),
            flags: "FPC".to_owned(),
            pattern: Pattern::Magic { offset: 0, magic: magic.to_vec(), mask: Some(mask.to_vec()) },
        }
    }

    /// What is written to `register` to make this entry.
    ///
    /// The kernel takes at most 1920 bytes; a longer path of an interpreter is its `EINVAL`.
    pub fn register_line(&self) -> Vec<u8> {
        let interpreter = self.interpreter.as_os_str().as_bytes();
        let extension = match &self.pattern {
            Pattern::Magic { .. } => "",
            Pattern::Extension(extension) => extension,
        };
        let fixed = [self.name.as_bytes(), interpreter, self.flags.as_bytes(), extension.as_bytes()];
        // A path may have any byte but zero, and with it what separates the fields.
        let free = |byte: &u8| !fixed.iter().any(|field| field.contains(byte));
        let separator = b":|,;~^!%".iter().copied().find(free).unwrap_or(1);
        let (kind, offset, what, mask) = match &self.pattern {
            Pattern::Magic { offset, magic, mask } => {
                (b"M", offset.to_string(), escape(magic), mask.as_deref().map(escape).unwrap_or_default())
            }
            Pattern::Extension(extension) => (b"E", String::new(), extension.clone(), String::new()),
        };
        let fields: [&[u8]; 7] = [
            self.name.as_bytes(),
            kind,
            offset.as_bytes(),
            what.as_bytes(),
            mask.as_bytes(),
            interpreter,
            self.flags.as_bytes(),
        ];
        let mut line = vec![separator];
        line.extend(fields.join(&separator));
        line
    }

    /// Reads an entry as the kernel shows it.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, ParseHandlerError> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let enabled = match lines.next() {
            Some(b"enabled") => true,
            Some(b"disabled") => false,
            _ => return Err(ParseHandlerError::State),
        };
        let (mut interpreter, mut flags, mut extension) = (None, String::new(), None);
        let (mut offset, mut magic, mut mask) = (0, None, None);
        for line in lines {
            let (key, value) = match line.iter().position(|byte| *byte == b' ') {
                Some(space) => (&line[..space], &line[space + 1..]),
                None => (line, &[][..]),
            };
            match key {
                b"interpreter" if interpreter.is_none() => {
                    interpreter = Some(PathBuf::from(OsStr::from_bytes(value)));
                }
                b"flags:" => {
                    flags = value.iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect();
                }
                b"extension" => {
                    let name = value.strip_prefix(b".").unwrap_or(value);
                    extension = Some(String::from_utf8_lossy(name).into_owned());
                }
                b"offset" => {
                    let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    offset = number.ok_or(ParseHandlerError::Field("offset"))?;
                }
                b"magic" => magic = Some(unhex(value).ok_or(ParseHandlerError::Field("magic"))?),
                b"mask" => mask = Some(unhex(value).ok_or(ParseHandlerError::Field("mask"))?),
                // Later kernels may say more.
                _ => {}
            }
        }
        let interpreter =
            interpreter.filter(|path| !path.as_os_str().is_empty()).ok_or(ParseHandlerError::Interpreter)?;
        let pattern = match (magic, extension) {
            (Some(magic), _) => {
                if mask.as_ref().is_some_and(|mask| mask.len() != magic.len()) {
                    return Err(ParseHandlerError::Field("mask"));
                }
                if START.checked_sub(magic.len()).is_none_or(|room| offset > room) {
                    return Err(ParseHandlerError::Field("offset"));
                }
                Pattern::Magic { offset, magic, mask }
            }
            (None, Some(extension)) => Pattern::Extension(extension),
            (None, None) => return Err(ParseHandlerError::Pattern),
        };
        Ok(Self { name: name.to_owned(), enabled, interpreter, flags, pattern })
    }

    /// Whether the entry applies to a file that begins so, by its bytes: those that the file does not have are zero.
    /// Whether it is enabled is not asked.
    pub fn matches(&self, start: &[u8]) -> bool {
        let Pattern::Magic { offset, magic, mask } = &self.pattern else { return false };
        magic.iter().enumerate().all(|(at, byte)| {
            let mask = mask.as_ref().map_or(0xff, |mask| mask[at]);
            let found = start.get(offset + at).copied().unwrap_or(0);
            (found ^ byte) & mask == 0
        })
    }

    /// Whether the entry applies to the usual programs of an architecture, at fixed addresses or not, for System V
    /// or GNU.
    pub fn serves(&self, architecture: Architecture) -> bool {
        architecture.headers().iter().all(|header| self.matches(header))
    }

    /// The interpreter was opened when the entry was made (`F`), so that it is also found by programs in another root
    /// or mount namespace.
    pub fn is_fixed(&self) -> bool {
        self.flags.contains('F')
    }

    /// Programs get the rights that their files give (`C`): `sudo` and `ping` work.
    pub fn keeps_credentials(&self) -> bool {
        self.flags.contains('C')
    }

    /// The commands by which root makes this entry again so that its interpreter is opened at once (`F`).
    pub fn reregister(&self, directory: &Path) -> String {
        let fixed = Self { flags: format!("{}F", self.flags.replace('O', "")), ..self.clone() };
        let line = String::from_utf8_lossy(&fixed.register_line()).into_owned();
        let directory = directory.display();
        format!(
            "sudo sh -c 'echo -1 > {directory}/{name}; printf %s \"$0\" > {directory}/register' {line}",
            name = self.name,
            line = quoted(&line)
        )
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The entries of a mounted `binfmt_misc`, in the order in which the kernel asks them: the newest first. An entry that
/// cannot be read is left out; a directory that is not there has none.
pub fn handlers(binfmt_misc: &Path) -> Vec<Handler> {
    let Ok(entries) = fs::read_dir(binfmt_misc) else { return Vec::new() };
    let mut found: Vec<(SystemTime, Handler)> = Vec::new();
    for entry in entries.take(MOST_ENTRIES).filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !["register", "status"].contains(name)) else {
            continue;
        };
        let Ok((time, text)) = read(&entry.path()) else { continue };
        if let Ok(handler) = Handler::parse(name, &text) {
            found.push((time, handler));
        }
    }
    // An entry's file is as old as the entry, and the sort keeps the directory's order, which has new ones first, too.
    found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    found.into_iter().map(|(_, handler)| handler).collect()
}

/// Whether `binfmt_misc` as a whole was switched off, by writing 0 to `status`.
pub(crate) fn switched_off(binfmt_misc: &Path) -> bool {
    read(&binfmt_misc.join("status")).is_ok_and(|(_, text)| text.trim_ascii() == b"disabled")
}

fn read(path: &Path) -> io::Result<(SystemTime, Vec<u8>)> {
    let file = File::open(path)?;
    let time = file.metadata()?.modified()?;
    let mut text = Vec::new();
    file.take(LONGEST_TEXT).read_to_end(&mut text)?;
    Ok((time, text))
}

/// Bytes as `register` takes them.
fn escape(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [r"\x".to_owned(), hex::encode([*byte])]).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let fits = !text.is_empty() && text.len() <= 2 * START;
    hex::decode(text).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the kernel shows an entry that Debian's `qemu-user-static` makes.
    const DEBIAN: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                          magic 7f454c460201010000000000000000000200b700\n\
                          mask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn parse(text: &str) -> Result<Handler, ParseHandlerError> {
        Handler::parse("x", text.as_bytes())
    }

    #[test]
    fn entries_are_read() {
        let handler = parse(DEBIAN).unwrap();
        assert!(handler.enabled && handler.is_fixed() && handler.keeps_credentials());
        assert_eq!(handler.interpreter, Path::new("/usr/libexec/qemu-binfmt/aarch64-binfmt-P"));
        assert!(handler.serves(Architecture::Arm64));
        assert!(!handler.serves(Architecture::Riscv64));

        let python =
            parse("enabled\ninterpreter /usr/bin/python3.11\nflags: \noffset 0\nmagic a70d0d0a\n").unwrap();
        assert_eq!(
            python.pattern,
            Pattern::Magic { offset: 0, magic: vec![0xa7, 0x0d, 0x0d, 0x0a], mask: None }
        );
        assert!(python.matches(&[0xa7, 0x0d, 0x0d, 0x0a, 1]) && !python.matches(&[0xa7, 0x0d]));
        assert!(!python.is_fixed() && !python.keeps_credentials());

        let jar = parse("disabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n").unwrap();
        assert_eq!((jar.enabled, jar.pattern.clone()), (false, Pattern::Extension("jar".to_owned())));
        assert!(!jar.matches(b"jar"));

        let odd = parse("enabled\ninterpreter /a b/c\nflags: FZ\nnovelty x\noffset 4\nmagic 00FF\n").unwrap();
        assert_eq!((odd.interpreter.as_path(), odd.flags.as_str()), (Path::new("/a b/c"), "FZ"));
        assert!(odd.matches(&[9, 9, 9, 9, 0, 0xff]) && !odd.matches(&[0, 0xff, 0, 0]));
        assert!(!odd.matches(&[]));
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for (text, wanted) in [
            ("", ParseHandlerError::State),
            ("on\n", ParseHandlerError::State),
            ("enabled\n", ParseHandlerError::Interpreter),
            ("enabled\ninterpreter \nmagic 00\n", ParseHandlerError::Interpreter),
            ("enabled\ninterpreter /x\n", ParseHandlerError::Pattern),
            ("enabled\ninterpreter /x\nmagic \n", ParseHandlerError::Field("magic")),
            ("enabled\ninterpreter /x\nmagic 0\n", ParseHandlerError::Field("magic")),
            ("enabled\ninterpreter /x\nmagic zz\n", ParseHandlerError::Field("magic")),
            ("enabled\ninterpreter /x\nmagic 00\nmask 0000\n", ParseHandlerError::Field("mask")),
            ("enabled\ninterpreter /x\noffset -1\nmagic 00\n", ParseHandlerError::Field("offset")),
            ("enabled\ninterpreter /x\noffset 256\nmagic 00\n", ParseHandlerError::Field("offset")),
        ] {
            assert_eq!(parse(text), Err(wanted), "{text:?}");
        }
    }

    #[test]
    fn a_handler_counts_by_what_it_matches() {
        // Made for programs at fixed addresses alone.
        let narrow = DEBIAN.replace("feffffff", "ffffffff");
        assert!(!parse(&narrow).unwrap().serves(Architecture::Arm64));
        // Made for System V alone.
        let strict = DEBIAN.replace("ffffffffffffff00", "ffffffffffffffff");
        assert!(!parse(&strict).unwrap().serves(Architecture::Arm64));
        // Without magic for the machine it takes every program of 64 bits.
        let wide = DEBIAN.replace("feffffff", "feff0000");
        assert!(parse(&wide).unwrap().serves(Architecture::Riscv64));
    }

    #[test]
    fn lines_to_register_are_as_the_kernel_reads_them() {
        let line = Handler::qemu(Architecture::Arm64, Path::new("/usr/bin/qemu-aarch64")).register_line();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            r":rbx-aarch64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff:/usr/bin/qemu-aarch64:FPC"
        );
        let line = Handler::qemu(Architecture::Arm64, Path::new("/a:b|c/qemu")).register_line();
        assert!(line.starts_with(b",rbx-aarch64,M,0,") && line.ends_with(b",/a:b|c/qemu,FPC"));
        let jar = parse("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n").unwrap();
        assert_eq!(jar.register_line(), b":x:E::jar::/usr/bin/jexec:");
    }

    #[test]
    fn commands_make_an_entry_fixed() {
        let handler = parse(&DEBIAN.replace("POCF", "POC")).unwrap();
        let command = handler.reregister(Path::new("/proc/sys/fs/binfmt_misc"));
        assert!(command.starts_with(
            "sudo sh -c 'echo -1 > /proc/sys/fs/binfmt_misc/x; printf %s \"$0\" > \
             /proc/sys/fs/binfmt_misc/register' ':x:M:0:\\x7f"
        ));
        assert!(command.ends_with(":/usr/libexec/qemu-binfmt/aarch64-binfmt-P:PCF'"), "{command}");
    }

    #[test]
    fn directories_have_entries_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str, seconds: u64| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        at("register", "", 9);
        at("status", "disabled\n", 9);
        at("old", DEBIAN, 1);
        at("new", DEBIAN, 3);
        at("broken", "?", 4);
        at("middle", DEBIAN, 2);
        let names: Vec<String> = handlers(directory.path()).into_iter().map(|handler| handler.name).collect();
        assert_eq!(names, ["new", "middle", "old"]);
        assert!(switched_off(directory.path()));
        assert!(handlers(&directory.path().join("none")).is_empty());
        assert!(!switched_off(&directory.path().join("none")));
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_parser(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Handler::parse("x", &text);
            let _ = Handler::parse("x", &[b"enabled\ninterpreter /x\n", &text[..]].concat());
        }

        #[test]
        fn what_was_read_is_well_formed(
            offset in 0..300_usize,
            magic in "[0-9a-f]{0,600}",
            mask in proptest::option::of("[0-9a-f]{0,600}"),
            start in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mask = mask.map(|mask| format!("mask {mask}\n")).unwrap_or_default();
            let text = format!("enabled\ninterpreter /x\nflags: F\noffset {offset}\nmagic {magic}\n{mask}");
            if let Ok(handler) = parse(&text) {
                let Pattern::Magic { offset, magic, .. } = &handler.pattern else { unreachable!() };
                prop_assert!(offset + magic.len() <= START);
                handler.matches(&start);
                prop_assert!(handler.register_line().len() < 4096);
            }
        }
    }
}
