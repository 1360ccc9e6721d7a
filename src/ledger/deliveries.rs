//! What became of deliveries, told per study and destination.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::outbox::OutboxStatus;
use super::studies::{timestamp, uid};
use super::{Doing, Ledger, LedgerError};
use crate::dicom::Uid;

/// Which deliveries are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only to this destination.
    pub destination: Option<String>,
    /// Only studies with deliveries in this status; `None`: the newest studies that have a result.
    pub status: Option<OutboxStatus>,
}

/// The deliveries of one study to one destination that stand alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryGroup {
    /// The study.
    pub study_uid: Uid,
    /// Name of the destination.
    pub destination: String,
    /// How they stand.
    pub status: OutboxStatus,
    /// How many result objects.
    pub objects: u64,
    /// The most attempts that one of them has seen.
    pub attempts: u32,
    /// When the next attempt is due, if they wait.
    pub next_attempt_at: Option<Timestamp>,
    /// When the last of them was stored.
    pub delivered_at: Option<Timestamp>,
    /// DIMSE status of an answer, the highest.
    pub dimse_status: Option<u16>,
    /// Why they are not delivered; of one of them.
    pub last_error: String,
}

impl Ledger {
    /// Deliveries of at most `studies` studies.
    pub async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        studies: u32,
    ) -> Result<Vec<DeliveryGroup>, LedgerError> {
        let of = match filter.status {
            None | Some(OutboxStatus::Delivered) => {
                "SELECT study_uid FROM studies WHERE revision > 0 ORDER BY last_received_at DESC LIMIT ?1"
            }
            // `status <> 'delivered'` names the partial index `outbox_open`.
            Some(_) => {
                "SELECT DISTINCT o.study_uid FROM outbox b JOIN objects o ON o.sop_instance_uid = b.sop_instance_uid
                 WHERE b.status <> 'delivered' AND b.status = ?2 AND (?3 IS NULL OR b.destination = ?3) LIMIT ?1"
            }
        };
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "WITH wanted AS ({of})
             SELECT o.study_uid, b.destination, b.status, count(*) AS objects, max(b.attempts) AS attempts,
                 min(b.next_attempt_at) AS next_attempt_at, max(b.delivered_at) AS delivered_at,
                 max(b.dimse_status) AS dimse_status, max(b.last_error) AS last_error
             FROM wanted CROSS JOIN objects o ON o.study_uid = wanted.study_uid
                 JOIN outbox b ON b.sop_instance_uid = o.sop_instance_uid
             WHERE (?2 IS NULL OR b.status = ?2) AND (?3 IS NULL OR b.destination = ?3)
             GROUP BY o.study_uid, b.destination, b.status ORDER BY max(o.rendered_at) DESC, 1, 2, 3"
        )))
        .bind(studies)
        .bind(filter.status.map(OutboxStatus::name))
        .bind(filter.destination.as_deref())
        .try_map(|row: SqliteRow| {
            let status: String = row.try_get("status")?;
            let status = OutboxStatus::from_name(&status)
                .ok_or_else(|| sqlx::Error::Decode(format!("{status:?} is not a delivery's status").into()))?;
            let next_attempt_at = timestamp(row.try_get("next_attempt_at")?)?;
            Ok(DeliveryGroup {
                study_uid: uid(&row, "study_uid")?,
                destination: row.try_get("destination")?,
                status,
                objects: u64::try_from(row.try_get::<i64, _>("objects")?).unwrap_or(0),
                attempts: row.try_get("attempts")?,
                next_attempt_at: (status == OutboxStatus::Waiting).then_some(next_attempt_at),
                delivered_at: row.try_get::<Option<i64>, _>("delivered_at")?.map(timestamp).transpose()?,
                dimse_status: row.try_get("dimse_status")?,
                last_error: row.try_get("last_error")?,
            })
        })
        .fetch_all(&self.readers)
        .await
        .doing("list deliveries")
    }
}
