//! The same result has the same UIDs and bytes, another result has other UIDs, and the patient's name keeps its
//! bytes in every character set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use fcdd::config;
use fcdd::dicom::{Templates, identity};
use fcdd::report::{render, result_json};
use fcdd::study::{AssembledStudy, RenderedObject};

use crate::report_fixture::{self, Acquisition, header, open, study, study_with, suspected, text, unassessable};
use crate::support::reference_data;

fn rendered(study: &AssembledStudy, out: &Path, templates: &Templates, report: &config::Report) -> Vec<RenderedObject> {
    std::fs::create_dir_all(out).unwrap();
    render(study, &suspected(study), templates, report, &fcdd::study::Revision::first(), out).unwrap()
}

fn bytes(objects: &[RenderedObject]) -> BTreeMap<String, Vec<u8>> {
    objects.iter().map(|o| (o.sop_instance_uid.to_string(), std::fs::read(&o.path).unwrap())).collect()
}

#[test]
fn rendering_twice_gives_the_same_bytes_and_a_change_gives_other_uids() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Oblique, Acquisition::Axial);
    let (templates, report) = (Templates::built_in(), config::Report::default());
    let first = rendered(&study, &directory.path().join("1"), &templates, &report);
    let second = rendered(&study, &directory.path().join("2"), &templates, &report);
    assert_eq!(first.len(), 2 * report_fixture::SLICES + 2);
    assert_eq!(bytes(&first).len(), first.len(), "every UID is its own");
    assert!(bytes(&first) == bytes(&second), "rendering again changed bytes");

    let changed_report = config::Report { heatmap_alpha: 0.61, ..report.clone() };
    let mut changed_study = study.clone();
    changed_study.inputs[3].sha256[0] ^= 1;
    let mut later = study.clone();
    later.received_at += jiff::SignedDuration::from_secs(1);
    let others = [
        rendered(&study, &directory.path().join("3"), &templates, &changed_report),
        rendered(&changed_study, &directory.path().join("4"), &templates, &report),
        rendered(&later, &directory.path().join("5"), &templates, &report),
    ];
    let known = bytes(&first);
    for other in &others {
        assert!(other.iter().all(|o| !known.contains_key(o.sop_instance_uid.as_str())));
        assert!(other.iter().all(|o| first.iter().all(|f| f.series_uid != o.series_uid)));
    }
}

#[test]
fn patient_and_study_are_copied_and_the_object_is_recognised_as_ours() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    let objects = rendered(&study, &directory.path().join("r"), &Templates::built_in(), &config::Report::default());
    for object in &objects {
        let file = open(&object.path);
        assert!(identity::is_own_result(&file));
        for tag in [
            tags::PATIENT_NAME,
            tags::PATIENT_ID,
            tags::PATIENT_BIRTH_DATE,
            tags::STUDY_INSTANCE_UID,
            tags::STUDY_DATE,
            tags::STUDY_TIME,
            tags::STUDY_ID,
            tags::ACCESSION_NUMBER,
            tags::REFERRING_PHYSICIAN_NAME,
            tags::SPECIFIC_CHARACTER_SET,
        ] {
            assert_eq!(text(&file, tag), text(&study.header, tag), "{tag}");
        }
        assert_eq!(text(&file, tags::CONTENT_QUALIFICATION), "RESEARCH");
        assert!(text(&file, tags::SERIES_DESCRIPTION).ends_with("(RESEARCH ONLY)"));
        assert_eq!(text(&file, tags::SERIES_INSTANCE_UID), object.series_uid.as_str());
        assert!(file.element(tags::WINDOW_CENTER).is_err(), "a window of the source would render colour black");
    }
}

/// The value bytes of Patient's Name in a file in Explicit VR Little Endian.
fn name_bytes(path: &Path) -> Vec<u8> {
    let file = std::fs::read(path).unwrap();
    let start = file.windows(6).position(|w| w == [0x10, 0, 0x10, 0, b'P', b'N']).expect("a patient's name") + 6;
    let length = usize::from(u16::from_le_bytes([file[start], file[start + 1]]));
    file[start + 2..start + 2 + length].to_vec()
}

#[test]
fn names_keep_their_bytes_in_every_character_set() {
    // GB18030 with a second byte that is a backslash, ISO 2022 Korean and Japanese, and text that is not valid at all.
    let names: [(&[u8], &str); 4] = [
        (b"Wang^\x81\x5c\xd0\xa1 ", "GB18030"),
        (b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7 ", "\\ISO 2022 IR 149"),
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B ", "\\ISO 2022 IR 87"),
        (b"Broken^\xff\xfe\x81", "ISO_IR 192"),
    ];
    for (name, charset) in names {
        let directory = tempfile::tempdir().unwrap();
        let study = study_with(directory.path(), Acquisition::Axial, Acquisition::Axial, &|dataset| {
            let values: Vec<String> = charset.split('\\').map(str::to_owned).collect();
            let charset = PrimitiveValue::Strs(values.into_iter().collect());
            dataset.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, charset));
            dataset.put(DataElement::new(tags::PATIENT_NAME, VR::PN, PrimitiveValue::U8(name.into())));
        });
        let source = name_bytes(&study.stacks[0].volume.as_ref().unwrap().slices[0].path);
        let objects = rendered(&study, &directory.path().join("r"), &Templates::built_in(), &config::Report::default());
        for object in objects.iter().rev().take(3) {
            assert_eq!(name_bytes(&object.path), source, "{charset}");
        }
    }
}

#[test]
fn names_of_real_files_keep_their_bytes_also_without_the_file_at_hand() {
    let Some(folder) = reference_data("charset-pydicom-a") else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let directory = tempfile::tempdir().unwrap();
        let (mut study, analysis) = unassessable(study(directory.path(), Acquisition::Axial, Acquisition::Axial));
        study.header = header(&path);
        study.stacks.iter_mut().for_each(|stack| stack.header = Arc::clone(&study.header));
        let (templates, report) = (Templates::built_in(), config::Report::default());
        let objects =
            render(&study, &analysis, &templates, &report, &fcdd::study::Revision::first(), directory.path()).unwrap();
        for object in &objects {
            assert_eq!(name_bytes(&object.path), name_bytes(&path), "{}", path.display());
        }
        files += 1;
    }
    assert_eq!(files, 7);
}

#[test]
fn a_study_without_any_volume_still_gets_a_card_and_a_report() {
    let directory = tempfile::tempdir().unwrap();
    let (study, analysis) = unassessable(study(directory.path(), Acquisition::Axial, Acquisition::Axial));
    let templates = Templates::built_in();
    let objects = render(
        &study,
        &analysis,
        &templates,
        &config::Report::default(),
        &fcdd::study::Revision::first(),
        directory.path(),
    )
    .unwrap();
    let kinds: Vec<_> = objects.iter().map(|o| o.kind.name()).collect();
    assert_eq!(kinds, ["card", "report"]);
    let json = result_json(&study, &analysis, &templates);
    assert_eq!(json["verdict"], "unassessable");
    assert_eq!(json["reasons"][0]["code"], "no_usable_series");
    assert!(json["probability"]["fused"].is_null());
    assert_eq!(json["series"][0]["verdict"], "missing_slice");
    assert_eq!(json["series"][0]["missing"], 2);
}
