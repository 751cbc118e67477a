//! What an advice is, and how its edits change a text.

use std::time::Duration;

use stave_dockerfile::{Label, Span};
use stave_event::StepId;

/// One change of a Dockerfile that would save time or bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Which rule gave it.
    pub code: Code,
    /// What is the matter: a lower-case fragment without a final period.
    pub message: String,
    /// The words that it is about. Exactly one is primary.
    pub labels: Vec<Label>,
    /// What to do: a whole sentence.
    pub proposal: String,
    /// How the Dockerfile is to be changed, in the order of the file. None overlap.
    pub edits: Vec<Edit>,
    /// Lines to add to the ignore file.
    pub ignore: Vec<String>,
    /// What is gained by this change alone.
    pub gain: Gain,
    /// What was measured: whole sentences.
    pub evidence: Vec<String>,
    /// What only the author can know, and must be so: a whole sentence.
    pub condition: Option<String>,
}

/// Which rule an advice is from. Names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// What a package manager keeps for itself is in a layer.
    CacheInLayer,
    /// Dependencies are installed after the source was copied.
    DependenciesAfterSource,
    /// Packages of the system are installed after something was copied that they do not need.
    PackagesAfterCopy,
    /// Files are shipped once more to have another owner or mode.
    OwnerInLaterLayer,
    /// A file is copied, used and deleted.
    CopiedThenDeleted,
    /// A layer deletes what the one before it made.
    DeletedInLaterLayer,
    /// The context has what no image needs.
    NeedlessContext,
    /// What builds a program is in the image that runs it.
    BuildToolInImage,
    /// The image has a base that its program does not need.
    NeedlessBase,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CacheInLayer,
        Self::DependenciesAfterSource,
        Self::PackagesAfterCopy,
        Self::OwnerInLaterLayer,
        Self::CopiedThenDeleted,
        Self::DeletedInLaterLayer,
        Self::NeedlessContext,
        Self::BuildToolInImage,
        Self::NeedlessBase,
    ];

    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CacheInLayer => "cache-in-layer",
            Self::DependenciesAfterSource => "dependencies-after-source",
            Self::PackagesAfterCopy => "packages-after-copy",
            Self::OwnerInLaterLayer => "owner-in-later-layer",
            Self::CopiedThenDeleted => "copied-then-deleted",
            Self::DeletedInLaterLayer => "deleted-in-later-layer",
            Self::NeedlessContext => "needless-context",
            Self::BuildToolInImage => "build-tool-in-image",
            Self::NeedlessBase => "needless-base",
        }
    }
}

/// A part of the Dockerfile's text, and what is to stand in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The part; empty for what is only inserted.
    pub span: Span,
    /// What is to stand there.
    pub text: String,
}

/// What a change gains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gain {
    /// Bytes that the image's layers have less, not compressed.
    pub bytes: u64,
    /// Bytes that are no longer copied into stages whose layers are not the image's.
    pub copied: u64,
    /// Steps that no longer run again.
    pub steps: Vec<StepId>,
    /// How long these steps took when they ran last.
    pub time: Duration,
    /// When they no longer run again: `when a file of the context changes`.
    pub when: String,
}

impl Edit {
    /// Returns the edit that puts `text` at a place.
    #[must_use]
    pub fn insert(at: u32, text: String) -> Self {
        Self { span: Span { start: at, end: at }, text }
    }

    /// Returns the edit that has `text` in the place of `span`.
    #[must_use]
    pub fn replace(span: Span, text: String) -> Self {
        Self { span, text }
    }

    /// Returns the edit that takes the lines of `span` away.
    #[must_use]
    pub fn remove_lines(text: &str, span: Span) -> Self {
        let (start, end) = whole_lines(text, span);
        Self { span: Span::new(start, end), text: String::new() }
    }
}

/// Returns the bytes of the lines that `span` touches, with the end of the last.
fn whole_lines(text: &str, span: Span) -> (usize, usize) {
    let start = text.floor_char_boundary((span.start as usize).min(text.len()));
    let end = text.ceil_char_boundary((span.end as usize).clamp(start, text.len()));
    let start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    // What ends with the end of a line does not touch the next one.
    let searched = if end > start && text[..end].ends_with('\n') { end - 1 } else { end };
    let end = text[searched..].find('\n').map_or(text.len(), |at| searched + at + 1);
    (start, end)
}

/// Returns `text` with edits, of which none overlap.
#[must_use]
pub fn apply(text: &str, edits: &[Edit]) -> String {
    part(text, 0, text.len(), edits)
}

/// Returns a part of `text` with the edits in it.
fn part(text: &str, start: usize, end: usize, edits: &[Edit]) -> String {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let (mut out, mut at) = (String::new(), start);
    for edit in sorted {
        let range = edit.span.range();
        if range.start < at || range.end > end {
            continue;
        }
        out.push_str(&text[at..range.start]);
        out.push_str(&edit.text);
        at = range.end;
    }
    out.push_str(&text[at..end]);
    out
}

/// Some lines of a file, and what is to stand in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// The first line, from 1.
    pub line: usize,
    /// How many lines go.
    pub removed: usize,
    /// The lines that come.
    pub lines: Vec<String>,
}

/// Returns what edits do to the lines of a text.
#[must_use]
pub fn hunks(text: &str, edits: &[Edit]) -> Vec<Hunk> {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut groups: Vec<(usize, usize, Vec<Edit>)> = Vec::new();
    for edit in sorted {
        let (start, end) = whole_lines(text, edit.span);
        match groups.last_mut() {
            Some(last) if start < last.1 => {
                last.1 = last.1.max(end);
                last.2.push(edit.clone());
            }
            _ => groups.push((start, end, vec![edit.clone()])),
        }
    }
    let hunk = |(start, end, inside): (usize, usize, Vec<Edit>)| {
        let (old, new) = (&text[start..end], part(text, start, end, &inside));
        let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
        // Lines that stay are none of it.
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let rest = old[same..].iter().rev().zip(new[same..].iter().rev());
        let below = rest.take_while(|(old, new)| old == new).count();
        Hunk {
            line: text[..start].matches('\n').count() + 1 + same,
            removed: old.len() - same - below,
            lines: new[same..new.len() - below].iter().map(|line| (*line).to_owned()).collect(),
        }
    };
    groups.into_iter().map(hunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FROM a\nCOPY . .\nRUN b\nRUN c";

    #[test]
    fn edits_change_a_text_and_say_which_lines() {
        let edits = [
            Edit::insert(10, "--link ".to_owned()),
            Edit::remove_lines(TEXT, Span::new(16, 21)),
            Edit::insert(27, "\nRUN d".to_owned()),
        ];
        assert_eq!(apply(TEXT, &edits), "FROM a\nCOP--link Y . .\nRUN c\nRUN d");
        let hunk = |line, removed, lines: &[&str]| Hunk {
            line,
            removed,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(hunks(TEXT, &edits), [hunk(2, 1, &["COP--link Y . ."]), hunk(3, 1, &[]), hunk(5, 0, &["RUN d"])]);
        assert_eq!(hunks(TEXT, &edits[1..2]), [hunk(3, 1, &[])]);
    }
}
