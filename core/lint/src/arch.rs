//! How architectures are spelled in names of files, packages, directories and images.

use std::ops::Range;

use rbx_platform::Platform;

/// An architecture that a spelling names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    I386,
    Arm64,
    /// The 32-bit ARM architectures whose version is at least that; 0 is any.
    Arm(u8),
    Ppc64le,
    S390x,
    Riscv64,
    Loong64,
    Mips64le,
}

impl Arch {
    /// What Docker calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::I386 => "386",
            Self::Arm64 => "arm64",
            Self::Arm(7) => "arm/v7",
            Self::Arm(_) => "arm",
            Self::Ppc64le => "ppc64le",
            Self::S390x => "s390x",
            Self::Riscv64 => "riscv64",
            Self::Loong64 => "loong64",
            Self::Mips64le => "mips64le",
        }
    }

    /// Whether files for it run on a platform.
    pub(crate) fn runs_on(self, platform: &Platform) -> bool {
        match (self, platform.architecture.as_str()) {
            (Self::Amd64 | Self::I386, "amd64")
            | (Self::I386, "386")
            | (Self::Arm64, "arm64")
            | (Self::Ppc64le, "ppc64le")
            | (Self::S390x, "s390x")
            | (Self::Riscv64, "riscv64")
            | (Self::Loong64, "loong64")
            | (Self::Mips64le, "mips64le") => true,
            (Self::Arm(least), "arm") => version(platform) >= least,
            _ => false,
        }
    }

    /// Whether a text spells it, in whatever way.
    pub(crate) fn is_in(self, text: &str) -> bool {
        find(text).iter().any(|hit| hit.arch == self)
    }
}

/// The version of a 32-bit ARM platform.
pub(crate) fn version(platform: &Platform) -> u8 {
    let variant = platform.variant.as_deref().unwrap_or_default();
    variant.strip_prefix('v').and_then(|number| number.parse().ok()).unwrap_or(7)
}

/// A way to spell architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Docker's and Go's, which `TARGETARCH` has.
    Docker,
    /// The kernel's, which `uname -m` has.
    Kernel,
    /// Debian's, which `dpkg --print-architecture` has.
    Debian,
    /// Alpine's, which `apk --print-arch` has.
    Alpine,
    /// That of Node.js.
    Node,
    /// The kernel's for amd64, Docker's for arm64.
    Mixed,
    /// That of the releases of Protocol Buffers.
    Protobuf,
}

impl Style {
    /// How it spells `amd64`, `386`, `arm64`, `arm/v7`, `arm/v6`, `arm/v5`, `ppc64le`, `s390x` and `riscv64`; empty
    /// where nobody can tell.
    pub(crate) fn names(self) -> [&'static str; 9] {
        match self {
            Self::Docker => ["amd64", "386", "arm64", "arm", "arm", "arm", "ppc64le", "s390x", "riscv64"],
            Self::Kernel => {
                ["x86_64", "i686", "aarch64", "armv7l", "armv6l", "armv5l", "ppc64le", "s390x", "riscv64"]
            }
            Self::Debian => {
                ["amd64", "i386", "arm64", "armhf", "armel", "armel", "ppc64el", "s390x", "riscv64"]
            }
            Self::Alpine => ["x86_64", "x86", "aarch64", "armv7", "armhf", "", "ppc64le", "s390x", "riscv64"],
            Self::Node => ["x64", "x86", "arm64", "armv7l", "armv6l", "", "ppc64le", "s390x", "riscv64"],
            Self::Protobuf => ["x86_64", "x86_32", "aarch_64", "", "", "", "ppcle_64", "s390_64", ""],
            Self::Mixed => ["x86_64", "i386", "arm64", "armv7", "armv6", "", "ppc64le", "s390x", "riscv64"],
        }
    }

    /// How a platform's architecture is spelled; `None` where nobody can tell.
    pub(crate) fn spell(self, platform: &Platform) -> Option<&'static str> {
        let index = match (platform.architecture.as_str(), version(platform)) {
            ("amd64", _) => 0,
            ("386", _) => 1,
            ("arm64", _) => 2,
            ("arm", 7..) => 3,
            ("arm", 6) => 4,
            ("arm", _) => 5,
            ("ppc64le", _) => 6,
            ("s390x", _) => 7,
            ("riscv64", _) => 8,
            _ => return None,
        };
        self.names().get(index).copied().filter(|name| !name.is_empty())
    }

    /// The style of a spelling that only one style has.
    pub(crate) fn of(text: &str) -> Option<Self> {
        match text {
            "amd64" => Some(Self::Docker),
            "x86_64" | "aarch64" | "armv7l" => Some(Self::Kernel),
            "x64" => Some(Self::Node),
            _ => None,
        }
    }
}

