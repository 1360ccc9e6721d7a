//! Results and their revisions: what a study's earlier results were, which studies got images that no analysis has
//! looked at, and what becomes of a study whose late images change nothing.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::outbox::OutboxRow;
use super::result_record::ResultRecord;
use super::studies::{STUDY_COLUMNS, StudyRow, study_row, timestamp, uid};
use super::{Doing, Ledger, LedgerError, StudyState, now_ms};
use crate::dicom::Uid;
use crate::study::{ReportReference, Revision, Selection};

/// What was known of a study's results when its analysis began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Number of the last result; 0: there is none yet.
    pub revision: u32,
    /// What the last result says.
    pub content_digest: Option<String>,
    /// The volumes that it is about.
    pub selection: Option<Selection>,
    /// Late images made the study complete again, and nobody asked for another analysis.
    pub only_late: bool,
    /// The files of the last result left the spool.
    pub files_were_removed: bool,
    /// The reports so far with their revisions.
    pub reports: Vec<(u32, ReportReference)>,
}

impl History {
    /// Which revision a result is that says this: the last one if it says the same, else the next.
    pub fn revision_of(&self, content_digest: &str) -> Revision {
        let is_the_last = self.revision > 0 && self.content_digest.as_deref() == Some(content_digest);
        let number = if is_the_last { self.revision } else { self.revision + 1 };
        let earlier = self.reports.iter().filter(|(revision, _)| *revision < number);
        let predecessor = earlier.max_by_key(|(revision, _)| *revision).map(|(_, report)| report.clone());
        Revision { number, predecessor }
    }
}

impl Ledger {
    /// A study's results so far.
    pub async fn history(&self, study_uid: &Uid) -> Result<History, LedgerError> {
        let doing = "read a study's results";
        let row = sqlx::query(
            "SELECT revision, content_digest, selection, only_late, files_removed_at FROM studies WHERE study_uid = ?1",
        )
        .bind(study_uid.as_str())
        .fetch_optional(&self.readers)
        .await
        .doing(doing)?
        .ok_or_else(|| LedgerError::UnknownStudy { study_uid: study_uid.to_string() })?;
        let mut history = history_row(&row).doing(doing)?;
        history.reports = sqlx::query(
            "SELECT revision, series_uid, sop_class_uid, sop_instance_uid FROM objects
             WHERE study_uid = ?1 AND kind = 'report'",
        )
        .bind(study_uid.as_str())
        .try_map(|row: SqliteRow| {
            let report = ReportReference {
                series_uid: uid(&row, "series_uid")?,
                sop_class_uid: uid(&row, "sop_class_uid")?,
                sop_instance_uid: uid(&row, "sop_instance_uid")?,
            };
            Ok((row.try_get("revision")?, report))
        })
        .fetch_all(&self.readers)
        .await
        .doing(doing)?;
        Ok(history)
    }

    /// Studies past receiving that got MR images which no analysis has looked at, the one that waits longest first, with
    /// the time of the first such image.
    pub async fn studies_with_late_images(&self) -> Result<Vec<(StudyRow, Timestamp)>, LedgerError> {
        sqlx::query(sqlx::AssertSqlSafe(late_images_query()))
            .try_map(|row| Ok((study_row(&row)?, timestamp(row.try_get("late_since")?)?)))
            .fetch_all(&self.readers)
            .await
            .doing("list studies with late images")
    }

    /// Late images have come to rest: the study is complete again, and analysis looks at them.
    pub async fn reopen_study(&self, study_uid: &Uid) -> Result<(), LedgerError> {
        sqlx::query("UPDATE studies SET attempts = 0, only_late = 1 WHERE study_uid = ?1 AND late_since IS NOT NULL")
            .bind(study_uid.as_str())
            .execute(&self.writer)
            .await
            .doing("reopen a study")?;
        self.move_study(study_uid, StudyState::Complete, "images came after the last analysis").await
    }

    /// The last result stands: the study goes back to where that result left it. Only a result that is about volumes
    /// can stand; after a failure there is none.
    pub async fn keep_result(&self, study_uid: &Uid, reason: &str) -> Result<(), LedgerError> {
        let mut tx = self.begin("keep a result").await?;
        let kept = sqlx::query(
            "UPDATE studies SET state = 'reported', reason = ?2, state_since = ?3, only_late = 0
             WHERE study_uid = ?1 AND state = 'analyzing' AND selection IS NOT NULL",
        )
        .bind(study_uid.as_str())
        .bind(reason)
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .doing("keep a result")?;
        if kept.rows_affected() == 0 {
            tx.rollback().await.doing("keep a result")?;
            return Err(self.refusal(study_uid, StudyState::Reported).await);
        }
        super::studies::settle(&mut tx, study_uid, reason).await?;
        tx.commit().await.doing("keep a result")
    }

