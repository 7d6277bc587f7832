//! Lists of platforms as buildx shows them.

use std::collections::BTreeMap;

use rbx_platform::Platform;

/// The architectures that are shown first where there is no room for all.
const MAJOR: [&str; 7] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "linux/mips64",
];
/// How many architectures are shown.
const MOST: usize = 4;

/// The platforms that a node was told to have, with an asterisk each, then those that it has besides.
pub(super) fn marked(fixed: &[Platform], all: &[Platform]) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let marked =
        fixed.iter().map(|platform| (platform, "*")).chain(all.iter().map(|platform| (platform, "")));
    for (platform, mark) in marked {
        let name = platform.normalized().to_string();
        if !shown.iter().any(|other| other.trim_end_matches('*') == name) {
            shown.push(name + mark);
        }
    }
    shown
}

/// A list for one column: platforms of one architecture together, and how many more there are.
pub(super) fn shortened(platforms: &[String]) -> String {
    let architecture = |platform: &str| {
        let mut parts = platform.trim_end_matches('*').splitn(3, '/');
        format!("{}/{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    // What buildx counts: once there are groups enough, the last one does not grow either.
    let mut major = BTreeMap::<&str, Vec<&str>>::new();
    for name in MAJOR {
        for platform in platforms {
            if major.len() < MOST && architecture(platform) == name {
                major.entry(name).or_default().push(platform);
            }
        }
    }
    let mut minor = BTreeMap::<String, Vec<&str>>::new();
    if major.len() < MOST {
        for platform in platforms {
            let name = architecture(platform);
            if !major.contains_key(name.as_str()) {
                minor.entry(name).or_default().push(platform);
            }
        }
    }
    let first = MAJOR.iter().filter_map(|name| Some((*name, major.get(name)?)));
    let rest = minor.iter().map(|(name, group)| (name.as_str(), group));
    let (mut shown, mut count) = (Vec::new(), 0);
    for (name, group) in first.chain(rest).take(MOST) {
        count += group.len();
        shown.push(match group.as_slice() {
            [one] => (*one).to_owned(),
            several => {
                let mark = if several.iter().any(|platform| platform.ends_with('*')) { "*" } else { "" };
                format!("{name}{mark} (+{})", several.len())
            }
        });
    }
    if platforms.len() > count {
        shown.push(format!("({} more)", platforms.len() - count));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Vec<Platform> {
        list.split_whitespace().map(|text| Platform::parse(text).unwrap()).collect()
    }

    fn short(fixed: &str, all: &str) -> String {
        shortened(&marked(&parse(fixed), &parse(all)))
    }

    #[test]
    fn platforms_that_were_given_are_marked() {
        let shown =
            marked(&parse("linux/arm64 linux/arm64/v8"), &parse("linux/amd64 linux/arm64 linux/amd64"));
        assert_eq!(shown, ["linux/arm64*", "linux/amd64"]);
    }

    #[test]
    fn long_lists_are_shortened() {
        assert_eq!(short("", ""), "");
        assert_eq!(short("", "linux/amd64"), "linux/amd64");
        assert_eq!(
            short("linux/arm64 linux/amd64 linux/arm/v7", ""),
            "linux/amd64*, linux/arm64*, linux/arm/v7*"
        );
        assert_eq!(
            short("", "linux/amd64 linux/amd64/v2 linux/386 linux/riscv64"),
            "linux/amd64 (+2), linux/riscv64, linux/386"
        );
        assert_eq!(
            short(
                "linux/amd64/v2",
                "linux/amd64 linux/386 linux/arm64 linux/arm/v7 linux/arm/v6 linux/s390x linux/ppc64le"
            ),
            "linux/amd64* (+2), linux/arm64, linux/arm (+2), linux/ppc64le, (2 more)"
        );
        assert_eq!(
            short("", "linux/386 windows/amd64 freebsd/amd64 darwin/arm64 linux/loong64"),
            "darwin/arm64, freebsd/amd64, linux/386, linux/loong64, (1 more)"
        );
    }
}
