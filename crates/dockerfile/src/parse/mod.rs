//! Turns text into the syntax tree, and finds every mistake on the way.
//!
//! One logical line is one instruction. A mistake in it leaves [`InstructionKind::Unreadable`] in the tree and a
//! diagnostic, and reading goes on at the next line.
//!
//! Reference: the Dockerfile reference, "Format"; where it is silent, what BuildKit does.
//!
//! Read this file, then `source`, `keyword`, `flags`, `kinds` and what they use.

mod directives;
mod flags;
mod health;
mod heredoc;
mod json;
mod keyword;
mod kinds;
pub(crate) mod mount;
mod source;
pub(crate) mod syntax;
mod words;

pub(crate) use keyword::has_flag;

use crate::ast::{Directive, Dockerfile, Head, Instruction, InstructionKind, Onbuild, Stage};
use crate::check::{self, rules};
use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::span::Span;
use crate::suggest::nearest;
use crate::text::Text;
pub(crate) use directives::go_bool;
use keyword::Keyword;
use source::{Joined, LINE_BYTES_MAX, Source};

/// Largest file that is read, in bytes. Positions are 32 bits wide; nobody writes a Dockerfile of 16 MiB.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Empty lines of one instruction that are shown beside the first.
const OTHERS_SHOWN_MAX: usize = 3;

/// What parsing gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    /// The tree; what has mistakes is left out of it or unreadable.
    pub file: Dockerfile,
    /// The mistakes, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parse {
    /// Tells whether the file cannot be built.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Parses all of `text`. Never fails: what cannot be read is a diagnostic, and all of them come in one run.
#[must_use]
pub fn parse(text: &str) -> Parse {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes, the most that are read");
        let diagnostic = Diagnostic::error(codes::FILE_TOO_LARGE, Span::new(0, 0), message);
        return Parse { file: Dockerfile::empty(), diagnostics: vec![diagnostic] };
    }
    let mut parser = Parser::new(text);
    parser.check_bytes(text);
    if !parser.foreign(text) {
        parser.directives();
        parser.instructions();
        parser.check_stages();
    }
    parser.finish()
}

/// Parses a trigger that an image holds: one instruction, with the bodies of its heredocs. Its positions begin at `base`.
///
/// Returns the mistakes if it cannot be run.
pub(crate) fn parse_trigger(text: &str, base: usize) -> Result<Instruction, Vec<Diagnostic>> {
    let mut parser = Parser { source: Source::at_base(text, base), ..Parser::new("") };
    let whole = Span::new(base, base + text.len());
    let Some(first) = parser.source.line() else {
        return Err(vec![Diagnostic::error(codes::BAD_TRIGGER, whole, "the trigger is empty")]);
    };
    let line = parser.source.join(first, parser.escape).text.trim();
    parser.check_trigger(&line);
    let parsed = if parser.diagnostics.is_empty() { parser.instruction(&line, Vec::new()) } else { None };
    let rest = std::iter::from_fn(|| parser.source.line()).any(|line| !line.is_blank());
    if rest && parser.diagnostics.is_empty() {
        parser.say(Diagnostic::error(codes::BAD_TRIGGER, whole, "the trigger is more than one instruction"));
    }
    match parsed {
        Some(Parsed::Instruction(_, instruction)) if !parser.diagnostics.iter().any(Diagnostic::is_error) => {
            Ok(instruction)
        }
        _ => Err(parser.diagnostics),
    }
}

/// Everything that is known while reading.
struct Parser<'a> {
    source: Source<'a>,
    escape: char,
    found_directives: Vec<Directive>,
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
    /// Comment lines since the last instruction or empty line.
    comments: Vec<Text>,
    diagnostics: Vec<Diagnostic>,
    /// Whether there was an instruction, readable or not.
    any: bool,
    /// Whether what stands before the first `FROM` was complained about, or is explained by another mistake.
    stray: bool,
    /// Where the last heredoc that was read ends.
    heredoc_end: u32,
    /// Heredocs without end so far.
    recoveries: usize,
}

