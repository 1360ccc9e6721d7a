//! Logits of subjects, by the network as it is, without augmentation.

use std::sync::Arc;

use fcdd::network::spec::FCD;
use fcdd::research::statistics::roc;
use fcdd::research::training::batches::{BatchError, BatchOptions, Batches, BufferPool, Sample, VolumeSource};
use tch::{TchError, Tensor};

use super::network::{Mode, Network, NetworkError};

/// No logits could be had.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// Loading failed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The forward pass failed; running out of memory is such an error.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// libtorch's own.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// Logits `[no FCD, FCD]` of each sample, in the samples' order.
///
/// # Errors
/// When a volume cannot be loaded, or libtorch refuses.
pub fn logits<S: VolumeSource + 'static>(
    network: &Network,
    source: &Arc<S>,
    samples: &[Sample],
    options: BatchOptions,
    pool: &BufferPool,
) -> Result<Vec<[f64; 2]>, PredictError> {
    let _no_grad = tch::no_grad_guard();
    let options = BatchOptions { training: false, augmentation: None, ..options };
    let mut all = Vec::with_capacity(samples.len());
    for batch in Batches::start(source.clone(), samples.to_vec(), options, pool)? {
        let batch = batch?;
        let shape = batch.shape.map(|edge| edge as i64);
        let volumes = Tensor::f_from_slice(&batch.images)?.f_view(shape)?.f_to_device(network.device())?;
        let output = network.forward(&volumes, Mode::Evaluate)?;
        all.extend(rows(&output.logits)?);
    }
    Ok(all)
}

/// The rows of `[batch, 2]` logits.
///
/// # Errors
/// libtorch's.
pub fn rows(logits: &Tensor) -> Result<Vec<[f64; 2]>, TchError> {
    let flat = Vec::<f32>::try_from(&logits.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_view(-1)?)?;
    Ok(flat.as_chunks::<2>().0.iter().map(|row| row.map(f64::from)).collect())
}

/// Figures of a set of subjects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of subjects whose larger logit is their class.
    pub accuracy: f64,
    /// Area under the ROC curve; none with one class.
    pub auc: Option<f64>,
}

impl Figures {
    /// Of logits and the classes of the same subjects.
    pub fn of(logits: &[[f64; 2]], samples: &[Sample]) -> Self {
        let count = logits.len().max(1) as f64;
        let (mut loss, mut right) = (0.0, 0);
        for (row, sample) in logits.iter().zip(samples) {
            let [own, other] = if sample.label == FCD as i64 { [row[1], row[0]] } else { *row };
            // −ln softmax = ln(1 + e^(other − own)), without overflow.
            let gap = other - own;
            loss += gap.max(0.0) + (-gap.abs()).exp().ln_1p();
            right += usize::from((row[1] > row[0]) == (sample.label == FCD as i64));
        }
        let labels: Vec<bool> = samples.iter().map(|sample| sample.label == FCD as i64).collect();
        let scores: Vec<f64> = logits.iter().map(|row| row[1] - row[0]).collect();
        Figures { loss: loss / count, accuracy: right as f64 / count, auc: roc::auc(&labels, &scores) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn the_loss_is_libtorchs_cross_entropy() {
        let logits = [[0.3, -1.2], [2.0, 2.5], [-0.4, 0.9], [50.0, -50.0]];
        let labels = [0_i64, 1, 0, 1];
        let samples: Vec<Sample> =
            labels.iter().map(|label| Sample { index: 0, label: *label, subject: String::new() }).collect();
        let figures = Figures::of(&logits, &samples);
        let tensor = Tensor::from_slice2(&logits).to_kind(Kind::Double);
        let theirs = super::super::step::cross_entropy(&tensor, &Tensor::from_slice(&labels)).unwrap();
        let theirs = f64::try_from(theirs).unwrap();
        assert!((figures.loss - theirs).abs() < 1e-12, "{} {theirs}", figures.loss);
        // By hand: subjects 1 and 2 are right; of the four pairs the FCD logit wins (2,1) and nothing else.
        assert!((figures.accuracy - 0.5).abs() < 1e-12);
        assert_eq!(figures.auc, Some(0.25));
    }
}
