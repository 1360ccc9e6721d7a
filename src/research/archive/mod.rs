//! The local archive: a BIDS folder of patients and controls, read as OpenNeuro ds004199 is downloaded.
//!
//! ```text
//! participants.tsv ──▶ participants ─┐
//! excluded.tsv     ──▶ excluded ─────┤
//! sub-*/anat/*     ──▶ subjects ─────┴──▶ Archive ──▶ check        what is usable, tables, warnings
//!                      (sidecar, roi)             ──▶ examine      one scan, preprocessed (the cache uses it too)
//!                                                 ──▶ fingerprint  what a plan remembers of it
//!                                                 ──▶ origin       whose scans: people's, or computed ones
//!                                                 ──▶ same_scan    one scan under two names (the cache uses it too)
//! ```
//!
//! `add` puts a study of the ledger into it, pseudonymised.
//!
//! [`Archive::read`] looks at names, tables, sidecars and NIfTI headers, not at voxels. Nothing that is wrong with one
//! subject stops the others: it is listed with its reason. Only what makes the labels doubtful is an error.

pub mod add;
pub mod check;
pub mod examine;
mod excluded;
pub mod fingerprint;
pub mod origin;
mod participants;
pub mod roi;
pub mod same_scan;
pub mod sidecar;
mod subjects;
pub(in crate::research) mod table;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::phantom::cohort::Group;
pub use excluded::Excluded;
pub use table::TableError;

use crate::study::{Reason, Sequence};
use crate::volume::Grid;
use sidecar::Sidecar;
use table::PARTICIPANTS;

/// The modalities of an archive, in the order of every list.
pub const SEQUENCES: [Sequence; 2] = [Sequence::T1, Sequence::Flair];

/// An archive that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}; give the folder of a BIDS archive, with its participants.tsv")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The table is not text in UTF-8.
    #[error("{path} is not UTF-8 text; save it as tab-separated UTF-8")]
    NotText {
        /// The table.
        path: PathBuf,
    },
    /// A column that must be there is not.
    #[error(
        "{path} has no column `{column}` (it has: {found}); it must have participant_id and group, separated by tabs"
    )]
    Column {
        /// The table.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The columns that it has.
        found: String,
    },
    /// A row with another number of cells than the first line.
    #[error("{path}, line {line}: expected {expected} cells separated by tabs, found {found}")]
    Row {
        /// The table.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Cells of the first line.
        expected: usize,
        /// Cells of this line.
        found: usize,
    },
    /// A name that is no BIDS subject.
    #[error("{path}, line {line}: `{found}` is no participant_id; expected sub-<letters and digits>")]
    Id {
        /// The table.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// A subject with two labels.
    #[error(
        "{path}: {subject} is in two groups, `{first}` (line {first_line}) and `{second}` (line {line}); keep the right row"
    )]
    InTwoGroups {
        /// The table.
        path: PathBuf,
        /// The subject.
        subject: String,
        /// Its first group.
        first: String,
        /// Where.
        first_line: usize,
        /// Its second group.
        second: String,
        /// Where.
        line: usize,
    },
    /// A subject that is listed twice.
    #[error("{path}: {subject} is listed twice (lines {first_line} and {line}); keep one row")]
    Twice {
        /// The table.
        path: PathBuf,
        /// The subject.
        subject: String,
        /// Where first.
        first_line: usize,
        /// Where again.
        line: usize,
    },
    /// Another table.
    #[error(transparent)]
    Table(TableError),
    /// A subject that must not be used, and is.
    #[error(
        "{subject} is in excluded.tsv ({why}) and in participants.tsv of {archive}: take its row out of participants.tsv, or \
         out of excluded.tsv if it may be used"
    )]
    ExcludedAndListed {
        /// The archive.
        archive: PathBuf,
        /// The subject.
        subject: String,
        /// Why it is excluded.
        why: String,
    },
    /// A table without rows.
    #[error("{path} lists nobody")]
    Nobody {
        /// The table.
        path: PathBuf,
    },
}

/// Something that was found about a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `sub-…`
    pub subject: String,
    /// The modality it is about; none: the whole subject.
    pub sequence: Option<Sequence>,
    /// What and what to do.
    pub reason: Reason,
}

impl Finding {
    /// A finding about one modality, or about the whole subject.
    pub fn new(subject: &str, sequence: impl Into<Option<Sequence>>, reason: Reason) -> Self {
        Finding { subject: subject.to_owned(), sequence: sequence.into(), reason }
    }
}

/// A volume that can be used, as far as its header tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// The NIfTI file.
    pub path: PathBuf,
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// The `acq-` label of its name.
    pub acquisition: Option<String>,
    /// Serial number of the scanner by the sidecar, else the participant's `scanner`.
    pub scanner: Option<String>,
    /// Distance between voxel centres along `[slice, row, column]`, mm.
    pub spacing_mm: [f64; 3],
    /// Voxels along `[slice, row, column]`.
    pub shape: [usize; 3],
    /// Acquired in 3D, where the sidecar says.
    pub is_3d: Option<bool>,
    /// Where its voxels lie.
    pub grid: Grid,
    /// What the sidecar states of it.
    pub sidecar: Sidecar,
}

