//! Grad-CAM: from the networks' signed maps to a heatmap on the source series' own voxels.
//!
//! With global average pooling and a linear head, Grad-CAM at the last stage equals the class activation map, which
//! the graph outputs signed (`cam`). Maps of the folds are averaged, then ReLU.
//!
//! **Where a cell lies.** Every strided convolution and pooling of these networks has an odd kernel and symmetric
//! padding, so cell `i` of the map is centred at input index `stride · i`. The map is therefore a volume with an affine
//! of its own (that of the input grid, stretched by the strides), and resampling it is ordinary trilinear resampling,
//! clamped beyond the outermost cell centres. `align_corners=False` would put it (stride − 1)/2 voxels off.
//!
//! **What is shown.** The map exists only where the network looked and where there is a head: source voxels outside the
//! network's field of view, or whose nearest input voxel is outside the head mask, show 0. The rest is min-max
//! normalised, so every study has a brightest spot; a map with one value everywhere is said to be constant and shows 0.

use std::sync::Arc;

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView3, Axis, Zip};

use super::preprocess::FieldOfView;
use crate::study::Heatmap;
use crate::volume::resample::{self, IndexWalk, Sampler};
use crate::volume::{Affine, Grid, SingularAffine, Volume};

/// Relative spread below which a map counts as constant.
const CONSTANT_BELOW: f32 = 1e-6;

/// The mean of the folds' signed maps, then ReLU, at its place: a volume of `[d, h, w]` cells whose affine maps cell
/// `[i, j, k]` to the LPS position of input index `stride · [i, j, k]`. All maps have the shape of the first.
pub fn place<'a>(signed: impl IntoIterator<Item = &'a Array3<f32>>, stride: [usize; 3], input: &Grid) -> Volume {
    let mut maps = signed.into_iter();
    let mut mean = maps.next().cloned().unwrap_or_else(|| Array3::zeros((1, 1, 1)));
    let mut count = 1.0;
    for map in maps {
        mean += map;
        count += 1.0;
    }
    mean.mapv_inplace(|v| (v / count).max(0.0));
    let [d, h, w] = stride.map(|s| s as f64);
    let stretch = Affine::from_axes([[d, 0.0, 0.0], [0.0, h, 0.0], [0.0, 0.0, w]], [0.0; 3]);
    Volume { data: mean, affine: input.affine.after(&stretch) }
}

/// Profile `paper`: the signed map on the input grid as Captum's `LayerAttribution.interpolate` draws it, which is
/// without ReLU and with the nearest cell as PyTorch counts it (cell `⌊i · cells / size⌋`). That puts cell `i` around
/// index `stride · i + (stride − 1) / 2`, half a cell away from where it looked ([`place`] does not).
pub fn as_captum(signed: &Array3<f32>, input_shape: [usize; 3]) -> Array3<f32> {
    let cells_of_axis: [Vec<usize>; 3] = [0, 1, 2].map(|axis| {
        let (cells, size) = (signed.len_of(Axis(axis)), input_shape[axis]);
        // In 32 bits, as PyTorch computes it: the last bit decides which cell a voxel on the border shows.
        let scale = cells as f32 / size as f32;
        (0..size).map(|i| ((i as f32 * scale) as usize).min(cells.saturating_sub(1))).collect()
    });
    Array3::from_shape_fn(input_shape, |(i, j, k)| {
        let cell = [cells_of_axis[0][i], cells_of_axis[1][j], cells_of_axis[2][k]];
        signed.get(cell).copied().unwrap_or(0.0)
    })
}

/// The unnormalised map (logit units) on the input grid, 0 outside the head: regions are found on this one.
///
/// # Errors
/// When the input grid's affine has no inverse.
pub fn on_input_grid(placed: &Volume, view: &FieldOfView) -> Result<Array3<f32>, SingularAffine> {
    within_head(placed, &view.grid, view.head.view())
}

/// [`on_input_grid`] with a head that is borrowed; it has the grid's shape.
///
/// # Errors
/// When the input grid's affine has no inverse.
pub fn within_head(placed: &Volume, input: &Grid, head: ArrayView3<'_, bool>) -> Result<Array3<f32>, SingularAffine> {
    let mut map = resample::trilinear_clamped(placed, input)?;
    Zip::from(&mut map).and(head).for_each(|value, inside| {
        if !inside {
            *value = 0.0;
        }
    });
    Ok(map)
}

