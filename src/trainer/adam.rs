//! Adam, with its moments in our hands, so that a resumed training equals an uninterrupted one bit for bit.
//!
//! Kingma & Ba (2015), algorithm 1, as `torch.optim.Adam` computes it (no weight decay, no AMSGrad):
//!
//! ```text
//! m ← m + (1 − β₁)(g − m)          v ← v + (1 − β₂)(g² − v)
//! θ ← θ − α/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
//! ```
//!
//! All in place, in pieces that stay in the processor's cache: seven passes over 33 million parameters would otherwise
//! be as many passes over main memory. Each element is computed by itself, so neither the pieces nor the number of
//! threads change a bit of the result.

use std::collections::BTreeMap;

use fcdd::network::Tensor as WeightTensor;
use tch::{Device, Kind, TchError, Tensor};

use super::network::{from_tensor, to_tensor};

/// Decay of the first moment (PyTorch's default).
const BETA_1: f64 = 0.9;
/// Decay of the second moment (PyTorch's default).
const BETA_2: f64 = 0.999;
/// Added to the denominator (PyTorch's default).
const EPSILON: f64 = 1e-8;

/// Elements per piece on the CPU: five pieces of 4 bytes each fit a processor's cache.
const PIECE: i64 = 1 << 17;

/// What goes on with an optimiser's work does not fit, or libtorch refused.
#[derive(Debug, thiserror::Error)]
pub enum AdamError {
    /// There is a gradient for each parameter that learns.
    #[error("{found} gradients for {expected} parameters")]
    Gradients {
        /// Number of parameters.
        expected: usize,
        /// Number of gradients.
        found: usize,
    },
    /// The state was saved by an optimiser of other parameters.
    #[error("the optimiser's state is not this network's: {name:?} is missing, left over, or not of shape {shape:?}")]
    State {
        /// The moment.
        name: String,
        /// The shape it should have; empty for one that is left over.
        shape: Vec<i64>,
    },
    /// libtorch's own.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// What a resumed optimiser needs. Moments are named after their parameter: `fc.bias.first_moment`,
/// `fc.bias.second_moment`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamState {
    /// Steps done.
    pub steps: u64,
    /// Learning rate of the next step.
    pub learning_rate: f64,
    /// Both moments of every parameter.
    pub moments: BTreeMap<String, WeightTensor>,
}

/// The optimiser of the parameters that it was given.
#[derive(Debug)]
pub struct Adam {
    parameters: Vec<Parameter>,
    steps: u64,
    learning_rate: f64,
    /// Squared gradients, then denominators, of one piece.
    scratch: Tensor,
}

/// Flat views: all share their storage with what they are views of.
#[derive(Debug)]
struct Parameter {
    name: String,
    shape: Vec<i64>,
    values: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
}

impl Parameter {
    fn moments(&self) -> [(String, &Tensor); 2] {
        let name = &self.name;
        [(format!("{name}.first_moment"), &self.first_moment), (format!("{name}.second_moment"), &self.second_moment)]
    }
}

impl Adam {
    /// An optimiser that has not done a step, of [`super::network::Network::learning`].
    ///
    /// # Errors
    /// libtorch's: no memory for the moments.
    pub fn new(learning: Vec<(String, Tensor)>, learning_rate: f64) -> Result<Self, AdamError> {
        let mut parameters = Vec::new();
        let (mut largest, mut device, mut kind) = (0, Device::Cpu, Kind::Float);
        for (name, tensor) in learning {
            let values = tensor.f_detach()?.f_view(-1)?;
            (device, kind) = (values.device(), values.kind());
            largest = largest.max(values.size().iter().product());
            parameters.push(Parameter {
                name,
                shape: tensor.size(),
                first_moment: values.f_zeros_like()?,
                second_moment: values.f_zeros_like()?,
                values,
            });
        }
        let scratch = Tensor::f_zeros([largest.min(piece_length(device))], (kind, device))?;
        Ok(Adam { parameters, steps: 0, learning_rate, scratch })
    }

