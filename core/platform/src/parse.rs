//! Names of platforms.

use std::fmt::Write as _;

use crate::Platform;

/// Why a platform specifier cannot be read, in containerd's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlatformError {
    /// It holds a `*`.
    #[error("{0:?}: wildcards not yet supported: invalid argument")]
    Wildcard(String),
    /// The part before the first `/` is not `os` or `os(version)`.
    #[error(
        "{part:?} is an invalid OS component of {specifier:?}: OSAndVersion specifier component must match \
         {OS_SYNTAX:?}: invalid argument"
    )]
    Os {
        /// The part.
        part: String,
        /// The whole specifier.
        specifier: String,
    },
    /// A later part has other characters than letters, digits, `_`, `.` and `-`.
    #[error(
        "{part:?} is an invalid component of {specifier:?}: platform specifier component must match \
         {PART_SYNTAX:?}: invalid argument"
    )]
    Part {
        /// The part.
        part: String,
        /// The whole specifier.
        specifier: String,
    },
    /// The version has a `%` that is not part of an escape.
    #[error("{specifier:?} has an invalid OS version {version:?}: invalid URL escape")]
    Version {
        /// The version.
        version: String,
        /// The whole specifier.
        specifier: String,
    },
    /// It asks for features of the operating system, which no builder of ours can promise.
    #[error("{0:?} has invalid OS features: not supported")]
    Features(String),
    /// It has one part, which is neither.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// It has more than three parts.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    TooManyParts(String),
}

/// The syntaxes as messages show them.
const OS_SYNTAX: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$";
const PART_SYNTAX: &str = "^[A-Za-z0-9_.-]+$";

pub(crate) fn parse(specifier: &str, host: &Platform) -> Result<Platform, ParsePlatformError> {
    if specifier.contains('*') {
        return Err(ParsePlatformError::Wildcard(specifier.to_owned()));
    }
    let mut parts = specifier.splitn(4, '/');
    let first = parts.next().unwrap_or_default();
    let (os, os_version) = parse_os(first, specifier)?;
    let rest: Vec<&str> = parts.collect();
    if let Some(part) = rest.iter().find(|part| !is_made_of(part, "_.-")) {
        return Err(ParsePlatformError::Part { part: (*part).to_owned(), specifier: specifier.to_owned() });
    }

    let platform = match rest[..] {
        [] if is_known_os(&normal_os(&os)) => Platform {
            os,
            os_version,
            architecture: host.architecture.clone(),
            variant: host.variant.clone(),
        },
        [] if is_known_architecture(&normal_architecture(first, None).0) => {
            Platform { os: host.os.clone(), architecture: first.to_owned(), variant: None, os_version: None }
        }
        [] => return Err(ParsePlatformError::Unknown(specifier.to_owned())),
        [architecture] => Platform { os, os_version, architecture: architecture.to_owned(), variant: None },
        [architecture, variant] => Platform {
            os,
            os_version,
            architecture: architecture.to_owned(),
            variant: Some(variant.to_owned()),
        },
        _ => return Err(ParsePlatformError::TooManyParts(specifier.to_owned())),
    };
    Ok(normalized(&platform))
}

/// Reads `os` or `os(version)`.
fn parse_os(part: &str, specifier: &str) -> Result<(String, Option<String>), ParsePlatformError> {
    let invalid = || ParsePlatformError::Os { part: part.to_owned(), specifier: specifier.to_owned() };
    let (os, options) = match part.split_once('(') {
        Some((os, options)) => (os, options.strip_suffix(')').ok_or_else(invalid)?),
        None => (part, ""),
    };
    if !is_made_of(os, "_-") {
        return Err(invalid());
    }
    let (version, features) = options.split_once('+').map_or((options, None), |(v, f)| (v, Some(f)));
    if !(version.is_empty() || is_made_of(version, "_.%-")) {
        return Err(invalid());
    }
    if let Some(features) = features {
        let valid = features.split('+').all(|feature| is_made_of(feature, "_.%-"));
        return Err(if valid { ParsePlatformError::Features(specifier.to_owned()) } else { invalid() });
    }
    let decoded = decode_option(version).ok_or_else(|| ParsePlatformError::Version {
        version: version.to_owned(),
        specifier: specifier.to_owned(),
    })?;
    Ok((os.to_owned(), (!decoded.is_empty()).then_some(decoded)))
}

/// One or more letters, digits and characters of `others`.
fn is_made_of(text: &str, others: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// Percent escapes, for characters that have a meaning in a specifier.
fn decode_option(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digits =
                rest.split_at_checked(2).filter(|(digits, _)| digits.iter().all(u8::is_ascii_hexdigit));
            let (digits, after) = digits?;
            decoded.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            decoded.push(*byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Escapes all that a specifier does not take as it is, so that what was read can be read again.
pub(crate) fn encode_option(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

pub(crate) fn normalized(platform: &Platform) -> Platform {
    let (architecture, variant) = normal_architecture(&platform.architecture, platform.variant.as_deref());
    let os = normal_os(&platform.os);
    Platform { os, architecture, variant, os_version: platform.os_version.clone() }
}

fn normal_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        os => os.to_owned(),
    }
}

fn normal_architecture(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.unwrap_or_default().to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), (!variant.is_empty()).then(|| variant.to_owned()))
}

