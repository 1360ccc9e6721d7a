//! The outbox: one row per result object and destination, with what became of it.
//!
//! ```text
//! waiting ──▶ delivered   the destination answered that it stored the object
//!    │ ▲
//!    │ └── waiting        a passing failure: again at next_attempt_at
//!    ├───▶ refused        a permanent failure: an operator must act, then `fcdd studies retry`
//!    └───▶ held           a rule withholds it (untrained model, superseded result)
//! ```
//!
//! A row leaves `delivered` never: what a destination has stored is not sent to it again.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction};

use super::studies::{timestamp, uid};
use super::{Doing, Ledger, LedgerError, now_ms};
use crate::dicom::Uid;
use crate::study::ObjectKind;

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxStatus {
    /// To be sent when it is due.
    Waiting,
    /// Stored by the destination.
    Delivered,
    /// Refused for good.
    Refused,
    /// Withheld by a rule.
    Held,
}

impl OutboxStatus {
    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            OutboxStatus::Waiting => "waiting",
            OutboxStatus::Delivered => "delivered",
            OutboxStatus::Refused => "refused",
            OutboxStatus::Held => "held",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<OutboxStatus> {
        use OutboxStatus::{Delivered, Held, Refused, Waiting};
        [Waiting, Delivered, Refused, Held].into_iter().find(|s| s.name() == name)
    }
}

/// A delivery as the rules decide it, before it is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The object.
    pub sop_instance_uid: Uid,
    /// Name of the destination in the configuration.
    pub destination: String,
    /// Order within the study, from 0.
    pub position: u32,
    /// `Some(why)` when a rule withholds the object from this destination.
    pub held_because: Option<String>,
}

/// An object that is due to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueObject {
    /// Its study.
    pub study_uid: Uid,
    /// The object.
    pub sop_instance_uid: Uid,
    /// Its SOP class.
    pub sop_class_uid: Uid,
    /// What it is.
    pub kind: ObjectKind,
    /// Its file, relative to the spool.
    pub path: PathBuf,
    /// How often it was tried already.
    pub attempts: u32,
}

impl Ledger {
    /// What is due for a destination at `now`: objects of one study, the one that has waited longest, in the
    /// order of their positions; at most `limit`.
    pub async fn due(&self, destination: &str, now: Timestamp, limit: u32) -> Result<Vec<DueObject>, LedgerError> {
        let study_uid: Option<String> = sqlx::query_scalar(
            "SELECT o.study_uid FROM outbox b JOIN objects o ON o.sop_instance_uid = b.sop_instance_uid
             WHERE b.destination = ?1 AND b.status = 'waiting' AND b.next_attempt_at <= ?2
             ORDER BY b.next_attempt_at, b.position LIMIT 1",
        )
        .bind(destination)
        .bind(now.as_millisecond())
        .fetch_optional(&self.readers)
        .await
        .doing("look for due deliveries")?;
        let Some(study_uid) = study_uid else { return Ok(Vec::new()) };
        let study_uid =
            Uid::parse(&study_uid).map_err(|e| sqlx::Error::Decode(e.into())).doing("read a study's UID")?;
        sqlx::query(
            "SELECT o.sop_instance_uid, o.sop_class_uid, o.kind, o.path, b.attempts
             FROM objects o CROSS JOIN outbox b ON b.sop_instance_uid = o.sop_instance_uid AND b.destination = ?2
             WHERE o.study_uid = ?1 AND b.status = 'waiting' AND b.next_attempt_at <= ?3
             ORDER BY b.position LIMIT ?4",
        )
        .bind(study_uid.as_str())
        .bind(destination)
        .bind(now.as_millisecond())
        .bind(limit)
        .try_map(|row: sqlx::sqlite::SqliteRow| {
            let kind: String = row.try_get("kind")?;
            let path: String = row.try_get("path")?;
            Ok(DueObject {
                study_uid: study_uid.clone(),
                sop_instance_uid: uid(&row, "sop_instance_uid")?,
                sop_class_uid: uid(&row, "sop_class_uid")?,
                kind: ObjectKind::from_name(&kind)
                    .ok_or_else(|| sqlx::Error::Decode(format!("{kind:?} is not a kind of object").into()))?,
                path: PathBuf::from(path),
                attempts: row.try_get("attempts")?,
            })
        })
        .fetch_all(&self.readers)
        .await
        .doing("list due deliveries")
    }

    /// When the next delivery to a destination is due; it may lie in the past. `None`: nothing waits.
    pub async fn next_due_at(&self, destination: &str) -> Result<Option<Timestamp>, LedgerError> {
        let at: Option<i64> = sqlx::query_scalar(
            "SELECT next_attempt_at FROM outbox WHERE destination = ?1 AND status = 'waiting'
             ORDER BY next_attempt_at LIMIT 1",
        )
        .bind(destination)
        .fetch_optional(&self.readers)
        .await
        .doing("look for the next delivery")?;
        at.map(timestamp).transpose().doing("look for the next delivery")
    }

