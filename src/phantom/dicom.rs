//! Phantom studies as DICOM: one file per slice, MR Image Storage (PS3.3 A.4), as a scanner would send them.
//!
//! The patient is plainly nobody (`PHANTOM^SYNTHETIC`), and so is the scanner's maker. UIDs follow from what
//! is written: the same subject and protocol give the same files byte for byte, and anything that changes
//! the pixels (a lesion, a marker) changes the UIDs too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::FileMetaTableBuilder;
use ndarray::ArrayView2;
use rayon::prelude::*;
use uuid::Uuid;

use super::acquisition::Protocol;
use super::signal::Pulses;
use super::{Acquisition, Subject};
use crate::dicom::{Dataset, Uid, identity};
use crate::study::Sequence;
use crate::volume::Affine;

/// Manufacturer (0008,0070) of phantom studies. Not [`identity::MANUFACTURER`]: these are inputs, and what
/// carries our own name is a result, which is never analyzed.
pub const MANUFACTURER: &str = "fcdd phantom";
/// Patient's Name of every phantom.
pub const PATIENT_NAME: &str = "PHANTOM^SYNTHETIC";
/// Namespace of the UUIDs behind the UIDs (RFC 9562 version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x2f0e_6a0c_93d1_4b58_8d27_51ce_0a96_b7f4);
/// Date of every phantom study: nothing happened on it.
const STUDY_DATE: &str = "20200101";

/// A phantom study could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteStudyError {
    /// A folder could not be made.
    #[error("cannot make the folder {path}: {source}; check that it is writable and the disk is not full")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {message}; check that the folder is writable and the disk is not full")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
}

/// One series on disk.
#[derive(Debug, Clone)]
pub struct WrittenSeries {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// Label of the protocol.
    pub label: String,
    /// The folder of its files.
    pub folder: PathBuf,
    /// One file per slice, in the order of the volume's array axis 0.
    pub files: Vec<PathBuf>,
    /// Array index `[slice, row, column]` to LPS mm.
    pub affine: Affine,
}

/// A study on disk.
#[derive(Debug, Clone)]
pub struct WrittenStudy {
    /// Study Instance UID.
    pub study_uid: Uid,
    /// Its series, in the order of the protocols.
    pub series: Vec<WrittenSeries>,
}

impl WrittenStudy {
    /// Every file of the study.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.series.iter().flat_map(|series| series.files.iter().map(PathBuf::as_path))
    }
}

/// Scans a subject by each protocol and writes the study below `folder`, one folder per series.
///
/// # Errors
/// When a folder or file cannot be written.
pub fn write_study(subject: &Subject, protocols: &[Protocol], folder: &Path) -> Result<WrittenStudy, WriteStudyError> {
    let study_uid = uid(subject, "study");
    let mut series = Vec::new();
    for (index, protocol) in protocols.iter().enumerate() {
        let acquisition = subject.acquire(protocol);
        series.push(write_series(subject, &acquisition, index + 1, folder)?);
    }
    Ok(WrittenStudy { study_uid, series })
}

fn write_series(
    subject: &Subject,
    acquisition: &Acquisition,
    number: usize,
    folder: &Path,
) -> Result<WrittenSeries, WriteStudyError> {
    let protocol = &acquisition.protocol;
    // Two series of one study may share a protocol: the number tells them apart.
    let name = format!("{number}/{protocol:?}");
    let series_uid = uid(subject, &format!("series/{name}"));
    let folder = folder.join(format!("{number:02}-{}-{}", protocol.sequence.label(), protocol.label));
    fs::create_dir_all(&folder).map_err(|source| WriteStudyError::Folder { path: folder.clone(), source })?;
    let header = series_header(subject, acquisition, number, &series_uid);
    let slices: Vec<_> = acquisition.volume.data.outer_iter().collect();
    let files = slices
        .into_par_iter()
        .enumerate()
        .map(|(index, pixels)| {
            let path = folder.join(format!("IM{:05}.dcm", index + 1));
            let instance_uid = uid(subject, &format!("instance/{name}/{index}"));
            let dataset = slice(header.clone(), acquisition, index, pixels, &instance_uid);
            write_file(dataset, &instance_uid, &path)?;
            Ok(path)
        })
        .collect::<Result<Vec<_>, WriteStudyError>>()?;
    let affine = acquisition.volume.affine;
    Ok(WrittenSeries { series_uid, sequence: protocol.sequence, label: protocol.label.clone(), folder, files, affine })
}

