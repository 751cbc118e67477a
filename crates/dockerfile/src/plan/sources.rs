//! What each stage of a file reads, for who draws it.

use std::collections::BTreeMap;

use stave_graph::remote::redacted;

use super::stages::{self, Place, Stages};
use super::{PlanOptions, globals, variables};
use crate::ast::Dockerfile;
use crate::diagnostic::Diagnostic;

/// A stage, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSources {
    /// Its number in the file.
    pub index: usize,
    /// Its name, or `stage-N` for one without a name.
    pub name: String,
    /// How many instructions it has, with its `FROM`.
    pub instructions: usize,
    /// Whether it is what is built.
    pub is_target: bool,
    /// What it starts from, first, and what it copies or mounts, each once.
    pub sources: Vec<StageSource>,
}

/// Something that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSource {
    /// What it is.
    pub place: SourcePlace,
    /// Whether the stage starts from it.
    pub is_base: bool,
}

/// What a stage reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourcePlace {
    /// A stage of the file, by its number.
    Stage(usize),
    /// An image, an address, or files that the caller gave a name.
    Other(String),
}

/// Lists what the stages that a target needs read, or all stages where no target is asked for.
///
/// # Errors
/// What is wrong with the names of the file's stages, or with the target.
pub fn stage_sources(file: &Dockerfile, options: &PlanOptions) -> Result<Vec<StageSources>, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    if file.stages.is_empty() {
        return Err(mistakes);
    }
    let predefined = variables::predefined(file, options);
    let globals = globals(file, options, predefined, &mut mistakes);
    let Some(bases) = stages::bases(file, options, &globals, &mut mistakes) else { return Err(mistakes) };
    let stages = stages::resolve(file, bases, options, &mut mistakes);
    if mistakes.iter().any(Diagnostic::is_error) {
        return Err(mistakes);
    }
    let mut froms: BTreeMap<usize, Vec<&Place>> = BTreeMap::new();
    for (&(stage, ..), place) in &stages.froms {
        froms.entry(stage).or_default().push(place);
    }
    let wanted = |index: &usize| options.target.is_none() || stages.needed.contains(index);
    let listed = (0..file.stages.len()).filter(wanted);
    Ok(listed.map(|index| listing(file, &stages, index, froms.get(&index).map_or(&[], Vec::as_slice))).collect())
}

fn listing(file: &Dockerfile, stages: &Stages, index: usize, froms: &[&Place]) -> StageSources {
    let base = stages.bases[index].as_ref().and_then(|base| source_place(&base.place));
    let base = base.map(|place| StageSource { place, is_base: true });
    let mut sources: Vec<StageSource> = base.into_iter().collect();
    for place in froms.iter().filter_map(|place| source_place(place)) {
        if sources.iter().all(|known| known.place != place) {
            sources.push(StageSource { place, is_base: false });
        }
    }
    let name = stages::label(file, index).name.unwrap_or_else(|| format!("stage-{index}"));
    let instructions = file.stages[index].instructions.len() + 1;
    StageSources { index, name, instructions, is_target: stages.target == Some(index), sources }
}

fn source_place(place: &Place) -> Option<SourcePlace> {
    Some(match place {
        Place::Scratch => return None,
        Place::Stage(stage) => SourcePlace::Stage(*stage),
        Place::Image(name) => SourcePlace::Other(name.clone()),
        Place::Http(address) => SourcePlace::Other(redacted(address)),
        Place::Git(source) => SourcePlace::Other(redacted(&source.url)),
        Place::Local(_) => SourcePlace::Other("a directory of the caller".to_owned()),
    })
}
