//! Names of architectures in paths, and what they stand for.

use rbx_platform::Platform;

/// Spellings, the architecture by Go's name, and the variant that they imply.
const SPELLINGS: [(&str, &str, &str); 29] = [
    ("386", "386", ""),
    ("i386", "386", ""),
    ("i686", "386", ""),
    ("amd64", "amd64", ""),
    ("x64", "amd64", ""),
    ("x86_64", "amd64", ""),
    ("aarch64", "arm64", ""),
    ("arm64", "arm64", ""),
    ("arm64v8", "arm64", ""),
    ("armv8", "arm64", ""),
    ("arm", "arm", ""),
    ("arm32", "arm", ""),
    ("arm32v5", "arm", "v5"),
    ("arm32v6", "arm", "v6"),
    ("arm32v7", "arm", "v7"),
    ("armel", "arm", "v5"),
    ("armv5", "arm", "v5"),
    ("armv6", "arm", "v6"),
    ("armv6l", "arm", "v6"),
    ("armv7", "arm", "v7"),
    ("armv7l", "arm", "v7"),
    ("armhf", "arm", ""),
    ("loong64", "loong64", ""),
    ("loongarch64", "loong64", ""),
    ("mips64le", "mips64le", ""),
    ("ppc64le", "ppc64le", ""),
    ("ppc64el", "ppc64le", ""),
    ("riscv64", "riscv64", ""),
    ("s390x", "s390x", ""),
];

/// An architecture that a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelling {
    /// As it is written.
    pub(super) text: &'static str,
    /// Go's name.
    pub(super) architecture: &'static str,
    /// `v7`; empty where none is said.
    pub(super) variant: &'static str,
    /// Where in the text it begins.
    pub(super) start: usize,
}

/// The architectures that a path or the name of an image has as words of their own.
pub(super) fn spelled(text: &str) -> Vec<Spelling> {
    let lower = text.to_ascii_lowercase();
    // Parts of `lower`: how far in they begin.
    let start = |part: &str| part.as_ptr() as usize - lower.as_ptr() as usize;
    let mut all = Vec::new();
    for word in lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        // `x86_64` has a line of its own in it, where `linux_arm64` is two words.
        let parts = match word.find("x86_64") {
            Some(at) => vec![&word[at..at + "x86_64".len()]],
            None => word.split('_').collect(),
        };
        for part in parts {
            if let Some((text, architecture, variant)) = SPELLINGS.iter().find(|(text, ..)| *text == part) {
                all.push(Spelling { text, architecture, variant, start: start(part) });
            }
        }
    }
    all
}

/// Whether a platform runs what a variant of an architecture is for.
pub(super) fn runs(platform: &Platform, spelling: &Spelling) -> bool {
    let variant = (!spelling.variant.is_empty()).then(|| spelling.variant.to_owned());
    let Some(variant) = variant else { return true };
    platform.architecture != spelling.architecture
        || platform.accepted().iter().any(|accepted| {
            accepted.architecture == spelling.architecture && accepted.variant.as_ref() == Some(&variant)
        })
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
