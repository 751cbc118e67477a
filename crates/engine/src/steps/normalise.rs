//! The end of a step: its layer becomes one that an image can be made of on any day.

use stave_store::{LayerId, WorkDir};
use stave_tree::{Dir, Layers, PathError, Time, normalise_bytecode, normalise_layer};

use crate::engine::Engine;
use crate::error::EngineError;

/// A layer that a step is about to write.
pub(crate) struct Fresh {
    directory: Dir,
    /// Its time while it is empty, by the clock of its file system: what the step makes is not older.
    since: Time,
}

impl Fresh {
    /// Opens the layer's directory, in which nothing is yet.
    pub(crate) fn open(engine: &Engine, work: &WorkDir) -> Result<Self, EngineError> {
        let directory = engine.store_dir(&work.diff_rel_path())?;
        let since = directory.own_metadata().map_err(unfinished)?.modified;
        Ok(Self { directory, since })
    }

    /// Marks what the step made on `parent`, and makes its bytecode independent of times.
    pub(crate) fn finish(self, engine: &Engine, parent: &[LayerId]) -> Result<(), EngineError> {
        let found = normalise_layer(&self.directory, self.since).map_err(unfinished)?;
        bytecode(engine, &self.directory, &found.bytecode, parent)
    }
}

/// Makes bytecode of a layer on `parent` independent of the times of its sources.
pub(crate) fn bytecode(engine: &Engine, layer: &Dir, paths: &[Vec<u8>], parent: &[LayerId]) -> Result<(), EngineError> {
    if paths.is_empty() {
        return Ok(());
    }
    let mut layers = engine.open_layers(parent)?;
    layers.push(layer.try_clone().map_err(unfinished)?);
    normalise_bytecode(layer, paths, &Layers::new(layers, engine.format())).map_err(unfinished)?;
    Ok(())
}

fn unfinished(source: PathError) -> EngineError {
    EngineError::tree("cannot finish the layer of a step", source)
}
