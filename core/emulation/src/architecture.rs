//! Architectures that QEMU's user mode runs, as one table.

use std::fmt;

use rbx_platform::Platform;

/// An architecture whose Linux programs QEMU's user mode runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// `amd64`
    Amd64,
    /// `386`
    I386,
    /// `arm`, of every version
    Arm,
    /// `arm64`
    Arm64,
    /// `loong64`
    Loong64,
    /// `mips64`
    Mips64,
    /// `mips64le`
    Mips64le,
    /// `ppc64le`
    Ppc64le,
    /// `riscv64`
    Riscv64,
    /// `s390x`
    S390x,
}

/// What is known about an architecture.
struct Facts {
    architecture: Architecture,
    /// Go's name, which platforms have.
    name: &'static str,
    /// QEMU's name, as in `qemu-aarch64`.
    qemu: &'static str,
    /// 64 bits, not 32: `EI_CLASS`.
    wide: bool,
    /// Big endian: `EI_DATA`.
    big: bool,
    /// `e_machine`
    machine: u16,
    /// `e_flags` of an ordinary program.
    flags: u32,
}

#[rustfmt::skip]
const TABLE: [Facts; 10] = {
    use Architecture::{Amd64, Arm, Arm64, I386, Loong64, Mips64, Mips64le, Ppc64le, Riscv64, S390x};
    [
        Facts { architecture: Amd64,    name: "amd64",    qemu: "x86_64",      wide: true,  big: false, machine: 62,  flags: 0 },
        Facts { architecture: I386,     name: "386",      qemu: "i386",        wide: false, big: false, machine: 3,   flags: 0 },
        // The fifth version of the embedded interface.
        Facts { architecture: Arm,      name: "arm",      qemu: "arm",         wide: false, big: false, machine: 40,  flags: 0x0500_0000 },
        Facts { architecture: Arm64,    name: "arm64",    qemu: "aarch64",     wide: true,  big: false, machine: 183, flags: 0 },
        // Floating point in double registers, the first version of the object format.
        Facts { architecture: Loong64,  name: "loong64",  qemu: "loongarch64", wide: true,  big: false, machine: 258, flags: 0x43 },
        // MIPS64, release 1.
        Facts { architecture: Mips64,   name: "mips64",   qemu: "mips64",      wide: true,  big: true,  machine: 8,   flags: 0x6000_0000 },
        Facts { architecture: Mips64le, name: "mips64le", qemu: "mips64el",    wide: true,  big: false, machine: 8,   flags: 0x6000_0000 },
        // The second version of the interface, in which the entry point is code and not a descriptor.
        Facts { architecture: Ppc64le,  name: "ppc64le",  qemu: "ppc64le",     wide: true,  big: false, machine: 21,  flags: 2 },
        Facts { architecture: Riscv64,  name: "riscv64",  qemu: "riscv64",     wide: true,  big: false, machine: 243, flags: 0 },
        Facts { architecture: S390x,    name: "s390x",    qemu: "s390x",       wide: true,  big: true,  machine: 22,  flags: 0 },
    ]
};

/// How much of an ELF header tells its architecture: up to `e_machine`.
pub(crate) const HEADER: usize = 20;
/// `EI_OSABI`, the first byte that says nothing about the architecture.
const OSABI: usize = 7;
/// `e_type`
const TYPE: usize = 16;
/// `ET_EXEC`: a program at fixed addresses.
pub(crate) const EXECUTABLE: u16 = 2;
/// `ET_DYN`: a program that may lie anywhere.
const POSITION_INDEPENDENT: u16 = 3;

