//! One training step: forward, cross-entropy, backward, Adam.

use tch::{Reduction, TchError, Tensor};

use super::adam::{Adam, AdamError};
use super::network::{Mode, Network, NetworkError};

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// In the forward pass.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// In the loss or the backward pass.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// In the optimiser.
    #[error(transparent)]
    Adam(#[from] AdamError),
    /// The loss is infinite or not a number; no parameter was changed.
    #[error("the loss is {0}: training diverged; is the learning rate too high, or a volume not normalised?")]
    Diverged(f64),
}

/// What a step saw before it changed anything.
#[derive(Debug)]
pub struct Step {
    /// Mean cross-entropy of the batch.
    pub loss: f64,
    /// `[batch, 2]`, without autograd.
    pub logits: Tensor,
}

/// Mean cross-entropy of `[batch, 2]` logits against `[batch]` classes (64-bit integers).
///
/// # Errors
/// libtorch's.
pub fn cross_entropy(logits: &Tensor, classes: &Tensor) -> Result<Tensor, TchError> {
    logits.f_cross_entropy_loss(classes, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}

/// The gradients of a loss by the parameters that learn, in the order of [`Network::learning`].
///
/// # Errors
/// libtorch's.
pub fn gradients(loss: &Tensor, network: &Network) -> Result<Vec<Tensor>, TchError> {
    let learning: Vec<Tensor> = network.learning().into_iter().map(|(_, tensor)| tensor).collect();
    // Handed out instead of accumulated: nothing has to be zeroed, nothing is kept between steps.
    Tensor::f_run_backward(&[loss], &learning, false, false)
}

/// Trains on one batch: `[batch, 1, D, H, W]` volumes and their `[batch]` classes, both on the network's device.
///
/// # Errors
/// libtorch's, and when the loss is no finite number.
pub fn train(network: &Network, adam: &mut Adam, volumes: &Tensor, classes: &Tensor) -> Result<Step, StepError> {
    let output = network.forward(volumes, Mode::Train)?;
    let loss = cross_entropy(&output.logits, classes)?;
    let logits = output.logits.f_detach()?;
    drop(output);
    let gradients = gradients(&loss, network)?;
    let loss = f64::try_from(&loss)?;
    if !loss.is_finite() {
        return Err(StepError::Diverged(loss));
    }
    adam.step(&gradients)?;
    Ok(Step { loss, logits })
}
