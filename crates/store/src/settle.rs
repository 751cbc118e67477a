//! Making sure that what was published survives a loss of power.

use rusqlite::ToSql;

use crate::database::Durability;
use crate::error::StoreError;
use crate::store::Store;

/// The tables whose rows name files, and their keys.
const TABLES: [(&str, &str); 4] = [
    ("SELECT id FROM layers WHERE boot IS NOT NULL", "UPDATE layers SET boot = NULL WHERE id = ?1"),
    ("SELECT digest FROM blobs WHERE boot IS NOT NULL", "UPDATE blobs SET boot = NULL WHERE digest = ?1"),
    ("SELECT id FROM images WHERE boot IS NOT NULL", "UPDATE images SET boot = NULL WHERE id = ?1"),
    ("SELECT id FROM containers WHERE boot IS NOT NULL", "UPDATE containers SET boot = NULL WHERE id = ?1"),
];

impl Store {
    /// Writes the store's file system to the disk and remembers that everything published before is durable.
    ///
    /// Costs what the disk needs for all that is not written yet, and nothing if there is nothing to settle.
    pub fn settle(&self) -> Result<(), StoreError> {
        // What is published while the disk works stays unsettled: its files may have missed the write.
        let mut unsettled: Vec<(&str, Vec<rusqlite::types::Value>)> = Vec::new();
        self.database().snapshot(|rows| {
            for (select, update) in TABLES {
                unsettled.push((update, rows.all(select, [], |row| row.get(0))?));
            }
            Ok::<_, StoreError>(())
        })?;
        if unsettled.iter().all(|(_, keys)| keys.is_empty()) {
            return Ok(());
        }
        rustix::fs::syncfs(self.directory())
            .map_err(|error| StoreError::io("write to the disk", self.root(), error))?;
        self.reach("settle.synced");
        self.database().write(Durability::Durable, |rows| {
            for (update, keys) in &unsettled {
                for key in keys {
                    rows.run(update, [key as &dyn ToSql])?;
                }
            }
            Ok::<_, StoreError>(())
        })?;
        self.reach("settle.recorded");
        self.database().checkpoint()
    }

    /// Returns when the oldest thing was published that a loss of power would undo, in seconds since 1970, if there is one.
    pub fn unsettled_since(&self) -> Result<Option<i64>, StoreError> {
        let query = "SELECT min(oldest) FROM ( \
                     SELECT min(created) AS oldest FROM layers WHERE boot IS NOT NULL \
                     UNION ALL SELECT min(created) FROM blobs WHERE boot IS NOT NULL \
                     UNION ALL SELECT min(stored) FROM images WHERE boot IS NOT NULL \
                     UNION ALL SELECT min(created) FROM containers WHERE boot IS NOT NULL)";
        let oldest = self.database().read(|rows| rows.one(query, [], |row| row.get::<_, Option<i64>>(0)))?;
        Ok(oldest.flatten())
    }

    /// Whether something is published that a loss of power would undo.
    pub fn is_settled(&self) -> Result<bool, StoreError> {
        self.database().read(|rows| {
            for (select, _) in TABLES {
                if rows.any(select, [])? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}