    /// The learning rate α of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Sets the learning rate of the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// One step along these gradients, one per parameter.
    ///
    /// # Errors
    /// When there are more or fewer gradients than parameters, or one has another shape.
    pub fn step(&mut self, gradients: &[Tensor]) -> Result<(), AdamError> {
        if gradients.len() != self.parameters.len() {
            return Err(AdamError::Gradients { expected: self.parameters.len(), found: gradients.len() });
        }
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        let steps = self.steps as f64;
        let step_size = self.learning_rate / (1.0 - BETA_1.powf(steps));
        if step_size == 0.0 {
            return Ok(()); // it would be the divisor below
        }
        // θ ← θ + m / d with d = −(√v/√(1 − β₂ᵗ) + ε)/step_size: addcdiv then needs no factor of its own.
        let root_factor = -1.0 / ((1.0 - BETA_2.powf(steps)).sqrt() * step_size);
        let epsilon = -EPSILON / step_size;
        for (parameter, gradient) in self.parameters.iter().zip(gradients) {
            let gradient = gradient.f_reshape([-1_i64])?;
            let count = parameter.values.size().iter().product::<i64>();
            let piece = piece_length(gradient.device());
            let mut start = 0;
            while start < count {
                let length = piece.min(count - start);
                let of = |tensor: &Tensor| tensor.f_narrow(0, start, length);
                let gradient = of(&gradient)?;
                let mut first_moment = of(&parameter.first_moment)?;
                let mut second_moment = of(&parameter.second_moment)?;
                let mut scratch = self.scratch.f_narrow(0, 0, length)?;
                let _ = first_moment.f_lerp_(&gradient, 1.0 - BETA_1)?;
                let _ = gradient.f_square_out(&scratch)?;
                let _ = second_moment.f_lerp_(&scratch, 1.0 - BETA_2)?;
                let _ = second_moment.f_sqrt_out(&scratch)?;
                let _ = scratch.f_mul_scalar_(root_factor)?.f_add_scalar_(epsilon)?;
                let _ = of(&parameter.values)?.f_addcdiv_(&first_moment, &scratch)?;
                start += length;
            }
        }
        Ok(())
    }

    /// A copy of everything that the steps so far left behind.
    ///
    /// # Errors
    /// libtorch's.
    pub fn state(&self) -> Result<AdamState, AdamError> {
        let mut moments = BTreeMap::new();
        for parameter in &self.parameters {
            for (name, moment) in parameter.moments() {
                moments.insert(name, from_tensor(&moment.f_view(parameter.shape.as_slice())?)?);
            }
        }
        Ok(AdamState { steps: self.steps, learning_rate: self.learning_rate, moments })
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it is the state of other parameters; nothing is changed then.
    pub fn restore(&mut self, state: &AdamState) -> Result<(), AdamError> {
        let mut expected = 0;
        for parameter in &self.parameters {
            for (name, _) in parameter.moments() {
                expected += 1;
                let fits = state
                    .moments
                    .get(&name)
                    .is_some_and(|moment| moment.shape.iter().map(|&n| n as i64).eq(parameter.shape.iter().copied()));
                if !fits {
                    return Err(AdamError::State { name, shape: parameter.shape.clone() });
                }
            }
        }
        if state.moments.len() != expected {
            let known: Vec<String> =
                self.parameters.iter().flat_map(|parameter| parameter.moments().map(|(name, _)| name)).collect();
            let left_over = state.moments.keys().find(|name| !known.contains(name));
            return Err(AdamError::State { name: left_over.cloned().unwrap_or_default(), shape: Vec::new() });
        }
        let _no_grad = tch::no_grad_guard();
        for parameter in &mut self.parameters {
            let [first, second] = parameter.moments().map(|(name, _)| name);
            for (name, moment) in [(first, &mut parameter.first_moment), (second, &mut parameter.second_moment)] {
                if let Some(saved) = state.moments.get(&name) {
                    moment.f_copy_(&to_tensor(saved)?.f_view(-1)?)?;
                }
            }
        }
        self.steps = state.steps;
        self.learning_rate = state.learning_rate;
        Ok(())
    }
}

/// On a GPU each operation is a launch and memory is fast: whole tensors there.
fn piece_length(device: Device) -> i64 {
    if device == Device::Cpu { PIECE } else { i64::MAX }
}
