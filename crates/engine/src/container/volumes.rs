//! Volumes: directories of the store with names, which containers share and leave behind.
//!
//! A volume is made when a container names it, and is then filled with what the image has at its place, as docker does it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use serde_json::{Value, json};
use stave_store::{ContainerRecord, Lease, Store, VolumeError, VolumeRecord};
use stave_tree::{Follow, Kind, Times, pack_tree};

use super::describe::rfc3339;
use super::{Config, ContainerMountKind};
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;

/// Which unused volumes are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFilter {
    /// Also those whose names somebody chose.
    pub named: bool,
    /// Labels that they must have: `NAME` or `NAME=VALUE`.
    pub labels: Vec<String>,
}

/// A volume as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSummary {
    /// What the store knows of it.
    pub record: VolumeRecord,
    /// Where its files are.
    pub path: String,
    /// The containers that it is mounted into, running or not.
    pub containers: Vec<String>,
}

impl VolumeSummary {
    /// Whether it has a label: `NAME` or `NAME=VALUE`.
    #[must_use]
    pub fn has_label(&self, wanted: &str) -> bool {
        let (name, value) = wanted.split_once('=').map_or((wanted, None), |(name, value)| (name, Some(value)));
        self.record.labels.get(name).is_some_and(|found| value.is_none_or(|value| found == value))
    }

    /// Describes it as `docker volume inspect` does.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "CreatedAt": rfc3339(self.record.created),
            "Driver": "local",
            "Labels": self.record.labels,
            "Mountpoint": self.path,
            "Name": self.record.name,
            "Options": Value::Null,
            "Scope": "local",
        })
    }
}

impl Engine {
    /// Makes a volume, with a made-up name if none is given, and returns its name. One that is there stays as it is.
    ///
    /// Errors: the name is none of a volume, or it cannot be made.
    pub fn create_volume(&self, name: Option<&str>, labels: &BTreeMap<String, String>) -> Result<String, EngineError> {
        Ok(self.lease()?.create_volume(name, labels)?.0)
    }

    /// Returns all volumes, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeSummary>, EngineError> {
        let users = self.volume_users()?;
        Ok(self.store.volumes()?.into_iter().map(|record| self.volume_summary(record, &users)).collect())
    }

    /// Returns one volume.
    ///
    /// Errors: there is none of this name.
    pub fn volume(&self, name: &str) -> Result<VolumeSummary, EngineError> {
        let record = self.store.volume(name)?;
        Ok(self.volume_summary(record, &self.volume_users()?))
    }

    /// Removes a volume that no container has.
    ///
    /// Errors: there is none of this name, or a container has it, even one that does not run.
    pub fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let found = self.volume(name)?;
        if let Some(container) = found.containers.into_iter().next() {
            return Err(VolumeError::InUse { name: name.to_owned(), container }.into());
        }
        Ok(self.store.remove_volume(name)?)
    }

    /// Removes the volumes that no container has. Returns their names.
    pub fn prune_volumes(&self, filter: &VolumeFilter) -> Result<Vec<String>, EngineError> {
        let mut removed = Vec::new();
        for volume in self.volumes()? {
            let chosen =
                (filter.named || volume.record.anonymous) && filter.labels.iter().all(|label| volume.has_label(label));
            if chosen && volume.containers.is_empty() {
                self.store.remove_volume(&volume.record.name)?;
                removed.push(volume.record.name);
            }
        }
        Ok(removed)
    }

    fn volume_summary(&self, record: VolumeRecord, users: &BTreeMap<String, Vec<String>>) -> VolumeSummary {
        let path = self.store.root().join(Store::volume_rel_path(&record.name));
        let containers = users.get(&record.name).cloned().unwrap_or_default();
        VolumeSummary { path: path.display().to_string(), containers, record }
    }

    /// Returns the names of the containers that each volume is mounted into.
    fn volume_users(&self) -> Result<BTreeMap<String, Vec<String>>, EngineError> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in self.store.containers()? {
            for mount in Config::read(&container)?.settings.mounts {
                if let ContainerMountKind::Volume { name, .. } = mount.kind {
                    users.entry(name).or_default().push(container.name.clone());
                }
            }
        }
        Ok(users)
    }

    /// Makes the volumes of a container that are not there, and fills those that are empty with what its image has.
    pub(super) fn make_named_volumes(
        &self,
        lease: &Lease,
        record: &ContainerRecord,
        config: &Config,
    ) -> Result<(), EngineError> {
        for mount in &config.settings.mounts {
            let ContainerMountKind::Volume { name, copy, .. } = &mount.kind else { continue };
            lease.create_volume(Some(name), &BTreeMap::new())?;
            let data = self.store_dir(&Store::volume_rel_path(name))?;
            let is_empty = data.list(b"").map_err(|source| unfilled(name, source))?.is_empty();
            if *copy && is_empty {
                self.fill_volume(lease, record, (name, &mount.target))?;
            }
        }
        Ok(())
    }

    /// Copies what an image has at `target` into an empty volume.
    fn fill_volume(
        &self,
        lease: &Lease,
        record: &ContainerRecord,
        (name, target): (&str, &str),
    ) -> Result<(), EngineError> {
        let view = self.view(&record.snapshot)?;
        let found = view.metadata(target.as_bytes(), Follow::Yes);
        let Ok(metadata) = found else { return Ok(()) };
        if metadata.kind != Kind::Directory {
            return Ok(());
        }
        let work = lease.work_dir()?;
        let into = self.store_dir(&work.diff_rel_path())?;
        into.create_dir(b"data", 0o755).map_err(|source| unfilled(name, source))?;
        let data = into.open_dir_no_links(b"data").map_err(|source| unfilled(name, source))?;
        let (mut reader, mut writer) = std::io::pipe().map_err(|source| EngineError::io("make", "a pipe", source))?;
        thread::scope(|scope| {
            let packer = scope.spawn(|| {
                let packed = pack_tree(&view, target.as_bytes(), b"", Times::Real, &mut writer);
                drop(writer);
                packed
            });
            let unpacked = confined::extract(self, &data, &mut reader, "the volume");
            drop(reader);
            let done = packer.join().expect("the packer does not panic");
            unpacked.map(drop).and(done.map(drop).map_err(|source| unfilled(name, source)))
        })?;
        let path = work.path().join("diff/data");
        let fault = |source| EngineError::io("set the attributes of", &path, source);
        std::os::unix::fs::chown(&path, Some(metadata.uid), Some(metadata.gid)).map_err(fault)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(metadata.mode)).map_err(fault)?;
        // Whoever was faster has filled it with the same, or written to it.
        lease.fill_volume(&work, name)?;
        Ok(())
    }
}

fn unfilled(name: &str, source: impl std::error::Error + Send + Sync + 'static) -> EngineError {
    EngineError::tree(format!("cannot fill the volume `{name}`"), source)
}
