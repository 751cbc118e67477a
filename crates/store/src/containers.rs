//! Containers: a name, an image's layers, a writable directory and settings that the store does not read.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rusqlite::{Row, params};
use stave_oci::ImageId;

use crate::database::{Durability, Rows};
use crate::error::{ContainerError, StoreError};
use crate::forget;
use crate::id::{ContainerId, LayerId};
use crate::layout;
use crate::lease::Lease;
use crate::name;
use crate::record::{ContainerRecord, ContainerState, Lost, NewContainer};
use crate::reserve;
use crate::store::{Store, make_private_dir};

/// Made-up names that are tried before a number is added.
const NAME_TRIES: usize = 8;

impl Lease {
    /// Makes a container with empty `diff` and `work` directories. Its layers stay as long as it does.
    pub fn create_container(&self, new: &NewContainer<'_>) -> Result<ContainerRecord, ContainerError> {
        if let Some(name) = new.name.filter(|name| !name::is_valid(name)) {
            return Err(ContainerError::BadName(name.to_owned()));
        }
        let (store, id) = (self.store(), ContainerId::random()?);
        store.database().write(Durability::Lazy, |rows| self.announce(rows, "container", &id.as_str()))?;
        store.reach("container.announced");
        let directory = store.path(&layout::container_dir(&id));
        make_private_dir(&directory)?;
        let make = || -> io::Result<()> {
            std::fs::create_dir(directory.join("work"))?;
            std::fs::create_dir(directory.join("diff"))?;
            std::fs::set_permissions(directory.join("diff"), Permissions::from_mode(0o755))
        };
        make().map_err(|error| StoreError::io("create", &directory, error))?;
        store.reach("container.made");
        let inserted = store.database().write(Durability::Lazy, |rows| {
            insert(self, rows, &id, new)?;
            self.done(rows, "container", &id.as_str())?;
            Ok::<_, ContainerError>(())
        });
        if let Err(error) = inserted {
            self.clear_announced()?;
            store.empty_trash()?;
            return Err(error);
        }
        store.reach("container.recorded");
        store.container(&id)?.ok_or_else(|| ContainerError::NotFound(id.to_string()))
    }
}

impl Store {
    /// Returns the path, below the store's root, of a container's own files: an overlay's `upperdir`.
    #[must_use]
    pub fn container_diff_rel_path(&self, id: &ContainerId) -> String {
        format!("{}/diff", layout::container_dir(id))
    }

    /// Returns the path, below the store's root, of one of the files beside a container's own: its log, its socket.
    #[must_use]
    pub fn container_file_rel_path(&self, id: &ContainerId, name: &str) -> String {
        format!("{}/{name}", layout::container_dir(id))
    }

    /// Returns the path, below the store's root, of a container's overlay `workdir`.
    #[must_use]
    pub fn container_work_rel_path(&self, id: &ContainerId) -> String {
        format!("{}/work", layout::container_dir(id))
    }

    /// Returns the container with an id, if it is there.
    pub fn container(&self, id: &ContainerId) -> Result<Option<ContainerRecord>, StoreError> {
        self.database().snapshot(|rows| read(rows, id))
    }

    /// Returns the container that a name, an id or the beginning of an id means.
    pub fn resolve_container(&self, text: &str) -> Result<ContainerRecord, ContainerError> {
        self.database().snapshot(|rows| {
            let id = resolve(rows, text)?;
            read(rows, &id)?.ok_or_else(|| ContainerError::NotFound(text.to_owned()))
        })
    }

