//! Reads a word from left to right and expands it.

use std::ops::Range;

use super::error::ExpandError;
use super::glob::{Extent, Glob};
use super::{EXPANDED_BYTES_MAX, Lookup, NESTING_MAX, PATTERN_BYTES_MAX, Undefined};
use crate::span::Span;
use crate::text::Text;

/// A position in a word, and what was found so far.
pub(super) struct Scan<'a> {
    word: &'a Text,
    text: &'a str,
    at: usize,
    escape: char,
    /// Whether quotes are characters like any other: in the body of a heredoc.
    plain_quotes: bool,
    lookup: &'a Lookup<'a>,
    depth: usize,
    /// Whether the words read now are used. The branch that is not taken is read, but asks for nothing.
    live: bool,
    pub(super) undefined: Vec<Undefined>,
    pub(super) guarded: Vec<Undefined>,
}

/// How a backslash (or backtick) in front of a character is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Taken away; the character stands for itself.
    Undo,
    /// Kept, for the pattern that is made of it.
    Keep,
}

/// What is read up to the character that ends it.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) text: String,
    words: Vec<String>,
    unfinished: String,
}

impl Piece {
    pub(super) fn into_words(mut self) -> Vec<String> {
        self.end_word();
        self.words
    }

    fn end_word(&mut self) {
        if !self.unfinished.is_empty() {
            self.words.push(std::mem::take(&mut self.unfinished));
        }
    }

    /// Adds what splits into words at its blanks.
    fn push_open(&mut self, text: &str) {
        self.text.push_str(text);
        for char in text.chars() {
            if char.is_whitespace() {
                self.end_word();
            } else {
                self.unfinished.push(char);
            }
        }
    }

    /// Adds what was quoted or escaped: its blanks split nothing.
    fn push_closed(&mut self, text: &str) {
        self.text.push_str(text);
        self.unfinished.push_str(text);
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(word: &'a Text, escape: char, lookup: &'a Lookup<'a>) -> Self {
        let (text, undefined, guarded) = (word.as_str(), Vec::new(), Vec::new());
        Self { word, text, at: 0, escape, plain_quotes: false, lookup, depth: 0, live: true, undefined, guarded }
    }

    /// A scan of a text in which quotes mean nothing.
    pub(super) fn of_body(body: &'a Text, lookup: &'a Lookup<'a>) -> Self {
        Self { plain_quotes: true, ..Self::new(body, '\\', lookup) }
    }

    /// Reads the whole word.
    pub(super) fn all(&mut self) -> Result<Piece, ExpandError> {
        let whole = self.word.span();
        self.until(None, Escapes::Undo)?.ok_or(ExpandError::Unclosed { span: whole })
    }

    /// Reads up to `stop` and past it; returns nothing if the word ends before. Without `stop`, reads to the end.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Result<Option<Piece>, ExpandError> {
        let mut piece = Piece::default();
        while let Some(char) = self.peek() {
            if Some(char) == stop {
                self.next();
                return Ok(Some(piece));
            }
            match char {
                '\'' if !self.plain_quotes => piece.push_closed(&self.single_quoted()?),
                '"' if !self.plain_quotes => piece.push_closed(&self.double_quoted(escapes)?),
                '$' => piece.push_open(&self.dollar()?),
                _ if char == self.escape => self.escaped(escapes, &mut piece),
                _ => {
                    self.next();
                    piece.push_open(char.encode_utf8(&mut [0; 4]));
                }
            }
            if piece.text.len() > EXPANDED_BYTES_MAX {
                return Err(ExpandError::Length { span: self.word.span() });
            }
        }
        Ok(stop.is_none().then_some(piece))
    }

