//! What policies in Rego have to say beside their decisions, until a build can tell it.

use std::sync::{Arc, Mutex, PoisonError};

use stave_policy::{Decision, Input};

use crate::build::Report;
use crate::event::Event;

/// How much is told of what policies are asked and say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PolicyLogLevel {
    /// Nothing but what they deny.
    Nothing,
    /// What they print.
    #[default]
    Printed,
    /// Also what they are told of each source, and what they decide.
    All,
}

/// What policies print. Clones are one log.
#[derive(Debug, Clone, Default)]
pub struct PolicyLog {
    level: PolicyLogLevel,
    lines: Arc<Mutex<Vec<String>>>,
}

impl PolicyLog {
    /// Returns a log that keeps as much as `level` says.
    #[must_use]
    pub fn new(level: PolicyLogLevel) -> Self {
        Self { level, lines: Arc::default() }
    }

    /// Keeps what a policy says of a source.
    pub(crate) fn note(&self, policy: &str, (identifier, input): (&str, &Input), decision: &Decision) {
        let mut lines = Vec::new();
        if self.level == PolicyLogLevel::All {
            lines.push(format!("policy `{policy}` is told of `{identifier}`: {}", input.json()));
        }
        if self.level != PolicyLogLevel::Nothing {
            lines.extend(decision.printed.iter().map(|line| format!("policy `{policy}` prints {line}")));
        }
        if self.level == PolicyLogLevel::All {
            let what = if decision.allow { "allows" } else { "does not allow" };
            let pin = decision.pin.map(|pin| format!(" as {pin}")).unwrap_or_default();
            lines.push(format!("policy `{policy}` {what} `{identifier}`{pin}"));
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
    }

    /// Tells what was kept since the last time.
    pub(crate) fn tell(&self, events: Report<'_>) {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        for message in lines {
            events(Event::Notice { message });
        }
    }
}
