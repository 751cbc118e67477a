//! The mounts of a `RUN`: what the graph names becomes what the sandbox shows, and what of it must be kept meanwhile.
//!
//! Reference: the Dockerfile reference, "RUN --mount".

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use stave_graph::{Exec, MountFlag, MountKind, MountSource};
use stave_sandbox::{Denied, MountSource as Shown, SandboxError, Scratch, Secret, StepMount};
use stave_store::{CacheMount, LayerId, Lease, WorkDir};
use stave_tree::{CopyRequest, Keep, Selection, copy_into, select_with};

use super::cache_mount::{self, Caches, Wanted};
use super::ssh::Agent;
use super::{Sources, secret};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::outside::keep_of_mount;
use crate::request::Grants;
use crate::snapshot::stacked;
use crate::veil::Hidden;

/// Name of what is mounted, in the directory that was made for it.
pub(crate) const DATA: &str = "data";
/// The variable that names the socket of an SSH agent.
const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";

/// All that a command's mounts need while it runs.
#[derive(Default)]
pub(crate) struct Mounts {
    /// For the sandbox, what is below another one after it.
    pub(crate) shown: Vec<StepMount>,
    /// Variables with secrets, and the one that names the SSH agent's socket.
    pub(crate) env: Vec<(String, String)>,
    /// Secrets, which the command's output must not show.
    pub(crate) hidden: Hidden,
    /// Who answers at the sockets, in the order of the mounts.
    pub(crate) agents: Vec<Agent>,
    /// Where the files of mounts come from, and the directories that were made for them.
    sources: Vec<Source>,
    /// Caches that are in use.
    caches: Vec<Arc<CacheMount>>,
    /// The mounts that show them: the mount's number, the cache's, and the path in it.
    shown_caches: Vec<(usize, usize, String)>,
}

/// The files that a mount shows.
struct Source {
    /// The mount's number.
    mount: usize,
    /// The snapshot that they are of.
    layers: Vec<LayerId>,
    /// What of it is shown.
    path: String,
    /// A copy of what is shown, or a place for what is written and thrown away.
    own: Option<WorkDir>,
}

/// What a mount of a command that failed showed in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftMount {
    /// Its number among the command's mounts.
    pub(crate) mount: usize,
    /// The snapshot that it shows.
    pub(crate) layers: Vec<LayerId>,
    /// What of it.
    pub(crate) path: String,
}

/// A cache that a command which failed has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftCache {
    /// The mount's number among the command's.
    pub(crate) mount: usize,
    /// The cache's name in the store.
    pub(crate) name: String,
    /// What of it is shown.
    pub(crate) path: String,
}

impl Mounts {
    /// Puts everything into the order in which it is mounted.
    fn show(
        &mut self,
        exec: &Exec,
        mut prepared: Vec<(usize, &str, Prepared)>,
        caches: &Caches<'_>,
    ) -> Result<(), EngineError> {
        // As BuildKit does: by target, so that what is inside another mount is on top of it.
        prepared.sort_by(|(_, one, _), (_, other, _)| in_order(one, other));
        for (mount, target, prepared) in prepared {
            let source = match prepared {
                Prepared::Shown(shown) => shown,
                Prepared::Agent(agent, shown) => {
                    self.agents.push(agent);
                    shown
                }
                Prepared::Cache { index, path, writable } => {
                    let path = caches.path_inside(index, path);
                    self.shown_caches.push((mount, index, path.clone()));
                    let directory = self.caches.get(index).map(|cache| cache.rel_path());
                    Shown::Directory { directory: directory.ok_or_else(|| unread(target))?, path, writable }
                }
            };
            let flags = &exec.mounts[mount].flags;
            let (denied, link) = (denied(flags), flags.contains(&MountFlag::NoDereference));
            self.shown.push(StepMount { target: target.to_owned(), source, denied, link });
        }
        Ok(())
    }

    /// Keeps what the mounts need until after the command.
    pub(crate) fn end(self) {
        drop((self.sources, self.caches));
    }

    /// The same for a command that failed: what it saw, and what it wrote to be thrown away, become layers.
    pub(crate) fn leave(self, lease: &Lease) -> Result<(Vec<LeftMount>, Vec<LeftCache>), EngineError> {
        let mut left = Vec::new();
        for Source { mount, mut layers, path, own } in self.sources {
            if let Some(own) = own {
                layers.push(lease.publish_layer(own, None)?);
            }
            left.push(LeftMount { mount, layers, path });
        }
        let caches = &self.caches;
        let cache = |(mount, index, path): (usize, usize, String)| {
            caches.get(index).map(|cache| LeftCache { mount, name: cache.name().to_owned(), path })
        };
        Ok((left, self.shown_caches.into_iter().filter_map(cache).collect()))
    }
}

