//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and an escape character, no brackets.
//!
//! A match is found segment by segment (a segment is what stands between two stars), so its cost grows with the length
//! of the value times that of the pattern, never faster.

use std::ops::Range;

/// A parsed pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Glob {
    /// What stands between stars; `n` stars make `n + 1` segments, which may be empty.
    segments: Vec<Vec<One>>,
}

/// What stands for exactly one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum One {
    Any,
    Literal(char),
}

/// Which of several matches is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

impl Glob {
    /// Returns nothing if the pattern escapes a character that cannot be escaped.
    pub(super) fn parse(pattern: &str, escape: char) -> Option<Self> {
        let mut segments = vec![Vec::new()];
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            let one = match char {
                '*' => {
                    segments.push(Vec::new());
                    continue;
                }
                '?' => One::Any,
                _ if char == escape => match chars.next() {
                    Some(escaped @ ('*' | '?' | '}' | '/')) => One::Literal(escaped),
                    Some(escaped) if escaped == escape => One::Literal(escaped),
                    _ => return None,
                },
                _ => One::Literal(char),
            };
            segments.last_mut().expect("there is always a segment").push(one);
        }
        Some(Self { segments })
    }

    /// Returns `value` without its shortest or longest beginning that matches.
    pub(super) fn trim_start(&self, value: &str, extent: Extent) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = self.match_at(&chars, 0, extent).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// Returns `value` without its shortest or longest end that matches.
    pub(super) fn trim_end(&self, value: &str, extent: Extent) -> String {
        let backwards =
            Self { segments: self.segments.iter().rev().map(|one| one.iter().rev().copied().collect()).collect() };
        let chars: Vec<char> = value.chars().rev().collect();
        let end = backwards.match_at(&chars, 0, extent).unwrap_or(0);
        chars[end..].iter().rev().collect()
    }

    /// Returns `value` with its first match, or all of them, replaced; of several at one place the longest counts.
    /// Gives up, with nothing, when the result would have more than `bytes_max` bytes.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool, bytes_max: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut replaced = String::new();
        let (mut done, mut from) = (0, 0);
        while let Some(found) = self.find(&chars, from) {
            replaced.extend(&chars[done..found.start]);
            // An empty match right after another match belongs to that one.
            if found.end > done || found.start == 0 {
                replaced.push_str(replacement);
            }
            done = found.end;
            from = if found.is_empty() { found.end + 1 } else { found.end };
            if !all || from > chars.len() {
                break;
            }
            if replaced.len() > bytes_max {
                return None;
            }
        }
        replaced.extend(&chars[done..]);
        (replaced.len() <= bytes_max).then_some(replaced)
    }

    /// Returns the first longest match that starts at or after `from`.
    fn find(&self, chars: &[char], from: usize) -> Option<Range<usize>> {
        let [first, rest @ ..] = self.segments.as_slice() else { return None };
        for start in from..=chars.len() {
            if !matches_at(first, chars, start) {
                continue;
            }
            match self.match_at(chars, start, Extent::Longest) {
                Some(end) => return Some(start..end),
                // What a star could not reach from here it cannot reach from further on.
                None if !rest.is_empty() => return None,
                None => {}
            }
        }
        None
    }

    /// Returns where the match that starts at `start` ends.
    fn match_at(&self, chars: &[char], start: usize, extent: Extent) -> Option<usize> {
        let [first, rest @ ..] = self.segments.as_slice() else { return None };
        if !matches_at(first, chars, start) {
            return None;
        }
        let mut at = start + first.len();
        let Some((last, middle)) = rest.split_last() else { return Some(at) };
        for segment in middle {
            at = (at..=chars.len()).find(|place| matches_at(segment, chars, *place))? + segment.len();
        }
        let mut places = at..=chars.len();
        let place = match extent {
            Extent::Shortest => places.find(|place| matches_at(last, chars, *place)),
            Extent::Longest => places.rfind(|place| matches_at(last, chars, *place)),
        }?;
        Some(place + last.len())
    }
}

fn matches_at(segment: &[One], chars: &[char], at: usize) -> bool {
    let Some(part) = chars.get(at..at + segment.len()) else { return false };
    segment.iter().zip(part).all(|(one, char)| match one {
        One::Any => true,
        One::Literal(literal) => literal == char,
    })
}