/// A patient or control of whom at least one scan can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// `sub-…`
    pub id: String,
    /// Patient or control.
    pub group: Group,
    /// As in the table.
    pub sex: Option<String>,
    /// As in the table: years, or the number of a bin (see [`Archive::age_column`]).
    pub age: Option<f64>,
    /// T1-weighted.
    pub t1: Option<Scan>,
    /// FLAIR.
    pub flair: Option<Scan>,
    /// Lesion mask on the grid of one of its images; never for a control.
    pub roi: Option<PathBuf>,
}

impl Subject {
    /// Its scan of a modality.
    pub fn scan(&self, sequence: Sequence) -> Option<&Scan> {
        match sequence {
            Sequence::T1 => self.t1.as_ref(),
            Sequence::Flair => self.flair.as_ref(),
            Sequence::Other => None,
        }
    }
}

/// A row of `participants.tsv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Participant {
    /// `sub-…`
    pub id: String,
    /// Patient or control; none where the table says neither.
    pub group: Option<Group>,
    /// The cell, as it stands there.
    pub group_text: String,
    /// `M`, `F`, …
    pub sex: Option<String>,
    /// Years or a bin's number.
    pub age: Option<f64>,
    /// Where the table has such a column.
    pub scanner: Option<String>,
}

/// A series that was found, whether or not its volume can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Series {
    /// `sub-…`
    pub subject: String,
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// The `acq-` label of its name.
    pub acquisition: Option<String>,
    /// Serial number of the scanner.
    pub scanner: Option<String>,
}

/// A BIDS folder that was read.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The folder.
    pub folder: PathBuf,
    /// Every row of the table, by id.
    pub participants: Vec<Participant>,
    /// `age` or `age_scan` (bins of five years in ds004199), where the table has one.
    pub age_column: Option<&'static str>,
    /// Who can be used, by id.
    pub subjects: Vec<Subject>,
    /// Every series of a labelled participant, one per modality.
    pub series: Vec<Series>,
    /// Studies that must not be used.
    pub excluded: Vec<Excluded>,
    /// What cannot be used, by id.
    pub unusable: Vec<Finding>,
    /// What is used, but somebody should know.
    pub notes: Vec<Finding>,
}

impl Archive {
    /// Reads the archive in `folder`.
    ///
    /// # Errors
    /// When there is no participants table, it cannot be understood, a subject has two labels, or one is excluded and
    /// listed at once. What is wrong with a single subject stands in [`Archive::unusable`] and [`Archive::notes`].
    pub fn read(folder: &Path) -> Result<Archive, ArchiveError> {
        let table = participants::read(&folder.join(PARTICIPANTS))?;
        let excluded = excluded::read(folder, &table.rows)?;
        let mut archive = Archive {
            folder: folder.to_owned(),
            participants: table.rows,
            age_column: table.age_column,
            subjects: Vec::new(),
            series: Vec::new(),
            excluded,
            unusable: Vec::new(),
            notes: table.notes,
        };
        for participant in &archive.participants {
            let Some(group) = participant.group else {
                let text = format!("its group is `{}`, expected fcd or hc", participant.group_text);
                archive.unusable.push(Finding::new(&participant.id, None, Reason::new("no_label", text)));
                continue;
            };
            let found = subjects::read(folder, participant, group);
            archive.series.extend(found.series);
            archive.unusable.extend(found.unusable);
            archive.notes.extend(found.notes);
            archive.subjects.extend(found.subject);
        }
        let listed: BTreeSet<&str> = archive.participants.iter().map(|p| p.id.as_str()).collect();
        for name in subjects::folders(folder)?.iter().filter(|name| !listed.contains(name.as_str())) {
            let reason = match archive.excluded.iter().find(|excluded| excluded.subject == *name) {
                Some(excluded) => Reason::new("excluded", format!("it is excluded: {}", excluded.reason())),
                None => {
                    let text = "it has a folder but no row in participants.tsv, so nobody knows its group";
                    Reason::new("not_listed", text)
                }
            };
            archive.unusable.push(Finding::new(name, None, reason));
        }
        archive.unusable.sort_by(|a, b| (&a.subject, a.sequence).cmp(&(&b.subject, b.sequence)));
        archive.notes.sort_by(|a, b| (&a.subject, a.sequence).cmp(&(&b.subject, b.sequence)));
        Ok(archive)
    }

    /// Who has a scan of a modality, with it; by id.
    pub fn scans(&self, sequence: Sequence) -> Vec<(&Subject, &Scan)> {
        self.subjects.iter().filter_map(|subject| subject.scan(sequence).map(|scan| (subject, scan))).collect()
    }

    /// The participant of that id.
    pub fn participant(&self, id: &str) -> Option<&Participant> {
        self.participants.iter().find(|p| p.id == id)
    }
}
