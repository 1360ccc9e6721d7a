//! The spool is the truth: a ledger that was deleted or damaged is rebuilt from it, with its results. Nothing is
//! analyzed anew, nothing gets another UID, and the PACS has every result once.

use std::path::Path;
use std::time::Duration;

use crate::support::{self, Configuration, Daemon, Orthanc, files_below, require_onnxruntime, storescu, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon whose ledger was taken from it once everything was delivered, started again.
fn after(damage: impl FnOnce(&Path)) -> Option<()> {
    require_onnxruntime()?;
    let orthanc = Orthanc::start()?;
    let daemon = Daemon::start(Configuration::new().destination("pacs", Orthanc::AE_TITLE, orthanc.dicom_port()));
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(9, folder.path());
    let files = files_below(folder.path());
    let sent = storescu(&[folder.path()], Configuration::AE_TITLE, daemon.port())?;
    assert!(sent.success, "{}", sent.log);
    // The same object with other bytes, for the quarantine.
    let variant = folder.path().join("variant.dcm");
    support::rewrite(&files[0], &variant, |object| {
        use dicom_core::{DataElement, PrimitiveValue, VR};
        let name = PrimitiveValue::from("Corrected^Name");
        object.put(DataElement::new(dicom_dictionary_std::tags::PATIENT_NAME, VR::PN, name));
    });
    storescu(&[&variant], Configuration::AE_TITLE, daemon.port())?;
    let before = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!(before["quarantined"][0]["kind"], "demographics", "{}", before["quarantined"]);
    let count = orthanc.instance_count();
    // The log goes on over the restart.
    let analyses = |daemon: &Daemon| daemon.log().lines().filter(|line| line.contains("study assembled")).count();
    let analyses_before = analyses(&daemon);
    assert!(analyses_before > 0, "{}", daemon.log());

    let killed = daemon.kill();
    damage(&killed.spool().join("ledger.sqlite"));
    let daemon = killed.restart();
    let after = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    for field in ["revision", "verdict", "probability", "result", "series", "verdicts"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["quarantined"].as_array().unwrap().len(), 1);
    let uids = |study: &serde_json::Value| -> Vec<String> {
        study["objects"].as_array().unwrap().iter().map(|o| o["sop_instance_uid"].to_string()).collect()
    };
    let sorted = |mut uids: Vec<String>| {
        uids.sort();
        uids
    };
    assert_eq!(sorted(uids(&after)), sorted(uids(&before)));
    wait_until("every result was delivered again", PATIENCE, || {
        let study = daemon.study(&study_uid)?;
        let delivered = study["objects"].as_array()?.iter().all(|o| o["deliveries"][0]["status"] == "delivered");
        delivered.then_some(())
    });
    assert_eq!(orthanc.instance_count(), count, "the PACS has each result once");
    assert_eq!(analyses(&daemon), analyses_before, "nothing was analyzed anew");
    Some(())
}

#[test]
fn that_was_deleted() {
    let _ = after(|ledger| {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", ledger.display()));
        }
    });
}

#[test]
fn that_was_damaged() {
    let _ = after(|ledger| {
        let bytes = vec![0x5A; 64 * 1024];
        std::fs::write(ledger, bytes).unwrap();
    });
}
