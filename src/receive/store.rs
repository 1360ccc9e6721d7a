//! From a durable file to an answer: new, here already, or a variant for the quarantine; and the ledger's row.

use tokio::task::spawn_blocking;

use super::answers::Stored;
use super::object::{FinishedObject, Refusal};
use super::variant;
use crate::ledger::instances::{NewInstance, Recorded};
use crate::ledger::quarantine::NewQuarantine;
use crate::ledger::{Ledger, LedgerError, now_ms};
use crate::observe::events::receive::{InstanceDuplicate, InstanceQuarantined, InstanceStored};
use crate::spool::received_file::ReceivedFile;
use crate::spool::{Committed, Spool};

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Refusal {
        Refusal::ours(error)
    }
}

/// Gives an object its row. Whatever this answers with success is on stable storage.
pub(super) async fn settle(
    object: FinishedObject,
    association_id: i64,
    spool: &Spool,
    ledger: &Ledger,
) -> Result<Stored, Refusal> {
    let row = row_of(&object, association_id);
    match object.committed {
        Committed::New => settle_new(row, spool, ledger).await,
        Committed::NameTaken => settle_taken(object, row, spool, ledger).await,
    }
}

fn row_of(object: &FinishedObject, association_id: i64) -> NewInstance {
    let identifiers = &object.identifiers;
    NewInstance {
        sop_instance_uid: identifiers.sop_instance_uid.clone(),
        study_uid: identifiers.study_uid.clone(),
        series_uid: identifiers.series_uid.clone(),
        sop_class_uid: identifiers.sop_class_uid.clone(),
        transfer_syntax: object.header.transfer_syntax.clone(),
        path: Spool::instance_path(&identifiers.study_uid, &identifiers.sop_instance_uid),
        dataset_bytes: object.dataset_bytes,
        dataset_sha256: object.dataset_sha256,
        calling_ae: object.header.source_ae.clone(),
        association_id: Some(association_id),
        received_at_ms: now_ms(),
    }
}

async fn settle_new(row: NewInstance, spool: &Spool, ledger: &Ledger) -> Result<Stored, Refusal> {
    let late_for = match ledger.record_instance(&row).await? {
        Recorded::InTime => None,
        Recorded::Late { state } => Some(state),
        Recorded::Elsewhere(other) => {
            let calling_ae = row.calling_ae.clone();
            let variant = ledger.quarantine_elsewhere(spool, row, &other).await.map_err(Refusal::ours)?;
            return Ok(quarantined(&variant, &calling_ae));
        }
    };
    InstanceStored {
        study: row.study_uid.as_str(),
        sop_instance: row.sop_instance_uid.as_str(),
        late_for: late_for.as_deref(),
    }
    .emit();
    Ok(Stored::New)
}

async fn settle_taken(
    object: FinishedObject,
    row: NewInstance,
    spool: &Spool,
    ledger: &Ledger,
) -> Result<Stored, Refusal> {
    let known = ledger.find_instance(&row.sop_instance_uid).await?.filter(|known| known.path == row.path);
    let (first_digest, has_row) = match known {
        Some(known) => (known.dataset_sha256, true),
        // The ledger lacks what the spool has: another association is just writing the row, or it was lost.
        None => {
            let path = spool.path(&row.path);
            (spawn_blocking(move || ReceivedFile::read(&path)).await??.dataset_sha256.to_vec(), false)
        }
    };
    if first_digest == row.dataset_sha256 {
        if !has_row {
            ledger.record_instance(&row).await?;
        }
        InstanceDuplicate { sop_instance: row.sop_instance_uid.as_str() }.emit();
        return Ok(Stored::Duplicate);
    }
    let sop_instance_uid = row.sop_instance_uid.clone();
    let first = spool.path(&row.path);
    let (path, difference) = {
        let spool = spool.clone();
        spawn_blocking(move || -> Result<_, Refusal> {
            let path = object.file.commit_quarantine(&sop_instance_uid, &object.dataset_sha256)?;
            let difference = variant::difference(&first, &spool.path(&path));
            Ok((path, difference))
        })
        .await??
    };
    let variant = NewQuarantine {
        sop_instance_uid: row.sop_instance_uid,
        study_uid: row.study_uid,
        path,
        dataset_sha256: row.dataset_sha256,
        kind: difference.kind,
        why: format!("same SOP instance UID, other data set: {}", difference.text),
        association_id: row.association_id,
    };
    ledger.record_quarantine(&variant).await?;
    Ok(quarantined(&variant, &row.calling_ae))
}

fn quarantined(variant: &NewQuarantine, calling_ae: &str) -> Stored {
    InstanceQuarantined {
        study: variant.study_uid.as_str(),
        sop_instance: variant.sop_instance_uid.as_str(),
        calling_ae,
        path: &variant.path,
        variant: variant.kind.name(),
        why: &variant.why,
    }
    .emit();
    Stored::Quarantined
}
