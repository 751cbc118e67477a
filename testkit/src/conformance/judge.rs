//! Whether what builders made of a case is what the case says.

use super::case::{Case, Peer};
use super::compare::{Difference, differences};
use super::expected::Expected;
use super::yard::{Outcome, Yard};
use std::collections::BTreeSet;

/// What a comparison with a peer came to.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Differences for which the case has no reason.
    pub unexplained: Vec<Difference>,
    /// The reasons of the others.
    pub reasons: BTreeSet<String>,
}

impl Verdict {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.unexplained.is_empty() && self.reasons.is_empty()
    }
}

/// What is wrong with stave's own result: compared with `case.json` and, if it is given, with the record.
#[must_use]
pub fn of_stave(case: &Case, outcome: &Outcome, recorded: Option<&Expected>, yard: &Yard) -> Vec<Difference> {
    let mut lines = Vec::new();
    let said = match (&case.about.fails, outcome) {
        (Some(text), Outcome::Failed(said)) => {
            if !says(said, text) {
                lines.push(format!("stave does not say `{text}` but:\n{said}"));
            }
            said
        }
        (Some(text), Outcome::Image(_, said)) => {
            lines.push(format!("stave builds it, and should have said `{text}`"));
            said
        }
        (None, Outcome::Failed(said)) => {
            lines.push(format!("stave fails:\n{said}"));
            said
        }
        (None, Outcome::Image(saved, said)) => {
            lines.extend(case.unexpected(saved));
            if let Some(recorded) = recorded {
                lines.extend(Expected::of(saved, yard.base(), Vec::new()).differences(recorded));
            }
            said
        }
    };
    let missing = case.about.warns.iter().filter(|text| !said.contains(text.as_str()));
    lines.extend(missing.map(|text| format!("stave does not warn `{text}` but says:\n{said}")));
    lines
}

/// Whether each line of `text` is a part of a line of what was said, in this order.
fn says(said: &str, text: &str) -> bool {
    let mut lines = said.lines();
    text.lines().all(|wanted| lines.any(|line| line.contains(wanted)))
}

/// How stave's result differs from that of a peer.
#[must_use]
pub fn of_peer(case: &Case, peer: Peer, ours: &Outcome, theirs: &Outcome) -> Verdict {
    let found = match (ours, theirs) {
        (Outcome::Failed(_), Outcome::Failed(_)) => Vec::new(),
        (Outcome::Failed(_), Outcome::Image(..)) => vec!["stave fails, the peer builds".to_owned()],
        (Outcome::Image(..), Outcome::Failed(said)) => vec![format!("stave builds, the peer fails:\n{said}")],
        (Outcome::Image(ours, _), Outcome::Image(theirs, _)) => differences(ours, theirs, peer),
    };
    let mut verdict = Verdict::default();
    for difference in found {
        match case.reason(peer, &difference) {
            Some(reason) => {
                verdict.reasons.insert(reason.to_owned());
            }
            None => verdict.unexplained.push(difference),
        }
    }
    verdict
}
