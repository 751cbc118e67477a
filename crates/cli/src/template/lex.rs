//! Text in, tokens out.

use super::TemplateError;

/// A token, and the character (from 1) at which it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) place: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside of actions.
    Text(String),
    Open,
    Close,
    /// `if`, `json`, `true`.
    Word(String),
    /// `.` alone.
    Dot,
    /// `.Name`; `spaced` if white space is before it, so that it does not belong to the token before.
    Field {
        name: String,
        spaced: bool,
    },
    /// `$` or `$name`.
    Variable(String),
    Quoted(String),
    Number(i64),
    Pipe,
    Comma,
    Declare,
    OpenParen,
    CloseParen,
}

/// Splits `text` into tokens. Trim markers and comments are dealt with here.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { characters: text.chars().collect(), at: 0, tokens: Vec::new() };
    let mut trim_next = false;
    while lexer.at < lexer.characters.len() {
        lexer.text(trim_next);
        if lexer.at < lexer.characters.len() {
            trim_next = lexer.action()?;
        }
    }
    Ok(lexer.tokens)
}

struct Lexer {
    characters: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, character)| self.peek(ahead) == Some(character))
    }

    fn push(&mut self, place: usize, kind: TokenKind) {
        self.tokens.push(Token { place: place + 1, kind });
    }

    /// Reads up to the next `{{` or the end.
    fn text(&mut self, trim_start: bool) {
        let start = self.at;
        while self.at < self.characters.len() && !self.starts_with("{{") {
            self.at += 1;
        }
        let whole: String = self.characters[start..self.at].iter().collect();
        let mut text = whole.as_str();
        if trim_start {
            text = text.trim_start();
        }
        if self.starts_with("{{-") && self.peek(3).is_some_and(char::is_whitespace) {
            text = text.trim_end();
        }
        if !text.is_empty() {
            self.push(start, TokenKind::Text(text.to_owned()));
        }
    }

    /// Reads `{{ ... }}`. Returns whether it trims the text that follows.
    fn action(&mut self) -> Result<bool, TemplateError> {
        let open = self.at;
        self.at += 2;
        if self.peek(0) == Some('-') && self.peek(1).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.push(open, TokenKind::Open);
        loop {
            let spaced = self.skip_space();
            let place = self.at;
            if self.starts_with("-}}") && spaced {
                self.at += 3;
                self.push(place, TokenKind::Close);
                return Ok(true);
            }
            if self.starts_with("}}") {
                self.at += 2;
                self.push(place, TokenKind::Close);
                return Ok(false);
            }
            if self.starts_with("/*") {
                self.comment(place)?;
                continue;
            }
            let Some(first) = self.peek(0) else {
                return Err(TemplateError::new(open + 1, "`{{` is not closed by `}}`"));
            };
            let kind = self.token(first, spaced)?;
            self.push(place, kind);
        }
    }

    fn skip_space(&mut self) -> bool {
        let start = self.at;
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.at > start
    }

    fn comment(&mut self, place: usize) -> Result<(), TemplateError> {
        while !self.starts_with("*/") {
            if self.at >= self.characters.len() {
                return Err(TemplateError::new(place + 1, "the comment is not closed by `*/`"));
            }
            self.at += 1;
        }
        self.at += 2;
        Ok(())
    }

    fn name(&mut self) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(|character| character.is_alphanumeric() || character == '_') {
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect()
    }

    fn token(&mut self, first: char, spaced: bool) -> Result<TokenKind, TemplateError> {
        let place = self.at + 1;
        self.at += 1;
        Ok(match first {
            '|' => TokenKind::Pipe,
            ',' => TokenKind::Comma,
            '(' => TokenKind::OpenParen,
            ')' => TokenKind::CloseParen,
            ':' if self.peek(0) == Some('=') => {
                self.at += 1;
                TokenKind::Declare
            }
            '.' => match self.name() {
                name if name.is_empty() => TokenKind::Dot,
                name => TokenKind::Field { name, spaced },
            },
            '$' => TokenKind::Variable(self.name()),
            '"' => TokenKind::Quoted(self.quoted(place)?),
            '`' => {
                let start = self.at;
                while self.peek(0).ok_or_else(|| TemplateError::new(place, "the quote is not closed"))? != '`' {
                    self.at += 1;
                }
                self.at += 1;
                TokenKind::Quoted(self.characters[start..self.at - 1].iter().collect())
            }
            '0'..='9' | '-' => {
                let start = self.at - 1;
                while self.peek(0).is_some_and(|character| character.is_ascii_digit()) {
                    self.at += 1;
                }
                let digits: String = self.characters[start..self.at].iter().collect();
                TokenKind::Number(
                    digits.parse().map_err(|_| TemplateError::new(place, format!("`{digits}` is not a number")))?,
                )
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                self.at -= 1;
                TokenKind::Word(self.name())
            }
            other => return Err(TemplateError::new(place, format!("unexpected `{other}`"))),
        })
    }

    fn quoted(&mut self, place: usize) -> Result<String, TemplateError> {
        let mut text = String::new();
        loop {
            let character = self.peek(0).ok_or_else(|| TemplateError::new(place, "the quote is not closed"))?;
            self.at += 1;
            match character {
                '"' => return Ok(text),
                '\\' => {
                    let escaped = self.peek(0).ok_or_else(|| TemplateError::new(place, "the quote is not closed"))?;
                    self.at += 1;
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        '\\' | '"' | '\'' => escaped,
                        other => {
                            return Err(TemplateError::new(self.at, format!("unknown escape `\\{other}`")));
                        }
                    });
                }
                other => text.push(other),
            }
        }
    }
}
