//! What an archive says of itself: `dataset_description.json`, `README`, `.bidsignore`, `participants.json`, and
//! `fcdd-archive.json`, by which it recognises its site secret. Files of an archive that others made stay.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kept_metadata::deidentification_codes;
use crate::spool::{SpoolError, write_durably};

/// What fcdd itself must know of an archive.
const ARCHIVE_FILE: &str = "fcdd-archive.json";
/// Lines of `.bidsignore`: files that BIDS does not know.
const IGNORED: [&str; 5] = ["*_roi.nii.gz", "excluded.tsv", "added-studies.tsv", ARCHIVE_FILE, ".adding-*"];

const README: &str = "Research archive of MR studies, written by `fcdd admin archive add`. Not for clinical use.

FACES ARE NOT REMOVED. The volumes show the head as it was scanned, face and ears included: who is shown can be
recognised from a rendering, and by comparison with other images. This archive is local. Do not pass it on
without removing the faces and without the consent that this needs.

Pseudonyms, not anonymity. participant_id is a keyed hash (HMAC-SHA256) of Patient ID and its issuer; who has the
site secret and a list of patients can find out who is who. The secret is not in this folder.

Metadata: DICOM PS3.15 annex E, Basic Application Level Confidentiality Profile (CID 7050 code 113100) with the
options Retain Longitudinal Temporal Information with Modified Dates (113107), Retain Patient Characteristics
(113108: sex, and age in bins of five years) and Retain Device Identity (113109: maker, model and serial number of
the scanner, which are needed to see whether scanner and diagnosis go together). Only an allow-list of
attributes is kept, in the .json beside each volume; descriptions and comments are not. Dates are moved back by a
number of days that is the same for all of one patient and lie before 1925; times of day are dropped.

participants.tsv: group is fcd (focal cortical dysplasia) or hc (control); age_scan is a bin of five years (1: up
to 5 years, 2: 6 to 10, ..., 18: 86 and more); consent is what the DICOM header says on consent for distribution
(yes, no, withdrawn, unknown): it is recorded, not judged.
*_roi.nii.gz: the lesion's mask (0 and 1) on the grid of the image whose name it has.
excluded.tsv: studies that must not be used. added-studies.tsv: what was added; both name studies by keyed hashes.
";

/// The archive's own file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// A file cannot be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] SpoolError),
    /// Pseudonyms of two secrets in one archive would make two patients of one.
    #[error("{archive} was begun with another site secret; use that one, or another archive")]
    OtherSecret {
        /// The archive.
        archive: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
struct ArchiveFile {
    format: u32,
    secret_check: String,
}

/// Refuses another secret than the one that the archive was begun with.
pub fn check_secret(archive: &Path, secret_check: &str) -> Result<(), DescriptionError> {
    let path = archive.join(ARCHIVE_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DescriptionError::Read { path, why: e.to_string() }),
    };
    let file: ArchiveFile =
        serde_json::from_str(&text).map_err(|e| DescriptionError::Read { path, why: e.to_string() })?;
    if file.secret_check == secret_check {
        Ok(())
    } else {
        Err(DescriptionError::OtherSecret { archive: archive.to_owned() })
    }
}

/// Writes the descriptions that are missing; `.bidsignore` gets the lines that it lacks.
pub fn write_missing(archive: &Path, secret_check: &str) -> Result<(), DescriptionError> {
    let own = json!({"format": 1, "secret_check": secret_check});
    write_if_missing(&archive.join(ARCHIVE_FILE), &pretty(&own))?;
    let description = json!({
        "Name": "Local research archive (fcdd admin archive add)",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "License": "not for distribution",
        "GeneratedBy": [{"Name": "fcdd admin archive add", "Version": env!("CARGO_PKG_VERSION")}],
        "DeidentificationMethodCodeSequence": deidentification_codes(),
    });
    write_if_missing(&archive.join("dataset_description.json"), &pretty(&description))?;
    write_if_missing(&archive.join("README"), README)?;
    write_if_missing(&archive.join("participants.json"), &pretty(&column_descriptions()))?;
    let path = archive.join(".bidsignore");
    let mut lines = std::fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<&str> = IGNORED.into_iter().filter(|line| !lines.lines().any(|l| l.trim() == *line)).collect();
    if !missing.is_empty() {
        if !lines.is_empty() && !lines.ends_with('\n') {
            lines.push('\n');
        }
        missing.iter().for_each(|line| lines.extend([line, "\n"]));
        write_durably(&path, lines.as_bytes())?;
    }
    Ok(())
}

fn write_if_missing(path: &Path, text: &str) -> Result<(), SpoolError> {
    if path.exists() { Ok(()) } else { write_durably(path, text.as_bytes()) }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn column_descriptions() -> Value {
    json!({
        "group": {"Description": "patient or control", "Levels": {
            "fcd": "focal cortical dysplasia", "hc": "none known"}},
        "sex": {"Description": "Patient's Sex (0010,0040)", "Levels": {"M": "male", "F": "female", "O": "other"}},
        "age_scan": {"Description": "age when scanned, bin of five years: 1 up to 5 years, 2 from 6 to 10, ..., 18 from 86"},
        "scanner": {"Description": "maker, model and serial number of the scanner"},
        "consent": {"Description": "strictest Consent for Distribution Flag (0012,0085) of the header", "Levels": {
            "yes": "consent", "no": "no consent", "withdrawn": "consent was withdrawn", "unknown": "the header is silent"}},
    })
}
