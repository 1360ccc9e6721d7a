//! The rows of received objects, written in groups: while one transaction is under way the rows of other associations
//! gather, and the next transaction takes them all. A transaction costs more than the rows in it.
//!
//! Nobody hears that a row is written before the transaction with it was committed.

use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;
use super::instances::{NewInstance, Recorded, record_in};

/// Rows that one transaction takes at most, and rows that may wait for the next: an association has one on its way, and
/// what else wants to write must get its turn.
const LARGEST_GROUP: usize = 64;

/// What is being done, for errors.
const DOING: &str = "record an instance";

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
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut all = Vec::with_capacity(group.len());
    for waiting in group {
        all.push(record_in(&mut transaction, &waiting.row).await?);
    }
    transaction.commit().await?;
    Ok(all)
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
        let busy = ledger.writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200 {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                // The first comes again within another study; the others are new.
                let row = instance(if number == 0 { "9.2" } else { "9.1" }, number);
                let recorded = ledger.record_instance(&row).await.unwrap();
                let found = ledger.find_instance(&row.sop_instance_uid).await.unwrap();
                (number, recorded, found.map(|found| found.study_uid))
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(rows(&ledger).await, 1, "nothing is answered or written before its turn");
        busy.commit().await.unwrap();
        while let Some(done) = tasks.join_next().await {
            let (number, recorded, study) = done.unwrap();
            assert_eq!(matches!(recorded, Recorded::Elsewhere(_)), number == 0, "{number}: {recorded:?}");
            assert_eq!(study.as_deref(), Some("9.1"), "{number} was answered and has no row");
        }
        assert_eq!(rows(&ledger).await, 200);
        assert!(ledger.study(&uid("9.2")).await.is_err(), "an object that went elsewhere makes no study");
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
