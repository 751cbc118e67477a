//! The `Content-Range` header: which part of a blob came.
//!
//! Reference: RFC 9110, section 14.4.

/// A part of something: the bytes from `first` to `last`, both included, of `total` if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte, from 0.
    pub first: u64,
    /// Last byte; never before the first.
    pub last: u64,
    /// Length of the whole; greater than `last`.
    pub total: Option<u64>,
}

/// Parses the header's value; nothing if it is not `bytes FIRST-LAST/TOTAL` and consistent in itself.
#[must_use]
pub fn parse(value: &str) -> Option<ContentRange> {
    let number = |text: &str| -> Option<u64> {
        // `parse` alone would also take a sign.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
    };
    let (unit, rest) = value.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    let consistent = unit.eq_ignore_ascii_case("bytes") && first <= last && total.is_none_or(|total| last < total);
    consistent.then_some(ContentRange { first, last, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ranges_are_read() {
        assert_eq!(parse("bytes 5-9/10"), Some(ContentRange { first: 5, last: 9, total: Some(10) }));
        assert_eq!(parse("Bytes 0-0/*"), Some(ContentRange { first: 0, last: 0, total: None }));
    }

    #[test]
    fn other_ranges_are_refused() {
        for text in [
            "",
            "bytes",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes -5/10",
            "bytes +5-9/10",
            "lines 5-9/10",
            "bytes 5-9",
            "bytes 99999999999999999999-9/10",
            "bytes 5 - 9/10",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
