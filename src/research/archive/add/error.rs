//! Why a study cannot be added.

use std::path::{Path, PathBuf};

use super::descriptions::DescriptionError;
use super::roi::RoiError;
use crate::research::archive::TableError;
use crate::spool::SpoolError;
use crate::volume::nifti::NiftiError;

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

/// An error of the system.
pub(super) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> AddError {
    AddError::Io { doing, path: path.to_owned(), source }
}