/// The heatmap on the source grid, as it is shown.
///
/// # Errors
/// When an affine has no inverse.
pub fn display(placed: &Volume, view: &FieldOfView, source: &Grid) -> Result<Heatmap, SingularAffine> {
    let to_cells = IndexWalk::new(source, &placed.grid())?;
    let to_input = IndexWalk::new(source, &view.grid)?;
    // NaN marks what is not shown, until the range is known.
    let mut map = Array3::from_elem(source.shape, f32::NAN);
    let cells = placed.data.as_standard_layout();
    let nothing = || (f32::INFINITY, f32::NEG_INFINITY);
    let (low, high) = match Sampler::new(cells.view()) {
        Some(sampler) => map
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(i0, mut slab)| {
                let (mut low, mut high) = nothing();
                for (i1, mut row) in slab.outer_iter_mut().enumerate() {
                    let (cells_start, input_start) = (to_cells.row_start(i0, i1), to_input.row_start(i0, i1));
                    for (i2, value) in row.iter_mut().enumerate() {
                        if resample::at_nearest(&view.head, to_input.along_row(input_start, i2)) == Some(&true) {
                            *value = sampler.at(to_cells.along_row(cells_start, i2));
                            (low, high) = (low.min(*value), high.max(*value));
                        }
                    }
                }
                (low, high)
            })
            .reduce(nothing, |a, b| (a.0.min(b.0), a.1.max(b.1))),
        None => nothing(),
    };
    if low > high {
        return Ok(Heatmap { display: Arc::new(Array3::zeros(source.shape)), range_logit: [0.0; 2], constant: true });
    }
    let range = high - low;
    let constant = range <= CONSTANT_BELOW * high.abs();
    map.par_mapv_inplace(|v| if v.is_nan() || constant { 0.0 } else { ((v - low) / range).clamp(0.0, 1.0) });
    Ok(Heatmap { display: Arc::new(map), range_logit: [low, high], constant })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: [usize; 3], head: impl Fn((usize, usize, usize)) -> bool) -> FieldOfView {
        let affine = Affine::from_axes([[-2.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 2.0]], [80.0, 90.0, -60.0]);
        FieldOfView { grid: Grid { shape, affine }, head: Array3::from_shape_fn(shape, head) }
    }

    /// One cell set, interpolated to the input grid: the centre of gravity of what it paints is its input index.
    #[test]
    fn a_cell_lies_at_stride_times_its_index() {
        let view = view([80, 96, 80], |_| true);
        let mut signed = Array3::zeros((5, 3, 3));
        signed[[2, 1, 1]] = 4.0;
        let placed = place([&signed], [16, 32, 32], &view.grid);
        let map = on_input_grid(&placed, &view).unwrap();
        let total = map.iter().map(|v| f64::from(*v)).sum::<f64>();
        let mut centroid = [0.0; 3];
        for (i, v) in map.indexed_iter() {
            for (c, x) in centroid.iter_mut().zip([i.0, i.1, i.2]) {
                *c += f64::from(*v) * x as f64 / total;
            }
        }
        for (found, expected) in centroid.into_iter().zip([32.0, 32.0, 32.0]) {
            assert!((found - expected).abs() < 1e-3, "{centroid:?}");
        }
        assert_eq!(map[[32, 32, 32]], 4.0);
        assert_eq!(map[[40, 32, 32]], 2.0);
    }

    #[test]
    fn folds_are_averaged_before_the_negative_part_is_cut() {
        let view = view([16, 32, 32], |_| true);
        let fold = |v: f32| Array3::from_elem((1, 1, 1), v);
        assert_eq!(place([&fold(3.0), &fold(-1.0)], [16, 32, 32], &view.grid).data[[0, 0, 0]], 1.0);
        assert_eq!(place([&fold(1.0), &fold(-3.0)], [16, 32, 32], &view.grid).data[[0, 0, 0]], 0.0);
    }

    #[test]
    fn the_display_runs_from_0_to_1_in_the_head_and_is_0_elsewhere() {
        let view = view([80, 96, 80], |(i, _, _)| i < 40);
        let mut signed = Array3::from_elem((5, 3, 3), 1.0);
        signed[[1, 1, 1]] = 3.0;
        signed[[4, 1, 1]] = 9.0; // outside the head
        let placed = place([&signed], [16, 32, 32], &view.grid);
        // A source along other axes that reaches beyond the input on every side.
        let axes = [[0.0, 0.0, 3.0], [0.0, 1.5, 0.0], [1.5, 0.0, 0.0]];
        let source = Grid { shape: [80, 160, 150], affine: Affine::from_axes(axes, [-110.0, -120.0, -80.0]) };
        let heatmap = display(&placed, &view, &source).unwrap();
        assert!(!heatmap.constant);
        assert_eq!(heatmap.range_logit[0], 1.0);
        assert!(heatmap.range_logit[1] > 2.8 && heatmap.range_logit[1] <= 3.0, "{:?}", heatmap.range_logit);
        let to_input = view.grid.affine.inverse().unwrap().after(&source.affine);
        let mut brightest = ([0.0; 3], 0.0);
        for (i, v) in heatmap.display.indexed_iter() {
            let p = to_input.apply([i.0 as f64, i.1 as f64, i.2 as f64]);
            let seen = p[0] > -0.5 && p[0] < 39.5 && p[1] > -0.5 && p[1] < 95.5 && p[2] > -0.5 && p[2] < 79.5;
            assert!((0.0..=1.0).contains(v) && (seen || *v == 0.0), "{i:?} {v}");
            if *v > brightest.1 {
                brightest = (p, *v);
            }
        }
        assert_eq!(brightest.1, 1.0);
        assert!((0..3).all(|a| (brightest.0[a] - [16.0, 32.0, 32.0][a]).abs() <= 1.0), "{brightest:?}");
    }

    #[test]
    fn a_constant_map_is_stated_and_not_drawn() {
        let view = view([80, 96, 80], |_| true);
        for value in [2.5, 0.0, -1.0] {
            let placed = place([&Array3::from_elem((5, 3, 3), value)], [16, 32, 32], &view.grid);
            let heatmap = display(&placed, &view, &view.grid).unwrap();
            assert!(heatmap.constant && heatmap.display.iter().all(|v| *v == 0.0));
        }
        // A field of view without any head is no map at all.
        let empty = FieldOfView { head: Array3::from_elem((80, 96, 80), false), grid: view.grid.clone() };
        let placed = place([&Array3::from_elem((5, 3, 3), 1.0)], [16, 32, 32], &view.grid);
        assert!(display(&placed, &empty, &view.grid).unwrap().constant);
    }
}
