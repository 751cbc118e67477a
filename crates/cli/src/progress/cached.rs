//! The steps that need not run, on one line.

use stave_engine::StepId;
use stave_history::{Record, StepRecord, StepState};

use super::frame::Line;
use super::settings::Tone;
use crate::human;

/// Returns `CACHED 5 steps: [base 1-2/2] [builder 1-3/5]` and the time that they took when they ran.
pub(super) fn line(record: &Record, title: impl Fn(StepId) -> String) -> Option<Line> {
    let cached: Vec<_> = record.steps.iter().filter(|step| is_cached(step)).collect();
    let text = match cached.as_slice() {
        [] => return None,
        [one] => format!(" => CACHED {}", title(one.line.step)),
        many => format!(" => CACHED {} steps: {}", many.len(), places(record)),
    };
    let saved = record.saved();
    let right = (saved.as_millis() >= 50).then(|| format!("saved {}", human::seconds(saved)));
    Some(Line::new(Tone::Run, text).with_right(right))
}

/// Whether a step has work of its own and need not do it.
fn is_cached(step: &StepRecord) -> bool {
    step.state == StepState::Cached && !step.is_base()
}

/// Returns the places of all cached steps, neighbours together.
fn places(record: &Record) -> String {
    let mut groups: Vec<(String, u32, u32, u32)> = Vec::new();
    for step in record.steps.iter().filter(|step| is_cached(step)) {
        let line = &step.line;
        let platform = line.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        let stage = format!("{platform}{}", line.stage);
        match groups.last_mut() {
            Some((name, _, last, of)) if *name == stage && *of == line.of && *last + 1 == line.number => {
                *last = line.number;
            }
            _ => groups.push((stage, line.number, line.number, line.of)),
        }
    }
    let group = |(stage, first, last, of): (String, u32, u32, u32)| {
        if first == last { format!("[{stage} {first}/{of}]") } else { format!("[{stage} {first}-{last}/{of}]") }
    };
    groups.into_iter().map(group).collect::<Vec<_>>().join(" ")
}
