//! The chain of steps that a build could not have been faster than.

use std::time::Duration;

use stave_event::StepId;

use crate::record::{Record, StepRecord};

/// The longest chain of steps of which each waited for the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CriticalPath {
    /// The steps that ran, first to last.
    pub steps: Vec<StepId>,
    /// How long they took together.
    pub took: Duration,
}

impl Record {
    /// Returns the chain of steps with the longest running times, or nothing if no step ran.
    #[must_use]
    pub fn critical_path(&self) -> CriticalPath {
        // Steps are in the order of the file, and what a step reads stands before it; anything else is passed over.
        let mut longest: Vec<(Duration, Option<usize>)> = Vec::new();
        for (place, step) in self.steps.iter().enumerate() {
            let inputs = step.line.inputs.iter().map(|input| input.0 as usize).filter(|&input| input < place);
            let before = inputs.max_by_key(|&input| longest[input].0);
            let below = before.map_or(Duration::ZERO, |before| longest[before].0);
            longest.push((below + ran(step), before));
        }
        let Some(last) = (0..longest.len()).max_by_key(|&place| longest[place].0) else {
            return CriticalPath::default();
        };
        let mut path = CriticalPath { steps: Vec::new(), took: longest[last].0 };
        let mut place = Some(last);
        while let Some(at) = place {
            if self.steps[at].took.is_some() {
                path.steps.push(self.steps[at].line.step);
            }
            place = longest[at].1;
        }
        path.steps.reverse();
        path
    }
}

fn ran(step: &StepRecord) -> Duration {
    step.took.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use stave_event::Event;

    use super::*;
    use crate::record::tests::{finished, line, record};

    #[test]
    fn the_longest_chain_is_found_among_parallel_ones() {
        let steps = vec![line(0, "a", &[]), line(1, "b", &[]), line(2, "b", &[1]), line(3, "c", &[0, 2])];
        let events = [
            (0, Event::Planned { steps }),
            (100, finished(0, 90)),
            (100, finished(1, 50)),
            (200, finished(2, 60)),
            (300, finished(3, 10)),
        ];
        let path = record(&events).critical_path();
        assert_eq!((path.steps, path.took), (vec![StepId(1), StepId(2), StepId(3)], Duration::from_millis(120)));
    }

    #[test]
    fn a_build_that_ran_nothing_has_none() {
        let path = record(&[(0, Event::Planned { steps: vec![line(0, "a", &[])] })]).critical_path();
        assert_eq!(path, CriticalPath::default());
    }
}
