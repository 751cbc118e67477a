//! The `SQLite` database: opening it, transactions, and statements whose errors name the file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row, TransactionBehavior};

use crate::error::{BUSY_SECONDS, StoreError};
use crate::layout;

/// `PRAGMA user_version` of the tables in `schema.sql`.
const SCHEMA: i64 = 3;

/// What makes the tables of one version those of the next, from the oldest one that is known on. Only what processes
/// that are running with the older tables do not notice: columns that have a default.
const STEPS: &[(i64, &str)] = &[(
    2,
    "ALTER TABLE containers ADD COLUMN created_nanos INTEGER NOT NULL DEFAULT 0; \
     ALTER TABLE containers ADD COLUMN started_nanos INTEGER NOT NULL DEFAULT 0; \
     ALTER TABLE containers ADD COLUMN finished_nanos INTEGER NOT NULL DEFAULT 0",
)];

/// One connection, used by one thread at a time.
pub(crate) struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
}

/// Whether a transaction has to survive a loss of power.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// No: it only says what the boot rule would undo anyway.
    Lazy,
    /// Yes: files are deleted, or trusted, because of it.
    Durable,
}

impl Database {
    /// Opens the database and makes its tables if it has none.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let fault = |error| StoreError::database(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(fault)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.busy_timeout(Duration::from_secs(BUSY_SECONDS)).map_err(fault)?;
        // Closing must not cost a checkpoint: `settle` and every 256 pages make one.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fault)?;
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 256").map_err(fault)?;
        match user_version(&connection).map_err(fault)? {
            SCHEMA => {}
            0 => create(&mut connection).map_err(fault)?,
            older if STEPS.iter().any(|(from, _)| *from == older) => extend(&mut connection).map_err(fault)?,
            other => {
                return Err(StoreError::Version {
                    root: path.parent().unwrap_or(&path).to_owned(),
                    found: format!("{} with tables {other}", layout::VERSION),
                    expected: layout::VERSION,
                });
            }
        }
        Ok(Self { connection: Mutex::new(connection), path })
    }

    /// Runs statements that only read.
    pub(crate) fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&Rows<'_>) -> Result<T, E>) -> Result<T, E> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&Rows { connection: &connection, path: &self.path })
    }

    /// Runs statements that read the same state of the database.
    pub(crate) fn snapshot<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        self.transaction(&mut connection, TransactionBehavior::Deferred, work)
    }

    /// Runs a transaction that no other process's transaction overlaps. An error of `work` undoes it.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if durability == Durability::Lazy {
            return self.transaction(&mut connection, TransactionBehavior::Immediate, work);
        }
        let fault = |error| E::from(StoreError::database(&self.path, error));
        connection.execute_batch("PRAGMA synchronous = FULL").map_err(fault)?;
        let result = self.transaction(&mut connection, TransactionBehavior::Immediate, work);
        let back = connection.execute_batch("PRAGMA synchronous = NORMAL");
        let value = result?;
        back.map_err(fault)?;
        Ok(value)
    }

    fn transaction<T, E: From<StoreError>>(
        &self,
        connection: &mut Connection,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let fault = |error| E::from(StoreError::database(&self.path, error));
        let transaction = connection.transaction_with_behavior(behavior).map_err(fault)?;
        let value = work(&Rows { connection: &transaction, path: &self.path })?;
        transaction.commit().map_err(fault)?;
        Ok(value)
    }

    /// Moves the write-ahead log into the database and empties it, unless another process is reading.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.read(|rows| rows.one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(drop))
    }

    /// Returns what `SQLite` finds wrong with the file.
    pub(crate) fn faults(&self) -> Result<Vec<String>, StoreError> {
        let lines = self.read(|rows| rows.all("PRAGMA quick_check", [], |row| row.get::<_, String>(0)))?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA journal_mode = WAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if user_version(&transaction)? == 0 {
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
    }
    transaction.commit()
}

/// Gives older tables what they lack. Another process may have done it meanwhile.
fn extend(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (from, step) in STEPS {
        if user_version(&transaction)? == *from {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", from + 1)?;
        }
    }
    transaction.commit()
}

/// Statements on one connection. Each is compiled once for each process.
pub(crate) struct Rows<'c> {
    connection: &'c Connection,
    path: &'c Path,
}

impl Rows<'_> {
    fn fault(&self, error: rusqlite::Error) -> StoreError {
        StoreError::database(self.path, error)
    }

    /// Runs a statement that returns nothing and says how many rows it changed.
    pub(crate) fn run(&self, sql: &str, parameters: impl Params) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.fault(error))?;
        statement.execute(parameters).map_err(|error| self.fault(error))
    }

    /// Returns the first row, if there is one.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.fault(error))?;
        statement.query_row(parameters, read).optional().map_err(|error| self.fault(error))
    }

    /// Returns all rows.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.fault(error))?;
        let rows = statement.query_map(parameters, read).map_err(|error| self.fault(error))?;
        rows.collect::<Result<_, _>>().map_err(|error| self.fault(error))
    }

    /// Whether there is a row.
    pub(crate) fn any(&self, sql: &str, parameters: impl Params) -> Result<bool, StoreError> {
        Ok(self.one(sql, parameters, |_| Ok(()))?.is_some())
    }
}
