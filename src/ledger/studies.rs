//! The life of a study in the ledger: every move between states is one guarded UPDATE, so that two
//! processes (the daemon and an operator's `fcdd studies retry`) cannot move a study past each other.
//!
//! Rows are inserted, in state `receiving`, by the intake side ([`super::instances`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::outbox::{OutboxRow, OutboxStatus};
use super::result_record::{ResultObject, ResultRecord};
use super::{Doing, Ledger, LedgerError, StudyState, now_ms};
use crate::dicom::Uid;
use crate::study::{AssembledStudy, Sequence, SeriesVerdict};

/// One study as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyRow {
    /// Study Instance UID.
    pub study_uid: Uid,
    /// Where it stands.
    pub state: StudyState,
    /// Why it stands there, in words; may be empty.
    pub reason: String,
    /// Calling AE title of the sender of its first image.
    pub calling_ae: String,
    /// When its first object arrived.
    pub first_received_at: Timestamp,
    /// When its newest object arrived.
    pub last_received_at: Timestamp,
    /// Since when it is in this state.
    pub state_since: Timestamp,
    /// Analyses begun since it was complete or since an operator's retry.
    pub attempts: u32,
    /// Code of the verdict, once there is one.
    pub verdict: Option<String>,
    /// Fused probability of FCD, once there is one.
    pub probability: Option<f64>,
    /// Objects that came after the study was complete.
    pub late_instances: u32,
    /// Number of its last result; 0: there is none yet.
    pub revision: u32,
    /// When the files of its last result left the spool, if they did.
    pub files_removed_at: Option<Timestamp>,
}

/// What assembly said about one stack of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesVerdictRow {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// Position of the stack within its series.
    pub stack: usize,
    /// What it was classified as.
    pub sequence: Sequence,
    /// The rule that decided so.
    pub because: String,
    /// Whether it is a usable volume.
    pub verdict: SeriesVerdict,
    /// Whether it was analyzed.
    pub chosen: bool,
}

impl SeriesVerdictRow {
    /// The rows of an assembled study, one per stack.
    pub fn of(study: &AssembledStudy) -> Vec<SeriesVerdictRow> {
        let row = |(index, stack): (usize, &crate::study::Stack)| SeriesVerdictRow {
            series_uid: stack.series_uid.clone(),
            stack: stack.index_in_series,
            sequence: stack.sequence,
            because: stack.sequence_because.clone(),
            verdict: stack.verdict.clone(),
            chosen: study.t1 == Some(index) || study.flair == Some(index),
        };
        study.stacks.iter().enumerate().map(row).collect()
    }
}

/// A study whose deliveries have all come to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledStudy {
    /// The study, now `delivered`.
    pub study_uid: Uid,
    /// Deliveries that were stored.
    pub delivered: u64,
    /// Deliveries that were refused for good.
    pub refused: u64,
    /// Deliveries that a rule withholds.
    pub held: u64,
}

/// What an operator's retry did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retried {
    /// The state before.
    pub from: StudyState,
    /// Deliveries of earlier results that were refused or waiting and are tried again at once.
    pub deliveries_tried_again: u64,
}

/// The columns of [`study_row`].
pub(super) const STUDY_COLUMNS: &str = "study_uid, state, reason, calling_ae, first_received_at, last_received_at, \
     state_since, attempts, verdict, probability, late_instances, revision, files_removed_at";

impl Ledger {
    /// Moves a study to another state, if the table of moves allows it from where it stands.
    pub async fn move_study(&self, study_uid: &Uid, to: StudyState, reason: &str) -> Result<(), LedgerError> {
        let moved = sqlx::query(
            "UPDATE studies SET state = ?2, reason = ?3, state_since = ?4
             WHERE study_uid = ?1 AND state IN (SELECT value FROM json_each(?5))",
        )
        .bind(study_uid.as_str())
        .bind(to.name())
        .bind(reason)
        .bind(now_ms())
        .bind(states_before(to))
        .execute(&self.writer)
        .await
        .doing("move a study")?;
        if moved.rows_affected() == 0 {
            return Err(self.refusal(study_uid, to).await);
        }
        Ok(())
    }

    /// Moves a study from `analyzing` to `failed`.
    pub async fn fail_study(&self, study_uid: &Uid, reason: &str) -> Result<(), LedgerError> {
        self.move_study(study_uid, StudyState::Failed, reason).await
    }

    /// Why a move did not happen.
    pub(super) async fn refusal(&self, study_uid: &Uid, to: StudyState) -> LedgerError {
        let state = sqlx::query_scalar("SELECT state FROM studies WHERE study_uid = ?1")
            .bind(study_uid.as_str())
            .fetch_optional(&self.writer)
            .await;
        match state.doing("read a study's state") {
            Ok(Some(from)) => LedgerError::Move { study_uid: study_uid.to_string(), from, to },
            Ok(None) => LedgerError::UnknownStudy { study_uid: study_uid.to_string() },
            Err(error) => error,
        }
    }