/// A spelling of an architecture in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) range: Range<usize>,
    pub(crate) arch: Arch,
}

/// The spellings; of two that begin alike the longer one first.
const SPELLINGS: [(&str, Arch); 42] = [
    ("aarch64", Arch::Arm64),
    ("aarch_64", Arch::Arm64),
    ("amd64", Arch::Amd64),
    ("arm-linux-gnueabihf", Arch::Arm(6)),
    ("arm-linux-gnueabi", Arch::Arm(5)),
    ("arm32v5", Arch::Arm(5)),
    ("arm32v6", Arch::Arm(6)),
    ("arm32v7", Arch::Arm(7)),
    ("arm64v8", Arch::Arm64),
    ("arm64", Arch::Arm64),
    ("arm32", Arch::Arm(0)),
    ("armv8", Arch::Arm64),
    ("armel", Arch::Arm(5)),
    ("armhf", Arch::Arm(6)),
    ("armv5", Arch::Arm(5)),
    ("armv6hf", Arch::Arm(6)),
    ("armv6l", Arch::Arm(6)),
    ("armv6", Arch::Arm(6)),
    ("armv7hf", Arch::Arm(7)),
    ("armv7l", Arch::Arm(7)),
    ("armv7", Arch::Arm(7)),
    ("arm-v5", Arch::Arm(5)),
    ("arm-v6", Arch::Arm(6)),
    ("arm-v7", Arch::Arm(7)),
    ("i386", Arch::I386),
    ("i486", Arch::I386),
    ("i586", Arch::I386),
    ("i686", Arch::I386),
    ("linux32", Arch::I386),
    ("linux64", Arch::Amd64),
    ("loong64", Arch::Loong64),
    ("loongarch64", Arch::Loong64),
    ("mips64le", Arch::Mips64le),
    ("powerpc64le", Arch::Ppc64le),
    ("ppc64el", Arch::Ppc64le),
    ("ppc64le", Arch::Ppc64le),
    ("riscv64gc", Arch::Riscv64),
    ("riscv64", Arch::Riscv64),
    ("s390x", Arch::S390x),
    ("x86_64", Arch::Amd64),
    ("x86-64", Arch::Amd64),
    ("x64", Arch::Amd64),
];

/// Spellings that are one only after `linux-` or the like.
const AFTER_LINUX: [(&str, Arch); 4] =
    [("386", Arch::I386), ("32bit", Arch::I386), ("x86", Arch::I386), ("arm", Arch::Arm(0))];

/// Bytes of a variable's name that are looked at, at most.
const MAX_NAME: usize = 64;

/// The architectures that a text spells, in order. A spelling is no part of a longer word, nor of a variable's name;
/// `AMD64` is one, too. `arm` and `386` are spellings after `linux-` and the like only.
pub(crate) fn find(text: &str) -> Vec<Hit> {
    scan(text, false)
}

/// The architectures that a path has as words of its own, in order: all that [`find`] does, and `arm` and `386` wherever
/// they stand.
pub(crate) fn find_in_path(path: &str) -> Vec<Hit> {
    scan(path, true)
}

fn scan(text: &str, is_path: bool) -> Vec<Hit> {
    let bytes = text.as_bytes();
    let mut hits = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let inside = at > 0 && is_letter(bytes[at - 1]);
        let first = matches!(byte | 0x20, b'3' | b'a' | b'i' | b'l' | b'm' | b'p' | b'r' | b's' | b'x');
        if inside || !first {
            at += 1;
            continue;
        }
        match spelling(text, at, is_path) {
            Some((length, arch)) if !is_name(text, at) => {
                hits.push(Hit { range: at..at + length, arch });
                at += length;
            }
            _ => at += 1,
        }
    }
    hits
}

