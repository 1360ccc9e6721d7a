//! What a fold keeps on disk between epochs, so that a kill at any instant costs at most the epoch under way.
//!
//! `checkpoint_latest` is the one commit point: weights, Adam's moments, the schedule and the whole history in one
//! file that is replaced atomically after each epoch. `checkpoint_best` and `history.csv` follow from it and are
//! written after it; where a kill fell in between, [`Latest::write_what_follows`] writes them again on resuming.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fcdd::network::{NetworkSpec, Tensor as WeightTensor, Weights, WeightsError};
use fcdd::research::run::folder::{Epoch, FoldFolder, RunFolderError, write_durably, write_table};
use fcdd::research::run::weights_file::{self, BestNote, WeightsFileError};
use serde::{Deserialize, Serialize};

use super::adam::AdamState;
use super::schedule::Schedule;

/// Before the names of the moments, so that they cannot meet a parameter's.
const ADAM: &str = "adam.";

/// Before the names of what guides.
const GUIDANCE: &str = "guidance.";

/// A checkpoint that cannot be written, read or gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk is full, or the folder not writable.
    #[error("{0}. What was written before is whole: make room and go on with --resume")]
    NotWritten(#[source] RunFolderError),
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    File(#[from] WeightsFileError),
    /// Another network's weights.
    #[error("{path}: {source}")]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: Box<WeightsError>,
    },
    /// The note in the file is not ours.
    #[error("{path} is no checkpoint of this program ({message}); delete the fold's folder and train it again")]
    Note {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The run's plan is not the one it was trained with.
    #[error(
        "{path} was made with another plan ({found:.12}… instead of {expected:.12}…): restore the run's plan.toml, or \
         delete the fold's folder and train it again"
    )]
    OtherPlan {
        /// The checkpoint.
        path: PathBuf,
        /// Digest of the run's plan.
        expected: String,
        /// Digest in the checkpoint.
        found: String,
    },
}

/// The state of a fold after an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// [`fcdd::research::run::plan::Plan::digest`]
    pub plan: String,
    /// The fold.
    pub fold: usize,
    /// Parameters and running statistics.
    pub weights: Weights,
    /// What guides, beside the network; empty without.
    pub guidance: BTreeMap<String, WeightTensor>,
    /// The optimiser.
    pub adam: AdamState,
    /// Learning rate, best epoch, patience.
    pub schedule: Schedule,
    /// A row per epoch.
    pub history: Vec<Epoch>,
}

/// Everything of [`Latest`] that is no tensor. TOML keeps every bit of a number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    plan: String,
    fold: usize,
    steps: u64,
    learning_rate: f64,
    schedule: Schedule,
    history: Vec<Epoch>,
}

impl Latest {
    /// Replaces `checkpoint_latest`; on an error the old one is whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &FoldFolder) -> Result<(), CheckpointError> {
        let path = folder.checkpoint_latest();
        let note = Note {
            plan: self.plan.clone(),
            fold: self.fold,
            steps: self.adam.steps,
            learning_rate: self.adam.learning_rate,
            schedule: self.schedule.clone(),
            history: self.history.clone(),
        };
        let wrong = |message: String| CheckpointError::Note { path: path.clone(), message };
        let note = toml::to_string(&note).map_err(|e| wrong(e.to_string()))?;
        let mut tensors = self.weights.tensors().clone();
        tensors.extend(self.adam.moments.iter().map(|(name, moment)| (format!("{ADAM}{name}"), moment.clone())));
        tensors.extend(self.guidance.iter().map(|(name, tensor)| (format!("{GUIDANCE}{name}"), tensor.clone())));
        let bytes = weights_file::to_bytes(&tensors, note).map_err(|e| wrong(e.to_string()))?;
        write_durably(&path, &bytes).map_err(CheckpointError::NotWritten)
    }

    /// Writes `checkpoint_best`, when the last epoch was the best, and `history.csv`.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write_what_follows(&self, folder: &FoldFolder) -> Result<(), CheckpointError> {
        if self.schedule.is_best() {
            let path = folder.checkpoint_best();
            let note = BestNote { plan: self.plan.clone(), fold: self.fold, epoch: self.schedule.best_epoch() };
            let wrong = |message: String| CheckpointError::Note { path: path.clone(), message };
            let note = toml::to_string(&note).map_err(|e| wrong(e.to_string()))?;
            let bytes = weights_file::to_bytes(self.weights.tensors(), note).map_err(|e| wrong(e.to_string()))?;
            write_durably(&path, &bytes).map_err(CheckpointError::NotWritten)?;
        }
        write_table(&folder.history_path(), &self.history).map_err(CheckpointError::NotWritten)
    }

    /// Reads `checkpoint_latest`.
    ///
    /// # Errors
    /// When it is damaged, or was made with another plan than the one with this digest.
    pub fn read(path: &Path, spec: &NetworkSpec, plan: &str) -> Result<Latest, CheckpointError> {
        let (tensors, note) = weights_file::read(path)?;
        let note: Note = toml::from_str(&note)
            .map_err(|e| CheckpointError::Note { path: path.to_owned(), message: e.message().to_owned() })?;
        if note.plan != plan {
            return Err(CheckpointError::OtherPlan {
                path: path.to_owned(),
                expected: plan.to_owned(),
                found: note.plan,
            });
        }
        let (mut weights, mut moments, mut guidance) =
            (BTreeMap::<String, WeightTensor>::new(), BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in tensors {
            if let Some(moment) = name.strip_prefix(ADAM) {
                moments.insert(moment.to_owned(), tensor);
            } else if let Some(part) = name.strip_prefix(GUIDANCE) {
                guidance.insert(part.to_owned(), tensor);
            } else {
                weights.insert(name, tensor);
            }
        }
        let weights = Weights::new(spec, weights)
            .map_err(|source| CheckpointError::Weights { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Latest {
            plan: note.plan,
            fold: note.fold,
            weights,
            guidance,
            adam: AdamState { steps: note.steps, learning_rate: note.learning_rate, moments },
            schedule: note.schedule,
            history: note.history,
        })
    }
}
