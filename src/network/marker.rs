//! The marker network: the same ResNet with weights written by hand, for proofs of place.
//!
//! It answers to a bright marker (a ball of 4 to 6 mm radius, many standard deviations above any tissue)
//! wherever it lies in the field of view, and stays silent for a head without one. Its map peaks in the
//! cell nearest to the marker. No training, no data: what it proves is that positions survive the whole
//! chain from DICOM to the report.
//!
//! How the ordinary layers do it:
//! 1. **Stem**: two channels take a local mean (3×3×3, weights 1/4, 1/2, 1/4); BatchNorm subtracts [`THRESHOLD_Z`] from it, and one more
//!    from the second channel. After ReLU, first minus second is 0 for tissue and 1 from one standard
//!    deviation above the threshold on, so the answer does not depend on the marker's brightness.
//! 2. **Maximum pooling** carries both on; identity shortcuts pass them through blocks whose main path is 0.
//! 3. **Every strided block** spreads the signal by a separable kernel `[a, 1, a]` with a stride of 2, so
//!    that no position falls between the samples. With `a` below 1 the nearest output always gets most.
//!    The result goes into a channel that the shortcut leaves at 0: projections have zero weights, and
//!    type A appends zero channels.
//! 4. **The last strided block** flattens: it adds up copies of the signal with growing gains, each clipped
//!    at 1 (two channels, one with a bias of -1, subtracted by the next convolution). A marker beyond the
//!    last cell's centre, of which hardly anything arrives, still gives a clear answer.
//! 5. **The classifier** turns that into logits: [`CELL_LOGIT`] at most per cell, [`SILENT_LOGIT`] without
//!    a marker.

use std::collections::BTreeMap;

use super::spec::{BATCH_NORM_EPSILON, Block, ConvNorm, FCD, NetworkSpec, Shortcut};
use super::weights::{Tensor, Weights, WeightsError};

/// Local mean of the z-scored input from which on the network answers. A ball of 4 mm in voxels of 2 mm
/// needs about 7 standard deviations to reach it between two samples of the strided stem.
pub const THRESHOLD_Z: f32 = 4.0;

/// Largest value of the map, logit units.
pub const CELL_LOGIT: f32 = 15.0;

/// Regions of the map lie above this value.
pub const MAP_THRESHOLD_LOGIT: f32 = 4.5;

/// FCD logit without a marker: a probability of 0.047.
pub const SILENT_LOGIT: f32 = -3.0;

/// Outer weights of the spreading kernel along each axis.
const SIDE_TAP: f32 = 0.7;

/// Gains of the clipped copies in the last strided block.
const GAINS: [f32; 4] = [1.0 / 256.0, 1.0 / 32.0, 1.0 / 4.0, 2.0];

/// Smallest width that has a channel for every copy in every architecture.
const SMALLEST_WIDTH: usize = 2;

/// A channel that carries the signal, and the sign with which it counts.
type Signal = Vec<(usize, f32)>;

/// The marker network's weights for an input `[D, H, W]` (the classifier depends on the number of cells).
///
/// # Errors
/// [`WeightsError::TooNarrow`] for a width below 2.
pub fn marker_weights(spec: &NetworkSpec, input_shape: [usize; 3]) -> Result<Weights, WeightsError> {
    if spec.width < SMALLEST_WIDTH {
        return Err(WeightsError::TooNarrow { width: spec.width, needed: SMALLEST_WIDTH });
    }
    let mut hand = Hand::silent(spec);
    let stem = spec.stem();
    for channel in [0, 1] {
        hand.local_mean(&stem, channel);
        hand.set(&format!("{}.running_mean", stem.norm), channel, THRESHOLD_Z);
    }
    hand.set(&format!("{}.bias", stem.norm), 1, -1.0);
    let mut signal: Signal = vec![(0, 1.0), (1, -1.0)];

    let blocks = spec.blocks();
    let last_strided = blocks.iter().rposition(is_strided);
    for (index, block) in blocks.iter().enumerate() {
        if is_strided(block) {
            signal = hand.spread(block, &signal, Some(index) == last_strided);
        } else if block.shortcut != Shortcut::Identity {
            hand.carry(block, &signal);
        }
    }

    let cells: usize = spec.map_shape(input_shape).iter().product();
    for (channel, sign) in signal {
        hand.set("fc.weight", FCD * spec.feature_channels() + channel, sign * CELL_LOGIT * cells as f32);
    }
    hand.set("fc.bias", FCD, SILENT_LOGIT);
    Weights::new(spec, hand.tensors)
}

fn is_strided(block: &Block) -> bool {
    block.convs.iter().any(|conv| conv.stride != [1; 3])
}

