//! Which words of an instruction are expanded, and which variables of them have no value.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::ast::{FlagName, Head, Heredoc, Instruction, InstructionKind, MountKey, Source};
use crate::expand::{Expanded, Undefined, expand, expand_body, expand_words};
use crate::plan::Variables;
use crate::text::Text;

/// A word after expansion, and the variables that were asked for.
pub(super) struct Word {
    pub(super) expanded: Expanded,
    /// With a value or without, in order.
    pub(super) asked: Vec<String>,
}

/// Expands a word; a malformed one is another part's affair.
pub(super) fn word(text: &Text, escape: char, variables: &Variables) -> Option<Word> {
    let asked = RefCell::new(Vec::new());
    let expanded = expand(text, escape, &|name| {
        asked.borrow_mut().push(name.to_owned());
        variables.get(name).map(str::to_owned)
    });
    Some(Word { expanded: expanded.ok()?, asked: asked.into_inner() })
}

/// Expands a word to a text.
pub(super) fn text(text: &Text, escape: char, variables: &Variables) -> Option<String> {
    let expanded = expand(text, escape, &|name| variables.get(name).map(str::to_owned));
    expanded.ok().map(|expanded| expanded.text)
}

/// Expands a word that values split into several.
pub(super) fn split(text: &Text, escape: char, variables: &Variables) -> Vec<String> {
    let expanded = expand_words(text, escape, &|name| variables.get(name).map(str::to_owned));
    expanded.map_or_else(|_| Vec::new(), |expanded| expanded.words)
}

/// A variable of a word that has no value.
pub(super) struct Missing {
    pub(super) variable: Undefined,
    /// Whether the word says what should happen then.
    pub(super) guarded: bool,
}

/// Returns the variables of an expanded word that have no value, each once, in the order of the text.
pub(super) fn missing(expanded: Expanded) -> Vec<Missing> {
    let plain = expanded.undefined.into_iter().map(|variable| Missing { variable, guarded: false });
    let guarded = expanded.guarded.into_iter().map(|variable| Missing { variable, guarded: true });
    let mut all: Vec<Missing> = plain.chain(guarded).collect();
    all.sort_by_key(|missing| missing.variable.span);
    let mut names = BTreeSet::new();
    all.retain(|missing| names.insert(missing.variable.name.clone()));
    all
}

/// Returns the variables of one word that `is_defined` does not know.
pub(super) fn undefined(text: &Text, escape: char, is_defined: &dyn Fn(&str) -> Option<String>) -> Vec<Missing> {
    if !text.as_str().contains('$') {
        return Vec::new();
    }
    expand(text, escape, is_defined).map_or_else(|_| Vec::new(), missing)
}

/// Returns the words of an instruction that are expanded, in the order of the text. Those of an `ARG` are left out: each
/// sees the ones before it.
pub(super) fn expanded_words(instruction: &Instruction) -> Vec<&Text> {
    let Instruction { head, kind } = instruction;
    match kind {
        InstructionKind::Add(copy) | InstructionKind::Copy(copy) => {
            let sources = copy.sources.iter().filter_map(|source| match source {
                Source::Path(path) => Some(path),
                Source::Heredoc(_) => None,
            });
            flags(head).chain(sources).chain([&copy.dest]).collect()
        }
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.pairs.iter().flat_map(|pair| [&pair.name, &pair.value]).collect()
        }
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        InstructionKind::Stopsignal(word) | InstructionKind::User(word) | InstructionKind::Workdir(word) => vec![word],
        InstructionKind::Run(run) => {
            let options = run.mounts.iter().flat_map(|mount| &mount.options);
            options.filter(|option| option.key != MountKey::From).filter_map(|option| option.value.as_ref()).collect()
        }
        InstructionKind::Arg(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Maintainer(_)
        | InstructionKind::Onbuild(_)
        | InstructionKind::Shell(_)
        | InstructionKind::Unreadable => Vec::new(),
    }
}

/// Returns the bodies of heredocs that are expanded: those that become files.
pub(super) fn expanded_bodies(instruction: &Instruction) -> Vec<Text> {
    match &instruction.kind {
        InstructionKind::Add(copy) | InstructionKind::Copy(copy) => {
            copy.heredocs().filter(|heredoc| heredoc.expand).map(Heredoc::content).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the variables of a heredoc's body that `is_defined` does not know.
pub(super) fn undefined_in_body(body: &Text, is_defined: &dyn Fn(&str) -> Option<String>) -> Vec<Missing> {
    expand_body(body, is_defined).map_or_else(|_| Vec::new(), missing)
}

fn flags(head: &Head) -> impl Iterator<Item = &Text> {
    let expanded = |name| matches!(name, FlagName::Chown | FlagName::Chmod | FlagName::Checksum);
    head.flags.iter().filter(move |flag| expanded(flag.name)).map(|flag| &flag.value)
}
