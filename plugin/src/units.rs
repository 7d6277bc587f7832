//! Sizes, times and durations as Docker's programs write and read them.

use std::time::Duration;

use jiff::Timestamp;

/// A number of bytes in powers of 1000, with four digits: `3.015MB`.
pub(crate) fn human_size(bytes: u64) -> String {
    size(bytes, 1000.0, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// A number of bytes in powers of 1024, with four digits: `3.015MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    size(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn size(bytes: u64, base: f64, units: [&str; 7]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are written")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    // As C's `%.4g`: what rounds up to five digits is written with an exponent.
    let decimals = match size {
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{size:.decimals$}");
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let text = if digits > 4 && decimals > 0 { format!("{size:.*}", decimals - 1) } else { text };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// A duration as Go writes it: `48h0m0s`, `1m0.5s`, `20ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |number: u128, unit: u128| {
        let (whole, rest) = (number / unit, number % unit);
        let digits = unit.ilog10() as usize;
        let rest = if unit == 1 { String::new() } else { format!(".{rest:0digits$}") };
        format!("{whole}{}", rest.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let (minutes, hours) = (duration.as_secs() / 60, duration.as_secs() / 3600);
            let seconds = format!("{}s", decimal(nanos % 60_000_000_000, 1_000_000_000));
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{}m{seconds}", minutes % 60),
            }
        }
    }
}

/// A duration in words: `About an hour`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago something was: nanoseconds since 1970.
pub(crate) fn ago(time: i64, now: Timestamp) -> String {
    let passed = now.as_nanosecond().saturating_sub(i128::from(time));
    format!("{} ago", human_duration(Duration::from_nanos(u64::try_from(passed).unwrap_or(0))))
}

/// A time as Go writes it: `2026-11-22 02:25:01.789316146 +0000 UTC`.
pub(crate) fn go_time(time: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time)).unwrap_or_default();
    let fraction = format!(".{:09}", time.subsec_nanosecond().unsigned_abs());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{}{fraction} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S"))
}

/// Reads a duration in Go's form: `1h30m`, `1.5s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        let unit_end =
            rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| end + at);
        let nanoseconds = match &rest[end..unit_end] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        sum += number * nanoseconds;
        rest = &rest[unit_end..];
    }
    // As many nanoseconds as Go's durations have.
    if sum >= 9.2e18 {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and small enough"
    )]
    let nanoseconds = sum as u64;
    // Nothing was unused for less than no time.
    Ok(if negative { Duration::ZERO } else { Duration::from_nanos(nanoseconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_powers_of_1024() {
        for (bytes, wanted) in [
            (0, "0B"),
            (1023, "1023B"),
            (10 << 30, "10GiB"),
            (2_785_017_856, "2.594GiB"),
            (512 << 20, "512MiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(binary_size(bytes), wanted);
        }
    }

    #[test]
    fn durations_as_go_writes_them() {
        for (duration, wanted) in [
            (Duration::from_hours(48), "48h0m0s"),
            (Duration::from_secs(3_723), "1h2m3s"),
            (Duration::from_millis(60_500), "1m0.5s"),
            (Duration::from_millis(1_050), "1.05s"),
            (Duration::from_micros(20_100), "20.1ms"),
            (Duration::from_nanos(1_500), "1.5µs"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::ZERO, "0s"),
        ] {
            assert_eq!(go_duration(duration), wanted);
        }
    }

    #[test]
    fn sizes_have_four_digits() {
        let table = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4096, "4.096kB"),
            (12_290, "12.29kB"),
            (3_270_000, "3.27MB"),
            (14_360_000, "14.36MB"),
            (115_500_000, "115.5MB"),
            (9_999_499, "9.999MB"),
            (9_999_999, "10MB"),
            (99_999_999, "100MB"),
            (10_250_000_000, "10.25GB"),
            (u64::MAX, "18.45EB"),
        ];
        for (bytes, text) in table {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations_are_words() {
        let table = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (59 * 60 + 59, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (2 * 365 * 86400, "2 years"),
        ];
        for (seconds, text) in table {
            assert_eq!(human_duration(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn times_are_as_go_writes_them() {
        assert_eq!(go_time(1_795_314_301_789_316_146), "2026-11-22 02:25:01.789316146 +0000 UTC");
        assert_eq!(go_time(1_795_314_301_780_000_000), "2026-11-22 02:25:01.78 +0000 UTC");
        assert_eq!(go_time(0), "1970-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn durations_are_read_as_go_does() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs_f64());
        for (text, wanted) in [
            ("24h", 86400.0),
            ("2h30m", 9000.0),
            ("1.5h", 5400.0),
            ("0", 0.0),
            ("500ms", 0.5),
            ("-1h", 0.0),
            ("+2s", 2.0),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for (text, error) in [
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("1..2s", "time: invalid duration \"1..2s\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(seconds(text), Err(error.to_owned()), "{text}");
        }
    }
}