impl Architecture {
    /// All of them, in the order of their names.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|facts| facts.architecture)
    }

    /// The architecture of a platform of Linux; `None` if QEMU's user mode has none for it. The variant is not looked
    /// at.
    pub fn of(platform: &Platform) -> Option<Self> {
        let platform = platform.normalized();
        let found = TABLE.iter().find(|facts| platform.os == "linux" && platform.architecture == facts.name);
        found.map(|facts| facts.architecture)
    }

    /// Go's name, as in platforms: `arm64`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// QEMU's name, as in `qemu-aarch64`.
    pub fn qemu(self) -> &'static str {
        self.facts().qemu
    }

    /// Magic and mask that tell the architecture's programs by the first 20 bytes of their ELF header: class, byte
    /// order, machine, and that it is a program, at fixed addresses or not. What the kernel's own loader does not look
    /// at (`EI_OSABI` and what follows it in `e_ident`) counts nothing, so that programs which put something there
    /// (those linked by GNU's linker with indirect functions; `AppImage`) are run, too.
    pub fn elf(self) -> ([u8; HEADER], [u8; HEADER]) {
        let mut mask = [0xff; HEADER];
        mask[OSABI..TYPE].fill(0);
        // 2 and 3.
        mask[TYPE + usize::from(self.facts().big)] = 0xfe;
        (self.header(0, EXECUTABLE), mask)
    }

    /// First bytes of the architecture's usual programs: at fixed addresses or not, for System V or GNU.
    pub fn headers(self) -> [[u8; HEADER]; 4] {
        let gnu = 3;
        [
            self.header(0, EXECUTABLE),
            self.header(gnu, EXECUTABLE),
            self.header(0, POSITION_INDEPENDENT),
            self.header(gnu, POSITION_INDEPENDENT),
        ]
    }

    /// First bytes of a program.
    pub(crate) fn header(self, osabi: u8, kind: u16) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4] = if self.is_wide() { 2 } else { 1 };
        header[5] = if self.facts().big { 2 } else { 1 };
        // `EV_CURRENT`
        header[6] = 1;
        header[OSABI] = osabi;
        header[TYPE..TYPE + 2].copy_from_slice(&self.half(kind));
        header[TYPE + 2..].copy_from_slice(&self.half(self.facts().machine));
        header
    }

    /// 64 bits.
    pub(crate) fn is_wide(self) -> bool {
        self.facts().wide
    }

    /// `e_flags`
    pub(crate) fn flags(self) -> u32 {
        self.facts().flags
    }

    /// Two bytes in the architecture's order.
    pub(crate) fn half(self, number: u16) -> [u8; 2] {
        if self.facts().big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    /// Four bytes in the architecture's order.
    pub(crate) fn word(self, number: u32) -> [u8; 4] {
        if self.facts().big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    /// An address or size in the architecture's order and width.
    pub(crate) fn address(self, number: u32) -> Vec<u8> {
        match (self.is_wide(), self.facts().big) {
            (false, _) => self.word(number).to_vec(),
            (true, false) => u64::from(number).to_le_bytes().to_vec(),
            (true, true) => u64::from(number).to_be_bytes().to_vec(),
        }
    }

    fn facts(self) -> &'static Facts {
        // The table is in the order of the variants, as a test says.
        &TABLE[self as usize]
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (place, facts) in TABLE.iter().enumerate() {
            assert_eq!(facts.architecture as usize, place, "{}", facts.name);
        }
        assert!(Architecture::all().skip(2).map(Architecture::name).is_sorted());
    }

    #[test]
    fn platforms_have_an_architecture() {
        for (platform, wanted) in [
            ("linux/amd64/v3", Some(Architecture::Amd64)),
            ("linux/i386", Some(Architecture::I386)),
            ("linux/arm/v5", Some(Architecture::Arm)),
            ("linux/aarch64", Some(Architecture::Arm64)),
            ("linux/mips64le", Some(Architecture::Mips64le)),
            ("linux/sparc64", None),
            ("windows/amd64", None),
            ("darwin/arm64", None),
        ] {
            assert_eq!(Architecture::of(&Platform::parse(platform).unwrap()), wanted, "{platform}");
        }
        let raw = Platform {
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            variant: None,
            os_version: None,
        };
        assert_eq!(Architecture::of(&raw), Some(Architecture::Amd64));
    }

    #[test]
    fn each_mask_takes_the_programs_of_its_architecture_alone() {
        for architecture in Architecture::all() {
            let (magic, mask) = architecture.elf();
            let takes =
                |header: &[u8; HEADER]| (0..HEADER).all(|at| (header[at] ^ magic[at]) & mask[at] == 0);
            for other in Architecture::all() {
                for header in other.headers() {
                    assert_eq!(takes(&header), other == architecture, "{architecture} {other}");
                }
            }
            assert!(!takes(&architecture.header(0, 1)), "object files are no programs");
            assert!(!takes(&architecture.header(0, 4)), "core dumps are no programs");
        }
    }

    #[test]
    fn magics_are_those_of_qemu() {
        // From `scripts/qemu-binfmt-conf.sh`, without the bytes that are masked there.
        for (architecture, start, end) in [
            (Architecture::Arm64, "7f454c46020101", "0200b700"),
            (Architecture::Arm, "7f454c46010101", "02002800"),
            (Architecture::I386, "7f454c46010101", "02000300"),
            (Architecture::S390x, "7f454c46020201", "00020016"),
            (Architecture::Ppc64le, "7f454c46020101", "02001500"),
            (Architecture::Riscv64, "7f454c46020101", "0200f300"),
            (Architecture::Loong64, "7f454c46020101", "02000201"),
            (Architecture::Mips64, "7f454c46020201", "00020008"),
        ] {
            let (magic, mask) = architecture.elf();
            let (first, last) = (hex::encode(&magic[..7]), hex::encode(&magic[16..]));
            assert_eq!((first.as_str(), last.as_str()), (start, end), "{architecture}");
            let ends = if architecture.facts().big { "fffeffff" } else { "feffffff" };
            assert_eq!(hex::encode(mask), format!("ffffffffffffff000000000000000000{ends}"));
        }
    }
}
