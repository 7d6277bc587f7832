//! Docker's default seccomp profile as a BPF program.
//!
//! `syscalls.tsv` is the profile as data: each system call with its number in every ABI and the verdict for a
//! process that has Docker's default capabilities (`moby/profiles`, 2026). The numbers of one ABI become ranges of
//! equal verdict, found by binary search: a program of some hundred instructions, where one comparison for each call
//! takes seven hundred and doubles the time it takes to start a step.
//!
//! One deviation, towards strictness: arguments are compared as the 32 bits that the kernel reads. Docker's filter
//! compares 64, so a caller that sets an upper bit gets past its rules for `socket`.

mod oci;

use libc::sock_filter;

pub(crate) use oci::oci_profile;

/// The profile.
const TABLE: &str = include_str!("syscalls.tsv");

/// The last call of the profile, `removexattrat`. A program that tries a newer one must see a kernel without it.
const NEWEST: u32 = 466;

/// Set in the numbers of the x32 ABI, which is otherwise x86-64's with some calls of its own from 512 on.
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`; the argument is the lower half of the first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT: u32 = 16;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
/// Every `CLONE_NEW*` flag of Docker's rule (all but `CLONE_NEWTIME`, which `clone` cannot say).
const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// The values of `personality(2)` that are let through: Linux, Linux 32 bit, each with `UNAME26`, and the query.
const PERSONALITIES: [u32; 5] = [0, 8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// What the filter says to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// EPERM.
    Deny,
    /// ENOSYS, as if the kernel did not have it.
    Absent,
    /// Allowed without flags for new namespaces.
    Clone,
    /// Allowed for [`PERSONALITIES`].
    Personality,
    /// Allowed for address families other than `AF_ALG` and `AF_VSOCK`.
    Socket,
}

impl Verdict {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "allow" => Self::Allow,
            "deny" => Self::Deny,
            "absent" => Self::Absent,
            "clone" => Self::Clone,
            "personality" => Self::Personality,
            "socket" => Self::Socket,
            _ => return None,
        })
    }
}

/// A system call interface of a CPU.
struct Abi {
    /// `AUDIT_ARCH_*`.
    arch: u32,
    /// The columns of [`TABLE`] with its numbers.
    columns: &'static [usize],
    /// The bits of a number that count.
    mask: Option<u32>,
}

const X86_64: [Abi; 2] = [
    Abi { arch: 0xc000_003e, columns: &[2, 4], mask: Some(!X32_BIT) },
    Abi { arch: 0x4000_0003, columns: &[3], mask: None },
];
const AARCH64: [Abi; 2] = [
    Abi { arch: 0xc000_00b7, columns: &[5], mask: None },
    Abi { arch: 0x4000_0028, columns: &[6], mask: None },
];
const RISCV64: [Abi; 1] = [Abi { arch: 0xc000_00f3, columns: &[7], mask: None }];

/// The ABIs that a kernel for `cpu` (in Rust's spelling) runs.
fn abis(cpu: &str) -> &'static [Abi] {
    match cpu {
        "x86_64" => &X86_64,
        "aarch64" => &AARCH64,
        "riscv64" => &RISCV64,
        _ => &[],
    }
}

/// The filter for this CPU; `None` where there is no table for it.
pub(crate) fn default_profile() -> Option<Vec<sock_filter>> {
    program(abis(std::env::consts::ARCH))
}

/// Calls from `first` up to the next range get `verdict`.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u32,
    verdict: Verdict,
}

/// The ranges of an ABI, ascending, the first from zero.
fn ranges(abi: &Abi) -> Vec<Range> {
    let mut numbered: Vec<(u32, Verdict)> = TABLE
        .lines()
        .flat_map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let verdict = cells.get(1).and_then(|word| Verdict::parse(word));
            let numbers: Vec<u32> = abi
                .columns
                .iter()
                .filter_map(|&column| cells.get(column).and_then(|cell| cell.parse().ok()))
                .collect();
            numbers.into_iter().filter_map(move |number| Some((number, verdict?)))
        })
        .collect();
    numbered.sort_unstable_by_key(|&(number, _)| number);

    let mut ranges: Vec<Range> = Vec::new();
    let mut extend = |first: u32, verdict: Verdict| {
        if ranges.last().is_none_or(|last| last.verdict != verdict) {
            ranges.push(Range { first, verdict });
        }
    };
    // Numbers without a name: denied as all that is not allowed, or absent where they are newer than the profile.
    let gap = |from: u32, to: u32, extend: &mut dyn FnMut(u32, Verdict)| {
        if from < to && from <= NEWEST {
            extend(from, Verdict::Deny);
        }
        if from.max(NEWEST + 1) < to {
            extend(from.max(NEWEST + 1), Verdict::Absent);
        }
    };
    let mut next = 0;
    for (number, verdict) in numbered {
        gap(next, number, &mut extend);
        extend(number, verdict);
        next = number + 1;
    }
    gap(next, u32::MAX, &mut extend);
    ranges
}

/// A comparison in the search tree of an ABI.
struct Node {
    bound: u32,
    /// Where to go for numbers from `bound` on.
    above: Next,
    /// Where to go for smaller ones.
    below: Next,
}

#[derive(Clone, Copy)]
enum Next {
    Node(usize),
    Leaf(Verdict),
}

fn program(abis: &[Abi]) -> Option<Vec<sock_filter>> {
    if abis.is_empty() {
        return None;
    }
    let blocks: Vec<Vec<sock_filter>> = abis.iter().map(block).collect::<Option<_>>()?;
    let mut code = vec![load(ARCH)];
    // Two instructions for each ABI and the one that ends the dispatch stand before the first block.
    let mut start = 1 + 2 * abis.len() + 1;
    for (abi, block) in abis.iter().zip(&blocks) {
        code.push(jump(libc::BPF_JEQ, abi.arch, 0, 1));
        let distance = u32::try_from(start - code.len() - 1).ok()?;
        code.push(instruction(libc::BPF_JMP | libc::BPF_JA, distance, 0, 0));
        start += block.len();
    }
    // Another ABI than those the kernel is known to have: nothing can be said about its numbers.
    code.push(give(libc::SECCOMP_RET_KILL_PROCESS));
    code.extend(blocks.into_iter().flatten());
    Some(code)
}

/// The code of one ABI: load the number, search, verdicts. `None` if a jump would be longer than BPF can say.
fn block(abi: &Abi) -> Option<Vec<sock_filter>> {
    let mut code = vec![load(NUMBER)];
    if let Some(mask) = abi.mask {
        code.push(instruction(libc::BPF_ALU | libc::BPF_AND, mask, 0, 0));
    }
    let mut nodes = Vec::new();
    search(&ranges(abi), &mut nodes);
    let (leaves, entries) = leaves();
    for (index, node) in nodes.iter().enumerate() {
        let distance = |next| {
            let target = match next {
                Next::Node(node) => node,
                Next::Leaf(verdict) => nodes.len() + entries[verdict as usize],
            };
            u8::try_from(target - index - 1).ok()
        };
        code.push(jump(libc::BPF_JGE, node.bound, distance(node.above)?, distance(node.below)?));
    }
    code.extend(leaves);
    Some(code)
}

/// Appends the comparisons that find a number's range, in the order they are tried.
fn search(ranges: &[Range], nodes: &mut Vec<Node>) -> Next {
    if let [range] = ranges {
        return Next::Leaf(range.verdict);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let bound = right[0].first;
    let index = nodes.len();
    // Its place is taken before its children are known, for jumps lead forward only.
    nodes.push(Node { bound, above: Next::Leaf(Verdict::Deny), below: Next::Leaf(Verdict::Deny) });
    nodes[index].below = search(left, nodes);
    nodes[index].above = search(right, nodes);
    Next::Node(index)
}

/// The code that the search ends in, and where in it each verdict starts.
fn leaves() -> (Vec<sock_filter>, [usize; 6]) {
    let allow = give(libc::SECCOMP_RET_ALLOW);
    let deny = give(libc::SECCOMP_RET_ERRNO | EPERM);
    let mut code = Vec::new();
    let mut entries = [0; 6];
    let mut leaf = |verdict: Verdict, instructions: &[sock_filter]| {
        entries[verdict as usize] = code.len();
        code.extend_from_slice(instructions);
    };
    leaf(Verdict::Allow, &[allow]);
    leaf(Verdict::Deny, &[deny]);
    leaf(Verdict::Absent, &[give(libc::SECCOMP_RET_ERRNO | ENOSYS)]);
    leaf(Verdict::Clone, &[load(ARGUMENT), jump(libc::BPF_JSET, CLONE_NAMESPACES, 1, 0), allow, deny]);
    leaf(
        Verdict::Personality,
        &[
            load(ARGUMENT),
            jump(libc::BPF_JEQ, PERSONALITIES[0], 5, 0),
            jump(libc::BPF_JEQ, PERSONALITIES[1], 4, 0),
            jump(libc::BPF_JEQ, PERSONALITIES[2], 3, 0),
            jump(libc::BPF_JEQ, PERSONALITIES[3], 2, 0),
            jump(libc::BPF_JEQ, PERSONALITIES[4], 1, 0),
            deny,
            allow,
        ],
    );
    leaf(
        Verdict::Socket,
        &[
            load(ARGUMENT),
            jump(libc::BPF_JEQ, AF_ALG, 2, 0),
            jump(libc::BPF_JEQ, AF_VSOCK, 1, 0),
            allow,
            deny,
        ],
    );
    (code, entries)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // Every BPF operation code is below 0x100.
    sock_filter { code: (code & 0xffff) as u16, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_K | condition, k, jt, jf)
}

fn give(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, action, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with a program, for the operations used here.
    fn evaluate(program: &[sock_filter], arch: u32, number: u32, argument: u32) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        for _ in 0..program.len() {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |hit: bool| usize::from(if hit { jt } else { jf });
            match u32::from(code) {
                0x20 => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCH => arch,
                        ARGUMENT => argument,
                        other => panic!("load of {other}"),
                    }
                }
                0x54 => accumulator &= k,
                0x05 => at += k as usize,
                0x15 => at += branch(accumulator == k),
                0x35 => at += branch(accumulator >= k),
                0x45 => at += branch(accumulator & k != 0),
                0x06 => return k,
                other => panic!("operation {other:#x}"),
            }
        }
        panic!("the program does not end");
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const DENY: u32 = libc::SECCOMP_RET_ERRNO | EPERM;
    const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | ENOSYS;
    const CPUS: [&str; 3] = ["x86_64", "aarch64", "riscv64"];

    #[test]
    fn every_call_of_every_abi_gets_the_verdict_of_the_table() {
        for abi in CPUS.into_iter().flat_map(abis) {
            let program = program(std::slice::from_ref(abi)).expect("a program");
            let mut named = 0;
            for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
                let cells: Vec<&str> = line.split('\t').collect();
                for &column in abi.columns {
                    let Ok(number) = cells[column].parse() else { continue };
                    named += 1;
                    let expected = match cells[1] {
                        "allow" | "clone" | "personality" | "socket" => ALLOW,
                        "deny" => DENY,
                        "absent" => ABSENT,
                        other => panic!("verdict {other}"),
                    };
                    assert_eq!(evaluate(&program, abi.arch, number, 0), expected, "{line}");
                }
            }
            assert!(named > 300, "{named} calls of {:#x}", abi.arch);
        }
    }

    #[test]
    fn unnamed_numbers_are_denied_and_newer_ones_absent() {
        let program = program(&X86_64).expect("a program");
        let arch = X86_64[0].arch;
        assert_eq!(evaluate(&program, arch, 400, 0), DENY);
        assert_eq!(evaluate(&program, arch, NEWEST, 0), ALLOW);
        assert_eq!(evaluate(&program, arch, NEWEST + 1, 0), ABSENT);
        assert_eq!(evaluate(&program, arch, u32::MAX - 1, 0), ABSENT);
    }

    #[test]
    fn x32_is_filtered_as_x86_64() {
        let program = program(&X86_64).expect("a program");
        let arch = X86_64[0].arch;
        assert_eq!(evaluate(&program, arch, X32_BIT + 1, 0), ALLOW);
        assert_eq!(evaluate(&program, arch, X32_BIT + 165, 0), DENY, "mount");
        assert_eq!(evaluate(&program, arch, X32_BIT + 520, 0), ALLOW, "execve");
        assert_eq!(evaluate(&program, arch, X32_BIT + 528, 0), DENY, "kexec_load");
    }

    #[test]
    fn arguments_are_looked_at() {
        let program = program(&X86_64).expect("a program");
        let call = |number, argument| evaluate(&program, X86_64[0].arch, number, argument);
        let (socket, clone, clone3, personality) = (41, 56, 435, 135);
        for (family, expected) in [(0, ALLOW), (2, ALLOW), (38, DENY), (39, ALLOW), (40, DENY), (41, ALLOW)] {
            assert_eq!(call(socket, family), expected, "family {family}");
        }
        assert_eq!(call(clone, 17), ALLOW);
        for bit in [0x0002_0000, 0x0200_0000, 0x1000_0000, 0x4000_0000] {
            assert_eq!(call(clone, 0x11 | bit), DENY, "{bit:#x}");
        }
        assert_eq!(call(clone3, 0), ABSENT);
        for value in PERSONALITIES {
            assert_eq!(call(personality, value), ALLOW, "{value:#x}");
        }
        assert_eq!(call(personality, 0x0004_0000), DENY, "no randomisation");
    }

    #[test]
    fn another_abi_ends_the_process() {
        let program = program(&X86_64).expect("a program");
        assert_eq!(evaluate(&program, AARCH64[0].arch, 1, 0), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn programs_are_short() {
        for abi in CPUS.into_iter().flat_map(abis) {
            let length = block(abi).expect("a block").len();
            assert!(length <= 165, "{length} instructions for {:#x}", abi.arch);
        }
    }
}
