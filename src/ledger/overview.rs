//! What people ask the ledger: which studies there are, everything about one of them, and how the whole stands.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::outbox::OutboxStatus;
use super::studies::{STUDY_COLUMNS, StudyRow, study_row, timestamp, uid};
use super::troubles::Trouble;
use super::{Doing, Ledger, LedgerError, StudyState};
use crate::dicom::Uid;

/// Associations that [`Ledger::overview`] looks back over.
const RECENT_ASSOCIATIONS: i64 = 1000;

/// Everything about one study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyDetails {
    /// The study itself.
    #[serde(flatten)]
    pub study: StudyRow,
    /// What was received, by series.
    pub series: Vec<ReceivedSeries>,
    /// Objects of this study that came again with other bytes and were set aside.
    pub quarantined: Vec<StoredVariant>,
    /// What assembly said about each stack.
    pub verdicts: Vec<StoredVerdict>,
    /// Result objects and what became of them.
    pub objects: Vec<StoredObject>,
    /// `result.json` of the last analysis.
    pub result: Option<serde_json::Value>,
}

/// An object in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredVariant {
    /// SOP Instance UID that it shares with the object that came first.
    pub sop_instance_uid: Uid,
    /// How it differs: `transfer_syntax`, `demographics`, `other_study` or `other`.
    pub kind: String,
    /// One sentence.
    pub why: String,
    /// Its file, relative to the spool.
    pub path: PathBuf,
    /// When it came.
    pub received_at: Timestamp,
}

/// One received series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedSeries {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// Objects in the spool.
    pub instances: u64,
    /// ... of which came after the study was complete.
    pub late: u64,
    /// Bytes of their datasets.
    pub bytes: u64,
}

/// A stack's verdict as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredVerdict {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// Position of the stack within its series.
    pub stack: u32,
    /// `T1`, `FLAIR` or `other`.
    pub sequence: String,
    /// The rule that decided so.
    pub because: String,
    /// The verdict with its numbers.
    pub verdict: serde_json::Value,
    /// Whether it was analyzed.
    pub chosen: bool,
}

/// A result object as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredObject {
    /// SOP Instance UID.
    pub sop_instance_uid: Uid,
    /// Series Instance UID.
    pub series_uid: Uid,
    /// SOP Class UID.
    pub sop_class_uid: Uid,
    /// Name of its kind.
    pub kind: String,
    /// Which of the study's results it belongs to.
    pub revision: u32,
    /// Its file, relative to the spool.
    pub path: PathBuf,
    /// One entry per destination.
    pub deliveries: Vec<StoredDelivery>,
}

/// What became of one object at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredDelivery {
    /// Name of the destination.
    pub destination: String,
    /// Where it stands.
    pub status: OutboxStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, if it waits.
    pub next_attempt_at: Option<Timestamp>,
    /// DIMSE status of the last answer.
    pub dimse_status: Option<u16>,
    /// Why it is not delivered; empty when it is.
    pub last_error: String,
    /// When it was stored.
    pub delivered_at: Option<Timestamp>,
}

/// How the whole stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// Number of studies per state; every state is there.
    pub studies: BTreeMap<&'static str, u64>,
    /// Arrival of the newest object of any study.
    pub last_received_at: Option<Timestamp>,
    /// Associations that are open, of the last thousand.
    pub open_associations: u64,
    /// The newest association that is over.
    pub last_association: Option<LastAssociation>,
    /// The newest study whose deliveries came to an end.
    pub last_delivered: Option<StudyRow>,
    /// Since when the oldest complete or reported study has been waiting.
    pub oldest_waiting_since: Option<Timestamp>,
    /// Deliveries that are not done, by destination.
    pub outbox: BTreeMap<String, OutboxCounts>,
    /// What is wrong with the running daemon now.
    pub troubles: Vec<Trouble>,
}

/// The receipt of the newest association that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastAssociation {
    /// Calling AE title.
    pub calling_ae: String,
    /// How it ended.
    pub outcome: String,
    /// When.
    pub closed_at: Timestamp,
    /// C-STORE requests seen.
    pub offered: u64,
    /// Stored by us.
    pub stored: u64,
    /// Refused by us.
    pub refused: u64,
}

/// Deliveries to one destination that are not done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OutboxCounts {
    /// To be sent.
    pub waiting: u64,
    /// Refused for good.
    pub refused: u64,
    /// Withheld by a rule.
    pub held: u64,
}

