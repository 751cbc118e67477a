//! `store check`: compares every row with the files and every file with the rows, and the bytes with their digests.
//!
//! It is safe beside running builds. Rows and files are compared inside one transaction, in which nobody publishes or
//! removes anything, and bytes are read under a lease.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;

use rusqlite::ToSql;
use stave_oci::{BlobDigest, DiffId, ImageId};

use crate::database::{Durability, Rows};
use crate::error::{BlobError, StoreError};
use crate::forget;
use crate::id::{ContainerId, LayerId};
use crate::layout;
use crate::lease::Lease;
use crate::record::{Eviction, Lost};
use crate::recover;
use crate::store::{Store, names};

/// Packs a layer, with the times that the text says, and returns the tar's digest.
pub type PackedDigest<'a> = dyn Fn(LayerId, &str) -> Result<DiffId, Box<dyn Error + Send + Sync>> + 'a;

/// How thorough a check is, and what it may change.
#[derive(Clone, Copy, Default)]
pub struct CheckOptions<'a> {
    /// Read every blob and compare its digest.
    pub read_blobs: bool,
    /// Pack every layer whose tar's digest is known, and compare.
    pub pack: Option<&'a PackedDigest<'a>>,
    /// Delete what nothing refers to, and forget what is damaged, so that it is fetched or built again.
    pub repair: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Layers that were looked at.
    pub layers: u64,
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Images that were looked at.
    pub images: u64,
    /// Containers that were looked at.
    pub containers: u64,
    /// Everything that is not as it should be.
    pub problems: Vec<Problem>,
    /// What was lost earlier and nobody has been told of.
    pub lost: Vec<Lost>,
}

impl CheckReport {
    /// Whether nothing is wrong, not even litter.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether something that is in use is missing or wrong. Litter only takes space.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.problems.iter().any(|problem| !problem.is_litter())
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The database's own check complains.
    #[error("the database is damaged: {0}")]
    Database(String),
    /// The store's directory lets others in.
    #[error("the store's directory has mode {0:o} instead of 700")]
    Mode(u32),
    /// A blob's file is not there.
    #[error("blob {0} has no file")]
    BlobMissing(BlobDigest),
    /// A blob's file is too short or too long.
    #[error("blob {digest} should have {expected} bytes and has {actual}")]
    BlobSize {
        /// The blob.
        digest: BlobDigest,
        /// Recorded.
        expected: u64,
        /// On the disk.
        actual: u64,
    },
    /// A blob's bytes have changed.
    #[error("blob {expected} has bytes whose digest is {actual}")]
    BlobDigest {
        /// Recorded.
        expected: BlobDigest,
        /// Of the bytes.
        actual: BlobDigest,
    },
    /// A layer's directory is not there.
    #[error("layer {0} has no directory")]
    LayerMissing(LayerId),
    /// A layer's files have changed.
    #[error("layer {layer} packs to {actual} instead of {expected}")]
    LayerDigest {
        /// The layer.
        layer: LayerId,
        /// Recorded.
        expected: DiffId,
        /// Of the files.
        actual: DiffId,
    },
    /// A file cannot be read.
    #[error("cannot read {what}: {detail}")]
    Unreadable {
        /// A layer or a blob.
        what: String,
        /// Why.
        detail: String,
    },
    /// A container's directory is not there.
    #[error("container {0} has no directory")]
    ContainerMissing(ContainerId),
    /// An image has no configuration, or a layer that is neither a directory nor a blob.
    #[error("image {0} lacks its configuration or a layer")]
    ImageBroken(ImageId),
    /// A row names another row that is not there.
    #[error("{count} rows of `{table}` name something that is not there")]
    Dangling {
        /// The table.
        table: &'static str,
        /// How many.
        count: u64,
    },
    /// A file or directory that no row names.
    #[error("`{0}` belongs to nothing")]
    Orphan(String),
    /// A name that the store never makes.
    #[error("`{0}` is not one of the store's files")]
    Stray(String),
    /// Something in the trash cannot be deleted.
    #[error("the trash cannot be emptied: {0}")]
    Trash(String),
}

