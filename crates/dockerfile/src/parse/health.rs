//! `HEALTHCHECK`: its two forms, its times and its number.

use super::Parser;
use super::keyword::Keyword;
use crate::ast::{Command, Flag, FlagName, Healthcheck};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::suggest::nearest;
use crate::text::Text;

/// Shortest time that the health checks of containers know, in nanoseconds.
const DURATION_MIN: i64 = 1_000_000;

impl Parser<'_> {
    pub(super) fn healthcheck(&mut self, keyword: Span, rest: &Text, flags: &[Flag]) -> Option<Healthcheck> {
        let text = rest.as_str();
        let form_end = text.find(char::is_whitespace).unwrap_or(text.len());
        let form = &text[..form_end];
        let after = rest.slice(form_end..text.len()).trim();
        if form.eq_ignore_ascii_case("NONE") {
            return self.healthcheck_none(&after, flags);
        }
        if form.is_empty() {
            self.missing(Keyword::Healthcheck, keyword, "`CMD` and a command, or `NONE`");
            return None;
        }
        if !form.eq_ignore_ascii_case("CMD") {
            let message = format!("expected `CMD` or `NONE` after `HEALTHCHECK`, got `{form}`");
            let hint = match nearest(form, ["CMD", "NONE"]) {
                Some(near) => format!("A similar word is `{near}`."),
                None => "Write `CMD` in front of the command.".to_owned(),
            };
            self.say(Diagnostic::error(codes::BAD_HEALTHCHECK, rest.span_of(0..form_end), message).hint(hint));
            return None;
        }
        let command = self.command(&after)?;
        let empty = match &command {
            Command::Exec(arguments) => arguments.is_empty(),
            Command::Shell(line) => line.is_empty(),
        };
        if empty {
            self.missing(Keyword::Healthcheck, rest.span_of(0..form_end), "a command after `CMD`");
            return None;
        }
        let before = self.diagnostics.len();
        let health = Healthcheck::Command {
            command,
            interval: self.duration(flags, FlagName::Interval),
            timeout: self.duration(flags, FlagName::Timeout),
            start_period: self.duration(flags, FlagName::StartPeriod),
            start_interval: self.duration(flags, FlagName::StartInterval),
            retries: self.retries(flags),
        };
        (self.diagnostics.len() == before).then_some(health)
    }

    fn healthcheck_none(&mut self, after: &Text, flags: &[Flag]) -> Option<Healthcheck> {
        if !after.is_empty() {
            let message = "`HEALTHCHECK NONE` takes no arguments";
            self.say(Diagnostic::error(codes::HEALTHCHECK_NONE_ARGUMENTS, after.span(), message));
            return None;
        }
        // BuildKit does not look at them.
        if let Some(flag) = flags.first() {
            let message = "the flags of `HEALTHCHECK NONE` mean nothing";
            self.say(Diagnostic::warning(codes::HEALTHCHECK_NONE_ARGUMENTS, flag.span, message));
        }
        Some(Healthcheck::None)
    }

    /// Returns the nanoseconds of a flag; nothing if it is not given, zero (the base's), or wrong.
    fn duration(&mut self, flags: &[Flag], name: FlagName) -> Option<i64> {
        let value = &flags.iter().find(|flag| flag.name == name)?.value;
        let problem = match duration(value.as_str()) {
            Some(0) => return None,
            Some(time) if time >= DURATION_MIN => return Some(time),
            Some(_) => format!("expected at least 1ms for `--{}`, got `{}`", name.as_str(), value.as_str()),
            None => format!("expected a time such as `1m30s` for `--{}`, got `{}`", name.as_str(), value.as_str()),
        };
        self.say(Diagnostic::error(codes::BAD_DURATION, value.span(), problem));
        None
    }

    fn retries(&mut self, flags: &[Flag]) -> Option<i64> {
        let value = &flags.iter().find(|flag| flag.name == FlagName::Retries)?.value;
        match value.as_str().parse::<i32>() {
            Ok(0) => None,
            Ok(retries) if retries > 0 => Some(i64::from(retries)),
            _ => {
                let message =
                    format!("expected a number that is not negative for `--retries`, got `{}`", value.as_str());
                self.say(Diagnostic::error(codes::BAD_RETRIES, value.span(), message));
                None
            }
        }
    }
}

/// Reads a time as Go writes it (`1h2m3.5s`, `100ms`, `-1s`, `0`), in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total += amount(number, unit_nanoseconds(unit)?)?;
        rest = after;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

fn unit_nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal fraction; what is less than a nanosecond is cut off.
fn amount(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
    // More than 15 digits are less than a nanosecond of an hour.
    let digits: String = fraction.chars().take(15).collect();
    if fraction.contains('.') {
        return None;
    }
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_i128.pow(u32::try_from(digits.len()).ok()?);
    Some(whole * unit + part * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100us", 100_000),
            ("1µs", 1_000),
            ("-1s", -1_000_000_000),
            ("+1ns", 1),
            ("1h2m3s4ms", 3_723_004_000_000),
        ] {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "-", "5", "s", "1x", "1s5", ".s", "1..5s", "1 s", "99999999999999999999h", "9999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
