//! Texts as Go's `fmt` prints them: histories are compared with those of other builders.

use std::fmt::Write as _;

/// Prints a string as `%q`.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            control if control.is_ascii_control() => {
                write!(out, "\\x{:02x}", u32::from(control)).expect("a String takes every text");
            }
            other if !is_printed(other) => {
                let number = u32::from(other);
                let escape = if number > 0xffff { format!("\\U{number:08x}") } else { format!("\\u{number:04x}") };
                out.push_str(&escape);
            }
            printed => out.push(printed),
        }
    }
    out.push('"');
    out
}

/// Whether Go prints a character as it is: letters, marks, numbers, punctuation, symbols, and of the blanks only ` `.
///
/// Rust escapes the same ones, but for a mark at the beginning.
fn is_printed(character: char) -> bool {
    let text = String::from_iter(['a', character]);
    text.escape_debug().nth(1) != Some('\\') || matches!(character, '\'' | '"' | '\\')
}

/// Prints a list of strings as `%q`: `["a" "b"]`.
pub(super) fn quoted_list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(" "))
}

/// Prints a list of strings as `%v`: `[a b]`.
pub(super) fn plain_list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// Prints a number of nanoseconds as a `time.Duration`: `1m30s`, `1.5ms`.
pub(super) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let decimal = |unit: u64, name: &str| {
        let fraction = format!("{:0width$}", total % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{}{point}{fraction}{name}", total / unit)
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = duration_of_seconds(total % 60_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// Seconds below a minute, with a fraction only if there is one.
fn duration_of_seconds(nanoseconds: u64) -> String {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    if fraction == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{fraction:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        assert_eq!(quoted("a \"b\" \\ ü\t\n\u{1b}\u{85}"), r#""a \"b\" \\ ü\t\n\x1b\u0085""#);
        assert_eq!(quoted_list(&["/bin/sh".into(), "-c".into()]), r#"["/bin/sh" "-c"]"#);
        assert_eq!(quoted_list(&[]), "[]");
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_000_000_000, "-1s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
