//! Times and sizes for people, with three digits that count.

use std::time::Duration;

/// Returns how long something took: `0.4 ms`, `850 ms`, `1.25 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 0.05 {
        return "0 s".to_owned();
    }
    if millis < 9.95 {
        return format!("{millis:.1} ms");
    }
    if millis < 999.5 {
        return format!("{millis:.0} ms");
    }
    if millis < 9_995.0 {
        return format!("{:.2} s", millis / 1e3);
    }
    if millis < 59_950.0 {
        return format!("{:.1} s", millis / 1e3);
    }
    let seconds = (millis / 1e3).round();
    let whole = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    if seconds < 3_600.0 { pair(whole, 60, ("min", "s")) } else { pair((whole + 30) / 60, 60, ("h", "min")) }
}

fn pair(count: u64, scale: u64, (large, small): (&str, &str)) -> String {
    match count % scale {
        0 => format!("{} {large}", count / scale),
        rest => format!("{} {large} {rest} {small}", count / scale),
    }
}

/// Returns a number of bytes: `0 B`, `1.23 kB`, `45.6 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut scale: u128 = 1_000;
    let mut unit = 0;
    // 999.5 of a unit would have four digits, so it is one of the next.
    while unit + 1 < UNITS.len() && u128::from(bytes) * 10 >= scale * 9_995 {
        unit += 1;
        scale *= 1_000;
    }
    let rounded = |parts: u128| (u128::from(bytes) * parts + scale / 2) / scale;
    let number = match (rounded(100), rounded(10), rounded(1)) {
        (hundredths @ 0..1_000, ..) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        (_, tenths @ 0..1_000, _) => format!("{}.{}", tenths / 10, tenths % 10),
        (.., whole) => format!("{whole}"),
    };
    format!("{number} {}", UNITS[unit])
}

/// Returns a number with a thin mark between thousands: `2,000`.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Returns `1 step`, `2 steps`.
pub(crate) fn counted(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {one}s", count(number)) }
}

/// Returns a part of a time in percent: `0 %` to `100 %`.
pub(crate) fn percent(part: Duration, whole: Duration) -> String {
    share(part.as_secs_f64(), whole.as_secs_f64())
}

/// Returns a part of a whole in percent: `0 %` to `100 %`. What is more than nothing is not `0 %`.
pub(crate) fn share(part: f64, whole: f64) -> String {
    match part / whole * 100.0 {
        _ if whole <= 0.0 => "0 %".to_owned(),
        percent if percent > 0.0 && percent < 0.5 => "under 1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_count() {
        for (micros, text) in [
            (0, "0 s"),
            (400, "0.4 ms"),
            (850_000, "850 ms"),
            (999_600, "1.00 s"),
            (1_250_000, "1.25 s"),
            (9_999_000, "10.0 s"),
            (59_940_000, "59.9 s"),
            (59_960_000, "1 min"),
            (185_000_000, "3 min 5 s"),
            (3_600_000_000, "1 h"),
            (7_800_000_000, "2 h 10 min"),
        ] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn a_small_part_is_not_nothing() {
        let shown =
            [(0.0, 5.0), (1.0, 1000.0), (6.0, 1000.0), (5.0, 5.0), (1.0, 0.0)].map(|(part, whole)| share(part, whole));
        assert_eq!(shown, ["0 %", "under 1 %", "1 %", "100 %", "0 %"].map(str::to_owned));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_234, "1.23 kB"),
            (45_600_000, "45.6 MB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (123_456_789, "123 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!((count(999).as_str(), count(1_000_000).as_str()), ("999", "1,000,000"));
        assert_eq!((counted(1, "step").as_str(), counted(2_000, "step").as_str()), ("1 step", "2,000 steps"));
    }
}
