//! What policies in Rego have to say beside their decisions, until a build can tell it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use stave_dockerfile::check::is_secret_name;
use stave_graph::remote::redacted_text_without_queries;
use stave_policy::{Decision, Input};

use crate::build::Report;
use crate::event::Event;
use crate::veil::{Hidden, Veil};

/// What stands for a value that may be a secret.
const MASK: &str = "****";

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
///
/// It is shown and kept with the build, so that it has nothing that is in no history: no values of arguments and labels
/// whose names say that they are secrets, no passwords and no queries of addresses.
#[derive(Debug, Clone, Default)]
pub struct PolicyLog {
    level: PolicyLogLevel,
    kept: Arc<Mutex<Kept>>,
}

/// What was said.
#[derive(Debug, Default)]
struct Kept {
    /// The lines that nobody was told yet.
    lines: Vec<String>,
    /// What was decided already: a policy that needs only names is asked again when another one wanted to know more.
    decided: HashSet<String>,
}

impl PolicyLog {
    /// Returns a log that keeps as much as `level` says.
    #[must_use]
    pub fn new(level: PolicyLogLevel) -> Self {
        Self { level, kept: Arc::default() }
    }

    /// Keeps what a policy says of a source, if it has not said just that before.
    pub(crate) fn note(&self, policy: &str, (identifier, input): (&str, &Input), decision: &Decision) {
        let told = input.json();
        let mut lines = Vec::new();
        if self.level == PolicyLogLevel::All {
            lines.push(format!("policy `{policy}` is told of `{identifier}`: {}", without_secrets(told.clone())));
        }
        if self.level != PolicyLogLevel::Nothing {
            lines.extend(decision.printed.iter().map(|line| format!("policy `{policy}` prints {line}")));
        }
        let what = if decision.allow { "allows" } else { "does not allow" };
        let pin = decision.pin.map(|pin| format!(" as {pin}")).unwrap_or_default();
        let decided = format!("policy `{policy}` {what} `{identifier}`{pin}");
        // An image is asked about for each platform.
        let key = format!("{decided} {} {:?}", told["image"]["platform"], decision.printed);
        if self.level == PolicyLogLevel::All {
            lines.push(decided);
        }
        let hidden = secrets(&told);
        let lines = lines.iter().map(|line| shown(line, &hidden));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.decided.insert(key) {
            kept.lines.extend(lines);
        }
    }

    /// Tells what was kept since the last time.
    pub(crate) fn tell(&self, events: Report<'_>) {
        let lines = std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).lines);
        for message in lines {
            events(Event::Notice { message });
        }
    }
}

/// Returns what a policy says in its own words as it can be shown.
pub(crate) fn shown_words(words: &[String], input: &Input) -> Vec<String> {
    let hidden = secrets(&input.json());
    words.iter().map(|line| shown(line, &hidden)).collect()
}

fn shown(line: &str, hidden: &Hidden) -> String {
    let (mut veil, mut seen) = (Veil::new(hidden), Vec::new());
    veil.pass(line.as_bytes(), |piece| seen.extend_from_slice(piece));
    veil.end(|piece| seen.extend_from_slice(piece));
    redacted_text_without_queries(&String::from_utf8_lossy(&seen))
}

/// Returns the texts of an input that are in no line, whoever prints them.
fn secrets(told: &Value) -> Hidden {
    let mut hidden = Hidden::default();
    for map in ["args", "labels"] {
        for (name, value) in told["env"][map].as_object().into_iter().flatten() {
            if may_be_secret(name) {
                hidden.add(value.as_str().unwrap_or_default().as_bytes());
            }
        }
    }
    hidden
}

/// Returns what a policy is told without the values that may be secrets, however short they are.
fn without_secrets(mut told: Value) -> Value {
    for map in ["/env/args", "/env/labels", "/image/labels"] {
        for (name, value) in told.pointer_mut(map).and_then(Value::as_object_mut).into_iter().flatten() {
            if may_be_secret(name) {
                *value = MASK.into();
            }
        }
    }
    for entry in told.pointer_mut("/image/env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((name, _)) = entry.as_str().and_then(|entry| entry.split_once('=')).filter(|it| may_be_secret(it.0))
        {
            *entry = format!("{name}={MASK}").into();
        }
    }
    // It may be what signs the address.
    for (_, values) in told.pointer_mut("/http/query").and_then(Value::as_object_mut).into_iter().flatten() {
        for value in values.as_array_mut().into_iter().flatten() {
            *value = MASK.into();
        }
    }
    told
}

/// Labels have parts between dots.
fn may_be_secret(name: &str) -> bool {
    is_secret_name(&name.replace(['.', '-'], "_"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stave_policy::Environment;

    use super::*;

    const SECRET: &str = "hush-5d1c77";

    fn lines(level: PolicyLogLevel, input: &Input, printed: &str, times: usize) -> Vec<String> {
        let log = PolicyLog::new(level);
        let decision = Decision { allow: true, messages: Vec::new(), pin: None, printed: vec![printed.to_owned()] };
        for _ in 0..times {
            log.note("p.rego", ("https://a.example/f?...", input), &decision);
        }
        let seen = Mutex::new(Vec::new());
        log.tell(&|event| {
            let Event::Notice { message } = event else { panic!("{event:?}") };
            seen.lock().expect("no panic").push(message);
        });
        seen.into_inner().expect("no panic")
    }

    fn environment() -> Environment {
        let entry = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let proxy = format!("http://me:{SECRET}@127.0.0.1:9/");
        let args = [("API_TOKEN", SECRET), ("PIN_PASSWORD", "7"), ("MIRROR", &proxy), ("VERSION", "7")].map(entry);
        let labels = BTreeMap::from([entry(("example.auth.token", "hush-label"))]);
        Environment { args: args.into(), labels, ..Environment::default() }
    }

    /// E016: what is logged is kept with the build.
    #[test]
    fn secrets_of_arguments_labels_and_addresses_are_in_no_line() {
        let input = Input::http("https://a.example/f?X-Sig=hush-sig", true, None).within(&environment());
        let printed = format!("p.rego:1: {SECRET} hush-label https://u:{SECRET}@a.example/f?X-Sig=hush-sig#part");
        let lines = lines(PolicyLogLevel::All, &input, &printed, 1);
        assert_eq!(
            lines,
            [
                "policy `p.rego` is told of `https://a.example/f?...`: \
                 {\"env\":{\"args\":{\"API_TOKEN\":\"****\",\"MIRROR\":\"http://xxxxx:xxxxx@127.0.0.1:9/\",\
                 \"PIN_PASSWORD\":\"****\",\"VERSION\":\"7\"},\"labels\":{\"example.auth.token\":\"****\"}},\
                 \"http\":{\"url\":\"https://a.example/f?...\",\"schema\":\"https\",\"host\":\"a.example\",\"path\":\"/f\",\
                 \"query\":{\"X-Sig\":[\"****\"]},\"hasAuth\":true}}",
                "policy `p.rego` prints p.rego:1: **** **** https://xxxxx:xxxxx@a.example/f?...#part",
                "policy `p.rego` allows `https://a.example/f?...`",
            ]
        );
    }

    #[test]
    fn what_is_decided_twice_is_said_once() {
        let input = Input::local("context");
        assert_eq!(
            lines(PolicyLogLevel::Printed, &input, "p.rego:1: seen", 3),
            ["policy `p.rego` prints p.rego:1: seen"]
        );
        assert_eq!(lines(PolicyLogLevel::Nothing, &input, "p.rego:1: seen", 3), Vec::<String>::new());
    }
}
