//! Names of architectures in paths, and what they stand for.

use rbx_platform::Platform;

use crate::arch::{self, Arch};

/// An architecture that a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelling<'a> {
    /// As it is written.
    pub(super) text: &'a str,
    /// Go's name.
    pub(super) architecture: &'static str,
    /// Which one, of the 32-bit ARM ones by version.
    arch: Arch,
    /// Where in the text it begins.
    pub(super) start: usize,
}

/// The architectures that a path or the name of an image has as words of their own.
pub(super) fn spelled(text: &str) -> Vec<Spelling<'_>> {
    let spelling = |hit: arch::Hit| Spelling {
        text: &text[hit.range.clone()],
        // Without the version.
        architecture: hit.arch.name().split('/').next().unwrap_or_default(),
        arch: hit.arch,
        start: hit.range.start,
    };
    arch::find_in_path(text).into_iter().map(spelling).collect()
}

/// Whether a platform of the architecture runs what a variant of it is for.
pub(super) fn runs(platform: &Platform, spelling: &Spelling<'_>) -> bool {
    platform.architecture != spelling.architecture || spelling.arch.runs_on(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_words() {
        let names = |text: &str| {
            let found = spelled(text)
                .into_iter()
                .map(|it| format!("{}={}", &text[it.start..][..it.text.len()], it.architecture));
            found.collect::<Vec<_>>().join(" ")
        };
        for (text, expected) in [
            ("bin/app-amd64", "amd64=amd64"),
            ("app_linux_ARM64.tar.gz", "ARM64=arm64"),
            ("app-linux-x86_64-musl", "x86_64=amd64"),
            ("x_x86_64", "x86_64=amd64"),
            ("arm64v8/alpine:3", "arm64v8=arm64"),
            ("alarm/charm", ""),
            ("armv7.armhf", "armv7=arm armhf=arm"),
            ("", ""),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn smaller_variants_do_not_run_larger_ones() {
        let v6 = Platform::parse("linux/arm/v6").unwrap();
        let says = |text: &str| runs(&v6, &spelled(text)[0]);
        assert_eq!(
            ["armv7", "armv6", "armv5", "arm", "armhf", "amd64"].map(says),
            [false, true, true, true, true, true]
        );
    }
}
