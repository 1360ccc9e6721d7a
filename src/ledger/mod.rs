//! The ledger: one SQLite file in which every hand-over between stages is a row.
//!
//! It is an index and a work list, not the truth: objects live in the [spool](crate::spool), and what the
//! ledger lacks is rebuilt from there. Writes go through one connection (WAL, `synchronous = NORMAL`): a
//! power cut may lose the last rows, never an object. Readers (`fcdd studies`, `fcdd status`) use the file
//! beside a running daemon.

pub mod associations;
mod damaged;
pub mod deliveries;
pub mod instances;
mod migration;
pub mod outbox;
pub mod outside_writes;
pub mod overview;
pub mod quarantine;
pub mod rebuild;
pub mod refusals;
pub mod removal;
pub mod result_record;
pub mod revisions;
mod row_writer;
pub mod studies;
pub mod study_state;
#[cfg(test)]
mod tests;
pub mod troubles;

pub use damaged::SetAsideLedger;
pub use study_state::StudyState;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use row_writer::RowWriter;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// What can go wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be opened.
    #[error("cannot open the ledger {path}: {source}. Is the state directory there and writable for this user?")]
    Open {
        /// The ledger's file.
        path: PathBuf,
        /// SQLite's reason.
        source: sqlx::Error,
    },
    /// There is no ledger where one was expected.
    #[error("there is no ledger at {path}. Is spool.directory right, and has the daemon run?")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file was written by a newer fcdd.
    #[error(
        "the ledger {path} has schema version {found}, this fcdd knows {expected}; run the fcdd that wrote it, or move the file away to have it rebuilt from the spool"
    )]
    Version {
        /// The ledger's file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Version of this program.
        expected: i64,
    },
    /// The file was written by an older fcdd, and only the daemon takes it along.
    #[error(
        "the ledger {path} has schema version {found}, this fcdd works with {expected}; start the daemon of this version once, it takes the ledger along"
    )]
    Older {
        /// The ledger's file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Version of this program.
        expected: i64,
    },
    /// A statement failed.
    #[error("the ledger failed to {doing}: {source}")]
    Query {
        /// What was being done, e.g. `record an instance`.
        doing: &'static str,
        /// SQLite's reason; shared by everything that one transaction was to write.
        source: Arc<sqlx::Error>,
    },
    /// A damaged ledger cannot be moved out of the way.
    #[error(
        "the ledger {path} is damaged and cannot be set aside: {source}. Move it away; it is rebuilt from the spool"
    )]
    SetAside {
        /// The ledger's file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A move that the table of states does not allow.
    #[error("study {study_uid} is {from}, it cannot become {to}")]
    Move {
        /// The study.
        study_uid: String,
        /// Its state as found.
        from: String,
        /// The state that was asked for.
        to: StudyState,
    },
    /// The files of a delivered study left the spool.
    #[error(
        "the files of study {study_uid} left the spool at {at} (spool.keep_delivered_days); let the PACS send the study again, it is then looked at anew"
    )]
    FilesRemoved {
        /// The study.
        study_uid: String,
        /// When.
        at: jiff::Timestamp,
    },
    /// No such study.
    #[error("study {study_uid} is not in the ledger")]
    UnknownStudy {
        /// The study asked for.
        study_uid: String,
    },
}

/// Attaches what was being done to an SQLite error.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, LedgerError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, LedgerError> {
        self.map_err(|source| LedgerError::Query { doing, source: Arc::new(source) })
    }
}

/// A handle on the ledger; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    row_writer: RowWriter,
}

/// As many rows as the objects of a study's results.
const ROWS_ON_THEIR_WAY: usize = 512;

impl Ledger {
    /// Opens the ledger for the daemon, creating the file and its tables where they are missing.
    pub async fn open(path: &Path) -> Result<Ledger, LedgerError> {
        let ledger = Ledger::connect(path).await?;
        migration::bring_up_to_date(&ledger.writer, path).await?;
        Ok(ledger)
    }

    /// Connects without a look at the tables.
    async fn connect(path: &Path) -> Result<Ledger, LedgerError> {
        let options = Self::options(path).create_if_missing(true);
        let open_error = |source| LedgerError::Open { path: path.to_owned(), source };
        // One connection writes: SQLite has one writer anyway, and waiting in our own queue is fairer than its busy loop.
        // It lives as long as the ledger: `data_version` compares only on one and the same connection.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false) // A connection to a file does not go stale.
            .connect_with(options.clone())
            .await
            .map_err(open_error)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .test_before_acquire(false)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(open_error)?;
        Ok(Ledger { row_writer: RowWriter::start(writer.clone()), writer, readers })
    }

    /// Opens a ledger that must be there already: for commands that look at a daemon's state.
    pub async fn open_existing(path: &Path) -> Result<Ledger, LedgerError> {
        if !path.is_file() {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        let ledger = Ledger::connect(path).await?;
        let (found, expected) = (migration::version(&ledger.writer).await?, migration::SCHEMA_VERSION);
        match found.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(ledger),
            // A daemon of that older version may be running on it.
            std::cmp::Ordering::Less => Err(LedgerError::Older { path: path.to_owned(), found, expected }),
            std::cmp::Ordering::Greater => Err(LedgerError::Version { path: path.to_owned(), found, expected }),
        }
    }

    /// A number that changes when another process (an operator's `fcdd studies retry`) has written to the
    /// ledger, and never by our own writes: they go through the one connection that is asked here.
    pub async fn data_version(&self) -> Result<i64, LedgerError> {
        sqlx::query_scalar("PRAGMA data_version").fetch_one(&self.writer).await.doing("look for changes from outside")
    }

    fn options(path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5))
            // Of an answer, on their way from the connection's thread: most answers come without waiting for the reader.
            .row_buffer_size(ROWS_ON_THEIR_WAY)
    }

    /// Flushes and closes both pools.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Now, as the ledger stores it: Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
