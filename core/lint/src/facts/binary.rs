//! What runs a program, by its first bytes.

use std::fmt;

use rbx_platform::Platform;

/// A program or library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// What kind of file it is.
    pub format: Format,
    /// The architectures that run it, by Go's names; of a file of macOS it may be several.
    pub architectures: Vec<String>,
}

/// The format of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ELF, of Linux and the BSDs.
    Elf,
    /// Mach-O, of macOS.
    MachO,
    /// PE, of Windows.
    Pe,
}

impl Format {
    /// `linux`, `darwin` or `windows`: the system whose format it is.
    pub fn os(self) -> &'static str {
        match self {
            Self::Elf => "linux",
            Self::MachO => "darwin",
            Self::Pe => "windows",
        }
    }
}

/// `linux/amd64`, `darwin/amd64+arm64`
impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.format.os(), self.architectures.join("+"))
    }
}

/// Architectures that one file of macOS may have, at most.
const MAX_ARCHITECTURES: usize = 16;

impl Binary {
    /// How many bytes [`read`](Self::read) looks at.
    pub const HEAD: usize = 4096;

    /// Reads the first bytes of a file. `None` is a file that is no program, or one for what no image is for.
    pub fn read(head: &[u8]) -> Option<Self> {
        let (format, architectures) = match head.get(..4)? {
            b"\x7fELF" => (Format::Elf, vec![elf(head)?]),
            [b'M', b'Z', ..] => (Format::Pe, vec![pe(head)?]),
            _ => (Format::MachO, mach_o(head)?),
        };
        let architectures = architectures.into_iter().map(str::to_owned).collect();
        Some(Self { format, architectures })
    }

    /// Whether an image for a platform can run it.
    pub fn runs_on(&self, platform: &Platform) -> bool {
        platform.accepted().iter().any(|accepted| {
            accepted.os == self.format.os() && self.architectures.contains(&accepted.architecture)
        })
    }
}

fn u16_at(bytes: &[u8], at: usize, big: bool) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

fn u32_at(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// `e_machine` of programs and shared objects, with the class and the order of bytes.
fn elf(head: &[u8]) -> Option<&'static str> {
    let wide = *head.get(4)? == 2;
    let big = *head.get(5)? == 2;
    if !matches!(u16_at(head, 16, big)?, 2 | 3) {
        return None;
    }
    Some(match (u16_at(head, 18, big)?, wide, big) {
        (3, false, false) => "386",
        // x32 has the machine of amd64 in 32 bits.
        (62, true, false) => "amd64",
        (40, false, false) => "arm",
        (183, true, false) => "arm64",
        (243, true, false) => "riscv64",
        (21, true, false) => "ppc64le",
        (21, true, true) => "ppc64",
        (22, true, true) => "s390x",
        (8, true, false) => "mips64le",
        (8, true, true) => "mips64",
        (8, false, false) => "mipsle",
        (8, false, true) => "mips",
        (258, true, false) => "loong64",
        _ => return None,
    })
}

/// `Machine` of a PE file that is native code. An assembly of .NET names a machine, too, and runs on any.
fn pe(head: &[u8]) -> Option<&'static str> {
    let start = usize::try_from(u32_at(head, 0x3c, false)?).ok()?;
    if head.get(start..start.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let optional = start + 24;
    let directories = match u16_at(head, optional, false)? {
        0x10b => optional + 96,
        0x20b => optional + 112,
        _ => return None,
    };
    // The fifteenth directory is that of .NET.
    if u32_at(head, directories + 14 * 8, false)? != 0 {
        return None;
    }
    Some(match u16_at(head, start + 4, false)? {
        0x14c => "386",
        0x8664 => "amd64",
        0x1c0 | 0x1c4 => "arm",
        0xaa64 => "arm64",
        _ => return None,
    })
}

/// `cputype` of a Mach-O file, or those in one for several.
fn mach_o(head: &[u8]) -> Option<Vec<&'static str>> {
    let name = |cpu: u32| match cpu {
        7 => Some("386"),
        0x0100_0007 => Some("amd64"),
        12 => Some("arm"),
        0x0100_000c => Some("arm64"),
        _ => None,
    };
    match u32_at(head, 0, false)? {
        0xfeed_face | 0xfeed_facf => name(u32_at(head, 4, false)?).map(|name| vec![name]),
        // In big-endian order whatever they are for. A class of Java begins alike; its version is larger than any
        // count of architectures.
        0xbeba_feca => {
            let count = usize::try_from(u32_at(head, 4, true)?).ok()?;
            if !(1..=MAX_ARCHITECTURES).contains(&count) {
                return None;
            }
            (0..count).map(|at| name(u32_at(head, 8 + at * 20, true)?)).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf_of(class: u8, data: u8, kind: u16, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"\x7fELF");
        (bytes[4], bytes[5]) = (class, data);
        let two = |value: u16| if data == 2 { value.to_be_bytes() } else { value.to_le_bytes() };
        bytes[16..18].copy_from_slice(&two(kind));
        bytes[18..20].copy_from_slice(&two(machine));
        bytes
    }

    fn pe_of(machine: u16, dotnet: bool) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
        bytes[0x98..0x9a].copy_from_slice(&0x20bu16.to_le_bytes());
        bytes[0x98 + 112 + 14 * 8] = u8::from(dotnet);
        bytes
    }

    fn shown(bytes: &[u8]) -> String {
        Binary::read(bytes).map_or_else(|| "none".to_owned(), |binary| binary.to_string())
    }

    #[test]
    fn programs_are_known_by_their_first_bytes() {
        for (bytes, expected) in [
            (elf_of(2, 1, 2, 62), "linux/amd64"),
            (elf_of(2, 1, 3, 183), "linux/arm64"),
            (elf_of(1, 1, 2, 40), "linux/arm"),
            (elf_of(2, 2, 2, 22), "linux/s390x"),
            (elf_of(1, 1, 2, 62), "none"),
            (elf_of(2, 1, 1, 62), "none"),
            (elf_of(2, 1, 2, 247), "none"),
            (pe_of(0x8664, false), "windows/amd64"),
            (pe_of(0x8664, true), "none"),
            (vec![0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1], "darwin/arm64"),
            (
                [b"\xca\xfe\xba\xbe\0\0\0\x02\x01\0\0\x07".as_slice(), &[0; 16], b"\x01\0\0\x0c"].concat(),
                "darwin/amd64+arm64",
            ),
            // A class of Java 17.
            (vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61, 0, 0], "none"),
            (b"#!/bin/sh".to_vec(), "none"),
            (b"MZ".to_vec(), "none"),
            (Vec::new(), "none"),
        ] {
            assert_eq!(shown(&bytes), expected);
            for end in 0..bytes.len() {
                shown(&bytes[..end]);
            }
        }
    }

    #[test]
    fn platforms_run_what_they_accept() {
        let runs = |bytes: &[u8], platform: &str| {
            Binary::read(bytes).unwrap().runs_on(&Platform::parse(platform).unwrap())
        };
        assert!(runs(&elf_of(1, 1, 2, 3), "linux/amd64") && runs(&elf_of(1, 1, 2, 40), "linux/arm64"));
        assert!(!runs(&elf_of(2, 1, 2, 62), "linux/386") && !runs(&elf_of(2, 1, 2, 62), "windows/amd64"));
    }
}
