//! Bad volumes and masks, and a scan under two names, are listed with a reason that says what to do; the good subjects
//! beside them stay usable.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use fcdd::volume::{Affine, Volume, nifti};

use crate::archive::{anat, copy_flair, head, mask, write_flair, write_participants};

#[test]
fn every_bad_file_has_its_reason_and_harms_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let good = head(1);
    let bad = |change: fn(&mut Volume)| {
        let mut volume = good.clone();
        change(&mut volume);
        volume
    };
    write_participants(
        dir,
        &[
            ["sub-09", "fcd", "F", "4"],
            ["sub-01", "hc", "F", "5"],
            ["sub-02", "hc", "M", "n/a"],
            ["sub-03", "fcd", "n/a", "5"],
            ["sub-04", "fcd", "F", "6"],
            ["sub-05", "fcd", "F", "6"],
            ["sub-06", "hc", "F", "6"],
            ["sub-07", "fcd", "M", "6"],
            ["sub-08", "hc", "M", "7"],
            ["sub-10", "fcd", "M", "7"],
            ["sub-11", "fcd", "M", "7"],
            ["sub-12", "epilepsy", "M", "7"],
            ["sub-13", "hc", "M", "7"],
            ["sub-14", "hc", "M", "7"],
            ["sub-15", "hc", "M", "7"],
            ["sub-16", "hc", "M", "7"],
            ["sub-17", "fcd", "M", "7"],
        ],
    );
    write_flair(dir, "sub-01", "1", &good);
    // A patient whose mask is named after another acquisition.
    copy_flair(dir, "sub-01", "sub-09");
    nifti::write(&anat(dir, "sub-09").join("sub-09_acq-32ch10_FLAIR_roi.nii.gz"), &mask(&good)).unwrap();
    // A patient without mask, one whose mask has another grid, one whose mask is empty.
    copy_flair(dir, "sub-01", "sub-03");
    copy_flair(dir, "sub-01", "sub-04");
    let elsewhere = Volume { affine: shifted(&good.affine), ..mask(&good) };
    nifti::write(&anat(dir, "sub-04").join("sub-04_acq-T2sel_FLAIR_roi.nii.gz"), &elsewhere).unwrap();
    copy_flair(dir, "sub-01", "sub-05");
    let empty = Volume { data: mask(&good).data * 0.0, affine: good.affine };
    nifti::write(&anat(dir, "sub-05").join("sub-05_acq-T2sel_FLAIR_roi.nii.gz"), &empty).unwrap();
    // A control with a lesion.
    copy_flair(dir, "sub-01", "sub-06");
    nifti::write(&anat(dir, "sub-06").join("sub-06_acq-T2sel_FLAIR_roi.nii.gz"), &mask(&good)).unwrap();
    // Zeros, NaN, one value everywhere, cut short, a pointer of git-annex, a link of git-annex, a 2D series.
    write_flair(dir, "sub-02", "1", &bad(|v| v.data.fill(0.0)));
    write_flair(dir, "sub-07", "1", &bad(|v| v.data[[3, 4, 5]] = f32::NAN));
    write_flair(dir, "sub-08", "1", &bad(|v| v.data.fill(7.0)));
    let cut = copy_flair(dir, "sub-01", "sub-10");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let pointer = copy_flair(dir, "sub-01", "sub-11");
    fs::write(&pointer, "/annex/objects/MD5E-s7859096--0123456789abcdef.nii.gz\n").unwrap();
    let link = copy_flair(dir, "sub-01", "sub-13");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../../.git/annex/objects/Kx/0M/none", &link).unwrap();
    copy_flair(dir, "sub-01", "sub-14");
    let sidecar = r#"{"DeviceSerialNumber": 1, "MRAcquisitionType": "2D", "SliceThickness": 4}"#;
    fs::write(anat(dir, "sub-14").join("sub-14_acq-T2sel_FLAIR.json"), sidecar).unwrap();
    // One scan under two names.
    let other = head(2);
    for id in ["sub-16", "sub-17"] {
        write_flair(dir, id, "1", &other);
    }
    // A group that is none (sub-12 has no folder either), a row without folder (sub-15), a folder without row.
    anat(dir, "sub-99");

    let run = Command::new(env!("CARGO_BIN_EXE_fcdd"))
        .args(["admin", "archive", "check", "--json", "--folds", "2"])
        .arg(dir)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1), "one control is too few for two folds");
    let check: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let mut answers: BTreeMap<String, String> = BTreeMap::new();
    for subject in check["subjects"].as_array().unwrap() {
        let flair = subject["scans"].as_array().unwrap().iter().find(|scan| scan["sequence"] == "flair");
        let note = subject["notes"].get(0).map(|note| note["code"].as_str().unwrap()).unwrap_or("");
        let answer = match flair {
            None => subject["why"]["code"].as_str().unwrap().to_owned(),
            Some(flair) if flair["usable"] == true => {
                assert_eq!(flair["gates"], serde_json::json!([]), "{subject}");
                format!("usable {note}")
            }
            Some(flair) => flair["why"]["code"].as_str().unwrap().to_owned(),
        };
        answers.insert(subject["subject"].as_str().unwrap().to_owned(), answer);
    }
    let expected = [
        ("sub-01", "usable "),
        ("sub-02", "no_head_found"),
        ("sub-03", "usable no_mask"),
        ("sub-04", "usable mask_on_another_grid"),
        ("sub-05", "usable mask_empty"),
        ("sub-06", "mask_on_control"),
        ("sub-07", "values_not_finite"),
        ("sub-08", "no_head_found"),
        ("sub-09", "usable "),
        ("sub-10", "unreadable"),
        ("sub-11", "not_downloaded"),
        ("sub-12", "no_label"),
        ("sub-13", "not_downloaded"),
        ("sub-14", "not_3d"),
        ("sub-15", "no_folder"),
        ("sub-16", "same_scan"),
        ("sub-17", "same_scan"),
        ("sub-99", "not_listed"),
    ];
    let expected: BTreeMap<String, String> = expected.map(|(id, a)| (id.to_owned(), a.to_owned())).into();
    assert_eq!(answers, expected);
    assert_eq!(check["flair"], serde_json::json!({"fcd": 4, "hc": 1}));
    for (id, twin) in [("sub-16", "sub-17"), ("sub-17", "sub-16")] {
        let subject = check["subjects"].as_array().unwrap().iter().find(|s| s["subject"] == id).unwrap();
        let text = subject["scans"][1]["why"]["text"].as_str().unwrap();
        assert!(text.contains(&format!("the scan of {twin}")), "{text}");
    }
    let problem = check["flair_problem"].as_str().unwrap();
    assert!(problem.contains("4 patients and 1 controls") && problem.contains("2 folds"), "{problem}");
    let lesion_ml = check["subjects"].as_array().unwrap().iter().find_map(|s| s["lesion_ml"].as_f64()).unwrap();
    assert!((lesion_ml - 7.24).abs() < 0.2, "{lesion_ml}");
}

