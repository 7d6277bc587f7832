//! The platform of this machine.

use std::env::consts::{ARCH, OS};

use crate::Platform;

pub(crate) fn host() -> Platform {
    let os = if OS == "macos" { "darwin" } else { OS };
    let little = cfg!(target_endian = "little");
    let architecture = match ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" if little => "ppc64le",
        "powerpc64" => "ppc64",
        "mips" if little => "mipsle",
        "mips64" if little => "mips64le",
        other => other,
    };
    let variant = (architecture == "arm").then(|| {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        arm_variant(&cpuinfo).to_owned()
    });
    Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant, os_version: None }
}

/// The variant that `/proc/cpuinfo` of a 32-bit ARM machine tells; `v7`, which nearly all are, if it does not.
fn arm_variant(cpuinfo: &str) -> &'static str {
    let field = |name: &str| {
        cpuinfo.lines().filter_map(|line| line.split_once(':')).find_map(|(key, value)| {
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        })
    };
    // The first Raspberry Pis say 7 and mean 6.
    let is_armv6 = || field("model name").is_some_and(|model| model.starts_with("armv6-compatible"));
    match field("cpu architecture").as_deref() {
        Some("8" | "aarch64") => "v8",
        Some("7") if is_armv6() => "v6",
        Some("6" | "6tej") => "v6",
        Some("5" | "5t" | "5te" | "5tej") => "v5",
        _ => "v7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_normal() {
        let host = host();
        assert_eq!(host.normalized(), host);
        assert_eq!(host.to_string().parse(), Ok(host));
    }

    #[test]
    fn reads_the_variant_of_arm() {
        for (cpuinfo, variant) in [
            ("", "v7"),
            ("processor\t: 0\nmodel name\t: ARMv7 Processor rev 4\nCPU architecture: 7\n", "v7"),
            ("model name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7\n", "v6"),
            ("CPU architecture: 8\nCPU architecture: 7\n", "v8"),
            ("CPU architecture: 5TEJ\n", "v5"),
        ] {
            assert_eq!(arm_variant(cpuinfo), variant, "{cpuinfo}");
        }
    }
}