    /// One study.
    pub async fn study(&self, study_uid: &Uid) -> Result<StudyRow, LedgerError> {
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {STUDY_COLUMNS} FROM studies WHERE study_uid = ?1")))
            .bind(study_uid.as_str())
            .try_map(|row| study_row(&row))
            .fetch_optional(&self.readers)
            .await
            .doing("read a study")?
            .ok_or_else(|| LedgerError::UnknownStudy { study_uid: study_uid.to_string() })
    }

    /// Every study in one state; the one whose last image is oldest comes first.
    pub async fn studies_in(&self, state: StudyState) -> Result<Vec<StudyRow>, LedgerError> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {STUDY_COLUMNS} FROM studies WHERE state = ?1 ORDER BY last_received_at"
        )))
        .bind(state.name())
        .try_map(|row| study_row(&row))
        .fetch_all(&self.readers)
        .await
        .doing("list the studies of one state")
    }

    /// Claims the complete study that has waited longest: it becomes `analyzing` and its attempts grow by
    /// one, before anything of it is touched. The caller fails it when `attempts` exceeds the configured
    /// bound: an analysis that kills the process is not begun for ever. Images that come from now on are late.
    pub async fn next_complete(&self) -> Result<Option<StudyRow>, LedgerError> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE studies SET state = 'analyzing', attempts = attempts + 1, reason = '', state_since = ?1,
                 late_since = NULL
             WHERE state = 'complete' AND study_uid =
                 (SELECT study_uid FROM studies WHERE state = 'complete' ORDER BY last_received_at LIMIT 1)
             RETURNING {STUDY_COLUMNS}"
        )))
        .bind(now_ms())
        .try_map(|row| study_row(&row))
        .fetch_optional(&self.writer)
        .await
        .doing("claim a complete study")
    }

    /// At start-up: analyses that the last run left unfinished wait for their turn again. Returns how many.
    pub async fn restart_unfinished(&self) -> Result<u64, LedgerError> {
        sqlx::query(
            "UPDATE studies SET state = 'complete', reason = 'restarted: the analysis was interrupted', state_since = ?1
             WHERE state = 'analyzing'",
        )
        .bind(now_ms())
        .execute(&self.writer)
        .await
        .map(|done| done.rows_affected())
        .doing("restart unfinished studies")
    }

    /// Enters a finished analysis, its objects and their deliveries, and moves the study from `analyzing` to
    /// `reported`, or straight to `delivered` when nothing waits to be sent, or to `failed`; all of it or nothing.
    ///
    /// Objects of an earlier analysis stay. A delivery that already happened stays `delivered`, so nothing is
    /// sent twice; one that did not happen follows the newest word of the rules; and waiting
    /// deliveries that this analysis no longer asks for are held: a superseded result is not sent any more.
    pub async fn finish_analysis(
        &self,
        record: &ResultRecord,
        outbox: &[OutboxRow],
    ) -> Result<StudyState, LedgerError> {
        let mut tx = self.begin("record an analysis").await?;
        let state: Option<String> = sqlx::query_scalar("SELECT state FROM studies WHERE study_uid = ?1")
            .bind(record.study_uid.as_str())
            .fetch_optional(&mut *tx)
            .await
            .doing("record an analysis")?;
        if state.as_deref() != Some(StudyState::Analyzing.name()) {
            // The refusal asks through the one writing connection, which the transaction holds.
            tx.rollback().await.doing("record an analysis")?;
            return Err(self.refusal(&record.study_uid, record.state()).await);
        }
        let state = enter_result(&mut tx, record, outbox).await?;
        tx.commit().await.doing("record an analysis")?;
        Ok(state)
    }

    /// Moves a `reported` study to `delivered` if none of its deliveries waits any more; its reason then says
    /// what was refused or held.
    pub async fn settle_study(&self, study_uid: &Uid) -> Result<Option<SettledStudy>, LedgerError> {
        let mut tx = self.begin("settle a study").await?;
        let settled = settle(&mut tx, study_uid, "").await?;
        tx.commit().await.doing("settle a study")?;
        Ok(settled)
    }

    /// An operator's retry: the study goes to analysis again with a fresh count of attempts, and deliveries of
    /// its objects that were refused or wait are tried again at once. What was delivered stays so.
    pub async fn retry_study(&self, study_uid: &Uid) -> Result<Retried, LedgerError> {
        let mut tx = self.begin("retry a study").await?;
        let found: Option<(String, Option<i64>, i64)> =
            sqlx::query_as("SELECT state, files_removed_at, last_received_at FROM studies WHERE study_uid = ?1")
                .bind(study_uid.as_str())
                .fetch_optional(&mut *tx)
                .await
                .doing("retry a study")?;
        let (from, files_removed_at, last_received_at) =
            found.ok_or_else(|| LedgerError::UnknownStudy { study_uid: study_uid.to_string() })?;
        if let Some(removed_at) = files_removed_at.filter(|at| *at >= last_received_at) {
            let at = timestamp(removed_at).doing("retry a study")?;
            return Err(LedgerError::FilesRemoved { study_uid: study_uid.to_string(), at });
        }
        use StudyState::{Complete, Delivered, Failed, NotForAnalysis, Reported};
        let from = match StudyState::from_name(&from) {
            Some(state @ (NotForAnalysis | Failed | Reported | Delivered)) => state,
            _ => return Err(LedgerError::Move { study_uid: study_uid.to_string(), from, to: Complete }),
        };
        let now = now_ms();
        sqlx::query(
            "UPDATE studies SET state = 'complete', reason = 'retried by an operator', attempts = 0, only_late = 0,
                 state_since = ?2
             WHERE study_uid = ?1",
        )
        .bind(study_uid.as_str())
        .bind(now)
        .execute(&mut *tx)
        .await
        .doing("retry a study")?;
        let deliveries = sqlx::query(
            "UPDATE outbox SET status = 'waiting', attempts = 0, next_attempt_at = ?2, last_error = ''
             WHERE sop_instance_uid IN (SELECT sop_instance_uid FROM objects WHERE study_uid = ?1)
               AND status IN ('waiting', 'refused')",
        )
        .bind(study_uid.as_str())
        .bind(now)
        .execute(&mut *tx)
        .await
        .doing("retry a study's deliveries")?;
        tx.commit().await.doing("retry a study")?;
        Ok(Retried { from, deliveries_tried_again: deliveries.rows_affected() })
    }

    /// Begins a transaction that writes. `IMMEDIATE`: a deferred one that reads first fails at its first write
    /// when another process wrote in between, and no busy timeout helps.
    pub(super) async fn begin(&self, doing: &'static str) -> Result<Transaction<'static, Sqlite>, LedgerError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.doing(doing)
    }
}