    /// The destination stored the object; `dimse_status` is 0000H or a warning.
    pub async fn record_delivered(
        &self,
        sop_instance_uid: &Uid,
        destination: &str,
        dimse_status: u16,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET status = 'delivered', attempts = attempts + 1, dimse_status = ?3, last_error = '',
                 delivered_at = ?4
             WHERE sop_instance_uid = ?1 AND destination = ?2",
        )
        .bind(sop_instance_uid.as_str())
        .bind(destination)
        .bind(dimse_status)
        .bind(now_ms())
        .execute(&self.writer)
        .await
        .doing("record a delivery")?;
        Ok(())
    }

    /// The object was tried and is to be tried again at `next_attempt_at`.
    pub async fn record_deferred(
        &self,
        sop_instance_uid: &Uid,
        destination: &str,
        next_attempt_at: Timestamp,
        dimse_status: Option<u16>,
        error: &str,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, next_attempt_at = ?3, dimse_status = ?4, last_error = ?5
             WHERE sop_instance_uid = ?1 AND destination = ?2 AND status = 'waiting'",
        )
        .bind(sop_instance_uid.as_str())
        .bind(destination)
        .bind(next_attempt_at.as_millisecond())
        .bind(dimse_status)
        .bind(error)
        .execute(&self.writer)
        .await
        .doing("defer a delivery")?;
        Ok(())
    }

    /// The object will not be tried again unless an operator says so.
    pub async fn record_refused(
        &self,
        sop_instance_uid: &Uid,
        destination: &str,
        dimse_status: Option<u16>,
        error: &str,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET status = 'refused', attempts = attempts + 1, dimse_status = ?3, last_error = ?4
             WHERE sop_instance_uid = ?1 AND destination = ?2 AND status = 'waiting'",
        )
        .bind(sop_instance_uid.as_str())
        .bind(destination)
        .bind(dimse_status)
        .bind(error)
        .execute(&self.writer)
        .await
        .doing("record a refused delivery")?;
        Ok(())
    }

    /// The destination could not be worked with at all: what waits of this study is not due before `until`.
    /// Not an attempt of the objects: they are not to blame.
    pub async fn postpone(
        &self,
        study_uid: &Uid,
        destination: &str,
        until: Timestamp,
        error: &str,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET next_attempt_at = max(next_attempt_at, ?3), last_error = ?4
             WHERE destination = ?2 AND status = 'waiting'
               AND sop_instance_uid IN (SELECT sop_instance_uid FROM objects WHERE study_uid = ?1)",
        )
        .bind(study_uid.as_str())
        .bind(destination)
        .bind(until.as_millisecond())
        .bind(error)
        .execute(&self.writer)
        .await
        .doing("postpone deliveries")?;
        Ok(())
    }

    /// After the clock was set back: nothing waits for longer than until `latest`.
    pub async fn bring_forward(&self, destination: &str, latest: Timestamp) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET next_attempt_at = ?2
             WHERE destination = ?1 AND status = 'waiting' AND next_attempt_at > ?2",
        )
        .bind(destination)
        .bind(latest.as_millisecond())
        .execute(&self.writer)
        .await
        .doing("bring deliveries forward")?;
        Ok(())
    }

    /// A destination is back: what was only [postponed](Ledger::postpone) is due at once. Objects that were
    /// tried and refused for now keep their own waits.
    pub async fn hasten(&self, destination: &str) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET next_attempt_at = ?2
             WHERE destination = ?1 AND status = 'waiting' AND next_attempt_at > ?2 AND attempts = 0",
        )
        .bind(destination)
        .bind(now_ms())
        .execute(&self.writer)
        .await
        .doing("hasten deliveries")?;
        Ok(())
    }
}

/// Writes the deliveries that an analysis decided on: see [`Ledger::finish_analysis`].
pub(super) async fn replace_undelivered(
    tx: &mut Transaction<'static, Sqlite>,
    study_uid: &Uid,
    rows: &[OutboxRow],
) -> Result<(), LedgerError> {
    let now = now_ms();
    sqlx::query(
        "UPDATE outbox SET status = 'held', last_error = 'superseded by a later analysis'
         WHERE status = 'waiting'
           AND sop_instance_uid IN (SELECT sop_instance_uid FROM objects WHERE study_uid = ?1)
           AND sop_instance_uid || ' ' || destination NOT IN (SELECT value FROM json_each(?2))",
    )
    .bind(study_uid.as_str())
    .bind(delivery_list(rows))
    .execute(&mut **tx)
    .await
    .doing("hold superseded deliveries")?;
    for row in rows {
        let status = if row.held_because.is_some() { OutboxStatus::Held } else { OutboxStatus::Waiting };
        sqlx::query(
            "INSERT INTO outbox (sop_instance_uid, destination, position, status, next_attempt_at, last_error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (sop_instance_uid, destination) DO UPDATE SET position = excluded.position,
                 status = excluded.status, next_attempt_at = excluded.next_attempt_at, last_error = excluded.last_error
             WHERE outbox.status <> 'delivered'",
        )
        .bind(row.sop_instance_uid.as_str())
        .bind(&row.destination)
        .bind(row.position)
        .bind(status.name())
        .bind(now)
        .bind(row.held_because.as_deref().unwrap_or(""))
        .execute(&mut **tx)
        .await
        .doing("record a delivery to be made")?;
    }
    Ok(())
}

/// `object destination` of each row as a JSON list for `json_each`.
fn delivery_list(rows: &[OutboxRow]) -> String {
    let names: Vec<String> = rows.iter().map(|row| format!("{} {}", row.sop_instance_uid, row.destination)).collect();
    serde_json::json!(names).to_string()
}
