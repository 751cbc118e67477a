//! Files that are shipped once more only to have another owner or mode.

use stave_anatomy::Lost;
use stave_dockerfile::ast::{FlagName, InstructionKind};

use super::{label, of_steps};
use crate::advice::{Advice, Code, Edit, Gain};
use crate::shell::{Simple, chain};
use crate::subject::{LayerOf, Site, Subject, absolute, is_below, workdir};

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_steps(subject, sites, of_step)
}

/// What a `chown` or `chmod` says.
struct Change<'a> {
    flag: FlagName,
    value: &'a str,
    paths: Vec<String>,
    is_recursive: bool,
}

fn of_step(subject: &Subject<'_>, sites: &[Site<'_>], index: usize) -> Option<Advice> {
    let run = &sites[index];
    if !run.instruction.head.flags.is_empty() {
        return None;
    }
    let commands = chain(run.shell()?.as_str())?;
    let changes: Vec<Change<'_>> =
        commands.iter().map(|command| change(command, sites, index)).collect::<Option<_>>()?;
    let layer = subject.image_layer(run)?;
    let copies = copies(subject, sites, index, &changes, &layer)?;
    let mut edits = vec![Edit::remove_lines(subject.text(), run.span())];
    for &copy in &copies {
        for one in &changes {
            if sites[copy].instruction.head.flag(one.flag).is_some() {
                return None;
            }
        }
        let flags: Vec<String> = changes.iter().map(|one| format!(" --{}={}", one.flag.as_str(), one.value)).collect();
        edits.insert(0, Edit::insert(sites[copy].keyword().end, flags.concat()));
    }
    edits.sort_by_key(|edit| edit.span.start);
    let mut labels = vec![label(run.span(), "has the same files in one more layer", true)];
    labels.extend(copies.iter().map(|copy| label(sites[*copy].keyword(), "are shipped here for nothing", false)));
    let names: Vec<String> = changes.iter().map(|one| format!("`--{}`", one.flag.as_str())).collect();
    Some(Advice {
        code: Code::OwnerInLaterLayer,
        message: "files are shipped twice to have another owner or mode".to_owned(),
        labels,
        proposal: format!("Have `COPY` say it with {}.", names.join(" and ")),
        edits,
        ignore: Vec::new(),
        gain: Gain { bytes: layer.bytes(), ..Gain::default() },
        evidence: vec![format!(
            "All {} bytes of the layer are files that a lower one has with the same content.",
            layer.bytes()
        )],
        condition: kept_directory(sites, &copies, &layer),
    })
}

/// Returns what becomes of a directory that is copied into and was there before: only its files are others.
fn kept_directory(sites: &[Site<'_>], copies: &[usize], layer: &LayerOf<'_>) -> Option<String> {
    copies.iter().find_map(|place| {
        let dest = absolute(sites[*place].copy()?.dest.as_str(), workdir(sites, *place).as_deref())?;
        let node = layer.anatomy.find(&dest)?.node();
        let made_before = node.kind == stave_anatomy::Kind::Directory
            && sites[..*place].iter().any(|site| matches!(site.instruction.kind, InstructionKind::Workdir(_)));
        made_before.then(|| format!("The directory `{dest}` itself may stay as it was made before the copy."))
    })
}

fn change<'a>(command: &'a Simple, sites: &[Site<'_>], index: usize) -> Option<Change<'a>> {
    let flag = match command.program() {
        "chown" => FlagName::Chown,
        "chmod" => FlagName::Chmod,
        _ => return None,
    };
    let mut options = command.words.iter().skip(1).filter(|word| word.starts_with('-'));
    let is_recursive = options.clone().next().is_some();
    if command.has_variable || !options.all(|option| option == "-R" || option == "--recursive") {
        return None;
    }
    let mut operands = command.operands();
    let value = operands.next()?;
    // A name alone keeps the group, which `COPY` does not.
    let is_plain = match flag {
        FlagName::Chown => value.contains(':') && !value.ends_with(':') && !value.starts_with(':'),
        _ => is_mode(value),
    };
    let dir = workdir(sites, index);
    let paths: Vec<String> = operands.map(|path| absolute(path, dir.as_deref())).collect::<Option<_>>()?;
    (is_plain && !paths.is_empty()).then_some(Change { flag, value, paths, is_recursive })
}

/// Whether a mode is one that `COPY` takes: octal, or who, how and what.
fn is_mode(value: &str) -> bool {
    let is_octal = value.len() >= 3 && value.bytes().all(|byte| (b'0'..b'8').contains(&byte));
    let is_symbolic = value.contains(['+', '=']) && value.bytes().all(|byte| b"ugoarwxX+=,".contains(&byte));
    is_octal || is_symbolic
}

/// Returns the copies of which the layer of a step has all files once more, and nothing else.
fn copies(
    subject: &Subject<'_>,
    sites: &[Site<'_>],
    index: usize,
    changes: &[Change<'_>],
    layer: &LayerOf<'_>,
) -> Option<Vec<usize>> {
    // Every file of the layer is one that a copy shipped: what it replaces is lost to it.
    let root = layer.anatomy.root()?;
    let own = root.share(layer.layer)?;
    let mut copies = Vec::new();
    let mut files = 0;
    for (place, site) in sites[..index].iter().enumerate() {
        let Some(source) = subject.image_layer(site) else { continue };
        let lost = root.node().losses.iter().find(|loss| {
            loss.layer == source.layer && loss.by == layer.layer && loss.how == Lost::Replaced && loss.files > 0
        });
        let Some(lost) = lost else { continue };
        let InstructionKind::Copy(copy) = &site.instruction.kind else { return None };
        let shipped = source.anatomy.root()?.share(source.layer)?.files;
        // Users that are made in between are not there for the copy.
        let is_between = |site: &Site<'_>| matches!(site.instruction.kind, InstructionKind::Run(_));
        if lost.files != shipped || sites[place + 1..index].iter().any(is_between) {
            return None;
        }
        let dest = absolute(copy.dest.as_str(), workdir(sites, place).as_deref())?;
        for change in changes {
            // All that the instruction copied is below what was changed: for sure, or since it is all that was.
            let is_all = changes.len() == 1 || change.paths.iter().any(|path| is_below(&dest, path));
            // Directories would get the mode, too.
            let is_flat = shipped as usize <= copy.sources.len();
            if !is_all || change.flag == FlagName::Chmod && !change.is_recursive && !is_flat {
                return None;
            }
        }
        files += lost.files;
        copies.push(place);
    }
    (!copies.is_empty() && files == own.files).then_some(copies)
}