fn is_known_os(os: &str) -> bool {
    matches!(
        os,
        "aix"
            | "android"
            | "darwin"
            | "dragonfly"
            | "freebsd"
            | "hurd"
            | "illumos"
            | "ios"
            | "js"
            | "linux"
            | "nacl"
            | "netbsd"
            | "openbsd"
            | "plan9"
            | "solaris"
            | "windows"
            | "zos"
    )
}

fn is_known_architecture(architecture: &str) -> bool {
    matches!(
        architecture,
        "386"
            | "amd64"
            | "amd64p32"
            | "arm"
            | "arm64"
            | "arm64be"
            | "armbe"
            | "loong64"
            | "mips"
            | "mips64"
            | "mips64le"
            | "mips64p32"
            | "mips64p32le"
            | "mipsle"
            | "ppc"
            | "ppc64"
            | "ppc64le"
            | "riscv"
            | "riscv64"
            | "s390"
            | "s390x"
            | "sparc"
            | "sparc64"
            | "wasm"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Platform {
        parse("linux/amd64", &Platform::host()).unwrap()
    }

    #[test]
    fn reads_and_normalises() {
        for (specifier, wanted) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/X86_64", "linux/amd64"),
            ("linux/x86-64/v2", "linux/amd64/v2"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/i386", "linux/386"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/aarch64/v8.2", "linux/arm64/v8.2"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/5", "linux/arm/v5"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/my-arch/x.1_2", "linux/my-arch/x.1_2"),
            ("linux", "linux/amd64"),
            ("windows", "windows/amd64"),
            ("macos", "darwin/amd64"),
            ("aarch64", "linux/arm64"),
            ("armhf", "linux/arm/v7"),
            ("386", "linux/386"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("windows(10.0.17763)", "windows(10.0.17763)/amd64"),
            ("windows()/amd64", "windows/amd64"),
            ("linux(a%2Fb%25)/arm64/v8", "linux(a%2Fb%25)/arm64"),
        ] {
            let platform = parse(specifier, &host()).unwrap();
            assert_eq!(platform.format_all(), wanted, "{specifier}");
            assert_eq!(parse(wanted, &host()).as_ref(), Ok(&platform), "{specifier}");
        }
        let versioned = parse("windows(10.0)/amd64", &host()).unwrap();
        assert_eq!(versioned.to_string(), "windows/amd64");
        assert_eq!(versioned.os_version.as_deref(), Some("10.0"));
        let odd = Platform::parse("linux(%10%C3%A9%28.0)/arm").unwrap();
        assert_eq!(odd.os_version.as_deref(), Some("\u{10}é(.0"));
        assert_eq!(Platform::parse(&odd.format_all()), Ok(odd));
        let arm = parse("linux/arm", &host()).unwrap();
        assert_eq!(parse("linux", &arm).unwrap(), arm);
    }

    #[test]
    fn rejects_what_is_no_platform() {
        for (specifier, message) in [
            ("linux/*", r#""linux/*": wildcards not yet supported: invalid argument"#),
            ("linux/amd64/v2/x", r#""linux/amd64/v2/x": cannot parse platform specifier: invalid argument"#),
            ("x", r#""x": unknown operating system or architecture: invalid argument"#),
            ("amd64(1)", r#""amd64(1)": unknown operating system or architecture: invalid argument"#),
            (
                "linux/",
                r#""" is an invalid component of "linux/": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument"#,
            ),
            (
                "linux/a/b/c/d",
                r#""c/d" is an invalid component of "linux/a/b/c/d": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument"#,
            ),
            (
                "li nux/x",
                r#""li nux" is an invalid OS component of "li nux/x": OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$": invalid argument"#,
            ),
            (
                "windows(1%2)/amd64",
                r#""windows(1%2)/amd64" has an invalid OS version "1%2": invalid URL escape"#,
            ),
            ("windows(1%é)", r#""windows(1%é)" is an invalid OS"#),
            (
                "windows(10+win32k)/amd64",
                r#""windows(10+win32k)/amd64" has invalid OS features: not supported"#,
            ),
            ("windows(10+)/amd64", r#""windows(10+)" is an invalid OS component"#),
            ("windows(10/amd64", r#""windows(10" is an invalid OS component"#),
            ("windows(10)x/amd64", r#""windows(10)x" is an invalid OS component"#),
            ("(10)/amd64", r#""(10)" is an invalid OS component"#),
            ("", r#""" is an invalid OS component of "": "#),
            ("/amd64", r#""" is an invalid OS component of "/amd64": "#),
        ] {
            let error = parse(specifier, &host()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{specifier}: {error}");
        }
    }

    #[test]
    fn is_an_oci_platform_object() {
        let platform = parse("windows(10.0.1)/arm", &host()).unwrap();
        let json = serde_json::to_string(&platform).unwrap();
        assert_eq!(json, r#"{"architecture":"arm","os":"windows","os.version":"10.0.1","variant":"v7"}"#);
        assert_eq!(serde_json::from_str::<Platform>(&json).unwrap(), platform);
        let json = r#"{"architecture":"amd64","os":"linux"}"#;
        assert_eq!(serde_json::to_string(&host()).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<Platform>(
                r#"{"os":"linux","architecture":"amd64","variant":"","os.features":[]}"#
            )
            .unwrap(),
            host()
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_normal(text in "[a-zA-Z0-9/()%+_.*é-]{0,20}|linux/(arm|arm64|amd64)(/v?[0-9.]{1,3})?") {
            if let Ok(platform) = parse(&text, &host()) {
                assert_eq!(platform.normalized(), platform);
                assert_eq!(parse(&platform.format_all(), &host()), Ok(platform));
            }
        }
    }
}
