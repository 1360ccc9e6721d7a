//! One training step: forward, cross-entropy, backward, Adam.

use tch::{Reduction, TchError, Tensor};

use super::adam::{Adam, AdamError};
use super::guidance::{Guidance, Lesions};
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
    /// Mean cross-entropy of the batch, without what guidance adds.
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
    gradients_by(loss, &learning)
}

fn gradients_by(loss: &Tensor, learning: &[Tensor]) -> Result<Vec<Tensor>, TchError> {
    // Handed out instead of accumulated: nothing has to be zeroed, nothing is kept between steps.
    Tensor::f_run_backward(&[loss], learning, false, false)
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
    descend(adam, &gradients(&loss, network)?, &loss)?;
    Ok(Step { loss: f64::try_from(&loss)?, logits })
}

/// As [`train`], with what [`Guidance`] adds to the loss. `adam` is of the network's parameters and then the
/// guidance's.
///
/// # Errors
/// As [`train`].
pub fn train_guided(
    network: &Network,
    guidance: &Guidance,
    adam: &mut Adam,
    volumes: &Tensor,
    classes: &Tensor,
    lesions: &Lesions,
) -> Result<Step, StepError> {
    let (output, stages) = network.forward_with_stages(volumes, Mode::Train)?;
    let loss = cross_entropy(&output.logits, classes)?;
    let whole = loss.f_add(&guidance.loss(network, &output, &stages, lesions)?)?;
    let logits = output.logits.f_detach()?;
    drop((output, stages));
    let learning: Vec<Tensor> =
        network.learning().into_iter().chain(guidance.learning()).map(|(_, tensor)| tensor).collect();
    descend(adam, &gradients_by(&whole, &learning)?, &whole)?;
    Ok(Step { loss: f64::try_from(&loss)?, logits })
}

/// Steps along the gradients of a loss that is a number.
fn descend(adam: &mut Adam, gradients: &[Tensor], loss: &Tensor) -> Result<(), StepError> {
    let loss = f64::try_from(loss)?;
    if !loss.is_finite() {
        return Err(StepError::Diverged(loss));
    }
    Ok(adam.step(gradients)?)
}
