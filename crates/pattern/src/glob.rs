//! Patterns as automata: read once, then run over a path without ever going back.

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `!` and nothing after it.
    #[error("is an illegal exclusion pattern: it has nothing after `!`")]
    LoneExclamation,
    /// A `\` at the end.
    #[error("ends in `\\`, which escapes the character after it")]
    TrailingEscape,
    /// A `[` without its `]`.
    #[error("has a `[` without `]`; a literal `[` is written `\\[`")]
    UnclosedClass,
    /// `[]`, `[^]`, `[-a]`, `[a-]`: a range lacks an end.
    #[error("has a class in which a character is missing; a literal `-` or `]` in it is written `\\-` or `\\]`")]
    IncompleteClass,
    /// `[z-a]`.
    #[error("has a range that ends before it starts")]
    BackwardRange,
}

/// One character of a path: a Unicode scalar, or a byte that is part of none (kept apart above all scalars).
type Character = u32;

const NOT_UTF8: Character = 0x0011_0000;
const SLASH: Character = b'/' as Character;

pub(crate) fn characters(bytes: &[u8]) -> impl Iterator<Item = Character> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let invalid = chunk.invalid().iter().map(|&byte| NOT_UTF8 + Character::from(byte));
        chunk.valid().chars().map(Character::from).chain(invalid)
    })
}

/// What a pattern wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(Character),
    /// Any character but `/`.
    Any,
    /// Any number of characters but `/`.
    Star,
    /// Any number of any characters.
    DeepStar,
    /// A character of a class; `slash`: which may be a `/`.
    Class { negated: bool, slash: bool, ranges: Vec<(Character, Character)> },
    /// The next two tokens or nothing.
    OptionalTwo,
    /// What no character is.
    Never,
}

/// What a backslash and `escaped` are in an ignore file. Docker hands both on to a regular expression, for which some
/// letters mean something then: `bin\Debug` asks for something that is no digit.
///
/// Reference: `moby/patternmatcher`; RE2's syntax, "Escape sequences", "Perl character classes" and "Empty strings".
fn in_regular_expression(escaped: Character) -> Token {
    let class = |negated: bool, ranges: &[(char, char)]| Token::Class {
        negated,
        slash: true,
        ranges: ranges.iter().map(|&(low, high)| (Character::from(low), Character::from(high))).collect(),
    };
    let one = |character: char| Token::Literal(Character::from(character));
    let letter = character_of(escaped);
    match letter {
        'd' | 'D' => class(letter == 'D', &[('0', '9')]),
        'w' | 'W' => class(letter == 'W', &[('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')]),
        's' | 'S' => class(letter == 'S', &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')]),
        'a' => one('\u{7}'),
        'f' => one('\u{c}'),
        'n' => one('\n'),
        'r' => one('\r'),
        't' => one('\t'),
        'v' => one('\u{b}'),
        // What is between letters, and beginnings of longer sequences.
        'b' | 'B' | 'A' | 'z' | 'p' | 'P' | 'x' | 'Q' | '0'..='9' => Token::Never,
        _ => Token::Literal(escaped),
    }
}

/// A pattern that is ready to be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

/// What `**` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoubleStar {
    /// Any number of directories, in ignore files.
    Directories,
    /// The same as `*`, in `COPY`.
    Star,
}

