//! Finds the heredocs that a line announces, and reads their bodies.
//!
//! The line is read as a shell would read it, always with the backslash as escape character; where its quotes do not
//! close there are no heredocs. Blanks may stand between `<<` and the name.

use std::ops::Range;

use super::Parser;
use super::keyword::Keyword;
use crate::ast::Heredoc;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::text::Text;

/// The announcement of a heredoc.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The word in the line.
    pub(super) range: Range<usize>,
    name: String,
    descriptor: u32,
    strip_tabs: bool,
    expand: bool,
}

/// So many heredocs without end are recovered from; after that the rest of the file belongs to the last one. Each costs
/// a pass over the file.
const RECOVERIES_MAX: usize = 16;

/// Finds the announcements in `line`.
pub(super) fn markers(line: &str) -> Vec<Marker> {
    if !line.contains("<<") {
        return Vec::new();
    }
    words(line).unwrap_or_default().into_iter().filter_map(|range| marker(line, range)).collect()
}

/// Splits like a shell; blanks right after an unquoted `<<` or `<<-` belong to its word.
fn words(line: &str) -> Option<Vec<Range<usize>>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(char) = line[at..].chars().next() {
        if char.is_whitespace() {
            words.extend(start.take().map(|start| start..at));
            at += char.len_utf8();
            continue;
        }
        start.get_or_insert(at);
        at = match char {
            '\'' => at + 2 + line[at + 1..].find('\'')?,
            '"' => after_double_quotes(line, at + 1)?,
            '\\' => at + 1 + line[at + 1..].chars().next().map_or(0, char::len_utf8),
            '<' if line[at..].starts_with("<<") => {
                let rest = line[at + 2..].strip_prefix('-').unwrap_or(&line[at + 2..]);
                line.len() - rest.trim_start().len()
            }
            _ => at + char.len_utf8(),
        };
    }
    words.extend(start.map(|start| start..line.len()));
    Some(words)
}

fn after_double_quotes(line: &str, mut at: usize) -> Option<usize> {
    loop {
        at += line[at..].find(['"', '\\'])?;
        if line[at..].starts_with('"') {
            return Some(at + 1);
        }
        at += 1 + line[at + 1..].chars().next()?.len_utf8();
    }
}

fn marker(line: &str, range: Range<usize>) -> Option<Marker> {
    let word = line[range.clone()].trim_end();
    let range = range.start..range.start + word.len();
    let digits = word.len() - word.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.contains('<') {
        return None;
    }
    let (name, expand) = unquoted(rest.trim_start())?;
    let descriptor = if digits == 0 { 0 } else { word[..digits].parse().ok()? };
    (!name.is_empty()).then_some(Marker { range, name, descriptor, strip_tabs, expand })
}

/// Takes the quotes away; tells whether there were none.
fn unquoted(word: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut expand = true;
    let mut quote = None;
    let mut chars = word.chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                expand = false;
            }
            (None, '\\') => name.extend(chars.next()),
            (Some('"'), '\\') => name.push(chars.next_if(|next| matches!(next, '"' | '$' | '\\')).unwrap_or('\\')),
            _ => name.push(char),
        }
    }
    quote.is_none().then_some((name, expand))
}

