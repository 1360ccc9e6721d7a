//! Trilinear resampling of a volume onto another grid, and the low-pass filter that belongs before it.
//!
//! Serving and training share this code; together with the head mask it *is* the preprocessing `fcdd-2`.
//! What it fixes:
//!
//! - Both affines are composed once (target index → LPS → source index), in `f64`; no voxel is visited
//!   through anything but that map, so the result has the exact place that its grid states.
//! - A voxel reaches half a spacing beyond its centre: up to there the outermost value is held, beyond it
//!   the caller's `outside` value is written ([`trilinear`]) or the value is held for ever ([`trilinear_clamped`]).
//! - Trilinear interpolation alone aliases when the target is coarser than the source. [`low_pass`] makes
//!   the source's point spread that of the target first: along each source axis finer than the target
//!   spacing `t`, a Gaussian of full width at half maximum `sqrt(t² − s²)`, cut at 3 σ and normalised, with
//!   the edge value held. Nothing happens along axes that are as coarse as the target.

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView3, Axis, s};

use super::{Affine, Grid, SingularAffine, Volume};

/// Full width at half maximum of a Gaussian, in standard deviations.
const FWHM_PER_SIGMA: f64 = 2.354_820_045_030_949;
/// Filters narrower than this (in voxels) change nothing worth the pass.
const SMALLEST_SIGMA_VOXELS: f64 = 0.1;

/// Samples `source` at every voxel centre of `target`; positions more than half a voxel outside the source
/// get `outside`.
///
/// # Errors
/// When the source's affine has no inverse.
pub fn trilinear(source: &Volume, target: &Grid, outside: f32) -> Result<Array3<f32>, SingularAffine> {
    resample(source, target, Some(outside))
}

/// Samples `source` at every voxel centre of `target`; positions outside take the nearest edge's value.
///
/// # Errors
/// When the source's affine has no inverse.
pub fn trilinear_clamped(source: &Volume, target: &Grid) -> Result<Array3<f32>, SingularAffine> {
    resample(source, target, None)
}

fn resample(source: &Volume, target: &Grid, outside: Option<f32>) -> Result<Array3<f32>, SingularAffine> {
    let walk = IndexWalk::new(target, &source.grid())?;
    let mut out = Array3::from_elem(target.shape, outside.unwrap_or(0.0));
    let source = source.data.as_standard_layout();
    let Some(sampler) = Sampler::new(source.view()) else {
        return Ok(out); // A source without voxels covers nothing.
    };
    out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i0, mut slab)| {
        for (i1, mut row) in slab.outer_iter_mut().enumerate() {
            let start = walk.row_start(i0, i1);
            for (i2, value) in row.iter_mut().enumerate() {
                let position = walk.along_row(start, i2);
                *value = match outside {
                    Some(constant) if !sampler.covers(position) => constant,
                    _ => sampler.at(position),
                };
            }
        }
    });
    Ok(out)
}

/// The indices of one grid expressed in another grid's index space, row by row without allocation.
#[derive(Debug, Clone, Copy)]
pub struct IndexWalk {
    map: Affine,
}

impl IndexWalk {
    /// The walk over `from`'s indices in `to`'s index space.
    ///
    /// # Errors
    /// When `to`'s affine has no inverse.
    pub fn new(from: &Grid, to: &Grid) -> Result<Self, SingularAffine> {
        Ok(IndexWalk { map: to.affine.inverse()?.after(&from.affine) })
    }

    /// Where `[i0, i1, 0]` lies.
    #[inline]
    pub fn row_start(&self, i0: usize, i1: usize) -> [f64; 3] {
        self.map.apply([i0 as f64, i1 as f64, 0.0])
    }

    /// Where the row's voxel `i2` lies. A product, not a running sum: rounding does not pile up along a row.
    #[inline]
    pub fn along_row(&self, start: [f64; 3], i2: usize) -> [f64; 3] {
        let k = i2 as f64;
        let m = &self.map.rows;
        [start[0] + k * m[0][2], start[1] + k * m[1][2], start[2] + k * m[2][2]]
    }
}

/// Trilinear look-up by index.
#[derive(Debug, Clone, Copy)]
pub struct Sampler<'a> {
    values: &'a [f32],
    shape: [usize; 3],
    last: [f64; 3],
}

impl<'a> Sampler<'a> {
    /// A sampler of values in C order; `None` when they are not contiguous, or none.
    pub fn new(data: ArrayView3<'a, f32>) -> Option<Self> {
        let (a, b, c) = data.dim();
        let values = data.to_slice().filter(|v| !v.is_empty())?;
        Some(Sampler { values, shape: [a, b, c], last: [a, b, c].map(|n| n as f64 - 1.0) })
    }

