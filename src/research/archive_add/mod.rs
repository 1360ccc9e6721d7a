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
mod segmentation;
mod table;

use std::fs::File;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

pub use descriptions::DescriptionError;
pub use roi::RoiError;
pub use segmentation::SegmentationError;
pub use site_secret::{SecretError, SiteSecret};
pub use table::TableError;

use crate::dicom::attributes::text;
use crate::spool::{SpoolError, sync_directory, write_durably};
use crate::study::{AssembledStudy, Sequence, Stack};
use crate::volume::nifti::{self, NiftiError};
use roi::{Roi, Target};
use site_secret::PatientIdentity;
use table::Table;

/// Who is who.
const PARTICIPANTS: &str = "participants.tsv";
/// Columns of a new [`PARTICIPANTS`].
const PARTICIPANT_COLUMNS: [&str; 6] = ["participant_id", "group", "sex", "age_scan", "scanner", "consent"];
/// What was added: the archive's memory of studies.
const ADDED: &str = "added-studies.tsv";
const ADDED_COLUMNS: [&str; 5] = ["study", "patient", "participant_id", "group", "roi"];
/// Studies that must not be used.
const EXCLUDED: &str = "excluded.tsv";
const EXCLUDED_COLUMNS: [&str; 3] = ["study", "participant_id", "why"];
const NOT_AVAILABLE: &str = "n/a";

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

/// A study cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Without it there is no pseudonym.
    #[error("the study has no Patient ID: without it one patient could not be told from another")]
    NoPatientId,
    /// Assembly stands against it.
    #[error("the study cannot be used: {why}")]
    Unusable {
        /// The problems, in words.
        why: String,
    },
    /// Text in the pixels.
    #[error(
        "the header of the {image} says that text is burned into the pixels (0028,0301); it cannot be pseudonymised"
    )]
    BurnedIn {
        /// `FLAIR` or `T1`.
        image: &'static str,
    },
    /// A mask for a study that has no lesion.
    #[error("--roi goes with --label fcd only; the label is {label}")]
    RoiWithoutLesion {
        /// The label.
        label: &'static str,
    },
    /// The study has another label.
    #[error(
        "the study is in {archive} with the label {found}; it cannot become {wanted}. If {found} is wrong, remove {participant_id} from the archive by hand"
    )]
    OtherLabel {
        /// The archive.
        archive: PathBuf,
        /// The subject.
        participant_id: String,
        /// Label in the archive.
        found: String,
        /// Label asked for.
        wanted: &'static str,
    },
    /// The study has another mask.
    #[error(
        "the study is in {archive} with {found}; to give {participant_id} another mask, remove the subject from the archive by hand and add it again"
    )]
    OtherRoi {
        /// The archive.
        archive: PathBuf,
        /// The subject.
        participant_id: String,
        /// What it has.
        found: &'static str,
    },
    /// One subject in two groups.
    #[error("{participant_id} is in the group {found} of {archive}; the same patient cannot be in {wanted} too")]
    OtherGroup {
        /// The archive.
        archive: PathBuf,
        /// The subject.
        participant_id: String,
        /// Group in the archive.
        found: String,
        /// Group asked for.
        wanted: &'static str,
    },
    /// One study per subject.
    #[error("{participant_id} is in {archive} with another study; the archive holds one study per subject")]
    OtherStudy {
        /// The archive.
        archive: PathBuf,
        /// The subject.
        participant_id: String,
    },
    /// Two patients with one pseudonym.
    #[error(
        "{participant_id} is another patient's pseudonym in {archive} (one in 2^50 pairs of patients); the study cannot be added under this site secret"
    )]
    Collision {
        /// The archive.
        archive: PathBuf,
        /// The pseudonym.
        participant_id: String,
    },
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The mask.
    #[error(transparent)]
    Roi(#[from] RoiError),
    /// A volume.
    #[error(transparent)]
    Nifti(#[from] NiftiError),
    /// A sidecar.
    #[error(transparent)]
    Write(#[from] SpoolError),
    /// A folder.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
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

fn io(doing: &'static str, path: &Path, source: std::io::Error) -> AddError {
    AddError::Io { doing, path: path.to_owned(), source }
}

/// The names under which the archive knows a study.
struct Known {
    study: String,
    patient: String,
    participant_id: String,
    roi: Option<String>,
}

fn roi_key(path: &Path, segment: Option<u32>, secret: &SiteSecret) -> Result<String, AddError> {
    let mut bytes = std::fs::read(path).map_err(|e| io("read", path, e))?;
    bytes.extend(segment.unwrap_or(0).to_le_bytes());
    Ok(secret.content_key(&bytes))
}

/// The archive's tables.
struct Tables {
    participants: Table,
    added: Table,
    excluded: Table,
}

impl Tables {
    fn read(archive: &Path) -> Result<Tables, TableError> {
        Ok(Tables {
            participants: Table::read_or_new(&archive.join(PARTICIPANTS), &PARTICIPANT_COLUMNS, "participant_id")?,
            added: Table::read_or_new(&archive.join(ADDED), &ADDED_COLUMNS, "study")?,
            excluded: Table::read_or_new(&archive.join(EXCLUDED), &EXCLUDED_COLUMNS, "study")?,
        })
    }

    /// Whether there is nothing to do; what contradicts the archive is an error.
    fn has_already(&self, request: &Request<'_>, known: &Known) -> Result<bool, AddError> {
        let Request { label, archive, .. } = *request;
        let (archive, participant_id) = (archive.to_owned(), known.participant_id.clone());
        let other_label = |found: &str| AddError::OtherLabel {
            archive: archive.clone(),
            participant_id: participant_id.clone(),
            found: found.to_owned(),
            wanted: label.name(),
        };
        if self.excluded.find("study", &known.study, "study").is_some() {
            return if label == Label::Exclude { Ok(true) } else { Err(other_label("exclude")) };
        }
        if let Some(found) = self.added.find("study", &known.study, "group") {
            if found != label.name() {
                return Err(other_label(found));
            }
            let roi = self.added.find("study", &known.study, "roi").filter(|r| *r != NOT_AVAILABLE);
            if known.roi.is_some() && roi != known.roi.as_deref() {
                let found = if roi.is_some() { "another mask" } else { "no mask" };
                return Err(AddError::OtherRoi { archive, participant_id, found });
            }
            return Ok(true);
        }
        if label == Label::Exclude {
            return Ok(false);
        }
        if let Some(patient) = self.added.find("participant_id", &known.participant_id, "patient") {
            if patient != known.patient {
                return Err(AddError::Collision { archive, participant_id });
            }
            let found = self.added.find("participant_id", &known.participant_id, "group").unwrap_or_default();
            if found == label.name() {
                return Err(AddError::OtherStudy { archive, participant_id });
            }
            let (found, wanted) = (found.to_owned(), label.name());
            return Err(AddError::OtherGroup { archive, participant_id, found, wanted });
        }
        // A row without a study is what a kill left behind, or the work of other hands.
        match self.participants.find("participant_id", &known.participant_id, "group") {
            Some(found) if found != label.name() => {
                let (found, wanted) = (found.to_owned(), label.name());
                Err(AddError::OtherGroup { archive, participant_id, found, wanted })
            }
            _ => Ok(false),
        }
    }
}

/// One image that enters the archive.
struct Image<'a> {
    /// `FLAIR` or `T1`, as people say.
    name: &'static str,
    /// BIDS suffix.
    suffix: &'static str,
    stack: &'a Stack,
    volume: &'a crate::volume::Volume,
    frame_of_reference: String,
}

impl Image<'_> {
    fn target(&self) -> Target<'_> {
        Target {
            name: self.name,
            volume: self.volume,
            series_uid: &self.stack.series_uid,
            frame_of_reference: &self.frame_of_reference,
        }
    }
}

