//! What the caller may say about a container beyond what to run: mounts, limits, rights, names.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stave_sandbox::{MountSource, ResourceLimit, Rights, Security, StepMount};
use stave_store::Store;

use crate::limits::SharedLimits;
use crate::steps::exec;

/// Something that is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMount {
    /// Absolute path in the container.
    pub target: String,
    /// What is there.
    pub kind: ContainerMountKind,
}

/// What is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerMountKind {
    /// A file or directory of this machine.
    Bind {
        /// Its absolute path.
        source: String,
        /// Whether the container may write.
        writable: bool,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// Whether the container may write.
        writable: bool,
        /// Whether an empty one gets what the image has there.
        copy: bool,
    },
    /// A device of this machine.
    Device {
        /// Its absolute path.
        path: String,
    },
    /// A file system in memory.
    Tmpfs {
        /// Its size; half of the memory if there is none.
        bytes: Option<u64>,
    },
}

/// Everything else that a container is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag of docker's")]
pub struct ContainerSettings {
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Names and addresses for `/etc/hosts`.
    pub hosts: Vec<(String, String)>,
    /// Lines of `/etc/resolv.conf` that replace the host's.
    pub resolv_conf: Vec<String>,
    /// What is mounted, in this order.
    pub mounts: Vec<ContainerMount>,
    /// Whether nobody may write to its files.
    pub read_only: bool,
    /// Whether it may do all that stave may.
    pub privileged: bool,
    /// Capabilities beside those of every step, as numbers.
    pub capabilities_added: Vec<u32>,
    /// Capabilities that it does not have, as numbers.
    pub capabilities_dropped: Vec<u32>,
    /// Limits: name, soft, hard; -1 is none.
    pub limits: Vec<(String, i64, i64)>,
    /// Limits of all its processes together.
    pub shared_limits: SharedLimits,
    /// Size of `/dev/shm`.
    pub shm_bytes: Option<u64>,
    /// The signal that asks it to end.
    pub stop_signal: Option<i32>,
    /// Seconds that it then has.
    pub stop_seconds: Option<u64>,
    /// Directories whose content is the container's alone, and no part of an image made from it.
    pub volumes: Vec<String>,
    /// Ports that it says it listens at.
    pub exposed: Vec<String>,
    /// Whether it goes when it ends.
    pub remove: bool,
    /// Whether what it writes is kept.
    pub no_log: bool,
    /// Remarks, which nothing reads.
    pub annotations: BTreeMap<String, String>,
}

impl ContainerSettings {
    /// Returns the mounts; `store` is where volumes are found.
    pub(super) fn step_mounts(&self, store: &Path) -> Vec<StepMount> {
        let source = |kind: &ContainerMountKind| match kind {
            ContainerMountKind::Bind { source, writable } => {
                MountSource::Host { path: source.clone(), writable: *writable }
            }
            ContainerMountKind::Volume { name, writable, .. } => {
                let path = store.join(Store::volume_rel_path(name)).to_string_lossy().into_owned();
                MountSource::Host { path, writable: *writable }
            }
            ContainerMountKind::Device { path } => MountSource::Device { path: path.clone() },
            ContainerMountKind::Tmpfs { bytes } => MountSource::Tmpfs { bytes: *bytes },
        };
        let mut mounts: Vec<StepMount> =
            self.mounts.iter().map(|mount| StepMount::new(mount.target.clone(), source(&mount.kind))).collect();
        // What is below another mount comes after it.
        mounts.sort_by_key(|mount| mount.target.matches('/').count());
        mounts
    }

    /// The paths of this machine and the volumes that are mounted.
    pub(super) fn sources(&self) -> Vec<String> {
        let source = |mount: &ContainerMount| match &mount.kind {
            ContainerMountKind::Bind { source, .. } | ContainerMountKind::Volume { name: source, .. } => {
                Some(source.clone())
            }
            ContainerMountKind::Device { .. } | ContainerMountKind::Tmpfs { .. } => None,
        };
        self.mounts.iter().filter_map(source).collect()
    }

    pub(super) fn rights(&self) -> Rights {
        Rights {
            read_only: self.read_only,
            added: self.capabilities_added.clone(),
            dropped: self.capabilities_dropped.clone(),
        }
    }

    pub(super) fn security(&self) -> Security {
        if self.privileged { Security::Insecure } else { Security::Sandbox }
    }

    pub(super) fn resource_limits(&self) -> Vec<ResourceLimit> {
        let number = |number: i64| u64::try_from(number).ok();
        let limit = |(name, soft, hard): &(String, i64, i64)| ResourceLimit {
            name: name.clone(),
            soft: number(*soft),
            hard: number(*hard),
        };
        self.limits.iter().map(limit).collect()
    }

    pub(super) fn shm(&self) -> u64 {
        self.shm_bytes.unwrap_or(exec::SHM_BYTES)
    }
}
