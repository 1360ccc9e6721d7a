//! The main job with real peers: DCMTK sends a study to `fcdd serve`, and its results are in Orthanc, where
//! C-FIND finds them, independent validators have nothing against them, and they can be deleted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    self, Configuration, Daemon, Orthanc, dciodvfy_errors, dsrdump, findscu, pixelmed_sr_errors, reference_data,
    require_onnxruntime, storescu,
};

const PATIENCE: Duration = Duration::from_secs(240);
const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const COMPREHENSIVE_3D_SR: &str = "1.2.840.10008.5.1.4.1.1.88.34";

#[test]
fn a_real_head_with_t1_and_flair() {
    let Some(files) = reference_data("study-openms-p12-t1-flair") else { return };
    let Some(result) = there_and_back(&files, 48 + 48 + 2) else { return };
    assert_eq!(result["verdict"], "unassessable");
    for stage in ["assemble", "analyze", "report"] {
        assert!(result["timings_ms"][stage].as_f64().is_some_and(|ms| ms > 0.0), "{stage}");
    }
    for name in ["t1", "flair", "fused"] {
        let probability = result["probability"][name].as_f64().expect(name);
        assert!((0.0..=1.0).contains(&probability), "{name}: {probability}");
    }
    assert!(reason_codes(&result).contains(&"out_of_distribution".to_owned()), "{result}");
}

#[test]
fn a_scanners_own_t1() {
    let Some(files) = reference_data("t1-siemens-skyra-mprage-sag") else { return };
    let Some(result) = there_and_back(&files, 192 + 2) else { return };
    assert!(result["probability"]["t1"].is_f64(), "{result}");
    assert!(result["probability"]["flair"].is_null(), "{result}");
}

#[test]
fn a_phantom() {
    let folder = tempfile::tempdir().unwrap();
    support::phantom_study(3, folder.path());
    let slices = support::files_below(folder.path()).len();
    let Some(result) = there_and_back(folder.path(), slices as u64 + 2) else { return };
    assert!(result["probability"]["fused"].is_f64(), "{result}");
}

fn reason_codes(result: &Value) -> Vec<String> {
    let reasons = result["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().map(|r| r["code"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Sends the files, waits for `expected` results in Orthanc, and judges every one; `result.json`.
fn there_and_back(files: &Path, expected: u64) -> Option<Value> {
    require_onnxruntime()?;
    let orthanc = Orthanc::start()?;
    let daemon = Daemon::start(Configuration::new().destination("pacs", Orthanc::AE_TITLE, orthanc.dicom_port()));
    let sent = storescu(&[files], Configuration::AE_TITLE, daemon.port())?;
    assert!(sent.success, "{}", sent.log);

    orthanc.wait_for_instances(expected, PATIENCE);
    let studies = daemon.studies();
    assert_eq!(studies.len(), 1, "{studies:?}");
    let study_uid = studies[0]["study_uid"].as_str().unwrap().to_owned();
    let study = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!(orthanc.instance_count(), expected);

    let keys =
        [format!("StudyInstanceUID={study_uid}"), "SeriesInstanceUID".into(), "Modality".into(), "SeriesNumber".into()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let series = findscu("SERIES", &keys, Orthanc::AE_TITLE, orthanc.dicom_port())?;
    let numbers: Vec<&str> = series.iter().filter_map(|s| s.get("0020,0011")).map(String::as_str).collect();
    for number in ["9100", "9401"] {
        assert!(numbers.contains(&number), "series {number} is missing in {numbers:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let back = orthanc.download_matching(json!({ "StudyInstanceUID": study_uid }), folder.path());
    let mut judged: BTreeMap<String, usize> = BTreeMap::new();
    for file in &back {
        let object = dicom_object::open_file(file).unwrap();
        let class = object.meta().media_storage_sop_class_uid().trim_end_matches('\0').to_owned();
        let count = judged.entry(class.clone()).or_default();
        *count += 1;
        // Slices of one series differ in their pixels and positions only: every 16th of them is judged.
        if class != SECONDARY_CAPTURE || *count % 16 == 1 || object.element_by_name("ImagePositionPatient").is_err() {
            assert_eq!(dciodvfy_errors(file)?, Vec::<String>::new(), "{class}");
        }
        if class == COMPREHENSIVE_3D_SR {
            assert_eq!(pixelmed_sr_errors(file)?, Vec::<String>::new());
            let text = dsrdump(file)?;
            let finding = match study["result"]["verdict"].as_str() {
                Some("suspected") => "Present",
                Some("not_suspected") => "Absent",
                _ => "Undetermined",
            };
            assert!(text.contains(finding), "{finding}: {text}");
            assert!(text.to_lowercase().contains("trained on synthetic data only"), "{text}");
        }
        let comments = object.element_by_name("SeriesDescription").unwrap().to_str().unwrap().into_owned();
        assert!(comments.trim_end().ends_with("(RESEARCH ONLY)"), "{comments}");
    }
    assert_eq!(judged.get(COMPREHENSIVE_3D_SR), Some(&1), "{judged:?}");
    assert_eq!(judged.get(SECONDARY_CAPTURE), Some(&(expected as usize - 1)), "{judged:?}");

    orthanc.delete_all();
    assert_eq!(orthanc.instance_count(), 0);
    Some(study["result"].clone())
}
