//! No loops: results that a PACS routes back to the daemon are stored, and trigger nothing.

use std::time::Duration;

use serde_json::json;

use crate::support::{self, Configuration, Daemon, Orthanc, require_onnxruntime, storescu};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn results_routed_back_trigger_nothing() {
    let Some(_) = require_onnxruntime() else { return };
    let Some(orthanc) = Orthanc::start() else { return };
    let daemon = Daemon::start(Configuration::new().destination("pacs", Orthanc::AE_TITLE, orthanc.dicom_port()));
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(5, &folder.path().join("study"));
    let Some(sent) = storescu(&[&folder.path().join("study")], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    let first = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    let delivered = orthanc.instance_count();

    // Into the same study, as a PACS with an auto-routing rule does.
    let back = folder.path().join("back");
    orthanc.download_matching(json!({ "StudyInstanceUID": study_uid }), &back);
    let Some(sent) = storescu(&[&back], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    let second = daemon.study(&study_uid).unwrap();
    assert_eq!(second["state"], "delivered");
    assert_eq!(second["late_instances"], 0, "our own results are no late images");
    let received: u64 = second["series"].as_array().unwrap().iter().filter_map(|s| s["instances"].as_u64()).sum();
    assert!(received > delivered, "{received} objects are kept");
    assert_eq!(second["state_since"], first["state_since"], "the study moved");

    // Into a daemon that never saw the study: kept, and recognised as ours.
    let other = Daemon::start(Configuration::new().destination("pacs", Orthanc::AE_TITLE, orthanc.dicom_port()));
    let Some(sent) = storescu(&[&back], Configuration::AE_TITLE, other.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    let ignored = other.wait_for_state(&study_uid, "not_for_analysis", PATIENCE);
    assert!(ignored["reason"].as_str().unwrap().contains("own results"), "{ignored}");
    assert_eq!(orthanc.instance_count(), delivered, "something was sent again");
}
