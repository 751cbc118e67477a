//! What the first process after a crash or a restart does, so that nobody ever sees half of anything.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::params;
use rusqlite::types::Value;

use crate::database::{Durability, Rows};
use crate::error::StoreError;
use crate::forget;
use crate::history;
use crate::id::{ContainerId, LayerId};
use crate::layout;
use crate::record::Eviction;
use crate::store::{Store, names};

/// Clears up after owners whose processes are gone.
pub(crate) fn dead_owners(store: &Store) -> Result<(), StoreError> {
    let owners: BTreeSet<String> = names(&store.path(layout::TMP))?
        .into_iter()
        .map(|name| name.strip_suffix(".lock").map_or(name.clone(), str::to_owned))
        .collect();
    for owner in owners {
        let path = store.path(&layout::owner_lock(&owner));
        match lock_of_dead(&path)? {
            Probe::Alive => {}
            // The guard is held until everything is cleared, so that only one process does it.
            Probe::Dead(_guard) => release(store, &owner, Deletion::Later)?,
        }
    }
    Ok(())
}

/// Whether an owner lives.
pub(crate) enum Probe {
    /// Its lock is held, or it has just been cleared up by somebody else.
    Alive,
    /// It is dead, and we hold its lock if it still has one.
    Dead(Option<File>),
}

pub(crate) fn lock_of_dead(path: &Path) -> Result<Probe, StoreError> {
    let lock = match File::options().write(true).open(path) {
        Ok(lock) => lock,
        // The lock is the first file that an owner makes and the last one that it deletes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Probe::Dead(None)),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Probe::Alive),
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path, error)),
    }
    let links = lock.metadata().map_err(|error| StoreError::io("read the metadata of", path, error))?.nlink();
    Ok(if links == 0 { Probe::Alive } else { Probe::Dead(Some(lock)) })
}

/// When an owner's private files are deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// At once: they are ours.
    Now,
    /// By whoever empties the trash: they may be many, and nobody has to wait for it.
    Later,
}

/// Undoes what an owner has begun and not ended, and forgets the owner. Its lock is held by the caller.
pub(crate) fn release(store: &Store, owner: &str, deletion: Deletion) -> Result<(), StoreError> {
    clear_pending(store, owner)?;
    store.reach("release.cleared");
    let now = store.now();
    let has_rows = "SELECT 1 FROM pins WHERE owner = ?1 UNION ALL \
                    SELECT 1 FROM builds WHERE owner = ?1 AND state = 'running'";
    if store.database().read(|rows| rows.any(has_rows, [owner]))? {
        store.database().write(Durability::Lazy, |rows| {
            rows.run("DELETE FROM pins WHERE owner = ?1", [owner])?;
            let interrupted = "UPDATE builds SET state = 'interrupted', finished = ?2 \
                               WHERE owner = ?1 AND state = 'running'";
            match rows.run(interrupted, params![owner, now])? {
                0 => Ok(()),
                _ => history::forget_measured(rows),
            }
        })?;
    }
    store.reach("release.unpinned");
    match deletion {
        Deletion::Now => store.delete(&layout::owner_dir(owner))?,
        Deletion::Later => {
            store.discard(&layout::owner_dir(owner))?;
        }
    }
    store.reach("release.emptied");
    let lock = store.path(&layout::owner_lock(owner));
    match std::fs::remove_file(&lock) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", lock, error)),
        _ => Ok(()),
    }
}

/// Moves into the trash what `owner` announced and what has no row. The renames are part of the transaction: nobody
/// can publish the same blob between the question and the deed.
pub(crate) fn clear_pending(store: &Store, owner: &str) -> Result<(), StoreError> {
    if !store.database().read(|rows| rows.any("SELECT 1 FROM pending WHERE owner = ?1", [owner]))? {
        return Ok(());
    }
    store.database().write(Durability::Lazy, |rows| {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Value>(1)?));
        for (kind, id) in rows.all("SELECT kind, id FROM pending WHERE owner = ?1", [owner], read)? {
            if let Some(path) = path_without_row(rows, &kind, id)? {
                store.discard(&path)?;
                store.reach("pending.discarded");
            }
        }
        rows.run("DELETE FROM pending WHERE owner = ?1", [owner])
    })?;
    Ok(())
}

fn path_without_row(rows: &Rows<'_>, kind: &str, id: Value) -> Result<Option<String>, StoreError> {
    let (query, path) = match (kind, &id) {
        ("layer", Value::Integer(layer)) => {
            ("SELECT 1 FROM layers WHERE id = ?1", layout::layer_dir(LayerId::from_row(*layer)))
        }
        ("blob", Value::Blob(bytes)) => match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(digest) => ("SELECT 1 FROM blobs WHERE digest = ?1", layout::blob_file(&digest.into())),
            Err(_) => return Err(nonsense(kind, &id)),
        },
        ("container", Value::Text(text)) => {
            ("SELECT 1 FROM containers WHERE id = ?1", layout::container_dir(&ContainerId::from_row(text.clone())))
        }
        _ => return Err(nonsense(kind, &id)),
    };
    Ok(if rows.any(query, [id])? { None } else { Some(path) })
}

fn nonsense(kind: &str, id: &Value) -> StoreError {
    StoreError::Row { table: "pending", detail: format!("`{kind}` {id:?}") }
}

/// Drops everything that another boot of this machine wrote and never settled.
pub(crate) fn after_restart(store: &Store) -> Result<(), StoreError> {
    let boot = store.boot_id();
    let same = |rows: &Rows<'_>| rows.any("SELECT 1 FROM meta WHERE name = 'boot' AND value = ?1", [boot]);
    if store.database().read(same)? {
        return Ok(());
    }
    let lease = store.lease()?;
    let (now, nanos) = store.moment();
    store.database().write(Durability::Durable, |rows| {
        if same(rows)? {
            return Ok(());
        }
        // Every other owner died with the machine, whether its lock is still there or not.
        rows.run("DELETE FROM pins", [])?;
        rows.run("UPDATE OR REPLACE pending SET owner = ?1", [lease.owner()])?;
        rows.run("UPDATE builds SET state = 'interrupted', finished = ?1 WHERE state = 'running'", [now])?;
        history::forget_measured(rows)?;
        let stopped = "UPDATE containers SET state = 'exited', code = 255, finished = ?1, finished_nanos = ?2 \
                       WHERE state = 'running'";
        rows.run(stopped, params![now, nanos])?;
        for id in rows.all("SELECT id FROM containers WHERE boot <> ?1", [boot], |row| row.get(0))? {
            forget::container(&lease, rows, &ContainerId::from_row(id), Some(now))?;
        }
        for id in rows.all("SELECT id FROM layers WHERE boot <> ?1", [boot], |row| row.get(0))? {
            forget::layer(&lease, rows, LayerId::from_row(id), Eviction::NotDurable, now)?;
        }
        let blobs = rows.all("SELECT digest FROM blobs WHERE boot <> ?1", [boot], |row| row.get::<_, [u8; 32]>(0))?;
        for digest in blobs {
            forget::blob(&lease, rows, &digest.into())?;
        }
        forget::broken_images(rows, now)?;
        rows.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('boot', ?1)", [boot]).map(drop)
    })?;
    store.reach("restart.recorded");
    lease.clear_announced()
}
