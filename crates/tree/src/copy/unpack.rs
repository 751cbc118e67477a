//! `ADD` of an archive: unpacking it instead of copying it.

use std::io::{Read, Seek as _, SeekFrom};

use super::{Copier, CopyError};
use crate::dir::shown;
use crate::select::{Selection, Source};
use crate::unpack::{BLOCK_BYTES, UnpackError, decompress, extract_onto, is_tar_header};

impl Copier<'_> {
    /// Unpacks the source into the directory `dest` if it is an archive; says no, and does nothing, if it is not.
    pub(super) fn unpack(&self, selection: &Selection, source: &Source, dest: &[u8]) -> Result<bool, CopyError> {
        let mut file = selection.root.open_file(&source.path)?;
        if !is_archive(&file) {
            return Ok(false);
        }
        let failed = |error: UnpackError| CopyError::Unpack { path: shown(&source.path), source: error };
        file.seek(SeekFrom::Start(0)).map_err(|error| failed(UnpackError::Read(error)))?;
        self.places.ensure(dest, self.made())?;
        let archive = decompress(&file).map_err(failed)?;
        let (below, owner) = (self.request.parent, self.request.owner);
        let applied = extract_onto(archive, self.into, below, dest, owner).map_err(failed)?;
        let after = rustix::fs::fstat(&file).map_err(|error| failed(UnpackError::Read(error.into())))?;
        if !crate::dir::Metadata::from_stat(&after).is_unchanged_since(&source.node.metadata) {
            return Err(CopyError::Changed(shown(&source.path)));
        }
        self.count(&applied);
        Ok(true)
    }
}

/// Tells whether the file is a tar archive, compressed or not.
fn is_archive(file: &std::fs::File) -> bool {
    let mut block = [0; BLOCK_BYTES];
    match decompress(file) {
        Ok(mut bytes) => bytes.read_exact(&mut block).is_ok() && is_tar_header(&block),
        Err(_) => false,
    }
}
