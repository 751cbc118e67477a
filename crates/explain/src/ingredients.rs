//! What the steps of a build were made from, as data that two builds can be compared by.

use serde::{Deserialize, Serialize};

use stave_event::{StepName, Value};

/// Version of these documents. One of another version is no use to anybody.
pub const FORMAT: u32 = 1;

/// Most bytes of a value that are kept as they are. Of a longer one its beginning and its digest are.
pub const VALUE_BYTES_MAX: usize = 512;

/// All steps of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredients {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of cache keys: results of others mean something else.
    pub schema: u32,
    /// The version of stave.
    pub builder: String,
    /// What was built for, in the order as asked.
    pub platforms: Vec<String>,
    /// The stage that was built.
    pub target: String,
    /// The variables that were in force somewhere: ENV and ARG. Steps name theirs by place.
    pub scopes: Vec<Vec<Variable>>,
    /// The steps. What a step reads comes before it.
    pub steps: Vec<Step>,
}

/// A variable that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Known,
    /// Whether it is a build argument; else it is one of `ENV`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub arg: bool,
}

/// A value as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// All of it.
    Text(String),
    /// It is long.
    Long {
        /// How it begins.
        start: String,
        /// Digest of all of it.
        digest: String,
    },
    /// It is a secret's.
    Hidden {
        /// A digest that means something on this machine only; none where it came from another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
}

impl Known {
    /// Returns the value as it may be shown.
    #[must_use]
    pub fn shown(&self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.clone()),
            Self::Long { start, .. } => Value::Text(format!("{start}...")),
            Self::Hidden { .. } => Value::Hidden,
        }
    }

    /// Whether two values are the same; nothing if that cannot be told.
    #[must_use]
    pub fn same(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Hidden { digest: Some(own) }, Self::Hidden { digest: Some(other) }) => Some(own == other),
            (Self::Hidden { .. }, Self::Hidden { .. }) => None,
            (own, other) => Some(own == other),
        }
    }
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which it is.
    pub name: StepName,
    /// The platform of its stage.
    pub platform: String,
    /// Its cache key.
    pub key: String,
    /// Its variables, as a place in [`Ingredients::scopes`].
    pub scope: usize,
    /// What it does, by name. Names that are the same twice are told apart by their place.
    pub fields: Vec<Field>,
    /// What it reads outside the graph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// The results that it reads: the one below it first.
    pub inputs: Vec<Input>,
    /// Whether its variables are part of what it does: those of a command are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub uses_variables: bool,
    /// Whether it has a result.
    #[serde(default, skip_serializing_if = "is_false")]
    pub done: bool,
    /// Whether it has none because it failed when it ran last.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
}

/// One thing that decides what a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The mount that it is of, if it is an option of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// What it is called where it is set.
    pub name: String,
    /// What it is.
    pub value: Known,
    /// Whether it stands in the words of the instruction itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub text: bool,
}

/// What a step reads outside the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// Files of contexts.
    Files {
        /// Digest of what was selected; also the name of the [`Manifest`](crate::Manifest) of it.
        digest: String,
    },
    /// A file or a repository on the network.
    Remote {
        /// Its address, without credentials.
        address: String,
        /// The digest or the commit.
        digest: String,
    },
}

/// A result that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// That of a step of the same build, which is before it.
    Step(usize),
    /// An image.
    Image {
        /// As it is written.
        name: String,
        /// Its digest, for people.
        digest: String,
        /// What its files are: the digest of its layers' digests.
        layers: String,
    },
    /// No files.
    Nothing,
}

impl Input {
    /// Returns the step whose result it is, if it is one's.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        if let Self::Step(place) = self { Some(*place) } else { None }
    }
}

impl Ingredients {
    /// Reads a document; nothing if it is none, or one of another version.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(Self::is_sound)
    }

    /// Writes the document.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("ingredients have only text keys")
    }

    /// Returns the same as another machine may know it: without digests of secrets.
    #[must_use]
    pub fn for_others(&self) -> Self {
        let mut own = self.clone();
        let variables = own.scopes.iter_mut().flatten().map(|variable| &mut variable.value);
        let fields = own.steps.iter_mut().flat_map(|step| &mut step.fields).map(|field| &mut field.value);
        for value in variables.chain(fields) {
            if let Known::Hidden { digest } = value {
                *digest = None;
            }
        }
        own
    }

    /// Whether every place in a list is one that there is, and it is of this version.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.format == FORMAT
            && self.steps.iter().enumerate().all(|(place, step)| {
                let before = |input: &Input| !matches!(input, Input::Step(other) if *other >= place);
                step.scope < self.scopes.len() && step.inputs.iter().all(before)
            })
    }

    /// Returns the variables of a step.
    #[must_use]
    pub fn variables(&self, step: &Step) -> &[Variable] {
        self.scopes.get(step.scope).map_or(&[], Vec::as_slice)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
