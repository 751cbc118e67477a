//! Lines into what a terminal is sent: what has ended stays above, what runs is drawn over from frame to frame.
//!
//! A frame is one write. It begins and ends with the cursor at the begin of the line below the drawing and with the
//! terminal as it was, so that whatever ends this process between two frames leaves a terminal in order.
//!
//! Invariant: no line of a frame is longer than the terminal is wide, and a drawing is less high than the terminal.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::settings::{Settings, Tone};
use super::text;

/// Lines above that are kept to be shown again on a terminal that became smaller.
const KEPT_LINES: usize = 200;

/// Why writing to a string works.
const STRING: &str = "writing to a string does not fail";

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// Columns that a line may take. The last one is left free: terminals differ in what follows when it is written.
    pub(super) fn room(self) -> usize {
        self.columns.saturating_sub(1).max(1)
    }

    /// Lines that a drawing may have: the cursor is on the one below.
    pub(super) fn height(self) -> usize {
        self.rows.saturating_sub(1).max(1)
    }
}

/// One line, of whatever width the terminal has when it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
    /// What stands at the right end, in the order of preference: the first for which there is room.
    pub(super) right: Vec<String>,
    /// Whether it goes on on the next line, instead of being cut. Such a line may have colours of its own.
    pub(super) wraps: bool,
}

impl Line {
    /// A line with a text at the left.
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into(), right: Vec::new(), wraps: false }
    }

    /// A line that is shown whole, as it is.
    pub(super) fn whole(text: impl Into<String>) -> Self {
        Self { wraps: true, ..Self::new(Tone::Usual, text) }
    }

    /// The same with something at its right end.
    pub(super) fn with_right(self, right: impl IntoIterator<Item = String>) -> Self {
        Self { right: right.into_iter().collect(), ..self }
    }

    /// Returns the line as it is shown.
    fn shown(&self, size: Size, settings: &Settings) -> String {
        let room = size.room();
        if self.wraps {
            return self.text.clone();
        }
        let wanted = text::columns(&self.text);
        // The first that leaves the text whole, or else half the line to it, or else the last and shortest.
        let fits = |part: &&String, least: usize| text::columns(part) + 1 + wanted.min(least) <= room;
        let right = self.right.iter().find(|part| fits(part, usize::MAX));
        let right = right.or_else(|| self.right.iter().find(|part| fits(part, room / 2))).or(self.right.last());
        let line = match right {
            Some(right) => text::between(&self.text, right, room),
            None => text::cut(&self.text, room),
        };
        settings.paint(self.tone, &line)
    }

    /// Returns how many rows it takes at most.
    fn rows(&self, size: Size) -> usize {
        let rows = |line: String| text::columns(&line).div_ceil(size.columns.max(1)).max(1);
        if self.wraps { text::wrap(&self.text, size.room()).into_iter().map(rows).sum() } else { 1 }
    }
}

/// Remembers what is on the screen.
pub(super) struct Painter {
    settings: Settings,
    size: Option<Size>,
    /// Lines of the last drawing.
    drawn: Vec<String>,
    kept: VecDeque<Line>,
}

impl Painter {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, size: None, drawn: Vec::new(), kept: VecDeque::new() }
    }

    /// Appends to `out` what shows `above` above a drawing of the lines `live`.
    pub(super) fn frame(&mut self, size: Size, above: Vec<Line>, live: &[Line], out: &mut Vec<u8>) {
        let live = &live[..live.len().min(size.height())];
        let drawing: Vec<String> = live.iter().map(|line| line.shown(size, &self.settings)).collect();
        let before = self.size.replace(size).unwrap_or(size);
        let is_smaller = (size.columns < before.columns || size.rows < before.rows) && !self.drawn.is_empty();
        if above.is_empty() && drawing == self.drawn && !is_smaller {
            return;
        }
        // All at once where the terminal knows that, without a cursor that runs about, and without a new line at the edge.
        let mut frame = String::from("\x1b[?2026h\x1b[?25l\x1b[?7l");
        if is_smaller {
            // Terminals differ in where what was drawn is now. It goes up out of sight, and all is shown again.
            write!(frame, "\r\x1b[{0};1H{1}\x1b[H\x1b[J", size.rows, "\n".repeat(size.rows)).expect(STRING);
            self.again(size, drawing.len() + above.len(), &mut frame);
        } else if !self.drawn.is_empty() {
            write!(frame, "\x1b[{}A\r", self.drawn.len()).expect(STRING);
        }
        for line in above {
            self.put(&line, size, &mut frame);
            self.kept.push_back(line);
        }
        self.kept.drain(..self.kept.len().saturating_sub(KEPT_LINES));
        for line in &drawing {
            frame += line;
            frame += "\x1b[K\r\n";
        }
        if drawing.len() < self.drawn.len() {
            frame += "\x1b[J";
        }
        frame += "\x1b[?7h\x1b[?25h\x1b[?2026l";
        self.drawn = drawing;
        out.extend_from_slice(frame.as_bytes());
    }

    fn put(&self, line: &Line, size: Size, frame: &mut String) {
        if line.wraps {
            // Cleared first, since nobody knows on which row it will end.
            frame.push_str("\x1b[J\x1b[?7h");
            frame.push_str(&text::wrap(&line.text, size.room()).join("\r\n"));
            frame.push_str("\r\n\x1b[?7l");
        } else {
            frame.push_str(&line.shown(size, &self.settings));
            frame.push_str("\x1b[K\r\n");
        }
    }

    /// Shows the last of the lines above again, as many as there is room for beside `others`.
    fn again(&self, size: Size, others: usize, frame: &mut String) {
        let mut room = size.height().saturating_sub(others);
        let last = self.kept.iter().rev().take_while(|line| {
            let rows = line.rows(size);
            let fits = rows <= room;
            room = room.saturating_sub(rows);
            fits
        });
        let last: Vec<&Line> = last.collect();
        for line in last.into_iter().rev() {
            self.put(line, size, frame);
        }
    }
}
