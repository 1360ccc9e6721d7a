//! The rows of received objects, written in groups: while one transaction is under way the rows of other associations
//! gather, and the next transaction takes them all. A transaction costs more than the rows in it.
//!
//! Nobody hears that a row is written before the transaction with it was committed.

use std::sync::Arc;

use sqlx::query::QueryScalar;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool};
use sqlx::{Sqlite, query_scalar};
use tokio::sync::{mpsc, oneshot};

use super::instances::{FIND_INSTANCE, MR_IMAGE_CLASSES, NewInstance, Recorded, stored_instance};
use super::{LedgerError, StudyState};

/// Rows that one transaction takes at most, and rows that may wait for the next: an association has one on its way, and
/// what else wants to write must get its turn.
const LARGEST_GROUP: usize = 64;

type Bound<'q> = QueryScalar<'q, Sqlite, String, SqliteArguments>;

/// What is being done, for errors.
const DOING: &str = "record an instance";

/// The rows of an object, or nothing at all where it is [elsewhere](Recorded::Elsewhere): its own; that it is late, where
/// its study is past receiving; its study's, whose state is the answer. Parameters by number, which the statements share.
macro_rules! rows_of_an_object {
    () => {
        "INSERT INTO instances (sop_instance_uid, study_uid, series_uid, sop_class_uid, transfer_syntax, path,
             dataset_bytes, dataset_sha256, association_id, received_at, late)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             coalesce((SELECT state <> ?11 FROM studies WHERE study_uid = ?2), FALSE))
         ON CONFLICT (sop_instance_uid) DO UPDATE SET
             series_uid = excluded.series_uid, sop_class_uid = excluded.sop_class_uid,
             transfer_syntax = excluded.transfer_syntax, dataset_bytes = excluded.dataset_bytes,
             dataset_sha256 = excluded.dataset_sha256, association_id = excluded.association_id,
             received_at = excluded.received_at
         WHERE path = excluded.path;
         UPDATE studies SET late_instances = late_instances + 1,
             late_since = CASE WHEN ?13 THEN coalesce(late_since, ?10) ELSE late_since END
         WHERE study_uid = ?2 AND state <> ?11
             AND EXISTS (SELECT 1 FROM instances WHERE sop_instance_uid = ?1 AND path = ?6)
             AND NOT EXISTS (SELECT 1 FROM objects WHERE sop_instance_uid = ?1);
         INSERT INTO studies (study_uid, state, calling_ae, first_received_at, last_received_at, state_since)
         SELECT ?2, ?11, ?12, ?10, ?10, ?10
         WHERE EXISTS (SELECT 1 FROM instances WHERE sop_instance_uid = ?1 AND path = ?6)
         ON CONFLICT (study_uid) DO UPDATE SET
             last_received_at = max(last_received_at, excluded.last_received_at),
             calling_ae = CASE calling_ae WHEN '' THEN excluded.calling_ae ELSE calling_ae END
         RETURNING state"
    };
}

/// A row on its way into the ledger.
#[derive(Debug)]
struct Waiting {
    row: NewInstance,
    answer: oneshot::Sender<Result<Recorded, LedgerError>>,
}

/// Hands rows to the task that writes them; cheap to clone. The task ends after the last clone is gone.
#[derive(Debug, Clone)]
pub(super) struct RowWriter(mpsc::Sender<Waiting>);

