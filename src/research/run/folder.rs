//! A run's folder: what lies where, and the tables that its parts hand to each other.
//!
//! ```text
//! RUN/plan.toml  splits.json  cache.json  subjects.csv
//! RUN/fold_K/checkpoint_latest   weights, optimiser and schedule (gone when the fold is done)
//! RUN/fold_K/checkpoint_best     weights of the epoch with the lowest validation loss (safetensors)
//! RUN/fold_K/history.csv         a row per epoch
//! RUN/fold_K/machines.txt        what trained it, a line each: processor, threads, device
//! RUN/fold_K/predictions.csv     logits of the fold's test and validation subjects; written last: the fold is done
//! RUN/predictions.csv            those of all folds, joined
//! RUN/report.html  report.md  metrics.json
//! ```
//!
//! A run of both modalities is two such folders, `RUN/t1` and `RUN/flair`, with equal `splits.json`.
//! Every file is written under a temporary name, synced and renamed: a kill leaves the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, PlanError};

/// A run folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}; check that the folder is writable and the disk is not full")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A table with other columns or values.
    #[error("{path} is damaged: {message}")]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The plan is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The folder holds a run that was made by another plan.
    #[error(
        "{path} belongs to a run with another plan ({difference}); give a new --output, or the choices of that run"
    )]
    OtherPlan {
        /// The plan in the folder.
        path: PathBuf,
        /// The first line that differs.
        difference: String,
    },
}

/// A row of `history.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean cross-entropy of the training batches.
    pub train_loss: f64,
    /// Share of training subjects that were right, as they were trained on.
    pub train_accuracy: f64,
    /// Mean cross-entropy of the validation subjects.
    pub validation_loss: f64,
    /// Share of validation subjects that were right.
    pub validation_accuracy: f64,
    /// Area under the ROC curve of the validation subjects; empty with one class.
    pub validation_auc: Option<f64>,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
    /// Wall time, s.
    pub seconds: f64,
    /// Time of it that the steps waited for data, s.
    pub waited_s: f64,
}

/// Which part of a fold a subject belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Never seen by the fold's network.
    Test,
    /// Chose the epoch and the learning rate.
    Validation,
    /// Trained on.
    Train,
}

/// A row of `predictions.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// `sub-…`
    pub subject: String,
    /// The fold whose network it was.
    pub fold: usize,
    /// Test, validation or train.
    pub part: Part,
    /// True for a patient.
    pub fcd: bool,
    /// `logits[0]`
    pub logit_hc: f64,
    /// `logits[1]`
    pub logit_fcd: f64,
}

impl Prediction {
    /// `logits[1] − logits[0]`: its sigmoid is the softmax's probability of FCD.
    pub fn logit(&self) -> f64 {
        self.logit_fcd - self.logit_hc
    }
}

/// What the trainer tells on its standard output, a JSON object per line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TrainerEvent {
    /// A fold begins or goes on.
    FoldStarted {
        /// The fold.
        fold: usize,
        /// Epochs that are done already.
        epochs_done: usize,
        /// At most so many epochs.
        epochs: usize,
        /// Subjects of each part: train, validation, test.
        subjects: [usize; 3],
        /// e.g. `cpu, 2 threads`.
        device: String,
    },
    /// A training step is done.
    Step {
        /// From 1.
        step: usize,
        /// Steps of the epoch.
        steps: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
    },
    /// An epoch is done.
    Epoch(Epoch),
    /// A fold is done: its predictions are on disk.
    FoldDone {
        /// The fold.
        fold: usize,
        /// The epoch whose weights were kept.
        best_epoch: usize,
        /// Wall time of this fold in this process, s.
        seconds: f64,
    },
}

