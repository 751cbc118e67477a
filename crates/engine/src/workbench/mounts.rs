//! The mounts of a session: what the step saw, with nothing written through to where it came from.
//!
//! A secret or an agent is there only if the caller gives it again; otherwise its place is empty.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use stave_sandbox::{Denied, MountSource, Secret, StepMount};
use stave_store::{CacheAnswer, CacheMount, LayerId, Lease, WorkDir};

use super::description::{DescribedKind, DescribedMount, Source};
use super::find::Found;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::request::Grants;
use crate::steps::mounts::{in_order, scratch, shown};
use crate::steps::secret;
use crate::steps::ssh::Agent;

/// All that a session's mounts need while it lives.
#[derive(Default)]
pub(super) struct SessionMounts {
    pub(super) shown: Vec<StepMount>,
    pub(super) env: Vec<(String, String)>,
    pub(super) agents: Vec<Agent>,
    /// What the session does without, as sentences.
    pub(super) remarks: Vec<String>,
    /// Places for what is written and thrown away.
    kept: Vec<WorkDir>,
    caches: Vec<CacheMount>,
}

/// Prepares the mounts of a state.
pub(super) fn prepare(
    engine: &Engine,
    lease: &Lease,
    found: &Found,
    grants: &Grants,
) -> Result<SessionMounts, EngineError> {
    let mut mounts = SessionMounts::default();
    let mut sources = Vec::new();
    for (number, mount) in found.step.operation.mounts.iter().enumerate() {
        let at = At { engine, lease, found, number, mount };
        match &mount.kind {
            DescribedKind::Bind { source, path, writable, .. } => {
                let bound = mounts.bind(&at, source, path, *writable)?;
                sources.push((mount, None, bound));
            }
            DescribedKind::Cache { id, writable, mode, uid, gid } => {
                let bound = mounts.cache(&at, id, *writable, (*mode, *uid, *gid))?;
                sources.push((mount, None, bound));
            }
            DescribedKind::Tmpfs { bytes } => {
                sources.push((mount, None, MountSource::Tmpfs { bytes: *bytes }));
            }
            DescribedKind::Secret { id, mode, uid, gid, env, file } => {
                let content = secret::read(grants, id, false)?;
                if content.is_none() {
                    let remark =
                        format!("secret `{id}` is not kept, its place is empty; give it with `--secret id={id},...`");
                    mounts.remarks.push(remark);
                }
                if let Some(name) = env {
                    mounts.env.push((name.clone(), secret::text(id, content.as_deref())?));
                }
                if *file {
                    let content = Secret(content.unwrap_or_default());
                    let source = MountSource::File { content, mode: *mode, uid: *uid, gid: *gid };
                    sources.push((mount, None, source));
                }
            }
            DescribedKind::Ssh { id, mode, uid, gid } => {
                let is_named = |entry: &String| entry.starts_with("SSH_AUTH_SOCK=");
                let operation = &found.step.operation;
                if !operation.env.iter().any(is_named) && !mounts.env.iter().any(|(name, _)| name == "SSH_AUTH_SOCK") {
                    mounts.env.push(("SSH_AUTH_SOCK".to_owned(), mount.target.clone()));
                }
                match Agent::find(grants, id, false)? {
                    Some(agent) => {
                        let source = MountSource::Socket { mode: *mode, uid: *uid, gid: *gid };
                        sources.push((mount, Some(agent), source));
                    }
                    None => mounts.remarks.push(format!("SSH agent `{id}` is not there; give it with `--ssh {id}`")),
                }
            }
            DescribedKind::Inline { content, mode } => {
                let content = Secret(content.clone().into_bytes());
                sources.push((mount, None, MountSource::File { content, mode: *mode, uid: 0, gid: 0 }));
            }
        }
    }
    sources.sort_by(|(one, ..), (other, ..)| in_order(&one.target, &other.target));
    for (mount, agent, source) in sources {
        mounts.agents.extend(agent);
        let denied = Denied { set_id: mount.nosuid, programs: mount.noexec };
        let link = matches!(mount.kind, DescribedKind::Bind { link: true, .. });
        mounts.shown.push(StepMount { target: mount.target.clone(), source, denied, link });
    }
    Ok(mounts)
}