impl Problem {
    /// Whether it only takes space.
    #[must_use]
    pub fn is_litter(&self) -> bool {
        matches!(self, Self::Orphan(_) | Self::Stray(_) | Self::Trash(_))
    }
}

impl Store {
    /// Checks everything that `options` ask for.
    pub fn check(&self, options: &CheckOptions<'_>) -> Result<CheckReport, StoreError> {
        recover::dead_owners(self)?;
        let mut report = CheckReport { lost: self.lost()?, ..CheckReport::default() };
        report.problems.extend(self.database().faults()?.into_iter().map(Problem::Database));
        let lease = self.lease()?;
        let now = self.now();
        let durability = if options.repair { Durability::Durable } else { Durability::Lazy };
        self.database().write(durability, |rows| {
            let mut check = Structure { lease: &lease, rows, repair: options.repair, now, report: &mut report };
            check.root()?;
            check.blobs()?;
            check.layers()?;
            check.containers()?;
            check.caches()?;
            check.volumes()?;
            check.orphans(layout::LOGS, "SELECT 1 FROM builds WHERE id = ?1", |_| None)?;
            check.references()
        })?;
        if options.read_blobs {
            self.check_blob_bytes(&lease, options.repair, &mut report)?;
        }
        if let Some(pack) = options.pack {
            self.check_layer_bytes(&lease, pack, options.repair, &mut report)?;
        }
        lease.clear_announced()?;
        match self.empty_trash() {
            Ok(_) => {}
            Err(error @ StoreError::MountPoint { .. }) => report.problems.push(Problem::Trash(error.to_string())),
            Err(error) => return Err(error),
        }
        Ok(report)
    }

    fn check_blob_bytes(&self, lease: &Lease, repair: bool, report: &mut CheckReport) -> Result<(), StoreError> {
        let digests = "SELECT digest FROM blobs ORDER BY digest";
        for digest in self.database().read(|rows| rows.all(digests, [], |row| row.get::<_, [u8; 32]>(0)))? {
            let digest = BlobDigest::from(digest);
            if lease.blob(&digest)?.is_none() {
                continue;
            }
            let problem = match self.verify_blob(&digest) {
                // A missing file is reported by the comparison of rows and files.
                Ok(()) | Err(BlobError::Missing(_)) => continue,
                Err(BlobError::DigestMismatch { expected, actual }) => Problem::BlobDigest { expected, actual },
                Err(error) => Problem::Unreadable { what: format!("blob {digest}"), detail: chain(&error) },
            };
            let is_wrong = matches!(problem, Problem::BlobDigest { .. });
            report.problems.push(problem);
            if repair && is_wrong {
                self.forget_damaged(|rows| forget::blob(lease, rows, &digest))?;
            }
        }
        Ok(())
    }

    fn check_layer_bytes(
        &self,
        lease: &Lease,
        pack: &PackedDigest<'_>,
        repair: bool,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let query = "SELECT layer, epoch, diff_id FROM layer_tars ORDER BY layer, epoch";
        let tars = self.database().read(|rows| {
            rows.all(query, [], |row| {
                let times: String = row.get(1)?;
                Ok((LayerId::from_row(row.get(0)?), times, DiffId::from(row.get::<_, [u8; 32]>(2)?)))
            })
        })?;
        for (layer, times, expected) in tars {
            match lease.pin_layers(&[layer]) {
                Ok(()) => {}
                Err(StoreError::NoLayer(_)) => continue,
                Err(error) => return Err(error),
            }
            let problem = match pack(layer, &times) {
                Ok(actual) if actual == expected => continue,
                Ok(actual) => Problem::LayerDigest { layer, expected, actual },
                Err(error) => Problem::Unreadable { what: format!("layer {layer}"), detail: chain(&*error) },
            };
            let is_wrong = matches!(problem, Problem::LayerDigest { .. });
            report.problems.push(problem);
            if repair && is_wrong {
                let now = self.now();
                self.forget_damaged(|rows| forget::layer(lease, rows, layer, Eviction::Damaged, now))?;
            }
        }
        Ok(())
    }