/// The states from which `to` may be entered, as a JSON list for `json_each`.
fn states_before(to: StudyState) -> String {
    let names: Vec<&str> = StudyState::ALL.into_iter().filter(|from| from.may_become(to)).map(|s| s.name()).collect();
    format!("[\"{}\"]", names.join("\",\""))
}

async fn insert_series_verdicts(
    tx: &mut Transaction<'static, Sqlite>,
    study_uid: &Uid,
    series: &[SeriesVerdictRow],
) -> Result<(), LedgerError> {
    sqlx::query("DELETE FROM series_verdicts WHERE study_uid = ?1")
        .bind(study_uid.as_str())
        .execute(&mut **tx)
        .await
        .doing("replace series verdicts")?;
    for row in series {
        let verdict_json = serde_json::to_string(&row.verdict)
            .map_err(|error| sqlx::Error::Encode(error.into()))
            .doing("record a series verdict")?;
        sqlx::query("INSERT OR REPLACE INTO series_verdicts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .bind(study_uid.as_str())
            .bind(row.series_uid.as_str())
            .bind(i64::try_from(row.stack).unwrap_or(i64::MAX))
            .bind(row.sequence.label())
            .bind(&row.because)
            .bind(verdict_json)
            .bind(row.chosen)
            .execute(&mut **tx)
            .await
            .doing("record a series verdict")?;
    }
    Ok(())
}

async fn insert_objects(
    tx: &mut Transaction<'static, Sqlite>,
    study_uid: &Uid,
    objects: &[ResultObject],
    revision: u32,
) -> Result<(), LedgerError> {
    for object in objects {
        sqlx::query("INSERT OR IGNORE INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
            .bind(object.sop_instance_uid.as_str())
            .bind(study_uid.as_str())
            .bind(object.series_uid.as_str())
            .bind(object.sop_class_uid.as_str())
            .bind(object.kind.name())
            .bind(object.path.to_string_lossy())
            .bind(now_ms())
            .bind(revision)
            .execute(&mut **tx)
            .await
            .doing("record a result object")?;
    }
    Ok(())
}

/// Writes a result over what the study's row says, whatever state it is in: see [`Ledger::finish_analysis`].
pub(super) async fn enter_result(
    tx: &mut Transaction<'static, Sqlite>,
    record: &ResultRecord,
    outbox: &[OutboxRow],
) -> Result<StudyState, LedgerError> {
    let (study_uid, state) = (&record.study_uid, record.state());
    // A failure is about no volumes: when images come late, the study is tried again.
    let selection = record.failure.is_none().then(|| serde_json::json!(record.selection).to_string());
    sqlx::query(
        "UPDATE studies SET state = ?2, reason = ?3, state_since = ?4, verdict = ?5, probability = ?6, result_json = ?7,
             revision = ?8, content_digest = ?9, selection = ?10, only_late = 0, files_removed_at = NULL
         WHERE study_uid = ?1",
    )
    .bind(study_uid.as_str())
    .bind(state.name())
    .bind(record.failure.as_deref().unwrap_or_default())
    .bind(now_ms())
    .bind(&record.verdict)
    .bind(record.probability)
    .bind(record.result.to_string())
    .bind(record.revision)
    .bind(&record.content_digest)
    .bind(selection)
    .execute(&mut **tx)
    .await
    .doing("record an analysis")?;
    insert_series_verdicts(tx, study_uid, &record.series).await?;
    insert_objects(tx, study_uid, &record.objects, record.revision).await?;
    super::outbox::replace_undelivered(tx, study_uid, outbox).await?;
    let settled = settle(tx, study_uid, "").await?;
    Ok(if settled.is_some() { StudyState::Delivered } else { state })
}

/// Moves a `reported` study none of whose deliveries waits to `delivered`; `also` is said in its reason first.
pub(super) async fn settle(
    tx: &mut Transaction<'static, Sqlite>,
    study_uid: &Uid,
    also: &str,
) -> Result<Option<SettledStudy>, LedgerError> {
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT b.status, count(*) FROM objects o JOIN outbox b ON b.sop_instance_uid = o.sop_instance_uid
         WHERE o.study_uid = ?1 GROUP BY b.status",
    )
    .bind(study_uid.as_str())
    .fetch_all(&mut **tx)
    .await
    .doing("count a study's deliveries")?;
    let count = |status: OutboxStatus| {
        counts.iter().find(|(name, _)| name == status.name()).map_or(0, |(_, n)| u64::try_from(*n).unwrap_or(0))
    };
    if count(OutboxStatus::Waiting) > 0 {
        return Ok(None);
    }
    let settled = SettledStudy {
        study_uid: study_uid.clone(),
        delivered: count(OutboxStatus::Delivered),
        refused: count(OutboxStatus::Refused),
        held: count(OutboxStatus::Held),
    };
    let note = match (settled.refused, settled.held) {
        (0, 0) => String::new(),
        (refused, 0) => format!("{refused} deliveries refused for good"),
        (0, held) => format!("{held} deliveries held by a rule"),
        (refused, held) => format!("{refused} deliveries refused for good, {held} held by a rule"),
    };
    let note = if also.is_empty() || note.is_empty() { format!("{also}{note}") } else { format!("{also}; {note}") };
    let moved = sqlx::query(
        "UPDATE studies SET state = 'delivered', reason = ?2, state_since = ?3
         WHERE study_uid = ?1 AND state = 'reported'",
    )
    .bind(study_uid.as_str())
    .bind(note)
    .bind(now_ms())
    .execute(&mut **tx)
    .await
    .doing("settle a study")?;
    Ok((moved.rows_affected() > 0).then_some(settled))
}

/// Reads a row of [`STUDY_COLUMNS`].
pub(super) fn study_row(row: &SqliteRow) -> Result<StudyRow, sqlx::Error> {
    let state: String = row.try_get("state")?;
    Ok(StudyRow {
        study_uid: uid(row, "study_uid")?,
        state: StudyState::from_name(&state)
            .ok_or_else(|| sqlx::Error::Decode(format!("{state:?} is not a study's state").into()))?,
        reason: row.try_get("reason")?,
        calling_ae: row.try_get("calling_ae")?,
        first_received_at: timestamp(row.try_get("first_received_at")?)?,
        last_received_at: timestamp(row.try_get("last_received_at")?)?,
        state_since: timestamp(row.try_get("state_since")?)?,
        attempts: row.try_get("attempts")?,
        verdict: row.try_get("verdict")?,
        probability: row.try_get("probability")?,
        late_instances: row.try_get("late_instances")?,
        revision: row.try_get("revision")?,
        files_removed_at: row.try_get::<Option<i64>, _>("files_removed_at")?.map(timestamp).transpose()?,
    })
}

/// Reads a UID column.
pub(super) fn uid(row: &SqliteRow, column: &str) -> Result<Uid, sqlx::Error> {
    let text: String = row.try_get(column)?;
    Uid::parse(&text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Unix milliseconds as a timestamp.
pub(super) fn timestamp(milliseconds: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| sqlx::Error::Decode(error.into()))
}
