//! Batches of volumes, prepared ahead of the training step by threads of their own.
//!
//! - Order and augmentation follow from seed, fold, epoch and subject; the number of workers changes nothing.
//! - At most `ahead` batches are ready or in work; buffers return to the [`BufferPool`] when a [`Batch`] drops.
//! - A training batch of one sample breaks batch normalisation: a last batch of one joins the one before it
//!   (which then has `batch_size + 1`). Other partial batches stay. Evaluation keeps order and every size.
//! - A worker's panic reaches the consumer as an error; dropping [`Batches`] early stops and joins the workers.

mod loader;
mod order;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::augment::{Augmentation, OutOfRange};
pub use loader::Batches;

/// Preprocessed volumes by index; all of one shape.
pub trait VolumeSource: Send + Sync {
    /// `[D, H, W]` of every volume.
    fn shape(&self) -> [usize; 3];
    /// The values of one volume, C order, `D·H·W` of them.
    fn volume(&self, index: usize) -> &[f32];
    /// Where the lesion of one volume is. A source that says nothing knows of none of its volumes.
    fn lesion(&self, _index: usize) -> Lesion<'_> {
        Lesion::Unknown
    }
}

/// What a [`VolumeSource`] knows of a volume's lesion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesion<'a> {
    /// It is where these values are 1 and not 0: as many as the volume has, in the same order.
    Inside(&'a [u8]),
    /// There is none: a control.
    Nowhere,
    /// There is one, and no usable mask says where. That is not the same as none.
    Unknown,
}

/// One sample of a set.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Index in the [`VolumeSource`].
    pub index: usize,
    /// Class.
    pub label: i64,
    /// The subject's key; with seed, fold and epoch it makes the augmentation.
    pub subject: String,
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct BatchOptions {
    /// Samples in a batch, at least 1 (2 for training).
    pub batch_size: usize,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Batches ready or in work at most, at least 1; give at least `workers`.
    pub ahead: usize,
    /// Shuffle, and never make a batch of one.
    pub training: bool,
    /// The plan's seed.
    pub seed: u64,
    /// Fold number.
    pub fold: u32,
    /// Epoch number.
    pub epoch: u32,
    /// `None` copies the volumes.
    pub augmentation: Option<Augmentation>,
    /// Value outside the head, as in the input specification.
    pub background: f32,
    /// Whether the lesions come along, turned as their volumes are.
    pub lesions: bool,
}

/// Why there are no batches.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A number of [`BatchOptions`] is too small.
    #[error("{field} is {found}; give at least {least}")]
    TooSmall {
        /// The option.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The least value.
        least: usize,
    },
    /// A training set of one or none.
    #[error("the training set has {0} sample(s); batch normalisation needs at least 2")]
    TooFewSamples(usize),
    /// An augmentation outside its range.
    #[error(transparent)]
    Augmentation(#[from] OutOfRange),
    /// A volume of another size than the source states.
    #[error("the volume of {subject} has {found} voxels and not {expected}; build the cache again")]
    WrongSize {
        /// The subject.
        subject: String,
        /// Voxels found.
        found: usize,
        /// Voxels of the stated shape.
        expected: usize,
    },
    /// A worker panicked.
    #[error("preparing batch {batch} failed: {message}; this is a defect, please report it")]
    Worker {
        /// Which batch, counted from 0.
        batch: usize,
        /// The panic's message.
        message: String,
    },
    /// The system gave no thread.
    #[error("cannot start a loader thread: {0}; lower the number of workers")]
    Thread(#[from] std::io::Error),
}

/// Image buffers that batches take from and return to; share one over epochs.
#[derive(Debug, Clone, Default)]
pub struct BufferPool(Arc<Mutex<Vec<Vec<f32>>>>);

impl BufferPool {
    fn take(&self, len: usize) -> Vec<f32> {
        let mut buffer = locked(&self.0).pop().unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }
}

/// Samples for one step.
#[derive(Debug)]
pub struct Batch {
    /// `[B, 1, D, H, W]` in C order.
    pub images: Vec<f32>,
    /// The class of each sample.
    pub labels: Vec<i64>,
    /// Each sample's index in the source.
    pub indices: Vec<usize>,
    /// `[B, 1, D, H, W]`.
    pub shape: [usize; 5],
    /// Where the lesions are; none where nobody asked.
    pub lesions: Option<BatchLesions>,
    pool: BufferPool,
}

/// Where the lesions of a batch are.
#[derive(Debug)]
pub struct BatchLesions {
    /// How much of each voxel belongs to the lesion, 0 to 1, of the images' shape; zeros without a lesion, and where it
    /// is unknown.
    pub shares: Vec<f32>,
    /// Of each sample, whether its lesion, or that it has none, is known.
    pub known: Vec<bool>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut free = locked(&self.pool.0);
        free.push(std::mem::take(&mut self.images));
        free.extend(self.lesions.take().map(|lesions| lesions.shares));
    }
}

/// No lock is held while a stranger's code runs, so a poisoned one still guards whole data.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
