//! A fold from its first epoch (or its checkpoint) to its predictions.
//!
//! Everything random follows from the plan's seed, the fold and the epoch, and `checkpoint_latest` holds the rest of
//! the state: a fold that was killed and resumed ends with the same bytes as one that was not, on CPU at the same
//! number of threads.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fcdd::network::spec::FCD;
use fcdd::network::{Weights, WeightsError, random_init};
use fcdd::research::run::folder::{Epoch, FoldFolder, Part, Prediction, RunFolderError, TrainerEvent, write_table};
use fcdd::research::run::plan::Plan;
use fcdd::research::run::weights_file::{self, WeightsFileError};
use fcdd::research::training::augment::Augmentation;
use fcdd::research::training::batches::{Batch, BatchError, BatchOptions, Batches, BufferPool, Sample, VolumeSource};
use sha2::{Digest, Sha256};
use tch::{Device, TchError, Tensor};

use super::adam::{Adam, AdamError};
use super::checkpoint::{CheckpointError, Latest};
use super::device;
use super::guidance::{Guidance, Lesions};
use super::network::{Network, NetworkError, Options};
use super::out_of_memory::{self, OutOfMemory};
use super::predict::{self, Figures, PredictError};
use super::pretrained::{self, PretrainedError};
use super::schedule::Schedule;
use super::step::{self, StepError};

/// Loader threads at most; one prepares a volume faster than a step uses it, except for tiny networks.
const MOST_LOADERS: usize = 4;

