//! The rules, each from what was measured to advice, and which of their advice counts.

mod again;
mod base;
mod caches;
mod context;
mod copied;
mod deleted;
mod manifests;
mod packages;
mod tools;

use std::time::Duration;

use stave_dockerfile::{Label, Span};

use crate::advice::{Advice, Gain};
use crate::subject::{Site, Subject};

/// The least that is worth a change of a file, in bytes of an image, and of what is copied into other stages.
const BYTES_MIN: u64 = 16 * 1024;
/// The same as a part of all that the image has: one in so many.
const BYTES_PART: u64 = 1000;
/// The least that is worth a change of a file, in time that steps take.
const TIME_MIN: Duration = Duration::from_millis(100);

/// Returns what would save most, the most first. Each gain is that of its change alone.
#[must_use]
pub fn advise(subject: &Subject<'_>) -> Vec<Advice> {
    let sites = subject.all_sites();
    let rules = [
        caches::advise,
        manifests::advise,
        packages::advise,
        again::advise,
        copied::advise,
        deleted::advise,
        context::advise,
        tools::advise,
        base::advise,
    ];
    let mut all: Vec<Advice> = rules.iter().flat_map(|rule| rule(subject, &sites)).collect();
    let shipped = subject.image.map_or(0, |image| image.layers.iter().map(|layer| layer.bytes).sum::<u64>());
    let counts = |advice: &Advice| {
        let gain = &advice.gain;
        gain.bytes >= BYTES_MIN.max(shipped / BYTES_PART) || gain.copied >= BYTES_MIN || gain.time >= TIME_MIN
    };
    all.retain(|advice| {
        counts(advice) && advice.edits.iter().all(|edit| edit.span.range().end <= subject.text().len())
    });
    let took = subject.record.steps.iter().filter_map(|step| step.took.or(step.saved)).sum();
    // `total_cmp` puts the larger first; what is equal stays in the order of the rules.
    all.sort_by(|one, other| weight(other, shipped, took).total_cmp(&weight(one, shipped, took)));
    all
}

/// Returns the advice that a rule has for single steps, in the order of the file.
fn of_steps(
    subject: &Subject<'_>,
    sites: &[Vec<Site<'_>>],
    of_step: fn(&Subject<'_>, &[Site<'_>], usize) -> Option<Advice>,
) -> Vec<Advice> {
    let of_stage = |stage: &Vec<Site<'_>>| {
        let all = (0..stage.len()).filter_map(|index| of_step(subject, stage, index));
        all.collect::<Vec<_>>()
    };
    sites.iter().flat_map(of_stage).collect()
}

/// What is said of some words of the file.
fn label(span: Span, text: &str, primary: bool) -> Label {
    Label { span, text: text.to_owned(), primary }
}

/// What is gained if a step that took so long need not run `when` something changes.
fn spared(run: &Site<'_>, time: Duration, when: String) -> Gain {
    Gain { time, steps: run.step.map(|step| step.line.step).into_iter().collect(), when, ..Gain::default() }
}

/// How it is known how long a step takes.
fn measured(time: Duration) -> Vec<String> {
    vec![format!("The step took {:.1} s when it ran last.", time.as_secs_f64())]
}

/// Returns how much is gained: the larger of the part of the image's bytes and the part of the steps' time. What is copied
/// into stages that are not shipped counts a tenth.
fn weight(advice: &Advice, shipped: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a part of the whole for an order")]
    let part = |some: u64, all: u64| if all == 0 { 0.0 } else { some as f64 / all as f64 };
    let time = if took.is_zero() { 0.0 } else { advice.gain.time.as_secs_f64() / took.as_secs_f64() };
    part(advice.gain.bytes, shipped).max(part(advice.gain.copied, shipped) / 10.0).max(time)
}