/// What the flags of a mount deny.
fn denied(flags: &BTreeSet<MountFlag>) -> Denied {
    Denied { set_id: flags.contains(&MountFlag::NoSuid), programs: flags.contains(&MountFlag::NoExec) }
}

/// The order of two mounts: what is inside another one comes after it.
pub(crate) fn in_order(one: &str, other: &str) -> std::cmp::Ordering {
    one.split('/').cmp(other.split('/'))
}

/// What waiting for a cache asks and tells.
pub(crate) struct Waiting<'a> {
    /// Fails if the command need not run any more.
    pub(crate) go_on: &'a dyn Fn() -> Result<(), EngineError>,
    /// Is told what is waited for.
    pub(crate) note: &'a dyn Fn(&str),
}

/// Prepares the mounts of `exec`, which runs on `parent`: copies what is shown of contexts, waits for caches, reads secrets.
pub(crate) fn prepare(
    engine: &Engine,
    lease: &Lease,
    (exec, parent): (&Exec, &[LayerId]),
    sources: Sources<'_>,
    grants: &Grants,
    waiting: &Waiting<'_>,
) -> Result<Mounts, EngineError> {
    let mut mounts = Mounts::default();
    let mut caches = Caches::default();
    let mut contexts = sources.contexts.into_iter();
    let mut trees = sources.trees.into_iter();
    let mut sorted: Vec<(usize, &str, Prepared)> = Vec::new();
    for (number, mount) in exec.mounts.iter().enumerate() {
        let mut files = |source: MountSource| match source {
            MountSource::Empty => Ok(Files::None),
            MountSource::Context(_) => {
                let selection = contexts.next().ok_or_else(|| unread(&mount.target))?;
                Ok(Files::Selected(RefCell::new(Some(selection))))
            }
            MountSource::Tree(_) => trees.next().map(Files::Layers).ok_or_else(|| unread(&mount.target)),
        };
        let prepared = match &mount.kind {
            MountKind::Bind { source, path, writable } => {
                let owner = owner_of(engine, (exec, parent), &mount.flags)?;
                let (keep, as_whom) = (keep_of_mount(mount), (*writable, owner));
                let (shown, source) = bind(engine, lease, &files(*source)?, (number, path, &keep), as_whom)?;
                mounts.sources.push(source);
                Prepared::Shown(shown)
            }
            MountKind::Cache { id, source, path, writable, sharing, mode, uid, gid } => {
                let wanted = Wanted {
                    id,
                    files: files(*source)?,
                    path,
                    sharing: *sharing,
                    attributes: cache_mount::Attributes { mode: *mode, uid: *uid, gid: *gid },
                };
                Prepared::Cache { index: caches.want(wanted)?, path: path.clone(), writable: *writable }
            }
            MountKind::Tmpfs { bytes } => Prepared::Shown(Shown::Tmpfs { bytes: *bytes }),
            MountKind::Secret { id, required, mode, uid, gid, env, file } => {
                let content = secret::read(grants, id, *required)?;
                mounts.hidden.add(content.as_deref().unwrap_or_default());
                if let Some(name) = env {
                    if content.is_none() {
                        // K016 of the feature list: as in BuildKit, though its documentation says unset.
                        (waiting.note)(&format!("secret `{id}` is not given, so `{name}` is empty, and not unset"));
                    }
                    mounts.env.push((name.clone(), secret::text(id, content.as_deref())?));
                }
                match content.filter(|_| *file) {
                    Some(content) => {
                        let content = Secret(content);
                        Prepared::Shown(Shown::File { content, mode: *mode, uid: *uid, gid: *gid })
                    }
                    None => continue,
                }
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                let is_named = |entry: &String| entry.starts_with("SSH_AUTH_SOCK=");
                if !exec.env.iter().any(is_named) && !mounts.env.iter().any(|(name, _)| name == SSH_AUTH_SOCK) {
                    mounts.env.push((SSH_AUTH_SOCK.to_owned(), mount.target.clone()));
                }
                match Agent::find(grants, id, *required)? {
                    Some(agent) => Prepared::Agent(agent, Shown::Socket { mode: *mode, uid: *uid, gid: *gid }),
                    None => continue,
                }
            }
            MountKind::Inline { content, mode } => {
                let content = Secret(content.clone().into_bytes());
                Prepared::Shown(Shown::File { content, mode: *mode, uid: 0, gid: 0 })
            }
        };
        sorted.push((number, &mount.target, prepared));
    }
    mounts.caches = caches.take(engine, lease, waiting)?;
    mounts.show(exec, sorted, &caches)?;
    Ok(mounts)
}

