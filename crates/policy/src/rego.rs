//! Policies in Rego, the language of the Open Policy Agent: the rule `decision` of the package `docker` says of each
//! source whether it may be used.
//!
//! Reference: <https://www.openpolicyagent.org/docs/policy-language>; the names of the rule, its package, its input and
//! its functions are those of buildx's policies.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use stave_oci::BlobDigest;

use crate::functions::{self, Seen};
use crate::input::{Input, Kind};
use crate::words::Words;

/// Reads a file that a policy names, relative to the policy's directory. It must lead nowhere else.
pub type ReadFile = Arc<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;

/// How long one decision may take. Rego always ends, but not always soon.
const DECISION_TIME_MAX: Duration = Duration::from_secs(10);

/// How many operations of the evaluator lie between two looks at the clock.
const TIME_CHECK_EVERY: NonZeroU32 = NonZeroU32::new(1000).expect("it is not zero");

/// How many files one policy may import, with what these import.
const IMPORTS_MAX: usize = 64;

/// The rule that is asked.
const DECISION: &str = "data.docker.decision";

/// What buildx knows of sources and stave does not, by the kind of source.
const UNKNOWN: &[(Kind, &[&str])] = &[(Kind::Image, &["isDHI"]), (Kind::Http, &["signature", "attestationBundle"])];

/// What is said of who signed an image.
const SIGNERS: &[&str] = &["signatures", "attestations"];

/// What only the commit of a repository and its tag say themselves.
const OBJECTS: &[&str] = &["commit", "isAnnotatedTag", "pgpSignature", "sshSignature", "tag"];

/// What only the source itself tells, by the kind of source.
const DETAILS: &[(Kind, &[&str])] = &[
    (Kind::Image, &["checksum", "createdTime", "env", "labels", "user", "volumes", "workingDir"]),
    (Kind::Http, &["checksum"]),
    (Kind::Git, &["checksum", "commitChecksum", "isSHA256"]),
];

/// What is said of how an image was built.
const PROVENANCE: &[&str] = &["hasProvenance", "provenance"];

/// A policy in Rego, with the files that it imports.
#[derive(Clone)]
pub struct RegoPolicy {
    /// What the user calls it.
    name: String,
    /// The package of its own file, as `data.docker`.
    package: String,
    engine: Engine,
    words: Words,
    read: ReadFile,
}

/// What a policy says of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be used.
    pub allow: bool,
    /// Why not, in the policy's own words.
    pub messages: Vec<String>,
    /// The digest that the image has to have, if the policy pins it.
    pub pin: Option<BlobDigest>,
    /// What it printed.
    pub printed: Vec<String>,
}

/// A rule `test_...` of a policy's tests, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// Whether it is true.
    pub passed: bool,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// What it printed.
    pub printed: Vec<String>,
}

/// Why a policy in Rego cannot be used, or does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegoError {
    /// The text is no Rego.
    #[error("the policy `{file}` is not valid Rego: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// An imported file cannot be read.
    #[error("the policy `{file}` imports `data.{path}`, and `{wanted}` cannot be read: {problem}")]
    Import {
        /// The file that imports it.
        file: String,
        /// What is imported.
        path: String,
        /// The file that should have it.
        wanted: String,
        /// What is wrong.
        problem: String,
    },
    /// An imported file is another package.
    #[error("`{wanted}` has the package `{found}`, expected `{path}`")]
    Package {
        /// The file.
        wanted: String,
        /// What it says that it is.
        found: String,
        /// As what it is imported.
        path: String,
    },
    /// It imports too much.
    #[error("the policy `{file}` imports more than {IMPORTS_MAX} files")]
    TooMany {
        /// The policy.
        file: String,
    },
    /// It asks for something that is not known here.
    #[error("line {line} of the policy `{policy}` asks for `{field}` of {kind}, which stave does not verify")]
    Unknown {
        /// The policy.
        policy: String,
        /// Where, counted from 1.
        line: usize,
        /// For what.
        field: String,
        /// Of which kind of source.
        kind: &'static str,
    },
    /// It asks who signed an image, and nobody is trusted to say that.
    #[error(
        "line {line} of the policy `{policy}` asks for `{field}` of an image, and no `trusted-root` is named to verify them \
         with"
    )]
    Untrusted {
        /// The policy.
        policy: String,
        /// Where, counted from 1.
        line: usize,
        /// For what.
        field: String,
    },
    /// It could not be evaluated.
    #[error("the policy `{policy}` cannot be evaluated: {problem}")]
    Evaluation {
        /// The policy.
        policy: String,
        /// What is wrong.
        problem: String,
    },
    /// The rule `decision` is not there, or not what it has to be.
    #[error("the policy `{policy}` {problem}")]
    NoDecision {
        /// The policy.
        policy: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Debug for RegoPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RegoPolicy")
            .field("name", &self.name)
            .field("package", &self.package)
            .finish_non_exhaustive()
    }
}

