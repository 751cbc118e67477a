//! A file system of the step's own that is full: a mount in memory, or `/dev/shm`.

use stave_graph::{Exec, MountKind};

use super::access::{candidates, is_below};
use super::view::mount_of;
use crate::steps::exec::SHM_BYTES;

/// Where every step has a file system in memory for what its processes share.
const SHM: &str = "/dev/shm";

/// A file system of a step's own that is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Where it is.
    pub target: String,
    /// How many bytes it holds, if that was said.
    pub bytes: Option<u64>,
    /// Whether it is what all steps have for memory that processes share.
    pub is_shm: bool,
    /// Whether the command's words do not say that it was this one.
    pub is_guess: bool,
}

/// Returns the first of them that a word is a path in; where a complaint names no path, one that the command names.
pub(super) fn find(exec: &Exec, words: &[String]) -> Option<Full> {
    let found = words.iter().flat_map(|word| candidates(exec, word)).find_map(|path| match mount_of(exec, &path) {
        Some((_, mount)) => match mount.kind {
            MountKind::Tmpfs { bytes } => {
                Some(Full { target: mount.target.clone(), bytes, is_shm: false, is_guess: false })
            }
            _ => None,
        },
        None => is_below(&path, SHM).then(|| Full {
            target: SHM.to_owned(),
            bytes: Some(exec.shm_bytes.unwrap_or(SHM_BYTES)),
            is_shm: true,
            is_guess: false,
        }),
    });
    if found.is_some() || words.iter().any(|word| word.starts_with('/')) {
        return found;
    }
    let is_named = |target: &str| exec.args.iter().any(|text| text.contains(target));
    exec.mounts.iter().find_map(|mount| match mount.kind {
        MountKind::Tmpfs { bytes } if is_named(&mount.target) => {
            Some(Full { target: mount.target.clone(), bytes, is_shm: false, is_guess: true })
        }
        _ => None,
    })
}
