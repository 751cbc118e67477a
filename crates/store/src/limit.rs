//! The most that the store may take, asked before anything is written.
//!
//! What is to be written is first made room for: results that no living process uses are given up, those unused for longest
//! first. A blob whose size is known has its blocks before its first byte, so that two processes never count on the same
//! space. What a step or an archive will write nobody knows; it begins only if there is [headroom](headroom), is watched
//! while it grows, and is measured once more before it becomes a layer.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::params;
use rustix::fs::FallocateFlags;

use crate::database::Durability;
use crate::error::StoreError;
use crate::layout;
use crate::lease::Lease;
use crate::store::{Store, names};
use crate::usage::Seen;

/// The most that is left free for what grows unseen between two looks.
const HEADROOM_BYTES_MAX: u64 = 256 << 20;
/// The part of the limit that is, for a small one.
const HEADROOM_PART: u64 = 16;
/// Time between two looks at the space that is free, and the least between two at what grows.
const LOOK: Duration = Duration::from_millis(20);
/// A look at what grows takes at most one part in so many of the time, as long as the free space says that there is room.
const LOOK_SHARE: u32 = 10;

/// Where a process has the store's limit from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SizeLimit {
    /// From the store: [`Store::set_size_limit`].
    #[default]
    Recorded,
    /// From its caller; without a number there is none.
    Given(Option<u64>),
}

/// Told when something grows into the limit and nothing is left to be given up.
pub type OnFull = Arc<dyn Fn() + Send + Sync>;

/// What a process knows about the store's size.
#[derive(Default)]
pub(crate) struct Ledger {
    limit: OnceLock<Option<u64>>,
    /// Layers never change, so they are measured once.
    layers: Mutex<HashMap<String, Measured>>,
    full: OnceLock<(u64, u64)>,
}

/// A layer's bytes: those of files with one link, and each file with several.
#[derive(Default)]
struct Measured {
    own: u64,
    linked: Vec<(u64, u64, u64)>,
}

impl Measured {
    fn add(&mut self, metadata: &Metadata) {
        let bytes = metadata.blocks() * 512;
        if !metadata.is_dir() && metadata.nlink() > 1 {
            self.linked.push((metadata.dev(), metadata.ino(), bytes));
        } else {
            self.own += bytes;
        }
    }

    fn of(path: &Path) -> io::Result<Self> {
        let mut measured = Self::default();
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            let metadata = path.symlink_metadata()?;
            measured.add(&metadata);
            if metadata.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
            }
        }
        Ok(measured)
    }
}

/// Space that has to be free for work whose size nobody knows to begin.
fn headroom(limit: u64) -> u64 {
    (limit / HEADROOM_PART).min(HEADROOM_BYTES_MAX)
}

impl Store {
    /// Returns the most bytes that the store may take, if somebody has said so.
    pub fn size_limit(&self) -> Result<Option<u64>, StoreError> {
        if let SizeLimit::Given(limit) = self.given_limit() {
            return Ok(limit);
        }
        if let Some(limit) = self.ledger().limit.get() {
            return Ok(*limit);
        }
        let query = "SELECT value FROM meta WHERE name = 'limit'";
        let text = self.database().read(|rows| rows.one(query, [], |row| row.get::<_, String>(0)))?;
        let number = |text: String| {
            let detail = format!("limit `{text}`");
            text.parse().map_err(|_| StoreError::Row { table: "meta", detail })
        };
        let limit = text.map(number).transpose()?;
        Ok(*self.ledger().limit.get_or_init(|| limit))
    }

    /// Sets the most bytes that the store may take, for all processes that open it from now on.
    pub fn set_size_limit(&self, limit: Option<u64>) -> Result<(), StoreError> {
        self.database().write(Durability::Durable, |rows| match limit {
            Some(bytes) => {
                let insert = "INSERT OR REPLACE INTO meta (name, value) VALUES ('limit', ?1)";
                rows.run(insert, params![bytes.to_string()]).map(drop)
            }
            None => rows.run("DELETE FROM meta WHERE name = 'limit'", []).map(drop),
        })
    }

    /// Returns the error of what grew into the limit in this process, if something did. Nothing is published after it.
    #[must_use]
    pub fn over_limit(&self) -> Option<StoreError> {
        let (limit, used) = *self.ledger().full.get()?;
        Some(StoreError::Limit { limit, used, needed: headroom(limit) })
    }

