//! Where things of a build stand in the page, and links to them.

use maud::{Markup, html};
use stave_history::StepRecord;
use stave_history::event::StepId;

use crate::stages::place_name;
use crate::text;

/// Columns of an instruction that a link shows.
pub(super) const TITLE_COLUMNS: usize = 100;

/// Returns the name of a step's place: its number in the list of all, which is that of its log, too.
pub(super) fn step_id(step: StepId) -> String {
    format!("step-{}", number(step))
}

/// Returns a step's number in the list of all.
pub(super) fn number(step: StepId) -> u64 {
    u64::from(step.0) + 1
}

/// Returns a link to a step, with what it is.
pub(super) fn step_link(step: &StepRecord) -> Markup {
    html! {
        a.to-step href={"#" (step_id(step.line.step))} {
            span.place { (text::line(&place_name(step))) } " "
            code { (text::cut(&step.line.title, TITLE_COLUMNS)) }
        }
    }
}

/// Returns a bar that takes this part of its room.
pub(super) fn bar(part: f64, class: &str) -> Markup {
    html! {
        svg.bar aria-hidden="true" width="100%" height="10" {
            rect class=(class) width={(percent(part)) "%"} height="10" {}
        }
    }
}

/// Returns a part in percent with as many digits as a screen has dots.
pub(super) fn percent(part: f64) -> String {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    let text = format!("{:.2}", part * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Says that there was no room for some things, and where they are.
pub(super) fn left_out(number: usize, what: &str, build: &str) -> Markup {
    html! {
        p.note { (crate::measure::counted(number, what)) " more would make this page too large. "
            code { "stave builds show " (text::line(build)) } " has all." }
    }
}

/// The lines of a text.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self { starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect() }
    }

    /// Where each line begins.
    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The line of a byte, from 1.
    pub(super) fn number(&self, at: u32) -> usize {
        self.starts.partition_point(|&start| start <= at as usize)
    }
}

/// Returns a bar of what is good and what is not.
pub(super) fn bar_of_two(good: f64, bad: f64) -> Markup {
    html! {
        svg.bar aria-hidden="true" width="100%" height="10" {
            rect.good width={(percent(good)) "%"} height="10" {}
            @if bad > 0.0 { rect.lost x={(percent(good)) "%"} width={(percent(bad)) "%"} height="10" {} }
        }
    }
}
