//! What a build has made, on a few lines, for its end.

use std::time::Duration;

use stave_engine::StepId;
use stave_history::event::Ending;
use stave_history::{Record, StageBytes, StepState};

use crate::{human, render};

/// A chain of steps that took less is not worth a line.
const PATH_SHORT: Duration = Duration::from_millis(100);
/// Steps of the critical path that are named.
const PATH_STEPS: usize = 3;
/// Characters of an instruction that the path names.
const TITLE_CHARS: usize = 24;
/// Stages whose bytes are named.
const STAGES: usize = 5;

/// Returns the lines: steps and the time that the cache saved, the critical path, the size.
pub(super) fn lines(record: &Record) -> Vec<String> {
    let Some(Ending::Built { images, size, .. }) = &record.ending else { return Vec::new() };
    let mut lines = vec![steps(record)];
    lines.extend(path(record));
    let total = human::size(*size);
    let parts = record.stage_bytes().into_iter().filter(|part| part.bytes > 0).collect::<Vec<_>>();
    let parts = stages(parts);
    lines.push(match (images.as_slice(), parts.as_str()) {
        ([_, _, ..], "") => format!("size {total} in {} images", images.len()),
        ([first, _, ..], parts) => {
            format!("size {total} in {} images, that for {} of {parts}", images.len(), first.platform)
        }
        (_, "") => format!("size {total}"),
        (_, parts) => format!("size {total}: {parts}"),
    });
    lines.into_iter().map(|line| render::printable(&line)).collect()
}

fn steps(record: &Record) -> String {
    let (ran, cached) = (record.count(StepState::Done), record.count(StepState::Cached));
    let saved = record.saved();
    let count = match ran + cached {
        1 => "1 step".to_owned(),
        count => format!("{count} steps"),
    };
    let saved = if saved.as_millis() < 50 { String::new() } else { format!(", which saved {}", human::seconds(saved)) };
    format!("{count} in {}: {ran} ran, {cached} cached{saved}", human::seconds(record.took))
}

/// Names the steps that took longest of those that the build could not have been faster than.
fn path(record: &Record) -> Option<String> {
    let path = record.critical_path();
    if path.steps.len() < 2 || path.took < PATH_SHORT {
        return None;
    }
    let took = |step: StepId| record.step(step).and_then(|step| step.took).unwrap_or_default();
    let mut longest = path.steps.clone();
    longest.sort_by_key(|&step| std::cmp::Reverse(took(step)));
    longest.truncate(PATH_STEPS);
    // One is named even if all are alike.
    let first = longest.first().copied();
    longest.retain(|&step| Some(step) == first || took(step) >= path.took / 20);
    let name = |step: &StepId| {
        let line = &record.step(*step)?.line;
        let title = line.title.split_whitespace().collect::<Vec<_>>().join(" ");
        let title = human::ellipsis(&title, TITLE_CHARS);
        let platform = line.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        let (stage, number, of) = (&line.stage, line.number, line.of);
        Some(format!("[{platform}{stage} {number}/{of}] {title} {}", human::seconds(took(*step))))
    };
    let named: Vec<String> = path.steps.iter().filter(|step| longest.contains(step)).filter_map(name).collect();
    let others = path.steps.len() - named.len();
    let others = match others {
        0 => String::new(),
        1 => ", and a shorter one".to_owned(),
        others => format!(", and {others} shorter ones"),
    };
    Some(format!("critical path {}: {}{others}", human::seconds(path.took), named.join(", ")))
}

/// Returns what each stage adds. Of many stages, the largest are named.
fn stages(mut parts: Vec<StageBytes>) -> String {
    let name = |part: &StageBytes| match (&part.stage, part.of_base) {
        (Some(stage), _) => format!("{stage} {}", human::size(part.bytes)),
        (None, true) => format!("base {}", human::size(part.bytes)),
        (None, false) => format!("joined layers {}", human::size(part.bytes)),
    };
    let mut rest = 0;
    if parts.len() > STAGES {
        let mut sizes: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
        sizes.sort_unstable();
        let least = sizes[sizes.len() - STAGES];
        rest = parts.iter().map(|part| part.bytes).filter(|&bytes| bytes < least).sum();
        parts.retain(|part| part.bytes >= least);
    }
    let rest = (rest > 0).then(|| format!("others {}", human::size(rest)));
    parts.iter().map(name).chain(rest).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use stave_dockerfile::Span;
    use stave_history::event::{Event, StepLine};

    use super::*;

    /// Of many steps that are alike none takes a part of the path that is worth to be named, and one is named all the same.
    #[test]
    fn a_path_of_many_short_steps_names_the_longest() {
        let line = |step: u32| StepLine {
            step: StepId(step),
            platform: None,
            stage: "build".to_owned(),
            number: step + 1,
            of: 40,
            title: format!("RUN make part-{step}"),
            span: Span::default(),
            inputs: step.checked_sub(1).map(StepId).into_iter().collect(),
            bases: Vec::new(),
        };
        let mut record = Record::default();
        let mut at = Duration::ZERO;
        record.take(at, &Event::Planned { steps: (0..40).map(line).collect() });
        for step in (0..40).map(StepId) {
            let took = Duration::from_millis(if step.0 == 7 { 120 } else { 100 });
            record.take(at, &Event::StepStarted { step });
            at += took;
            record.take(at, &Event::StepFinished { step, took, result: String::new() });
        }
        let expected = "critical path 4.0s: [build 8/40] RUN make part-7 0.1s, and 39 shorter ones";
        assert_eq!(path(&record).as_deref(), Some(expected));
    }
}