    /// An analysis did not come to its end for a reason that is not the study's (the ledger, the disk): it waits for
    /// its turn again, and the attempt does not count.
    pub async fn give_back(&self, study_uid: &Uid, reason: &str) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE studies SET state = 'complete', reason = ?2, state_since = ?3, attempts = max(attempts - 1, 0)
             WHERE study_uid = ?1 AND state = 'analyzing'",
        )
        .bind(study_uid.as_str())
        .bind(reason)
        .bind(now_ms())
        .execute(&self.writer)
        .await
        .doing("give a study back")?;
        Ok(())
    }

    /// Number of a study's last result, 0 without one; `None`: the study is unknown.
    pub async fn last_revision(&self, study_uid: &Uid) -> Result<Option<u32>, LedgerError> {
        sqlx::query_scalar("SELECT revision FROM studies WHERE study_uid = ?1")
            .bind(study_uid.as_str())
            .fetch_optional(&self.readers)
            .await
            .doing("read a study's last revision")
    }

    /// At start-up: enters a result that is on disk and not in the ledger, if it is newer than what the ledger has.
    /// What became of its deliveries is not known, so they are made (again): the same objects under the same UIDs.
    /// False when there was nothing to do.
    pub async fn restore_result(&self, record: &ResultRecord, outbox: &[OutboxRow]) -> Result<bool, LedgerError> {
        let mut tx = self.begin("restore a result").await?;
        let known: Option<i64> = sqlx::query_scalar("SELECT revision FROM studies WHERE study_uid = ?1")
            .bind(record.study_uid.as_str())
            .fetch_optional(&mut *tx)
            .await
            .doing("restore a result")?;
        // Without any object of the study the record is a leftover of a study that was removed.
        if known.is_none_or(|revision| revision >= i64::from(record.revision)) {
            return Ok(false);
        }
        super::studies::enter_result(&mut tx, record, outbox).await?;
        sqlx::query("UPDATE studies SET late_since = last_received_at WHERE study_uid = ?1 AND last_received_at > ?2")
            .bind(record.study_uid.as_str())
            .bind(record.looked_at_ms)
            .execute(&mut *tx)
            .await
            .doing("restore a result")?;
        tx.commit().await.doing("restore a result")?;
        Ok(true)
    }
}

/// `INDEXED BY`: left to itself SQLite takes the index by state, and reads every study that ever was, at every look.
pub(super) fn late_images_query() -> String {
    format!(
        "SELECT {STUDY_COLUMNS}, late_since FROM studies INDEXED BY studies_with_late_images
         WHERE late_since IS NOT NULL AND state IN ('reported', 'delivered', 'not_for_analysis', 'failed')
         ORDER BY late_since"
    )
}

fn history_row(row: &SqliteRow) -> Result<History, sqlx::Error> {
    let selection: Option<String> = row.try_get("selection")?;
    Ok(History {
        revision: row.try_get("revision")?,
        content_digest: row.try_get("content_digest")?,
        selection: selection.and_then(|text| serde_json::from_str(&text).ok()),
        only_late: row.try_get("only_late")?,
        files_were_removed: row.try_get::<Option<i64>, _>("files_removed_at")?.is_some(),
        reports: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> ReportReference {
        let uid = Uid::parse(text).unwrap();
        ReportReference { series_uid: uid.clone(), sop_class_uid: uid.clone(), sop_instance_uid: uid }
    }

    #[test]
    fn what_says_the_same_is_the_same_revision_and_what_says_more_is_the_next() {
        assert_eq!(History::default().revision_of("a"), Revision::first());
        let once = History {
            revision: 1,
            content_digest: Some("a".into()),
            reports: vec![(1, report("1.1"))],
            ..History::default()
        };
        assert_eq!(once.revision_of("a"), Revision::first());
        assert_eq!(once.revision_of("b"), Revision { number: 2, predecessor: Some(report("1.1")) });
        let twice = History {
            revision: 2,
            content_digest: Some("b".into()),
            reports: vec![(2, report("1.2")), (1, report("1.1"))],
            ..History::default()
        };
        assert_eq!(twice.revision_of("b"), Revision { number: 2, predecessor: Some(report("1.1")) });
        assert_eq!(twice.revision_of("a"), Revision { number: 3, predecessor: Some(report("1.2")) });
    }
}
