//! Source policies: rules that allow, deny or convert sources.
//!
//! Reference: BuildKit, `sourcepolicy/pb/policy.proto` (the form), `sourcepolicy/engine.go` (the order). One difference:
//! a rule with `match_type` `EXACT` converts to what its `updates` say, which BuildKit does not do.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use crate::pattern::{Pattern, expression};
use crate::source::Source;

/// How often one source may be converted.
pub const ROUNDS_MAX: usize = 20;

/// The only version of policies.
const VERSION: i64 = 1;

/// A policy: rules in their order.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What the user calls it.
    name: String,
    rules: Vec<Rule>,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not JSON of the expected shape.
    #[error("the source policy `{name}` is not valid")]
    Json {
        /// What the user calls the policy.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A rule says what cannot be.
    #[error("rule {number} of the source policy `{name}` {problem}")]
    Rule {
        /// What the user calls the policy.
        name: String,
        /// Which rule, counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// It is of another version.
    #[error("the source policy `{name}` has version {version}, and only 1 is known")]
    Version {
        /// What the user calls the policy.
        name: String,
        /// Its version.
        version: i64,
    },
}

/// Why a source may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A rule denies it.
    #[error("rule {rule} of the source policy `{policy}` denies `{identifier}` (it is about `{pattern}`)")]
    Denied {
        /// What the user calls the policy.
        policy: String,
        /// Which rule, counted from 1.
        rule: usize,
        /// The pattern of the rule.
        pattern: String,
        /// The source, as it was when the rule was applied.
        identifier: String,
    },
    /// Rules convert it without an end.
    #[error(
        "the source policies convert `{identifier}` more than {ROUNDS_MAX} times; the last is rule {rule} of `{policy}`"
    )]
    Endless {
        /// What the user calls the policy with the last rule.
        policy: String,
        /// Which rule, counted from 1.
        rule: usize,
        /// The source as the Dockerfile has it.
        identifier: String,
    },
}

#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    pattern: Pattern,
    constraints: Vec<Constraint>,
}

#[derive(Debug, Clone)]
enum Action {
    Allow,
    Deny,
    Convert { identifier: String, attributes: BTreeMap<String, String> },
}

#[derive(Debug, Clone)]
struct Constraint {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Constraint {
    /// An attribute that is not there is empty.
    fn holds(&self, attributes: &BTreeMap<String, String>) -> bool {
        let value = attributes.get(&self.key).map_or("", String::as_str);
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Matches(regex) => regex.is_match(value),
        }
    }
}

mod written {
    //! A policy as its text has it.

    use super::{BTreeMap, Deserialize};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Policy {
        #[serde(default = "first")]
        pub(super) version: i64,
        #[serde(default)]
        pub(super) rules: Vec<Rule>,
    }

    fn first() -> i64 {
        super::VERSION
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Rule {
        #[serde(default)]
        pub(super) action: Action,
        pub(super) selector: Option<Selector>,
        pub(super) updates: Option<Updates>,
    }

    #[derive(Deserialize, Default, Clone, Copy)]
    pub(super) enum Action {
        #[default]
        #[serde(rename = "ALLOW")]
        Allow,
        #[serde(rename = "DENY")]
        Deny,
        #[serde(rename = "CONVERT")]
        Convert,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Selector {
        #[serde(default)]
        pub(super) identifier: String,
        #[serde(default, alias = "matchType")]
        pub(super) match_type: MatchType,
        #[serde(default)]
        pub(super) constraints: Vec<Constraint>,
    }

    #[derive(Deserialize, Default, Clone, Copy)]
    pub(super) enum MatchType {
        #[default]
        #[serde(rename = "WILDCARD")]
        Wildcard,
        #[serde(rename = "EXACT")]
        Exact,
        #[serde(rename = "REGEX")]
        Regex,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Constraint {
        #[serde(default)]
        pub(super) key: String,
        #[serde(default)]
        pub(super) value: String,
        #[serde(default)]
        pub(super) condition: Condition,
    }

    #[derive(Deserialize, Default, Clone, Copy)]
    pub(super) enum Condition {
        #[default]
        #[serde(rename = "EQUAL")]
        Equal,
        #[serde(rename = "NOTEQUAL")]
        NotEqual,
        #[serde(rename = "MATCHES")]
        Matches,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Updates {
        #[serde(default)]
        pub(super) identifier: String,
        #[serde(default)]
        pub(super) attrs: BTreeMap<String, String>,
    }
}

impl Policy {
    /// Reads a policy that the user calls `name`.
    ///
    /// # Errors
    /// If it is not JSON, has a field or a word that is not known, a rule without what it needs, or a pattern that is
    /// none.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let policy: written::Policy =
            serde_json::from_str(text).map_err(|source| PolicyError::Json { name: name.to_owned(), source })?;
        if policy.version != VERSION {
            return Err(PolicyError::Version { name: name.to_owned(), version: policy.version });
        }
        let rule = |(index, rule)| {
            Rule::of(rule).map_err(|problem| PolicyError::Rule { name: name.to_owned(), number: index + 1, problem })
        };
        let rules = policy.rules.into_iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), rules })
    }

