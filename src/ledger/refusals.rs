//! Objects that a peer offered and that were not taken: which, with what status, and why.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::studies::timestamp;
use super::{Doing, Ledger, LedgerError, now_ms};
use crate::dicom::peer_text::shown;

/// Refusals that are kept per association. A peer that offers nothing but rubbish must not fill the ledger; the
/// receipt counts all of them.
pub const KEPT_PER_ASSOCIATION: i64 = 100;

/// A refused object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalRow {
    /// The association's row.
    pub association_id: i64,
    /// SOP Instance UID as the command named it, escaped and cut: it may be no UID at all.
    pub sop_instance_uid: String,
    /// DIMSE status of the answer.
    pub status: u16,
    /// One sentence.
    pub why: String,
    /// When.
    pub refused_at: Timestamp,
}

impl Ledger {
    /// Notes that an object was refused.
    pub async fn record_refusal(
        &self,
        association_id: i64,
        sop_instance_uid: &str,
        status: u16,
        why: &str,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO refusals (association_id, sop_instance_uid, status, why, refused_at)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE (SELECT count(*) FROM refusals WHERE association_id = ?1) < ?6",
        )
        .bind(association_id)
        .bind(shown(sop_instance_uid))
        .bind(status)
        .bind(why)
        .bind(now_ms())
        .bind(KEPT_PER_ASSOCIATION)
        .execute(&self.writer)
        .await
        .doing("record a refused object")?;
        Ok(())
    }

    /// The refused objects of an association, in the order in which they came.
    pub async fn list_refusals(&self, association_id: i64) -> Result<Vec<RefusalRow>, LedgerError> {
        sqlx::query("SELECT * FROM refusals WHERE association_id = ?1 ORDER BY id")
            .bind(association_id)
            .try_map(|row: SqliteRow| {
                Ok(RefusalRow {
                    association_id: row.try_get("association_id")?,
                    sop_instance_uid: row.try_get("sop_instance_uid")?,
                    status: row.try_get("status")?,
                    why: row.try_get("why")?,
                    refused_at: timestamp(row.try_get("refused_at")?)?,
                })
            })
            .fetch_all(&self.readers)
            .await
            .doing("list refused objects")
    }
}
