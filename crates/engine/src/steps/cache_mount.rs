//! `RUN --mount=type=cache`: directories of the store that a later step finds again.
//!
//! Which directory it is follows from the id and from what a new one looks like: owner, mode, first content. Whoever
//! shares it or waits for it does so by locks of the store, across processes.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use stave_graph::Sharing;
use stave_oci::TreeDigest;
use stave_sandbox::SandboxError;
use stave_store::{CacheAccess, CacheAnswer, CacheMount, CacheName, Lease};
use stave_tree::{Keep, Naming, Selection, select_with};

use super::mounts::{DATA, Files, Waiting, copy};
use crate::engine::Engine;
use crate::error::EngineError;

/// Between two looks whether a cache is free: at first, and at most.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Time after which somebody is told that a step waits.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// Directories of one private cache that are used at the same time at most.
const INSTANCES_MAX: u32 = 4096;

/// What a new cache directory looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Attributes of a cache of which nothing is said.
const PLAIN: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };

/// A cache that a mount shows.
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) files: Files<'a>,
    pub(crate) path: &'a str,
    pub(crate) sharing: Sharing,
    pub(crate) attributes: Attributes,
}

/// The caches of one command.
#[derive(Default)]
pub(crate) struct Caches<'a> {
    wanted: Vec<(CacheName, Wanted<'a>)>,
}

impl<'a> Caches<'a> {
    /// Notes that a cache is wanted, and returns its number.
    pub(crate) fn want(&mut self, wanted: Wanted<'a>) -> Result<usize, EngineError> {
        self.wanted.push((name(&wanted)?, wanted));
        Ok(self.wanted.len() - 1)
    }

    /// Returns the path inside a cache: what is taken of its first content has been when it was made.
    pub(crate) fn path_inside(&self, index: usize, path: String) -> String {
        let is_seeded = self.wanted.get(index).is_some_and(|(_, wanted)| !matches!(wanted.files, Files::None));
        if is_seeded { String::new() } else { path }
    }

    /// Takes all caches, in the order in which they are wanted; makes those that do not exist yet.
    ///
    /// Those that others may have to be waited for come in the order of their names, so that no two commands wait for
    /// each other. One that a command mounts twice is taken once, unless it is private.
    pub(crate) fn take(
        &self,
        engine: &Engine,
        lease: &Lease,
        waiting: &Waiting<'_>,
    ) -> Result<Vec<Arc<CacheMount>>, EngineError> {
        let mut common: BTreeMap<&CacheName, CacheAccess> = BTreeMap::new();
        for (name, wanted) in &self.wanted {
            let access = match wanted.sharing {
                Sharing::Shared => CacheAccess::Shared,
                Sharing::Locked => CacheAccess::Exclusive,
                Sharing::Private => continue,
            };
            let entry = common.entry(name).or_insert(access);
            *entry = access.max(*entry);
        }
        let mut taken: Vec<Option<Arc<CacheMount>>> = vec![None; self.wanted.len()];
        for (name, access) in common {
            let users = || {
                self.wanted
                    .iter()
                    .enumerate()
                    .filter(|(_, (other, wanted))| other == name && wanted.sharing != Sharing::Private)
            };
            let Some((_, (_, wanted))) = users().next() else { continue };
            let cache = Arc::new(wait(engine, lease, name, access, wanted, waiting)?);
            users().for_each(|(index, _)| taken[index] = Some(cache.clone()));
        }
        for (slot, (name, wanted)) in taken.iter_mut().zip(&self.wanted) {
            if slot.is_none() {
                *slot = Some(Arc::new(private(engine, lease, name, wanted)?));
            }
        }
        Ok(taken.into_iter().flatten().collect())
    }
}

