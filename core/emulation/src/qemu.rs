//! QEMU's user mode on this machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rbx_platform::Platform;

use crate::Architecture;
use crate::architecture::{EXECUTABLE, HEADER};

/// `PT_INTERP`: the segment that names the program's dynamic linker.
const INTERPRETER: u32 = 3;
/// Segments that a program has at most. Real ones have about ten.
const MOST_SEGMENTS: u16 = 256;

/// QEMU for one architecture: a static program of this machine's own architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// Where it is.
    pub path: PathBuf,
    /// Whose programs it runs.
    pub architecture: Architecture,
}

/// Programs by the name of QEMU that are of no use, and why.
pub type PassedOver = Vec<(PathBuf, Unusable)>;

/// Why a program by the name of QEMU is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It needs a dynamic linker and libraries, which a step's root does not have.
    #[error("it is not statically linked")]
    Dynamic,
    /// It is no ELF file of this machine: a script, or a program of another architecture.
    #[error("it is no program of this machine's architecture")]
    Foreign,
    /// Its headers make no sense.
    #[error("it is no valid ELF file")]
    Malformed,
    /// It may not be executed.
    #[error("it is not executable")]
    NotExecutable,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl Qemu {
    /// Looks for `qemu-ARCH-static` and `qemu-ARCH` in each of the directories. The first that can be used is the
    /// answer; else those that were found, and why each is of no use.
    pub fn find(architecture: Architecture, directories: &[PathBuf]) -> Result<Self, PassedOver> {
        let mut passed_over = Vec::new();
        for directory in directories {
            for suffix in ["-static", ""] {
                let path = directory.join(format!("qemu-{}{suffix}", architecture.qemu()));
                match Self::check(&path) {
                    Ok(()) => return Ok(Self { path, architecture }),
                    Err(None) => {}
                    Err(Some(reason)) => passed_over.push((path, reason)),
                }
            }
        }
        Err(passed_over)
    }

    /// QEMU at this path, which an image has, say.
    pub fn at(architecture: Architecture, path: &Path) -> Result<Self, Unusable> {
        match Self::check(path) {
            Ok(()) => Ok(Self { path: path.to_owned(), architecture }),
            Err(reason) => {
                Err(reason.unwrap_or_else(|| Unusable::Unreadable("there is no such file".to_owned())))
            }
        }
    }

    /// What it says its version is, such as `9.2.0`. It is executed to find out, with a limit on time.
    #[cfg(target_os = "linux")]
    pub fn version(&self) -> io::Result<String> {
        let output = crate::trial::output(&self.path, &[OsStr::new("--version")])?;
        version(&output).ok_or_else(|| io::Error::other("it does not say its version"))
    }

    /// Whether a step can have this program as its interpreter. `Err(None)` if there is none.
    pub(crate) fn check(path: &Path) -> Result<(), Option<Unusable>> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => None,
            _ => Some(Unusable::Unreadable(error.to_string())),
        };
        // Not opened before it is known to be a file: a pipe would wait.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(None);
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(Some(Unusable::NotExecutable));
        }
        let mut file = File::open(path).map_err(unreadable)?;
        match is_static(&mut file, Architecture::of(&Platform::host())) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Some(Unusable::Dynamic)),
            Err(reason) => Err(Some(reason)),
        }
    }
}

/// The version in `qemu-aarch64 version 9.2.0 (Debian 1:9.2.0+ds-1)`.
fn version(output: &str) -> Option<String> {
    let rest = output.lines().next()?.split_once(" version ")?.1;
    let version = rest.split([' ', '(']).next()?;
    let is_plain = version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~".contains(c));
    (is_plain && !version.is_empty() && version.len() < 40).then(|| version.to_owned())
}