impl Ledger {
    /// The newest studies, newest first; `None`: in any state.
    pub async fn list_studies(&self, limit: u32, state: Option<StudyState>) -> Result<Vec<StudyRow>, LedgerError> {
        let wanted = if state.is_some() { "WHERE state = ?2" } else { "" };
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {STUDY_COLUMNS} FROM studies {wanted} ORDER BY last_received_at DESC LIMIT ?1"
        )))
        .bind(limit)
        .bind(state.map(StudyState::name))
        .try_map(|row| study_row(&row))
        .fetch_all(&self.readers)
        .await
        .doing("list studies")
    }

    /// Everything about one study.
    pub async fn show_study(&self, study_uid: &Uid) -> Result<StudyDetails, LedgerError> {
        let study = self.study(study_uid).await?;
        let result: Option<String> = sqlx::query_scalar("SELECT result_json FROM studies WHERE study_uid = ?1")
            .bind(study_uid.as_str())
            .fetch_one(&self.readers)
            .await
            .doing("read a study's result")?;
        Ok(StudyDetails {
            study,
            series: self.received_series(study_uid).await?,
            quarantined: self.stored_variants(study_uid).await?,
            verdicts: self.stored_verdicts(study_uid).await?,
            objects: self.stored_objects(study_uid).await?,
            result: result.and_then(|text| serde_json::from_str(&text).ok()),
        })
    }

    async fn stored_variants(&self, study_uid: &Uid) -> Result<Vec<StoredVariant>, LedgerError> {
        sqlx::query("SELECT * FROM quarantine WHERE study_uid = ?1 ORDER BY id")
            .bind(study_uid.as_str())
            .try_map(|row: SqliteRow| {
                let path: String = row.try_get("path")?;
                Ok(StoredVariant {
                    sop_instance_uid: uid(&row, "sop_instance_uid")?,
                    kind: row.try_get("kind")?,
                    why: row.try_get("why")?,
                    path: PathBuf::from(path),
                    received_at: timestamp(row.try_get("received_at")?)?,
                })
            })
            .fetch_all(&self.readers)
            .await
            .doing("list a study's quarantined objects")
    }

    async fn received_series(&self, study_uid: &Uid) -> Result<Vec<ReceivedSeries>, LedgerError> {
        sqlx::query(
            "SELECT series_uid, count(*) AS instances, sum(late) AS late, sum(dataset_bytes) AS bytes
             FROM instances WHERE study_uid = ?1 GROUP BY series_uid ORDER BY series_uid",
        )
        .bind(study_uid.as_str())
        .try_map(|row: SqliteRow| {
            Ok(ReceivedSeries {
                series_uid: uid(&row, "series_uid")?,
                instances: unsigned(row.try_get("instances")?),
                late: unsigned(row.try_get("late")?),
                bytes: unsigned(row.try_get("bytes")?),
            })
        })
        .fetch_all(&self.readers)
        .await
        .doing("count a study's series")
    }

    async fn stored_verdicts(&self, study_uid: &Uid) -> Result<Vec<StoredVerdict>, LedgerError> {
        sqlx::query("SELECT * FROM series_verdicts WHERE study_uid = ?1 ORDER BY series_uid, stack")
            .bind(study_uid.as_str())
            .try_map(|row: SqliteRow| {
                let verdict: String = row.try_get("verdict_json")?;
                Ok(StoredVerdict {
                    series_uid: uid(&row, "series_uid")?,
                    stack: row.try_get("stack")?,
                    sequence: row.try_get("sequence")?,
                    because: row.try_get("because")?,
                    verdict: serde_json::from_str(&verdict).map_err(|error| sqlx::Error::Decode(error.into()))?,
                    chosen: row.try_get("chosen")?,
                })
            })
            .fetch_all(&self.readers)
            .await
            .doing("read a study's series verdicts")
    }

    async fn stored_objects(&self, study_uid: &Uid) -> Result<Vec<StoredObject>, LedgerError> {
        // LEFT JOIN: an object that no destination wants is an object all the same.
        let rows: Vec<(StoredObject, Option<StoredDelivery>)> = sqlx::query(
            "SELECT o.sop_instance_uid, o.series_uid, o.sop_class_uid, o.kind, o.revision, o.path, b.destination, b.status,
                    b.attempts, b.next_attempt_at, b.dimse_status, b.last_error, b.delivered_at
             FROM objects o LEFT JOIN outbox b ON b.sop_instance_uid = o.sop_instance_uid
             WHERE o.study_uid = ?1 ORDER BY o.rendered_at, b.position, o.sop_instance_uid, b.destination",
        )
        .bind(study_uid.as_str())
        .try_map(|row: SqliteRow| Ok((stored_object(&row)?, stored_delivery(&row)?)))
        .fetch_all(&self.readers)
        .await
        .doing("read a study's result objects")?;
        let mut objects: Vec<StoredObject> = Vec::new();
        let mut places: HashMap<Uid, usize> = HashMap::new();
        for (object, delivery) in rows {
            let place = *places.entry(object.sop_instance_uid.clone()).or_insert(objects.len());
            if place == objects.len() {
                objects.push(object);
            }
            if let (Some(object), Some(delivery)) = (objects.get_mut(place), delivery) {
                object.deliveries.push(delivery);
            }
        }
        Ok(objects)
    }

    /// How the whole stands.
    pub async fn overview(&self) -> Result<Overview, LedgerError> {
        let counts: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM studies GROUP BY state")
            .fetch_all(&self.readers)
            .await
            .doing("count studies")?;
        let count = |state: StudyState| {
            counts.iter().find(|(name, _)| name == state.name()).map_or(0, |(_, number)| unsigned(*number))
        };
        let newest = self.list_studies(1, None).await?;
        let last_delivered = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {STUDY_COLUMNS} FROM studies WHERE state = 'delivered' ORDER BY state_since DESC LIMIT 1"
        )))
        .try_map(|row| study_row(&row))
        .fetch_optional(&self.readers)
        .await
        .doing("find the last delivered study")?;
        let waiting_since: Option<i64> = sqlx::query_scalar(
            "SELECT min(since) FROM (SELECT min(state_since) AS since FROM studies WHERE state = 'complete'
             UNION ALL SELECT min(state_since) FROM studies WHERE state = 'reported')",
        )
        .fetch_one(&self.readers)
        .await
        .doing("find the study that waits longest")?;
        Ok(Overview {
            studies: StudyState::ALL.into_iter().map(|state| (state.name(), count(state))).collect(),
            last_received_at: newest.first().map(|study| study.last_received_at),
            open_associations: self.open_associations().await?,
            last_association: self.last_association().await?,
            last_delivered,
            oldest_waiting_since: waiting_since
                .map(timestamp)
                .transpose()
                .doing("find the study that waits longest")?,
            outbox: self.outbox_counts().await?,
            troubles: self.troubles().await?,
        })
    }

    async fn open_associations(&self) -> Result<u64, LedgerError> {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT closed_at FROM associations ORDER BY id DESC LIMIT ?1)
             WHERE closed_at IS NULL",
        )
        .bind(RECENT_ASSOCIATIONS)
        .fetch_one(&self.readers)
        .await
        .doing("count open associations")?;
        Ok(unsigned(open))
    }

    async fn last_association(&self) -> Result<Option<LastAssociation>, LedgerError> {
        sqlx::query(
            "SELECT calling_ae, outcome, closed_at, offered, stored, refused FROM
                 (SELECT * FROM associations ORDER BY id DESC LIMIT ?1)
             WHERE closed_at IS NOT NULL ORDER BY closed_at DESC LIMIT 1",
        )
        .bind(RECENT_ASSOCIATIONS)
        .try_map(|row: SqliteRow| {
            Ok(LastAssociation {
                calling_ae: row.try_get("calling_ae")?,
                outcome: row.try_get::<Option<String>, _>("outcome")?.unwrap_or_default(),
                closed_at: timestamp(row.try_get("closed_at")?)?,
                offered: unsigned(row.try_get("offered")?),
                stored: unsigned(row.try_get("stored")?),
                refused: unsigned(row.try_get("refused")?),
            })
        })
        .fetch_optional(&self.readers)
        .await
        .doing("find the last association")
    }

    /// Deliveries that are not done, by destination; also by destinations that the configuration no longer names.
    pub async fn outbox_counts(&self) -> Result<BTreeMap<String, OutboxCounts>, LedgerError> {
        // `status <> 'delivered'` names the partial index `outbox_open`.
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT destination, status, count(*) FROM outbox WHERE status <> 'delivered' GROUP BY destination, status",
        )
        .fetch_all(&self.readers)
        .await
        .doing("count deliveries")?;
        let mut counts: BTreeMap<String, OutboxCounts> = BTreeMap::new();
        for (destination, status, number) in rows {
            let entry = counts.entry(destination).or_default();
            match OutboxStatus::from_name(&status) {
                Some(OutboxStatus::Waiting) => entry.waiting = unsigned(number),
                Some(OutboxStatus::Refused) => entry.refused = unsigned(number),
                Some(OutboxStatus::Held) => entry.held = unsigned(number),
                Some(OutboxStatus::Delivered) | None => {}
            }
        }
        Ok(counts)
    }
}

