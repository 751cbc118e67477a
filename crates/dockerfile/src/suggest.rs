//! The nearest name to one that does not exist.

/// Returns the candidate that `written` was most probably meant to be, if one is near enough.
///
/// Upper and lower case count as equal. Of candidates that are equally near the first wins.
#[must_use]
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(NAME_CHARS_MAX + 1).flat_map(char::to_lowercase).collect();
    if written.is_empty() || written.len() > NAME_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let chars: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        // A third of the letters may be wrong: `bulder` is `builder`, but `x` is not `y`.
        let allowed = (written.len().max(chars.len()) / 3).max(1).min(written.len().max(chars.len()) - 1);
        if written.len().abs_diff(chars.len()) > allowed {
            continue;
        }
        let wrong = distance(&written, &chars);
        if wrong <= allowed && best.is_none_or(|(least, _)| wrong < least) {
            best = Some((wrong, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longest name that a suggestion is looked for; what is longer is no misspelling of ours.
const NAME_CHARS_MAX: usize = 64;

/// Number of insertions, deletions, replacements and swaps of neighbours between `a` and `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row_before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            let mut fewest = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                fewest = fewest.min(row_before[j - 1] + 1);
            }
            row.push(fewest);
        }
        row_before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = ["from", "link", "chown", "chmod"];
        assert_eq!(nearest("lnk", names), Some("link"));
        assert_eq!(nearest("LINK", names), Some("link"));
        assert_eq!(nearest("chmdo", names), Some("chmod"));
        assert_eq!(nearest("chwon", names), Some("chown"));
        assert_eq!(nearest("ENTRYPIONT", ["CMD", "ENTRYPOINT"]), Some("ENTRYPOINT"));
        assert_eq!(nearest("FNTRYPOINT", ["CMD", "ENTRYPOINT"]), Some("ENTRYPOINT"));
    }

    #[test]
    fn a_far_name_finds_nothing() {
        assert_eq!(nearest("network", ["from", "link"]), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["y"]), None);
        assert_eq!(nearest(&"a".repeat(100_000), ["a"]), None);
    }
}