    /// Whether a position lies in the extent of some voxel.
    #[inline]
    pub fn covers(&self, p: [f64; 3]) -> bool {
        (0..3).all(|a| p[a] >= -0.5 && p[a] <= self.last[a] + 0.5)
    }

    /// The value at a position, held beyond the outermost voxel centres.
    #[inline]
    pub fn at(&self, p: [f64; 3]) -> f32 {
        let mut low = [0usize; 3];
        let mut high = [0usize; 3];
        let mut t = [0f32; 3];
        for a in 0..3 {
            // A NaN position ends as index 0 by the saturating cast; an affine with an inverse makes none.
            let x = p[a].clamp(0.0, self.last[a]);
            low[a] = x as usize;
            high[a] = (low[a] + 1).min(self.shape[a] - 1);
            t[a] = (x - low[a] as f64) as f32;
        }
        let mix = |x: f32, y: f32, t: f32| x + (y - x) * t;
        let line = |i: usize, j: usize| {
            let row = (i * self.shape[1] + j) * self.shape[2];
            mix(self.values[row + low[2]], self.values[row + high[2]], t[2])
        };
        let plane = |i: usize| mix(line(i, low[1]), line(i, high[1]), t[1]);
        mix(plane(low[0]), plane(high[0]), t[0])
    }
}

/// Standard deviations (voxels, per source axis) of the filter that gives samples `spacing_mm` apart the
/// point spread of samples `target_spacing_mm` apart; 0 where no filter is needed.
pub fn low_pass_sigma_voxels(spacing_mm: [f64; 3], target_spacing_mm: f64) -> [f64; 3] {
    spacing_mm.map(|s| {
        let variance = target_spacing_mm * target_spacing_mm - s * s;
        let sigma = if variance > 0.0 { variance.sqrt() / FWHM_PER_SIGMA / s } else { 0.0 };
        if sigma < SMALLEST_SIGMA_VOXELS { 0.0 } else { sigma }
    })
}

/// The source as samples `target_spacing_mm` apart would see it; `None` when it is no finer than that, so
/// that no copy is made.
pub fn low_pass(source: &Volume, target_spacing_mm: f64) -> Option<Volume> {
    let sigma = low_pass_sigma_voxels(source.grid().affine.spacing_mm(), target_spacing_mm);
    if sigma == [0.0; 3] {
        return None;
    }
    let kernels = sigma.map(half_kernel);
    let mut data = along_slices(&source.data, &kernels[0]);
    data.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut slab| {
        let (rows, columns) = slab.dim();
        if kernels[1].len() > 1 {
            let before = slab.to_owned();
            for r in 0..rows {
                let mut row = slab.row_mut(r);
                row.fill(0.0);
                for (offset, weight) in offsets(&kernels[1]) {
                    row.scaled_add(weight, &before.row(shifted(r, offset, rows)));
                }
            }
        }
        if kernels[2].len() > 1 {
            // The row with its edge values held on both sides, so that every tap is a plain sum of two slices.
            let radius = kernels[2].len() - 1;
            let mut held = vec![0f32; columns + 2 * radius];
            for mut row in slab.outer_iter_mut() {
                for (c, value) in held.iter_mut().enumerate() {
                    *value = row[c.saturating_sub(radius).min(columns - 1)];
                }
                row.fill(0.0);
                for (tap, (_, weight)) in offsets(&kernels[2]).enumerate() {
                    row.iter_mut().zip(&held[tap..]).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
    });
    Some(Volume { data, affine: source.affine })
}

fn along_slices(data: &Array3<f32>, kernel: &[f32]) -> Array3<f32> {
    if kernel.len() == 1 {
        return data.clone();
    }
    let slices = data.dim().0;
    let mut out = Array3::zeros(data.raw_dim());
    out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut slab)| {
        for (offset, weight) in offsets(kernel) {
            slab.scaled_add(weight, &data.slice(s![shifted(i, offset, slices), .., ..]));
        }
    });
    out
}

/// The kernel from its centre outwards; the two-sided kernel sums to one.
pub(crate) fn half_kernel(sigma: f64) -> Vec<f32> {
    if sigma == 0.0 {
        return vec![1.0];
    }
    let radius = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f64> = (0..=radius).map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp()).collect();
    let total = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
    weights.into_iter().map(|w| (w / total) as f32).collect()
}

fn offsets(half: &[f32]) -> impl Iterator<Item = (isize, f32)> + '_ {
    let radius = half.len() as isize - 1;
    (-radius..=radius).map(|o| (o, half[o.unsigned_abs()]))
}

