//! Leases: what a living process works on, and what it needs to stay.
//!
//! A lease is a lock that the kernel drops with its process, `tmp/<owner>.lock`, together with a private directory,
//! `tmp/<owner>`, and rows that pin layers, blobs and images. A thing is pinned in the same transaction that finds it,
//! so that no `prune` comes between.

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{ToSql, params};
use stave_oci::BlobDigest;
use stave_oci::digest::hex;

use crate::database::{Durability, Rows};
use crate::error::StoreError;
use crate::id::{LayerId, random_bytes};
use crate::layout;
use crate::limit::Gauge;
use crate::recover::{self, Deletion};
use crate::reserve;
use crate::store::{Store, make_private_dir};

/// Keeps what was found or made under it until the last clone is dropped.
#[derive(Clone)]
pub struct Lease(Arc<Held>);

struct Held {
    store: Store,
    owner: String,
    /// Its lock is what tells a living owner from a dead one.
    lock: Option<File>,
    works: AtomicU64,
    /// Layers that are made under one lease are numbered one after the other from a random number: what the database
    /// keeps about them lies together.
    layers: AtomicU64,
    tidier: Mutex<Option<Tidier>>,
    /// Looks at what grows, if there is a limit.
    gauge: Mutex<Option<Gauge>>,
}

/// Deletes what steps leave behind, beside the steps that follow.
struct Tidier {
    paths: Sender<String>,
    thread: JoinHandle<()>,
}

impl Tidier {
    fn start(store: &Store) -> io::Result<Self> {
        let (paths, left) = channel::<String>();
        let store = store.clone();
        let tidy = move || {
            for path in left {
                // What fails here is still in `tmp/<owner>`, and goes with the lease.
                drop(store.delete(&path));
            }
        };
        let thread = std::thread::Builder::new().name("tidy".to_owned()).spawn(tidy)?;
        Ok(Self { paths, thread })
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Lease").field(&self.0.owner).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(gauge) = self.gauge.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            gauge.end();
        }
        if let Some(Tidier { paths, thread }) = self.tidier.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(paths);
            drop(thread.join());
        }
        // What fails here is done by the next process that opens the store: the lock is free from here on.
        // The disk may be full, which is why this ends: then the reserve helps.
        drop(reserve::or_use(&self.store, || recover::release(&self.store, &self.owner, Deletion::Now)));
        drop(self.lock.take());
    }
}

impl Store {
    /// Returns a new lease.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        loop {
            let owner = hex(&random_bytes::<16>()?);
            let path = self.path(&layout::owner_lock(&owner));
            let fault = |action| {
                let path = &path;
                move |error| StoreError::io(action, path, error)
            };
            let lock = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(fault("create"))?;
            self.reach("lease.created");
            lock.lock().map_err(fault("lock"))?;
            // Whoever saw the file before it was locked has taken it for a dead owner's, and deleted it.
            if lock.metadata().map_err(fault("read the metadata of"))?.nlink() > 0 {
                return Ok(Lease(Arc::new(Held {
                    store: self.clone(),
                    owner,
                    lock: Some(lock),
                    works: AtomicU64::new(0),
                    layers: AtomicU64::new(u64::from_le_bytes(random_bytes()?)),
                    tidier: Mutex::new(None),
                    gauge: Mutex::new(None),
                })));
            }
        }
    }
}

impl Lease {
    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn owner(&self) -> &str {
        &self.0.owner
    }

