//! Received objects: rows for what the spool holds.
//!
//! An instance row and its study's row are written together, before the sender gets its answer. The spool is
//! the truth: [`Ledger::rebuild_from_spool`] writes the rows that a power cut took.

use sqlx::Row;

use super::{Doing, Ledger, LedgerError};
use crate::dicom::Uid;

/// Classes whose objects can become a T1 or FLAIR volume: MR Image, Enhanced MR Image, Legacy Converted Enhanced MR
/// Image Storage. Only such an object, come late, makes a study be looked at again: reports, captures and
/// segmentations that a PACS routes to us, of whatever origin, never do.
pub(super) const MR_IMAGE_CLASSES: [&str; 3] =
    ["1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"];

/// An object that a study's analysis reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFile {
    /// Path relative to the spool.
    pub path: String,
    /// Its series.
    pub series_uid: Uid,
    /// Came after its study was complete.
    pub late: bool,
}

/// An object that is durable in the spool and wants its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// SOP Instance UID.
    pub sop_instance_uid: Uid,
    /// Study Instance UID.
    pub study_uid: Uid,
    /// Series Instance UID.
    pub series_uid: Uid,
    /// SOP Class UID.
    pub sop_class_uid: Uid,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
    /// Path relative to the spool.
    pub path: String,
    /// Length of the dataset, bytes.
    pub dataset_bytes: u64,
    /// SHA-256 of the dataset.
    pub dataset_sha256: [u8; 32],
    /// Who sent it.
    pub calling_ae: String,
    /// The association's row; `None` when rebuilt from the spool.
    pub association_id: Option<i64>,
    /// Unix milliseconds.
    pub received_at_ms: i64,
}

/// A row of the table, as far as receiving needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInstance {
    /// Study Instance UID.
    pub study_uid: String,
    /// Path relative to the spool.
    pub path: String,
    /// SHA-256 of the dataset.
    pub dataset_sha256: Vec<u8>,
    /// Came after its study was complete.
    pub late: bool,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// The study is still being received.
    InTime,
    /// The study was complete already; the object is kept and noted, the study's state is unchanged.
    Late {
        /// Where the study stands.
        state: String,
    },
    /// This SOP instance has a row with another path (it came before, within another study). Nothing was written.
    Elsewhere(StoredInstance),
}

impl Ledger {
    /// The row of a SOP instance.
    pub async fn find_instance(&self, sop_instance_uid: &Uid) -> Result<Option<StoredInstance>, LedgerError> {
        let row = sqlx::query(FIND_INSTANCE)
            .bind(sop_instance_uid.as_str())
            .fetch_optional(&self.readers)
            .await
            .doing("look for an instance")?;
        row.as_ref().map(stored_instance).transpose().doing("read an instance's row")
    }

    /// The files of every object of a study, late ones too, in the order of their UIDs.
    pub async fn instance_files(&self, study_uid: &Uid) -> Result<Vec<InstanceFile>, LedgerError> {
        sqlx::query("SELECT path, series_uid, late FROM instances WHERE study_uid = ? ORDER BY sop_instance_uid")
            .bind(study_uid.as_str())
            .try_map(|row: sqlx::sqlite::SqliteRow| {
                Ok(InstanceFile {
                    path: row.try_get("path")?,
                    series_uid: super::studies::uid(&row, "series_uid")?,
                    late: row.try_get("late")?,
                })
            })
            .fetch_all(&self.readers)
            .await
            .doing("list a study's objects")
    }

    /// Writes the row of an object and its study's row, in one transaction, and answers once it is committed. The study
    /// is made if it is new. A row with the same path is replaced: the spool never replaces a file, so that file was
    /// gone in between. Objects that come at the same time share a transaction.
    pub async fn record_instance(&self, new: &NewInstance) -> Result<Recorded, LedgerError> {
        self.row_writer.write(new.clone()).await
    }
}

pub(super) const FIND_INSTANCE: &str =
    "SELECT study_uid, path, dataset_sha256, late FROM instances WHERE sop_instance_uid = ?";

pub(super) fn stored_instance(row: &sqlx::sqlite::SqliteRow) -> Result<StoredInstance, sqlx::Error> {
    Ok(StoredInstance {
        study_uid: row.try_get("study_uid")?,
        path: row.try_get("path")?,
        dataset_sha256: row.try_get("dataset_sha256")?,
        late: row.try_get("late")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::now_ms;
    use crate::spool::Spool;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn instance(sop: &str, study: &str) -> NewInstance {
        NewInstance {
            sop_instance_uid: uid(sop),
            study_uid: uid(study),
            series_uid: uid("1.9"),
            sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.4"),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            path: Spool::instance_path(&uid(study), &uid(sop)),
            dataset_bytes: 100,
            dataset_sha256: [7; 32],
            calling_ae: "MR1".into(),
            association_id: None,
            received_at_ms: now_ms(),
        }
    }

    async fn late_instances(ledger: &Ledger, study: &str) -> i64 {
        sqlx::query_scalar("SELECT late_instances FROM studies WHERE study_uid = ?")
            .bind(study)
            .fetch_one(&ledger.readers)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn late_instances_are_noted_and_leave_the_state_alone() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        assert_eq!(ledger.record_instance(&instance("1.1", "1.5")).await.unwrap(), Recorded::InTime);
        sqlx::raw_sql("UPDATE studies SET state = 'reported'").execute(&ledger.writer).await.unwrap();
        let late = ledger.record_instance(&instance("1.2", "1.5")).await.unwrap();
        assert_eq!(late, Recorded::Late { state: "reported".into() });
        assert_eq!(late_instances(&ledger, "1.5").await, 1);
        assert!(ledger.find_instance(&uid("1.2")).await.unwrap().unwrap().late);
        // A result of ours that comes back is kept, and is no late image.
        sqlx::raw_sql("INSERT INTO objects VALUES ('1.3', '1.5', '1.6', '1.7', 'card', 'results/x', 0, 1)")
            .execute(&ledger.writer)
            .await
            .unwrap();
        ledger.record_instance(&instance("1.3", "1.5")).await.unwrap();
        assert_eq!(late_instances(&ledger, "1.5").await, 1);
    }

    #[tokio::test]
    async fn only_an_mr_image_makes_a_study_be_looked_at_again() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        ledger.record_instance(&instance("1.1", "1.5")).await.unwrap();
        sqlx::raw_sql("UPDATE studies SET state = 'delivered'").execute(&ledger.writer).await.unwrap();
        let segmentation = NewInstance { sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.66.4"), ..instance("1.2", "1.5") };
        ledger.record_instance(&segmentation).await.unwrap();
        assert_eq!(late_instances(&ledger, "1.5").await, 1);
        assert!(ledger.studies_with_late_images().await.unwrap().is_empty());
        ledger.record_instance(&instance("1.3", "1.5")).await.unwrap();
        assert_eq!(ledger.studies_with_late_images().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn one_sop_instance_in_two_studies_has_one_row() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        ledger.record_instance(&instance("1.1", "1.5")).await.unwrap();
        let second = ledger.record_instance(&instance("1.1", "1.6")).await.unwrap();
        assert!(matches!(second, Recorded::Elsewhere(StoredInstance { ref study_uid, .. }) if study_uid == "1.5"));
        let studies: i64 = sqlx::query_scalar("SELECT count(*) FROM studies").fetch_one(&ledger.readers).await.unwrap();
        assert_eq!(studies, 1, "the second study was rolled back");
    }
}
