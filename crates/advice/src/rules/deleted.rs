//! A step that deletes what the step before it made.

use stave_anatomy::Lost;
use stave_dockerfile::ast::InstructionKind;

use super::{label, of_steps};
use crate::advice::{Advice, Code, Edit, Gain};
use crate::shell::{Simple, chain};
use crate::subject::{Site, Subject};

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_steps(subject, sites, of_step)
}

fn of_step(subject: &Subject<'_>, sites: &[Site<'_>], index: usize) -> Option<Advice> {
    let (run, earlier) = (&sites[index], (0..index).rev().find(|before| !sites[*before].is_metadata())?);
    let before = &sites[earlier];
    let is_run = |site: &Site<'_>| matches!(site.instruction.kind, InstructionKind::Run(_));
    if !is_run(before) || !run.instruction.head.flags.is_empty() {
        return None;
    }
    let (text, above) = (run.shell()?, before.shell()?);
    let (commands, first) = (chain(text.as_str())?, chain(above.as_str())?);
    // What one command says of the shell would hold for the next.
    let changes_shell = |command: &Simple| {
        matches!(
            command.program(),
            "cd" | "export" | "set" | "exec" | "exit" | "umask" | "unset" | "." | "source" | "trap" | "alias"
        ) || command.program().is_empty()
    };
    if first.iter().any(changes_shell) || !commands.iter().any(|command| command.program() == "rm") {
        return None;
    }
    let (layer, below) = (subject.image_layer(run)?, subject.image_layer(before)?);
    let losses = &layer.anatomy.root()?.node().losses;
    let sum = |is_meant: &dyn Fn(&stave_anatomy::Loss) -> bool| {
        losses.iter().filter(|loss| is_meant(loss)).map(|loss| loss.bytes).sum::<u64>()
    };
    let lost = sum(&|loss| loss.layer == below.layer && loss.by == layer.layer);
    let deleted = sum(&|loss| loss.layer == below.layer && loss.by == layer.layer && loss.how == Lost::Deleted);
    // Deletions of what is not the step's before remain.
    let gone: u64 = deletions(&layer, below.layer);
    let span = run.span();
    let edits = vec![
        Edit::insert(before.span().end, format!(" && \\\n    {}", &subject.text()[text.span().range()])),
        Edit::remove_lines(subject.text(), span),
    ];
    (deleted > 0).then(|| Advice {
        code: Code::DeletedInLaterLayer,
        message: "files are shipped, though the next step deletes them".to_owned(),
        labels: vec![
            label(span, "only hides them", true),
            label(before.keyword(), "they stay in the layer of this step", false),
        ],
        proposal: "Make both one step: what is deleted before a step ends is in no layer.".to_owned(),
        edits,
        ignore: Vec::new(),
        gain: Gain { bytes: lost + gone, ..Gain::default() },
        evidence: vec![format!("The first step ships {deleted} bytes that the second deletes.")],
        condition: None,
    })
}

/// Returns the bytes of the deletions in `layer` of what only the layer `below` has.
fn deletions(layer: &crate::subject::LayerOf<'_>, below: u32) -> u64 {
    let of_node = |node: &stave_anatomy::Node| {
        let is_deletion = |loss: &&stave_anatomy::Loss| {
            loss.how == Lost::Deletion && loss.by == layer.layer && node.shares.iter().all(|share| share.layer >= below)
        };
        // A path with others below it sums them up.
        if node.below == 0 || node.shares.iter().any(|share| share.layer == layer.layer && share.visible == 0) {
            node.losses.iter().filter(is_deletion).map(|loss| loss.bytes).sum()
        } else {
            0
        }
    };
    layer.anatomy.nodes.iter().filter(|node| node.below == 0).map(of_node).sum()
}