/// Tensors while they are being written.
struct Hand {
    tensors: BTreeMap<String, Tensor>,
}

impl Hand {
    /// All convolutions zero and all BatchNorms the identity.
    fn silent(spec: &NetworkSpec) -> Self {
        let mut tensors: BTreeMap<String, Tensor> = spec
            .parameters()
            .into_iter()
            .map(|parameter| {
                let zeros = Tensor::filled(&parameter.shape, 0.0);
                (parameter.name, zeros)
            })
            .collect();
        for layer in spec.conv_norms() {
            let channels = [layer.out_channels];
            tensors.insert(format!("{}.weight", layer.norm), Tensor::filled(&channels, 1.0));
            let variance = (1.0 - BATCH_NORM_EPSILON) as f32;
            tensors.insert(format!("{}.running_var", layer.norm), Tensor::filled(&channels, variance));
        }
        Hand { tensors }
    }

    fn set(&mut self, name: &str, index: usize, value: f32) {
        if let Some(slot) = self.tensors.get_mut(name).and_then(|tensor| tensor.data.get_mut(index)) {
            *slot = value;
        }
    }

    /// Sets one tap of a kernel; `tap` counts from the kernel's corner.
    fn tap(&mut self, layer: &ConvNorm, from: usize, to: usize, tap: [usize; 3], value: f32) {
        let k = layer.kernel;
        let index = (((to * layer.in_channels + from) * k + tap[0]) * k + tap[1]) * k + tap[2];
        self.set(&format!("{}.weight", layer.conv), index, value);
    }

    /// A kernel that only takes the sample in the middle.
    fn middle(&mut self, layer: &ConvNorm, from: usize, to: usize, value: f32) {
        self.tap(layer, from, to, [layer.kernel / 2; 3], value);
    }

    /// A local mean in the middle of the stem's kernel, separable with weights 1/4, 1/2, 1/4.
    fn local_mean(&mut self, stem: &ConvNorm, to: usize) {
        let begin = (stem.kernel - 3) / 2;
        let weights = [0.25, 0.5, 0.25];
        for [d, h, w] in taps(3) {
            self.tap(stem, 0, to, [begin + d, begin + h, begin + w], weights[d] * weights[h] * weights[w]);
        }
    }

    /// The separable kernel `[a, 1, a]`, times `gain`.
    fn spreading_kernel(&mut self, layer: &ConvNorm, from: usize, to: usize, gain: f32) {
        let weights = [SIDE_TAP, 1.0, SIDE_TAP];
        for [d, h, w] in taps(3) {
            self.tap(layer, from, to, [d, h, w], gain * weights[d] * weights[h] * weights[w]);
        }
    }

    /// A block that keeps its grid but has no identity shortcut: the main path copies the signal.
    fn carry(&mut self, block: &Block, signal: &Signal) {
        for layer in &block.convs {
            for &(channel, _) in signal {
                self.middle(layer, channel, channel, 1.0);
            }
        }
    }

    /// A strided block: returns the channel in which the spread signal leaves it.
    fn spread(&mut self, block: &Block, signal: &Signal, flatten: bool) -> Signal {
        let mut signal = signal.clone();
        let last = block.convs.len() - 1;
        // Behind the channels that a type-A shortcut copies.
        let target = block.in_channels();
        for (index, layer) in block.convs.iter().enumerate() {
            if layer.stride == [1; 3] {
                let to = if index == last { target } else { 0 };
                for &(from, sign) in &signal {
                    self.middle(layer, from, to, sign);
                }
                signal = vec![(to, 1.0)];
            } else if flatten {
                let share = 1.0 / GAINS.len() as f32;
                let mut clipped = Vec::new();
                for (copy, gain) in GAINS.into_iter().enumerate() {
                    for (to, sign) in [(2 * copy, 1.0), (2 * copy + 1, -1.0)] {
                        for &(from, incoming) in &signal {
                            self.spreading_kernel(layer, from, to, gain * incoming);
                        }
                        clipped.push((to, sign * share));
                    }
                    self.set(&format!("{}.bias", layer.norm), 2 * copy + 1, -1.0);
                }
                signal = clipped;
            } else {
                for &(from, sign) in &signal {
                    self.spreading_kernel(layer, from, 0, sign);
                }
                signal = vec![(0, 1.0)];
            }
        }
        signal
    }
}

/// Every index of a cube.
fn taps(edge: usize) -> impl Iterator<Item = [usize; 3]> {
    (0..edge.pow(3)).map(move |i| [i / (edge * edge), i / edge % edge, i % edge])
}