    fn forget_damaged(&self, forget: impl FnOnce(&Rows<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let now = self.now();
        self.database().write(Durability::Durable, |rows| {
            forget(rows)?;
            forget::broken_images(rows, now).map(drop)
        })
    }
}

/// The comparison of rows and files, inside one transaction.
struct Structure<'a> {
    lease: &'a Lease,
    rows: &'a Rows<'a>,
    repair: bool,
    now: i64,
    report: &'a mut CheckReport,
}

impl Structure<'_> {
    fn store(&self) -> &Store {
        self.lease.store()
    }

    fn problem(&mut self, problem: Problem) {
        self.report.problems.push(problem);
    }

    fn root(&mut self) -> Result<(), StoreError> {
        let metadata = self.store().directory().metadata();
        let mode = metadata.map_err(|error| StoreError::io("read the metadata of", self.store().root(), error))?.mode();
        if mode & 0o7777 != 0o700 {
            self.problem(Problem::Mode(mode & 0o7777));
        }
        for name in names(self.store().root())? {
            if !layout::ROOT_NAMES.contains(&name.as_str()) && name != layout::STUBS {
                self.problem(Problem::Stray(name));
            }
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), StoreError> {
        let query = "SELECT digest, bytes FROM blobs ORDER BY digest";
        let rows = self.rows.all(query, [], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, u64>(1)?)))?;
        self.report.blobs = rows.len() as u64;
        for (digest, expected) in rows {
            let digest = BlobDigest::from(digest);
            let path = self.store().path(&layout::blob_file(&digest));
            let problem = match path.symlink_metadata() {
                Ok(metadata) if metadata.is_file() && metadata.len() == expected => continue,
                Ok(metadata) => Problem::BlobSize { digest, expected, actual: metadata.len() },
                Err(error) if error.kind() == io::ErrorKind::NotFound => Problem::BlobMissing(digest),
                Err(error) => return Err(StoreError::io("read the metadata of", path, error)),
            };
            self.problem(problem);
            if self.repair {
                forget::blob(self.lease, self.rows, &digest)?;
            }
        }
        for parent in names(&self.store().path(layout::BLOBS))? {
            let directory = format!("{}/{parent}", layout::BLOBS);
            let known = "SELECT 1 FROM blobs WHERE digest = ?1";
            self.orphans(&directory, known, |name| {
                let digest = BlobDigest::from_hex(&format!("{parent}{name}"))?;
                Some(("blob", Box::new(*digest.as_bytes())))
            })?;
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<(), StoreError> {
        let ids = self.rows.all("SELECT id FROM layers ORDER BY id", [], |row| row.get(0).map(LayerId::from_row))?;
        self.report.layers = ids.len() as u64;
        for id in ids {
            if !self.store().path(&layout::layer_diff(id)).is_dir() {
                self.problem(Problem::LayerMissing(id));
                if self.repair {
                    forget::layer(self.lease, self.rows, id, Eviction::Damaged, self.now)?;
                }
            }
        }
        self.orphans(layout::LAYERS, "SELECT 1 FROM layers WHERE id = ?1", |name| {
            Some(("layer", Box::new(LayerId::from_hex(name)?.to_row())))
        })
    }

    fn caches(&mut self) -> Result<(), StoreError> {
        for name in self.store().caches()? {
            if !self.store().cache_is_whole(&name) {
                let path = format!("{}/{name}", layout::CACHES);
                if self.repair {
                    self.store().discard(&path)?;
                }
                self.problem(Problem::Orphan(path));
            }
        }
        Ok(())
    }

    fn volumes(&mut self) -> Result<(), StoreError> {
        let directory = self.store().path(layout::VOLUMES);
        for name in if directory.is_dir() { names(&directory)? } else { Vec::new() } {
            if !self.store().volume_is_whole(&name) {
                // It is somebody's data, so it is said and left.
                self.problem(Problem::Orphan(format!("{}/{name}", layout::VOLUMES)));
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<(), StoreError> {
        let ids = self.rows.all("SELECT id FROM containers ORDER BY id", [], |row| row.get(0))?;
        self.report.containers = ids.len() as u64;
        for id in ids.into_iter().map(ContainerId::from_row) {
            if !self.store().path(&self.store().container_diff_rel_path(&id)).is_dir() {
                if self.repair {
                    forget::container(self.lease, self.rows, &id, Some(self.now))?;
                }
                self.problem(Problem::ContainerMissing(id));
            }
        }
        self.orphans(layout::CONTAINERS, "SELECT 1 FROM containers WHERE id = ?1", |name| {
            Some(("container", Box::new(name.to_owned())))
        })
    }

    /// Reports what lies in a directory and has neither a row nor an owner that announced it.
    fn orphans(
        &mut self,
        directory: &str,
        known: &str,
        announced: impl Fn(&str) -> Option<(&'static str, Box<dyn ToSql>)>,
    ) -> Result<(), StoreError> {
        for name in names(&self.store().path(directory))? {
            let is_known = match announced(&name) {
                Some((kind, id)) => {
                    let pending = "SELECT 1 FROM pending WHERE kind = ?1 AND id = ?2";
                    self.rows.any(known, [&id])? || self.rows.any(pending, rusqlite::params![kind, id])?
                }
                // Logs are never announced: their row comes first and goes last.
                None => self.rows.any(known, [&name])?,
            };
            if is_known {
                continue;
            }
            let path = format!("{directory}/{name}");
            if self.repair {
                self.store().discard(&path)?;
            }
            self.problem(Problem::Orphan(path));
        }
        Ok(())
    }

    fn references(&mut self) -> Result<(), StoreError> {
        let images = "SELECT count(*) FROM images";
        self.report.images = self.rows.one(images, [], |row| row.get(0))?.unwrap_or(0);
        for (table, condition) in DANGLING {
            let count = format!("SELECT count(*) FROM {table} WHERE {condition}");
            let count: u64 = self.rows.one(&count, [], |row| row.get(0))?.unwrap_or(0);
            if count == 0 {
                continue;
            }
            self.problem(Problem::Dangling { table, count });
            if self.repair {
                self.rows.run(&format!("DELETE FROM {table} WHERE {condition}"), [])?;
            }
        }
        let broken: BTreeSet<ImageId> = if self.repair {
            forget::broken_images(self.rows, self.now)?.into_iter().collect()
        } else {
            forget::broken(self.rows)?.into_iter().collect()
        };
        for id in broken {
            self.problem(Problem::ImageBroken(id));
        }
        Ok(())
    }
}

/// Tables, and what is true of a row that names something that is not there.
const DANGLING: [(&str, &str); 12] = [
    ("tags", "image NOT IN (SELECT id FROM images)"),
    ("indexes", "image NOT IN (SELECT id FROM images)"),
    ("image_layers", "image NOT IN (SELECT id FROM images)"),
    ("attestations", "image NOT IN (SELECT id FROM images) OR blob NOT IN (SELECT digest FROM blobs)"),
    ("layer_tars", "layer NOT IN (SELECT id FROM layers)"),
    ("tar_marks", "layer NOT IN (SELECT id FROM layers)"),
    ("layer_forms", "digest NOT IN (SELECT digest FROM blobs)"),
    ("cache_layers", "layer NOT IN (SELECT id FROM layers) OR key NOT IN (SELECT key FROM cache WHERE gone IS NULL)"),
    ("container_layers", "layer NOT IN (SELECT id FROM layers) OR container NOT IN (SELECT id FROM containers)"),
    ("build_layers", "layer NOT IN (SELECT id FROM layers) OR build NOT IN (SELECT id FROM builds)"),
    ("pins", "kind = 'layer' AND id NOT IN (SELECT id FROM layers)"),
    ("pins", "kind = 'blob' AND id NOT IN (SELECT digest FROM blobs)"),
];

/// An error's text with those of its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
