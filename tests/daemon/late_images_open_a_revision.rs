//! Images that come after a study was complete: those that change a selected volume open a revision, whose report names
//! the one before and whose series say "rev 2"; the earlier result stays where it was delivered. What changes nothing
//! (a product of other software, the result itself, a capture) opens none. And no study is closed for good: one that was
//! not for analysis is looked at when its images come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde_json::{Value, json};

use crate::support::{
    self, Configuration, Daemon, Orthanc, files_below, require_onnxruntime, rewrite, storescu, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn text(object: &InMemDicomObject, tag: dicom_core::Tag) -> String {
    object.element(tag).map(|e| e.to_str().unwrap().trim().to_owned()).unwrap_or_default()
}

fn put(object: &mut InMemDicomObject, tag: dicom_core::Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

/// Sends and waits until the sender has its answers; `None` where there is no sender.
fn send(daemon: &Daemon, files: &[&Path]) -> Option<()> {
    let sent = storescu(files, Configuration::AE_TITLE, daemon.port())?;
    assert!(sent.success, "{}", sent.log);
    Some(())
}

/// The study's state once it has been looked at again: `state_since` moved and it is delivered.
fn looked_at_again(daemon: &Daemon, before: &Value) -> Value {
    let study_uid = before["study_uid"].as_str().unwrap();
    wait_until("the study was looked at again", PATIENCE, || {
        daemon.study(study_uid).filter(|s| s["state"] == "delivered" && s["state_since"] != before["state_since"])
    })
}

#[test]
fn what_changes_a_volume_is_a_revision_and_what_does_not_is_none() {
    let Some(_) = require_onnxruntime() else { return };
    let Some(orthanc) = Orthanc::start() else { return };
    let daemon = Daemon::start(Configuration::new().destination("pacs", Orthanc::AE_TITLE, orthanc.dicom_port()));
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(6, &folder.path().join("study"));
    let files = files_below(&folder.path().join("study"));
    let series_of = |path: &PathBuf| text(&dicom_object::open_file(path).unwrap(), tags::SERIES_DESCRIPTION);
    let (late, in_time) = files.split_last().unwrap();
    let in_time: Vec<&Path> = in_time.iter().map(PathBuf::as_path).collect();
    if send(&daemon, &in_time).is_none() {
        return;
    }
    let first = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!((&first["late_instances"], &first["revision"]), (&json!(0), &json!(1)));
    let delivered_first = orthanc.instance_count();

    // One more slice of a chosen series.
    send(&daemon, &[late]).unwrap();
    let second = wait_until("the revision is delivered", PATIENCE, || {
        daemon.study(&study_uid).filter(|s| s["state"] == "delivered" && s["revision"] == 2)
    });
    assert_eq!(second["late_instances"], 1);
    assert_eq!(second["result"]["revision"], 2);
    let chosen = second["verdicts"].as_array().unwrap().iter().filter(|v| v["chosen"] == true).count();
    assert_eq!(chosen, 2, "{}: {second}", series_of(late));
    assert_eq!(orthanc.instance_count(), 2 * delivered_first + 1, "the earlier result stays");

    let back = folder.path().join("back");
    orthanc.download_matching(json!({ "StudyInstanceUID": study_uid }), &back);
    let results: Vec<InMemDicomObject> =
        files_below(&back).iter().map(|path| dicom_object::open_file(path).unwrap().into_inner()).collect();
    let reports: Vec<&InMemDicomObject> = results.iter().filter(|o| text(o, tags::MODALITY) == "SR").collect();
    let (of_first, of_second): (Vec<&InMemDicomObject>, Vec<&InMemDicomObject>) =
        reports.iter().partition(|o| o.element(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_err());
    let (of_first, of_second) = (of_first[0], of_second[0]);
    let study = &of_second.element(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).unwrap().items().unwrap()[0];
    assert_eq!(text(study, tags::STUDY_INSTANCE_UID), study_uid);
    let series = &study.element(tags::REFERENCED_SERIES_SEQUENCE).unwrap().items().unwrap()[0];
    assert_eq!(text(series, tags::SERIES_INSTANCE_UID), text(of_first, tags::SERIES_INSTANCE_UID));
    let document = &series.element(tags::REFERENCED_SOP_SEQUENCE).unwrap().items().unwrap()[0];
    assert_eq!(text(document, tags::REFERENCED_SOP_INSTANCE_UID), text(of_first, tags::SOP_INSTANCE_UID));
    let descriptions: Vec<String> = results.iter().map(|o| text(o, tags::SERIES_DESCRIPTION)).collect();
    let of_revision = descriptions.iter().filter(|d| d.ends_with(" rev 2 (RESEARCH ONLY)")).count();
    assert_eq!(of_revision, files.len() + 2, "heatmaps, card and report of the second result: {descriptions:?}");
    assert!(descriptions.iter().all(|d| d.ends_with("(RESEARCH ONLY)")), "{descriptions:?}");

    // Both results and a capture of somebody else's come back: not even looked at.
    let capture = folder.path().join("capture.dcm");
    rewrite(&files_below(&back)[0], &capture, |object| {
        put(object, tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.7");
        put(object, tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5.6");
        put(object, tags::MANUFACTURER, VR::LO, "Somebody else");
        put(object, tags::MODALITY, VR::CS, "OT");
    });
    send(&daemon, &[&back, &capture]).unwrap();

    // A product of other software, made of the T1, with smaller voxels: if it were original it would be preferred.
    let derived = folder.path().join("derived");
    std::fs::create_dir(&derived).unwrap();
    for (index, file) in files.iter().filter(|f| series_of(f) == series_of(&files[0])).enumerate() {
        rewrite(file, &derived.join(format!("{index}.dcm")), |object| {
            put(object, tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4.7");
            put(object, tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.3.4.7.{}", index + 1));
            put(object, tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\OTHER");
            for tag in [tags::PIXEL_SPACING, tags::IMAGE_POSITION_PATIENT, tags::SLICE_THICKNESS] {
                let scaled = text(object, tag)
                    .split('\\')
                    .map(|n| format!("{:.4}", 0.8 * n.parse::<f64>().unwrap()))
                    .collect::<Vec<_>>();
                put(object, tag, VR::DS, &scaled.join("\\"));
            }
            object.remove_element(tags::SPACING_BETWEEN_SLICES);
        });
    }
    let before = daemon.study(&study_uid).unwrap();
    assert_eq!(before["state_since"], second["state_since"], "results and captures trigger nothing");
    send(&daemon, &[&derived]).unwrap();
    let third = looked_at_again(&daemon, &before);
    assert_eq!(third["revision"], 2, "{third}");
    assert!(third["reason"].as_str().unwrap().contains("changed no selected volume"), "{third}");
    assert_eq!(third["result"], second["result"]);
    assert!(daemon.log().contains("a derived series that came late is left out"), "it was no candidate at all");
    assert_eq!(orthanc.instance_count(), 2 * delivered_first + 1, "nothing was sent");
}

#[test]
fn a_study_that_began_with_a_report_is_looked_at_when_its_images_come() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(Configuration::new());
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(8, &folder.path().join("study"));
    let files = files_below(&folder.path().join("study"));
    let report = folder.path().join("report.dcm");
    rewrite(&files[0], &report, |object| {
        put(object, tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.88.11");
        put(object, tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5.7");
        put(object, tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4.5.8");
        put(object, tags::MODALITY, VR::CS, "SR");
        object.remove_element(tags::PIXEL_DATA);
    });
    if send(&daemon, &[&report]).is_none() {
        return;
    }
    daemon.wait_for_state(&study_uid, "not_for_analysis", PATIENCE);
    send(&daemon, &[&folder.path().join("study")]).unwrap();
    let study = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!(study["revision"], 1, "there was no result before");
    assert_eq!(study["verdicts"].as_array().unwrap().iter().filter(|v| v["chosen"] == true).count(), 2);
}
