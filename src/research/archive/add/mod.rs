//! A study of the daemon's ledger becomes a subject of the research archive: pseudonymised, labelled, once.
//!
//! ```text
//! assembled study ─▶ patient + secret ─▶ pseudonym ─▶ checks against the archive's tables
//!                          mask ─▶ the FLAIR's grid ─▶ sub-X/anat ─▶ participants.tsv ─▶ added-studies.tsv
//! ```
//!
//! Invariants:
//! 1. Nothing of the study enters the archive but voxels, their affine and an [allow-list](kept_metadata) of metadata.
//! 2. A study has one label for ever and a subject one group; what contradicts that is refused, naming both.
//! 3. The row in `added-studies.tsv` is written last: a kill before leaves what the next call replaces.
//! 4. One call at a time per archive (a lock on its folder).
//!
//! The archive holds one study per subject: networks are validated on subjects, and a second scan of one patient is
//! no second patient.

pub mod kept_metadata;
pub mod roi;
pub mod site_secret;

mod descriptions;
mod error;
mod images;
mod memory;
mod segmentation;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

pub use crate::research::archive::TableError;
pub use descriptions::DescriptionError;
pub use error::AddError;
pub use roi::RoiError;
pub use segmentation::SegmentationError;
pub use site_secret::{SecretError, SiteSecret};

use crate::research::archive::table::{ADDED, EXCLUDED, NOT_AVAILABLE, PARTICIPANTS};
use crate::study::AssembledStudy;
use error::io;
use images::{images, read_roi, write_images};
use memory::{Known, Tables, roi_key};

/// What a study is labelled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// A patient with focal cortical dysplasia.
    Fcd,
    /// A control.
    Hc,
    /// Must not be used.
    Exclude,
}

impl Label {
    /// `fcd`, `hc` or `exclude`.
    pub fn name(self) -> &'static str {
        match self {
            Label::Fcd => "fcd",
            Label::Hc => "hc",
            Label::Exclude => "exclude",
        }
    }
}

/// What to add.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The study, with the volumes of its chosen T1 and FLAIR.
    pub study: &'a AssembledStudy,
    /// Its label.
    pub label: Label,
    /// A lesion mask, NIfTI or DICOM segmentation; only with [`Label::Fcd`].
    pub roi: Option<&'a Path>,
    /// Which label or segment of the mask.
    pub segment: Option<u32>,
    /// Why it is excluded; kept as it is, so it must not name anybody.
    pub why: &'a str,
    /// The archive's folder; made when it is not there.
    pub archive: &'a Path,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Added {
    /// The subject's pseudonym.
    pub participant_id: String,
    /// The label.
    pub label: Label,
    /// False when the archive had the study with this label already: nothing was written.
    pub is_new: bool,
    /// The image files, relative to the archive.
    pub files: Vec<PathBuf>,
    /// Volume of the lesion mask, ml.
    pub roi_ml: Option<f64>,
    /// Whether the mask had another grid than the image.
    pub roi_resampled: bool,
    /// What the header says on consent: `yes`, `no`, `withdrawn` or `unknown`.
    pub consent: String,
}

/// Adds a study to the archive, or says why not. The same study with the same label and mask changes nothing.
///
/// # Errors
/// See [`AddError`]; the archive then is as it was, but for leftovers that the next call replaces.
pub fn add(request: &Request<'_>, secret: &SiteSecret) -> Result<Added, AddError> {
    let Request { study, label, archive, .. } = *request;
    if request.roi.is_some() && label != Label::Fcd {
        return Err(AddError::RoiWithoutLesion { label: label.name() });
    }
    if label != Label::Exclude && !study.problems.is_empty() {
        return Err(AddError::Unusable { why: problems(study) });
    }
    let identity = kept_metadata::patient_identity(&study.header).ok_or(AddError::NoPatientId)?;
    std::fs::create_dir_all(archive).map_err(|e| io("make", archive, e))?;
    let lock = File::open(archive).map_err(|e| io("open", archive, e))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|e| io("lock", archive, e.into()))?;

    descriptions::check_secret(archive, &secret.check())?;
    let mut tables = Tables::read(archive)?;
    let known = Known {
        study: secret.study_key(study.study_uid.as_str()),
        patient: secret.patient_check(&identity),
        participant_id: secret.pseudonym(&identity),
        roi: request.roi.map(|path| roi_key(path, request.segment, secret)).transpose()?,
    };
    let consent = kept_metadata::patient(&study.header).consent;
    let added = |is_new| Added {
        participant_id: known.participant_id.clone(),
        label,
        is_new,
        files: Vec::new(),
        roi_ml: None,
        roi_resampled: false,
        consent: consent.clone(),
    };
    if tables.has_already(request, &known)? {
        return Ok(added(false));
    }
    if label == Label::Exclude {
        descriptions::write_missing(archive, &secret.check())?;
        let why = if request.why.is_empty() { NOT_AVAILABLE } else { request.why };
        tables.excluded.set("study", &known.study, &[("participant_id", &known.participant_id), ("why", why)]);
        tables.excluded.write(&archive.join(EXCLUDED))?;
        return Ok(added(true));
    }

    let images = images(study)?;
    let mask = request.roi.map(|path| read_roi(path, request.segment, &images)).transpose()?;
    descriptions::write_missing(archive, &secret.check())?;
    let files = write_images(&images, mask.as_ref(), &known, archive, &identity, secret)?;
    let patient = kept_metadata::patient(&study.header);
    let cells = [
        ("group", label.name()),
        ("sex", &patient.sex),
        ("age_scan", &patient.age_bin),
        ("scanner", &patient.scanner),
        ("consent", &patient.consent),
    ];
    tables.participants.set("participant_id", &known.participant_id, &cells);
    tables.participants.write(&archive.join(PARTICIPANTS))?;
    let cells = [
        ("patient", known.patient.as_str()),
        ("participant_id", &known.participant_id),
        ("group", label.name()),
        ("roi", known.roi.as_deref().unwrap_or(NOT_AVAILABLE)),
    ];
    tables.added.set("study", &known.study, &cells);
    tables.added.write(&archive.join(ADDED))?;
    let roi_ml = mask.as_ref().map(|m| m.volume_ml);
    Ok(Added { files, roi_ml, roi_resampled: mask.is_some_and(|m| m.was_resampled), ..added(true) })
}

fn problems(study: &AssembledStudy) -> String {
    study.problems.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join("; ")
}