    /// Returns all containers, the latest first.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>, StoreError> {
        self.database().snapshot(|rows| {
            let ids =
                rows.all("SELECT id FROM containers ORDER BY created DESC, created_nanos DESC, id", [], |row| {
                    row.get(0)
                })?;
            ids.into_iter().filter_map(|id| read(rows, &ContainerId::from_row(id)).transpose()).collect()
        })
    }

    /// Says what a container is doing now.
    pub fn set_container_state(&self, id: &ContainerId, state: ContainerState) -> Result<(), ContainerError> {
        let (now, nanos) = self.moment();
        let id = id.as_str();
        let changed = self.database().write(Durability::Lazy, |rows| match state {
            ContainerState::Created => {
                let update = "UPDATE containers SET state = 'created', pid = NULL, start_time = NULL, code = NULL \
                              WHERE id = ?1";
                rows.run(update, [id])
            }
            ContainerState::Running { pid, start_time } => {
                let update = "UPDATE containers SET state = 'running', pid = ?2, start_time = ?3, code = NULL, \
                              started = ?4, started_nanos = ?5, finished = NULL WHERE id = ?1";
                rows.run(update, params![id, pid, start_time.cast_signed(), now, nanos])
            }
            ContainerState::Exited { code } => {
                let update = "UPDATE containers SET state = 'exited', pid = NULL, start_time = NULL, code = ?2, \
                              finished = ?3, finished_nanos = ?4 WHERE id = ?1";
                rows.run(update, params![id, code, now, nanos])
            }
        })?;
        if changed == 0 { Err(ContainerError::NotFound(id.to_owned())) } else { Ok(()) }
    }

    /// Gives a container another name.
    pub fn rename_container(&self, id: &ContainerId, name: &str) -> Result<(), ContainerError> {
        if !name::is_valid(name) {
            return Err(ContainerError::BadName(name.to_owned()));
        }
        self.database().write(Durability::Lazy, |rows| {
            if let Some(other) = by_name(rows, name)? {
                return Err(ContainerError::NameTaken { name: name.to_owned(), id: other });
            }
            match rows.run("UPDATE containers SET name = ?2 WHERE id = ?1", params![id.as_str(), name])? {
                0 => Err(ContainerError::NotFound(id.to_string())),
                _ => Ok(()),
            }
        })
    }

    /// Removes a container and its files. A running one goes only with `force`: the caller has ended its processes.
    pub fn remove_container(&self, id: &ContainerId, force: bool) -> Result<(), ContainerError> {
        reserve::or_use(self, || self.forget_container(id, force))?;
        reserve::or_use(self, || self.collect_garbage())?;
        Ok(())
    }

    fn forget_container(&self, id: &ContainerId, force: bool) -> Result<(), ContainerError> {
        let lease = self.lease()?;
        self.database().write(Durability::Durable, |rows| {
            let Some(container) = read(rows, id)? else { return Err(ContainerError::NotFound(id.to_string())) };
            if matches!(container.state, ContainerState::Running { .. }) && !force {
                return Err(ContainerError::Running(container.name));
            }
            forget::container(&lease, rows, id, None).map_err(ContainerError::from)
        })?;
        self.reach("container.forgotten");
        Ok(lease.clear_announced()?)
    }

    /// Returns what was lost when the machine stopped, or damaged, and nobody has been told of.
    pub fn lost(&self) -> Result<Vec<Lost>, StoreError> {
        self.database().read(|rows| {
            rows.all("SELECT kind, name, noticed FROM lost ORDER BY noticed, kind, name", [], |row| {
                Ok(Lost { kind: row.get(0)?, name: row.get(1)?, noticed: row.get(2)? })
            })
        })
    }

    /// Forgets what was lost: the user was told.
    pub fn acknowledge_lost(&self) -> Result<(), StoreError> {
        self.database().write(Durability::Lazy, |rows| rows.run("DELETE FROM lost", []).map(drop))
    }
}

fn insert(lease: &Lease, rows: &Rows<'_>, id: &ContainerId, new: &NewContainer<'_>) -> Result<(), ContainerError> {
    let (boot, (now, nanos)) = (lease.store().boot_id(), lease.store().moment());
    let name = match new.name {
        Some(name) => name.to_owned(),
        None => free_name(rows)?,
    };
    if let Some(other) = by_name(rows, &name)? {
        return Err(ContainerError::NameTaken { name, id: other });
    }
    let insert = "INSERT INTO containers (id, name, image, image_name, config, state, created, created_nanos, boot) \
                  VALUES (?1, ?2, ?3, ?4, ?5, 'created', ?6, ?7, ?8)";
    rows.run(insert, params![id.as_str(), name, new.image.as_bytes(), new.image_name, new.config, now, nanos, boot])?;
    for (position, layer) in new.snapshot.iter().enumerate() {
        if !lease.pin_layer(rows, *layer)? {
            return Err(StoreError::NoLayer(*layer).into());
        }
        let insert = "INSERT INTO container_layers (container, position, layer) VALUES (?1, ?2, ?3)";
        rows.run(insert, params![id.as_str(), position as u64, layer.to_row()])?;
    }
    Ok(())
}

