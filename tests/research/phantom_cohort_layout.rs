//! A BIDS cohort has the names, columns and byte order mark of OpenNeuro ds004199; a DICOM study passes dciodvfy.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support;

fn phantom(output: &Path, arguments: &[&str]) -> serde_json::Value {
    let run = Command::new(env!("CARGO_BIN_EXE_fcdd"))
        .args(["phantom", "--seed", "5", "--size", "small", "--json", "--output"])
        .arg(output)
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

/// `sub-00001/anat/sub-00001_acq-...` with every subject's number taken out.
fn without_number(path: &str) -> String {
    let digits = |part: &str| part.len() > 5 && part.as_bytes()[..5].iter().all(u8::is_ascii_digit);
    let parts = path.split("sub-").map(|part| if digits(part) { &part[5..] } else { part });
    parts.collect::<Vec<_>>().join("sub-")
}

#[test]
fn a_bids_cohort_has_the_layout_of_ds004199() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("cohort");
    let answer = phantom(&output, &["--subjects", "4", "--format", "bids", "--controls", "0.5"]);
    assert_eq!(answer["subjects"].as_array().unwrap().len(), 4);
    let ours: BTreeSet<String> = support::files_below(&output)
        .iter()
        .map(|path| path.strip_prefix(&output).unwrap().display().to_string())
        .collect();
    let table = std::fs::read_to_string(output.join("participants.tsv")).unwrap();
    for subject in answer["subjects"].as_array().unwrap() {
        let id = subject["id"].as_str().unwrap();
        let is_patient = subject["group"] == "fcd";
        assert_eq!(ours.iter().any(|name| name.contains(id) && name.ends_with("_FLAIR_roi.nii.gz")), is_patient);
        assert_eq!(subject["lesion"].is_null(), !is_patient);
        assert!(table.contains(&format!("\r\n{id}\t{}\t", subject["group"].as_str().unwrap())));
    }
    let Some(reference) = support::reference_data("ds004199-layout") else { return };
    let files = std::fs::read_to_string(reference.join("files.tsv")).unwrap();
    let theirs: BTreeSet<String> = files.lines().map(|line| without_number(line.split('\t').next().unwrap())).collect();
    for name in &ours {
        assert!(theirs.contains(&without_number(name)), "ds004199 has no file named like {name}");
    }
    let their_table = std::fs::read_to_string(reference.join("participants.tsv")).unwrap();
    assert_eq!(table.split('\n').next(), their_table.split('\n').next(), "first line of participants.tsv");
    let keys = |folder: &Path| -> BTreeSet<String> {
        let text = std::fs::read_to_string(folder.join("participants.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&output), keys(&reference));
}

#[test]
fn a_dicom_cohort_passes_dciodvfy_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("studies");
    let answer = phantom(&output, &["--subjects", "1", "--controls", "0"]);
    assert!(answer["subjects"][0]["study_uid"].as_str().unwrap().starts_with("2.25."));
    let files: Vec<_> =
        support::files_below(&output).into_iter().filter(|p| p.extension().is_some_and(|e| e == "dcm")).collect();
    assert!(files.len() > 100);
    for file in [&files[0], &files[files.len() - 1]] {
        let Some(errors) = support::dciodvfy_errors(file) else { return };
        assert!(errors.is_empty(), "{errors:?}");
    }
    let again = Command::new(env!("CARGO_BIN_EXE_fcdd"))
        .args(["phantom", "--subjects", "1", "--seed", "5", "--output"])
        .arg(&output)
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
}
