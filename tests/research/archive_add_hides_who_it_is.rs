//! A phantom study with a made-up patient's data everywhere enters the archive; nothing of the patient does. Labels are
//! kept, once and for all.

use std::path::PathBuf;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use fcdd::phantom::{self, Protocol, Scanner, Size, Subject, SubjectOptions};
use fcdd::volume::nifti;

use crate::archive_fixture::{Site, contents, stderr};
use crate::support::{self, fcdd};

/// What must not be found in the archive.
const SECRETS: [(dicom_core::Tag, VR, &str); 11] = [
    (tags::PATIENT_NAME, VR::PN, "Mustermann^Erika"),
    (tags::PATIENT_ID, VR::LO, "MRN-4711-0815"),
    (tags::PATIENT_BIRTH_DATE, VR::DA, "19800203"),
    (tags::ACCESSION_NUMBER, VR::SH, "ACC99887"),
    (tags::INSTITUTION_NAME, VR::LO, "Klinikum Musterstadt"),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Doktor^Hans"),
    (tags::STUDY_DESCRIPTION, VR::LO, "Frau Mustermann Epilepsie"),
    (tags::STUDY_ID, VR::SH, "ST55443"),
    (tags::STATION_NAME, VR::SH, "MRKELLER7"),
    (tags::STUDY_DATE, VR::DA, "20240229"),
    (tags::OPERATORS_NAME, VR::PN, "Bedien^Berta"),
];

#[test]
fn nothing_of_the_patient_enters_and_labels_stay() {
    let site = Site::new();
    let scratch = tempfile::tempdir().unwrap();
    let subject = Subject::new(&SubjectOptions { seed: 11, ..Default::default() }).unwrap();
    let protocols = Protocol::pair(Scanner::ChannelsThirtyTwo, Size::Small);
    let written = phantom::dicom::write_study(&subject, &protocols, scratch.path()).unwrap();
    let files: Vec<PathBuf> = written.files().map(PathBuf::from).collect();
    assert!(written.study_uid.as_str().starts_with("2.25."), "all UIDs of phantoms do: that is looked for below");
    for file in &files {
        let mut object = dicom_object::open_file(file).unwrap();
        for (tag, vr, value) in SECRETS {
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        }
        object.put(DataElement::new(tags::ACQUISITION_DATE, VR::DA, PrimitiveValue::from("20240229")));
        object.put(DataElement::new(tags::SEQUENCE_NAME, VR::SH, PrimitiveValue::from("tfl MUSTERMANN")));
        object.write_to_file(file).unwrap();
    }
    site.receive(&files);
    let study = written.study_uid.as_str();
    let flair = protocols.iter().find(|p| p.sequence == fcdd::study::Sequence::Flair).unwrap();
    let truth = subject.lesion_mask(&flair.grid()).unwrap();
    let roi = scratch.path().join("lesion.nii.gz");
    nifti::write(&roi, &truth).unwrap();
    let roi = roi.to_str().unwrap();

    let without_label = site.add(study, &[]);
    assert_eq!(without_label.status.code(), Some(2));
    assert!(stderr(&without_label).contains("--label"), "{}", stderr(&without_label));
    assert!(site.refused(study, &["--label", "hc", "--roi", roi]).contains("fcd only"));
    assert!(!site.archive().exists(), "a refusal leaves nothing");

    let added = site.added(study, &["--label", "fcd", "--roi", roi]);
    let id = added["participant_id"].as_str().unwrap().to_owned();
    assert_eq!((added["is_new"].as_bool(), added["files"].as_array().unwrap().len()), (Some(true), 3));
    let mask = nifti::read(&site.archive().join(&id).join("anat").join(format!("{id}_FLAIR_roi.nii.gz"))).unwrap();
    let marked = |v: &fcdd::volume::Volume| v.data.iter().filter(|x| **x > 0.5).count();
    assert_eq!(marked(&mask), marked(&truth));
    for ((i, j, k), _) in mask.data.indexed_iter().filter(|(_, v)| **v > 0.5) {
        let place = mask.affine.apply([i as f64, j as f64, k as f64]);
        let [a, b, c] = truth.affine.inverse().unwrap().apply(place).map(|x| x.round() as usize);
        assert!(truth.data[[a, b, c]] > 0.5, "the mask has moved at {place:?}");
    }

    let before = contents(&site.archive());
    // Everyday words identify nobody; "2.25." begins every UID of the study.
    let parts = SECRETS.iter().flat_map(|(_, _, value)| value.split(['^', ' ']));
    let hidden = parts.filter(|p| !["Frau", "Epilepsie"].contains(p)).chain(["4711", "1980", "2024-02-29", "2.25."]);
    let pattern = |shortest: usize| {
        let escaped: Vec<String> = hidden.clone().filter(|h| h.len() >= shortest).map(regex::escape).collect();
        regex::bytes::RegexBuilder::new(&escaped.join("|")).case_insensitive(true).unicode(false).build().unwrap()
    };
    // Four bytes turn up among voxels by chance.
    let (in_text, in_volumes) = (pattern(4), pattern(5));
    assert!(in_volumes.is_match(b"voxels MUSTERMANN voxels") && in_text.is_match(b"4711"));
    for (path, bytes) in &before {
        let pattern = if path.extension().is_some_and(|e| e == "gz") { &in_volumes } else { &in_text };
        let name = path.strip_prefix(site.archive()).unwrap().to_string_lossy().into_owned();
        for (place, bytes) in [("name", name.as_bytes()), ("content", bytes)] {
            let found = pattern.find(bytes).map(|m| String::from_utf8_lossy(m.as_bytes()));
            assert_eq!(found, None, "in the {place} of {name}");
        }
    }
    let sidecar = std::fs::read_to_string(site.archive().join(&id).join(format!("anat/{id}_T1w.json"))).unwrap();
    let sidecar: serde_json::Value = serde_json::from_str(&sidecar).unwrap();
    assert_eq!(sidecar["MRAcquisitionType"], "3D");
    assert!(sidecar["RepetitionTime"].as_f64().is_some() && sidecar["AcquisitionDateShifted"].as_str() < Some("1925"));
    let participants = std::fs::read_to_string(site.archive().join("participants.tsv")).unwrap();
    // 44 years on the day of the scan: the ninth bin.
    assert!(
        participants.lines().any(|l| l.starts_with(&format!("{id}\tfcd\t")) && l.contains("\t9\t")),
        "{participants}"
    );

    assert_eq!(site.added(study, &["--label", "fcd", "--roi", roi])["is_new"], false);
    assert_eq!(site.added(study, &["--label", "fcd"])["is_new"], false);
    for label in ["hc", "exclude"] {
        let refused = site.refused(study, &["--label", label]);
        assert!(refused.contains("fcd") && refused.contains(label) && refused.contains(&id), "{refused}");
    }
    assert_eq!(contents(&site.archive()), before, "nothing else was changed");

    let unknown = site.refused("1.2.3.4", &["--label", "hc"]);
    assert!(unknown.contains("not in the ledger"), "{unknown}");
}

