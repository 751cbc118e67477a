//! Parser directives: comments at the very top of the file that change how it is read.

use super::Parser;
use super::json;
use super::source::Line;
use crate::ast::{Directive, DirectiveKind};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::text::Text;

/// What stands in front of a directive.
const HASH: &str = "#";
/// The same in languages where a hash is no comment.
const SLASHES: &str = "//";

impl Parser<'_> {
    /// Reads the directives at the top, and a `#!` line before them.
    ///
    /// The first line that is no directive ends them; it is left to be read as a comment or an instruction.
    pub(super) fn directives(&mut self) {
        let start = self.source.at();
        let shebang = self.source.line().is_some_and(|line| line.text.starts_with("#!"));
        if !shebang {
            self.source.go_back(start);
        }
        loop {
            let at = self.source.at();
            let found = self.source.line().and_then(|line| directive(line, HASH));
            let Some(found) = found else {
                self.source.go_back(at);
                return;
            };
            if shebang && found.kind == DirectiveKind::Escape {
                let message = "the `escape` directive has no effect after a `#!` line";
                self.say(Diagnostic::warning(codes::DIRECTIVE_AFTER_SHEBANG, found.span, message));
                continue;
            }
            self.take(found);
        }
    }

    fn take(&mut self, found: Directive) {
        if let Some(earlier) = self.found_directives.iter().find(|other| other.kind == found.kind) {
            let message = format!("directive `{}` is given twice", name(found.kind));
            let diagnostic = Diagnostic::error(codes::REPEATED_DIRECTIVE, found.span, message)
                .also(earlier.span, "first given here");
            self.say(diagnostic);
            return;
        }
        match found.kind {
            DirectiveKind::Escape => self.escape_directive(&found.value),
            DirectiveKind::Check => self.check_directive(&found.value),
            DirectiveKind::Syntax => self.syntax_directive(&found.value),
        }
        self.found_directives.push(found);
    }

    fn escape_directive(&mut self, value: &Text) {
        match value.as_str() {
            "\\" => self.escape = '\\',
            "`" => self.escape = '`',
            other => {
                let message = format!("invalid escape character `{other}`: expected a backslash or a backtick");
                self.say(Diagnostic::error(codes::BAD_ESCAPE_DIRECTIVE, value.span(), message));
            }
        }
    }

    fn syntax_directive(&mut self, value: &Text) {
        let frontend = value.as_str().split_whitespace().next().unwrap_or_default();
        let repository = frontend.split('@').next().unwrap_or_default();
        let last = repository.rsplit('/').next().unwrap_or_default();
        if !last.starts_with("dockerfile") {
            let message = format!("frontend `{frontend}` is not run: the file is read as a Dockerfile");
            self.say(Diagnostic::warning(codes::FRONTEND_NOT_RUN, value.span(), message));
        }
    }

    /// Says what is wrong with the options of a `check`. A name that no check has is passed over.
    fn check_directive(&mut self, value: &Text) {
        for mistake in crate::check::read(value.as_str()).1 {
            self.say(bad_check(value, mistake));
        }
    }

    /// Finds `// syntax=` and `{"syntax": ...}`: files in other languages, which say so.
    pub(super) fn foreign(&mut self, text: &str) -> bool {
        let start = self.source.at();
        let line = self.source.line();
        self.source.go_back(start);
        let slashes = line.and_then(|line| directive(line, SLASHES));
        let value = match slashes {
            Some(found) if found.kind == DirectiveKind::Syntax => found.value,
            _ if text[start..].trim_start().starts_with('{') => {
                let whole = Text::verbatim(&text[start..], Span::new(start, start).start);
                let Some(value) = json::string_in_object(&whole, "syntax") else { return false };
                value
            }
            _ => return false,
        };
        let message = format!("the file is for the frontend `{}`, which stave does not run", value.as_str());
        self.say(
            Diagnostic::error(codes::FOREIGN_LANGUAGE, value.span(), message)
                .hint("stave reads the Dockerfile language only."),
        );
        self.found_directives.push(Directive { span: value.span(), kind: DirectiveKind::Syntax, value });
        true
    }
}

/// Reads `# name = value`; nothing if the line is something else.
fn directive(line: Line<'_>, comment: &str) -> Option<Directive> {
    let text = line.text.trim_start().strip_prefix(comment)?.trim_start();
    let (name, value) = text.split_once('=')?;
    let value = value.trim();
    let kind = match name.trim_end() {
        name if name.eq_ignore_ascii_case("syntax") => DirectiveKind::Syntax,
        name if name.eq_ignore_ascii_case("escape") => DirectiveKind::Escape,
        name if name.eq_ignore_ascii_case("check") => DirectiveKind::Check,
        _ => return None,
    };
    (!value.is_empty()).then(|| Directive { span: line.span(), kind, value: line.part(value) })
}

fn name(kind: DirectiveKind) -> &'static str {
    match kind {
        DirectiveKind::Syntax => "syntax",
        DirectiveKind::Escape => "escape",
        DirectiveKind::Check => "check",
    }
}

/// What is wrong in the options of a `check` directive.
pub(super) fn bad_check(value: &Text, mistake: crate::check::Mistake) -> Diagnostic {
    let make = if mistake.harmless { Diagnostic::warning } else { Diagnostic::error };
    make(codes::BAD_CHECK_DIRECTIVE, value.span_of(mistake.range), mistake.message).maybe_hint(mistake.hint)
}

/// Reads what Go's `strconv.ParseBool` takes.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
