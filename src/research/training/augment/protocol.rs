//! Scanner-protocol variation: point spread, thicker slices, receive-coil bias. Background is untouched.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::axis_map::AxisMap;
use super::{Scratch, range, uniform};

/// Ranges of the protocol variation; each sample draws uniformly within them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Largest standard deviation (voxels) of the Gaussian point spread, drawn per axis; 0 to 2.
    pub blur_sigma_voxels: f64,
    /// Largest slice thickness (voxels) along one axis drawn at random; 1 (none) to 6.
    pub thickness_voxels: f64,
    /// Largest logarithm of the bias field's gain, drawn per axis; 0 to 0.5.
    pub log_bias: f64,
}

impl Protocol {
    pub(super) fn limits(&self) -> [(&'static str, f64, f64); 3] {
        [
            ("protocol.blur_sigma_voxels", self.blur_sigma_voxels, 2.0),
            ("protocol.thickness_voxels", self.thickness_voxels, 6.0),
            ("protocol.log_bias", self.log_bias, 0.5),
        ]
    }

    /// Varies a `[D, H, W]` volume in place. The head (`scratch.head`) mixes with its surroundings at its
    /// edge, as in a scanner; voxels of the background keep their value.
    pub(super) fn apply(
        &self,
        shape: [usize; 3],
        background: f32,
        values: &mut [f32],
        scratch: &mut Scratch,
        random: &mut ChaCha20Rng,
    ) {
        let sigmas = [(); 3].map(|()| uniform(random, 0.0, self.blur_sigma_voxels));
        let thick_axis = (random.next_u64() % 3) as usize;
        let thickness = uniform(random, 1.0, self.thickness_voxels.max(1.0));
        // What happens along one axis does not touch the others, so blur and thickness share a pass.
        for (axis, sigma) in sigmas.into_iter().enumerate() {
            let thickness = if axis == thick_axis { thickness } else { 1.0 };
            if let Some(map) = AxisMap::new(shape[axis], sigma, thickness) {
                map.apply(shape, axis, background, values, &mut scratch.lines);
            }
        }
        // exp of a linear and a quadratic term per axis is a product of three tables: no exp per voxel.
        for (axis, table) in scratch.bias.iter_mut().enumerate() {
            let linear = uniform(random, -self.log_bias, self.log_bias) / 2.0;
            let quadratic = uniform(random, -self.log_bias, self.log_bias) / 2.0;
            let half = (shape[axis] as f64 - 1.0).max(1.0) / 2.0;
            table.clear();
            table.extend((0..shape[axis]).map(|i| {
                let x = (i as f64 - (shape[axis] as f64 - 1.0) / 2.0) / half;
                (linear * x + quadratic * x * x).exp() as f32
            }));
        }
        // A coil multiplies signal, not z-scores: the head's lowest value stands for no signal.
        let (low, _) = range(values, &scratch.head);
        let [depth, height, width] = &scratch.bias;
        let rows = values.chunks_exact_mut(shape[2]).zip(scratch.head.chunks_exact(shape[2]));
        for (line, (row, head)) in rows.enumerate() {
            let gain = depth[line / shape[1]] * height[line % shape[1]];
            for ((value, inside), w) in row.iter_mut().zip(head).zip(width) {
                *value = if *inside { low + (*value - low) * (gain * w) } else { background };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// The logarithm of the field has no mixed terms: it is a sum over the axes, within the amount asked for.
    #[test]
    fn the_bias_field_is_smooth_and_within_its_amount() {
        let shape = [9, 8, 7];
        let bias = Protocol { blur_sigma_voxels: 0.0, thickness_voxels: 1.0, log_bias: 0.5 };
        // Zero is the head's lowest value, so each other voxel's value is the gain there.
        let mut values = vec![1f32; 9 * 8 * 7];
        values[0] = 0.0;
        let mut scratch = Scratch { head: vec![true; values.len()], ..Scratch::default() };
        scratch.head[5] = false;
        bias.apply(shape, -3.0, &mut values, &mut scratch, &mut ChaCha20Rng::seed_from_u64(3));
        assert_eq!([values[0], values[5]], [0.0, -3.0]);
        let log = |d: usize, h: usize, w: usize| f64::from(values[(d * 8 + h) * 7 + w]).ln();
        for (d, h, w) in [(1, 1, 1), (8, 7, 6), (4, 2, 5)] {
            let sum = log(d, 1, 1) + log(1, h, 1) + log(1, 1, w) - 2.0 * log(1, 1, 1);
            assert!((log(d, h, w) - sum).abs() < 1e-5);
            assert!(log(d, h, w).abs() <= 1.5);
        }
        assert!((log(8, 1, 1) - log(1, 1, 1)).abs() > 1e-3);
    }
}
