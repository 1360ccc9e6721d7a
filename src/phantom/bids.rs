//! Phantoms as a BIDS folder in exactly the layout of OpenNeuro ds004199 (Bonn), its traps included: a byte
//! order mark and CRLF in `participants.tsv`, masks on the FLAIR's grid, no session level.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Subject;
use super::acquisition::Protocol;
use super::cohort::{Group, Member, SubjectSummary};
use super::dicom::MANUFACTURER;
use super::signal::Pulses;
use crate::study::Sequence;
use crate::volume::nifti;

/// A file of the BIDS folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BidsError {
    /// A file or folder.
    #[error("cannot write {path}: {source}; check that the folder is writable and the disk is not full")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A volume could not be written.
    #[error(transparent)]
    Volume(#[from] nifti::NiftiError),
}

/// Columns of `participants.tsv`, in order.
pub const COLUMNS: [&str; 19] = [
    "participant_id",
    "group",
    "sex",
    "age_epilepsyonset",
    "age_scan",
    "mri_diagnosis",
    "map",
    "spect",
    "pet",
    "invasive_EEG",
    "op",
    "age_op",
    "histopathology",
    "1year_outcome",
    "latest_outcome",
    "time_follow-up",
    "hemisphere",
    "lobe",
    "split",
];

const README: &str = "Synthetic heads with and without focal cortical dysplasia, computed by `fcdd phantom`.
Nobody was scanned: no value here describes a person, and no figure from these volumes is a statement about
patients. The layout and the names are those of OpenNeuro ds004199, so that programs made for that set can
read this one. Names of protocols (acq-iso08, acq-sag111, acq-T2sel, acq-tse3dvfl) stand for the pulse
sequence; the spacing is the one that the volumes state.
";

/// Writes the files that describe the whole folder, all but `participants.tsv`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_descriptions(folder: &Path) -> Result<(), BidsError> {
    let version = env!("CARGO_PKG_VERSION");
    let description = json!({
        "Name": "Synthetic heads with and without focal cortical dysplasia (fcdd phantom)",
        "BIDSVersion": "1.6.0",
        "DatasetType": "raw",
        "Authors": ["fcdd phantom"],
        "License": "CC0",
        "GeneratedBy": [{"Name": "fcdd phantom", "Version": version}],
    });
    write_text(&folder.join("README"), README)?;
    write_text(&folder.join("CHANGES"), &format!("{version} 2020-01-01\n  - computed\n"))?;
    write_text(&folder.join(".bidsignore"), "*_roi.nii.gz\n")?;
    write_json(&folder.join("dataset_description.json"), &description)?;
    write_json(&folder.join("participants.json"), &column_descriptions())
}

/// Scans a subject and writes its volumes, sidecars and, for a patient, the lesion mask.
///
/// # Errors
/// When a file cannot be written.
pub fn write_subject(subject: &Subject, id: &str, protocols: &[Protocol], folder: &Path) -> Result<(), BidsError> {
    let anat = folder.join(id).join("anat");
    fs::create_dir_all(&anat).map_err(|source| BidsError::File { path: anat.clone(), source })?;
    for (index, protocol) in protocols.iter().enumerate() {
        let acquisition = subject.acquire(protocol);
        let suffix = match protocol.sequence {
            Sequence::Flair => "FLAIR",
            Sequence::T1 | Sequence::Other => "T1w",
        };
        let stem = format!("{id}_acq-{}_{suffix}", protocol.label);
        nifti::write(&anat.join(format!("{stem}.nii.gz")), &acquisition.volume)?;
        write_json(&anat.join(format!("{stem}.json")), &sidecar(protocol, index + 1))?;
        if protocol.sequence == Sequence::Flair
            && let Some(mask) = subject.lesion_mask(&acquisition.volume.grid())
        {
            nifti::write(&anat.join(format!("{stem}_roi.nii.gz")), &mask)?;
        }
    }
    Ok(())
}

/// Writes `participants.tsv`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_participants(folder: &Path, members: &[Member], made: &[SubjectSummary]) -> Result<(), BidsError> {
    let mut text = format!("\u{feff}{}\r\n", COLUMNS.join("\t"));
    for (member, summary) in members.iter().zip(made) {
        let onset = member.onset_bin.map_or_else(|| "n/a".to_owned(), |bin| bin.to_string());
        let (hemisphere, lobe) =
            summary.lesion.as_ref().map_or(("n/a", "n/a"), |lesion| (lesion.hemisphere, lesion.lobe));
        let diagnostics: [&str; 6] = match member.group {
            Group::Fcd => ["suspicion", "0", "0", "0", "0", "0"],
            Group::Hc => ["n/a", "n/a", "n/a", "n/a", "n/a", "0"],
        };
        let sex = member.sex.to_string();
        let age = member.age_bin.to_string();
        let mut row = vec![member.id.as_str(), member.group.name(), &sex, &onset, &age];
        row.extend(diagnostics);
        // age_op, histopathology, both outcomes and the follow-up: nobody was operated on.
        row.extend(["n/a"; 5]);
        row.extend([hemisphere, lobe, member.split]);
        text.push_str(&row.join("\t"));
        text.push_str("\r\n");
    }
    write_text(&folder.join("participants.tsv"), &text)
}