/// The folder of a run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The run in `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    /// The runs of T1 and FLAIR in `path`, or the one run that `path` itself is.
    pub fn of_modalities(path: &Path) -> Vec<RunFolder> {
        let both: Vec<RunFolder> = ["t1", "flair"].map(|name| RunFolder::new(path.join(name))).into();
        let both: Vec<RunFolder> = both.into_iter().filter(|run| run.plan_path().exists()).collect();
        if both.is_empty() { vec![RunFolder::new(path)] } else { both }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `splits.json`
    pub fn splits(&self) -> PathBuf {
        self.path.join("splits.json")
    }

    /// `cache.json`: which preprocessed scans the run uses.
    pub fn cache_index(&self) -> PathBuf {
        self.path.join("cache.json")
    }

    /// `predictions.csv`: those of all folds, joined by `fcdd admin collect`.
    pub fn predictions_path(&self) -> PathBuf {
        self.path.join("predictions.csv")
    }

    /// `subjects.csv`: what is known of each subject beside its images.
    pub fn subjects_path(&self) -> PathBuf {
        self.path.join("subjects.csv")
    }

    /// `pretrained_on.csv`: whom the network that the run begins with has seen.
    pub fn pretrained_on_path(&self) -> PathBuf {
        self.path.join("pretrained_on.csv")
    }

    /// `metrics.json`: every figure of the report.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.json")
    }

    /// `report.html`: the report; while training goes on, the learning curves so far.
    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// `plan.toml`
    pub fn plan_path(&self) -> PathBuf {
        self.path.join("plan.toml")
    }

    /// A fold's folder.
    pub fn fold(&self, fold: usize) -> FoldFolder {
        FoldFolder { path: self.path.join(format!("fold_{fold}")) }
    }

    /// The run's plan.
    ///
    /// # Errors
    /// When it is missing or no plan.
    pub fn plan(&self) -> Result<Plan, RunFolderError> {
        let path = self.plan_path();
        let text = fs::read_to_string(&path).map_err(|source| RunFolderError::File { path: path.clone(), source })?;
        Ok(Plan::from_toml(&text, &path)?)
    }

    /// Makes the folder with its plan, or finds that the plan in it is the same.
    ///
    /// # Errors
    /// When it holds another plan, or cannot be written.
    pub fn begin(&self, plan: &Plan) -> Result<(), RunFolderError> {
        fs::create_dir_all(&self.path).map_err(|source| RunFolderError::File { path: self.path.clone(), source })?;
        self.refuse_another(plan)?;
        let path = self.plan_path();
        if path.exists() { Ok(()) } else { write_durably(&path, plan.to_toml().as_bytes()) }
    }

    /// Whether it may hold this plan: nothing is made or written.
    ///
    /// # Errors
    /// When it holds another one, or one that cannot be read.
    pub fn refuse_another(&self, plan: &Plan) -> Result<(), RunFolderError> {
        let path = self.plan_path();
        if !path.exists() {
            return Ok(());
        }
        let there = self.plan()?;
        if there == *plan {
            return Ok(());
        }
        let (old, new) = (there.to_toml(), plan.to_toml());
        let difference = old.lines().zip(new.lines()).find(|(old, new)| old != new);
        let difference = difference
            .map_or_else(|| "one of them says more".to_owned(), |(old, new)| format!("there \"{old}\", now \"{new}\""));
        Err(RunFolderError::OtherPlan { path, difference })
    }
}

/// The folder of one fold.
#[derive(Debug, Clone)]
pub struct FoldFolder {
    path: PathBuf,
}

impl FoldFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Weights, optimiser and schedule after the newest epoch.
    pub fn checkpoint_latest(&self) -> PathBuf {
        self.path.join("checkpoint_latest")
    }

    /// Weights of the best epoch.
    pub fn checkpoint_best(&self) -> PathBuf {
        self.path.join("checkpoint_best")
    }

    /// A row per epoch.
    pub fn history_path(&self) -> PathBuf {
        self.path.join("history.csv")
    }

    /// What trained it, a line each.
    pub fn machines_path(&self) -> PathBuf {
        self.path.join("machines.txt")
    }

    /// Logits of the test and validation subjects.
    pub fn predictions_path(&self) -> PathBuf {
        self.path.join("predictions.csv")
    }

    /// Whether the fold was finished.
    pub fn is_done(&self) -> bool {
        self.predictions_path().exists() && self.checkpoint_best().exists()
    }

    /// The epochs so far; none before the first.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn history(&self) -> Result<Vec<Epoch>, RunFolderError> {
        read_table(&self.history_path())
    }

    /// The predictions.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn predictions(&self) -> Result<Vec<Prediction>, RunFolderError> {
        read_table(&self.predictions_path())
    }
}

/// Reads a CSV table; a missing file is an empty table.
///
/// # Errors
/// When it cannot be read, or a column or value is wrong.
pub fn read_table<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunFolderError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RunFolderError::File { path: path.to_owned(), source }),
    };
    csv::Reader::from_reader(file)
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|e| RunFolderError::Table { path: path.to_owned(), message: e.to_string() })
}

/// Writes a CSV table durably.
///
/// # Errors
/// When it cannot be written.
pub fn write_table<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), RunFolderError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let table = |message: String| RunFolderError::Table { path: path.to_owned(), message };
    for row in rows {
        writer.serialize(row).map_err(|e| table(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| table(e.to_string()))?;
    write_durably(path, &bytes)
}

/// Writes a file so that a kill or a full disk leaves the old one or the new one, never half of it.
///
/// # Errors
/// When it cannot be written; the old file is still there.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), RunFolderError> {
    let attempt = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        })();
        if let Err(e) = written {
            // What was written of it is of no use, and the disk may be full.
            let _ = fs::remove_file(&temporary);
            return Err(e);
        }
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    attempt().map_err(|source| RunFolderError::File { path: path.to_owned(), source })
}