fn unread(target: &str) -> EngineError {
    EngineError::request(format!("nothing was read for the mount on `{target}`"), None)
}

enum Prepared {
    Shown(Shown),
    Agent(Agent, Shown),
    Cache { index: usize, path: String, writable: bool },
}

/// The files that a mount starts from.
pub(crate) enum Files<'a> {
    /// There are none.
    None,
    /// What was selected of a context, until it is copied.
    Selected(RefCell<Option<Selection>>),
    /// Those of a snapshot.
    Layers(&'a [LayerId]),
}

/// Returns to whom all files of a mount belong, if its flags say that they are the user's.
fn owner_of(
    engine: &Engine,
    (exec, parent): (&Exec, &[LayerId]),
    flags: &BTreeSet<MountFlag>,
) -> Result<Option<Owner>, EngineError> {
    let user = if exec.user.is_empty() { "0:0" } else { &exec.user };
    let is_for_user = flags.contains(&MountFlag::ForUser);
    is_for_user.then(|| super::owner(&engine.layers(parent)?, user)).transpose()
}

fn bind(
    engine: &Engine,
    lease: &Lease,
    files: &Files<'_>,
    (mount, path, keep): (usize, &str, &Keep),
    (writable, owner): (bool, Option<Owner>),
) -> Result<(Shown, Source), EngineError> {
    let selection = match (files, owner) {
        (Files::Selected(selection), _) => Some(selection.take()),
        // What belongs to somebody else there is copied, for here it is another one's.
        (Files::Layers(layers), Some(_)) => {
            let failed = |source| EngineError::tree("cannot copy what a mount shows", source);
            Some(Some(select_with(&engine.layers(layers)?, &[path], keep).map_err(failed)?))
        }
        (Files::None | Files::Layers(_), _) => None,
    };
    if let Some(selection) = selection {
        let work = lease.work_dir()?;
        if let Some(selection) = selection {
            copy(engine, selection, &work, owner)?;
        }
        let shown = Shown::Directory { directory: work.diff_rel_path(), path: DATA.to_owned(), writable };
        return Ok((shown, Source { mount, layers: Vec::new(), path: DATA.to_owned(), own: Some(work) }));
    }
    let layers: &[LayerId] = if let Files::Layers(layers) = files { layers } else { &[] };
    let own = if writable { Some(scratch(engine, lease, layers)?) } else { None };
    let shown = shown(engine, layers, own.as_ref(), path);
    Ok((shown, Source { mount, layers: layers.to_vec(), path: path.to_owned(), own }))
}

/// Makes a place for what is written over `layers`.
pub(crate) fn scratch(engine: &Engine, lease: &Lease, layers: &[LayerId]) -> Result<WorkDir, EngineError> {
    let work = lease.overlay_work_dir()?;
    super::like_parent(engine, layers, &work)?;
    Ok(work)
}

/// Returns what is shown of `layers`; what is written goes to `own`.
pub(crate) fn shown(engine: &Engine, layers: &[LayerId], own: Option<&WorkDir>, path: &str) -> Shown {
    Shown::Layers {
        lowers: stacked(layers).into_iter().map(|layer| engine.store.layer_rel_path(layer)).collect(),
        scratch: own.map(|work| Scratch { upper: work.diff_rel_path(), work: work.work_rel_path() }),
        path: path.to_owned(),
    }
}

/// A user's id and a group's.
pub(crate) type Owner = (u32, u32);

/// Copies a selection into a private directory, as [`DATA`]: a directory, or one file. All of it belongs to `owner`, if
/// there is one.
///
/// What the command sees is then what its key was made of, whatever happens to the context meanwhile.
pub(crate) fn copy(
    engine: &Engine,
    selection: Selection,
    work: &WorkDir,
    owner: Option<Owner>,
) -> Result<(), EngineError> {
    let into = engine.store_dir(&work.diff_rel_path())?;
    let request = CopyRequest {
        parent: None,
        selections: vec![selection],
        dest: DATA.as_bytes(),
        dest_is_dir: false,
        owner,
        mode: None,
        previous: None,
        format: engine.format(),
    };
    let failed = |source| EngineError::tree("cannot copy what a mount shows", source);
    let report = copy_into(&request, &into).map_err(failed)?;
    if let (Some((user, group)), true) = (owner, report.unmapped > 0) {
        let kind = "owner of a mount".to_owned();
        return Err(SandboxError::UnmappedId { kind, id: user.max(group) }.into());
    }
    // A selection of which everything is ignored.
    let made = into.child(DATA.as_bytes()).and_then(|child| match child {
        Some(_) => Ok(false),
        None => into.create_dir(DATA.as_bytes(), 0o755),
    });
    made.map(drop).map_err(|source| EngineError::tree("cannot make what a mount shows", source))
}
