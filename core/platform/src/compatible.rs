//! Which platforms can stand for which.

use crate::Platform;

/// The candidate that suits a machine of platform `wanted` best, by its place; the first of several equal ones.
/// `None` if the machine accepts none of them.
pub fn best<'a>(wanted: &Platform, candidates: impl Iterator<Item = &'a Platform>) -> Option<usize> {
    let accepted = accepted(wanted);
    let rank = |candidate: &Platform| accepted.iter().position(|platform| matches(platform, candidate));
    let ranked = candidates.enumerate().filter_map(|(place, candidate)| Some((rank(candidate)?, place)));
    ranked.min().map(|(_, place)| place)
}

pub(crate) fn matches(platform: &Platform, other: &Platform) -> bool {
    let (platform, other) = (platform.normalized(), other.normalized());
    platform.os == other.os
        && platform.architecture == other.architecture
        && platform.variant == other.variant
        && (platform.os != "windows"
            || windows_accepts(platform.os_version.as_deref(), other.os_version.as_deref()))
}

pub(crate) fn accepted(platform: &Platform) -> Vec<Platform> {
    let platform = platform.normalized();
    let with = |architecture: &str, variant: String| {
        let variant = (!variant.is_empty()).then_some(variant);
        Platform { architecture: architecture.to_owned(), variant, ..platform.clone() }.normalized()
    };
    let smaller_arms = |variant: &str| {
        let below = version(variant).unwrap_or(0);
        (5..below).rev().map(|n| with("arm", format!("v{n}"))).collect::<Vec<_>>()
    };

    let mut accepted = vec![platform.clone()];
    let variant = platform.variant.as_deref().unwrap_or_default();
    match platform.architecture.as_str() {
        "amd64" => {
            let below = version(variant).unwrap_or(0);
            accepted.extend((1..below).rev().map(|n| with("amd64", format!("v{n}"))));
            accepted.push(with("386", String::new()));
        }
        "arm" => accepted.extend(smaller_arms(variant)),
        "arm64" => {
            accepted.extend(smaller_arm64s(variant).into_iter().map(|variant| with("arm64", variant)));
            // There is no 32-bit `v9`.
            accepted.push(with("arm", "v8".to_owned()));
            accepted.extend(smaller_arms("v8"));
        }
        _ => {}
    }
    accepted
}

/// `7` of `v7`. A byte is enough for any real one, and bounds the lists.
fn version(variant: &str) -> Option<u8> {
    variant.strip_prefix('v').unwrap_or(variant).parse().ok()
}

/// The variants of `arm64` below one, best first. ARMv9.n has all that ARMv8.(n+5) has, up to 8.9.
fn smaller_arm64s(variant: &str) -> Vec<String> {
    let name =
        |major: u8, minor: u8| if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") };
    let (major, minor) = match variant.strip_prefix('v').unwrap_or("8").split_once('.') {
        Some((major, minor)) => (major.parse().ok(), minor.parse().ok()),
        None => (variant.strip_prefix('v').unwrap_or("8").parse().ok(), Some(0)),
    };
    let (nines, eights) = match (major, minor) {
        (Some(8), Some(minor @ 0..=9)) => (0, minor),
        (Some(9), Some(minor @ 0..=7)) => (minor, (minor + 5).min(9) + 1),
        _ => return Vec::new(),
    };
    let nines = (0..nines).rev().map(|minor| name(9, minor));
    nines.chain((0..eights).rev().map(|minor| name(8, minor))).collect()
}

/// Windows releases that run the containers of the release before: Server 2022 and Server 2025, by build number.
const STABLE_BUILDS: [u16; 2] = [20348, 26100];

/// Whether a Windows host of one version runs containers of another. Versions that say too little are no obstacle.
fn windows_accepts(host: Option<&str>, container: Option<&str>) -> bool {
    let Some((host_release, host_build)) = host.and_then(windows_version) else { return true };
    let Some(container) = container.filter(|version| !version.is_empty()) else { return true };
    let Some((release, build)) = windows_version(container) else { return false };
    if host_release != release {
        return false;
    }
    if host_build < STABLE_BUILDS[0] {
        return host_build == build;
    }
    let oldest = STABLE_BUILDS.iter().rev().find(|&&stable| host_build > stable).unwrap_or(&STABLE_BUILDS[0]);
    (*oldest..=host_build).contains(&build)
}