    /// Returns the bytes of all layers, and their files with several links.
    fn measured_layers(&self) -> Result<(u64, HashSet<(u64, u64)>), StoreError> {
        let mut known = self.ledger().layers.lock().unwrap_or_else(PoisonError::into_inner);
        let there = names(&self.path(layout::LAYERS))?;
        known.retain(|name, _| there.binary_search(name).is_ok());
        for name in there {
            // One that is being deleted is in the trash, and counted there.
            if !known.contains_key(&name)
                && let Ok(measured) = Measured::of(&self.path(layout::LAYERS).join(&name))
            {
                known.insert(name, measured);
            }
        }
        let mut linked = HashSet::new();
        let mut bytes = known.values().map(|measured| measured.own).sum();
        for (device, inode, size) in known.values().flat_map(|measured| &measured.linked) {
            if linked.insert((*device, *inode)) {
                bytes += size;
            }
        }
        Ok((bytes, linked))
    }

    /// Returns the bytes that the store takes now. Layers are measured once for each process.
    fn measured(&self) -> Result<u64, StoreError> {
        let (mut bytes, linked) = self.measured_layers()?;
        let mut seen = Seen::from(linked);
        for directory in
            [layout::CONTAINERS, layout::CACHES, layout::VOLUMES, layout::TMP, layout::TRASH, layout::LOGS, "blobs"]
        {
            bytes += seen.tree(&self.path(directory))?;
        }
        let rest = names(self.root())?.into_iter().filter(|name| layout::is_index(name));
        bytes += seen.one(self.root())? + seen.one(&self.path(layout::LAYERS))?;
        for name in rest.chain([layout::STUBS.to_owned(), layout::CONTEXT.to_owned()]) {
            bytes += seen.tree(&self.path(&name))?;
        }
        Ok(bytes)
    }

    /// Fails unless `needed` more bytes stay below the limit, after as much as necessary was given up.
    pub(crate) fn make_room(&self, needed: u64) -> Result<(), StoreError> {
        let Some(limit) = self.size_limit()? else { return Ok(()) };
        let fits = || Ok(self.measured()?.saturating_add(needed) <= limit);
        if fits()? || self.make_way(&fits)? {
            return Ok(());
        }
        Err(StoreError::Limit { limit, used: self.measured()?, needed })
    }

    /// Makes room for work of which nobody knows how much it will write.
    pub(crate) fn make_headroom(&self) -> Result<(), StoreError> {
        match self.size_limit()? {
            Some(limit) => self.make_room(headroom(limit)),
            None => Ok(()),
        }
    }

    /// Gives a new file all its blocks, within the limit. Other processes see them, and wait for this answer meanwhile.
    pub(crate) fn reserve(&self, file: &File, bytes: u64) -> Result<(), StoreError> {
        let Some(limit) = self.size_limit()? else { return Ok(()) };
        if bytes == 0 {
            return Ok(());
        }
        self.make_room(bytes)?;
        self.database().write(Durability::Lazy, |_| {
            let used = self.measured()?;
            if used.saturating_add(bytes) > limit {
                return Err(StoreError::Limit { limit, used, needed: bytes });
            }
            // Where the file system cannot do it, what is written is counted as it comes.
            let _allocated = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes);
            Ok(())
        })
    }

    /// Looks at what grows. Returns the bytes that the store takes if it may go on, and nothing if it may not.
    fn look(&self, limit: u64) -> Result<Option<u64>, StoreError> {
        let room = headroom(limit);
        let used = self.measured()?;
        if used.saturating_add(room / 2) <= limit {
            return Ok(Some(used));
        }
        self.make_way(&|| Ok(self.measured()?.saturating_add(room) <= limit))?;
        let used = self.measured()?;
        if used.saturating_add(room / 2) <= limit {
            return Ok(Some(used));
        }
        let _first = self.ledger().full.set((limit, used));
        Ok(None)
    }

    /// Fails if what has grown has passed the limit, after as much as necessary was given up. What grows faster than it is
    /// looked at ends here at the latest: no layer that does not fit is kept.
    pub fn hold_limit(&self) -> Result<(), StoreError> {
        if let Some(error) = self.over_limit() {
            return Err(error);
        }
        self.make_room(0).map_err(|error| match error {
            StoreError::Limit { limit, used, .. } => StoreError::Limit { limit, used, needed: headroom(limit) },
            error => error,
        })
    }

    /// Returns the bytes that are free on the store's file system, if it says so.
    fn free_bytes(&self) -> Option<u64> {
        let space = rustix::fs::statvfs(self.root()).ok()?;
        Some(space.f_bfree.saturating_mul(space.f_frsize))
    }
}

