//! Turns a root file system's tar, however large, into an OCI layout with one uncompressed layer.

use crate::failure::{At, Failure, Result};
use crate::run;
use stave_oci::{BlobDigest, Descriptor, DiffId, RunConfig, media_type};
use stave_testkit::Image;
use stave_testkit::image::{Blob, Source};
use std::path::Path;
use std::process::Command;

/// Writes the layout into `dir`. The registry's client compresses the layer when it pushes it.
pub(super) fn write(tar: &Path, (config, architecture): (RunConfig, Option<&str>), name: &str, dir: &Path) -> Result {
    let size = tar.metadata().at("read", tar)?.len();
    let summed = run::capture(Command::new("sha256sum").arg(tar))?;
    let hex = summed.split_whitespace().next().unwrap_or_default();
    let digest = BlobDigest::from_hex(hex).ok_or_else(|| Failure::new(format!("sha256sum printed `{hex}`")))?;
    let descriptor = Descriptor::new(media_type::OCI_LAYER, digest, size);
    let mut image = Image::new();
    image.config.config = config;
    if let Some(architecture) = architecture {
        architecture.clone_into(&mut image.config.architecture);
    }
    let diff_id = DiffId::from(*digest.as_bytes());
    image.layer_blob(diff_id, Blob { descriptor, source: Source::File(tar.to_owned()) });
    image.write_layout(dir, name).at("write", dir)
}
