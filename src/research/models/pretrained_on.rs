//! Whom the network that a run begins with has seen.
//!
//! A run that starts from another run's `checkpoint_best` goes on from what that network learned of its subjects. Scored on
//! one of them, even "out of fold", it would be praised for remembering. So the run keeps a list of them
//! (`pretrained_on.csv`), which `retrain` compares with the archive and `export` adds to the model's record of whom it has
//! seen. Every subject of the other run counts, whatever its part, and those of the run before that one.
//!
//! MedicalNet's files name no subjects, and none of ours was among theirs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::export::Subject;
use super::seen_subjects::listed;
use crate::research::cache::{Cache, CacheError, CachedSubject};
use crate::research::run::folder::{RunFolder, RunFolderError, read_table, write_table};
use crate::research::run::weights_file;

/// A subject of another run; a row of `pretrained_on.csv`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// [`Subject::hash`].
    pub subject: String,
    /// SHA-256 of the source volume's content, hexadecimal.
    pub content: String,
}

/// Weights that a run may not begin with.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedOnError {
    /// The other run's list of subjects cannot be read.
    #[error(
        "{path} is a network that was trained here, but its run's list of subjects cannot be read ({source}): give the \
         checkpoint_best in the folder of its run, RUN/fold_K/checkpoint_best"
    )]
    Unsaid {
        /// The weights.
        path: PathBuf,
        /// Why.
        source: CacheError,
    },
    /// Subjects of this archive were trained on.
    #[error(
        "the network in {path} has seen {count} scans of this archive: {names}; take them out of the archive, or begin \
         with other weights"
    )]
    Overlap {
        /// The weights.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Their names here, as a list.
        names: String,
    },
    /// A table cannot be read or written.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
}

/// The subjects behind the weights of a file, sorted; none for a file that is no checkpoint of ours.
///
/// # Errors
/// When the file is a checkpoint of ours, and its run does not say.
pub fn of_weights(path: &Path) -> Result<Vec<Seen>, PretrainedOnError> {
    // What cannot be read is refused by who loads it.
    if !weights_file::is_one(path).unwrap_or(false) {
        return Ok(Vec::new());
    }
    // RUN/fold_K/checkpoint_best
    let run = RunFolder::new(path.parent().and_then(Path::parent).unwrap_or(Path::new("")));
    let subjects = Cache::subjects_of_index(&run.cache_index())
        .map_err(|source| PretrainedOnError::Unsaid { path: path.to_owned(), source })?;
    let own = subjects.into_iter().map(|subject| {
        let subject = Subject { id: subject.id, content: subject.source_sha256 };
        Seen { subject: subject.hash(), content: subject.content }
    });
    let before = read_table::<Seen>(&run.pretrained_on_path())?;
    Ok(own.chain(before).collect::<BTreeSet<_>>().into_iter().collect())
}

/// Whether any of `subjects` was seen; the same scan under another name counts.
///
/// # Errors
/// Names those that were; `path` is that of the weights.
pub fn refuse_overlap(path: &Path, seen: &[Seen], subjects: &[CachedSubject]) -> Result<(), PretrainedOnError> {
    let contents: BTreeSet<&str> = seen.iter().map(|seen| seen.content.as_str()).collect();
    let both: Vec<&str> = subjects
        .iter()
        .filter(|subject| contents.contains(subject.source_sha256.as_str()))
        .map(|subject| subject.id.as_str())
        .collect();
    if both.is_empty() {
        return Ok(());
    }
    Err(PretrainedOnError::Overlap { path: path.to_owned(), count: both.len(), names: listed(&both) })
}

/// Keeps the list with the run.
///
/// # Errors
/// When it cannot be written.
pub fn write(run: &RunFolder, seen: &[Seen]) -> Result<(), PretrainedOnError> {
    Ok(write_table(&run.pretrained_on_path(), seen)?)
}

/// The list of a run; empty for one that began with nothing of ours.
///
/// # Errors
/// When it is damaged.
pub fn read(run: &RunFolder) -> Result<Vec<Seen>, RunFolderError> {
    read_table(&run.pretrained_on_path())
}
