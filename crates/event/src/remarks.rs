//! What is said about a Dockerfile, and how that is written as JSON.

use serde::{Deserialize, Serialize};
use stave_dockerfile::span::position;
use stave_dockerfile::{Diagnostic, Label, Severity, Span, known_code};

use crate::written;

/// Mistakes, warnings or findings of the checks, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Remarks {
    /// The file's name, as the user gave it.
    pub name: String,
    /// The file's text, which the spans point into. It is not written as JSON, and empty in what is read from there.
    pub text: String,
    /// What is said.
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    file: String,
    diagnostics: Vec<WrittenDiagnostic>,
}

#[derive(Serialize, Deserialize)]
struct WrittenDiagnostic {
    code: String,
    severity: WrittenSeverity,
    message: String,
    line: usize,
    labels: Vec<WrittenLabel>,
    hints: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenSeverity {
    Warning,
    Error,
}

#[derive(Serialize, Deserialize)]
struct WrittenLabel {
    #[serde(with = "written::span")]
    span: Span,
    text: String,
    primary: bool,
}

impl From<Remarks> for Written {
    fn from(remarks: Remarks) -> Self {
        let diagnostic = |one: Diagnostic| WrittenDiagnostic {
            code: one.code.to_owned(),
            severity: match one.severity {
                Severity::Warning => WrittenSeverity::Warning,
                Severity::Error => WrittenSeverity::Error,
            },
            line: one.labels.iter().find(|label| label.primary).map_or(0, |label| line(&remarks.text, label.span)),
            message: one.message,
            labels: one.labels.into_iter().map(written_label).collect(),
            hints: one.hints,
        };
        Self { file: remarks.name, diagnostics: remarks.diagnostics.into_iter().map(diagnostic).collect() }
    }
}

impl From<Written> for Remarks {
    fn from(written: Written) -> Self {
        let diagnostic = |one: WrittenDiagnostic| Diagnostic {
            code: known_code(&one.code),
            severity: match one.severity {
                WrittenSeverity::Warning => Severity::Warning,
                WrittenSeverity::Error => Severity::Error,
            },
            message: one.message,
            labels: one.labels.into_iter().map(label).collect(),
            hints: one.hints,
        };
        let diagnostics = written.diagnostics.into_iter().map(diagnostic).collect();
        Self { name: written.file, text: String::new(), diagnostics }
    }
}

fn written_label(label: Label) -> WrittenLabel {
    WrittenLabel { span: label.span, text: label.text, primary: label.primary }
}

fn label(written: WrittenLabel) -> Label {
    Label { span: written.span, text: written.text, primary: written.primary }
}

fn line(text: &str, span: Span) -> usize {
    position(text, span.start).line
}
