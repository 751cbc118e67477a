//! Puts the `ONBUILD` triggers of each stage's base in front of the stage's own instructions.
//!
//! What comes out is a file like any other, so triggers bring the stages and images that they name into the plan without
//! anything else knowing of them. Their words stand nowhere in the text: their positions lie behind the largest file that
//! is read, and what is said about them is said at the base's name.

use std::borrow::Cow;

use super::stages::{Base, Place};
use super::{BaseRequest, Facts, PlanOptions, codes};
use crate::ast::{Dockerfile, Instruction, InstructionKind};
use crate::diagnostic::{Diagnostic, Label};
use crate::parse::{FILE_BYTES_MAX, parse_trigger};
use crate::span::Span;

/// Where triggers came from.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// In the order of their positions.
    anchors: Vec<Anchor>,
}

#[derive(Debug)]
struct Anchor {
    /// Positions of the trigger's words.
    words: Span,
    /// The base that has the trigger, in the text.
    base: Span,
    text: String,
}

impl Anchors {
    fn of(&self, span: Span) -> Option<&Anchor> {
        let after = self.anchors.partition_point(|anchor| anchor.words.start <= span.start);
        self.anchors[..after].last().filter(|anchor| span.start <= anchor.words.end)
    }

    /// Returns where in the text something is that may be said about a trigger.
    pub(super) fn place(&self, span: Span) -> Span {
        self.of(span).map_or(span, |anchor| anchor.base)
    }

    /// Moves a diagnostic about a trigger to the base that has it, and says so.
    pub(super) fn settle(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        let mut told = None;
        for Label { span, .. } in &mut diagnostic.labels {
            if let Some(anchor) = self.of(*span) {
                *span = anchor.base;
                told = Some(anchor);
            }
        }
        match told {
            Some(anchor) => diagnostic.hint(format!("It is in a trigger of the base: `ONBUILD {}`.", anchor.text)),
            None => diagnostic,
        }
    }
}

/// Returns the file as it is built: with the triggers that are known so far, and without the instructions of stages that
/// a named context replaces.
pub(super) fn apply<'a>(
    file: &'a Dockerfile,
    bases: &[Option<Base>],
    options: &PlanOptions,
    facts: &Facts,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Cow<'a, Dockerfile>, Anchors) {
    let mut applied = Cow::Borrowed(file);
    let mut anchors = Anchors::default();
    let mut at = FILE_BYTES_MAX + 1;
    for (index, base) in bases.iter().enumerate() {
        let Some(base) = base else { continue };
        if base.replaced {
            applied.to_mut().stages[index].instructions.clear();
        }
        let texts: Vec<String> = match &base.place {
            Place::Image(reference) => {
                let platform = base.platform.as_ref().unwrap_or(&options.platform).clone();
                let known = facts.bases.get(&BaseRequest { reference: reference.clone(), platform });
                known.map(|base| base.config.config.on_build.clone()).unwrap_or_default()
            }
            Place::Stage(earlier) => applied.stages[*earlier].instructions.iter().filter_map(trigger).collect(),
            Place::Scratch | Place::Local(_) | Place::Git(_) | Place::Http(_) => Vec::new(),
        };
        let mut instructions = Vec::new();
        for text in texts {
            let base = file.stages[index].base.span();
            anchors.anchors.push(Anchor { words: Span::new(at, at + text.len()), base, text: text.clone() });
            match parse_trigger(&text, at) {
                Ok(instruction) => instructions.push(instruction),
                Err(problems) => {
                    diagnostics
                        .extend(problems.into_iter().map(|problem| Diagnostic { code: codes::TRIGGER, ..problem }));
                }
            }
            at += text.len() + 1;
        }
        if !instructions.is_empty() {
            applied.to_mut().stages[index].instructions.splice(0..0, instructions);
        }
    }
    (applied, anchors)
}

fn trigger(instruction: &Instruction) -> Option<String> {
    match &instruction.kind {
        InstructionKind::Onbuild(onbuild) => Some(onbuild.text.clone()),
        _ => None,
    }
}
