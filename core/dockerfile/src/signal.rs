//! The signals `STOPSIGNAL` knows.

/// Linux's signals by name, without `SIG`, as Docker spells them.
const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// Whether a name, with `SIG` or without and in any case, or a number other than zero is a signal to Docker.
pub(crate) fn is_known(name: &str) -> bool {
    if let Ok(number) = name.parse::<i64>() {
        return number != 0;
    }
    let upper = name.to_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let within = |prefix: &str, range: std::ops::RangeInclusive<u32>| {
        short
            .strip_prefix(prefix)
            .is_some_and(|number| range.into_iter().any(|known| known.to_string() == number))
    };
    NAMES.contains(&short) || short == "RTMAX" || within("RTMIN+", 1..=15) || within("RTMAX-", 1..=14)
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn knows_signals() {
        for name in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-14", "rtmin"] {
            assert!(is_known(name), "{name}");
        }
        for name in ["SIGFOO", "0", "", "SIGRTMIN+16", "SIGRTMAX-15", "RTMIN+03"] {
            assert!(!is_known(name), "{name}");
        }
    }
}
