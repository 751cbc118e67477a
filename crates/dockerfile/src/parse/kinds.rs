//! What follows the name and the flags of each instruction.

use super::Parser;
use super::heredoc;
use super::json::{self, Array};
use super::keyword::Keyword;
use super::words;
use crate::ast::{
    ArgDeclaration, Command, Copy, FlagName, Head, InstructionKind, Pair, Pairs, Run, Source, Stage, StageName,
};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::text::Text;

impl Parser<'_> {
    /// Reads all instructions but `FROM` and `ONBUILD`. Returns nothing if there is a mistake; it was said.
    pub(super) fn kind(&mut self, keyword: Keyword, head: &Head, rest: &Text) -> Option<InstructionKind> {
        let name = head.keyword.span();
        Some(match keyword {
            Keyword::Add => InstructionKind::Add(self.copy(keyword, head, rest)?),
            Keyword::Copy => InstructionKind::Copy(self.copy(keyword, head, rest)?),
            Keyword::Arg => InstructionKind::Arg(self.arg(name, rest)?),
            Keyword::Cmd => InstructionKind::Cmd(self.command(rest)?),
            Keyword::Entrypoint => InstructionKind::Entrypoint(self.command(rest)?),
            Keyword::Env => InstructionKind::Env(self.pairs(keyword, name, rest)?),
            Keyword::Label => InstructionKind::Label(self.pairs(keyword, name, rest)?),
            Keyword::Expose => InstructionKind::Expose(self.expose(name, rest)?),
            Keyword::Healthcheck => InstructionKind::Healthcheck(self.healthcheck(name, rest, &head.flags)?),
            Keyword::Run => InstructionKind::Run(self.run(head, rest)?),
            Keyword::Shell => InstructionKind::Shell(self.shell(name, rest)?),
            Keyword::Volume => InstructionKind::Volume(self.volume(name, rest)?),
            Keyword::Maintainer => InstructionKind::Maintainer(self.one(keyword, name, rest, "a name")?),
            Keyword::Stopsignal => InstructionKind::Stopsignal(self.one(keyword, name, rest, "a signal")?),
            Keyword::User => InstructionKind::User(self.one(keyword, name, rest, "a user")?),
            Keyword::Workdir => InstructionKind::Workdir(self.one(keyword, name, rest, "a directory")?),
            Keyword::From | Keyword::Onbuild => return None,
        })
    }

    /// Whether a flag of this instruction has no value. What was meant for it may be the first word, so that nothing that
    /// can be said about the words is to the point.
    fn lost_a_value(&self, head: &Head) -> bool {
        let own = |diagnostic: &&Diagnostic| diagnostic.span().start >= head.span.start;
        self.diagnostics.iter().rev().take_while(own).any(|diagnostic| diagnostic.code == codes::FLAG_WITHOUT_VALUE)
    }

    /// Reads `FROM`. There is always a stage, so that what follows is not called stray.
    pub(super) fn from(&mut self, head: Head, rest: &Text) -> Stage {
        let whole = words::substitutions(rest.as_str());
        let words = words::at_blanks(rest.as_str(), &whole);
        let words: Vec<Text> = words.into_iter().map(|range| rest.slice(range)).collect();
        let base = words.first().cloned().unwrap_or_else(|| Text::empty_at(head.keyword.span().end));
        let name = match words.as_slice() {
            [] => {
                self.missing(Keyword::From, head.keyword.span(), "an image, a stage or `scratch`");
                None
            }
            [_] => None,
            [_, between, name] if is_as(between) => self.stage_name(name),
            [_, between] if is_as(between) => {
                self.bad_from(between.span(), "a name is expected after this", None);
                None
            }
            [_, between, _, extra, ..] if is_as(between) => {
                let last = words.last().map_or(extra.span(), Text::span);
                self.bad_from(extra.span().to(last), "nothing is expected after the stage's name", late_flag(extra));
                None
            }
            [_, extra, ..] => {
                self.bad_from(extra.span(), "`AS` and a name, or nothing, is expected here", late_flag(extra));
                None
            }
        };
        Stage { head, base, name, instructions: Vec::new() }
    }

    fn bad_from(&mut self, span: Span, label: &str, hint: Option<String>) {
        let message = "`FROM` takes an image, or an image, `AS` and a name";
        self.say(Diagnostic::error(codes::BAD_FROM, span, message).label(label).maybe_hint(hint));
    }

    fn stage_name(&mut self, written: &Text) -> Option<StageName> {
        let name = written.as_str().to_ascii_lowercase();
        let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
        let rest = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_' | '.');
        if starts && name.chars().all(rest) {
            return Some(StageName { name, written: written.clone() });
        }
        let message = format!("invalid name of a stage: `{}`", written.as_str());
        let diagnostic = Diagnostic::error(codes::BAD_STAGE_NAME, written.span(), message)
            .label("a letter, then letters, digits, `-`, `_` and `.` are expected");
        self.say(diagnostic);
        None
    }

    /// Reads the exec form if it is a JSON array, else the shell form.
    pub(super) fn command(&mut self, rest: &Text) -> Option<Command> {
        match json::array(rest) {
            Array::Strings(arguments) => Some(Command::Exec(arguments)),
            Array::No => Some(Command::Shell(rest.clone())),
            Array::Mixed(span) => {
                self.not_only_strings(span);
                None
            }
        }
    }

    fn not_only_strings(&mut self, span: Span) {
        let message = "a JSON array of arguments holds strings only";
        self.say(
            Diagnostic::error(codes::NOT_ONLY_STRINGS, span, message).label("a string in double quotes is expected"),
        );
    }

    fn run(&mut self, head: &Head, rest: &Text) -> Option<Run> {
        let mounts: Vec<_> = head.flags.iter().filter(|flag| flag.name == FlagName::Mount).collect();
        let before = self.diagnostics.len();
        let mounts: Vec<_> = mounts.into_iter().filter_map(|flag| self.mount(flag)).collect();
        let mounts_are_good = !self.diagnostics[before..].iter().any(Diagnostic::is_error);
        let command = self.command(rest)?;
        let heredocs = match &command {
            Command::Shell(_) => {
                let expected = heredoc::markers(rest.as_str()).len();
                let heredocs: Vec<_> =
                    self.heredocs(Keyword::Run, rest).into_iter().map(|(_, heredoc)| heredoc).collect();
                if heredocs.len() < expected {
                    return None;
                }
                heredocs
            }
            Command::Exec(arguments) if arguments.is_empty() => {
                self.missing(Keyword::Run, rest.span(), "a command");
                return None;
            }
            Command::Exec(_) => Vec::new(),
        };
        mounts_are_good.then_some(Run { command, heredocs, mounts })
    }

    fn copy(&mut self, keyword: Keyword, head: &Head, rest: &Text) -> Option<Copy> {
        let mut sources = match json::array(rest) {
            Array::Strings(words) => words.into_iter().map(Source::Path).collect(),
            Array::Mixed(span) => {
                self.not_only_strings(span);
                return None;
            }
            Array::No => self.copy_words(keyword, rest)?,
        };
        if self.lost_a_value(head) {
            return None;
        }
        match sources.pop() {
            Some(Source::Path(dest)) if !sources.is_empty() => Some(Copy { sources, dest }),
            Some(Source::Heredoc(heredoc)) if !sources.is_empty() => {
                let message = format!("the destination of `{}` cannot be a heredoc", keyword.as_str());
                self.say(Diagnostic::error(codes::HEREDOC_AS_DESTINATION, heredoc.marker.span(), message));
                None
            }
            Some(_) => {
                let message =
                    format!("`{}` needs a source and a destination, and there is one word only", keyword.as_str());
                self.say(Diagnostic::error(codes::NO_DESTINATION, rest.span(), message));
                None
            }
            None => {
                self.missing(keyword, head.keyword.span(), "a source and a destination");
                None
            }
        }
    }

    fn copy_words(&mut self, keyword: Keyword, rest: &Text) -> Option<Vec<Source>> {
        let markers = heredoc::markers(rest.as_str());
        let ranges: Vec<_> = markers.iter().map(|marker| marker.range.clone()).collect();
        let heredocs = self.heredocs(keyword, rest);
        if heredocs.len() < markers.len() {
            return None;
        }
        let mut heredocs = heredocs.into_iter().peekable();
        let words = words::at_blanks(rest.as_str(), &ranges).into_iter().map(|range| {
            match heredocs.next_if(|(marker, _)| *marker == range) {
                Some((_, heredoc)) => Source::Heredoc(heredoc),
                None => Source::Path(rest.slice(range)),
            }
        });
        Some(words.collect())
    }

    fn arg(&mut self, name: Span, rest: &Text) -> Option<Vec<ArgDeclaration>> {
        let words = self.some_words(Keyword::Arg, name, rest, "a name")?;
        let mut declarations = Vec::new();
        for word in &words {
            let declaration = match words::at_equals(word) {
                Some((name, default)) => ArgDeclaration { name, default: Some(default) },
                None => ArgDeclaration { name: word.clone(), default: None },
            };
            if declaration.name.is_empty() {
                self.blank_name(word);
            } else {
                declarations.push(declaration);
            }
        }
        (declarations.len() == words.len()).then_some(declarations)
    }

    fn pairs(&mut self, keyword: Keyword, name: Span, rest: &Text) -> Option<Pairs> {
        let words = self.some_words(keyword, name, rest, "a name and a value")?;
        if !words[0].as_str().contains('=') {
            return self.legacy_pair(keyword, rest);
        }
        let mut pairs = Vec::new();
        for word in &words {
            match words::at_equals(word) {
                Some((name, _)) if name.is_empty() => self.blank_name(word),
                Some((name, value)) => pairs.push(Pair { name, value }),
                None => {
                    let message = format!("expected `name=value`, got `{}`", word.as_str());
                    let hint = "A value with blanks needs quotes around it.";
                    self.say(Diagnostic::error(codes::NOT_A_PAIR, word.span(), message).hint(hint));
                }
            }
        }
        (pairs.len() == words.len()).then_some(Pairs { legacy: false, pairs })
    }

    /// Reads `ENV name all the rest is the value`.
    fn legacy_pair(&mut self, keyword: Keyword, rest: &Text) -> Option<Pairs> {
        let text = rest.as_str();
        let Some(name_end) = text.find(words::BLANKS) else {
            let message = format!("`{}` needs a value for `{text}`", keyword.as_str());
            self.say(Diagnostic::error(codes::NOT_A_PAIR, rest.span(), message).label("`name=value` is expected"));
            return None;
        };
        let value_start = text.len() - text[name_end..].trim_start_matches(words::BLANKS).len();
        let pair = Pair { name: rest.slice(0..name_end), value: rest.slice(value_start..text.len()) };
        Some(Pairs { legacy: true, pairs: vec![pair] })
    }

    fn blank_name(&mut self, word: &Text) {
        self.say(Diagnostic::error(codes::BLANK_NAME, word.span(), "a name is expected before `=`"));
    }

    /// Splits into at least one shell word.
    fn some_words(&mut self, keyword: Keyword, name: Span, rest: &Text, what: &str) -> Option<Vec<Text>> {
        let ranges = words::as_shell(rest.as_str(), self.escape);
        if ranges.is_empty() {
            self.missing(keyword, name, what);
            return None;
        }
        Some(ranges.into_iter().map(|range| rest.slice(range)).collect())
    }

    fn expose(&mut self, name: Span, rest: &Text) -> Option<Vec<Text>> {
        if rest.is_empty() {
            self.missing(Keyword::Expose, name, "a port");
            return None;
        }
        Some(words::at_blanks(rest.as_str(), &[]).into_iter().map(|range| rest.slice(range)).collect())
    }

    fn volume(&mut self, name: Span, rest: &Text) -> Option<Vec<Text>> {
        let volumes: Vec<Text> = match json::array(rest) {
            Array::Strings(volumes) => volumes,
            Array::Mixed(span) => {
                self.not_only_strings(span);
                return None;
            }
            Array::No => words::at_blanks(rest.as_str(), &[]).into_iter().map(|range| rest.slice(range)).collect(),
        };
        if volumes.is_empty() {
            self.missing(Keyword::Volume, name, "a path");
            return None;
        }
        let mut trimmed = Vec::new();
        for volume in &volumes {
            if volume.as_str().trim().is_empty() {
                self.say(Diagnostic::error(codes::EMPTY_VOLUME, volume.span(), "the path of a volume is empty"));
            } else {
                trimmed.push(volume.trim());
            }
        }
        (trimmed.len() == volumes.len()).then_some(trimmed)
    }

    fn shell(&mut self, name: Span, rest: &Text) -> Option<Vec<Text>> {
        match json::array(rest) {
            Array::Strings(arguments) if !arguments.is_empty() => return Some(arguments),
            Array::Mixed(span) => self.not_only_strings(span),
            Array::No if !rest.is_empty() => {
                let message = "`SHELL` takes a JSON array only";
                let hint = "Write it like `SHELL [\"/bin/bash\", \"-c\"]`.";
                self.say(Diagnostic::error(codes::NOT_JSON, rest.span(), message).hint(hint));
            }
            _ => self.missing(Keyword::Shell, name, "a JSON array with at least one string"),
        }
        None
    }

    /// Takes all of the rest as one word.
    fn one(&mut self, keyword: Keyword, name: Span, rest: &Text, what: &str) -> Option<Text> {
        if rest.is_empty() {
            self.missing(keyword, name, what);
            return None;
        }
        Some(rest.clone())
    }
}

/// Says where a flag stands, if the word is one.
fn late_flag(word: &Text) -> Option<String> {
    let word = word.as_str();
    word.starts_with("--").then(|| format!("A flag stands before the image: `FROM {word} ...`."))
}

fn is_as(word: &Text) -> bool {
    word.as_str().eq_ignore_ascii_case("AS")
}
