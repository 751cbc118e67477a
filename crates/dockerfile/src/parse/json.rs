//! JSON arrays of strings, with the place of each string.
//!
//! Reference: RFC 8259. As in Go, half of a surrogate pair becomes U+FFFD.

use crate::span::Span;
use crate::text::Text;

/// What a text is, seen as a JSON array.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Array {
    /// No JSON array, or more than one: the shell form.
    No,
    /// An array of strings.
    Strings(Vec<Text>),
    /// An array with something else in it, which stands here.
    Mixed(Span),
}

/// Deepest nesting that is read; deeper is no JSON of ours.
const DEPTH_MAX: usize = 100;

/// Reads all of `text` as an array.
pub(super) fn array(text: &Text) -> Array {
    let mut reader = Reader { source: text, text: text.as_str(), at: 0 };
    reader.blanks();
    let read = reader.array_of_strings();
    reader.blanks();
    match read {
        Some(_) if reader.at < reader.text.len() => Array::No,
        Some(Items { mixed: Some(span), .. }) => Array::Mixed(span),
        Some(Items { strings, .. }) => Array::Strings(strings),
        None => Array::No,
    }
}

/// Reads `{ "key": "value" }` with anything else around it, and returns the value, if the whole of `text` is such an object.
pub(super) fn string_in_object(text: &Text, key: &str) -> Option<Text> {
    let mut reader = Reader { source: text, text: text.as_str(), at: 0 };
    let mut found = None;
    reader.blanks();
    reader.object(0, &mut |name, value| {
        if name.as_str() == key {
            found = value;
        }
    })?;
    reader.blanks();
    (reader.at == reader.text.len()).then_some(found).flatten()
}

struct Items {
    strings: Vec<Text>,
    mixed: Option<Span>,
}

struct Reader<'a> {
    source: &'a Text,
    text: &'a str,
    at: usize,
}

type OnMember<'f> = dyn FnMut(&Text, Option<Text>) + 'f;

