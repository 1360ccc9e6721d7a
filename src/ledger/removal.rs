//! What leaves the spool: studies that are not for analysis, which are forgotten, and delivered ones, of which the
//! study, its verdicts and its report's deliveries stay in the ledger.
//!
//! The caller sets the files aside while the transaction is open: rows and files go together, or both stay. After a
//! kill between the two, start-up finds the files set aside and the rows still there, and puts the files back.

use jiff::Timestamp;
use sqlx::{Row, Sqlite, Transaction};

use super::studies::{STUDY_COLUMNS, StudyRow, study_row};
use super::{Doing, Ledger, LedgerError, now_ms};
use crate::dicom::Uid;
use crate::spool::SpoolError;

/// Studies that are looked at before the caller gets on: of each all deliveries are asked for.
const AT_A_TIME: u32 = 16;

/// Why a study was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its files cannot be removed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not for analysis, and the last object came before this.
    NotForAnalysis(Timestamp),
    /// Everything was delivered, nothing was refused, and the last object and the last delivery came before this.
    Delivered(Timestamp),
}

/// A study's place among all, oldest first. It keeps it when the study is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    last_received_at_ms: i64,
    /// Tells apart what came at the same time, and is the last part of every index.
    rowid: i64,
}

impl Place {
    /// Before all of them.
    pub const BEFORE_THE_FIRST: Place = Place { last_received_at_ms: i64::MIN, rowid: i64::MIN };
}

impl Due {
    /// The condition on a row of `studies`; `?1` is the time.
    fn condition(self) -> &'static str {
        match self {
            Due::NotForAnalysis(_) => "state = 'not_for_analysis' AND last_received_at < ?1 AND late_since IS NULL",
            Due::Delivered(_) => {
                "state = 'delivered' AND (files_removed_at IS NULL OR last_received_at > files_removed_at)
                 AND last_received_at < ?1 AND state_since < ?1 AND late_since IS NULL"
            }
        }
    }

    /// Whatever else holds: what was refused waits for an operator, so a study with such a delivery is not delivered.
    const NOTHING_UNDELIVERED: &str = "NOT EXISTS (SELECT 1 FROM objects o
         JOIN outbox b ON b.sop_instance_uid = o.sop_instance_uid
         WHERE o.study_uid = studies.study_uid AND b.status IN ('refused', 'waiting'))";

    /// The studies that may be removed, oldest first; `?1` is the time, they come after the [`Place`] `?2`, `?3`.
    ///
    /// `INDEXED BY`: left to itself SQLite takes the index by state, and reads every study that was ever delivered.
    pub(super) fn query(self) -> String {
        let index = match self {
            Due::NotForAnalysis(_) => "studies_by_state",
            Due::Delivered(_) => "studies_to_remove",
        };
        format!(
            "SELECT rowid, {STUDY_COLUMNS} FROM studies INDEXED BY {index} WHERE {} AND {}
                 AND last_received_at >= ?2 AND (last_received_at > ?2 OR rowid > ?3)
             ORDER BY last_received_at, rowid LIMIT {AT_A_TIME}",
            self.condition(),
            Due::NOTHING_UNDELIVERED
        )
    }

    fn before_ms(self) -> i64 {
        match self {
            Due::NotForAnalysis(before) | Due::Delivered(before) => before.as_millisecond(),
        }
    }
}

impl Ledger {
    /// The next studies that may be removed, a few at a time and the oldest first, each with its place: those after a
    /// place.
    pub async fn due_for_removal(&self, due: Due, after: Place) -> Result<Vec<(StudyRow, Place)>, LedgerError> {
        sqlx::query(sqlx::AssertSqlSafe(due.query()))
            .bind(due.before_ms())
            .bind(after.last_received_at_ms)
            .bind(after.rowid)
            .try_map(|row| {
                let study = study_row(&row)?;
                let last_received_at_ms = study.last_received_at.as_millisecond();
                Ok((study, Place { last_received_at_ms, rowid: row.try_get("rowid")? }))
            })
            .fetch_all(&self.readers)
            .await
            .doing("list what may be removed")
    }

    /// Removes a study; `files` takes its files away, also those in quarantine, whose paths it is given. False when the
    /// study is no longer due: a retry or an image came first.
    pub async fn remove_study(
        &self,
        study_uid: &Uid,
        due: Due,
        files: impl FnOnce(&[String]) -> Result<(), SpoolError>,
    ) -> Result<bool, RemovalError> {
        let doing = "remove a study";
        let mut tx = self.begin(doing).await?;
        let is_due: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT 1 FROM studies WHERE study_uid = ?2 AND {} AND {}",
            due.condition(),
            Due::NOTHING_UNDELIVERED
        )))
        .bind(due.before_ms())
        .bind(study_uid.as_str())
        .fetch_optional(&mut *tx)
        .await
        .doing(doing)?;
        if is_due.is_none() {
            return Ok(false);
        }
        let quarantined: Vec<String> = sqlx::query_scalar("SELECT path FROM quarantine WHERE study_uid = ?1")
            .bind(study_uid.as_str())
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        match due {
            Due::NotForAnalysis(_) => forget(&mut tx, study_uid).await?,
            Due::Delivered(_) => keep_the_memory(&mut tx, study_uid).await?,
        }
        files(&quarantined)?;
        tx.commit().await.doing(doing)?;
        Ok(true)
    }

    /// Whether the ledger has objects of a study in the spool: files that were set aside must then come back.
    pub async fn has_instances(&self, study_uid: &Uid) -> Result<bool, LedgerError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM instances WHERE study_uid = ?1)")
            .bind(study_uid.as_str())
            .fetch_one(&self.readers)
            .await
            .doing("look for a study's objects")
    }
}

/// Nothing of the study stays.
async fn forget(tx: &mut Transaction<'static, Sqlite>, study_uid: &Uid) -> Result<(), LedgerError> {
    for statement in [
        "DELETE FROM instances WHERE study_uid = ?1",
        "DELETE FROM series_verdicts WHERE study_uid = ?1",
        "DELETE FROM outbox WHERE sop_instance_uid IN (SELECT sop_instance_uid FROM objects WHERE study_uid = ?1)",
        "DELETE FROM objects WHERE study_uid = ?1",
        "DELETE FROM quarantine WHERE study_uid = ?1",
        "DELETE FROM studies WHERE study_uid = ?1",
    ] {
        sqlx::query(statement).bind(study_uid.as_str()).execute(&mut **tx).await.doing("forget a study")?;
    }
    Ok(())
}

/// The study, its verdicts and its report stay; rows per image go: a ledger keeps a million studies, not all their slices.
async fn keep_the_memory(tx: &mut Transaction<'static, Sqlite>, study_uid: &Uid) -> Result<(), LedgerError> {
    for statement in [
        "DELETE FROM instances WHERE study_uid = ?1",
        "DELETE FROM quarantine WHERE study_uid = ?1",
        "DELETE FROM outbox WHERE sop_instance_uid IN
             (SELECT sop_instance_uid FROM objects WHERE study_uid = ?1 AND kind <> 'report')",
        "DELETE FROM objects WHERE study_uid = ?1 AND kind <> 'report'",
    ] {
        sqlx::query(statement).bind(study_uid.as_str()).execute(&mut **tx).await.doing("remove a study's rows")?;
    }
    sqlx::query("UPDATE studies SET files_removed_at = ?2 WHERE study_uid = ?1")
        .bind(study_uid.as_str())
        .bind(now_ms())
        .execute(&mut **tx)
        .await
        .doing("remove a study's rows")?;
    Ok(())
}