impl Parser<'_> {
    /// Reads the bodies of the heredocs that `rest` announces. The ranges tell which words announced them.
    pub(super) fn heredocs(&mut self, keyword: Keyword, rest: &Text) -> Vec<(Range<usize>, Heredoc)> {
        let mut found = Vec::new();
        if !keyword.takes_heredocs() {
            return found;
        }
        for marker in markers(rest.as_str()) {
            // What belongs to the heredocs before this one is no instruction, whatever it looks like.
            let body_start = self.source.at();
            let word = rest.slice(marker.range.clone());
            let Some(body) = self.body(&marker) else {
                self.unterminated(&marker, word.span(), body_start);
                break;
            };
            let Marker { range, name, descriptor, strip_tabs, expand } = marker;
            found.push((range, Heredoc { marker: word, name, descriptor, strip_tabs, expand, body }));
        }
        found
    }

    /// Reads up to the line that is the heredoc's name, and past it.
    fn body(&mut self, marker: &Marker) -> Option<Text> {
        let mut body = Text::empty_at(Span::new(self.source.at(), self.source.at()).start);
        while let Some(line) = self.source.line() {
            let text = if marker.strip_tabs { line.text.trim_start_matches('\t') } else { line.text };
            if text == marker.name {
                self.heredoc_end = line.span().end;
                return Some(body);
            }
            body.push(&line.part(line.text));
            if line.next > line.start + line.text.len() {
                body.push_decoded("\n", line.end_span());
            }
        }
        None
    }

    /// Complains, and goes on at the next line that looks like an instruction.
    fn unterminated(&mut self, marker: &Marker, span: Span, body_start: usize) {
        self.recoveries += 1;
        let name = &marker.name;
        let message = format!("the heredoc `{name}` has no end");
        let mut diagnostic = Diagnostic::error(codes::UNTERMINATED_HEREDOC, span, message)
            .label(format!("a line that is exactly `{name}` is expected below"));
        self.source.go_back(body_start);
        let mut resume = None;
        while let Some(line) = self.source.line() {
            if line.text.trim() == name {
                diagnostic = diagnostic.also(line.span(), "not its end: the blanks count");
                resume = Some(line.next);
                break;
            }
            let first = line.text.split_whitespace().next().unwrap_or_default();
            if resume.is_none() && Keyword::ALL.iter().any(|keyword| keyword.as_str() == first) {
                resume = Some(line.start);
            }
        }
        if marker.name.contains([')', ';', '&', '|']) {
            diagnostic = diagnostic.hint("If `<<` is no heredoc here, quote the words or write no blank after it.");
        }
        match resume {
            Some(line) if self.recoveries <= RECOVERIES_MAX => self.source.go_back(line),
            _ => while self.source.line().is_some() {},
        }
        self.say(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<(String, u32, bool, bool)> {
        markers(line).into_iter().map(|found| (found.name, found.descriptor, found.strip_tabs, found.expand)).collect()
    }

    fn one(line: &str) -> (String, u32, bool, bool) {
        let found = names(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn names_may_be_quoted_in_any_way() {
        assert_eq!(one("<<EOF"), ("EOF".to_owned(), 0, false, true));
        assert_eq!(one("<<-EOF"), ("EOF".to_owned(), 0, true, true));
        assert_eq!(one("3<<EOF"), ("EOF".to_owned(), 3, false, true));
        for quoted in ["<<'EOF'", "<<\"EOF\"", "<<EO\"F\"", "<<eof''EOF"] {
            assert!(!one(quoted).3, "{quoted}");
        }
        assert_eq!(one("<<eo\\'f").0, "eo'f");
        assert!(one("<<eo\\'f").3);
        assert_eq!(one("<<'e'o\\'f"), ("eo'f".to_owned(), 0, false, false));
        assert_eq!(one("<<'one two'").0, "one two");
        assert_eq!(one("<<$EOF").0, "$EOF");
        assert_eq!(one("<<file.txt /dest").0, "file.txt");
    }

    #[test]
    fn blanks_may_follow_the_arrows() {
        assert_eq!(one("<<  EOF  > foo").0, "EOF");
        assert_eq!(one("<<- EOF"), ("EOF".to_owned(), 0, true, true));
        assert_eq!(one("<< -EOF"), ("-EOF".to_owned(), 0, false, true));
    }

    #[test]
    fn several_stand_in_one_line() {
        let found = names("cat <<A 3<<-'B' >/o; cat <&3 >>/o");
        assert_eq!(found, [("A".to_owned(), 0, false, true), ("B".to_owned(), 3, true, false)]);
    }

    /// T34.
    #[test]
    fn what_only_looks_like_a_heredoc_is_none() {
        for line in [
            "echo \"<<X\"",
            "'<<X'",
            "cat <<<hi",
            "<",
            "<<",
            "<<-",
            "<EOF",
            "$((1<<3))",
            "a<<EOF",
            "<<''",
            "echo ' <<EOF",
            "\\<<EOF",
        ] {
            assert_eq!(names(line), [], "{line}");
        }
    }
}