/// The mount that is prepared.
struct At<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    found: &'a Found,
    number: usize,
    mount: &'a DescribedMount,
}

impl SessionMounts {
    fn layers(
        &mut self,
        at: &At<'_>,
        layers: &[LayerId],
        path: &str,
        writable: bool,
    ) -> Result<MountSource, EngineError> {
        let own = if writable { Some(scratch(at.engine, at.lease, layers)?) } else { None };
        let source = shown(at.engine, layers, own.as_ref(), path);
        self.kept.extend(own);
        Ok(source)
    }

    fn bind(&mut self, at: &At<'_>, source: &Source, path: &str, writable: bool) -> Result<MountSource, EngineError> {
        let kept =
            at.found.failed.as_ref().and_then(|failed| failed.mounts.iter().find(|kept| kept.mount == at.number));
        if let Some(kept) = kept {
            // They were pinned with the state.
            let layers: Vec<LayerId> = kept.layers.iter().filter_map(|layer| LayerId::from_hex(&layer.0)).collect();
            return self.layers(at, &layers, &kept.path, writable);
        }
        let why = match source {
            Source::Empty => return self.layers(at, &[], path, writable),
            Source::Files(files) => match at.engine.layers_of(at.lease, files) {
                Ok(layers) => return self.layers(at, &layers, path, writable),
                Err(gone) => gone.reason(),
            },
            Source::Context => "what a step sees of the context is kept only of one that failed".to_owned(),
        };
        self.remarks.push(format!("the mount on `{}` is empty: {why}", at.mount.target));
        self.layers(at, &[], "", writable)
    }

    /// Gives the latest place for what is written the owner and the mode of the directory that it covers.
    fn like_directory(&self, covered: &std::path::Path, writable: bool) {
        if let (Some(own), Ok(metadata)) = (self.kept.last().filter(|_| writable), covered.metadata()) {
            let path = own.path().join("diff");
            // A user that does not exist here cannot be its owner, and need not be.
            drop(chown(&path, Some(metadata.uid()), Some(metadata.gid())));
            drop(std::fs::set_permissions(&path, metadata.permissions()));
        }
    }

    fn cache(
        &mut self,
        at: &At<'_>,
        id: &str,
        writable: bool,
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<MountSource, EngineError> {
        let kept =
            at.found.failed.as_ref().and_then(|failed| failed.caches.iter().find(|kept| kept.mount == at.number));
        let answer = kept.map(|kept| at.engine.store.cache_named(&kept.name)).transpose()?;
        let why = match (kept, answer) {
            (Some(kept), Some(CacheAnswer::Held(cache))) => {
                let lowers = vec![cache.rel_path()];
                self.caches.push(cache);
                let source = self.layers(at, &[], "", writable)?;
                self.like_directory(&at.engine.store.root().join(&lowers[0]), writable);
                let MountSource::Layers { scratch, .. } = source else {
                    return Err(EngineError::request("layers are shown as layers", None));
                };
                return Ok(MountSource::Layers { lowers, scratch, path: kept.path.clone() });
            }
            (Some(_), Some(CacheAnswer::Busy)) => "another step uses it",
            (Some(_), _) => "it was pruned, or is on another machine",
            (None, _) if at.found.failed.is_some() => "what it held is not kept with the failed step",
            (None, _) => "only a step that failed says which one it used",
        };
        self.remarks.push(format!("cache `{id}` is empty here: {why}"));
        let source = self.layers(at, &[], "", writable)?;
        if let Some(own) = self.kept.last().filter(|_| writable) {
            let path = own.path().join("diff");
            // A user that does not exist here cannot be its owner, and need not be.
            drop(chown(&path, Some(uid), Some(gid)));
            drop(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode & 0o7777)));
        }
        Ok(source)
    }
}
