//! `--ulimit`, `--shm-size` and `--resource`.

use std::collections::BTreeMap;
use std::fmt;

use super::GrammarError;
use super::number::{parse_float, parse_int};
use crate::request::Ulimit;

/// The names of limits, as Docker knows them.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl Ulimit {
    /// Reads `type=soft[:hard]`; -1 is unlimited, and the hard limit is the soft one if there is none.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let (name, limits) = text.split_once('=').ok_or_else(|| GrammarError::Ulimit(text.to_owned()))?;
        if !ULIMITS.contains(&name) {
            return Err(GrammarError::UlimitType(name.to_owned()));
        }
        let (soft, hard) = match limits.split(':').collect::<Vec<_>>()[..] {
            [soft] => (parse_int(soft)?, None),
            [soft, hard] => {
                let hard = parse_int(hard)?;
                (parse_int(soft)?, Some(hard))
            }
            _ => return Err(GrammarError::UlimitCount(limits.to_owned())),
        };
        let hard = hard.unwrap_or(soft);
        match (soft, hard) {
            (_, -1) => {}
            (-1, hard) => return Err(GrammarError::UlimitUnlimited(hard)),
            (soft, hard) if soft > hard => return Err(GrammarError::UlimitOrder { soft, hard }),
            _ => {}
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

/// `type=soft:hard`
impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.soft, self.hard)
    }
}

/// Reads a number of bytes in Docker's units, which are powers of 1024 whatever they are called: `64m`, `1.5GB`,
/// `2 KiB`.
pub fn parse_size(text: &str) -> Result<u64, GrammarError> {
    let invalid = || GrammarError::Size(text.to_owned());
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ' ');
    let last = text.rfind(is_number).ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    let number = parse_float(number.strip_suffix(' ').unwrap_or(number))?;
    if !number.is_finite() || number < 0.0 {
        return Err(invalid());
    }

    let lower = suffix.to_lowercase();
    let invalid_suffix =
        || GrammarError::SizeSuffix(if suffix.len() > 3 { suffix.to_owned() } else { lower.clone() });
    let unit = match lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower) {
        "" if lower.len() <= 1 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid_suffix()),
    };
    let bytes = number * 1024_f64.powi(unit);
    // Every file system and memory ends long before 2^63.
    if bytes >= 9.2e18 {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and small enough"
    )]
    Ok(bytes as u64)
}

/// Reads all `--resource` of a build, of which the last of a key counts. Sizes become numbers of bytes; the
/// `memory-swap` of -1 is unlimited.
pub fn parse_resources<S: AsRef<str>>(texts: &[S]) -> Result<BTreeMap<String, String>, GrammarError> {
    let mut resources = BTreeMap::new();
    for text in texts.iter().map(AsRef::as_ref) {
        let (key, value) = text.split_once('=').ok_or_else(|| GrammarError::Resource(text.to_owned()))?;
        let (key, value) = (key.trim(), value.trim());
        let checked = match key {
            "memory-swap" if value == "-1" => Ok(value.to_owned()),
            "memory" | "memory-swap" => parse_size(value).map(|bytes| bytes.to_string()),
            "cpu-shares" | "cpu-period" | "cpu-quota" => {
                parse_int(value).map(|number| number.to_string()).map_err(GrammarError::from)
            }
            "cpuset-cpus" | "cpuset-mems" => Ok(value.to_owned()),
            _ => return Err(GrammarError::ResourceKey(key.to_owned())),
        };
        let checked = checked.map_err(|source| GrammarError::ResourceValue {
            key: key.to_owned(),
            value: value.to_owned(),
            source: Box::new(source),
        })?;
        resources.insert(key.to_owned(), checked);
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ulimits() {
        for (text, wanted) in [
            ("nofile=1024", "nofile=1024:1024"),
            ("nofile=1024:2048", "nofile=1024:2048"),
            ("core=-1", "core=-1:-1"),
            ("core=0:-1", "core=0:-1"),
        ] {
            assert_eq!(Ulimit::parse(text).unwrap().to_string(), wanted);
        }
        for (text, message) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("as=1", "invalid ulimit type: as"),
            (
                "nofile=1:2:3",
                "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
            ),
            ("nofile=x", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
            ("nofile=", r#"strconv.ParseInt: parsing "": invalid syntax"#),
            ("nofile=1:y", r#"strconv.ParseInt: parsing "y": invalid syntax"#),
            (
                "nofile=9223372036854775808",
                r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#,
            ),
            (
                "nofile=-1:5",
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5",
            ),
            ("nofile=6:5", "ulimit soft limit must be less than or equal to hard limit: 6 > 5"),
        ] {
            assert_eq!(Ulimit::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("64b", 64),
            ("64 B", 64),
            ("1k", 1024),
            ("64m", 64 << 20),
            ("1gb", 1 << 30),
            ("1.5GB", 3 << 29),
            ("2 KiB", 2048),
            ("1t", 1 << 40),
            (".5p", 1 << 49),
            ("1e3", 1000),
            ("10.7", 10),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, message) in [
            ("", "invalid size: ''"),
            ("m", "invalid size: 'm'"),
            ("-1", "invalid size: '-1'"),
            ("inf", "invalid size: 'inf'"),
            ("1e400", "invalid size: '1e400'"),
            ("8192p", "invalid size: '8192p'"),
            ("1x", "invalid suffix: 'x'"),
            ("1ib", "invalid suffix: 'ib'"),
            ("1BB", "invalid suffix: 'bb'"),
            ("1kx", "invalid suffix: 'kx'"),
            ("1KiBs", "invalid suffix: 'KiBs'"),
            ("1é", "invalid suffix: 'é'"),
            ("1  g", r#"strconv.ParseFloat: parsing "1 ": invalid syntax"#),
            ("a1", r#"strconv.ParseFloat: parsing "a1": invalid syntax"#),
        ] {
            assert_eq!(parse_size(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn reads_resources() {
        let all = ["memory=1g", "memory-swap=-1", " cpu-quota = 50 ", "cpuset-cpus=0,1", "memory=2k"];
        let resources = parse_resources(&all).unwrap();
        let resources: Vec<String> = resources.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(resources, ["cpu-quota=50", "cpuset-cpus=0,1", "memory=2048", "memory-swap=-1"]);
        for (text, message) in [
            ("memory", r#"invalid resource "memory", expected key=value"#),
            ("gpu=1", r#"unknown resource "gpu""#),
            ("memory=-1", r#"invalid value "-1" for resource memory: invalid size: '-1'"#),
            (
                "cpu-shares=x",
                r#"invalid value "x" for resource cpu-shares: strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
        ] {
            assert_eq!(parse_resources(&[text]).unwrap_err().to_string(), message);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_size_is_read_without_panic(text in "[-+0-9. eEkmgbiéx_]{0,8}") {
            let _ = parse_size(&text);
        }
    }
}