impl Reader<'_> {
    fn array_of_strings(&mut self) -> Option<Items> {
        let mut items = Items { strings: Vec::new(), mixed: None };
        self.expect('[')?;
        self.blanks();
        if self.expect(']').is_some() {
            return Some(items);
        }
        loop {
            self.blanks();
            let start = self.at;
            if self.peek() == Some('"') {
                items.strings.push(self.string()?);
            } else {
                self.value(0)?;
                items.mixed = items.mixed.or(Some(self.source.span_of(start..self.at)));
            }
            self.blanks();
            match self.next()? {
                ',' => {}
                ']' => return Some(items),
                _ => return None,
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            '"' => self.string().map(drop),
            '{' => self.object(depth, &mut |_, _| {}),
            '[' => self.any_array(depth),
            't' => self.literal("true"),
            'f' => self.literal("false"),
            'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn any_array(&mut self, depth: usize) -> Option<()> {
        self.expect('[')?;
        self.blanks();
        if self.expect(']').is_some() {
            return Some(());
        }
        loop {
            self.blanks();
            self.value(depth + 1)?;
            self.blanks();
            match self.next()? {
                ',' => {}
                ']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads an object; gives each member's name, and its value if that is a string, to `on_member`.
    fn object(&mut self, depth: usize, on_member: &mut OnMember<'_>) -> Option<()> {
        self.expect('{')?;
        self.blanks();
        if self.expect('}').is_some() {
            return Some(());
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.expect(':')?;
            self.blanks();
            if self.peek() == Some('"') {
                let value = self.string()?;
                on_member(&name, Some(value));
            } else {
                self.value(depth + 1)?;
                on_member(&name, None);
            }
            self.blanks();
            match self.next()? {
                ',' => {}
                '}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<Text> {
        let start = self.at;
        self.expect('"')?;
        let mut string = Text::empty_at(self.source.span_of(start..start).start);
        loop {
            let from = self.at;
            let plain = self.text[from..].find(|char: char| char == '"' || char == '\\' || char < ' ')?;
            self.at += plain;
            string.push(&self.source.slice(from..self.at));
            let special = self.at;
            match self.next()? {
                '"' => return Some(string.with_span(self.source.span_of(start..self.at))),
                '\\' => {
                    let char = self.escaped()?;
                    string.push_decoded(char.encode_utf8(&mut [0; 4]), self.source.span_of(special..self.at));
                }
                _ => return None,
            }
        }
    }

    /// Reads what follows a backslash.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            char @ ('"' | '\\' | '/') => char,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let high = self.hex4()?;
        if let Some(char) = char::from_u32(high) {
            return Some(char);
        }
        let after_high = self.at;
        if high < 0xDC00 && self.literal("\\u").is_some() {
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                return char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
        }
        self.at = after_high;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<()> {
        self.skip(&['-']);
        if self.expect('0').is_none() {
            self.digits()?;
        }
        if self.expect('.').is_some() {
            self.digits()?;
        }
        if self.expect('e').or_else(|| self.expect('E')).is_some() {
            self.skip(&['+', '-']);
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let len = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        self.at += len;
        (len > 0).then_some(())
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.text[self.at..].starts_with(literal).then(|| self.at += literal.len())
    }

    fn blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn expect(&mut self, char: char) -> Option<()> {
        (self.peek() == Some(char)).then(|| self.at += char.len_utf8())
    }

    fn skip(&mut self, chars: &[char]) {
        if self.peek().is_some_and(|char| chars.contains(&char)) {
            self.at += 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Option<Vec<String>> {
        match array(&Text::verbatim(text, 0)) {
            Array::Strings(strings) => Some(strings.iter().map(|string| string.as_str().to_owned()).collect()),
            _ => None,
        }
    }

    #[test]
    fn arrays_of_strings_are_read() {
        assert_eq!(strings("[]"), Some(vec![]));
        assert_eq!(strings("[ \"a\" , \"b c\" ] "), Some(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(strings(r#"["\"\\\/\b\f\n\r\t"]"#), Some(vec!["\"\\/\u{8}\u{c}\n\r\t".to_owned()]));
        assert_eq!(
            strings(r#"["\u00e9\ud83d\ude00\ud83dx\ud83d\u0041"]"#),
            Some(vec!["é😀\u{fffd}x\u{fffd}A".to_owned()])
        );
    }

    #[test]
    fn what_is_no_array_is_left_to_the_shell() {
        for text in [
            "",
            "a",
            "[",
            "[a]",
            "['a']",
            "[\"a\"]b",
            "[\"a\",]",
            "[\"a\" \"b\"]",
            "[\"\t\"]",
            "[\"\\x\"]",
            "[01]",
            "[-]",
            "[[]",
        ] {
            assert_eq!(array(&Text::verbatim(text, 0)), Array::No, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(array(&Text::verbatim(&deep, 0)), Array::No);
    }

    #[test]
    fn an_array_with_something_else_says_where() {
        for (text, start, end) in [
            ("[\"a\", 5]", 6, 7),
            ("[{\"a\":[1,2.5e-3,{}]},\"b\"]", 1, 20),
            ("[null]", 1, 5),
            ("[[\"a\", true], -1]", 1, 12),
        ] {
            assert_eq!(array(&Text::verbatim(text, 0)), Array::Mixed(Span::new(start, end)), "{text}");
        }
    }

    #[test]
    fn a_string_stands_where_its_quotes_do() {
        let Array::Strings(strings) = array(&Text::verbatim("[\"a\\nb\", \"\"]", 10)) else { panic!("no strings") };
        assert_eq!(strings[0].span(), Span::new(11, 17));
        assert_eq!(strings[0].span_of(1..2), Span::new(13, 15));
        assert_eq!(strings[0].span_of(2..3), Span::new(15, 16));
        assert_eq!(strings[1].span(), Span::new(19, 21));
    }

    #[test]
    fn a_member_of_an_object_is_found() {
        let find =
            |text: &str| string_in_object(&Text::verbatim(text, 0), "syntax").map(|text| text.as_str().to_owned());
        assert_eq!(find("{\"a\": [1], \"syntax\": \"foo\"}\n"), Some("foo".to_owned()));
        assert_eq!(find("{\"syntax\": 1}"), None);
        assert_eq!(find("{\"syntax\": \"foo\"} x"), None);
    }
}
