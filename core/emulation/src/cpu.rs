//! What the CPU runs of its own architecture.

/// The highest version of x86-64 that this CPU has all of, as the System V interface defines them: 1 to 4.
#[cfg(target_arch = "x86_64")]
pub(crate) fn version() -> u8 {
    use std::arch::is_x86_feature_detected as has;

    let second = has!("cmpxchg16b")
        && has!("popcnt")
        && has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2");
    let third = has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let fourth =
        has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (second, third, fourth) {
        (true, true, true) => 4,
        (true, true, false) => 3,
        (true, false, _) => 2,
        (false, ..) => 1,
    }
}

/// Elsewhere the platform of the host says it.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn version() -> u8 {
    1
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    #[test]
    fn the_version_is_what_the_kernel_says_of_the_cpu() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap();
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let has = |names: &str| names.split(' ').all(|name| flags.contains(&name));
        // In the kernel's names: `pni` is SSE3, `abm` has LZCNT.
        let versions = [
            "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2",
            "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
            "avx512f avx512bw avx512cd avx512dq avx512vl",
        ];
        let wanted = 1 + versions.iter().take_while(|names| has(names)).count();
        assert_eq!(usize::from(super::version()), wanted);
    }
}