/// What dcm2niix would say about the series: times in seconds.
fn sidecar(protocol: &Protocol, series_number: usize) -> Value {
    let timing = protocol.pulses.timing();
    let seconds = |ms: f32| (f64::from(ms) * 1000.0).round() / 1e6;
    let (scanning, name, options) = match protocol.pulses {
        Pulses::InversionGradientEcho(_) => ("GR\\IR", "*tfl3d1_ns", "IR"),
        Pulses::InversionSpinEcho(_) => ("SE\\IR", "*spcir3d1", "IR"),
    };
    json!({
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "ImagingFrequency": 123.2,
        "Manufacturer": MANUFACTURER,
        "ManufacturersModelName": protocol.scanner.model(),
        "InstitutionName": "fcdd synthetic phantom",
        "DeviceSerialNumber": protocol.scanner.serial(),
        "PatientPosition": "HFS",
        "SoftwareVersions": format!("fcdd {}", env!("CARGO_PKG_VERSION")),
        "MRAcquisitionType": "3D",
        "SeriesDescription": protocol.description,
        "ProtocolName": protocol.description,
        "ScanningSequence": scanning,
        "SequenceVariant": "SK\\SP\\MP",
        "ScanOptions": options,
        "SequenceName": name,
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "SeriesNumber": series_number,
        "AcquisitionNumber": 1,
        "SliceThickness": protocol.spacing_mm[0],
        "EchoTime": seconds(timing.te_ms),
        "RepetitionTime": seconds(timing.tr_ms),
        "InversionTime": seconds(timing.ti_ms),
        "FlipAngle": timing.flip_degrees,
        "ReceiveCoilName": protocol.scanner.coil(),
        "ImageOrientationPatientDICOM": protocol.plane.orientation(),
        "ConversionSoftware": "fcdd phantom",
        "ConversionSoftwareVersion": env!("CARGO_PKG_VERSION"),
    })
}

/// What the columns mean, in the form of BIDS.
fn column_descriptions() -> Value {
    let years: serde_json::Map<String, Value> =
        (1u32..=13).map(|bin| (bin.to_string(), json!(format!("{} to {} years", 5 * bin - 4, 5 * bin)))).collect();
    let yes_no = |what: &str| json!({"Description": what, "Levels": {"0": "no", "1": "yes"}});
    let unused = |what: &str| json!({"Description": format!("{what}; n/a in a phantom")});
    json!({
        "group": {"Description": "patient or control", "Levels": {
            "fcd": "with a synthetic focal cortical dysplasia", "hc": "without"}},
        "sex": {"Description": "drawn by chance, without effect on the volumes", "Levels": {"M": "male", "F": "female"}},
        "age_epilepsyonset": {"Description": "drawn by chance, bin of five years", "Levels": years},
        "age_scan": {"Description": "drawn by chance, bin of five years", "Levels": years},
        "mri_diagnosis": {"Description": "always suspicion in the group fcd", "Levels": {
            "suspicion": "looks like a dysplasia", "none": "nothing found", "other": "something else found"}},
        "map": yes_no("morphometric analysis"),
        "spect": yes_no("SPECT"),
        "pet": yes_no("PET"),
        "invasive_EEG": yes_no("invasive EEG"),
        "op": yes_no("surgery"),
        "age_op": unused("age at surgery"),
        "histopathology": unused("type of dysplasia"),
        "1year_outcome": unused("outcome after a year"),
        "latest_outcome": unused("latest outcome"),
        "time_follow-up": unused("time of follow-up"),
        "hemisphere": {"Description": "side of the lesion", "Levels": {"L": "left", "R": "right"}},
        "lobe": {"Description": "lobe of the lesion, by its coordinates", "Levels": {
            "FL": "frontal", "TL": "temporal", "PL": "parietal", "OL": "occipital", "IL": "insular"}},
    })
}

fn write_json(path: &Path, value: &Value) -> Result<(), BidsError> {
    write_text(path, &format!("{value:#}\n"))
}

fn write_text(path: &Path, text: &str) -> Result<(), BidsError> {
    fs::write(path, text).map_err(|source| BidsError::File { path: path.to_owned(), source })
}