fn stored_object(row: &SqliteRow) -> Result<StoredObject, sqlx::Error> {
    let path: String = row.try_get("path")?;
    Ok(StoredObject {
        sop_instance_uid: uid(row, "sop_instance_uid")?,
        series_uid: uid(row, "series_uid")?,
        sop_class_uid: uid(row, "sop_class_uid")?,
        kind: row.try_get("kind")?,
        revision: row.try_get("revision")?,
        path: PathBuf::from(path),
        deliveries: Vec::new(),
    })
}

fn stored_delivery(row: &SqliteRow) -> Result<Option<StoredDelivery>, sqlx::Error> {
    let Some(destination) = row.try_get::<Option<String>, _>("destination")? else { return Ok(None) };
    let status: String = row.try_get("status")?;
    let status = OutboxStatus::from_name(&status)
        .ok_or_else(|| sqlx::Error::Decode(format!("{status:?} is not a delivery's status").into()))?;
    let next_attempt_at = timestamp(row.try_get("next_attempt_at")?)?;
    Ok(Some(StoredDelivery {
        destination,
        status,
        attempts: row.try_get("attempts")?,
        next_attempt_at: (status == OutboxStatus::Waiting).then_some(next_attempt_at),
        dimse_status: row.try_get("dimse_status")?,
        last_error: row.try_get("last_error")?,
        delivered_at: row.try_get::<Option<i64>, _>("delivered_at")?.map(timestamp).transpose()?,
    }))
}

/// A count as SQLite gives it.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
