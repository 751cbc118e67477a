//! The history of builds: what was built, how it ended, and a directory for the logs of each.

use rusqlite::{Params, params};
use stave_oci::ImageId;

use crate::database::{Durability, Rows};
use crate::error::{BuildError, StoreError};
use crate::history;
use crate::id::{BuildId, LayerId};
use crate::layout;
use crate::lease::Lease;
use crate::record::{BuildRecord, BuildState};
use crate::store::{Store, make_private_dir};
use crate::usage;

impl BuildState {
    fn to_row(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    fn from_row(text: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed, Self::Interrupted].into_iter().find(|state| state.to_row() == text)
    }
}

impl Lease {
    /// Begins a build's entry in the history. If this process dies, the entry says that the build was interrupted.
    pub fn begin_build(&self, title: &str) -> Result<BuildId, StoreError> {
        let (store, id) = (self.store(), BuildId::random()?);
        store.database().write(Durability::Lazy, |rows| {
            let insert = "INSERT INTO builds (id, owner, number, title, state, started) \
                          SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4, ?5 FROM builds";
            let state = BuildState::Running.to_row();
            rows.run(insert, params![id.as_str(), self.owner(), title, state, store.now()])
        })?;
        // An entry without a directory is no fault, so this order leaves no litter.
        store.reach("build.recorded");
        make_private_dir(&store.path(&layout::build_logs(&id)))?;
        Ok(id)
    }

    /// Ends a build's entry. What is in its directory now is what it counts for.
    pub fn finish_build(&self, id: &BuildId, state: BuildState, image: Option<&ImageId>) -> Result<(), StoreError> {
        let now = self.store().now();
        let bytes = usage::tree_bytes(&self.store().path(&layout::build_logs(id)))?;
        self.store().database().write(Durability::Lazy, |rows| {
            let update = "UPDATE builds SET state = ?2, finished = ?3, image = ?4 WHERE id = ?1";
            rows.run(update, params![id.as_str(), state.to_row(), now, image.map(ImageId::as_bytes)])?;
            history::add_measured(rows, bytes)
        })
    }
}

impl Lease {
    /// Has a build's entry keep layers: what is needed to look at the state in which it failed. They are kept until the
    /// entry goes, or the state is given up for want of space. Of all builds, the `count_max` latest states are kept.
    pub fn keep_state(&self, id: &BuildId, layers: &[LayerId], count_max: usize) -> Result<(), StoreError> {
        let dropped = self.store().database().write(Durability::Lazy, |rows| {
            for (position, &layer) in layers.iter().enumerate() {
                if !self.pin_layer(rows, layer)? {
                    return Err(StoreError::NoLayer(layer));
                }
                let insert = "INSERT OR REPLACE INTO build_layers (build, position, layer) VALUES (?1, ?2, ?3)";
                rows.run(insert, params![id.as_str(), position, layer.to_row()])?;
            }
            let trim = "DELETE FROM build_layers WHERE build <> ?1 AND build NOT IN (\
                        SELECT id FROM builds WHERE id <> ?1 AND id IN (SELECT build FROM build_layers) \
                        ORDER BY number DESC LIMIT ?2)";
            rows.run(trim, params![id.as_str(), count_max.saturating_sub(1)])
        })?;
        if dropped > 0 { self.store().collect_garbage() } else { Ok(()) }
    }
}

impl Store {
    /// Returns the layers that a build's entry keeps, in the order in which they were given; none if there are none, or
    /// no longer.
    pub fn kept_state(&self, id: &BuildId) -> Result<Vec<LayerId>, StoreError> {
        let query = "SELECT layer FROM build_layers WHERE build = ?1 ORDER BY position";
        self.database().read(|rows| rows.all(query, [id.as_str()], |row| row.get(0).map(LayerId::from_row)))
    }

    /// Gives up the states of failed builds that ended before a time, the oldest first. Returns of how many builds.
    pub(crate) fn give_up_states(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        let query = "SELECT id FROM builds WHERE state <> 'running' AND coalesce(finished, started) < ?1 \
                     AND id IN (SELECT build FROM build_layers) ORDER BY number LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let kept = |rows: &Rows<'_>| rows.all(query, params![before, limit], |row| row.get::<_, String>(0));
        if self.database().read(kept)?.is_empty() {
            return Ok(0);
        }
        self.database().write(Durability::Lazy, |rows| {
            let builds = kept(rows)?;
            for build in &builds {
                rows.run("DELETE FROM build_layers WHERE build = ?1", [build])?;
            }
            Ok(builds.len() as u64)
        })
    }

    /// Returns the path, below the store's root, of the directory for a build's logs.
    #[must_use]
    pub fn build_logs_rel_path(&self, id: &BuildId) -> String {
        layout::build_logs(id)
    }

    /// Returns the latest builds, latest first.
    pub fn builds(&self, limit: u32) -> Result<Vec<BuildRecord>, StoreError> {
        self.database().read(|rows| read(rows, "1 = 1", params![limit]))
    }

    /// Finds a build: by its id or how that begins, by how many builds began after it (`^0` is the latest), or, without a
    /// name, the latest.
    pub fn find_build(&self, name: Option<&str>) -> Result<BuildRecord, BuildError> {
        let Some(name) = name else {
            return self.builds(1)?.into_iter().next().ok_or(BuildError::Empty);
        };
        let not_found = || BuildError::NotFound(name.to_owned());
        if let Some(later) = name.strip_prefix('^') {
            let later: u32 = later.parse().map_err(|_| not_found())?;
            let builds = self.builds(later.saturating_add(1))?;
            return builds.into_iter().nth(later as usize).ok_or_else(not_found);
        }
        if name.is_empty() {
            return Err(not_found());
        }
        let begins = "substr(id, 1, length(?2)) = ?2";
        let mut found = self.database().read(|rows| read(rows, begins, params![u32::MAX, name]))?;
        match found.len() {
            0 => Err(not_found()),
            1 => Ok(found.remove(0)),
            _ => {
                let matches = found.into_iter().map(|build| build.id).collect();
                Err(BuildError::Ambiguous { prefix: name.to_owned(), matches })
            }
        }
    }
}

/// Returns builds for which a condition holds, at most as many as the first parameter says, latest first.
fn read(rows: &Rows<'_>, condition: &str, parameters: impl Params) -> Result<Vec<BuildRecord>, StoreError> {
    let query = format!(
        "SELECT id, title, state, started, finished, image FROM builds WHERE {condition} ORDER BY number DESC LIMIT ?1"
    );
    let found = rows.all(&query, parameters, |row| {
        let record = BuildRecord {
            id: BuildId::from_row(row.get(0)?),
            title: row.get(1)?,
            state: BuildState::Running,
            started: row.get(3)?,
            finished: row.get(4)?,
            image: row.get::<_, Option<[u8; 32]>>(5)?.map(ImageId::from),
        };
        Ok((record, row.get::<_, String>(2)?))
    })?;
    found
        .into_iter()
        .map(|(record, state)| match BuildState::from_row(&state) {
            Some(state) => Ok(BuildRecord { state, ..record }),
            None => Err(StoreError::Row { table: "builds", detail: format!("state `{state}`") }),
        })
        .collect()
}