/// What one logical line is.
enum Parsed {
    Stage(Stage),
    Instruction(Keyword, Instruction),
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            source: Source::new(text),
            escape: '\\',
            found_directives: Vec::new(),
            global_args: Vec::new(),
            stages: Vec::new(),
            comments: Vec::new(),
            diagnostics: Vec::new(),
            any: false,
            stray: false,
            heredoc_end: 0,
            recoveries: 0,
        }
    }

    fn say(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Warns of the sign that stands for a byte that is no text, once. Whoever read the file has put it there.
    fn check_bytes(&mut self, text: &str) {
        if let Some(start) = text.find(char::REPLACEMENT_CHARACTER) {
            let span = Span::new(start, start + char::REPLACEMENT_CHARACTER.len_utf8());
            let message = "the file has a byte that is not UTF-8, which is read as `\u{fffd}`";
            self.say(Diagnostic::warning(codes::NOT_UTF8, span, message).hint("Save the file as UTF-8."));
        }
    }

    fn instructions(&mut self) {
        while let Some(line) = self.source.line() {
            if line.is_blank() {
                self.comments.clear();
            } else if line.is_comment() {
                let comment = line.part(line.text.trim_start().trim_start_matches('#')).trim();
                if comment.is_empty() {
                    self.comments.clear();
                } else {
                    self.comments.push(comment);
                }
            } else {
                let Joined { text, empty_lines } = self.source.join(line, self.escape);
                let comments = std::mem::take(&mut self.comments);
                let line = text.trim();
                if line.is_empty() {
                    continue;
                }
                let keyword_end = line.as_str().find(words::BLANKS).unwrap_or(line.len());
                if let [first, others @ ..] = empty_lines.as_slice() {
                    let message = "empty line inside a continued instruction";
                    let finding = Diagnostic::warning(rules::NO_EMPTY_CONTINUATION, *first, message)
                        .also(line.span_of(0..keyword_end), "the instruction starts here")
                        .hint("Remove the line; other builders will refuse it one day.");
                    self.say(
                        others
                            .iter()
                            .take(OTHERS_SHOWN_MAX)
                            .fold(finding, |finding, span| finding.also(*span, "another one")),
                    );
                }
                self.any = true;
                self.check_comments(&comments);
                if let Some(parsed) = self.instruction(&line, comments) {
                    self.keep(parsed);
                }
            }
        }
    }

    /// Says what is wrong with a `check=` above one instruction. It may be an ordinary comment, so nothing fails for it.
    fn check_comments(&mut self, comments: &[Text]) {
        for value in comments.iter().filter_map(check::comment_value) {
            for mistake in check::read(value.as_str()).1 {
                self.say(directives::bad_check(&value, check::Mistake { harmless: true, ..mistake }));
            }
        }
    }

    /// Reads the instruction that is `line`, and the heredocs below it.
    fn instruction(&mut self, line: &Text, comments: Vec<Text>) -> Option<Parsed> {
        let text = line.as_str();
        let name_end = text.find(words::BLANKS).unwrap_or(text.len());
        let written = line.slice(0..name_end);
        let Some(keyword) = Keyword::find(written.as_str()) else {
            self.unknown_instruction(&written);
            return None;
        };
        let rest = line.slice(name_end..line.len());
        let before = self.diagnostics.len();
        let (flags, rest) = self.flags(keyword, &rest);
        // Where a flag took all of the line, nothing more is to be said about what is missing after it.
        let spoilt = rest.is_empty() && self.diagnostics.len() > before;
        let head = Head { span: line.span(), keyword: written, line: line.clone(), flags, comments };
        if keyword == Keyword::From {
            return Some(Parsed::Stage(self.from(head, &rest)));
        }
        self.heredoc_end = 0;
        let kind = match keyword {
            _ if spoilt => None,
            Keyword::Onbuild => self.onbuild(&head, &rest),
            _ => self.kind(keyword, &head, &rest),
        };
        let end = head.span.end.max(self.heredoc_end);
        let head = Head { span: Span { start: head.span.start, end }, ..head };
        let kind = kind.unwrap_or(InstructionKind::Unreadable);
        Some(Parsed::Instruction(keyword, Instruction { head, kind }))
    }

    /// Reads the trigger of an `ONBUILD`, which may itself be followed by heredocs.
    fn onbuild(&mut self, head: &Head, rest: &Text) -> Option<InstructionKind> {
        if rest.is_empty() {
            self.missing(Keyword::Onbuild, head.keyword.span(), "an instruction");
            return None;
        }
        if !self.check_trigger(rest) {
            return None;
        }
        let (before, stray) = (self.diagnostics.len(), self.stray);
        let trigger = match self.instruction(rest, Vec::new()) {
            Some(Parsed::Instruction(_, trigger)) => trigger,
            _ => Instruction { head: head.clone(), kind: InstructionKind::Unreadable },
        };
        // What is only a warning explains no other mistake.
        self.stray = stray;
        if !self.leave_to_children(before) {
            return None;
        }
        let mut text = rest.as_str().to_owned();
        for heredoc in trigger.heredocs() {
            text.push('\n');
            text.push_str(heredoc.body.as_str());
            text.push_str(&heredoc.name);
        }
        Some(InstructionKind::Onbuild(Box::new(Onbuild { trigger, text })))
    }

    /// Makes warnings of the mistakes since `before`, which are in a trigger: an image may have one that cannot be run, and
    /// only who builds on it is told, as in BuildKit. Says no if there is one that makes the trigger itself unreadable.
    fn leave_to_children(&mut self, before: usize) -> bool {
        const OWN: [&str; 3] = [codes::NOT_ONLY_STRINGS, codes::NOT_A_PAIR, codes::UNTERMINATED_HEREDOC];
        let mistakes = &mut self.diagnostics[before..];
        if mistakes.iter().any(|mistake| mistake.is_error() && OWN.contains(&mistake.code)) {
            return false;
        }
        for mistake in mistakes.iter_mut().filter(|mistake| mistake.is_error()) {
            mistake.severity = Severity::Warning;
            mistake.hints.push("The trigger will fail in every stage that is built on this one.".to_owned());
        }
        true
    }

    /// Refuses what cannot be a trigger.
    fn check_trigger(&mut self, line: &Text) -> bool {
        let name_end = line.as_str().find(words::BLANKS).unwrap_or(line.len());
        let trigger = Keyword::find(&line.as_str()[..name_end]);
        if let Some(keyword @ (Keyword::Onbuild | Keyword::From | Keyword::Maintainer)) = trigger {
            let message = format!("`{}` cannot be a trigger", keyword.as_str());
            self.say(Diagnostic::error(codes::BAD_TRIGGER, line.span_of(0..name_end), message));
            return false;
        }
        true
    }

    fn keep(&mut self, parsed: Parsed) {
        match parsed {
            Parsed::Stage(stage) => self.stages.push(stage),
            Parsed::Instruction(keyword, instruction) => match self.stages.last_mut() {
                Some(stage) => stage.instructions.push(instruction),
                None if keyword == Keyword::Arg => self.global_args.push(instruction),
                None => self.stray(keyword, &instruction),
            },
        }
    }

    /// Complains once about what stands before the first `FROM`: one forgotten `FROM` is one mistake.
    fn stray(&mut self, keyword: Keyword, instruction: &Instruction) {
        if std::mem::replace(&mut self.stray, true) {
            return;
        }
        let message = format!("`{}` stands before the first `FROM`", keyword.as_str());
        let diagnostic = Diagnostic::error(codes::BEFORE_FROM, instruction.head.keyword.span(), message)
            .label("only `ARG` may stand here")
            .hint("A stage starts with `FROM` and the image to build on, or `FROM scratch`.");
        self.say(diagnostic);
    }

    fn unknown_instruction(&mut self, written: &Text) {
        let name = written.as_str();
        let shown: String = name.chars().take(40).collect();
        let near = nearest(name, Keyword::ALL.map(Keyword::as_str));
        self.stray |= near == Some("FROM") || self.stages.is_empty();
        let hint = match near {
            Some(near) => Some(format!("An instruction with a similar name is `{near}`.")),
            None if name.contains(|char: char| char.is_whitespace()) => {
                Some("There is a blank in it that is no ordinary space.".to_owned())
            }
            None if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|mark| name.starts_with(mark)) => {
                Some("It marks a conflict of a merge; choose one of the two sides.".to_owned())
            }
            None if self.stages.is_empty() && self.global_args.is_empty() => None,
            None if !name.starts_with(|char: char| char.is_ascii_alphabetic()) => {
                Some(format!("If this continues the line above, that line needs `{}` at its end.", self.escape))
            }
            None => None,
        };
        let diagnostic =
            Diagnostic::error(codes::UNKNOWN_INSTRUCTION, written.span(), format!("unknown instruction `{shown}`"));
        self.say(diagnostic.maybe_hint(hint));
    }

    /// Says that `keyword` needs something after it.
    fn missing(&mut self, keyword: Keyword, span: Span, what: &str) {
        let message = format!("`{}` needs {what}", keyword.as_str());
        self.say(Diagnostic::error(codes::MISSING_ARGUMENT, span, message));
    }

    fn check_stages(&mut self) {
        if !self.any {
            self.say(Diagnostic::error(codes::NO_INSTRUCTIONS, Span::new(0, 0), "the file has no instructions"));
        } else if self.stages.is_empty() && !self.stray {
            let end = self.global_args.last().map_or(Span::new(0, 0), |last| last.head.span);
            let diagnostic =
                Diagnostic::error(codes::NO_STAGE, end, "the file has no `FROM`, so there is nothing to build");
            self.say(diagnostic.label("a `FROM` is expected after this"));
        }
    }

    fn finish(self) -> Parse {
        let mut diagnostics = self.diagnostics;
        for span in self.source.too_long() {
            let message =
                format!("the line has {} bytes, and at most {LINE_BYTES_MAX} are allowed", span.end - span.start);
            diagnostics
                .push(Diagnostic::error(codes::LINE_TOO_LONG, span, message).hint("Split it with continuation lines."));
        }
        diagnostics.sort_by_key(Diagnostic::span);
        let file = Dockerfile {
            directives: self.found_directives,
            escape: self.escape,
            global_args: self.global_args,
            stages: self.stages,
        };
        Parse { file, diagnostics }
    }
}