#[test]
fn an_excluded_study_stays_out() {
    let site = Site::new();
    let scratch = tempfile::tempdir().unwrap();
    let study = support::phantom_study(3, scratch.path());
    site.receive(&support::files_below(scratch.path()));
    assert_eq!(site.added(&study, &["--label", "exclude", "--why", "motion"])["is_new"], true);
    let excluded = std::fs::read_to_string(site.archive().join("excluded.tsv")).unwrap();
    assert!(excluded.contains("motion") && !excluded.contains(&study), "{excluded}");
    assert!(support::files_below(&site.archive()).iter().all(|f| f.extension().is_none_or(|e| e != "gz")));
    assert_eq!(site.added(&study, &["--label", "exclude"])["is_new"], false);
    let refused = site.refused(&study, &["--label", "hc"]);
    assert!(refused.contains("exclude") && refused.contains("hc"), "{refused}");
}

#[test]
fn a_secret_is_never_made_by_default_and_never_replaced() {
    let mut site = Site::new();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("s");
    let make = || fcdd(["admin".as_ref(), "archive".as_ref(), "secret".as_ref(), secret.as_os_str()]);
    assert!(make().status.success());
    let bytes = std::fs::read(&secret).unwrap();
    assert_eq!(make().status.code(), Some(1));
    assert_eq!(std::fs::read(&secret).unwrap(), bytes);
    site.secret = folder.path().join("none");
    let refused = site.refused("1.2.3", &["--label", "hc"]);
    assert!(refused.contains("none") && !site.secret.exists(), "{refused}");
}

/// A real T1 and FLAIR of a head that nobody called dysplastic.
#[test]
fn a_real_study_becomes_a_control() {
    let Some(folder) = support::reference_data("study-openms-p12-t1-flair") else { return };
    let site = Site::new();
    let files: Vec<PathBuf> =
        support::files_below(&folder).into_iter().filter(|f| dicom_object::open_file(f).is_ok()).collect();
    site.receive(&files);
    let object = dicom_object::open_file(&files[0]).unwrap();
    let study = object.element(tags::STUDY_INSTANCE_UID).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
    let added = site.added(&study, &["--label", "hc"]);
    let id = added["participant_id"].as_str().unwrap();
    assert_eq!(added["files"].as_array().unwrap().len(), 2);
    let patient_id = object.element(tags::PATIENT_ID).unwrap().to_str().unwrap().trim().to_owned();
    for (path, bytes) in contents(&site.archive()) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(&patient_id) && !text.contains(&study), "{}", path.display());
    }
    for suffix in ["T1w", "FLAIR"] {
        let volume = nifti::read(&site.archive().join(id).join(format!("anat/{id}_{suffix}.nii.gz"))).unwrap();
        assert!(volume.data.iter().any(|v| *v > 0.0));
    }
}
