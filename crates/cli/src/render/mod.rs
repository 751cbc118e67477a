//! Mistakes and failures as text for people. This is the only place that knows how they look.
//!
//! [`excerpt`] shows words of a file with what is to be said of them, [`failure`] how a build ended badly; here is what both
//! are made of. Every text from outside (file names, output of steps, messages of registries) has its control characters
//! replaced.

mod excerpt;
mod failure;

use std::error::Error;

use annotate_snippets::Renderer;

use crate::progress::cut;

pub(crate) use excerpt::{advice, diagnostics, findings_summary};
pub(crate) use failure::{base_failure, step_failure};

/// What is cut to fit into a row has this many columns at least, however narrow the terminal is.
const PART_COLUMNS_MIN: usize = 16;

/// How text is decorated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether colours are used.
    pub(crate) colour: bool,
    /// Columns of the terminal, where each line is to be one of its rows. A log has no such end.
    pub(crate) columns: Option<usize>,
}
impl Style {
    /// Text without any colour.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false, columns: None };

    pub(crate) fn paint(self, codes: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold_red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn bold_yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn renderer(self) -> Renderer {
        let renderer = if self.colour { Renderer::styled() } else { Renderer::plain() };
        self.columns.map_or(renderer.clone(), |columns| renderer.term_width(columns))
    }

    /// Returns the text on one line, cut to what a row has beside `taken` columns.
    fn on_row(self, text: &str, taken: usize) -> String {
        let line = printable(&one_line(text));
        self.columns.map_or(line.clone(), |columns| cut(&line, columns.saturating_sub(taken).max(PART_COLUMNS_MIN)))
    }
}

/// Returns one advice on a line of its own.
pub(crate) fn hint(advice: &str, style: Style) -> String {
    format!("{} {}\n", style.cyan("hint:"), printable(advice))
}

/// Returns an error with its causes, and advice.
pub(crate) fn error(error: &dyn Error, advice: Option<&str>, style: Style) -> String {
    message(&chain(error), advice, style)
}

/// Returns an error that is a text.
pub(crate) fn message(text: &str, advice: Option<&str>, style: Style) -> String {
    let mut block = format!("{} {}\n", style.bold_red("error:"), printable(text));
    if let Some(advice) = advice {
        block += &hint(advice, style);
    }
    block
}

/// Returns an error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A wrapper that shows its cause itself would say it twice.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a character ends a line, or changes the direction of what follows on it, without being a control character.
pub(crate) fn is_turn(character: char) -> bool {
    matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `text` with every control character, and what is as good as one, shown instead of sent to the terminal. Tabs and
/// newlines stay.
pub(crate) fn printable(text: &str) -> String {
    let dangerous =
        |character: char| character.is_control() && character != '\t' && character != '\n' || is_turn(character);
    if !text.chars().any(dangerous) {
        return text.to_owned();
    }
    text.chars()
        .map(
            |character| {
                if dangerous(character) { character.escape_default().to_string() } else { character.to_string() }
            },
        )
        .collect()
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            printable("a\tb\nc\u{1b}[2J\u{9b}\u{202e}d\u{2069}é"),
            "a\tb\nc\\u{1b}[2J\\u{9b}\\u{202e}d\\u{2069}é"
        );
    }
}
