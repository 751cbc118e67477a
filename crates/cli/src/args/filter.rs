//! `--filter`: a key, how it is compared, and a value.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;

/// How a filter compares.
#[derive(Debug, Clone)]
pub(crate) enum Comparison {
    /// `=`, or no value at all, which means `true`.
    Is(String),
    /// `!=`.
    IsNot(String),
    /// `~=`: a regular expression, somewhere in the value.
    Matches(Regex),
}

/// One filter as typed: `KEY`, `KEY=VALUE`, `KEY!=VALUE`, `KEY~=PATTERN`.
#[derive(Debug, Clone)]
pub(crate) struct FilterArg {
    pub(crate) key: String,
    pub(crate) comparison: Comparison,
}

impl FilterArg {
    /// Whether a text has what is asked for.
    pub(crate) fn accepts(&self, text: &str) -> bool {
        match &self.comparison {
            Comparison::Is(wanted) => text == wanted,
            Comparison::IsNot(unwanted) => text != unwanted,
            Comparison::Matches(pattern) => pattern.is_match(text),
        }
    }

    /// Whether a yes or no is the one that is asked for.
    pub(crate) fn accepts_truth(&self, truth: bool) -> Result<bool, String> {
        let read = |text: &str| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(format!("`{}={other}` is neither true nor false", self.key)),
        };
        match &self.comparison {
            Comparison::Is(wanted) => Ok(truth == read(wanted)?),
            Comparison::IsNot(unwanted) => Ok(truth != read(unwanted)?),
            Comparison::Matches(_) => Err(format!("`{}` is true or false, which `~=` cannot be asked about", self.key)),
        }
    }
}

impl FromStr for FilterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, comparison) = match text.split_once('=') {
            None => (text, Comparison::Is("true".to_owned())),
            Some((key, value)) => {
                if let Some(key) = key.strip_suffix('!') {
                    (key, Comparison::IsNot(value.to_owned()))
                } else if let Some(key) = key.strip_suffix('~') {
                    let pattern = Regex::new(value).map_err(|error| no_pattern(value, &error))?;
                    (key, Comparison::Matches(pattern))
                } else {
                    (key, Comparison::Is(value.to_owned()))
                }
            }
        };
        if key.is_empty() {
            return Err(format!("`{text}` has no key: expected `KEY=VALUE`, `KEY!=VALUE` or `KEY~=PATTERN`"));
        }
        Ok(Self { key: key.to_owned(), comparison })
    }
}

/// A time as typed: so long ago (`24h`), or a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Ago(Duration),
    /// In seconds since 1970.
    At(i64),
}

impl When {
    /// Returns it in seconds since 1970.
    pub(crate) fn seconds(self, now: i64) -> i64 {
        match self {
            Self::Ago(duration) => now.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)),
            Self::At(seconds) => seconds,
        }
    }
}

impl FromStr for When {
    type Err = String;

    /// Reference: docker, `--filter until=`: durations of Go's, seconds since 1970, dates with or without a time.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(duration) = duration(text) {
            return Ok(Self::Ago(duration));
        }
        if let Some(seconds) = text.split('.').next().and_then(|whole| whole.parse().ok()) {
            return Ok(Self::At(seconds));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time.as_second()));
        }
        let local = text
            .parse::<jiff::civil::DateTime>()
            .or_else(|_| text.parse::<jiff::civil::Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight())));
        let zoned = local.and_then(|local| local.to_zoned(jiff::tz::TimeZone::system()));
        zoned.map(|zoned| Self::At(zoned.timestamp().as_second())).map_err(|_| {
            format!("`{text}` is no time: expected one like `24h`, `2026-01-31` or `2026-01-31T12:00:00Z`")
        })
    }
}

/// Reads a duration of Go's: `1h30m`, `90s`, `0.5h`; `d` for days is understood, too.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: expected one like `24h` or `1h30m`");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !text.is_empty() => Ok(duration),
        _ => Err(wrong()),
    }
}

/// What is wrong with a pattern, on one line: the picture of it that comes before has several.
fn no_pattern(value: &str, error: &regex::Error) -> String {
    let said = error.to_string();
    let last = said.lines().last().unwrap_or_default();
    format!("`{value}` is no pattern: {}", last.strip_prefix("error: ").unwrap_or(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_three_comparisons() {
        let accepts = |filter: &str, text: &str| filter.parse::<FilterArg>().expect("a filter").accepts(text);
        assert!(accepts("id=ab", "ab") && !accepts("id=ab", "abc"));
        assert!(accepts("id!=ab", "abc") && !accepts("id!=ab", "ab"));
        assert!(accepts("description~=^RUN .*go", "RUN make go") && !accepts("description~=^go", "RUN go"));
        let truth = |filter: &str, truth| filter.parse::<FilterArg>().expect("a filter").accepts_truth(truth);
        assert_eq!(truth("inuse", true), Ok(true));
        assert_eq!(truth("inuse=false", true), Ok(false));
        assert_eq!(truth("inuse!=true", false), Ok(true));
        assert!(truth("inuse=maybe", true).is_err() && truth("inuse~=t", true).is_err());
        for text in ["=x", "!=x", "id~=(", ""] {
            assert!(text.parse::<FilterArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_durations_seconds_and_dates() {
        let seconds = |text: &str| text.parse::<When>().map(|when| when.seconds(1_000_000));
        assert_eq!(seconds("24h"), Ok(1_000_000 - 86_400));
        assert_eq!(seconds("1h30m"), Ok(1_000_000 - 5400));
        assert_eq!(seconds("2d"), Ok(1_000_000 - 172_800));
        assert_eq!(seconds("1700000000"), Ok(1_700_000_000));
        assert_eq!(seconds("1970-01-01T00:00:10Z"), Ok(10));
        assert_eq!(seconds("1970-01-01T01:00:10+01:00"), Ok(10));
        assert!(seconds("2024-02-30").is_err() && seconds("").is_err() && seconds("1x").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_one_line() {
        let wrong = "name~=[".parse::<FilterArg>().expect_err("it is open");
        assert_eq!(wrong, "`[` is no pattern: unclosed character class");
    }
}
