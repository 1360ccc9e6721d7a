//! Rows that the ledger lacks are written again from the spool: it is the truth for what was received.
//!
//! A daemon starts with all of its spool before it, often hundreds of thousands of files, nearly all of them known:
//! they are asked for in lots, and only those without a row are opened.

use std::path::PathBuf;

use tokio::task::JoinSet;

use super::instances::{NewInstance, Recorded};
use super::quarantine::{NewQuarantine, QuarantineError, VariantKind};
use super::{Doing, Ledger, LedgerError};
use crate::spool::listing::ReceivedName;
use crate::spool::received_file::ReceivedFile;
use crate::spool::{Spool, SpoolError};

/// What a rebuild did.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Rows written for objects.
    pub instances: u64,
    /// Rows written for variants in quarantine.
    pub quarantined: u64,
    /// Files that are no objects of ours, with the reason; they are left alone.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Why a rebuild failed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An object cannot be moved to the quarantine.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// The reading task ended early.
    #[error("reading the spool ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Files that are asked for in one query.
const LOT: usize = 1000;

/// Files that are read at the same time. Their rows share transactions.
const READERS: usize = 16;

impl Ledger {
    /// At start-up: writes the rows that the ledger lacks for files in the spool. Only missing ones are read.
    pub async fn rebuild_from_spool(&self, spool: &Spool) -> Result<Rebuilt, RebuildError> {
        let files = {
            let spool = spool.clone();
            tokio::task::spawn_blocking(move || spool.received_files()).await??
        };
        let mut rebuilt = Rebuilt::default();
        let mut readers = JoinSet::new();
        for lot in files.chunks(LOT) {
            for file in self.without_a_row(lot).await? {
                if readers.len() == READERS
                    && let Some(written) = readers.join_next().await
                {
                    rebuilt.count(written??);
                }
                readers.spawn(self.clone().write_row_of(spool.clone(), file.clone()));
            }
        }
        while let Some(written) = readers.join_next().await {
            rebuilt.count(written??);
        }
        Ok(rebuilt)
    }

    /// Those of the files whose row is missing. An object's row counts only where it names this very file.
    async fn without_a_row<'a>(&self, files: &'a [ReceivedName]) -> Result<Vec<&'a ReceivedName>, LedgerError> {
        let named: Vec<[&str; 2]> = files.iter().map(|file| [file.sop_instance_uid(), &file.relative]).collect();
        let missing: Vec<i64> = sqlx::query_scalar(
            "SELECT file.key FROM json_each(?) AS file
             WHERE NOT EXISTS (SELECT 1 FROM instances
                               WHERE sop_instance_uid = file.value ->> 0 AND path = file.value ->> 1)
               AND NOT EXISTS (SELECT 1 FROM quarantine WHERE path = file.value ->> 1)",
        )
        .bind(serde_json::json!(named).to_string())
        .fetch_all(&self.readers)
        .await
        .doing("look for the files of the spool")?;
        Ok(missing.into_iter().filter_map(|index| files.get(usize::try_from(index).ok()?)).collect())
    }

    /// Reads a file and writes its row.
    async fn write_row_of(self, spool: Spool, file: ReceivedName) -> Result<Written, RebuildError> {
        let path = spool.path(&file.relative);
        let (read, path) = tokio::task::spawn_blocking(move || (ReceivedFile::read(&path), path)).await?;
        let received = match read {
            Ok(received) => received,
            Err(error) => return Ok(Written::Nothing(path, error.to_string())),
        };
        if file.in_quarantine {
            self.record_quarantine(&NewQuarantine {
                sop_instance_uid: received.identifiers.sop_instance_uid,
                study_uid: received.identifiers.study_uid,
                path: file.relative,
                dataset_sha256: received.dataset_sha256,
                kind: VariantKind::Other,
                why: "found in the quarantine at start-up".into(),
                association_id: None,
            })
            .await?;
            return Ok(Written::Quarantine);
        }
        let new = received.into_new_instance(file.relative);
        match self.record_instance(&new).await? {
            Recorded::InTime | Recorded::Late { .. } => Ok(Written::Instance),
            // A kill came between its commit and its move to the quarantine.
            Recorded::Elsewhere(other) => {
                self.quarantine_elsewhere(&spool, new, &other).await?;
                Ok(Written::Quarantine)
            }
        }
    }
}

/// What a file became.
enum Written {
    Instance,
    Quarantine,
    /// It is no object of ours: its path and the reason.
    Nothing(PathBuf, String),
}

impl Rebuilt {
    fn count(&mut self, written: Written) {
        match written {
            Written::Instance => self.instances += 1,
            Written::Quarantine => self.quarantined += 1,
            Written::Nothing(path, why) => self.unreadable.push((path, why)),
        }
    }
}

impl ReceivedFile {
    fn into_new_instance(self, path: String) -> NewInstance {
        NewInstance {
            sop_instance_uid: self.identifiers.sop_instance_uid,
            study_uid: self.identifiers.study_uid,
            series_uid: self.identifiers.series_uid,
            sop_class_uid: self.identifiers.sop_class_uid,
            transfer_syntax: self.transfer_syntax,
            path,
            dataset_bytes: self.dataset_bytes,
            dataset_sha256: self.dataset_sha256,
            calling_ae: self.source_ae,
            association_id: None,
            received_at_ms: self.written_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::Uid;

    #[tokio::test]
    async fn only_files_without_a_row_are_opened_in_a_spool_of_several_lots() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let ledger = Ledger::open(&spool.ledger_path()).await.unwrap();
        let uid = |text: String| Uid::parse(&text).unwrap();
        let mut missing = Vec::new();
        for number in 0..2 * LOT + 100 {
            let study_uid = uid(format!("1.5.{}", number / 700));
            let sop_instance_uid = uid(format!("1.2.{number}"));
            let relative = Spool::instance_path(&study_uid, &sop_instance_uid);
            std::fs::create_dir_all(spool.path(&relative).parent().unwrap()).unwrap();
            // Whoever opens it finds that it is no object.
            std::fs::write(spool.path(&relative), b"a slice").unwrap();
            if number % 900 == 1 {
                missing.push(spool.path(&relative));
                continue;
            }
            let row = NewInstance {
                sop_instance_uid,
                study_uid,
                series_uid: uid("1.9".into()),
                sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.4".into()),
                transfer_syntax: "1.2.840.10008.1.2.1".into(),
                path: relative,
                dataset_bytes: 7,
                dataset_sha256: [7; 32],
                calling_ae: "MR1".into(),
                association_id: None,
                received_at_ms: 1,
            };
            ledger.record_instance(&row).await.unwrap();
        }
        // A copy under another study is no file that the first one's row speaks of.
        let (elsewhere, in_quarantine) = ("studies/1.5.0/1.2.2000.dcm", "quarantine/1.2.5.00ff.dcm");
        for relative in [elsewhere, in_quarantine] {
            std::fs::write(spool.path(relative), b"a slice").unwrap();
            missing.push(spool.path(relative));
        }
        let rebuilt = ledger.rebuild_from_spool(&spool).await.unwrap();
        assert_eq!((rebuilt.instances, rebuilt.quarantined), (0, 0));
        let mut opened: Vec<PathBuf> = rebuilt.unreadable.into_iter().map(|(path, _)| path).collect();
        opened.sort();
        missing.sort();
        assert_eq!(opened, missing);
    }
}
