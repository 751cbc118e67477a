//! Cache records: which snapshot a step made, under the key of everything that decided it.

use std::time::Duration;

use rusqlite::params;
use stave_oci::TreeDigest;

use crate::database::{Durability, Rows};
use crate::error::StoreError;
use crate::id::LayerId;
use crate::lease::Lease;
use crate::record::{CacheLookup, CacheRecord, Eviction};

/// A hit moves a record's time of use by no less than this, so that most hits write nothing about it.
const USE_GRANULARITY_SECONDS: i64 = 3600;

impl Lease {
    /// Returns what is known under a key; the layers of a hit are pinned.
    pub fn lookup(&self, key: &[u8; 32]) -> Result<CacheLookup, StoreError> {
        let now = self.store().now();
        self.store().database().write(Durability::Lazy, |rows| {
            let gone = "SELECT title, gone FROM cache WHERE key = ?1";
            let found =
                rows.one(gone, [key], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?;
            let Some((title, gone)) = found else { return Ok(CacheLookup::Miss) };
            if let Some(gone) = gone {
                return Ok(CacheLookup::Evicted { title, reason: eviction(&gone)? });
            }
            let Some(record) = self.pin_record(rows, key)? else {
                return Ok(CacheLookup::Evicted { title, reason: Eviction::Damaged });
            };
            // A time in the future is a clock that was put back; it counts as now.
            if now - record.last_used >= USE_GRANULARITY_SECONDS || record.last_used > now {
                rows.run("UPDATE cache SET last_used = ?2 WHERE key = ?1", params![key, now])?;
            }
            Ok(CacheLookup::Hit(record))
        })
    }

    /// Returns how long the step ran that made the result under each key, as far as it is known. Nothing is pinned.
    pub fn costs(&self, keys: &[[u8; 32]]) -> Result<Vec<Option<Duration>>, StoreError> {
        let query = "SELECT took FROM cache WHERE key = ?1";
        self.store().database().read(|rows| {
            let cost = |key: &[u8; 32]| rows.one(query, [key], |row| row.get::<_, Option<u64>>(0));
            keys.iter().map(|key| Ok(cost(key)?.flatten().map(Duration::from_millis))).collect()
        })
    }

    /// Returns the latest records of the same instruction with any inputs; their layers are pinned.
    pub fn candidates(&self, op: &[u8; 32], limit: u32) -> Result<Vec<CacheRecord>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.store().database().write(Durability::Lazy, |rows| {
            let query = "SELECT key FROM cache WHERE op = ?1 AND gone IS NULL ORDER BY created DESC, key LIMIT ?2";
            let keys = rows.all(query, params![op, limit], |row| row.get::<_, [u8; 32]>(0))?;
            let records = keys.iter().map(|key| self.pin_record(rows, key));
            records.filter_map(Result::transpose).collect()
        })
    }

    /// Remembers a result. All of its layers have to be in the store; they stay pinned.
    pub fn record(&self, record: &CacheRecord) -> Result<(), StoreError> {
        let now = self.store().now();
        self.store().database().write(Durability::Lazy, |rows| {
            for &layer in &record.snapshot {
                if !self.pin_layer(rows, layer)? {
                    return Err(StoreError::NoLayer(layer));
                }
            }
            let insert = "INSERT OR REPLACE INTO cache \
                          (key, op, selection, inputs, title, took, created, last_used, gone) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, NULL)";
            let selection = record.selection.as_ref().map(TreeDigest::as_bytes);
            let took = record.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX >> 1));
            let inputs = write(&record.inputs);
            rows.run(insert, params![record.key, record.op, selection, inputs, record.title, took, now])?;
            rows.run("DELETE FROM cache_layers WHERE key = ?1", [&record.key])?;
            for (position, layer) in record.snapshot.iter().enumerate() {
                let insert = "INSERT INTO cache_layers (key, position, layer) VALUES (?1, ?2, ?3)";
                rows.run(insert, params![record.key, position as u64, layer.to_row()])?;
            }
            Ok(())
        })
    }

    /// Returns the record and pins its layers, or nothing if one of them is gone.
    fn pin_record(&self, rows: &Rows<'_>, key: &[u8; 32]) -> Result<Option<CacheRecord>, StoreError> {
        let gone = "SELECT 1 FROM cache_layers AS part WHERE key = ?1 \
                    AND NOT EXISTS (SELECT 1 FROM layers WHERE id = part.layer)";
        if rows.any(gone, [key])? {
            return Ok(None);
        }
        let pin = "INSERT OR IGNORE INTO pins (owner, kind, id) \
                   SELECT ?2, 'layer', layer FROM cache_layers WHERE key = ?1";
        rows.run(pin, params![key, self.owner()])?;
        read(rows, key)
    }
}

fn eviction(text: &str) -> Result<Eviction, StoreError> {
    Eviction::from_row(text).ok_or_else(|| StoreError::Row { table: "cache", detail: format!("gone `{text}`") })
}

fn read(rows: &Rows<'_>, key: &[u8; 32]) -> Result<Option<CacheRecord>, StoreError> {
    let query =
        "SELECT op, selection, inputs, title, took, created, last_used FROM cache WHERE key = ?1 AND gone IS NULL";
    let found = rows.one(query, [key], |row| {
        let record = CacheRecord {
            key: *key,
            op: row.get(0)?,
            inputs: Vec::new(),
            selection: row.get::<_, Option<[u8; 32]>>(1)?.map(TreeDigest::from),
            snapshot: Vec::new(),
            title: row.get(3)?,
            took: row.get::<_, Option<u64>>(4)?.map(Duration::from_millis),
            created: row.get(5)?,
            last_used: row.get(6)?,
        };
        Ok((record, row.get::<_, String>(2)?))
    })?;
    let Some((record, inputs)) = found else { return Ok(None) };
    let inputs =
        parse(&inputs).ok_or_else(|| StoreError::Row { table: "cache", detail: format!("inputs `{inputs}`") })?;
    let layers = "SELECT layer FROM cache_layers WHERE key = ?1 ORDER BY position";
    let snapshot = rows.all(layers, [key], |row| Ok(LayerId::from_row(row.get(0)?)))?;
    Ok(Some(CacheRecord { inputs, snapshot, ..record }))
}

/// Writes snapshots as `a,b;c`: layers joined by commas, each snapshot ended by a semicolon.
fn write(inputs: &[Vec<LayerId>]) -> String {
    let mut text = String::new();
    for input in inputs {
        let layers: Vec<String> = input.iter().map(LayerId::to_string).collect();
        text.push_str(&layers.join(","));
        text.push(';');
    }
    text
}

fn parse(text: &str) -> Option<Vec<Vec<LayerId>>> {
    let snapshot = |text: &str| match text {
        "" => Some(Vec::new()),
        layers => layers.split(',').map(LayerId::from_hex).collect(),
    };
    match text.strip_suffix(';') {
        None => text.is_empty().then(Vec::new),
        Some(text) => text.split(';').map(snapshot).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_survive_their_text() {
        let [a, b] = ["00000000000000aa", "00000000000000bb"].map(|text| LayerId::from_hex(text).expect("it is an id"));
        for inputs in [vec![], vec![vec![]], vec![vec![], vec![]], vec![vec![a]], vec![vec![a, b], vec![], vec![b]]] {
            assert_eq!(parse(&write(&inputs)), Some(inputs));
        }
        for text in ["x", "00", "00000000000000aa", ",;"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
