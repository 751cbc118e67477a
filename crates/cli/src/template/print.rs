//! `printf`: Go's verbs, as far as values of JSON have a use for them.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::eval::{kind_of, text_of};

/// Largest width and precision, in characters.
const WIDTH_MAX: usize = 1000;

/// `%s`, `%v`, `%d`, `%q`, `%t`, `%T`, `%%`, with a width (`%-20s`, `%5d`) and a precision (`%.12s`).
///
/// Reference: the documentation of Go's `fmt`.
pub(super) fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = arguments.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let left = characters.next_if_eq(&'-').is_some();
        let width = number(&mut characters)?.unwrap_or(0);
        let precision = match characters.next_if_eq(&'.') {
            Some(_) => number(&mut characters)?.or(Some(0)),
            None => None,
        };
        let mut next = || rest.next().ok_or_else(|| format!("`printf`: `{format}` needs more arguments"));
        let text = match characters.next() {
            Some('%') => "%".to_owned(),
            Some(verb) => verb_text(verb, next()?, precision)?,
            None => return Err("`printf`: `%` without a verb".to_owned()),
        };
        if left { write!(out, "{text:<width$}") } else { write!(out, "{text:>width$}") }
            .expect("writing to a string does not fail");
    }
    if rest.next().is_some() {
        return Err(format!("`printf`: `{format}` has fewer verbs than arguments"));
    }
    Ok(out)
}

fn number(characters: &mut Peekable<Chars<'_>>) -> Result<Option<usize>, String> {
    let mut read = None;
    while let Some(digit) = characters.peek().and_then(|digit| digit.to_digit(10)) {
        let number = read.unwrap_or(0) * 10 + digit as usize;
        characters.next();
        if number > WIDTH_MAX {
            return Err(format!("`printf`: the width is over {WIDTH_MAX}"));
        }
        read = Some(number);
    }
    Ok(read)
}

fn verb_text(verb: char, value: &Value, precision: Option<usize>) -> Result<String, String> {
    let cut = |text: String| match (value, precision) {
        (Value::String(_), Some(most)) => text.chars().take(most).collect(),
        _ => text,
    };
    Ok(match (verb, value) {
        ('s' | 'v', _) => cut(text_of(value)),
        ('q', _) => Value::from(cut(text_of(value))).to_string(),
        ('d', Value::Number(number)) => number.to_string(),
        ('d', other) => return Err(format!("`printf`: `%d` expects a number, not {}", kind_of(other))),
        ('t', Value::Bool(truth)) => truth.to_string(),
        ('t', other) => return Err(format!("`printf`: `%t` expects a truth value, not {}", kind_of(other))),
        ('T', _) => type_of(value).to_owned(),
        (other, _) => return Err(format!("`printf`: `%{other}` is not supported")),
    })
}

/// The type that Go has for a value of JSON.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
