//! Patterns as automata: read once, then run over a path without ever going back.

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `!` and nothing after it.
    #[error("has nothing after `!`")]
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
    /// A character of a class.
    Class { negated: bool, ranges: Vec<(Character, Character)> },
    /// The next two tokens or nothing.
    OptionalTwo,
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
                '[' => tokens.push(reader.class()?),
                '\\' => tokens.push(Token::Literal(reader.next().ok_or(Malformed::TrailingEscape)?)),
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
        let mut active = self.run(path);
        active = self.step(&active, SLASH);
        // What is active only because the whole pattern has been used up can match nothing longer.
        (0..self.tokens.len()).any(|state| active.contains(state))
    }

    fn run(&self, path: &[u8]) -> States {
        let mut active = States::none(self.tokens.len());
        self.enter(&mut active, 0);
        for character in characters(path) {
            active = self.step(&active, character);
        }
        active
    }

    fn step(&self, active: &States, character: Character) -> States {
        let mut next = States::none(self.tokens.len());
        for (state, token) in self.tokens.iter().enumerate() {
            if !active.contains(state) {
                continue;
            }
            match token {
                Token::Literal(expected) if *expected == character => self.enter(&mut next, state + 1),
                Token::Any if character != SLASH => self.enter(&mut next, state + 1),
                Token::Star if character != SLASH => self.enter(&mut next, state),
                Token::DeepStar => self.enter(&mut next, state),
                Token::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&character));
                    if inside != *negated && character != SLASH {
                        self.enter(&mut next, state + 1);
                    }
                }
                Token::Literal(_) | Token::Any | Token::Star | Token::OptionalTwo => {}
            }
        }
        next
    }

    /// Makes `state` active, and all that can be reached from it without a character.
    fn enter(&self, active: &mut States, state: usize) {
        let mut open = vec![state];
        while let Some(state) = open.pop() {
            if !active.insert(state) {
                continue;
            }
            match self.tokens.get(state) {
                Some(Token::Star | Token::DeepStar) => open.push(state + 1),
                Some(Token::OptionalTwo) => open.extend([state + 1, state + 3]),
                Some(Token::Literal(_) | Token::Any | Token::Class { .. }) | None => {}
            }
        }
    }
}

/// Which positions of a pattern a path may have come to.
struct States(Vec<bool>);

impl States {
    fn none(tokens: usize) -> Self {
        Self(vec![false; tokens + 1])
    }

    fn contains(&self, state: usize) -> bool {
        self.0[state]
    }

    fn insert(&mut self, state: usize) -> bool {
        !std::mem::replace(&mut self.0[state], true)
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
    fn class(&mut self) -> Result<Token, Malformed> {
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
        Ok(Token::Class { negated, ranges })
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