/// `((major, minor), build)` of `major.minor.build[.revision]`.
fn windows_version(version: &str) -> Option<((u8, u8), u16)> {
    let mut numbers = version.split('.');
    let release = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some((release, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(specifier: &str) -> Platform {
        Platform::parse(specifier).unwrap()
    }

    #[test]
    fn accepts_smaller_variants() {
        for (specifier, wanted) in [
            ("linux/amd64", "linux/amd64 linux/386"),
            ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"),
            ("linux/386", "linux/386"),
            ("linux/arm", "linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("linux/arm64", "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            (
                "linux/arm64/v8.2",
                "linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
            ),
            (
                "linux/arm64/v9.1",
                "linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6 linux/arm64/v8.5 linux/arm64/v8.4 \
                 linux/arm64/v8.3 linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 linux/arm/v8 linux/arm/v7 \
                 linux/arm/v6 linux/arm/v5",
            ),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            let accepted: Vec<String> =
                platform(specifier).accepted().iter().map(ToString::to_string).collect();
            assert_eq!(accepted.join(" "), wanted);
        }
        assert!(platform("linux/arm64/v9.5").accepted().contains(&platform("linux/arm64/v8.9")));
        assert!(platform("linux/amd64/v255").accepted().len() < 300);
        assert_eq!(platform("linux/amd64/v9999999999").accepted().len(), 2);
    }

    #[test]
    fn finds_the_best() {
        let best_of = |wanted: &str, candidates: &[&str]| {
            let candidates: Vec<Platform> = candidates.iter().map(|candidate| platform(candidate)).collect();
            best(&platform(wanted), candidates.iter())
        };
        assert_eq!(
            best_of("linux/amd64", &["linux/arm64", "linux/386", "linux/amd64", "linux/amd64"]),
            Some(2)
        );
        assert_eq!(best_of("linux/amd64", &["linux/386"]), Some(0));
        assert_eq!(best_of("linux/amd64", &["linux/amd64/v2"]), None);
        assert_eq!(best_of("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]), Some(1));
        assert_eq!(best_of("linux/arm64", &["linux/arm/v6", "linux/arm/v7"]), Some(1));
        assert_eq!(best_of("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(best_of("linux/arm/v7", &["darwin/arm/v7"]), None);
        assert_eq!(best_of("linux/arm/v7", &[]), None);
    }

    #[test]
    fn matches_other_names_of_the_same() {
        let raw = Platform {
            os: "Linux".to_owned(),
            architecture: "aarch64".to_owned(),
            variant: Some("v8".to_owned()),
            os_version: None,
        };
        assert!(platform("linux/arm64").matches(&raw) && raw.matches(&platform("linux/arm64")));
        assert!(!platform("linux/arm64").matches(&platform("linux/arm/v7")));
    }

    #[test]
    fn compares_versions_of_windows() {
        for (host, container, accepted) in [
            ("windows", "windows(10.0.17763)", true),
            ("windows(10.0.17763)", "windows", true),
            ("windows(10.0.17763.1)", "windows(10.0.17763.2)", true),
            ("windows(10.0.17763)", "windows(10.0.20348)", false),
            ("windows(10.0.20348)", "windows(10.0.17763)", false),
            ("windows(10.0.20348)", "windows(10.0.20348)", true),
            ("windows(10.0.26100)", "windows(10.0.20348)", true),
            ("windows(10.0.26100)", "windows(10.0.26200)", false),
            ("windows(10.0.27000)", "windows(10.0.20348)", false),
            ("windows(10.0.27000)", "windows(10.0.26100)", true),
            ("windows(10.0.20348)", "windows(11.0.20348)", false),
            ("windows(10.0.20348)", "windows(x)", false),
            ("linux(1)", "linux(2)", true),
        ] {
            assert_eq!(platform(host).matches(&platform(container)), accepted, "{host} {container}");
        }
    }
}