    /// Returns the number of the next private file or directory.
    pub(crate) fn next_work(&self) -> Result<(String, u64), StoreError> {
        let directory = layout::owner_dir(&self.0.owner);
        make_private_dir(&self.0.store.path(&directory))?;
        Ok((directory, self.0.works.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn start_gauge(&self) -> Result<(), StoreError> {
        let mut gauge = self.0.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        if gauge.is_none() {
            *gauge = Gauge::start(&self.0.store)?;
        }
        Ok(())
    }

    /// Returns an id for a layer that is about to be made.
    pub(crate) fn next_layer(&self) -> LayerId {
        LayerId::new(self.0.layers.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a private directory in which a layer can grow.
    pub fn work_dir(&self) -> Result<WorkDir, StoreError> {
        self.make_work_dir(false)
    }

    /// Makes a private directory in which a layer can grow as the upper directory of an overlay.
    pub fn overlay_work_dir(&self) -> Result<WorkDir, StoreError> {
        self.make_work_dir(true)
    }

    fn make_work_dir(&self, overlay: bool) -> Result<WorkDir, StoreError> {
        self.0.store.make_headroom()?;
        self.start_gauge()?;
        let (parent, number) = self.next_work()?;
        let work = WorkDir { lease: self.clone(), parent, number, overlay, published: false };
        let diff = work.path().join("diff");
        make_private_dir(&work.path())?;
        let make = || -> io::Result<()> {
            std::fs::create_dir(&diff)?;
            std::fs::set_permissions(&diff, Permissions::from_mode(0o755))?;
            if overlay { std::fs::create_dir(self.0.store.path(&work.work_rel_path())) } else { Ok(()) }
        };
        make().map_err(|error| StoreError::io("create", &diff, error))?;
        Ok(work)
    }

    /// Pins layers, and fails if one of them is gone.
    pub fn pin_layers(&self, layers: &[LayerId]) -> Result<(), StoreError> {
        self.0.store.database().write(Durability::Lazy, |rows| {
            for &layer in layers {
                if !self.pin_layer(rows, layer)? {
                    return Err(StoreError::NoLayer(layer));
                }
            }
            Ok(())
        })
    }

    /// Pins a layer, if it is there. Part of a transaction that writes.
    pub(crate) fn pin_layer(&self, rows: &Rows<'_>, layer: LayerId) -> Result<bool, StoreError> {
        let there = rows.any("SELECT 1 FROM layers WHERE id = ?1", [layer.to_row()])?;
        if there {
            self.pin(rows, "layer", &layer.to_row())?;
        }
        Ok(there)
    }

    /// Pins a blob, if it is there, and returns its size. Part of a transaction that writes.
    pub(crate) fn pin_blob(&self, rows: &Rows<'_>, digest: &BlobDigest) -> Result<Option<u64>, StoreError> {
        let digest = digest.as_bytes();
        let size = rows.one("SELECT bytes FROM blobs WHERE digest = ?1", [digest], |row| row.get(0))?;
        if size.is_some() {
            self.pin(rows, "blob", digest)?;
        }
        Ok(size)
    }

    pub(crate) fn pin(&self, rows: &Rows<'_>, kind: &str, id: &dyn ToSql) -> Result<(), StoreError> {
        rows.run("INSERT OR IGNORE INTO pins (owner, kind, id) VALUES (?1, ?2, ?3)", params![self.0.owner, kind, id])
            .map(drop)
    }

    /// Announces that a file is about to appear or to disappear, so that it can be cleared up if this process dies.
    pub(crate) fn announce(&self, rows: &Rows<'_>, kind: &str, id: &dyn ToSql) -> Result<(), StoreError> {
        rows.run("INSERT OR IGNORE INTO pending (owner, kind, id) VALUES (?1, ?2, ?3)", params![self.0.owner, kind, id])
            .map(drop)
    }

    /// Takes an announcement back.
    pub(crate) fn done(&self, rows: &Rows<'_>, kind: &str, id: &dyn ToSql) -> Result<(), StoreError> {
        rows.run("DELETE FROM pending WHERE owner = ?1 AND kind = ?2 AND id = ?3", params![self.0.owner, kind, id])
            .map(drop)
    }

    /// Deletes a directory of the private area some time before the lease ends.
    fn tidy(&self, path: String) {
        let mut tidier = self.0.tidier.lock().unwrap_or_else(PoisonError::into_inner);
        if tidier.is_none() {
            *tidier = Tidier::start(&self.0.store).ok();
        }
        if let Some(tidier) = &*tidier {
            // Without the thread, it goes with the lease.
            drop(tidier.paths.send(path));
        }
    }

    /// Moves what was announced and has no row into the trash.
    pub(crate) fn clear_announced(&self) -> Result<(), StoreError> {
        recover::clear_pending(&self.0.store, &self.0.owner)
    }
}

/// A private directory that becomes a layer when it is published, and is deleted when it is dropped.
#[derive(Debug)]
pub struct WorkDir {
    lease: Lease,
    parent: String,
    number: u64,
    overlay: bool,
    pub(crate) published: bool,
}

impl WorkDir {
    /// Returns its path below the store's root.
    #[must_use]
    pub fn rel_path(&self) -> String {
        format!("{}/{}", self.parent, self.number)
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.lease.store().path(&self.rel_path())
    }

    /// Returns the path, below the store's root, of the directory for the layer's files: an overlay's `upperdir`. It has
    /// mode 0755 and belongs to root until somebody gives it what its parent's root has.
    #[must_use]
    pub fn diff_rel_path(&self) -> String {
        format!("{}/{}/diff", self.parent, self.number)
    }

    /// Returns the path, below the store's root, of an empty directory for an overlay's `workdir`, if this was made by
    /// [`Lease::overlay_work_dir`]. It is not published.
    #[must_use]
    pub fn work_rel_path(&self) -> String {
        format!("{}/{}.work", self.parent, self.number)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What fails here is in `tmp/<owner>` and goes with the lease.
        if !self.published {
            drop(self.lease.store().delete(&self.rel_path()));
        }
        if self.overlay {
            self.lease.tidy(self.work_rel_path());
        }
    }
}