fn free_name(rows: &Rows<'_>) -> Result<String, StoreError> {
    for _ in 0..NAME_TRIES {
        let name = name::random()?;
        if by_name(rows, &name)?.is_none() {
            return Ok(name);
        }
    }
    Ok(format!("{}_{}", name::random()?, stave_oci::digest::hex(&crate::id::random_bytes::<4>()?)))
}

fn by_name(rows: &Rows<'_>, name: &str) -> Result<Option<ContainerId>, StoreError> {
    Ok(rows.one("SELECT id FROM containers WHERE name = ?1", [name], |row| row.get(0))?.map(ContainerId::from_row))
}

/// Finds a container by its full id, its name or the beginning of its id, in this order.
fn resolve(rows: &Rows<'_>, text: &str) -> Result<ContainerId, ContainerError> {
    if rows.any("SELECT 1 FROM containers WHERE id = ?1", [text])? {
        return Ok(ContainerId::from_row(text.to_owned()));
    }
    if let Some(id) = by_name(rows, text.strip_prefix('/').unwrap_or(text))? {
        return Ok(id);
    }
    if text.is_empty() {
        return Err(ContainerError::NotFound(String::new()));
    }
    let query = "SELECT id FROM containers WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id";
    let mut found = rows.all(query, [text], |row| row.get(0).map(ContainerId::from_row))?;
    match found.len() {
        0 => Err(ContainerError::NotFound(text.to_owned())),
        1 => Ok(found.remove(0)),
        _ => Err(ContainerError::Ambiguous { prefix: text.to_owned(), matches: found }),
    }
}

fn read(rows: &Rows<'_>, id: &ContainerId) -> Result<Option<ContainerRecord>, StoreError> {
    let query = "SELECT name, image, image_name, config, created, started, finished, state, pid, start_time, code, \
                 created_nanos, started_nanos, finished_nanos FROM containers WHERE id = ?1";
    let found = rows.one(query, [id.as_str()], |row| {
        let record = ContainerRecord {
            id: id.clone(),
            name: row.get(0)?,
            image: ImageId::from(row.get::<_, [u8; 32]>(1)?),
            image_name: row.get(2)?,
            snapshot: Vec::new(),
            config: row.get(3)?,
            state: ContainerState::Created,
            created: time(row, 4, 11)?.unwrap_or_default(),
            started: time(row, 5, 12)?,
            finished: time(row, 6, 13)?,
        };
        Ok((record, state(row)?))
    })?;
    let Some((record, state)) = found else { return Ok(None) };
    let nonsense = || StoreError::Row { table: "containers", detail: format!("state of container `{}`", record.name) };
    let state = state.ok_or_else(nonsense)?;
    let layers = "SELECT layer FROM container_layers WHERE container = ?1 ORDER BY position";
    let snapshot = rows.all(layers, [id.as_str()], |row| Ok(LayerId::from_row(row.get(0)?)))?;
    Ok(Some(ContainerRecord { snapshot, state, ..record }))
}

/// Returns the time since 1970 that two columns say, of seconds and of nanoseconds; 1970 for one before it.
fn time(row: &Row<'_>, seconds: usize, nanos: usize) -> rusqlite::Result<Option<Duration>> {
    let (seconds, nanos) = (row.get::<_, Option<i64>>(seconds)?, row.get(nanos)?);
    Ok(seconds.map(|seconds| Duration::new(u64::try_from(seconds).unwrap_or_default(), nanos)))
}

fn state(row: &Row<'_>) -> rusqlite::Result<Option<ContainerState>> {
    let (pid, start_time, code) = (row.get::<_, Option<u32>>(8)?, row.get::<_, Option<i64>>(9)?, row.get(10)?);
    Ok(match (row.get::<_, String>(7)?.as_str(), pid, start_time, code) {
        ("created", ..) => Some(ContainerState::Created),
        ("running", Some(pid), Some(time), _) => {
            Some(ContainerState::Running { pid, start_time: time.cast_unsigned() })
        }
        ("exited", _, _, Some(code)) => Some(ContainerState::Exited { code }),
        _ => None,
    })
}