#[test]
fn an_archive_with_doubtful_labels_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write_participants(folder.path(), &[["sub-01", "hc", "F", "5"], ["sub-01", "fcd", "F", "5"]]);
    let check = |dir: &std::path::Path| {
        let run =
            Command::new(env!("CARGO_BIN_EXE_fcdd")).args(["admin", "archive", "check"]).arg(dir).output().unwrap();
        assert_eq!(run.status.code(), Some(1));
        String::from_utf8(run.stderr).unwrap()
    };
    let two = check(folder.path());
    assert!(two.contains("sub-01 is in two groups, `hc` (line 2) and `fcd` (line 3)"), "{two}");
    let none = check(&folder.path().join("nowhere"));
    assert!(none.contains("participants.tsv"), "{none}");
}

#[test]
fn excluded_studies_are_listed_and_nobody_is_excluded_and_used() {
    let folder = tempfile::tempdir().unwrap();
    write_participants(folder.path(), &[["sub-01", "hc", "F", "5"]]);
    let exclude = |rows: &str| {
        fs::write(folder.path().join("excluded.tsv"), format!("study\tparticipant_id\twhy\n{rows}")).unwrap();
    };
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
        let run = command.args(["admin", "archive", "check"]).arg(folder.path()).args(more).output().unwrap();
        // Nothing here can be trained on.
        assert_eq!(run.status.code(), Some(1));
        (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap())
    };
    exclude("k1\tsub-02\tmotion\nk2\tsub-03\tn/a\n");
    let (said, _) = check(&[]);
    assert!(said.contains("excluded.tsv excludes 2 studies\n  sub-02: motion\n  sub-03: no reason"), "{said}");
    let (said, _) = check(&["--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let expected = serde_json::json!([{"subject": "sub-02", "why": "motion"}, {"subject": "sub-03", "why": null}]);
    assert_eq!(said["excluded"], expected);

    exclude("k1\tsub-01\tmotion\n");
    let (_, error) = check(&[]);
    assert!(error.contains("sub-01 is in excluded.tsv (motion) and in participants.tsv"), "{error}");
}

fn shifted(affine: &Affine) -> Affine {
    let mut rows = affine.rows;
    rows[0][3] += 10.0;
    Affine { rows }
}