    /// Applies the rules once. Of those that allow and deny the last counts; one that changes the source ends the round.
    fn round(&self, source: &mut Source) -> Result<Option<usize>, Refusal> {
        let mut denied = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let meant = rule.constraints.iter().all(|constraint| constraint.holds(&source.attributes))
                && rule.pattern.matches(&source.identifier);
            if !meant {
                continue;
            }
            match &rule.action {
                Action::Allow => denied = None,
                Action::Deny => denied = Some((index + 1, rule)),
                Action::Convert { identifier, attributes } => {
                    let converted = rule.converted(source, identifier, attributes);
                    if converted != *source {
                        *source = converted;
                        return Ok(Some(index + 1));
                    }
                }
            }
        }
        let Some((number, rule)) = denied else { return Ok(None) };
        Err(Refusal::Denied {
            policy: self.name.clone(),
            rule: number,
            pattern: rule.pattern.text().to_owned(),
            identifier: source.identifier.clone(),
        })
    }
}

impl Rule {
    fn of(rule: written::Rule) -> Result<Self, String> {
        let selector = rule.selector.ok_or("has no `selector`")?;
        let text = &selector.identifier;
        let unusable = |error: regex::Error| format!("has a pattern that is none: {}", last_line(&error));
        let pattern = match selector.match_type {
            written::MatchType::Exact => Pattern::exact(text),
            written::MatchType::Regex => Pattern::regex(text).map_err(unusable)?,
            written::MatchType::Wildcard => {
                Pattern::wildcard(text).ok_or("has `**` in its wildcard")?.map_err(unusable)?
            }
        };
        let constraint = |written::Constraint { key, value, condition }| {
            let compared = match condition {
                written::Condition::Equal => Test::Equal(value),
                written::Condition::NotEqual => Test::NotEqual(value),
                written::Condition::Matches => Test::Matches(expression(&value).map_err(unusable)?),
            };
            Ok(Constraint { key, test: compared })
        };
        let constraints = selector.constraints.into_iter().map(constraint).collect::<Result<_, String>>()?;
        let action = match (rule.action, rule.updates) {
            (written::Action::Allow, None) => Action::Allow,
            (written::Action::Deny, None) => Action::Deny,
            (written::Action::Convert, Some(updates)) => {
                Action::Convert { identifier: updates.identifier, attributes: updates.attrs }
            }
            (written::Action::Convert, None) => return Err("converts, and has no `updates`".to_owned()),
            (_, Some(_)) => return Err("has `updates`, and does not convert".to_owned()),
        };
        Ok(Self { action, pattern, constraints })
    }

    fn converted(&self, source: &Source, identifier: &str, attributes: &BTreeMap<String, String>) -> Source {
        let mut converted = source.clone();
        if !identifier.is_empty() {
            let updated = self.pattern.updated(&source.identifier, identifier);
            if !updated.is_empty() {
                converted.identifier = updated;
            }
        }
        converted.attributes.extend(attributes.iter().map(|(key, value)| (key.clone(), value.clone())));
        converted
    }
}

/// The last line of an error of an expression says what is wrong, those before draw it.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Returns what is used in place of `source`, which may be itself.
///
/// Policies are asked in their order. As soon as one changes the source, all are asked again about what it is now.
///
/// # Errors
/// If a policy denies it, or if it is changed more than [`ROUNDS_MAX`] times.
pub fn evaluate(policies: &[Policy], source: &Source) -> Result<Source, Refusal> {
    let mut now = source.clone();
    for round in 0.. {
        let mut changed = None;
        for policy in policies {
            if let Some(rule) = policy.round(&mut now)? {
                changed = Some((policy, rule));
                break;
            }
        }
        let Some((policy, rule)) = changed else { break };
        if round >= ROUNDS_MAX {
            return Err(Refusal::Endless { policy: policy.name.clone(), rule, identifier: source.identifier.clone() });
        }
    }
    Ok(now)
}