/// Whether a program of this architecture names no dynamic linker.
pub(crate) fn is_static(file: &mut (impl Read + Seek), host: Option<Architecture>) -> Result<bool, Unusable> {
    let host = host.ok_or(Unusable::Foreign)?;
    let mut header = [0; 64];
    let mut read = |at: u64, buffer: &mut [u8]| {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(buffer)
    };
    let malformed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => Unusable::Malformed,
        _ => Unusable::Unreadable(error.to_string()),
    };
    read(0, &mut header[..HEADER]).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unusable::Foreign,
        _ => Unusable::Unreadable(error.to_string()),
    })?;
    let (magic, mask) = host.elf();
    if (0..HEADER).any(|at| (header[at] ^ magic[at]) & mask[at] != 0) {
        return Err(Unusable::Foreign);
    }
    // Of 64 bits, or of 32.
    let (length, segments_at, count_at, smallest) =
        if host.is_wide() { (64, 32, 54, 56) } else { (52, 28, 42, 32) };
    read(0, &mut header[..length]).map_err(malformed)?;
    let width = if host.is_wide() { 8 } else { 4 };
    let big = host.half(EXECUTABLE)[0] == 0;
    let number = |bytes: &[u8]| {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    };
    let start = number(&header[segments_at..segments_at + width]);
    let size = number(&header[count_at..count_at + 2]);
    let count = number(&header[count_at + 2..count_at + 4]);
    if size < smallest || count > u64::from(MOST_SEGMENTS) {
        return Err(Unusable::Malformed);
    }
    for segment in 0..count {
        let at = start.checked_add(segment * size).ok_or(Unusable::Malformed)?;
        let mut kind = [0; 4];
        read(at, &mut kind).map_err(malformed)?;
        if number(&kind) == u64::from(INTERPRETER) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;
    use rbx_tests::Parts;

    use super::*;

    fn is_static_on(host: Architecture, program: &[u8]) -> Result<bool, Unusable> {
        is_static(&mut Cursor::new(program), Some(host))
    }

    fn own() -> Architecture {
        Architecture::of(&Platform::host()).unwrap()
    }

    #[test]
    fn static_programs_are_told_from_others() {
        for architecture in Architecture::all() {
            let mut program = architecture.program();
            assert_eq!(is_static_on(architecture, &program), Ok(true), "{architecture}");
            let segment = if architecture.is_wide() { 64 } else { 52 };
            program[segment..segment + 4].copy_from_slice(&architecture.word(INTERPRETER));
            assert_eq!(is_static_on(architecture, &program), Ok(false), "{architecture}");
            let other =
                if architecture == Architecture::Arm64 { Architecture::Arm } else { Architecture::Arm64 };
            assert_eq!(is_static_on(other, &program), Err(Unusable::Foreign), "{architecture}");
            // Cut off anywhere.
            for end in 0..segment + 4 {
                assert!(is_static_on(architecture, &program[..end]).is_err(), "{architecture} {end}");
            }
        }
        let mut endless = Architecture::Amd64.program();
        endless[56..58].fill(0xff);
        assert_eq!(is_static_on(Architecture::Amd64, &endless), Err(Unusable::Malformed));
        endless.resize(1 << 22, 0);
        assert_eq!(is_static_on(Architecture::Amd64, &endless), Err(Unusable::Malformed));
        let shell = fs::read("/bin/sh").unwrap();
        assert_eq!(is_static_on(own(), &shell), Ok(false));
        assert_eq!(is_static_on(own(), b"#!/bin/sh\nexec qemu-aarch64 \"$@\"\n"), Err(Unusable::Foreign));
    }

    #[test]
    fn the_first_usable_one_is_found() {
        let parts = Parts::locate();
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        for directory in [&first, &second] {
            fs::create_dir(directory).unwrap();
        }
        let directories = [directory.path().join("none"), first.clone(), second.clone()];
        let find = || Qemu::find(Architecture::Arm64, &directories);
        assert_eq!(find(), Err(Vec::new()));

        let named = |name: &str| first.join(name);
        symlink("/bin/sh", named("qemu-aarch64-static")).unwrap();
        fs::write(named("qemu-aarch64"), "#!/bin/sh\n").unwrap();
        let passed_over = find().unwrap_err();
        assert_eq!(
            passed_over,
            [
                (named("qemu-aarch64-static"), Unusable::Dynamic),
                (named("qemu-aarch64"), Unusable::NotExecutable),
            ]
        );
        // Neither a directory nor a pipe is QEMU.
        fs::create_dir(second.join("qemu-aarch64-static")).unwrap();
        assert_eq!(find().unwrap_err(), passed_over);

        symlink(parts.program("qemu-aarch64"), second.join("qemu-aarch64")).unwrap();
        let found = find().unwrap();
        assert_eq!(found.path, second.join("qemu-aarch64"));
        assert_eq!(Qemu::at(Architecture::Arm64, &found.path), Ok(found.clone()));
        assert!(Qemu::at(Architecture::Arm64, &directory.path().join("none")).is_err());
        let version = found.version().unwrap();
        assert!(version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'), "{version}");
    }

    #[test]
    fn versions_are_read() {
        for (output, wanted) in [
            ("qemu-aarch64 version 9.2.0 (Debian 1:9.2.0+ds-1)\nCopyright (c)\n", Some("9.2.0")),
            ("qemu-arm version 7.2.13(Debian)\n", Some("7.2.13")),
            ("qemu-arm version 10.0.0-rc1\n", Some("10.0.0-rc1")),
            ("qemu-arm version \u{1b}[2J\n", None),
            ("", None),
            ("bash 5\nx version 3\n", None),
        ] {
            assert_eq!(version(output).as_deref(), wanted, "{output:?}");
        }
    }

    proptest! {
        #[test]
        fn no_file_breaks_the_look_at_it(
            mut program in proptest::collection::vec(any::<u8>(), 0..400),
            real in any::<bool>(),
        ) {
            for architecture in Architecture::all() {
                if real {
                    let header = architecture.header(0, EXECUTABLE);
                    let length = header.len().min(program.len());
                    program[..length].copy_from_slice(&header[..length]);
                }
                let _ = is_static_on(architecture, &program);
            }
        }
    }
}
