//! Text that remembers where each of its bytes was written.
//!
//! Continuation lines are joined, quotes of flags and JSON escapes are undone, comments inside a continued instruction
//! are dropped; still every mistake must be shown at the exact words. So a piece of such text carries the runs of
//! bytes that it was made of.

use std::fmt;
use std::ops::Range;

use crate::span::Span;

/// A string, and for each of its bytes the place in the Dockerfile that it came from.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text {
    bytes: String,
    /// Runs in order of `at`; the first starts at 0. Empty only if the text was made from nothing.
    runs: Vec<Run>,
    span: Span,
}

/// Bytes that stand side by side both in the text and in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    at: u32,
    source: u32,
    /// Bytes of the source that the run stands for. Differs from its length where an escape was decoded.
    source_len: u32,
}

impl Text {
    /// Returns a text without bytes that stands at `source`.
    #[must_use]
    pub fn empty_at(source: u32) -> Self {
        Self { bytes: String::new(), runs: Vec::new(), span: Span { start: source, end: source } }
    }

    /// Returns `text` that was written, byte for byte, at `source`.
    #[must_use]
    pub fn verbatim(text: &str, source: u32) -> Self {
        let mut made = Self::empty_at(source);
        made.push_verbatim(text, source);
        made
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.bytes
    }

    /// Tells whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns where all of it was written, with what was dropped inside, and with quotes around it if it had some.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Says that the text was written at `span`, wider than its bytes: with the quotes that were around it.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// Returns where the bytes in `range` were written.
    #[must_use]
    pub fn span_of(&self, range: Range<usize>) -> Span {
        if range.start >= range.end {
            let at = self.source_of(range.start);
            return Span { start: at, end: at };
        }
        Span { start: self.source_of(range.start), end: self.source_after(range.end) }
    }

    /// Returns the part in `range`, which must lie on character boundaries.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let span = self.span_of(range.clone());
        let mut part = Self { bytes: String::new(), runs: Vec::new(), span };
        let first = self.runs.partition_point(|run| run.at as usize <= range.start).saturating_sub(1);
        for (index, run) in self.runs.iter().enumerate().skip(first) {
            let start = (run.at as usize).max(range.start);
            let end = self.run_end(index).min(range.end);
            if start >= end {
                break;
            }
            let verbatim = self.run_end(index) - run.at as usize == run.source_len as usize;
            let source = if verbatim { run.source + (offset(start) - run.at) } else { run.source };
            let source_len = if verbatim { offset(end - start) } else { run.source_len };
            part.runs.push(Run { at: offset(start - range.start), source, source_len });
        }
        part.bytes.push_str(&self.bytes[range]);
        part
    }

    /// Returns it without blanks at both ends.
    #[must_use]
    pub fn trim(&self) -> Self {
        let start = self.bytes.len() - self.bytes.trim_start().len();
        let end = start + self.bytes[start..].trim_end().len();
        self.slice(start..end)
    }

    /// Adds bytes that were written, byte for byte, at `source`.
    pub fn push_verbatim(&mut self, text: &str, source: u32) {
        self.push_decoded(text, Span { start: source, end: source + offset(text.len()) });
    }

    /// Adds bytes that stand for what was written at `source`: a decoded escape, a joined line.
    pub fn push_decoded(&mut self, text: &str, source: Span) {
        if text.is_empty() {
            return;
        }
        let len = source.end - source.start;
        let verbatim = len as usize == text.len();
        let follows = self.runs.last().is_some_and(|run| {
            let run_len = self.bytes.len() - run.at as usize;
            verbatim && run_len == run.source_len as usize && run.source + run.source_len == source.start
        });
        if self.runs.is_empty() && self.span.is_empty() {
            self.span = source;
        } else {
            self.span = self.span.to(source);
        }
        match self.runs.last_mut() {
            Some(run) if follows => run.source_len += len,
            _ => self.runs.push(Run { at: offset(self.bytes.len()), source: source.start, source_len: len }),
        }
        self.bytes.push_str(text);
    }

    /// Adds all of `other`.
    pub fn push(&mut self, other: &Self) {
        for (index, run) in other.runs.iter().enumerate() {
            let bytes = &other.bytes[run.at as usize..other.run_end(index)];
            self.push_decoded(bytes, Span { start: run.source, end: run.source + run.source_len });
        }
    }

    fn run_end(&self, index: usize) -> usize {
        self.runs.get(index + 1).map_or(self.bytes.len(), |next| next.at as usize)
    }

    /// Returns the source of the byte at `at`, or the end of the text's source if there is no such byte.
    fn source_of(&self, at: usize) -> u32 {
        if at >= self.bytes.len() {
            return self.runs.last().map_or(self.span.end, |run| run.source + run.source_len);
        }
        let index = self.runs.partition_point(|run| run.at as usize <= at) - 1;
        let run = self.runs[index];
        let verbatim = self.run_end(index) - run.at as usize == run.source_len as usize;
        if verbatim { run.source + (offset(at) - run.at) } else { run.source }
    }

    /// Returns the source after the byte before `end`.
    fn source_after(&self, end: usize) -> u32 {
        let last = end.min(self.bytes.len()).saturating_sub(1);
        let Some(index) = self.runs.partition_point(|run| run.at as usize <= last).checked_sub(1) else {
            return self.span.end;
        };
        let run = self.runs[index];
        let verbatim = self.run_end(index) - run.at as usize == run.source_len as usize;
        if verbatim { run.source + (offset(last) - run.at) + 1 } else { run.source + run.source_len }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}@{:?}", self.bytes, self.span)
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
