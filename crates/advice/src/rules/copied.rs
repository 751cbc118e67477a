//! A file that is copied, used by the next step and deleted by it.

use stave_dockerfile::ast::{FlagName, Source};

use super::{label, of_steps};
use crate::advice::{Advice, Code, Edit, Gain};
use crate::shell::{Simple, chain};
use crate::subject::{Site, Subject, absolute, workdir};

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_steps(subject, sites, of_step)
}

fn of_step(subject: &Subject<'_>, sites: &[Site<'_>], index: usize) -> Option<Advice> {
    let (run, copied) = (&sites[index], (0..index).rev().find(|before| !sites[*before].is_metadata())?);
    let site = &sites[copied];
    let copy = site.copy()?;
    let flags = &site.instruction.head.flags;
    if flags.iter().any(|flag| !matches!(flag.name, FlagName::From | FlagName::Link)) {
        return None;
    }
    let [Source::Path(source)] = copy.sources.as_slice() else { return None };
    let source = absolute(source.as_str(), Some("/"))?;
    let written = copy.dest.as_str();
    let mut dest = absolute(written, workdir(sites, copied).as_deref())?;
    let name = source.rsplit('/').next().unwrap_or_default();
    if written.ends_with('/') || written == "." {
        dest = format!("{}/{name}", dest.trim_end_matches('/'));
    }
    let text = run.shell()?;
    let commands = chain(text.as_str())?;
    let deleting = deleting(&commands, &dest, workdir(sites, index).as_deref())?;
    let (layer, below) = (subject.image_layer(run)?, subject.image_layer(site)?);
    // Nothing but this one file was copied, and nothing of it is left.
    let (copied_all, deletion) = (below.anatomy.root()?.share(below.layer)?, layer.share(&dest)?);
    let lost = layer.anatomy.find(&dest)?.share(below.layer)?;
    if copied_all.files != 1 || lost.files != 1 || lost.visible != 0 {
        return None;
    }
    let from = site.instruction.head.flag(FlagName::From).map(|flag| format!(",from={}", flag.value.as_str()));
    let mount = format!(" --mount=type=bind{},source={source},target={dest}", from.unwrap_or_default());
    // The command goes with the operator at one side of it.
    let (from_byte, to_byte) = if deleting > 0 {
        (commands[deleting - 1].range.end, commands[deleting].range.end)
    } else {
        (commands[0].range.start, commands[1].range.start)
    };
    let edits = vec![
        Edit::remove_lines(subject.text(), site.span()),
        Edit::insert(run.keyword().end, mount),
        Edit::replace(text.span_of(from_byte..to_byte), String::new()),
    ];
    let bytes = below.bytes() + deletion.bytes;
    Some(Advice {
        code: Code::CopiedThenDeleted,
        message: format!("`{name}` is shipped, though it is deleted again"),
        labels: vec![
            label(site.span(), "stays in the layer of this step", true),
            label(text.span_of(commands[deleting].range.clone()), "only hides it", false),
        ],
        proposal: "Mount the file for the step that needs it: then it is in no layer.".to_owned(),
        edits,
        ignore: Vec::new(),
        gain: Gain { bytes, ..Gain::default() },
        evidence: vec![format!(
            "The layer of the copy has {} bytes, of which nothing is left in the image.",
            below.bytes()
        )],
        condition: None,
    })
}

/// Returns the place of the command that deletes `path` and nothing else, if there is another one.
fn deleting(commands: &[Simple], path: &str, workdir: Option<&str>) -> Option<usize> {
    let deletes = |command: &Simple| {
        let operands: Vec<&str> = command.operands().collect();
        command.program() == "rm" && operands.len() == 1 && absolute(operands[0], workdir).as_deref() == Some(path)
    };
    let found = commands.iter().position(deletes)?;
    // In another directory, what is not written from the root would be another file.
    let moves = commands[..found].iter().any(|command| command.program() == "cd");
    let is_written_out = commands[found].operands().all(|operand| operand.starts_with('/'));
    (commands.len() > 1 && (is_written_out || !moves)).then_some(found)
}