/// A UID of this subject. What changes pixels is part of it; a lesion of strength 0 changes none.
fn uid(subject: &Subject, what: &str) -> Uid {
    let options = subject.options();
    let amplitude = if options.lesion { options.strength } else { 0.0 };
    let name = format!(
        "fcdd {}/{}/{amplitude}/{:?}/{}/{what}",
        env!("CARGO_PKG_VERSION"),
        options.seed,
        options.marker,
        options.left_capsule
    );
    Uid::from_uuid(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

fn put(dataset: &mut Dataset, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) {
    dataset.put(DataElement::new(tag, vr, value.into()));
}

/// A decimal string (VR DS): at most 16 characters, as exact as they allow.
fn decimal(value: f64) -> String {
    (0..=13)
        .rev()
        .map(|digits| format!("{value:.digits$}"))
        .map(|text| match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        })
        .find(|text| text.len() <= 16)
        .map(|text| if text == "-0" { "0".to_owned() } else { text })
        .unwrap_or_else(|| format!("{value:.8e}"))
}

fn decimals(values: &[f64]) -> String {
    values.iter().map(|&value| decimal(value)).collect::<Vec<_>>().join("\\")
}

/// The attributes that all slices of a series share.
fn series_header(subject: &Subject, acquisition: &Acquisition, number: usize, series_uid: &Uid) -> Dataset {
    let protocol = &acquisition.protocol;
    let seed = subject.options().seed;
    let mut header = Dataset::new_empty();
    let d = &mut header;
    put(d, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    put(d, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M");
    put(d, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    for tag in [tags::STUDY_DATE, tags::SERIES_DATE, tags::ACQUISITION_DATE, tags::CONTENT_DATE] {
        put(d, tag, VR::DA, STUDY_DATE);
    }
    let time = format!("10{:02}00", (5 * number).min(59));
    put(d, tags::STUDY_TIME, VR::TM, "100000");
    for tag in [tags::SERIES_TIME, tags::ACQUISITION_TIME, tags::CONTENT_TIME] {
        put(d, tag, VR::TM, time.as_str());
    }
    put(d, tags::ACCESSION_NUMBER, VR::SH, "");
    put(d, tags::MODALITY, VR::CS, "MR");
    put(d, tags::MANUFACTURER, VR::LO, MANUFACTURER);
    put(d, tags::INSTITUTION_NAME, VR::LO, "fcdd synthetic phantom");
    put(d, tags::REFERRING_PHYSICIAN_NAME, VR::PN, "");
    put(d, tags::STUDY_DESCRIPTION, VR::LO, "Synthetic phantom head, no patient");
    put(d, tags::SERIES_DESCRIPTION, VR::LO, protocol.description.as_str());
    put(d, tags::MANUFACTURER_MODEL_NAME, VR::LO, protocol.scanner.model());
    put(d, tags::PATIENT_NAME, VR::PN, PATIENT_NAME);
    put(d, tags::PATIENT_ID, VR::LO, format!("PHANTOM-{seed}"));
    put(d, tags::PATIENT_BIRTH_DATE, VR::DA, "");
    put(d, tags::PATIENT_SEX, VR::CS, "O");
    put(d, tags::PATIENT_COMMENTS, VR::LT, "Computed by fcdd phantom. Not a human being.");
    put(d, tags::BODY_PART_EXAMINED, VR::CS, "HEAD");
    put_sequence_parameters(d, protocol);
    put(d, tags::DEVICE_SERIAL_NUMBER, VR::LO, protocol.scanner.serial());
    put(d, tags::SOFTWARE_VERSIONS, VR::LO, format!("fcdd {}", env!("CARGO_PKG_VERSION")));
    put(d, tags::PROTOCOL_NAME, VR::LO, protocol.description.as_str());
    put(d, tags::RECEIVE_COIL_NAME, VR::SH, protocol.scanner.coil());
    put(d, tags::PATIENT_POSITION, VR::CS, "HFS");
    put(d, tags::STUDY_INSTANCE_UID, VR::UI, uid(subject, "study").as_str());
    put(d, tags::SERIES_INSTANCE_UID, VR::UI, series_uid.as_str());
    put(d, tags::STUDY_ID, VR::SH, "1");
    put(d, tags::SERIES_NUMBER, VR::IS, number.to_string());
    put(d, tags::ACQUISITION_NUMBER, VR::IS, "1");
    put(d, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, decimals(&protocol.plane.orientation()));
    put(d, tags::FRAME_OF_REFERENCE_UID, VR::UI, uid(subject, "frame of reference").as_str());
    put(d, tags::POSITION_REFERENCE_INDICATOR, VR::LO, "");
    let (_, rows, columns) = acquisition.volume.data.dim();
    put(d, tags::SAMPLES_PER_PIXEL, VR::US, 1u16);
    put(d, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    put(d, tags::ROWS, VR::US, rows as u16);
    put(d, tags::COLUMNS, VR::US, columns as u16);
    put(d, tags::PIXEL_SPACING, VR::DS, decimals(&protocol.spacing_mm[1..]));
    put(d, tags::BITS_ALLOCATED, VR::US, 16u16);
    put(d, tags::BITS_STORED, VR::US, 12u16);
    put(d, tags::HIGH_BIT, VR::US, 11u16);
    put(d, tags::PIXEL_REPRESENTATION, VR::US, 0u16);
    let white = f64::from(acquisition.imperfections.white_value);
    put(d, tags::WINDOW_CENTER, VR::DS, decimal((0.75 * white).round()));
    put(d, tags::WINDOW_WIDTH, VR::DS, decimal((1.5 * white).round()));
    header
}

/// MR Image module (PS3.3 C.8.3.1): the pulse sequence.
fn put_sequence_parameters(d: &mut Dataset, protocol: &Protocol) {
    let timing = protocol.pulses.timing();
    let (scanning, variant, name, train) = match protocol.pulses {
        Pulses::InversionGradientEcho(_) => ("GR\\IR", "SK\\SP\\MP", "*tfl3d1_ns", "1"),
        Pulses::InversionSpinEcho(_) => ("SE\\IR", "SK\\SP\\MP", "*spcir3d1", "143"),
    };
    put(d, tags::SCANNING_SEQUENCE, VR::CS, scanning);
    put(d, tags::SEQUENCE_VARIANT, VR::CS, variant);
    put(d, tags::SCAN_OPTIONS, VR::CS, "IR");
    put(d, tags::MR_ACQUISITION_TYPE, VR::CS, "3D");
    put(d, tags::SEQUENCE_NAME, VR::SH, name);
    put(d, tags::SLICE_THICKNESS, VR::DS, decimal(protocol.spacing_mm[0]));
    put(d, tags::SPACING_BETWEEN_SLICES, VR::DS, decimal(protocol.spacing_mm[0]));
    put(d, tags::REPETITION_TIME, VR::DS, timing.tr_ms.to_string());
    put(d, tags::ECHO_TIME, VR::DS, timing.te_ms.to_string());
    put(d, tags::INVERSION_TIME, VR::DS, timing.ti_ms.to_string());
    put(d, tags::NUMBER_OF_AVERAGES, VR::DS, "1");
    put(d, tags::IMAGING_FREQUENCY, VR::DS, "123.2");
    put(d, tags::IMAGED_NUCLEUS, VR::SH, "1H");
    put(d, tags::ECHO_NUMBERS, VR::IS, "1");
    put(d, tags::MAGNETIC_FIELD_STRENGTH, VR::DS, "3");
    put(d, tags::ECHO_TRAIN_LENGTH, VR::IS, train);
    put(d, tags::FLIP_ANGLE, VR::DS, timing.flip_degrees.to_string());
}

/// One slice: the series' attributes and its own.
fn slice(
    mut dataset: Dataset,
    acquisition: &Acquisition,
    index: usize,
    pixels: ArrayView2<'_, f32>,
    instance_uid: &Uid,
) -> Dataset {
    let affine = &acquisition.volume.affine;
    let position = affine.apply([index as f64, 0.0, 0.0]);
    let axis = affine.axis_mm(0);
    let spacing = affine.spacing_mm()[0];
    let location: f64 = (0..3).map(|i| position[i] * axis[i] / spacing).sum();
    let d = &mut dataset;
    put(d, tags::SOP_INSTANCE_UID, VR::UI, instance_uid.as_str());
    put(d, tags::INSTANCE_NUMBER, VR::IS, (index + 1).to_string());
    put(d, tags::IMAGE_POSITION_PATIENT, VR::DS, decimals(&position));
    put(d, tags::SLICE_LOCATION, VR::DS, decimal(location));
    let values: Vec<u16> = pixels.iter().map(|&value| value as u16).collect();
    put(d, tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into()));
    dataset
}

fn write_file(dataset: Dataset, instance_uid: &Uid, path: &Path) -> Result<(), WriteStudyError> {
    let failed = |message: String| WriteStudyError::File { path: path.to_owned(), message };
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::MR_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(instance_uid.as_str())
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(identity::IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(identity::IMPLEMENTATION_VERSION_NAME);
    let object = dataset.with_meta(meta).map_err(|error| failed(error.to_string()))?;
    object.write_to_file(path).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_fit_and_keep_their_value() {
        for value in [0.0, -0.0, 1.0, -0.123_456_789_012_345, 1e-9, -247.333_333_333_333, 0.8, 1e7] {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            assert!((text.parse::<f64>().unwrap() - value).abs() < 1e-8, "{text} {value}");
        }
        assert_eq!(decimal(100.0), "100");
        assert_eq!(decimal(-0.0), "0");
    }
}
