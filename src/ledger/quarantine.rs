//! Objects in quarantine: another one was first under their SOP Instance UID. They are kept, and never analyzed.

use super::instances::{NewInstance, StoredInstance};
use super::{Doing, Ledger, LedgerError, now_ms};
use crate::dicom::Uid;
use crate::spool::{Spool, SpoolError};

/// A variant in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQuarantine {
    /// SOP Instance UID that two different datasets claim.
    pub sop_instance_uid: Uid,
    /// Study Instance UID of the variant.
    pub study_uid: Uid,
    /// Path relative to the spool.
    pub path: String,
    /// SHA-256 of the variant's dataset.
    pub dataset_sha256: [u8; 32],
    /// How it differs.
    pub kind: VariantKind,
    /// One sentence.
    pub why: String,
    /// The association's row; `None` when rebuilt from the spool.
    pub association_id: Option<i64>,
}

/// How an object in quarantine differs from the one that was first under its UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantKind {
    /// It came in another transfer syntax.
    TransferSyntax,
    /// Only attributes of the patient, the study or the visit differ: somebody corrected them.
    Demographics,
    /// It came within another study.
    OtherStudy,
    /// Anything else.
    Other,
}

impl VariantKind {
    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            VariantKind::TransferSyntax => "transfer_syntax",
            VariantKind::Demographics => "demographics",
            VariantKind::OtherStudy => "other_study",
            VariantKind::Other => "other",
        }
    }
}

/// Why an object is not in quarantine, or has no row there.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// Its file cannot be moved.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Its row cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The task that moves it ended early.
    #[error("moving an object to the quarantine ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Ledger {
    /// Writes the row of a variant; the same variant has one row.
    pub async fn record_quarantine(&self, new: &NewQuarantine) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO quarantine
                 (sop_instance_uid, study_uid, path, dataset_sha256, why, association_id, received_at, kind)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO NOTHING",
        )
        .bind(new.sop_instance_uid.as_str())
        .bind(new.study_uid.as_str())
        .bind(&new.path)
        .bind(new.dataset_sha256.as_slice())
        .bind(&new.why)
        .bind(new.association_id)
        .bind(now_ms())
        .bind(new.kind.name())
        .execute(&self.writer)
        .await
        .doing("record an instance in quarantine")?;
        Ok(())
    }

    /// Moves an object whose SOP instance came before within another study out of the way of analysis, with its row.
    /// Gives the row.
    pub async fn quarantine_elsewhere(
        &self,
        spool: &Spool,
        new: NewInstance,
        first: &StoredInstance,
    ) -> Result<NewQuarantine, QuarantineError> {
        let (spool, moved) = (spool.clone(), new.clone());
        let move_away = move || spool.move_to_quarantine(&moved.path, &moved.sop_instance_uid, &moved.dataset_sha256);
        let variant = NewQuarantine {
            path: tokio::task::spawn_blocking(move_away).await??,
            sop_instance_uid: new.sop_instance_uid,
            study_uid: new.study_uid,
            dataset_sha256: new.dataset_sha256,
            kind: VariantKind::OtherStudy,
            why: format!("the same SOP instance came before within study {}", first.study_uid),
            association_id: new.association_id,
        };
        self.record_quarantine(&variant).await?;
        Ok(variant)
    }
}
