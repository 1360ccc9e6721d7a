//! Scanner-protocol variation: point spread, thicker slices, receive-coil bias. Background is untouched.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::{Scratch, range, uniform};
use crate::volume::resample::half_kernel;

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
        for axis in 0..3 {
            let sigma = uniform(random, 0.0, self.blur_sigma_voxels);
            if sigma >= 0.1 {
                let kernel = half_kernel(sigma);
                along(shape, axis, values, scratch, |line, out| smooth(&kernel, line, out));
            }
        }
        let axis = (random.next_u64() % 3) as usize;
        let thickness = uniform(random, 1.0, self.thickness_voxels.max(1.0));
        if thickness > 1.05 {
            along(shape, axis, values, scratch, |line, out| thicken(thickness, line, out));
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

/// Lines gathered together, so that a line across slices is not read one cache line per voxel.
const LINES: usize = 16;

/// Applies `change` to every line along an axis, through the worker's scratch.
fn along(
    shape: [usize; 3],
    axis: usize,
    values: &mut [f32],
    scratch: &mut Scratch,
    mut change: impl FnMut(&[f32], &mut [f32]),
) {
    let len = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    scratch.lines.resize(len * LINES, 0.0);
    scratch.changed.resize(len, 0.0);
    for block in values.chunks_exact_mut(len * inner) {
        for first in (0..inner).step_by(LINES) {
            let lines = LINES.min(inner - first);
            for (i, plane) in block.chunks_exact(inner).enumerate() {
                for (l, value) in plane[first..first + lines].iter().enumerate() {
                    scratch.lines[l * len + i] = *value;
                }
            }
            for l in 0..lines {
                let line = &mut scratch.lines[l * len..(l + 1) * len];
                change(line, &mut scratch.changed);
                line.copy_from_slice(&scratch.changed);
            }
            for (i, plane) in block.chunks_exact_mut(inner).enumerate() {
                for (l, value) in plane[first..first + lines].iter_mut().enumerate() {
                    *value = scratch.lines[l * len + i];
                }
            }
        }
    }
}

/// Convolution with a symmetric kernel (centre first), the edge value held.
fn smooth(half: &[f32], line: &[f32], out: &mut [f32]) {
    let last = line.len() - 1;
    for (i, value) in out.iter_mut().enumerate() {
        *value = half[0] * line[i];
        for (offset, weight) in half.iter().enumerate().skip(1) {
            *value += weight * (line[i.saturating_sub(offset)] + line[(i + offset).min(last)]);
        }
    }
}

/// Each slice of `thickness` voxels becomes its mean, and the slices are joined by linear interpolation.
fn thicken(thickness: f64, line: &[f32], out: &mut [f32]) {
    let slices = ((line.len() as f64 / thickness).ceil() as usize).max(1);
    let mean = |slice: usize| {
        let first = ((slice as f64 * thickness) as usize).min(line.len() - 1);
        let end = (((slice + 1) as f64 * thickness) as usize).clamp(first + 1, line.len());
        line[first..end].iter().sum::<f32>() / (end - first) as f32
    };
    for (i, value) in out.iter_mut().enumerate() {
        let position = ((i as f64 + 0.5) / thickness - 0.5).clamp(0.0, slices as f64 - 1.0);
        let low = position as usize;
        let (a, b) = (mean(low), mean((low + 1).min(slices - 1)));
        *value = a + (b - a) * (position - low as f64) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thick_slices_keep_a_constant_and_flatten_a_point() {
        let mut out = vec![0.0; 12];
        thicken(3.0, &[2.0; 12], &mut out);
        assert!(out.iter().all(|v| (v - 2.0).abs() < 1e-6));
        let mut line = [0.0; 12];
        line[4] = 3.0;
        thicken(3.0, &line, &mut out);
        // Voxel 4 is the middle of the second slice, whose mean is one.
        assert!((out[4] - 1.0).abs() < 1e-6 && out[0] == 0.0 && (out[3] - 2.0 / 3.0).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn smoothing_works_along_each_axis_alone() {
        let shape = [5, 6, 20];
        let kernel = half_kernel(0.8);
        for axis in 0..3 {
            let mut values = vec![0.0; 600];
            values[(2 * 6 + 3) * 20 + 10] = 1.0;
            along(shape, axis, &mut values, &mut Scratch::default(), |line, out| smooth(&kernel, line, out));
            let step = [120, 20, 1][axis];
            let centre = (2 * 6 + 3) * 20 + 10;
            assert_eq!([values[centre], values[centre + step]], [kernel[0], kernel[1]]);
            assert!((values.iter().sum::<f32>() - 1.0).abs() < 0.01);
        }
    }
}
