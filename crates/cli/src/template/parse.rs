//! Tokens in, nodes out.

use serde_json::Value;

use super::lex::{Token, TokenKind, tokens};
use super::{Call, Node, Pipeline, TemplateError, Term, TermKind};

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 64;

pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: tokens(text)?, at: 0, end, depth: 0 };
    let (nodes, stop) = parser.block()?;
    match stop {
        Stop::End(place) => Err(TemplateError::new(place, "`end` without a block")),
        Stop::Else(place) => Err(TemplateError::new(place, "`else` without a block")),
        Stop::Finished => Ok(nodes),
    }
}

/// What ended a block.
enum Stop {
    Finished,
    /// `{{end}}`, all read.
    End(usize),
    /// `{{else`, with the rest of the action to be read.
    Else(usize),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |token| token.place)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::new(self.place(), message))
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        if self.take(&TokenKind::Close) { Ok(()) } else { self.error("expected `}}`") }
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.error("nested too deeply") } else { Ok(()) }
    }

    /// Reads nodes up to what ends them.
    fn block(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let place = self.place();
            match self.peek().cloned() {
                None => return Ok((nodes, Stop::Finished)),
                Some(TokenKind::Text(text)) => {
                    self.at += 1;
                    nodes.push(Node::Text(text));
                }
                Some(_) => {
                    // Outside of an action there is only text and `{{`.
                    self.at += 1;
                    let word = match self.peek() {
                        Some(TokenKind::Word(word)) => word.clone(),
                        Some(TokenKind::Close) => {
                            // A comment.
                            self.at += 1;
                            continue;
                        }
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" => {
                            self.at += 1;
                            self.close()?;
                            return Ok((nodes, Stop::End(place)));
                        }
                        "else" => {
                            self.at += 1;
                            return Ok((nodes, Stop::Else(place)));
                        }
                        "if" | "with" | "range" => {
                            self.at += 1;
                            nodes.push(self.control(&word, place)?);
                        }
                        "define" | "template" | "block" | "break" | "continue" => {
                            return self.error(format!("`{word}` is not supported in stave's templates"));
                        }
                        _ => {
                            let pipeline = self.pipeline()?;
                            self.close()?;
                            nodes.push(Node::Print(pipeline));
                        }
                    }
                }
            }
        }
    }

    /// Reads an `if`, `with` or `range` after its word, up to its `end`.
    fn control(&mut self, word: &str, place: usize) -> Result<Node, TemplateError> {
        self.deeper()?;
        let pipeline = self.pipeline()?;
        if pipeline.variables.len() > 1 && word != "range" {
            return Err(TemplateError::new(place, format!("`{word}` declares one variable at most")));
        }
        self.close()?;
        let (then, stop) = self.block()?;
        let otherwise = match stop {
            Stop::Finished => {
                return Err(TemplateError::new(place, format!("`{word}` is not closed by `{{{{end}}}}`")));
            }
            Stop::End(_) => Vec::new(),
            Stop::Else(else_place) => self.otherwise(word, place, else_place)?,
        };
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If { condition: pipeline, then, otherwise },
            "with" => Node::With { value: pipeline, then, otherwise },
            _ => Node::Range { list: pipeline, body: then, otherwise },
        })
    }

    /// Reads what follows `{{else`.
    fn otherwise(&mut self, word: &str, place: usize, else_place: usize) -> Result<Vec<Node>, TemplateError> {
        if word != "range" && self.take(&TokenKind::Word(word.to_owned())) {
            return Ok(vec![self.control(word, else_place)?]);
        }
        self.close()?;
        match self.block()? {
            (nodes, Stop::End(_)) => Ok(nodes),
            (_, Stop::Else(second)) => Err(TemplateError::new(second, "a second `else`")),
            (_, Stop::Finished) => Err(TemplateError::new(place, format!("`{word}` is not closed by `{{{{end}}}}`"))),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let variables = self.declared()?;
        let mut commands = vec![self.call()?];
        while self.take(&TokenKind::Pipe) {
            commands.push(self.call()?);
        }
        Ok(Pipeline { variables, commands })
    }

    /// Reads `$k, $v :=` if it is there.
    fn declared(&mut self) -> Result<Vec<String>, TemplateError> {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(TokenKind::Variable(name)) = self.peek().cloned() {
            self.at += 1;
            names.push(name);
            if self.take(&TokenKind::Declare) {
                return if names.len() > 2 { self.error("at most two variables are declared") } else { Ok(names) };
            }
            if !self.take(&TokenKind::Comma) {
                break;
            }
        }
        self.at = start;
        Ok(Vec::new())
    }

    fn call(&mut self) -> Result<Call, TemplateError> {
        let place = self.place();
        let mut words = Vec::new();
        while let Some(term) = self.term()? {
            words.push(term);
        }
        if words.is_empty() { self.error("expected a value") } else { Ok(Call { place, words }) }
    }

    fn term(&mut self) -> Result<Option<Term>, TemplateError> {
        let place = self.place();
        let mut fields = Vec::new();
        let kind = match self.peek().cloned() {
            Some(TokenKind::Dot) => TermKind::Dot,
            Some(TokenKind::Field { name, .. }) => {
                fields.push(name);
                TermKind::Dot
            }
            Some(TokenKind::Variable(name)) => TermKind::Variable(name),
            Some(TokenKind::Quoted(text)) => TermKind::Literal(Value::from(text)),
            Some(TokenKind::Number(number)) => TermKind::Literal(Value::from(number)),
            Some(TokenKind::Word(word)) => match word.as_str() {
                "true" => TermKind::Literal(Value::Bool(true)),
                "false" => TermKind::Literal(Value::Bool(false)),
                "nil" => TermKind::Literal(Value::Null),
                _ => TermKind::Function(word),
            },
            Some(TokenKind::OpenParen) => {
                self.at += 1;
                self.deeper()?;
                let inner = self.pipeline()?;
                self.depth -= 1;
                if self.peek() != Some(&TokenKind::CloseParen) {
                    return self.error("expected `)`");
                }
                TermKind::Parens(Box::new(inner))
            }
            _ => return Ok(None),
        };
        self.at += 1;
        while let Some(TokenKind::Field { name, spaced: false }) = self.peek().cloned() {
            self.at += 1;
            fields.push(name);
        }
        Ok(Some(Term { place, kind, fields }))
    }
}
