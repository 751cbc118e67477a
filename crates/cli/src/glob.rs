//! Shell patterns for names: `*`, `?` and `[...]`, none of which matches a `/`.

/// Whether `pattern` matches all of `text`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Where to go on if what follows the last `*` does not fit.
    let mut retry: Option<(usize, usize)> = None;
    let (mut at, mut place) = (0, 0);
    loop {
        match pattern.get(at) {
            None if place == text.len() => return true,
            Some('*') => {
                retry = Some((at + 1, place));
                at += 1;
                continue;
            }
            Some(_) if place < text.len() => {
                if let Some(next) = one(&pattern, at, text[place]) {
                    (at, place) = (next, place + 1);
                    continue;
                }
            }
            _ => {}
        }
        match retry {
            Some((after, from)) if from < text.len() && text[from] != '/' => {
                retry = Some((after, from + 1));
                (at, place) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// If the element at `at` matches `character`, returns where the next element is.
fn one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match pattern[at] {
        '?' => (character != '/').then_some(at + 1),
        '[' => {
            let close = at + 2 + pattern.get(at + 2..)?.iter().position(|&end| end == ']')?;
            let mut class = &pattern[at + 1..close];
            let negated = class[0] == '^' && class.len() > 1;
            if negated {
                class = &class[1..];
            }
            let mut found = false;
            let mut rest = class;
            while let [low, tail @ ..] = rest {
                let (high, after) = match tail {
                    ['-', high, after @ ..] => (high, after),
                    _ => (low, tail),
                };
                found |= (*low..=*high).contains(&character);
                rest = after;
            }
            (found != negated && character != '/').then_some(close + 1)
        }
        '\\' => (pattern.get(at + 1) == Some(&character)).then_some(at + 2),
        other => (other == character).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, text) in [
            ("alpine", "alpine"),
            ("al*", "alpine"),
            ("me/*:1.*", "me/app:1.2"),
            ("*/*", "me/app"),
            ("a?p[h-j]ne", "alpine"),
            ("[^b]lpine", "alpine"),
            ("*", ""),
            ("a*b*c", "axxbyybzzc"),
            ("a\\*", "a*"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("alpine", "alpine:latest"),
            ("*", "me/app"),
            ("a?", "a"),
            ("[a", "a"),
            ("a*b", "axc"),
            ("", "a"),
            ("[]", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