/// What the last look at what grows has found.
#[derive(Clone, Copy)]
struct Looked {
    /// Bytes that the store took, and that its file system had free before.
    used: u64,
    free: Option<u64>,
    /// How long it took.
    took: Duration,
}

impl Looked {
    /// Returns whether what grows has to be looked at again: in its turn, or as soon as so much free space is gone that the
    /// store may be at its limit. In no case does looking take more than half of the time.
    fn is_old(&self, limit: u64, free: Option<u64>, since: Duration) -> bool {
        let gone = self.free.zip(free).map_or(0, |(before, now)| before.saturating_sub(now));
        let may_be_full = self.used.saturating_add(gone).saturating_add(headroom(limit) / 2) > limit;
        since >= if may_be_full { self.took } else { self.took.saturating_mul(LOOK_SHARE) }
    }
}

/// A thread that looks at what grows.
pub(crate) struct Gauge {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Gauge {
    /// Begins to look, if there is a limit.
    pub(crate) fn start(store: &Store) -> Result<Option<Self>, StoreError> {
        let Some(limit) = store.size_limit()? else { return Ok(None) };
        let (stop, stopped) = channel::<()>();
        let watched = store.clone();
        let watch = move || {
            let (mut last, mut end) = (None::<Looked>, Instant::now());
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK) {
                let (free, start) = (watched.free_bytes(), Instant::now());
                if last.is_some_and(|last| !last.is_old(limit, free, start - end)) {
                    continue;
                }
                let used = watched.look(limit);
                end = Instant::now();
                match used {
                    Ok(Some(used)) => last = Some(Looked { used, free, took: end - start }),
                    Ok(None) => {
                        watched.tell_full();
                        return;
                    }
                    // What cannot be measured now is measured the next time.
                    Err(_) => last = None,
                }
            }
        };
        let thread = std::thread::Builder::new().name("gauge".to_owned()).spawn(watch);
        let thread = thread.map_err(|error| StoreError::io("start a thread for", store.root(), error))?;
        Ok(Some(Self { stop, thread }))
    }

    /// Ends it.
    pub(crate) fn end(self) {
        drop(self.stop);
        // It has panicked or it has ended; the lease ends either way.
        drop(self.thread.join());
    }
}

impl Lease {
    /// Makes room for work that will write at least so many bytes: nothing of it begins that would pass the limit. They are
    /// counted only if there is a limit.
    ///
    /// Errors: they don't fit, with half of the room that what grows unseen is left, after as much as necessary was given up.
    pub fn make_room(&self, bytes: impl FnOnce() -> u64) -> Result<(), StoreError> {
        match self.store().size_limit()? {
            Some(limit) => self.store().make_room(bytes().saturating_add(headroom(limit) / 2)),
            None => Ok(()),
        }
    }

    /// Makes room to begin something of which nobody knows how much it will write, and has it watched, as
    /// [`Lease::watch_growth`].
    pub fn begin_growth(&self) -> Result<(), StoreError> {
        self.store().make_headroom()?;
        self.start_gauge()
    }

    /// Has everything in the store that grows while this lease lasts watched, if there is a limit.
    pub fn watch_growth(&self) -> Result<(), StoreError> {
        self.start_gauge()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGA: u64 = 1 << 20;

    #[test]
    fn what_grows_is_looked_at_in_its_turn_or_when_free_space_is_gone() {
        let took = Duration::from_millis(300);
        let last = Looked { used: 40 * MEGA, free: Some(900 * MEGA), took };
        let limit = 64 * MEGA;
        let old = |free: Option<u64>, since: u32| last.is_old(limit, free, took * since);
        assert!(!old(Some(900 * MEGA), 9), "nothing has grown, and it takes long to look");
        assert!(old(Some(900 * MEGA), 10));
        assert!(!old(Some(879 * MEGA), 9), "21 MB more are below the limit and half of the room before it");
        assert!(old(Some(877 * MEGA), 1), "23 MB are not");
        assert!(!last.is_old(limit, Some(0), took / 2), "but looking is not all that is done");
        assert!(!old(Some(950 * MEGA), 9), "somebody deletes");
        assert!(!old(None, 9) && old(None, 10), "a file system that says nothing");
        let near = Looked { used: 63 * MEGA, ..last };
        assert!(near.is_old(limit, Some(900 * MEGA), took));
    }
}