/// The chosen FLAIR and T1, the FLAIR first: masks are drawn on it.
fn images(study: &AssembledStudy) -> Result<Vec<Image<'_>>, AddError> {
    let mut images = Vec::new();
    for (sequence, name, suffix) in [(Sequence::Flair, "FLAIR", "FLAIR"), (Sequence::T1, "T1", "T1w")] {
        let Some(stack) = study.chosen(sequence) else { continue };
        let Some(source) = stack.volume.as_deref() else { continue };
        if kept_metadata::says_burned_in(&stack.header) {
            return Err(AddError::BurnedIn { image: name });
        }
        let frame_of_reference = text(&stack.header, tags::FRAME_OF_REFERENCE_UID);
        images.push(Image { name, suffix, stack, volume: &source.volume, frame_of_reference });
    }
    if images.is_empty() {
        return Err(AddError::Unusable { why: problems(study) });
    }
    Ok(images)
}

fn read_roi(path: &Path, segment: Option<u32>, images: &[Image<'_>]) -> Result<Roi, RoiError> {
    let targets: Vec<Target<'_>> = images.iter().map(Image::target).collect();
    match targets.split_first() {
        Some((first, others)) => roi::read(path, segment, *first, others),
        None => Err(RoiError::Empty { path: path.to_owned(), label: segment }),
    }
}

/// Writes the subject's folder beside its place and moves it there whole; the files, relative to the archive.
fn write_images(
    images: &[Image<'_>],
    mask: Option<&Roi>,
    known: &Known,
    archive: &Path,
    identity: &PatientIdentity,
    secret: &SiteSecret,
) -> Result<Vec<PathBuf>, AddError> {
    let id = &known.participant_id;
    let scratch = archive.join(format!(".adding-{id}"));
    let place = archive.join(id);
    let anat = scratch.join("anat");
    for leftover in [&scratch, &place] {
        // Only this command makes these names: without a row in the tables they are what a kill left behind.
        if leftover.exists() {
            std::fs::remove_dir_all(leftover).map_err(|e| io("remove", leftover, e))?;
        }
    }
    std::fs::create_dir_all(&anat).map_err(|e| io("make", &anat, e))?;
    let mut names = Vec::new();
    let mut write_volume = |name: String, volume| -> Result<(), AddError> {
        let path = anat.join(&name);
        nifti::write(&path, volume)?;
        File::open(&path).and_then(|f| f.sync_all()).map_err(|e| io("sync", &path, e))?;
        names.push(name);
        Ok(())
    };
    for (index, image) in images.iter().enumerate() {
        let stem = format!("{id}_{}", image.suffix);
        write_volume(format!("{stem}.nii.gz"), image.volume)?;
        if let (0, Some(mask)) = (index, mask) {
            write_volume(format!("{stem}_roi.nii.gz"), &mask.volume)?;
        }
        let sidecar = kept_metadata::sidecar(&image.stack.header, identity, secret);
        write_durably(&anat.join(format!("{stem}.json")), format!("{sidecar:#}\n").as_bytes())?;
    }
    sync_directory(&anat)?;
    sync_directory(&scratch)?;
    std::fs::rename(&scratch, &place).map_err(|e| io("rename into place", &place, e))?;
    sync_directory(archive)?;
    Ok(names.into_iter().map(|name| Path::new(id).join("anat").join(name)).collect())
}
