//! Volumes: directories with names, which outlive the containers that they are mounted into.
//!
//! `volumes/<name>/` holds the files in `diff/data`, and in `volume.json` what was said when it was made. Nothing but
//! [`Store::remove_volume`] ever removes one: who uses it is known to those who keep containers.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::error::{StoreError, VolumeError};
use crate::id::random_bytes;
use crate::layout;
use crate::lease::{Lease, WorkDir};
use crate::name;
use crate::store::{Store, make_private_dir, names};

const SAID: &str = "volume.json";

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its name was made up.
    pub anonymous: bool,
}

impl Store {
    /// Returns the path of a volume's files, below the store's root.
    #[must_use]
    pub fn volume_rel_path(name: &str) -> String {
        format!("{}/{name}/diff/data", layout::VOLUMES)
    }

    /// Returns all volumes, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>, StoreError> {
        let path = self.path(layout::VOLUMES);
        // A store of an earlier stave has none.
        let names = if path.is_dir() { names(&path)? } else { Vec::new() };
        let found = names.iter().map(|name| match self.volume(name) {
            Ok(record) => Ok(Some(record)),
            Err(VolumeError::Store(error)) => Err(error),
            // Removed meanwhile, or no volume of ours.
            Err(_) => Ok(None),
        });
        let mut records: Vec<VolumeRecord> =
            found.filter_map(Result::transpose).collect::<Result<Vec<_>, StoreError>>()?;
        records.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(records)
    }

    /// Returns what is known of a volume.
    ///
    /// Errors: there is none of this name, or it cannot be read.
    pub fn volume(&self, name: &str) -> Result<VolumeRecord, VolumeError> {
        valid(name)?;
        let path = self.path(&format!("{}/{name}/{SAID}", layout::VOLUMES));
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VolumeError::NotFound(name.to_owned()));
            }
            text => text.map_err(|error| StoreError::io("read", &path, error))?,
        };
        let record: VolumeRecord =
            serde_json::from_slice(&text).map_err(|error| StoreError::io("read", &path, io::Error::from(error)))?;
        Ok(VolumeRecord { name: name.to_owned(), ..record })
    }

    /// Removes a volume and what is in it. That nobody uses it is for the caller to know.
    pub fn remove_volume(&self, name: &str) -> Result<(), VolumeError> {
        valid(name)?;
        if !self.discard(&format!("{}/{name}", layout::VOLUMES))? {
            return Err(VolumeError::NotFound(name.to_owned()));
        }
        Ok(self.collect_garbage().map(drop)?)
    }

    /// Whether a volume's directory has what it must have.
    pub(crate) fn volume_is_whole(&self, name: &str) -> bool {
        self.volume(name).is_ok() && self.path(&Self::volume_rel_path(name)).is_dir()
    }
}

impl Lease {
    /// Makes an empty volume; with a made-up name if none is given. Returns its name, and whether it is new: one that is
    /// there already stays as it is.
    pub fn create_volume(
        &self,
        name: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(String, bool), VolumeError> {
        let store = self.store();
        let made_up = || Ok::<_, StoreError>(stave_oci::digest::hex(&random_bytes::<32>()?));
        let (name, anonymous) = match name {
            Some(name) => (name.to_owned(), false),
            None => (made_up()?, true),
        };
        valid(&name)?;
        if store.volume(&name).is_ok() {
            return Ok((name, false));
        }
        let work = self.work_dir()?;
        make_private_dir(&work.path().join("diff/data"))?;
        // What a container sees of it is a directory like others.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let fault = |error| StoreError::io("write", work.path(), error);
        std::fs::set_permissions(work.path().join("diff/data"), open).map_err(fault)?;
        let record = VolumeRecord { name: name.clone(), created: store.now(), labels: labels.clone(), anonymous };
        let text = serde_json::to_vec(&record).expect("a volume has only text keys");
        std::fs::write(work.path().join(SAID), text).map_err(fault)?;
        make_private_dir(&store.path(layout::VOLUMES))?;
        let new = self.publish_volume(work, &name)?;
        Ok((name, new))
    }

    fn publish_volume(&self, mut work: WorkDir, name: &str) -> Result<bool, StoreError> {
        let target = self.store().path(&format!("{}/{name}", layout::VOLUMES));
        match std::fs::rename(work.path(), &target) {
            Ok(()) => {
                work.published = true;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {
                Ok(false)
            }
            Err(error) => Err(StoreError::io("publish", &target, error)),
        }
    }

    /// Gives an empty volume the files in the directory `data` of `work`, all at once. Returns whether it was still empty.
    pub fn fill_volume(&self, work: &WorkDir, name: &str) -> Result<bool, VolumeError> {
        valid(name)?;
        let target = self.store().path(&Store::volume_rel_path(name));
        match std::fs::rename(work.path().join("diff/data"), &target) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {
                Ok(false)
            }
            Err(error) => Err(StoreError::io("fill", &target, error).into()),
        }
    }
}

/// Names are those of Docker, so none is a path.
fn valid(name: &str) -> Result<(), VolumeError> {
    if name::is_valid(name) { Ok(()) } else { Err(VolumeError::Name(name.to_owned())) }
}
