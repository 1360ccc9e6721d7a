//! The low-pass filter that belongs before resampling onto a coarser grid. Part of the preprocessing `fcdd-2`.
//!
//! Trilinear interpolation alone aliases when the target is coarser than the source. [`filtered`] makes the source's
//! point spread that of the target first: along each source axis finer than the target spacing `t`, a Gaussian of full
//! width at half maximum `sqrt(t² − s²)`, cut at 3 σ and normalised, with the edge value held. Nothing happens along
//! axes that are as coarse as the target.

use std::borrow::Cow;

use ndarray::parallel::prelude::*;
use ndarray::{Array3, Axis};

use super::Volume;

/// Full width at half maximum of a Gaussian, in standard deviations.
const FWHM_PER_SIGMA: f64 = 2.354_820_045_030_949;
/// Filters narrower than this (in voxels) change nothing worth the pass.
const SMALLEST_SIGMA_VOXELS: f64 = 0.1;
/// Neighbouring sums that are kept in registers until all taps are in.
const LANES: usize = 32;

/// Standard deviations (voxels, per source axis) of the filter that gives samples `spacing_mm` apart the
/// point spread of samples `target_spacing_mm` apart; 0 where no filter is needed.
pub fn sigma_voxels(spacing_mm: [f64; 3], target_spacing_mm: f64) -> [f64; 3] {
    spacing_mm.map(|s| {
        let variance = target_spacing_mm * target_spacing_mm - s * s;
        let sigma = if variance > 0.0 { variance.sqrt() / FWHM_PER_SIGMA / s } else { 0.0 };
        if sigma < SMALLEST_SIGMA_VOXELS { 0.0 } else { sigma }
    })
}

/// The source as samples `target_spacing_mm` apart would see it; `None` when it is no finer than that, so
/// that no copy is made.
pub fn filtered(source: &Volume, target_spacing_mm: f64) -> Option<Volume> {
    let sigma = sigma_voxels(source.affine.spacing_mm(), target_spacing_mm);
    if sigma == [0.0; 3] || source.data.is_empty() {
        return None;
    }
    let kernels = sigma.map(half_kernel);
    let [slices, rows, columns] = source.grid().shape;
    let values = source.data.as_slice().map_or_else(|| source.data.iter().copied().collect(), Cow::Borrowed);
    let in_slice = |slice: usize| &values[slice * rows * columns..][..rows * columns];
    let mut data = Array3::zeros([slices, rows, columns]);
    // A slice goes through all three axes while the caches hold it.
    data.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each_init(
        || (vec![0f32; rows * columns], vec![0f32; columns + 2 * reach(&kernels[2])]),
        |(across_slices, held), (i, mut slice)| {
            weighted_sum(across_slices, &kernels[0], |offset| in_slice(shifted(i, offset, slices)));
            let row_of = |r: usize| &across_slices[r * columns..][..columns];
            let out = slice.as_slice_mut().into_iter().flat_map(|slice| slice.chunks_exact_mut(columns));
            for (r, out) in out.enumerate() {
                let radius = reach(&kernels[2]);
                let (before, rest) = held.split_at_mut(radius);
                let (row, after) = rest.split_at_mut(columns);
                weighted_sum(row, &kernels[1], |offset| row_of(shifted(r, offset, rows)));
                // With its edge values held on both sides, every tap along the row is a slice too.
                before.fill(row[0]);
                after.fill(row[columns - 1]);
                weighted_sum(out, &kernels[2], |offset| &held[radius.saturating_add_signed(offset)..][..columns]);
            }
        },
    );
    Some(Volume { data, affine: source.affine })
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

fn reach(half: &[f32]) -> usize {
    half.len() - 1
}

fn offsets(half: &[f32]) -> impl Iterator<Item = (isize, f32)> + '_ {
    let radius = reach(half) as isize;
    (-radius..=radius).map(|o| (o, half[o.unsigned_abs()]))
}

fn shifted(index: usize, offset: isize, len: usize) -> usize {
    index.saturating_add_signed(offset).min(len - 1)
}

/// What the kernel makes of the values at its offsets (`tap`, each as long as `out`), summed from the lowest offset on.
fn weighted_sum<'a>(out: &mut [f32], half: &[f32], tap: impl Fn(isize) -> &'a [f32]) {
    if half.len() == 1 {
        out.copy_from_slice(tap(0));
        return;
    }
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let in_blocks = blocks.len() * LANES;
    for (n, block) in blocks.iter_mut().enumerate() {
        let mut sums = [0f32; LANES];
        for (offset, weight) in offsets(half) {
            let values = &tap(offset)[n * LANES..][..LANES];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        }
        *block = sums;
    }
    rest.fill(0.0);
    for (offset, weight) in offsets(half) {
        rest.iter_mut().zip(&tap(offset)[in_blocks..]).for_each(|(sum, value)| *sum += weight * value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    #[test]
    fn the_low_pass_keeps_the_mean_and_widens_a_point_to_the_stated_width() {
        let affine = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]], [0.0; 3]);
        let mut data = Array3::zeros((31, 41, 9));
        data[[15, 20, 4]] = 1.0;
        let out = filtered(&Volume { data, affine }, 2.0).unwrap().data;
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
        assert!(filtered(&Volume { data: Array3::zeros((4, 4, 4)), affine }, 1.0).is_none());
    }

    /// Every voxel against the weighted mean that the page's head defines, in rows longer and shorter than a block, in
    /// C order and not.
    #[test]
    fn each_value_is_the_weighted_mean_of_its_surroundings() {
        let spacing_mm = [0.9, 0.6, 0.5];
        let affine = Affine::from_axes([[0.9, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.5]], [0.0; 3]);
        for shape in [[4, 9, 71], [9, 5, 3]] {
            let data = Array3::from_shape_fn(shape, |(i, j, k)| ((i * 37 + j * 91 + k * 53) % 101) as f32);
            let kernels = spacing_mm.map(|s: f64| {
                let sigma = (1.0 - s * s).sqrt() / FWHM_PER_SIGMA / s;
                let radius = (3.0 * sigma).ceil() as isize;
                let weights: Vec<f64> = (-radius..=radius).map(|o| (-0.5 * (o as f64 / sigma).powi(2)).exp()).collect();
                let total: f64 = weights.iter().sum();
                (-radius..=radius).zip(weights.into_iter().map(move |w| w / total)).collect::<Vec<_>>()
            });
            let held = |i: usize, o: isize, n: usize| (i as isize + o).clamp(0, n as isize - 1) as usize;
            let expected = Array3::from_shape_fn(shape, |(i, j, k)| {
                let mut sum = 0.0;
                for (a, wa) in &kernels[0] {
                    for (b, wb) in &kernels[1] {
                        for (c, wc) in &kernels[2] {
                            let at = [held(i, *a, shape[0]), held(j, *b, shape[1]), held(k, *c, shape[2])];
                            sum += wa * wb * wc * f64::from(data[at]);
                        }
                    }
                }
                sum
            });
            let turned_in_memory = data.t().as_standard_layout().into_owned().reversed_axes();
            assert!(turned_in_memory.as_slice().is_none() && turned_in_memory == data);
            for data in [data, turned_in_memory] {
                let found = filtered(&Volume { data, affine }, 1.0).unwrap().data;
                let worst = found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-4, "{shape:?}: {worst}");
            }
        }
    }
}