    fn escaped(&mut self, escapes: Escapes, piece: &mut Piece) {
        let start = self.at;
        self.next();
        let kept = if escapes == Escapes::Keep { start } else { self.at };
        // An escape character at the end of a word escapes nothing and is dropped.
        self.next();
        piece.push_closed(&self.text[kept..self.at]);
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        match self.text[self.at..].find('\'') {
            Some(len) => {
                let inside = self.text[self.at..self.at + len].to_owned();
                self.at += len + 1;
                Ok(inside)
            }
            None => Err(ExpandError::Quote { span: self.rest_from(start), quote: '\'' }),
        }
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, ExpandError> {
        let start = self.at;
        let mut inside = String::new();
        self.next();
        while let Some(char) = self.peek() {
            match char {
                '"' => {
                    self.next();
                    return Ok(inside);
                }
                '$' => inside.push_str(&self.dollar()?),
                _ => self.double_quoted_char(escapes, &mut inside),
            }
            if inside.len() > EXPANDED_BYTES_MAX {
                return Err(ExpandError::Length { span: self.word.span() });
            }
        }
        Err(ExpandError::Quote { span: self.rest_from(start), quote: '"' })
    }

    /// Reads one character inside double quotes. Only a quote, a dollar sign and the escape character can be escaped there;
    /// in front of others the escape character is one like any other.
    fn double_quoted_char(&mut self, escapes: Escapes, inside: &mut String) {
        let escape = self.escape;
        let Some(char) = self.next() else { return };
        let special = |next: &char| *next == '"' || *next == '$' || *next == escape;
        match self.peek().filter(special) {
            Some(protected) if char == escape => {
                self.next();
                if escapes == Escapes::Keep {
                    inside.push(char);
                }
                inside.push(protected);
            }
            _ => inside.push(char),
        }
    }

    /// Reads `$name` or `${...}`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        if self.peek() == Some('{') {
            self.next();
            self.depth += 1;
            if self.depth > NESTING_MAX {
                return Err(ExpandError::Depth { span: self.rest_from(start) });
            }
            let value = self.braced(start);
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.value(name).unwrap_or_default())
    }

    /// Reads what follows `${`.
    fn braced(&mut self, start: usize) -> Result<String, ExpandError> {
        match self.peek() {
            None => return Err(ExpandError::Unclosed { span: self.rest_from(start) }),
            Some('{' | '}' | ':') => {
                self.next();
                return Err(ExpandError::NoName { span: self.word.span_of(start..self.at) });
            }
            Some(_) => {}
        }
        let name = self.name();
        let modifier_start = self.at;
        let Some(mut modifier) = self.next() else {
            return Err(ExpandError::Unclosed { span: self.rest_from(start) });
        };
        let colon = modifier == ':';
        if colon {
            modifier = self.next().ok_or(ExpandError::Unclosed { span: self.rest_from(start) })?;
        }
        match modifier {
            '}' if !colon && !name.is_empty() => Ok(self.value(name).unwrap_or_default()),
            '-' | '+' | '?' if !name.is_empty() => self.conditional(start, name, modifier, colon),
            '#' | '%' if !colon && !name.is_empty() => self.trimmed(start, name, modifier),
            '/' if !colon && !name.is_empty() => self.replaced(start, name),
            _ if name.is_empty() => Err(ExpandError::NoName { span: self.word.span_of(start..self.at) }),
            _ => Err(ExpandError::Modifier {
                span: self.word.span_of(modifier_start..self.at),
                modifier: self.text[modifier_start..self.at].to_owned(),
            }),
        }
    }

    /// `${v:-word}`, `${v+word}`, `${v:?word}` and the like.
    fn conditional(
        &mut self,
        start: usize,
        name: Range<usize>,
        modifier: char,
        colon: bool,
    ) -> Result<String, ExpandError> {
        let value = if self.live { (self.lookup)(&self.text[name.clone()]) } else { None };
        let unset = value.is_none();
        if self.live && unset && is_variable(&self.text[name.clone()]) {
            let (name, span) = (self.text[name.clone()].to_owned(), self.word.span_of(name.clone()));
            self.guarded.push(Undefined { name, span });
        }
        let present = value.filter(|value| !(colon && value.is_empty()));
        let word_is_used = present.is_some() == (modifier == '+');
        let was_live = self.live;
        self.live = was_live && word_is_used;
        let word = self.until(Some('}'), Escapes::Undo);
        self.live = was_live;
        let word = word?.ok_or_else(|| ExpandError::Unclosed { span: self.rest_from(start) })?.text;
        match (modifier, present) {
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('?', None) if self.live => {
                let problem = if unset { "is not allowed to be unset" } else { "is not allowed to be empty" };
                let message = if word.is_empty() { problem.to_owned() } else { word };
                let span = self.word.span_of(start..self.at);
                Err(ExpandError::Required { span, name: self.text[name].to_owned(), message })
            }
            ('-' | '?', Some(value)) => Ok(value),
            _ => Ok(String::new()),
        }
    }

    /// `${v#pattern}`, `${v##pattern}`, `${v%pattern}`, `${v%%pattern}`.
    fn trimmed(&mut self, start: usize, name: Range<usize>, modifier: char) -> Result<String, ExpandError> {
        let value = self.value(name).unwrap_or_default();
        let doubled = self.peek() == Some(modifier);
        if doubled {
            self.next();
        }
        let pattern_start = self.at;
        let pattern = self.until(Some('}'), Escapes::Keep)?;
        let pattern = pattern.ok_or_else(|| ExpandError::Unclosed { span: self.rest_from(start) })?.text;
        let glob = self.glob(&pattern, pattern_start..self.at - 1)?;
        let extent = if doubled { Extent::Longest } else { Extent::Shortest };
        Ok(if modifier == '#' { glob.trim_start(&value, extent) } else { glob.trim_end(&value, extent) })
    }

    /// `${v/pattern/replacement}`, `${v//pattern/replacement}`.
    fn replaced(&mut self, start: usize, name: Range<usize>) -> Result<String, ExpandError> {
        let value = self.value(name).unwrap_or_default();
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern_start = self.at;
        let pattern = self.until(Some('/'), Escapes::Keep)?;
        let pattern = pattern.ok_or_else(|| ExpandError::NoReplacement { span: self.rest_from(start) })?.text;
        let glob = self.glob(&pattern, pattern_start..self.at - 1)?;
        let replacement = self.until(Some('}'), Escapes::Undo)?;
        let replacement = replacement.ok_or_else(|| ExpandError::Unclosed { span: self.rest_from(start) })?.text;
        let replaced = glob.replace(&value, &replacement, all, EXPANDED_BYTES_MAX);
        replaced.ok_or_else(|| ExpandError::Length { span: self.word.span() })
    }

    fn glob(&self, pattern: &str, written: Range<usize>) -> Result<Glob, ExpandError> {
        let glob = if pattern.len() > PATTERN_BYTES_MAX { None } else { Glob::parse(pattern, self.escape) };
        glob.ok_or_else(|| ExpandError::Pattern {
            span: self.word.span_of(written),
            pattern: pattern.chars().take(80).collect(),
        })
    }

    /// Moves past a variable's name, or one of the shell's special parameters, and returns where it stands.
    fn name(&mut self) -> Range<usize> {
        let start = self.at;
        let rest = &self.text[start..];
        self.at += match rest.chars().next() {
            Some(first) if first.is_numeric() => rest.find(|char: char| !char.is_numeric()).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len()),
        };
        start..self.at
    }

    /// Returns the value of the variable whose name stands in `range`.
    fn value(&mut self, range: Range<usize>) -> Option<String> {
        if !self.live {
            return None;
        }
        let name = &self.text[range.clone()];
        let value = (self.lookup)(name);
        if value.is_none() && is_variable(name) {
            self.undefined.push(Undefined { name: name.to_owned(), span: self.word.span_of(range) });
        }
        value
    }

    fn rest_from(&self, start: usize) -> Span {
        self.word.span_of(start..self.text.len())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        Some(char)
    }
}

/// Whether a name is that of a variable, and not of one of the shell's special parameters.
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first == '_' || first.is_alphabetic())
}