impl RegoPolicy {
    /// Reads a policy that the user calls `name`, and the files that it imports: `import data.a.b` is `a/b.rego`.
    ///
    /// # Errors
    /// If one of them is no Rego, or cannot be read.
    pub fn parse(name: &str, text: &str, read: &ReadFile) -> Result<Self, RegoError> {
        Self::limited(name, text, read, DECISION_TIME_MAX)
    }

    fn limited(name: &str, text: &str, read: &ReadFile, limit: Duration) -> Result<Self, RegoError> {
        let mut engine = Engine::new();
        engine.set_gather_prints(true);
        engine.set_strict_builtin_errors(true);
        engine.set_execution_timer_config(ExecutionTimerConfig { limit, check_interval: TIME_CHECK_EVERY });
        let package = add(&mut engine, name, text)?;
        let mut policy =
            Self { name: name.to_owned(), package, engine, words: Words::of(text), read: Arc::clone(read) };
        let mut open: Vec<(String, String)> =
            policy.words.imports().iter().map(|path| (name.to_owned(), path.clone())).collect();
        let mut known = Vec::new();
        while let Some((file, path)) = open.pop() {
            if format!("data.{path}") == policy.package || known.contains(&path) {
                continue;
            }
            if known.len() == IMPORTS_MAX {
                return Err(RegoError::TooMany { file: name.to_owned() });
            }
            let (wanted, words) = policy.import(&file, &path)?;
            open.extend(words.imports().iter().map(|path| (wanted.clone(), path.clone())));
            policy.words.extend(words);
            known.push(path);
        }
        Ok(policy)
    }

    /// Adds a file that `file` imports as `data.path`.
    fn import(&mut self, file: &str, path: &str) -> Result<(String, Words), RegoError> {
        let wanted = format!("{}.rego", path.replace('.', "/"));
        let bytes = (self.read)(&wanted).and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
        let text = bytes.map_err(|problem| RegoError::Import {
            file: file.to_owned(),
            path: path.to_owned(),
            wanted: wanted.clone(),
            problem,
        })?;
        let package = add(&mut self.engine, &wanted, &text)?;
        let found = package.trim_start_matches("data.").to_owned();
        if found != path {
            return Err(RegoError::Package { wanted, found, path: path.to_owned() });
        }
        Ok((wanted, Words::of(&text)))
    }

    /// What the user calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may ask for something of this source that `input` does not have yet, and that the source itself tells.
    #[must_use]
    pub fn wants_details(&self, input: &Input) -> bool {
        let wants = !input.is_complete() && self.words.line_of_any(of_kind(DETAILS, input.kind())).is_some();
        wants
            || self.wants_provenance(input)
            || self.wants_signatures(input)
            || self.wants_git_objects(input)
            || self.wants_content(input)
    }

    /// Whether it may ask who signed an image, and `input` does not have what was found beside it yet.
    #[must_use]
    pub fn wants_signatures(&self, input: &Input) -> bool {
        input.lacks_signatures() && (self.words.calls(functions::VERIFY_IMAGE) || self.asks_for_signers().is_some())
    }

    /// Returns the first word that asks who signed an image, and its line.
    fn asks_for_signers(&self) -> Option<(&str, usize)> {
        let field = self.words.line_of_any(SIGNERS);
        field.or_else(|| self.words.line_of_call(functions::BUILDERS))
    }

    /// Whether it verifies what is in a file, and `input` does not have it yet.
    #[must_use]
    pub fn wants_content(&self, input: &Input) -> bool {
        input.lacks_content() && self.words.calls(functions::VERIFY_FILE)
    }

    /// Whether it may ask what the commit of a repository or its tag says, and `input` does not have them yet.
    #[must_use]
    pub fn wants_git_objects(&self, input: &Input) -> bool {
        input.lacks_objects() && self.words.line_of_any_not_of("image", OBJECTS).is_some()
    }

    /// Whether it may ask how an image was built, and `input` does not say it yet.
    #[must_use]
    pub fn wants_provenance(&self, input: &Input) -> bool {
        let asks = || self.words.line_of_any(PROVENANCE).or_else(|| self.words.line_of_call(functions::BUILDERS));
        input.lacks_provenance() && asks().is_some()
    }