fn shifted(index: usize, offset: isize, len: usize) -> usize {
    index.saturating_add_signed(offset).min(len - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Step vectors of a grid turned about two axes, with unequal spacings.
    fn oblique(spacing: [f64; 3], origin: [f64; 3]) -> Affine {
        let (a, b) = (0.3f64, -0.2f64);
        let u = [a.cos(), a.sin(), 0.0];
        let v = [-a.sin() * b.cos(), a.cos() * b.cos(), b.sin()];
        let w = [a.sin() * b.sin(), -a.cos() * b.sin(), b.cos()];
        let scale = |x: [f64; 3], s: f64| x.map(|c| c * s);
        Affine::from_axes([scale(u, spacing[0]), scale(v, spacing[1]), scale(w, spacing[2])], origin)
    }

    fn sampled(grid: &Grid, f: impl Fn([f64; 3]) -> f64) -> Volume {
        let data =
            Array3::from_shape_fn(grid.shape, |(i, j, k)| f(grid.affine.apply([i as f64, j as f64, k as f64])) as f32);
        Volume { data, affine: grid.affine }
    }

    fn ramp(p: [f64; 3]) -> f64 {
        3.0 * p[0] - 2.0 * p[1] + 0.5 * p[2] + 40.0
    }

    #[test]
    fn a_linear_ramp_is_exact_under_any_rotation() {
        let source = Grid { shape: [40, 50, 45], affine: oblique([1.1, 0.8, 0.9], [-20.0, -20.0, -18.0]) };
        let target = Grid {
            shape: [10, 12, 9],
            affine: Affine::from_axes([[-1.7, 0.0, 0.0], [0.0, -1.3, 0.0], [0.0, 0.0, 1.9]], [8.0, 12.0, -4.0]),
        };
        let out = trilinear(&sampled(&source, ramp), &target, -1.0).unwrap();
        for ((i, j, k), v) in out.indexed_iter() {
            let expected = ramp(target.affine.apply([i as f64, j as f64, k as f64]));
            assert!((f64::from(*v) - expected).abs() < 1e-4, "{i} {j} {k}: {v} for {expected}");
        }
    }

    #[test]
    fn half_a_voxel_belongs_to_the_edge_and_no_more() {
        let identity = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
        let source = Volume { data: Array3::from_elem((2, 2, 2), 5.0), affine: identity };
        let line = |x: f64| Grid {
            shape: [1, 1, 1],
            affine: Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [x, 0.0, 0.0]),
        };
        let at = |x: f64| trilinear(&source, &line(x), -7.0).unwrap()[[0, 0, 0]];
        assert_eq!([at(-0.49), at(-0.51), at(1.49), at(1.51)], [5.0, -7.0, 5.0, -7.0]);
        assert_eq!(trilinear_clamped(&source, &line(99.0)).unwrap()[[0, 0, 0]], 5.0);
    }

    /// Golden numbers worked by hand: eight corner values, weights 0.75/0.25, 0.5/0.5, 0.9/0.1.
    #[test]
    fn eight_corners_are_weighted_by_their_opposite_boxes() {
        let identity = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
        let data = Array3::from_shape_vec((2, 2, 2), vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]).unwrap();
        let target = Grid {
            shape: [1, 1, 1],
            affine: Affine { rows: [[1.0, 0.0, 0.0, 0.25], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]] },
        };
        let out = trilinear(&Volume { data, affine: identity }, &target, 0.0).unwrap();
        // (0.9·1+0.1·2 + 0.9·4+0.1·8)/2 = 2.75; sixteen times that is 44; 0.75·2.75 + 0.25·44 = 13.0625.
        assert!((out[[0, 0, 0]] - 13.0625).abs() < 1e-5, "{}", out[[0, 0, 0]]);
    }

    #[test]
    fn the_low_pass_keeps_the_mean_and_widens_a_point_to_the_stated_width() {
        let affine = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]], [0.0; 3]);
        let mut data = Array3::zeros((31, 41, 9));
        data[[15, 20, 4]] = 1.0;
        let out = low_pass(&Volume { data, affine }, 2.0).unwrap().data;
        assert!((out.sum() - 1.0).abs() < 1e-5);
        let variance = |axis: usize, centre: f64| -> f64 {
            out.indexed_iter().map(|((i, j, k), v)| f64::from(*v) * ([i, j, k][axis] as f64 - centre).powi(2)).sum()
        };
        // FWHM² = 4 − 1 = 3 mm² at 1 mm, 4 − 0.25 = 3.75 mm² at 0.5 mm; σ² = FWHM²/5.545 (cut at 3 σ: a little less).
        assert!((variance(0, 15.0) - 3.0 / 5.545).abs() < 0.02, "{}", variance(0, 15.0));
        assert!((variance(1, 20.0) - 3.75 / 5.545 / 0.25).abs() < 0.1, "{}", variance(1, 20.0));
        assert_eq!(variance(2, 4.0), 0.0);
    }

    #[test]
    fn a_source_as_coarse_as_the_target_is_not_copied() {
        let affine = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]], [0.0; 3]);
        assert!(low_pass(&Volume { data: Array3::zeros((4, 4, 4)), affine }, 1.0).is_none());
    }
}
