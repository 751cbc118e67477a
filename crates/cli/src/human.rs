//! Sizes, times and durations as Docker prints them.
//!
//! Reference: the formats of Docker's `docker/go-units`, observed.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const DAY_HOURS: u64 = 24;

/// Returns how long ago something was, in Docker's words: `About a minute`, `3 weeks`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        _ if hours < DAY_HOURS * 14 => format!("{} days", hours / DAY_HOURS),
        _ if hours < DAY_HOURS * 60 => format!("{} weeks", hours / DAY_HOURS / 7),
        _ if hours < DAY_HOURS * 365 * 2 => format!("{} months", hours / DAY_HOURS / 30),
        _ => format!("{} years", seconds / 3600 / DAY_HOURS / 365),
    }
}

/// Returns the time between `then` and `now`, both in seconds since 1970, with `ago`; `N/A` if `then` is not known.
pub(crate) fn ago(then: i64, now: i64) -> String {
    if then == 0 {
        return "N/A".to_owned();
    }
    format!("{} ago", duration(Duration::from_secs(u64::try_from(now - then).unwrap_or(0))))
}

/// Returns a number of bytes with three significant digits and a decimal unit: `7.8MB`, `0B`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut unit, mut scale) = (0, 1_u64);
    // 999.5 of a unit would be printed with four digits, so it is one of the next.
    while unit + 1 < UNITS.len() && u128::from(bytes) * 10 >= u128::from(scale) * 9995 {
        unit += 1;
        scale *= 1000;
    }
    // Thousandths of the unit, exactly.
    let thousandths = u128::from(bytes) * 1000 / u128::from(scale);
    let whole = thousandths / 1000;
    let decimals = match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let step = 10_u128.pow(3 - decimals);
    let rounded = (thousandths + step / 2) / step;
    let power = 10_u128.pow(decimals);
    let (whole, fraction) = (rounded / power, rounded % power);
    let mut text = whole.to_string();
    if fraction != 0 {
        let digits = format!("{fraction:0width$}", width = decimals as usize);
        text = format!("{whole}.{}", digits.trim_end_matches('0'));
    }
    text + UNITS[unit]
}

/// Returns a time in seconds since 1970 as Docker's `CreatedAt`: `2026-01-02 03:04:05 +0000 UTC`.
pub(crate) fn created_at(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| "N/A".to_owned(),
        |time| time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
    )
}

/// Returns a time since 1970 in RFC 3339 with nanoseconds, as `docker logs -t` has it.
pub(crate) fn rfc3339_nanos(time: Duration) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(
        |_| "N/A".to_owned(),
        |whole| format!("{}.{:09}Z", whole.to_string().trim_end_matches('Z'), time.subsec_nanos()),
    )
}

/// Returns a time in seconds since 1970 in RFC 3339: `2026-01-02T03:04:05Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "N/A".to_owned(), |time| time.to_string())
}

/// Returns a duration as progress shows it: `0.3s`, `75.0s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// Returns at most `length` characters of `text`; the last of a text that was cut is `…`.
pub(crate) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers() {
        let of = |seconds: u64| duration(Duration::from_secs(seconds));
        let hour = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60 + 59, "59 minutes"),
            (hour, "About an hour"),
            (hour * 3 / 2 - 1, "About an hour"),
            (hour * 3 / 2, "2 hours"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (14 * 24 * hour, "2 weeks"),
            (60 * 24 * hour, "2 months"),
            (365 * 24 * hour, "12 months"),
            (730 * 24 * hour, "2 years"),
        ] {
            assert_eq!(of(seconds), text, "{seconds} seconds");
        }
        assert_eq!(ago(0, 100), "N/A");
        assert_eq!(ago(200, 100), "Less than a second ago");
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (7_800_000, "7.8MB"),
            (12_345_678, "12.3MB"),
            (123_456_789, "123MB"),
            (999_499, "999kB"),
            (999_500, "1MB"),
            (1_000_000_000, "1GB"),
            (9_996_000, "10MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes} bytes");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(created_at(1_700_000_000), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
