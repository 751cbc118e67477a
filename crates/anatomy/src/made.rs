//! Who made the layers: what the events of a build say about them.

use serde::{Deserialize, Serialize};
use stave_event::{BuiltImage, StepId, StepLine};

use crate::tree::Anatomy;

/// Who made a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Made {
    /// It is one of the base image's.
    Base {
        /// The image, as the Dockerfile names it, if a step of the build says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
    },
    /// A step made it.
    Step {
        /// Which.
        step: StepId,
        /// The stage of the step.
        stage: String,
        /// The instruction on one line.
        title: String,
        /// Where the files of a `COPY` or an `ADD` came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Source>,
    },
    /// It was made of what several steps made.
    Several,
}

/// Where copied files came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A stage of the same Dockerfile.
    Stage {
        /// Its name, or `stage-N` for one without a name.
        name: String,
    },
    /// An image.
    Image {
        /// As the Dockerfile names it.
        name: String,
    },
    /// The build context, or one with a name.
    Context {
        /// The name, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// An address on the network.
    Address {
        /// As the Dockerfile has it.
        address: String,
    },
}

impl Made {
    /// Returns that a step made a layer. Where copied files came from is found among `steps`, those of the build.
    #[must_use]
    pub fn of_step(step: &StepLine, steps: &[StepLine]) -> Self {
        Self::Step { step: step.step, stage: step.stage.clone(), title: step.title.clone(), from: source(step, steps) }
    }
}

impl Anatomy {
    /// Takes note of who made the layers in a build that ended with `image`. A layer that this image does not have at the
    /// same place stays as it was.
    pub fn made_by(&mut self, image: &BuiltImage, steps: &[StepLine]) {
        for (layer, line) in self.layers.iter_mut().zip(&image.layers) {
            if layer.diff_id != line.diff_id {
                continue;
            }
            layer.made = Some(match line.step.and_then(|step| steps.get(step.0 as usize)) {
                _ if line.of_base => Made::Base { image: base_name(image, steps) },
                Some(step) => Made::of_step(step, steps),
                None => Made::Several,
            });
        }
    }
}

/// Returns the name of the image that the first step above the base's layers starts from.
fn base_name(image: &BuiltImage, steps: &[StepLine]) -> Option<String> {
    let first = image.layers.iter().find_map(|layer| layer.step)?;
    let mut step = steps.get(first.0 as usize)?;
    // Each of them is above another one, unless the events contradict themselves.
    for _ in 0..steps.len() {
        if let Some(name) = step.bases.first().filter(|_| !is_copy(step)) {
            return Some(name.clone());
        }
        if word(step, 0).eq_ignore_ascii_case("FROM") {
            return step.title.split_whitespace().skip(1).find(|word| !word.starts_with("--")).map(str::to_owned);
        }
        step = steps.get(step.inputs.first()?.0 as usize)?;
    }
    None
}

fn word(step: &StepLine, place: usize) -> &str {
    step.title.split_whitespace().nth(place).unwrap_or_default()
}

fn is_copy(step: &StepLine) -> bool {
    ["COPY", "ADD"].iter().any(|name| word(step, 0).eq_ignore_ascii_case(name))
}

/// Returns where the files of a step that copies came from.
fn source(step: &StepLine, steps: &[StepLine]) -> Option<Source> {
    if !is_copy(step) {
        return None;
    }
    let mut words = step.title.split_whitespace().skip(1);
    let flags = words.clone().take_while(|word| word.starts_with("--"));
    let Some(from) = flags.clone().find_map(|flag| flag.strip_prefix("--from=")) else {
        let first = words.nth(flags.count()).unwrap_or_default();
        let is_address =
            ["http://", "https://", "git@", "ssh://", "git://"].iter().any(|start| first.starts_with(start));
        return Some(if is_address {
            Source::Address { address: first.to_owned() }
        } else {
            Source::Context { name: None }
        });
    };
    let from = from.trim_matches(['"', '\'']);
    let named = steps.iter().find(|other| other.stage.eq_ignore_ascii_case(from)).map(|other| &other.stage);
    // Its parent is the first that it reads; a stage by number, or one with a variable in its name, is the last.
    let read = step.inputs.last().and_then(|input| steps.get(input.0 as usize));
    let is_number = !from.is_empty() && from.bytes().all(|byte| byte.is_ascii_digit());
    let read_stage = read.filter(|_| is_number || from.contains('$')).map(|step| &step.stage);
    Some(match named.or(read_stage) {
        Some(name) => Source::Stage { name: name.clone() },
        None if !step.bases.is_empty() || read.is_some_and(|read| word(read, 0).eq_ignore_ascii_case("FROM")) => {
            Source::Image { name: from.to_owned() }
        }
        None => Source::Context { name: Some(from.to_owned()) },
    })
}
