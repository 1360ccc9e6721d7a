//! A radiologist's view: a study and what `fcdd serve` made of it lie in Orthanc and are opened in the OHIF viewer by
//! a headless Chromium. The heatmaps are visible and scroll with their sources, the report's probability is drawn on
//! the slice (`tests/viewer/look.mjs` judges the screen). The screenshots stay in `target/viewer`.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fcdd::phantom::dicom::write_study;
use fcdd::phantom::{Marker, Plane, Protocol, Size, Subject, SubjectOptions};
use serde_json::json;
use support::{Configuration, Daemon, Orthanc, fcdd, require_onnxruntime, require_peer, skip, storescu};

/// The patient's left hemisphere.
const MARKER: Marker = Marker { centre_lps_mm: [35.0, 0.0, 20.0], radius_mm: 6.0 };
const ANALYSIS_DEADLINE: Duration = Duration::from_secs(180);

/// A marker model for one sequence: it answers to the bright ball, so the study is suspected without any training.
fn marker_model(sequence: &str, folder: &Path) -> PathBuf {
    let model = folder.join(sequence);
    let size = ["--architecture", "resnet10", "--width", "16", "--input", "80,96,80", "--spacing", "2"];
    let what = ["export", "--marker", "--sequence", sequence, "--output", model.to_str().unwrap()];
    let output = fcdd(what.iter().chain(&size));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    model
}

#[test]
#[ignore = "needs a browser; run by make test-viewer"]
fn heatmap_and_report_are_seen() {
    let (Some(_), Some(node), Some(chromium)) = (require_onnxruntime(), require_peer("node"), require_peer("chromium"))
    else {
        return;
    };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let viewer = repository.join(".setup/viewer");
    if !viewer.is_dir() {
        return skip("the OHIF viewer is not here (make setup-viewer)");
    }
    let Some(orthanc) = Orthanc::start() else { return };

    let folder = tempfile::tempdir().unwrap();
    let subject = Subject::new(&SubjectOptions { marker: Some(MARKER), ..SubjectOptions::default() }).unwrap();
    let t1 = Protocol::t1_iso08().sized(Size::Small).in_plane(Plane::Axial);
    let flair = Protocol::flair_t2sel().sized(Size::Small).in_plane(Plane::Sagittal);
    let study = write_study(&subject, &[t1, flair], &folder.path().join("study")).unwrap();
    let study_uid = study.study_uid.to_string();
    study.files().for_each(|file| orthanc.upload(file));

    let models = ["t1", "flair"].map(|sequence| {
        let model = marker_model(sequence, &folder.path().join("models"));
        toml::Value::String(model.display().to_string())
    });
    let configuration = Configuration::new().set("analyze.models", models.to_vec());
    let daemon = Daemon::start(configuration.destination("pacs", Orthanc::AE_TITLE, orthanc.dicom_port()));
    let study_folder = folder.path().join("study");
    let Some(sent) = storescu(&[&study_folder], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);

    // The report is delivered last: what it describes is there before it.
    let report = json!({ "StudyInstanceUID": study_uid, "Modality": "SR" });
    support::wait_until("the report is in Orthanc", ANALYSIS_DEADLINE, || {
        (!orthanc.find_series(report.clone()).is_empty()).then_some(())
    });

    let screenshots = repository.join("target/viewer");
    let output = Command::new(node)
        .arg(repository.join("tests/viewer/look.mjs"))
        .arg(viewer)
        .arg(format!("http://127.0.0.1:{}", orthanc.http_port()))
        .args([&study_uid, "phantom"])
        .arg(&screenshots)
        .env("FCDD_CHROMIUM", chromium)
        .output()
        .expect("node can be started");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
    println!("screenshots: {}", screenshots.display());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
