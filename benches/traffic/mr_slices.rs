//! MR slices of 256 × 256 × 2 bytes with a small header (132 KB), in memory or as files.

use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, FileMetaTableBuilder, InMemDicomObject};

use crate::scripted_peer::{MR_IMAGE_STORAGE, split_file};

/// One MR image in Explicit VR Little Endian.
pub struct Slice {
    pub sop_instance_uid: String,
    pub dataset: Vec<u8>,
    file: Vec<u8>,
}

/// The slices of one study; `study` tells studies of one run apart.
pub fn slices(study: usize, count: usize) -> Vec<Slice> {
    let study_uid = format!("2.25.{}.{study}", std::process::id());
    let slice = |number| {
        let sop_instance_uid = format!("{study_uid}.1.{number}");
        let mut file = Vec::new();
        object(&study_uid, &sop_instance_uid, number).write_all(&mut file).expect("memory takes it");
        let (_, _, _, dataset) = split_file(&file[..]);
        Slice { sop_instance_uid, dataset: dataset.to_vec(), file }
    };
    (1..=count).map(slice).collect()
}

/// Writes slices as files and waits until the disk has them: what is measured next has it for itself.
pub fn write_files(folder: &Path, slices: &[Slice]) -> PathBuf {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    for (index, slice) in slices.iter().enumerate() {
        std::fs::write(folder.join(format!("{index:04}.dcm")), &slice.file).expect("the slice can be written");
    }
    rustix::fs::sync();
    folder.to_owned()
}

fn object(study_uid: &str, sop_instance_uid: &str, number: usize) -> FileDicomObject<InMemDicomObject> {
    let (series_uid, frame_of_reference_uid) = (format!("{study_uid}.1"), format!("{study_uid}.2"));
    let (instance_number, position) = (number.to_string(), format!("-80\\-128\\{number}"));
    let texts = [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M\\ND"),
        (tags::SOP_CLASS_UID, VR::UI, MR_IMAGE_STORAGE),
        (tags::SOP_INSTANCE_UID, VR::UI, sop_instance_uid),
        (tags::STUDY_DATE, VR::DA, "20260101"),
        (tags::MODALITY, VR::CS, "MR"),
        (tags::MANUFACTURER, VR::LO, "BENCHMARK"),
        (tags::SERIES_DESCRIPTION, VR::LO, "t1_mprage_sag_p2_iso"),
        (tags::PATIENT_NAME, VR::PN, "Bench^Mark"),
        (tags::PATIENT_ID, VR::LO, "BENCH"),
        (tags::REPETITION_TIME, VR::DS, "2300"),
        (tags::ECHO_TIME, VR::DS, "2.98"),
        (tags::STUDY_INSTANCE_UID, VR::UI, study_uid),
        (tags::SERIES_INSTANCE_UID, VR::UI, series_uid.as_str()),
        (tags::SERIES_NUMBER, VR::IS, "1"),
        (tags::INSTANCE_NUMBER, VR::IS, instance_number.as_str()),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, position.as_str()),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, frame_of_reference_uid.as_str()),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        (tags::PIXEL_SPACING, VR::DS, "1\\1"),
    ];
    let numbers = [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, 256),
        (tags::COLUMNS, 256),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0_u16),
    ];
    let pixels: Vec<u16> = (0..256 * 256).map(|i| ((i * 7 + i / 251 + number) % 4096) as u16).collect();
    let elements = texts
        .into_iter()
        .map(|(tag, vr, text)| DataElement::new(tag, vr, PrimitiveValue::from(text)))
        .chain(numbers.map(|(tag, value)| DataElement::new(tag, VR::US, PrimitiveValue::from(value))))
        .chain([DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into()))]);
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    InMemDicomObject::from_element_iter(elements).with_meta(meta).expect("the meta group can be made")
}