/// A fold that cannot be trained, or not further.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// There is work in the folder, and nobody said to go on with it.
    #[error("{path} holds a fold that was begun: go on with --resume, or delete it")]
    Begun {
        /// The fold's folder.
        path: PathBuf,
    },
    /// Another process is at it.
    #[error("another process is training {path}: wait for it, or choose another fold")]
    Busy {
        /// The fold's folder.
        path: PathBuf,
    },
    /// A part of the fold without subjects.
    #[error("fold {fold} has no {part} subjects: use fewer folds or more subjects")]
    Empty {
        /// The fold.
        fold: usize,
        /// The part.
        part: &'static str,
    },
    /// The pretrained weights are not those that the plan names.
    #[error("{path} is not the file that the plan names (SHA-256 {found:.12}…, expected {expected:.12}…)")]
    OtherPretrained {
        /// The file.
        path: PathBuf,
        /// By the plan.
        expected: String,
        /// Its own.
        found: String,
    },
    /// A loss that is no number.
    #[error("the validation loss of epoch {epoch} is {loss}: training diverged; is the learning rate too high?")]
    Diverged {
        /// From 1.
        epoch: usize,
        /// What it is.
        loss: f64,
    },
    /// Memory ran out: in a step, in validation or prediction, or for the weights themselves.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The best weights.
    #[error(transparent)]
    WeightsFile(#[from] WeightsFileError),
    /// A table.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// The pretrained weights.
    #[error(transparent)]
    Pretrained(#[from] PretrainedError),
    /// The weights of the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The optimiser.
    #[error(transparent)]
    Adam(#[from] AdamError),
    /// A training step.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Validation or test.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// Loading.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// libtorch's own.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// Nobody reads the events any more, or the folder cannot be made.
    #[error("cannot write {what}: {source}")]
    Io {
        /// What.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl FoldError {
    /// Whether libtorch found no memory.
    pub fn is_out_of_memory(&self) -> bool {
        use FoldError::{Adam, Network, Predict, Step, Torch};
        matches!(self, Network(_) | Adam(_) | Step(_) | Predict(_) | Torch(_)) && out_of_memory::is_said_by(self)
    }
}

/// The subjects of a fold.
#[derive(Debug, Clone)]
pub struct Subjects {
    /// Trained on.
    pub train: Vec<Sample>,
    /// Choose epoch and learning rate.
    pub validation: Vec<Sample>,
    /// Never seen.
    pub test: Vec<Sample>,
}

/// A fold to train.
pub struct Fold<S> {
    /// The run's plan.
    pub plan: Plan,
    /// Which fold.
    pub fold: usize,
    /// Its folder.
    pub folder: FoldFolder,
    /// The volumes.
    pub source: Arc<S>,
    /// Who is in it.
    pub subjects: Subjects,
    /// Where it computes.
    pub device: Device,
}

/// Hears of every event; an error ends the fold.
pub type Tell<'a> = &'a mut dyn FnMut(&TrainerEvent) -> io::Result<()>;

impl<S: VolumeSource + 'static> Fold<S> {
    /// Trains to the end and predicts. With `resume` it goes on where it was left, and a finished fold stays as it is.
    ///
    /// # Errors
    /// See [`FoldError`]; what was written stays whole, and the fold can be resumed. Where memory runs out, the error
    /// says which batch would fit.
    pub fn train(&self, resume: bool, tell: Tell) -> Result<(), FoldError> {
        for (part, samples) in [
            ("training", &self.subjects.train),
            ("validation", &self.subjects.validation),
            ("test", &self.subjects.test),
        ] {
            if samples.is_empty() {
                return Err(FoldError::Empty { fold: self.fold, part });
            }
        }
        let path = self.folder.path();
        std::fs::create_dir_all(path).map_err(|source| io_error(path.display(), source))?;
        let _lock = self.lock()?;
        match self.train_alone(resume, tell) {
            // Its network, optimiser and batches are gone: the tries have the memory to themselves.
            Err(error) if error.is_out_of_memory() => {
                let subjects = self.subjects.train.len();
                Err(OutOfMemory::find(&self.plan, self.options(), self.device, subjects, &error).into())
            }
            done => done,
        }
    }

    /// Trains and predicts, with nobody else in the folder.
    fn train_alone(&self, resume: bool, tell: Tell) -> Result<(), FoldError> {
        let began = Instant::now();
        let latest_path = self.folder.checkpoint_latest();
        let traces = [&latest_path, &self.folder.checkpoint_best(), &self.folder.history_path()];
        if !resume && (traces.into_iter().any(|trace| trace.exists()) || self.folder.is_done()) {
            return Err(FoldError::Begun { path: self.folder.path().to_owned() });
        }
        let spec = self.plan.spec();
        let latest =
            if latest_path.exists() { Some(Latest::read(&latest_path, &spec, &self.plan.digest())?) } else { None };
        if self.folder.is_done() {
            // Killed between its last two acts.
            return self.remove_latest();
        }
        if let Some(latest) = &latest {
            latest.write_what_follows(&self.folder)?;
        }

        let (weights, schedule, mut history) = match &latest {
            Some(latest) => (latest.weights.clone(), latest.schedule.clone(), latest.history.clone()),
            None => (self.initial_weights()?, Schedule::new(&self.plan), Vec::new()),
        };
        let mut schedule = schedule;
        let mut network = Network::from_weights(spec, &weights, self.device, self.options())?;
        let mut guidance = Guidance::of_plan(&self.plan, &network)?;
        let of_guidance = guidance.as_ref().map(Guidance::learning).unwrap_or_default();
        let learning = network.learning().into_iter().chain(of_guidance).collect();
        let mut adam = Adam::new(learning, schedule.learning_rate())?;
        if let Some(latest) = &latest {
            adam.restore(&latest.adam)?;
            if let Some(guidance) = &mut guidance {
                guidance.restore(&latest.guidance)?;
            }
        }
        drop((weights, latest));

        let parts = [&self.subjects.train, &self.subjects.validation, &self.subjects.test];
        say(
            tell,
            &TrainerEvent::FoldStarted {
                fold: self.fold,
                epochs_done: history.len(),
                epochs: self.plan.epochs.value,
                subjects: parts.map(Vec::len),
                device: match self.device {
                    Device::Cpu => format!("cpu, {} threads", self.plan.threads.value),
                    device => device::name(device),
                },
            },
        )?;
        let pool = BufferPool::default();
        while schedule.epochs_done() < self.plan.epochs.value && !schedule.stops() {
            adam.set_learning_rate(schedule.learning_rate());
            let row = self.epoch(schedule.epochs_done() + 1, &network, guidance.as_ref(), &mut adam, &pool, tell)?;
            schedule.epoch_done(row.validation_loss);
            history.push(row.clone());
            let latest = Latest {
                plan: self.plan.digest(),
                fold: self.fold,
                weights: network.to_weights()?,
                guidance: guidance.as_ref().map_or_else(|| Ok(BTreeMap::new()), Guidance::state)?,
                adam: adam.state()?,
                schedule: schedule.clone(),
                history: history.clone(),
            };
            latest.write(&self.folder)?;
            latest.write_what_follows(&self.folder)?;
            say(tell, &TrainerEvent::Epoch(row))?;
        }

        drop((adam, guidance));
        network.set_weights(&weights_file::read_weights(&self.folder.checkpoint_best(), &spec)?)?;
        self.predict(&network, &pool)?;
        self.remove_latest()?;
        let (best_epoch, seconds) = (schedule.best_epoch(), began.elapsed().as_secs_f64());
        say(tell, &TrainerEvent::FoldDone { fold: self.fold, best_epoch, seconds })
    }

    /// Trains and validates once. `epoch` is from 1.
    fn epoch(
        &self,
        epoch: usize,
        network: &Network,
        guidance: Option<&Guidance>,
        adam: &mut Adam,
        pool: &BufferPool,
        tell: Tell,
    ) -> Result<Epoch, FoldError> {
        let began = Instant::now();
        let train = &self.subjects.train;
        let options = BatchOptions { lesions: guidance.is_some(), ..self.batch_options(epoch) };
        let mut batches = Batches::start(self.source.clone(), train.clone(), options, pool)?;
        let (steps, subjects) = (batches.count_batches(), train.len() as f64);
        let (mut loss_sum, mut seen, mut right) = (0.0, 0, 0);
        for number in 1..=steps {
            let Some(batch) = batches.next() else { break };
            let batch = batch?;
            let done = self.step(network, guidance, adam, &batch)?;
            loss_sum += done.loss * batch.labels.len() as f64;
            seen += batch.labels.len();
            let rows = predict::rows(&done.logits)?;
            right += rows
                .iter()
                .zip(&batch.labels)
                .filter(|(row, label)| (row[1] > row[0]) == (**label == FCD as i64))
                .count();
            say(tell, &TrainerEvent::Step { step: number, steps, loss: loss_sum / seen as f64 })?;
        }
        let waited_s = batches.waited().as_secs_f64();
        drop(batches);
        let validation = &self.subjects.validation;
        let logits = self.logits(network, validation, pool)?;
        let figures = Figures::of(&logits, validation);
        if !figures.loss.is_finite() {
            return Err(FoldError::Diverged { epoch, loss: figures.loss });
        }
        Ok(Epoch {
            epoch,
            train_loss: loss_sum / subjects,
            train_accuracy: right as f64 / subjects,
            validation_loss: figures.loss,
            validation_accuracy: figures.accuracy,
            validation_auc: figures.auc,
            learning_rate: adam.learning_rate(),
            seconds: began.elapsed().as_secs_f64(),
            waited_s,
        })
    }

    fn step(
        &self,
        network: &Network,
        guidance: Option<&Guidance>,
        adam: &mut Adam,
        batch: &Batch,
    ) -> Result<step::Step, StepError> {
        let of_shape = |values: &[f32]| -> Result<Tensor, TchError> {
            Tensor::f_from_slice(values)?.f_view(batch.shape.map(|edge| edge as i64))?.f_to_device(self.device)
        };
        let volumes = of_shape(&batch.images)?;
        let classes = Tensor::f_from_slice(&batch.labels)?.f_to_device(self.device)?;
        match (guidance, &batch.lesions) {
            (Some(guidance), Some(lesions)) => {
                let lesions = Lesions { shares: of_shape(&lesions.shares)?, known: lesions.known.clone() };
                step::train_guided(network, guidance, adam, &volumes, &classes, &lesions)
            }
            _ => step::train(network, adam, &volumes, &classes),
        }
    }

    /// Logits of the test and validation subjects, written durably.
    fn predict(&self, network: &Network, pool: &BufferPool) -> Result<(), FoldError> {
        let mut rows = Vec::new();
        for (part, samples) in [(Part::Test, &self.subjects.test), (Part::Validation, &self.subjects.validation)] {
            let logits = self.logits(network, samples, pool)?;
            rows.extend(samples.iter().zip(logits).map(|(sample, [logit_hc, logit_fcd])| Prediction {
                subject: sample.subject.clone(),
                fold: self.fold,
                part,
                fcd: sample.label == FCD as i64,
                logit_hc,
                logit_fcd,
            }));
        }
        Ok(write_table(&self.folder.predictions_path(), &rows)?)
    }

    fn logits(&self, network: &Network, samples: &[Sample], pool: &BufferPool) -> Result<Vec<[f64; 2]>, FoldError> {
        Ok(predict::logits(network, &self.source, samples, self.batch_options(0), pool)?)
    }

    fn initial_weights(&self) -> Result<Weights, FoldError> {
        let spec = self.plan.spec();
        let mut hash = Sha256::new();
        hash.update("initial weights");
        hash.update(self.plan.seed.to_le_bytes());
        hash.update((self.fold as u64).to_le_bytes());
        let digest = hash.finalize();
        let seed = digest.first_chunk::<8>().map_or(self.plan.seed, |bytes| u64::from_le_bytes(*bytes));
        let Some(pretrained) = &self.plan.weights else { return Ok(random_init(&spec, seed)) };
        let loaded = pretrained::load(&pretrained.path, &spec, seed)?;
        if loaded.sha256 != pretrained.sha256 {
            let (path, expected) = (pretrained.path.clone(), pretrained.sha256.clone());
            return Err(FoldError::OtherPretrained { path, expected, found: loaded.sha256 });
        }
        Ok(loaded.weights)
    }

    fn options(&self) -> Options {
        Options {
            trainable: self.plan.trainable.value,
            precision: self.plan.precision.value.into(),
            detach_shortcut: self.plan.detach_shortcut.value,
        }
    }

    fn batch_options(&self, epoch: usize) -> BatchOptions {
        let workers = loader_threads();
        let ours = Augmentation::default_profile();
        let choice = &self.plan.augmentation;
        BatchOptions {
            batch_size: self.plan.batch.value,
            workers,
            ahead: workers + 1,
            training: true,
            seed: self.plan.seed,
            fold: self.fold as u32,
            epoch: epoch as u32,
            augmentation: Some(Augmentation {
                rotation_deg: choice.rotation_deg.value,
                flip: choice.flip.value,
                intensity: ours.intensity.filter(|_| choice.intensity.value),
                protocol: ours.protocol.filter(|_| choice.protocol.value),
            }),
            background: self.plan.background.value as f32,
            lesions: false,
        }
    }

    fn remove_latest(&self) -> Result<(), FoldError> {
        let path = self.folder.checkpoint_latest();
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path.display(), e)),
            _ => Ok(()),
        }
    }

    /// Held by one process at a time; the system lets go of it when the process ends, however it does.
    fn lock(&self) -> Result<std::fs::File, FoldError> {
        let path = self.folder.path().join(".lock");
        let file = std::fs::File::create(&path).map_err(|source| io_error(path.display(), source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(FoldError::Busy { path: self.folder.path().to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(io_error(path.display(), source)),
        }
    }
}

/// Threads that prepare batches beside the step.
pub fn loader_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_LOADERS)
}

fn io_error(what: impl std::fmt::Display, source: io::Error) -> FoldError {
    FoldError::Io { what: what.to_string(), source }
}

fn say(tell: Tell, event: &TrainerEvent) -> Result<(), FoldError> {
    tell(event).map_err(|source| io_error("to standard output", source))
}
