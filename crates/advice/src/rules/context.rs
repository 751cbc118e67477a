//! What a copy of the whole context has that no image needs.

use stave_dockerfile::ast::{FlagName, InstructionKind, Source};

use super::{label, of_steps};
use crate::advice::{Advice, Code, Gain};
use crate::subject::{LayerOf, Site, Subject, absolute, workdir};

/// Something that tools leave beside the source.
struct Needless {
    name: &'static str,
    /// What has to be beside it or in it to be sure that it is what it seems.
    sign: Sign,
}

enum Sign {
    /// Its name is enough.
    Name,
    /// A file or directory of this name is beside it.
    Beside(&'static str),
    /// A file or directory of this name is in it.
    Inside(&'static str),
}

const NEEDLESS: &[Needless] = &[
    Needless { name: ".git", sign: Sign::Inside("HEAD") },
    Needless { name: ".hg", sign: Sign::Inside("store") },
    Needless { name: ".svn", sign: Sign::Inside("wc.db") },
    Needless { name: "node_modules", sign: Sign::Beside("package.json") },
    Needless { name: "target", sign: Sign::Beside("Cargo.toml") },
    Needless { name: ".venv", sign: Sign::Inside("pyvenv.cfg") },
    Needless { name: "venv", sign: Sign::Inside("pyvenv.cfg") },
    Needless { name: "__pycache__", sign: Sign::Name },
    Needless { name: ".pytest_cache", sign: Sign::Name },
    Needless { name: ".mypy_cache", sign: Sign::Name },
    Needless { name: ".tox", sign: Sign::Name },
    Needless { name: ".gradle", sign: Sign::Name },
    Needless { name: ".idea", sign: Sign::Name },
    Needless { name: ".vscode", sign: Sign::Name },
    Needless { name: ".terraform", sign: Sign::Name },
];

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_steps(subject, sites, of_copy)
}

fn of_copy(subject: &Subject<'_>, sites: &[Site<'_>], index: usize) -> Option<Advice> {
    let site = &sites[index];
    let (InstructionKind::Copy(copy) | InstructionKind::Add(copy)) = &site.instruction.kind else { return None };
    let [Source::Path(path)] = copy.sources.as_slice() else { return None };
    if site.instruction.head.flag(FlagName::From).is_some() || absolute(path.as_str(), Some("/"))? != "/" {
        return None;
    }
    let dest = absolute(copy.dest.as_str(), workdir(sites, index).as_deref())?;
    let layer = subject.layer_of(site)?;
    let found: Vec<(&Needless, u64)> = NEEDLESS
        .iter()
        .filter(|needless| !is_wanted(sites, index, needless.name))
        .filter_map(|needless| Some((needless, bytes(&layer, &dest, needless)?)))
        .collect();
    let bytes: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    let names: Vec<String> = found.iter().map(|(needless, _)| format!("`{}`", needless.name)).collect();
    let (image, copied) = if layer.in_image { (bytes, 0) } else { (0, bytes) };
    (!found.is_empty()).then(|| Advice {
        code: Code::NeedlessContext,
        message: format!("{} of the context {} copied", names.join(", "), if names.len() == 1 { "is" } else { "are" }),
        labels: vec![label(site.span(), "copies all that no ignore file hides", true)],
        proposal: "Have the ignore file leave them out of the context.".to_owned(),
        edits: Vec::new(),
        ignore: found.iter().map(|(needless, _)| needless.name.to_owned()).collect(),
        gain: Gain { bytes: image, copied, ..Gain::default() },
        evidence: found
            .iter()
            .map(|(needless, bytes)| format!("The step copies {bytes} bytes of `{}`.", needless.name))
            .collect(),
        condition: None,
    })
}

/// Returns the bytes that a layer has of something needless.
fn bytes(layer: &LayerOf<'_>, dest: &str, needless: &Needless) -> Option<u64> {
    let path = format!("{}/{}", dest.trim_end_matches('/'), needless.name);
    let share = layer.share(&path)?;
    let has = |dir: &str, name: &str| layer.share(&format!("{dir}/{name}")).is_some();
    let is_sure = match needless.sign {
        Sign::Name => true,
        Sign::Beside(name) => has(dest.trim_end_matches('/'), name),
        Sign::Inside(name) => has(&path, name),
    };
    is_sure.then_some(share.bytes)
}

/// Whether a later step of the stage speaks of it: then somebody wants it.
fn is_wanted(sites: &[Site<'_>], index: usize, name: &str) -> bool {
    let says = |site: &Site<'_>| {
        let script = site.script().unwrap_or_default();
        let is_between = |char: char| char.is_whitespace() || ";&|()\"'/=:".contains(char);
        let calls_git = name == ".git" && crate::shell::calls(&script, "git");
        calls_git || script.split(is_between).any(|word| word == name)
    };
    sites[index + 1..].iter().any(says)
}
