//! The flags in front of an instruction's arguments: `--name`, `--name=value`, `--`.
//!
//! Quotes and backslashes are undone in all of a flag, whatever the escape character of the file.

use super::Parser;
use super::keyword::{FlagKind, Keyword, owners};
use crate::ast::{Flag, FlagName};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::suggest::nearest;
use crate::text::Text;

/// A flag as it was written, without its quotes.
struct Word {
    text: Text,
    span: Span,
}

impl Parser<'_> {
    /// Takes the flags off the beginning of `rest`; returns them, checked, and what follows them without blanks at its ends.
    pub(super) fn flags(&mut self, keyword: Keyword, rest: &Text) -> (Vec<Flag>, Text) {
        let (words, at) = self.flag_words(rest);
        let mut flags: Vec<Flag> = Vec::new();
        for word in &words {
            let Some(flag) = self.flag(keyword, word) else { continue };
            let earlier = flags.iter().find(|other| other.name == flag.name);
            match earlier {
                Some(earlier) if kind(keyword, flag.name) != Some(FlagKind::Values) => {
                    let message = format!("flag `--{}` is given twice", flag.name.as_str());
                    let diagnostic = Diagnostic::error(codes::REPEATED_FLAG, flag.span, message)
                        .also(earlier.span, "first given here");
                    self.say(diagnostic);
                }
                _ => flags.push(flag),
            }
        }
        (flags, rest.slice(at..rest.len()).trim())
    }

    /// Splits flags off, up to the first word that is none, or past `--`; returns where that is.
    fn flag_words(&mut self, rest: &Text) -> (Vec<Word>, usize) {
        let text = rest.as_str();
        let mut words = Vec::new();
        let mut at = 0;
        loop {
            at += text[at..].len() - text[at..].trim_start().len();
            if !text[at..].starts_with("--") {
                return (words, at);
            }
            let start = at;
            let mut word = Text::empty_at(rest.span_of(at..at).start);
            at = self.unquote(rest, at, &mut word);
            if word.as_str() == "--" {
                return (words, at);
            }
            words.push(Word { text: word, span: rest.span_of(start..at) });
        }
    }

    /// Reads one word from `at` into `word`, without its quotes; returns where it ends.
    fn unquote(&mut self, rest: &Text, mut at: usize, word: &mut Text) -> usize {
        let text = rest.as_str();
        let mut quote: Option<(char, usize)> = None;
        while let Some(char) = text[at..].chars().next() {
            let next = at + char.len_utf8();
            match quote {
                None if char.is_whitespace() => return at,
                None if matches!(char, '\'' | '"') => quote = Some((char, at)),
                Some((open, _)) if open == char => quote = None,
                _ if char == '\\' => {
                    let after = next + text[next..].chars().next().map_or(0, char::len_utf8);
                    word.push(&rest.slice(next..after));
                    at = after;
                    continue;
                }
                _ => word.push(&rest.slice(at..next)),
            }
            at = next;
        }
        if let Some((open, opened)) = quote {
            let message = format!("no closing `{open}`");
            let diagnostic = Diagnostic::error(codes::UNCLOSED_QUOTE, rest.span_of(opened..text.len()), message)
                .label("opened here");
            self.say(diagnostic);
        }
        at
    }

    fn flag(&mut self, keyword: Keyword, word: &Word) -> Option<Flag> {
        let text = word.text.as_str();
        let equals = text.find('=');
        let name_end = equals.unwrap_or(text.len());
        let name_span = word.text.span_of(0..name_end);
        let written = &text[2..name_end];
        let Some((name, kind)) = keyword.flags().iter().copied().find(|(name, _)| name.as_str() == written) else {
            self.say(unknown(keyword, written, name_span));
            return None;
        };
        let value = word.text.slice(equals.map_or(text.len(), |at| at + 1)..text.len());
        let flag = Flag { span: word.span, name, name_span, value };
        match flag_problem(&flag, kind, equals.is_some()) {
            Some(problem) => {
                self.say(problem);
                None
            }
            None => Some(flag),
        }
    }
}

fn kind(keyword: Keyword, name: FlagName) -> Option<FlagKind> {
    keyword.flags().iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

fn unknown(keyword: Keyword, written: &str, span: Span) -> Diagnostic {
    let name = keyword.as_str();
    let diagnostic = Diagnostic::error(codes::UNKNOWN_FLAG, span, format!("unknown flag `--{written}` of `{name}`"));
    let others: Vec<&str> = owners(written).map(Keyword::as_str).collect();
    if !others.is_empty() {
        return diagnostic.hint(format!("`--{written}` is a flag of {}.", list(&others)));
    }
    let known = keyword.flags().iter().map(|(name, _)| name.as_str());
    if let Some(near) = nearest(written, known) {
        return diagnostic.hint(format!("A flag with a similar name is `--{near}`."));
    }
    match keyword {
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Copy | Keyword::Add => {
            diagnostic.hint(format!("If `--{written}` is not meant for `{name}` itself, write ` -- ` in front of it."))
        }
        _ => diagnostic,
    }
}

fn flag_problem(flag: &Flag, kind: FlagKind, equals: bool) -> Option<Diagnostic> {
    let name = flag.name.as_str();
    let value = flag.value.as_str();
    let bare_switch = kind == FlagKind::Switch && !equals;
    if value.is_empty() && !bare_switch {
        let message = format!("flag `--{name}` has no value");
        return Some(
            Diagnostic::error(codes::FLAG_WITHOUT_VALUE, flag.span, message)
                .label(format!("`--{name}=...` is expected")),
        );
    }
    if kind == FlagKind::Switch && equals && !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false")
    {
        let message = format!("expected `true` or `false` for `--{name}`, got `{value}`");
        return Some(Diagnostic::error(codes::NOT_A_SWITCH_VALUE, flag.value.span(), message));
    }
    let allowed: &[&str] = match flag.name {
        FlagName::Network => &["default", "none", "host"],
        FlagName::Security => &["sandbox", "insecure"],
        _ => return None,
    };
    if allowed.contains(&value) {
        return None;
    }
    let message = format!("expected {} for `--{name}`, got `{value}`", list_or(allowed));
    let near = nearest(value, allowed.iter().copied()).map(|near| format!("A similar value is `{near}`."));
    Some(Diagnostic::error(codes::BAD_FLAG_VALUE, flag.value.span(), message).maybe_hint(near))
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

/// Writes "`a`, `b` or `c`".
pub(super) fn list_or(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
