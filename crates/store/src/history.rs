//! How much of the history of builds is kept, and what goes.
//!
//! `meta` has what all builds that have ended take together, as `history`: each adds to it when it ends, so that a build that
//! does nothing need not measure those of a year. Without that row it is not known, and is measured.

use rusqlite::params;

use crate::database::{Durability, Rows};
use crate::error::{BuildError, StoreError};
use crate::id::BuildId;
use crate::layout;
use crate::record::BuildState;
use crate::store::Store;
use crate::usage;

/// How many builds are kept where nobody has said it.
const COUNT_MAX: u32 = 100;
/// How many bytes they may take: a build that has written a gigabyte is still there after the next one.
const BYTES_MAX: u64 = 1 << 30;

/// What is kept of builds that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimit {
    /// Most builds.
    pub count_max: u32,
    /// Most bytes of what is kept of them: their events and logs.
    pub bytes_max: u64,
}

impl Default for HistoryLimit {
    fn default() -> Self {
        Self { count_max: COUNT_MAX, bytes_max: BYTES_MAX }
    }
}

/// Adds what a build that ends takes to what all take, if that is known.
pub(crate) fn add_measured(rows: &Rows<'_>, bytes: u64) -> Result<(), StoreError> {
    let update = "UPDATE meta SET value = CAST(value AS INTEGER) + ?1 WHERE name = 'history'";
    rows.run(update, params![bytes.cast_signed()]).map(drop)
}

/// Forgets what all builds take: some ended that were not measured, or some went.
pub(crate) fn forget_measured(rows: &Rows<'_>) -> Result<(), StoreError> {
    rows.run("DELETE FROM meta WHERE name = 'history'", []).map(drop)
}

fn number(rows: &Rows<'_>, name: &str) -> Result<Option<u64>, StoreError> {
    let text = rows.one("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, String>(0))?;
    let read = |text: String| {
        let detail = format!("{name} `{text}`");
        text.parse().map_err(|_| StoreError::Row { table: "meta", detail })
    };
    text.map(read).transpose()
}

impl Store {
    /// Returns how much of the history is kept.
    pub fn history_limit(&self) -> Result<HistoryLimit, StoreError> {
        self.database().read(|rows| {
            let default = HistoryLimit::default();
            let count = number(rows, "history-count")?.and_then(|count| u32::try_from(count).ok());
            Ok(HistoryLimit {
                count_max: count.unwrap_or(default.count_max),
                bytes_max: number(rows, "history-bytes")?.unwrap_or(default.bytes_max),
            })
        })
    }

    /// Says how much of the history is kept, for all processes. It holds when the next build ends, or is trimmed.
    pub fn set_history_limit(&self, limit: HistoryLimit) -> Result<(), StoreError> {
        self.database().write(Durability::Durable, |rows| {
            for (name, value) in [("history-count", u64::from(limit.count_max)), ("history-bytes", limit.bytes_max)] {
                let insert = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
                rows.run(insert, params![name, value.to_string()])?;
            }
            Ok(())
        })
    }

    /// Deletes the oldest builds that have ended until those that are left keep the limit. Running builds are neither
    /// counted nor touched, and the latest that has ended stays, whatever it wrote: its logs are what its user was just
    /// told of. Returns how many went.
    pub fn trim_builds(&self, limit: HistoryLimit) -> Result<usize, StoreError> {
        let count = "SELECT count(*) FROM builds WHERE state <> 'running'";
        let (count, measured) = self.database().read(|rows| {
            let count: u32 = rows.one(count, [], |row| row.get(0))?.unwrap_or(0);
            Ok::<_, StoreError>((count, number(rows, "history")?))
        })?;
        if count <= limit.count_max.max(1) && measured.is_some_and(|bytes| bytes <= limit.bytes_max) {
            return Ok(0);
        }
        // Builds that end from here on add to it, and so are noticed.
        let start = self.database().write(Durability::Lazy, |rows| {
            rows.run("INSERT OR IGNORE INTO meta (name, value) VALUES ('history', '0')", [])?;
            number(rows, "history")
        })?;
        let query = "SELECT id FROM builds WHERE state <> 'running' ORDER BY number DESC";
        let ended = self.database().read(|rows| rows.all(query, [], |row| row.get(0).map(BuildId::from_row)))?;
        let (mut bytes, mut removed, mut kept_layers) = (0, 0, 0);
        for (position, id) in ended.iter().enumerate() {
            let own = usage::tree_bytes(&self.path(&layout::build_logs(id)))?;
            let fits = position < limit.count_max as usize && bytes + own <= limit.bytes_max;
            // What is older than one that goes, goes.
            if position == 0 || removed == 0 && fits {
                bytes += own;
                continue;
            }
            kept_layers += self.discard_build(id)?;
            removed += 1;
        }
        self.database().write(Durability::Lazy, |rows| {
            // If others have added to it or measured meanwhile, nobody knows what is in which number.
            if number(rows, "history")? != start {
                return forget_measured(rows);
            }
            rows.run("UPDATE meta SET value = ?1 WHERE name = 'history'", [bytes.to_string()]).map(drop)
        })?;
        if kept_layers > 0 {
            self.collect_garbage()?;
        }
        Ok(removed)
    }

    /// Deletes a build that has ended, its logs, and what it keeps of the state in which it failed.
    pub fn remove_build(&self, id: &BuildId) -> Result<(), BuildError> {
        let build = self.find_build(Some(id.as_str()))?;
        // One that has ended never runs again.
        if build.state == BuildState::Running {
            return Err(BuildError::Running(build.id));
        }
        let kept_layers = self.discard_build(id)?;
        self.database().write(Durability::Lazy, forget_measured)?;
        if kept_layers > 0 {
            self.collect_garbage()?;
        }
        Ok(())
    }

    /// Deletes what is kept of a build. Returns how many layers it kept.
    fn discard_build(&self, id: &BuildId) -> Result<usize, StoreError> {
        // The files go first: an entry without logs is no fault, logs without an entry are litter.
        self.delete(&layout::build_logs(id))?;
        self.reach("builds.discarded");
        self.database().write(Durability::Lazy, |rows| {
            let kept = rows.run("DELETE FROM build_layers WHERE build = ?1", [id.as_str()])?;
            rows.run("DELETE FROM builds WHERE id = ?1", [id.as_str()]).map(|_| kept)
        })
    }
}
