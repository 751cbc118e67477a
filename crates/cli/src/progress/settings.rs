//! What variables of the environment say about the display: BuildKit's, with their meaning there.
//!
//! Reference: `util/progress/progressui/init.go` of BuildKit; G002 of the feature list.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::render::Style;

/// Lines of output below a running step, where nothing else is said.
const LOG_LINES: usize = 6;
/// Time between two frames, where nothing else is said.
const FRAME: Duration = Duration::from_millis(100);
/// Characters of a title that are kept with `PROGRESS_NO_TRUNC=0`.
const TITLE_CHARS: usize = 72;

/// What a line is about. Its colour never says more than its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Usual,
    /// What ended well.
    Run,
    Cancel,
    Warning,
    Error,
    /// What somebody else wrote.
    Quiet,
}

/// How the display looks and how often it changes.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) style: Style,
    pub(super) log_lines: usize,
    pub(super) frame: Duration,
    /// Longest title of a line of `plain`, in characters.
    pub(super) title_chars: Option<usize>,
    colours: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Returns what the variables say. What makes no sense is passed over, as BuildKit does.
    pub(super) fn new(style: Style, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<u64>().ok());
        let log_lines = number("BUILDKIT_TTY_LOG_LINES").filter(|&lines| lines > 0);
        Self {
            style,
            log_lines: log_lines.map_or(LOG_LINES, |lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            // Less than a frame of a screen is no frame, and more than this no progress.
            frame: number("TTY_DISPLAY_RATE").map_or(FRAME, |millis| Duration::from_millis(millis.clamp(10, 60_000))),
            title_chars: variable("PROGRESS_NO_TRUNC").is_some_and(|text| text == "0").then_some(TITLE_CHARS),
            colours: colours(&variable("BUILDKIT_COLORS").unwrap_or_default()),
        }
    }

    /// Returns a line with its colour.
    pub(super) fn paint(&self, tone: Tone, line: &str) -> String {
        let (name, usual) = match tone {
            Tone::Usual => return line.to_owned(),
            Tone::Quiet => return self.style.dim(line),
            Tone::Run => ("run", "32"),
            Tone::Cancel => ("cancel", "33"),
            Tone::Warning => ("warning", "33"),
            Tone::Error => ("error", "1;31"),
        };
        self.style.paint(self.colours.get(name).map_or(usual, String::as_str), line)
    }
}

/// Reads `run=123,20,245:error=yellow`.
fn colours(text: &str) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for (name, value) in text.split(':').filter_map(|part| part.split_once('=')) {
        let name = match name.trim().to_lowercase().as_str() {
            "run" => "run",
            "cancel" => "cancel",
            "warning" => "warning",
            "error" => "error",
            _ => continue,
        };
        found.extend(colour(value.trim()).map(|code| (name, code)));
    }
    found
}

/// Returns what selects a colour: a name, or red, green and blue from 0 to 255.
fn colour(value: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    if value.contains(',') {
        let parts: Vec<u8> = value.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
        let [red, green, blue] = parts.try_into().ok()?;
        return Some(format!("38;2;{red};{green};{blue}"));
    }
    let value = value.to_lowercase();
    if value == "default" {
        return Some("39".to_owned());
    }
    let (name, base) = value.strip_prefix("light-").map_or((value.as_str(), 30), |name| (name, 90));
    NAMES.iter().position(|known| *known == name).map(|place| (base + place).to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Settings without colours.
    pub(in crate::progress) fn settings(variables: &[(&str, &str)]) -> Settings {
        let find = |name: &str| variables.iter().find(|one| one.0 == name).map(|one| one.1.to_owned());
        Settings::new(Style::PLAIN, &find)
    }

    /// Settings with colours.
    pub(in crate::progress) fn coloured(variables: &[(&str, &str)]) -> Settings {
        Settings { style: Style { colour: true, columns: None }, ..settings(variables) }
    }

    /// G002
    #[test]
    fn buildkits_variables_change_colours_lines_rate_and_titles() {
        let usual = coloured(&[]);
        assert_eq!((usual.log_lines, usual.frame, usual.title_chars), (LOG_LINES, FRAME, None));
        let own = coloured(&[
            ("BUILDKIT_COLORS", "run=123,20,245:error=yellow:cancel=light-blue:warning=no-colour:other=red"),
            ("BUILDKIT_TTY_LOG_LINES", "9"),
            ("TTY_DISPLAY_RATE", "500"),
            ("PROGRESS_NO_TRUNC", "0"),
        ]);
        assert_eq!((own.log_lines, own.frame, own.title_chars), (9, Duration::from_millis(500), Some(TITLE_CHARS)));
        assert_eq!(own.paint(Tone::Run, "x"), "\u{1b}[38;2;123;20;245mx\u{1b}[0m");
        assert_eq!(own.paint(Tone::Error, "x"), "\u{1b}[33mx\u{1b}[0m");
        assert_eq!(own.paint(Tone::Cancel, "x"), "\u{1b}[94mx\u{1b}[0m");
        assert_eq!(own.paint(Tone::Warning, "x"), usual.paint(Tone::Warning, "x"));
        let none = Settings { style: Style::PLAIN, ..own };
        assert_eq!(none.paint(Tone::Error, "x"), "x", "NO_COLOR is above all");
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let wrong =
            settings(&[("BUILDKIT_TTY_LOG_LINES", "0"), ("TTY_DISPLAY_RATE", "soon"), ("PROGRESS_NO_TRUNC", "1")]);
        assert_eq!((wrong.log_lines, wrong.frame, wrong.title_chars), (LOG_LINES, FRAME, None));
        assert_eq!(colours("run:=:error=1,2:cancel=1,2,300"), BTreeMap::new());
    }
}
