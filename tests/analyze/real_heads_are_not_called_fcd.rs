//! The demonstration models on real heads without FCD: whatever the networks say, there is no verdict, because a real head
//! looks unlike the synthetic ones that they were trained on; and there are heatmaps all the same.

use serde_json::Value;

use crate::support::{fcdd, reference_data, require_onnxruntime};

/// `result.json` of `fcdd analyze` with the demonstration models, and how many heatmap objects there are.
fn analyzed(set: &str) -> Option<(Value, usize)> {
    let files = reference_data(set)?;
    require_onnxruntime()?;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let run = fcdd(["analyze".as_ref(), files.as_os_str(), "--output".as_ref(), output.as_os_str()]);
    assert!(run.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&run.stderr));
    let found = |name: &str| {
        let entries = walkdir::WalkDir::new(&output).into_iter().map(Result::unwrap);
        entries
            .filter(|entry| entry.file_name().to_string_lossy().contains(name))
            .map(|e| e.into_path())
            .collect::<Vec<_>>()
    };
    let result = std::fs::read(&found("result.json")[0]).unwrap();
    Some((serde_json::from_slice(&result).unwrap(), found(".nii").len()))
}

fn codes(result: &Value) -> Vec<&str> {
    result["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

#[test]
fn a_childs_thin_slices_pass_every_gate_and_look_unlike_the_training() {
    let Some((result, maps)) = analyzed("t1-siemens-skyra-mprage-sag") else { return };
    eprintln!("{result:#}");
    assert_eq!(result["verdict"], "unassessable");
    assert_eq!(codes(&result), ["out_of_distribution"]);
    assert!(result["probability"]["t1"].is_f64() && maps >= 1, "{maps} {result}");
    assert_eq!(result["synthetic"], "trained on synthetic data only");
}

#[test]
fn two_sequences_of_one_patient_are_both_unlike_the_training() {
    let Some((result, maps)) = analyzed("study-openms-p12-t1-flair") else { return };
    eprintln!("{result:#}");
    assert_eq!(result["verdict"], "unassessable");
    let unlike = codes(&result).iter().filter(|code| **code == "out_of_distribution").count();
    assert_eq!(unlike, 2, "{result}");
    assert!(maps >= 2, "{maps}");
}