impl RowWriter {
    /// Starts the task, on the runtime that this is called on.
    pub(super) fn start(writer: SqlitePool) -> RowWriter {
        let (sender, mut waiting) = mpsc::channel(LARGEST_GROUP);
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(LARGEST_GROUP);
            while waiting.recv_many(&mut group, LARGEST_GROUP).await > 0 {
                // In a task of its own: a panic loses this group's answers, not all later ones.
                let _ = tokio::spawn(write_and_answer(writer.clone(), std::mem::take(&mut group))).await;
            }
        });
        RowWriter(sender)
    }

    /// Writes a row with the others that are waiting; answers once it is committed.
    pub(super) async fn write(&self, row: NewInstance) -> Result<Recorded, LedgerError> {
        let gone = || LedgerError::Query { doing: DOING, source: Arc::new(sqlx::Error::WorkerCrashed) };
        let (answer, answered) = oneshot::channel();
        self.0.send(Waiting { row, answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn write_and_answer(writer: SqlitePool, group: Vec<Waiting>) {
    match write(&writer, &group).await {
        Ok(all) => group.into_iter().zip(all).for_each(|(waiting, recorded)| waiting.tell(Ok(recorded))),
        // What fails a transaction (the disk, a lock) is no single row's fault: each sender tries again.
        Err(error) => {
            let source = Arc::new(error);
            let failed = || LedgerError::Query { doing: DOING, source: source.clone() };
            group.into_iter().for_each(|waiting| waiting.tell(Err(failed())));
        }
    }
}

async fn write(writer: &SqlitePool, group: &[Waiting]) -> Result<Vec<Recorded>, sqlx::Error> {
    if let [alone] = group {
        return Ok(vec![write_alone(writer, &alone.row).await?]);
    }
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut all = Vec::with_capacity(group.len());
    for Waiting { row, .. } in group {
        let state = bound(query_scalar(rows_of_an_object!()), row).fetch_optional(&mut *transaction).await?;
        all.push(recorded(&mut transaction, row, state).await?);
    }
    transaction.commit().await?;
    Ok(all)
}

/// A transaction in one trip to the connection's thread and back, which costs more than what is done there.
async fn write_alone(writer: &SqlitePool, row: &NewInstance) -> Result<Recorded, sqlx::Error> {
    let mut connection = writer.acquire().await?;
    let transaction = query_scalar(concat!("BEGIN IMMEDIATE; ", rows_of_an_object!(), "; COMMIT"));
    // All of it: an answer that is not read to its end is not computed to its end.
    match bound(transaction, row).fetch_all(&mut *connection).await {
        Ok(states) => recorded(&mut connection, row, states.into_iter().next()).await,
        Err(error) => {
            // Where SQLite has rolled back by itself there is nothing left to roll back.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            Err(error)
        }
    }
}

fn bound<'q>(query: Bound<'q>, new: &'q NewInstance) -> Bound<'q> {
    query
        .bind(new.sop_instance_uid.as_str())
        .bind(new.study_uid.as_str())
        .bind(new.series_uid.as_str())
        .bind(new.sop_class_uid.as_str())
        .bind(&new.transfer_syntax)
        .bind(&new.path)
        .bind(i64::try_from(new.dataset_bytes).unwrap_or(i64::MAX))
        .bind(new.dataset_sha256.as_slice())
        .bind(new.association_id)
        .bind(new.received_at_ms)
        .bind(StudyState::Receiving.name())
        .bind(&new.calling_ae)
        // Our own results come back from a PACS that routes everything to us; they are no late images.
        .bind(MR_IMAGE_CLASSES.contains(&new.sop_class_uid.as_str()))
}

/// What became of an object whose study is in this state now; without one nothing was written.
async fn recorded(
    connection: &mut SqliteConnection,
    new: &NewInstance,
    state: Option<String>,
) -> Result<Recorded, sqlx::Error> {
    match state {
        Some(state) if state == StudyState::Receiving.name() => Ok(Recorded::InTime),
        Some(state) => Ok(Recorded::Late { state }),
        None => {
            let row = sqlx::query(FIND_INSTANCE).bind(new.sop_instance_uid.as_str()).fetch_one(connection).await?;
            Ok(Recorded::Elsewhere(stored_instance(&row)?))
        }
    }
}

impl Waiting {
    /// An association that is gone meanwhile needs no answer.
    fn tell(self, answer: Result<Recorded, LedgerError>) {
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::Uid;
    use crate::ledger::Ledger;
    use crate::spool::Spool;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn instance(study: &str, number: usize) -> NewInstance {
        let sop_instance_uid = uid(&format!("1.2.{number}"));
        NewInstance {
            path: Spool::instance_path(&uid(study), &sop_instance_uid),
            sop_instance_uid,
            study_uid: uid(study),
            series_uid: uid("1.9"),
            sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.4"),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            dataset_bytes: 100,
            dataset_sha256: [7; 32],
            calling_ae: "MR1".into(),
            association_id: None,
            received_at_ms: 1,
        }
    }

    async fn rows(ledger: &Ledger) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM instances").fetch_one(&ledger.readers).await.unwrap()
    }

    /// While the one writing connection is busy, rows gather.
    #[tokio::test]
    async fn each_of_a_group_gets_its_own_answer_and_only_once_the_row_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        ledger.record_instance(&instance("9.1", 0)).await.unwrap();
        ledger.record_instance(&instance("9.3", 1000)).await.unwrap();
        let complete = "UPDATE studies SET state = 'complete' WHERE study_uid = '9.3'";
        sqlx::raw_sql(complete).execute(&ledger.writer).await.unwrap();
        let busy = ledger.writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200 {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                // The first comes again within another study, two come late; the others are new.
                let row = instance(["9.2", "9.3", "9.3"].get(number).unwrap_or(&"9.1"), number);
                let recorded = ledger.record_instance(&row).await.unwrap();
                let found = ledger.find_instance(&row.sop_instance_uid).await.unwrap();
                (number, recorded, found.map(|found| found.study_uid))
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(rows(&ledger).await, 2, "nothing is answered or written before its turn");
        busy.commit().await.unwrap();
        while let Some(done) = tasks.join_next().await {
            let (number, recorded, study) = done.unwrap();
            let is_expected = match number {
                0 => matches!(recorded, Recorded::Elsewhere(_)),
                1 | 2 => recorded == Recorded::Late { state: "complete".to_owned() },
                _ => recorded == Recorded::InTime,
            };
            assert!(is_expected, "{number}: {recorded:?}");
            let its_study = if [1, 2].contains(&number) { "9.3" } else { "9.1" };
            assert_eq!(study.as_deref(), Some(its_study), "{number} was answered and has no row");
        }
        assert_eq!(rows(&ledger).await, 201);
        assert_eq!(ledger.study(&uid("9.3")).await.unwrap().late_instances, 2);
        assert!(ledger.study(&uid("9.2")).await.is_err(), "an object that went elsewhere makes no study");
    }

    #[tokio::test]
    async fn a_row_that_is_alone_and_cannot_be_written_leaves_no_transaction_behind() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON studies BEGIN SELECT RAISE(FAIL, 'refused'); END";
        sqlx::raw_sql(refuse).execute(&ledger.writer).await.unwrap();
        let error = ledger.record_instance(&instance("9.1", 1)).await.unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("refused"), "{error:?}");
        assert_eq!(rows(&ledger).await, 0, "its first statement had succeeded");
        sqlx::raw_sql("DROP TRIGGER refuse").execute(&ledger.writer).await.unwrap();
        assert_eq!(ledger.record_instance(&instance("9.1", 1)).await.unwrap(), Recorded::InTime);
        assert_eq!(rows(&ledger).await, 1);
    }

    #[tokio::test]
    async fn a_group_that_cannot_be_written_is_refused_as_a_whole_and_the_next_one_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        sqlx::raw_sql("ALTER TABLE instances RENAME TO away").execute(&ledger.writer).await.unwrap();
        let (first, second) = (instance("9.1", 1), instance("9.1", 2));
        let (first, second) = tokio::join!(ledger.record_instance(&first), ledger.record_instance(&second));
        assert!(first.is_err() && second.is_err());
        sqlx::raw_sql("ALTER TABLE away RENAME TO instances").execute(&ledger.writer).await.unwrap();
        assert_eq!(ledger.record_instance(&instance("9.1", 3)).await.unwrap(), Recorded::InTime);
        assert_eq!(rows(&ledger).await, 1);
    }
}
