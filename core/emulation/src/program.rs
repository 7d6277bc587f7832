//! Tiny programs, to see whether an architecture's programs are run.

use crate::Architecture;
use crate::architecture::EXECUTABLE;

/// Where the program lies in memory: on a page boundary whatever the size of pages is.
const BASE: u32 = 0x0040_0000;
const ALIGNMENT: u32 = 0x0001_0000;

impl Architecture {
    /// What [`program`](Self::program) exits with.
    pub const STATUS: i32 = 42;

    /// A static program of this architecture that does nothing but exit with [`STATUS`](Self::STATUS): an ELF header, one segment,
    /// and three instructions.
    pub fn program(self) -> Vec<u8> {
        let code = self.code();
        let (header_size, segment_size) = if self.is_wide() { (64, 56) } else { (52, 32) };
        let start = u32::from(header_size + segment_size);
        let size = start + u32::try_from(code.len()).expect("three instructions are short");

        let mut program = self.header(0, EXECUTABLE).to_vec();
        program.extend(self.word(1)); // e_version
        program.extend(self.address(BASE + start)); // e_entry
        program.extend(self.address(u32::from(header_size))); // e_phoff
        program.extend(self.address(0)); // e_shoff
        program.extend(self.word(self.flags())); // e_flags
        for half in [header_size, segment_size, 1, 0, 0, 0] {
            program.extend(self.half(half)); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
        }
        let (load, read_and_execute) = (self.word(1), self.word(5));
        program.extend(load);
        // `p_flags` stands where it is aligned.
        if self.is_wide() {
            program.extend(read_and_execute);
        }
        for field in [0, BASE, BASE, size, size] {
            program.extend(self.address(field)); // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz
        }
        if !self.is_wide() {
            program.extend(read_and_execute);
        }
        program.extend(self.address(ALIGNMENT));
        program.extend(code);
        program
    }

    /// `exit(42)`: the number of the call and its argument into registers, and the call.
    fn code(self) -> Vec<u8> {
        let instructions: [u32; 3] = match self {
            // mov eax, 60; mov edi, 42; syscall
            Self::Amd64 => return [&[0xb8, 60, 0, 0, 0][..], &[0xbf, 42, 0, 0, 0], &[0x0f, 0x05]].concat(),
            // mov eax, 1; mov ebx, 42; int 0x80
            Self::I386 => return [&[0xb8, 1, 0, 0, 0][..], &[0xbb, 42, 0, 0, 0], &[0xcd, 0x80]].concat(),
            // lghi %r2, 42; svc 1
            Self::S390x => return vec![0xa7, 0x29, 0, 42, 0x0a, 1],
            // mov r7, #1; mov r0, #42; svc #0
            Self::Arm => [0xe3a0_7001, 0xe3a0_002a, 0xef00_0000],
            // mov x8, #93; mov x0, #42; svc #0
            Self::Arm64 => [0xd280_0ba8, 0xd280_0540, 0xd400_0001],
            // li a7, 93; li a0, 42; ecall
            Self::Riscv64 => [0x05d0_0893, 0x02a0_0513, 0x0000_0073],
            // li r0, 1; li r3, 42; sc
            Self::Ppc64le => [0x3800_0001, 0x3860_002a, 0x4400_0002],
            // li.w $a7, 93; li.w $a0, 42; syscall 0
            Self::Loong64 => [0x0281_740b, 0x0280_a804, 0x002b_0000],
            // li $v0, 5058; li $a0, 42; syscall
            Self::Mips64 | Self::Mips64le => [0x2402_13c2, 0x2404_002a, 0x0000_000c],
        };
        instructions.iter().flat_map(|instruction| self.word(*instruction)).collect()
    }
}
