//! Brings a ledger's file to the tables of this program: makes them, or takes an older version's along, in one
//! transaction. A newer version's file is refused.

use std::path::Path;

use sqlx::sqlite::SqlitePool;

use super::{Doing, LedgerError};

/// Version of `schema.sql`, kept in SQLite's `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// What takes a file of version `n` to version `n + 1`, from version 1 on.
const STEPS: [&str; 1] = [include_str!("schema_1_to_2.sql")];

/// The version of the file; 0: it is new.
pub(super) async fn version(writer: &SqlitePool) -> Result<i64, LedgerError> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(writer).await.doing("read its version")
}

/// Makes the tables, or brings them up to date. A kill leaves the old version or the new one.
pub(super) async fn bring_up_to_date(writer: &SqlitePool, path: &Path) -> Result<(), LedgerError> {
    let found = version(writer).await?;
    let steps = match usize::try_from(found) {
        Ok(0) => &[],
        Ok(found) => STEPS.get(found - 1..).unwrap_or(&[]),
        Err(_) => &[],
    };
    if !(0..=SCHEMA_VERSION).contains(&found) {
        return Err(LedgerError::Version { path: path.to_owned(), found, expected: SCHEMA_VERSION });
    }
    let doing = "bring its tables up to date";
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.doing(doing)?;
    for step in steps {
        sqlx::raw_sql(sqlx::AssertSqlSafe(*step)).execute(&mut *tx).await.doing(doing)?;
    }
    sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *tx).await.doing(doing)?;
    if found != SCHEMA_VERSION {
        let set = format!("PRAGMA user_version = {SCHEMA_VERSION}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await.doing(doing)?;
    }
    tx.commit().await.doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    /// What version 1 made, as far as the step touches it.
    const VERSION_1: &str = "
        CREATE TABLE studies (study_uid TEXT PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
            calling_ae TEXT NOT NULL DEFAULT '', first_received_at INTEGER NOT NULL, last_received_at INTEGER NOT NULL,
            state_since INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, verdict TEXT, probability REAL,
            result_json TEXT, late_instances INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE objects (sop_instance_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
            sop_class_uid TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL, rendered_at INTEGER NOT NULL)
            WITHOUT ROWID;
        CREATE TABLE quarantine (id INTEGER PRIMARY KEY, sop_instance_uid TEXT NOT NULL, study_uid TEXT NOT NULL,
            path TEXT NOT NULL UNIQUE, dataset_sha256 BLOB NOT NULL, why TEXT NOT NULL, association_id INTEGER,
            received_at INTEGER NOT NULL);
        INSERT INTO studies (study_uid, state, first_received_at, last_received_at, state_since, result_json)
            VALUES ('1.1', 'delivered', 1, 2, 3, '{}'), ('1.2', 'receiving', 1, 2, 3, NULL);
        INSERT INTO objects VALUES ('2.1', '1.1', '3.1', '4.1', 'report', 'results/1.1/2.1.dcm', 5);
        PRAGMA user_version = 1;";

    async fn raw(path: &Path) -> SqlitePool {
        SqlitePool::connect_with(Ledger::options(path).create_if_missing(true)).await.unwrap()
    }

    async fn tables(path: &Path) -> Vec<(String, String)> {
        // Columns in the order of a fresh file and of a migrated one differ in nothing but their place.
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT m.name, p.name || ' ' || p.type || ' ' || p.\"notnull\" FROM sqlite_master m, pragma_table_info(m.name) p
             WHERE m.type = 'table' UNION SELECT 'index', name FROM sqlite_master WHERE type = 'index' ORDER BY 1, 2",
        )
        .fetch_all(&raw(path).await)
        .await
        .unwrap();
        rows
    }

    #[tokio::test]
    async fn a_ledger_of_version_1_is_taken_along() {
        let directory = tempfile::tempdir().unwrap();
        let (old, fresh) = (directory.path().join("old.sqlite"), directory.path().join("fresh.sqlite"));
        let pool = raw(&old).await;
        sqlx::raw_sql(VERSION_1).execute(&pool).await.unwrap();
        pool.close().await;
        Ledger::open(&old).await.unwrap().close().await;
        Ledger::open(&fresh).await.unwrap().close().await;
        assert_eq!(tables(&old).await, tables(&fresh).await);
        let pool = raw(&old).await;
        let revisions: Vec<(String, i64)> =
            sqlx::query_as("SELECT study_uid, revision FROM studies ORDER BY study_uid")
                .fetch_all(&pool)
                .await
                .unwrap();
        assert_eq!(revisions, [("1.1".into(), 1), ("1.2".into(), 0)], "a version 1 result is the first revision");
        assert_eq!(version(&pool).await.unwrap(), SCHEMA_VERSION);
        // A second opening changes nothing.
        Ledger::open(&old).await.unwrap().close().await;
        assert_eq!(tables(&old).await, tables(&fresh).await);
    }

    #[tokio::test]
    async fn a_newer_ledger_is_refused_and_a_command_migrates_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let pool = raw(&path).await;
        sqlx::raw_sql(VERSION_1).execute(&pool).await.unwrap();
        let error = Ledger::open_existing(&path).await.unwrap_err();
        assert!(error.to_string().contains("start the daemon of this version once"), "{error}");
        sqlx::raw_sql("PRAGMA user_version = 99").execute(&pool).await.unwrap();
        let error = Ledger::open(&path).await.unwrap_err();
        assert!(matches!(error, LedgerError::Version { found: 99, .. }), "{error}");
    }
}