    /// Asks whether a source may be used.
    ///
    /// # Errors
    /// If the policy asks for what is not known here, cannot be evaluated, or has no rule `decision`.
    pub fn decide(&self, input: &Input) -> Result<Decision, RegoError> {
        let kind = input.kind();
        if let Some((field, line)) = self.words.line_of_any(of_kind(UNKNOWN, kind)) {
            let kind = match kind {
                Kind::Image => "an image",
                Kind::Http => "a file",
                Kind::Git | Kind::Local => "a repository",
            };
            return Err(RegoError::Unknown { policy: self.name.clone(), line, field: field.to_owned(), kind });
        }
        if let Some((field, line)) = self.asks_for_signers().filter(|_| input.lacks_signers()) {
            return Err(RegoError::Untrusted { policy: self.name.clone(), line, field: field.to_owned() });
        }
        let (mut engine, seen) = self.ready(input)?;
        if self.package != "data.docker" {
            return Err(self.undecided(format!("has the package `{}`, expected `docker`", self.package_name())));
        }
        let value = engine.eval_rule(DECISION.to_owned()).map_err(|error| self.unevaluated(&error))?;
        let mut printed = engine.take_prints().unwrap_or_default();
        printed.extend(seen.notes());
        printed.extend(input.evidence().notes.iter().cloned());
        let Ok(decision) = value.as_object() else {
            return Err(self.undecided("has no `decision` for this source, expected an object with `allow`".to_owned()));
        };
        let allow = match decision.get(&Value::from("allow")) {
            Some(Value::Bool(allow)) => *allow,
            None | Some(Value::Undefined) => false,
            Some(other) => return Err(self.undecided(format!("has `allow: {other}`, expected true or false"))),
        };
        let messages = decision.get(&Value::from("deny_msg")).map(texts).unwrap_or_default();
        let pin = match seen.pins().as_slice() {
            pins if !allow || pins.is_empty() => None,
            pins if pins.iter().all(|pin| *pin == pins[0]) => Some(pins[0]),
            _ => return Err(self.undecided("pins an image to several digests".to_owned())),
        };
        Ok(Decision { allow, messages, pin, printed })
    }

    /// Evaluates the rules `test_...` of a file of tests whose names contain `wanted`, in their order.
    ///
    /// # Errors
    /// If the file is no Rego.
    pub fn test(&self, name: &str, text: &str, wanted: &str) -> Result<Vec<TestOutcome>, RegoError> {
        let (mut engine, _) = self.ready(&Input::default())?;
        let package = add(&mut engine, name, text)?;
        let tests = Words::of(text).tests();
        let outcome = |test: String| {
            let result = engine.eval_rule(format!("{package}.{test}"));
            let printed = engine.take_prints().unwrap_or_default();
            let (passed, error) = match result {
                Ok(value) => (value == Value::Bool(true), None),
                Err(error) => (false, Some(said(&error))),
            };
            TestOutcome { name: test, passed, error, printed }
        };
        Ok(tests.into_iter().filter(|test| test.contains(wanted)).map(outcome).collect())
    }

    /// Returns an evaluator with all functions and this input, and where they put what they saw.
    fn ready(&self, input: &Input) -> Result<(Engine, Seen), RegoError> {
        let mut engine = self.engine.clone();
        let seen = Seen::default();
        functions::add(&mut engine, &self.read, input, &seen).map_err(|error| self.unevaluated(&error))?;
        let json = input.json().to_string();
        engine.set_input(Value::from_json_str(&json).map_err(|error| self.unevaluated(&error))?);
        Ok((engine, seen))
    }

    fn package_name(&self) -> &str {
        self.package.trim_start_matches("data.")
    }

    fn unevaluated(&self, error: &anyhow::Error) -> RegoError {
        RegoError::Evaluation { policy: self.name.clone(), problem: said(error) }
    }

    fn undecided(&self, problem: String) -> RegoError {
        RegoError::NoDecision { policy: self.name.clone(), problem }
    }
}

fn of_kind<'a>(table: &[(Kind, &'a [&'a str])], kind: Kind) -> &'a [&'a str] {
    table.iter().find(|(of, _)| *of == kind).map_or(&[], |(_, words)| words)
}

fn add(engine: &mut Engine, file: &str, text: &str) -> Result<String, RegoError> {
    let added = engine.add_policy(file.to_owned(), text.to_owned());
    added.map_err(|error| RegoError::Syntax { file: file.to_owned(), problem: said(&error) })
}

/// The last line of what the evaluator says is what is wrong; those before draw the place, the first of them names it.
fn said(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let place = lines.clone().find_map(|line| line.strip_prefix("--> "));
    let last = lines.next_back().unwrap_or_default().trim_start_matches("error: ").to_owned();
    match place {
        Some(place) if !last.contains(place) => format!("{last} ({place})"),
        _ => last,
    }
}

fn texts(value: &Value) -> Vec<String> {
    let all: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Set(all) => all.iter().collect(),
        one => vec![one],
    };
    all.into_iter().filter_map(|value| value.as_string().ok().map(ToString::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rego always ends, but not always soon.
    #[test]
    fn a_policy_that_takes_too_long_is_an_error() {
        let text = "package docker\nn := numbers.range(1, 3000)\n\
                    decision := {\"allow\": count([1 | some a in n; some b in n; some c in n; a + b == c]) > 0}\n";
        let read: ReadFile = Arc::new(|_| Err("there are no files".to_owned()));
        let policy = RegoPolicy::limited("p.rego", text, &read, Duration::from_millis(50)).expect("a policy");
        let error = policy.decide(&Input::local("context")).expect_err("it takes hours");
        assert!(matches!(error, RegoError::Evaluation { .. }), "{error}");
        assert!(error.to_string().contains("time"), "{error}");
    }
}
