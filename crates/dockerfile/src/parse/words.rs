//! Splits the rest of a line into words. Ranges are of the line's bytes.

use std::ops::Range;

use crate::text::Text;

/// The blanks that separate words where quotes mean nothing.
pub(super) const BLANKS: [char; 5] = [' ', '\t', '\u{b}', '\u{c}', '\r'];

/// Splits at blanks; quotes mean nothing. Blanks inside the ranges of `whole` separate nothing.
pub(super) fn at_blanks(text: &str, whole: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut whole = whole.iter().peekable();
    for (at, char) in text.char_indices() {
        while whole.next_if(|range| range.end <= at).is_some() {}
        let inside = whole.peek().is_some_and(|range| range.contains(&at));
        if BLANKS.contains(&char) && !inside {
            words.extend(start.take().map(|start| start..at));
        } else {
            start.get_or_insert(at);
        }
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

/// Finds the outermost `${...}`: blanks inside them, as in `${V:?a message}`, separate nothing in a `FROM`.
pub(super) fn substitutions(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = Vec::new();
    for (at, char) in text.char_indices() {
        match char {
            '{' if text[..at].ends_with('$') => open.push(at - 1),
            '}' => {
                if let (Some(start), true) = (open.pop(), open.is_empty()) {
                    found.push(start..at + 1);
                }
            }
            _ => {}
        }
    }
    found
}

/// Splits at blanks that are neither quoted nor escaped. Quotes and escapes stay in the words.
///
/// A quote that is never closed reaches to the end; expansion will say so. An escape character at the very end belongs
/// to no word.
pub(super) fn as_shell(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut end = text.len();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        if quote.is_none() && char.is_whitespace() {
            words.extend(start.take().map(|start| start..at));
            continue;
        }
        if char == escape && quote != Some('\'') {
            if chars.next().is_none() {
                end = at;
                break;
            }
        } else if quote == Some(char) {
            quote = None;
        } else if quote.is_none() && matches!(char, '\'' | '"') {
            quote = Some(char);
        }
        start.get_or_insert(at);
    }
    words.extend(start.map(|start| start..end));
    words
}

/// Splits `name=value` at its first equals sign.
pub(super) fn at_equals(word: &Text) -> Option<(Text, Text)> {
    let at = word.as_str().find('=')?;
    Some((word.slice(0..at), word.slice(at + 1..word.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Vec<&str> {
        as_shell(text, '\\').into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn shell_words_keep_their_quotes() {
        assert_eq!(shell("  a  b=\"c d\"\te='f g' "), ["a", "b=\"c d\"", "e='f g'"]);
        assert_eq!(shell("a=b\\ c \"d\\\" e\" ''"), ["a=b\\ c", "\"d\\\" e\"", "''"]);
        assert_eq!(shell("a='b\\' c"), ["a='b\\'", "c"]);
        assert_eq!(shell("a='b c"), ["a='b c"]);
        assert_eq!(shell("a \\"), ["a"]);
        assert_eq!(shell("a\\"), ["a"]);
        assert_eq!(shell(""), [""; 0]);
    }

    #[test]
    fn substitutions_are_found_from_outside() {
        let text = "a ${b:-${c d}} } ${e} ${f";
        let found: Vec<&str> = substitutions(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["${b:-${c d}}", "${e}"]);
    }

    #[test]
    fn plain_words_split_at_every_blank() {
        let text = " \"a b\"  <<'x y' z";
        let words: Vec<&str> = at_blanks(text, &[]).into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, ["\"a", "b\"", "<<'x", "y'", "z"]);
        let words: Vec<&str> =
            at_blanks(text, std::slice::from_ref(&(8..15))).into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, ["\"a", "b\"", "<<'x y'", "z"]);
    }
}
