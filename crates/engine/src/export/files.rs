//! The merged files of an image, as a tar or as files of a directory.

use std::io::Write;
use std::path::Path;

use stave_store::LayerId;
use stave_tree::Times;
use stave_tree::pack::pack_tree;

use crate::copy_files;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;

/// Writes the merged files of `layers` as a tar.
pub(super) fn rootfs(
    engine: &Engine,
    layers: &[LayerId],
    times: Times,
    out: &mut dyn Write,
) -> Result<(), EngineError> {
    let view = engine.view(layers)?;
    pack_tree(&view, b"", b"", times, out).map_err(|source| EngineError::tree("cannot write the files", source))?;
    Ok(())
}

/// Copies the merged files of `layers` into a directory of the user, which is made if it is missing.
pub(super) fn local(engine: &Engine, layers: &[LayerId], times: Times, path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|source| EngineError::io("create", path, source))?;
    let (view, into) = (engine.view(layers)?, open_user_dir(path)?);
    copy_files::copy_contents(engine, &view, times, &into)
}