/// Returns the name of a cache: of what tells it from others, so that no text from outside becomes a path.
fn name(wanted: &Wanted<'_>) -> Result<CacheName, EngineError> {
    let mut bytes = Vec::new();
    let mut field = |field: &[u8]| {
        bytes.extend((field.len() as u64).to_le_bytes());
        bytes.extend(field);
    };
    field(wanted.id.as_bytes());
    let Attributes { mode, uid, gid } = wanted.attributes;
    for number in [mode, uid, gid] {
        field(&number.to_le_bytes());
    }
    match &wanted.files {
        Files::None => {}
        Files::Selected(selection) => {
            let selection = selection.borrow();
            let digest = selection.as_ref().map(Selection::digest).transpose();
            let digest = digest.map_err(|source| EngineError::tree("cannot read the context", source))?;
            field(digest.as_ref().map_or(b"", |digest| &digest.as_bytes()[..]));
        }
        Files::Layers(layers) => {
            field(wanted.path.as_bytes());
            layers.iter().for_each(|layer| field(layer.to_string().as_bytes()));
        }
    }
    Ok(CacheName::new(TreeDigest::of(&bytes).as_bytes()))
}

/// Takes a cache that others may have, when they let it go.
fn wait(
    engine: &Engine,
    lease: &Lease,
    name: &CacheName,
    access: CacheAccess,
    wanted: &Wanted<'_>,
    waiting: &Waiting<'_>,
) -> Result<CacheMount, EngineError> {
    let (mut passed, mut told) = (Duration::ZERO, false);
    loop {
        match engine.store.cache_mount(name, access)? {
            CacheAnswer::Held(cache) => return Ok(cache),
            CacheAnswer::Missing => make(engine, lease, name, wanted)?,
            CacheAnswer::Busy => {
                if passed > TOLD_AFTER && !told {
                    told = true;
                    (waiting.note)(&format!("waiting for cache `{}`, which another step uses", wanted.id));
                }
                (waiting.go_on)()?;
                let pause = (passed / 4).clamp(PAUSE, PAUSE_MAX);
                thread::sleep(pause);
                passed += pause;
            }
        }
    }
}

/// Takes the first cache of this name that nobody uses.
fn private(engine: &Engine, lease: &Lease, name: &CacheName, wanted: &Wanted<'_>) -> Result<CacheMount, EngineError> {
    let mut name = name.clone();
    while name.instance < INSTANCES_MAX {
        match engine.store.cache_mount(&name, CacheAccess::Exclusive)? {
            CacheAnswer::Held(cache) => return Ok(cache),
            CacheAnswer::Missing => make(engine, lease, &name, wanted)?,
            CacheAnswer::Busy => name.instance += 1,
        }
    }
    Err(EngineError::request(format!("{INSTANCES_MAX} steps use private caches `{}`", wanted.id), None))
}

/// Makes a cache, unless somebody else has meanwhile.
fn make(engine: &Engine, lease: &Lease, name: &CacheName, wanted: &Wanted<'_>) -> Result<(), EngineError> {
    let work = lease.work_dir()?;
    let data = work.path().join("diff").join(DATA);
    let failed = |source| EngineError::io("make a cache in", engine.store.root(), source);
    match &wanted.files {
        Files::None => std::fs::create_dir(&data).map_err(failed)?,
        Files::Selected(selection) => {
            // Somebody removed it between its making and its use.
            let gone = || EngineError::request(format!("cache `{}` was removed while it was made", wanted.id), None);
            copy(engine, selection.take().ok_or_else(gone)?, &work, None)?;
        }
        Files::Layers(layers) => {
            let keep = Keep { naming: Naming::Path, ..Keep::default() };
            let selection = select_with(&engine.layers(layers)?, &[wanted.path], &keep)
                .map_err(|source| EngineError::tree(format!("cannot fill cache `{}`", wanted.id), source))?;
            copy(engine, selection, &work, None)?;
        }
    }
    if !data.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        let message = format!("`{}`, with which cache `{}` begins, is not a directory", wanted.path, wanted.id);
        return Err(EngineError::request(message, None));
    }
    let Attributes { mode, uid, gid } = wanted.attributes;
    if matches!(wanted.files, Files::None) || wanted.attributes != PLAIN {
        chown(&data, Some(uid), Some(gid)).map_err(|source| match source.kind() {
            std::io::ErrorKind::InvalidInput => {
                SandboxError::UnmappedId { kind: "owner of a cache".to_owned(), id: uid.max(gid) }.into()
            }
            _ => failed(source),
        })?;
        // Nine bits, as in BuildKit.
        std::fs::set_permissions(&data, Permissions::from_mode(mode & 0o777)).map_err(failed)?;
    }
    lease.publish_cache(work, name, wanted.id)?;
    Ok(())
}