impl Glob {
    pub(crate) fn parse(pattern: &[u8], double_star: DoubleStar) -> Result<Self, Malformed> {
        let input: Vec<Character> = characters(pattern).collect();
        let mut reader = Reader { input: &input, at: 0 };
        let mut tokens = Vec::new();
        while let Some(character) = reader.next() {
            match character_of(character) {
                '*' if double_star == DoubleStar::Directories && reader.eat('*') => {
                    // The slash after it belongs to it, so that it also stands for no directory at all.
                    reader.eat('/');
                    if reader.at_end() {
                        tokens.push(Token::DeepStar);
                    } else {
                        tokens.extend([Token::OptionalTwo, Token::DeepStar, Token::Literal(SLASH)]);
                    }
                }
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::Any),
                // Docker turns classes into those of a regular expression, for which a slash is a character like others.
                '[' => tokens.push(reader.class(double_star == DoubleStar::Directories)?),
                '\\' => {
                    let escaped = reader.next().ok_or(Malformed::TrailingEscape)?;
                    tokens.push(match double_star {
                        DoubleStar::Directories => in_regular_expression(escaped),
                        DoubleStar::Star => Token::Literal(escaped),
                    });
                }
                _ => tokens.push(Token::Literal(character)),
            }
        }
        Ok(Self { tokens })
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.run(path).contains(self.tokens.len())
    }

    /// Whether some path below the directory `path` matches.
    pub(crate) fn may_match_below(&self, path: &[u8]) -> bool {
        let mut active = self.step(&self.run(path), SLASH);
        self.close(&mut active);
        // What is active only because the whole pattern has been used up can match nothing longer.
        active.first_from(0).is_some_and(|state| state < self.tokens.len())
    }

    /// Returns the positions that all of `path` leads to.
    fn run(&self, path: &[u8]) -> States {
        let mut active = States::none(self.tokens.len());
        active.insert(0);
        self.close(&mut active);
        for character in characters(path) {
            // Most patterns are done with most paths after a character or two.
            if active.is_empty() {
                break;
            }
            active = self.step(&active, character);
            self.close(&mut active);
        }
        active
    }

    /// Returns the positions that `character` leads to from those that are active.
    fn step(&self, active: &States, character: Character) -> States {
        let mut next = States::none(self.tokens.len());
        let mut from = 0;
        while let Some(state) = active.first_from(from) {
            from = state + 1;
            match self.tokens.get(state) {
                Some(Token::Literal(expected)) if *expected == character => next.insert(state + 1),
                Some(Token::Any) if character != SLASH => next.insert(state + 1),
                Some(Token::Star) if character != SLASH => next.insert(state),
                Some(Token::DeepStar) => next.insert(state),
                Some(Token::Class { negated, slash, ranges }) => {
                    let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&character));
                    if inside != *negated && (*slash || character != SLASH) {
                        next.insert(state + 1);
                    }
                }
                Some(Token::Literal(_) | Token::Any | Token::Star | Token::OptionalTwo | Token::Never) | None => {}
            }
        }
        next
    }

    /// Makes active what can be reached without a character. That is always further on, so one pass is enough.
    fn close(&self, active: &mut States) {
        let mut from = 0;
        while let Some(state) = active.first_from(from) {
            from = state + 1;
            match self.tokens.get(state) {
                Some(Token::Star | Token::DeepStar) => active.insert(state + 1),
                Some(Token::OptionalTwo) => {
                    active.insert(state + 1);
                    active.insert(state + 3);
                }
                Some(Token::Literal(_) | Token::Any | Token::Class { .. } | Token::Never) | None => {}
            }
        }
    }
}

/// Which positions of a pattern a path may have come to (or which rules match it), one bit each. Patterns of fewer than 64
/// tokens, which is nearly all, need no memory of their own: this is made anew for every character of every path of a
/// context.
pub(crate) struct States {
    first: u64,
    rest: Vec<u64>,
}

impl States {
    pub(crate) fn none(tokens: usize) -> Self {
        Self { first: 0, rest: vec![0; tokens / 64] }
    }

    fn word(&self, index: usize) -> Option<u64> {
        if index == 0 { Some(self.first) } else { self.rest.get(index - 1).copied() }
    }

    pub(crate) fn contains(&self, state: usize) -> bool {
        self.word(state / 64).is_some_and(|word| word >> (state % 64) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, state: usize) {
        let word = if state < 64 { &mut self.first } else { &mut self.rest[state / 64 - 1] };
        *word |= 1 << (state % 64);
    }

    fn is_empty(&self) -> bool {
        self.first == 0 && self.rest.iter().all(|&word| word == 0)
    }

    /// Returns the first position that is active and not before `from`.
    fn first_from(&self, from: usize) -> Option<usize> {
        let mut index = from / 64;
        let mut word = self.word(index)? >> (from % 64) << (from % 64);
        while word == 0 {
            index += 1;
            word = self.word(index)?;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}

struct Reader<'a> {
    input: &'a [Character],
    at: usize,
}

fn character_of(character: Character) -> char {
    char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER)
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.input.get(self.at).map(|&character| character_of(character))
    }

    fn next(&mut self) -> Option<Character> {
        let next = self.input.get(self.at).copied()?;
        self.at += 1;
        Some(next)
    }

    fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn at_end(&self) -> bool {
        self.at == self.input.len()
    }

    /// Reads the rest of a class, after its `[`.
    fn class(&mut self, slash: bool) -> Result<Token, Malformed> {
        let negated = self.eat('^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.eat(']') {
            let low = self.class_character()?;
            let high = if self.eat('-') { self.class_character()? } else { low };
            if high < low {
                return Err(Malformed::BackwardRange);
            }
            ranges.push((low, high));
        }
        Ok(Token::Class { negated, slash, ranges })
    }

    fn class_character(&mut self) -> Result<Character, Malformed> {
        match self.peek() {
            None => Err(Malformed::UnclosedClass),
            Some('-' | ']') => Err(Malformed::IncompleteClass),
            Some('\\') => {
                self.at += 1;
                self.next().ok_or(Malformed::TrailingEscape)
            }
            Some(_) => self.next().ok_or(Malformed::UnclosedClass),
        }
    }
}
