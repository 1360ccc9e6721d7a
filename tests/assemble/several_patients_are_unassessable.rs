//! A study in which two patients are mixed up gets a report that says so, and no probability.

use std::time::Duration;

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;

use crate::support::{self, Configuration, Daemon, files_below, require_onnxruntime, storescu};

#[test]
fn two_patient_ids_withhold_the_verdict() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(Configuration::new());
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(8, folder.path());
    let file = files_below(folder.path()).pop().unwrap();
    let mut image = dicom_object::open_file(&file).unwrap();
    image.put(DataElement::new(tags::PATIENT_ID, VR::LO, "SOMEBODY-ELSE"));
    image.write_to_file(&file).unwrap();

    let Some(sent) = storescu(&[folder.path()], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    let study = daemon.wait_for_state(&study_uid, "delivered", Duration::from_secs(120));
    let result = &study["result"];
    assert_eq!(result["verdict"], "unassessable", "{result}");
    assert!(result["probability"]["fused"].is_null(), "{result}");
    assert_eq!(result["reasons"][0]["code"], "several_patients", "{result}");
    let kinds: Vec<&str> = study["objects"].as_array().unwrap().iter().filter_map(|o| o["kind"].as_str()).collect();
    assert!(kinds.contains(&"report"), "a report says so: {kinds:?}");
    assert!(!daemon.log().contains("SOMEBODY-ELSE"), "a patient ID is in the log");
}