/// The spelling at a place, with its length.
fn spelling(text: &str, at: usize, is_path: bool) -> Option<(usize, Arch)> {
    let bytes = text.as_bytes();
    let is_whole = |spelled: &str| {
        let end = at + spelled.len();
        let same = bytes.get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(spelled.as_bytes()));
        // `amd64v3` is a level of amd64.
        let rest = bytes.get(end..).unwrap_or_default();
        let level = spelled == "amd64" && matches!(rest, [b'v', b'1'..=b'4', ..]);
        same && (level || !rest.first().is_some_and(|&next| is_letter(next)))
    };
    let known = |list: &[(&str, Arch)]| {
        list.iter().find(|(spelled, _)| is_whole(spelled)).map(|(spelled, arch)| (spelled.len(), *arch))
    };
    known(&SPELLINGS).or_else(|| {
        if is_path {
            return known(&AFTER_LINUX);
        }
        let before = bytes.get(..at)?.strip_suffix(b"-").or_else(|| {
            let before = bytes.get(..at)?;
            before.strip_suffix(b"_").or_else(|| before.strip_suffix(b"/"))
        })?;
        let before = before.get(before.len().checked_sub(5)?..)?;
        let found = before.eq_ignore_ascii_case(b"linux").then(|| known(&AFTER_LINUX)).flatten()?;
        // `x86-64` was not spelled here, nor `arm` of a toolchain such as `arm-none-eabi`.
        let rest = text.get(at + found.0..)?;
        (!rest.starts_with("-none") && !rest.starts_with("_64") && !rest.starts_with("-linux"))
            .then_some(found)
    })
}

/// Whether what begins at a place is part of a variable's name.
fn is_name(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes().get(at.saturating_sub(MAX_NAME)..at).unwrap_or_default();
    let start = bytes.iter().rposition(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let before = start.and_then(|start| bytes.get(..=start)).unwrap_or_default();
    before.ends_with(b"$") || before.ends_with(b"${")
}

/// A byte that goes on with a word; one of a character that is not ASCII does.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        let hits = find(text);
        hits.iter().map(|hit| &text[hit.range.clone()]).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn spellings_are_whole_words() {
        for (text, wanted) in [
            ("tool_1.0_linux_amd64.tar.gz", "amd64"),
            ("tool-Linux-x86_64.tgz", "x86_64"),
            ("tool-x86-64", "x86-64"),
            ("x86_64-unknown-linux-musl", "x86_64"),
            ("linux-arm.zip linux/arm/v7 linux-armv7hf arm32v7", "arm arm armv7hf arm32v7"),
            ("linux-386 linux_x86 i386 x86 386", "386 x86 i386"),
            ("AMD64 Aarch64 amd64v3 jq-linux64", "AMD64 Aarch64 amd64 linux64"),
            ("alarm hex64 farm64 amd64x arm x86 xamd64 größeamd64", ""),
            ("$amd64 ${arm64_url} $SHA_amd64", ""),
            ("gcc-arm-none-eabi-9-x86_64-linux linux-arm-none-eabi", "x86_64"),
            ("linux-x86_64", "x86_64"),
            ("", ""),
        ] {
            assert_eq!(found(text), wanted, "{text}");
        }
    }

    #[test]
    fn spellings_run_where_they_are_for() {
        let on = |text: &str, platform: &str| find(text)[0].arch.runs_on(&Platform::parse(platform).unwrap());
        for (text, platform, wanted) in [
            ("x86_64", "linux/amd64", true),
            ("x64", "linux/amd64/v3", true),
            ("i386", "linux/amd64", true),
            ("amd64", "linux/386", false),
            ("aarch64", "linux/arm64", true),
            ("armhf", "linux/arm64", false),
            ("armhf", "linux/arm/v6", true),
            ("armv7", "linux/arm/v6", false),
            ("armv6", "linux/arm/v7", true),
            ("linux-arm", "linux/arm/v5", true),
            ("ppc64el", "linux/ppc64le", true),
        ] {
            assert_eq!(on(text, platform), wanted, "{text} {platform}");
        }
    }

    #[test]
    fn styles_differ_in_what_they_call_a_platform() {
        let spell = |style: Style, platform| style.spell(&Platform::parse(platform).unwrap());
        assert_eq!(spell(Style::Docker, "linux/arm/v7"), Some("arm"));
        assert_eq!(spell(Style::Kernel, "linux/arm/v6"), Some("armv6l"));
        assert_eq!(spell(Style::Debian, "linux/ppc64le"), Some("ppc64el"));
        assert_eq!(spell(Style::Alpine, "linux/arm/v5"), None);
        assert_eq!(spell(Style::Node, "linux/loong64"), None);
    }
}
