//! Text of others, so that it stays what it is and in its place.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// Whether a character is drawn, in its place: no control character, nothing that changes the direction of what follows,
/// and nothing that XML or HTML forbids.
fn is_harmless(one: char) -> bool {
    !one.is_control()
        && !matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        && !matches!(one, '\u{fdd0}'..='\u{fdef}')
        && !matches!(u32::from(one) & 0xffff, 0xfffe | 0xffff)
}

/// Returns the text on one line: blanks for tabs and ends of lines, and what cannot be seen written out.
pub(crate) fn line(text: &str) -> String {
    if text.chars().all(is_harmless) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\t' | '\n' | '\r' => shown.push(' '),
            one if is_harmless(one) => shown.push(one),
            one => write!(shown, "{}", one.escape_default()).expect("a text takes all"),
        }
    }
    shown
}

/// Returns the text with its lines and tabs, and what else cannot be seen written out.
pub(crate) fn lines(text: &str) -> String {
    let kept: Vec<String> =
        text.split('\n').map(|one| one.split('\t').map(line).collect::<Vec<_>>().join("\t")).collect();
    kept.join("\n")
}

/// Returns at most `room` columns of a line; the last of one that was cut is `…`.
pub(crate) fn cut(text: &str, room: usize) -> String {
    let text = line(text);
    if columns(&text) <= room {
        return text;
    }
    let mut kept = String::new();
    let mut width = 1;
    for one in text.chars() {
        width += one.width().unwrap_or(0);
        if width > room {
            break;
        }
        kept.push(one);
    }
    kept + "…"
}

/// Returns how many columns a line takes in letters of one width.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(|one| one.width().unwrap_or(0)).sum()
}

/// Returns what a step wrote as it would stand on paper: without colours and movements of the cursor, and of a line that was
/// written over again and again, as bars of progress are, what was there last.
pub(crate) fn log(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = without_sequences(&text);
    let last = |one: &str| {
        let one = one.strip_suffix('\r').unwrap_or(one);
        line_with_tabs(one.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default())
    };
    plain.split('\n').map(last).collect::<Vec<_>>().join("\n")
}

fn line_with_tabs(text: &str) -> String {
    text.split('\t').map(line).collect::<Vec<_>>().join("\t")
}

/// Leaves control sequences out.
///
/// Reference: ECMA-48, 5.4 (CSI), 5.6 (strings).
fn without_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\u{1b}', '\u{9b}']) {
        plain.push_str(&rest[..at]);
        rest = after_sequence(&rest[at..]);
    }
    plain.push_str(rest);
    plain
}

/// Returns what follows the sequence at the start of a text. One that does not end, ends with its line.
fn after_sequence(text: &str) -> &str {
    let mut chars = text.char_indices();
    let first = chars.next().map(|(_, one)| one);
    let second = if first == Some('\u{9b}') { Some('[') } else { chars.next().map(|(_, one)| one) };
    let until = |ends: &dyn Fn(char) -> bool| {
        let rest = chars.clone().find(|&(_, one)| ends(one) || one == '\n');
        rest.map_or("", |(at, one)| if one == '\n' { &text[at..] } else { &text[at + one.len_utf8()..] })
    };
    match second {
        Some('[') => until(&|one| ('\u{40}'..='\u{7e}').contains(&one)),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let rest = until(&|one| matches!(one, '\u{7}' | '\u{1b}' | '\u{9c}'));
            rest.strip_prefix('\\').unwrap_or(rest)
        }
        Some(' '..='/') => until(&|one| ('\u{30}'..='\u{7e}').contains(&one)),
        Some('\n') | None => &text[text.find('\n').unwrap_or(text.len())..],
        Some(_) => chars.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_nothing_that_cannot_be_seen() {
        assert_eq!(line("a\tb\r\nc\u{1b}[1m\u{202e}\u{ffff}é"), "a b  c\\u{1b}[1m\\u{202e}\\u{ffff}é");
        assert_eq!(lines("a\n\tb\u{0}"), "a\n\tb\\u{0}");
    }

    #[test]
    fn a_line_is_cut_by_its_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本語日本語", 6), "日本…");
    }

    #[test]
    fn a_log_is_what_would_stand_on_paper() {
        for (written, read) in [
            ("\u{1b}[32mgreen\u{1b}[0m\n", "green\n"),
            ("10%\r50%\r100%\rdone\n", "done\n"),
            ("dos\r\nunix\n", "dos\nunix\n"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Ba\u{9b}1mb", "ab"),
            ("\u{1b}[", ""),
            ("\u{1b}[12\nnext", "\nnext"),
            ("\u{1b}\nnext", "\nnext"),
            ("bell\u{7}", "bell\\u{7}"),
            ("a\tb", "a\tb"),
        ] {
            assert_eq!(log(written.as_bytes()), read, "{written:?}");
        }
        assert_eq!(log(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }
}
