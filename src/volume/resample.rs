//! Trilinear resampling of a volume onto another grid.
//!
//! Serving and training share this code; together with the low-pass filter that belongs before it
//! ([`low_pass`](super::low_pass)) and the head mask it *is* the preprocessing `fcdd-2`.
//! What it fixes:
//!
//! - Both affines are composed once (target index → LPS → source index), in `f64`; no voxel is visited
//!   through anything but that map, so the result has the exact place that its grid states.
//! - A voxel reaches half a spacing beyond its centre: up to there the outermost value is held, beyond it
//!   the caller's `outside` value is written ([`trilinear`]) or the value is held for ever ([`trilinear_clamped`]).

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView3, ArrayViewMut1, Axis, s};

use super::{Affine, Grid, SingularAffine, Volume};

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

/// [`trilinear`] at those voxel centres of `target` that lie in the mask, which has the target's shape; `outside` at the
/// others.
///
/// # Errors
/// When the source's affine has no inverse.
pub fn trilinear_within(
    source: &Volume,
    target: &Grid,
    mask: ArrayView3<'_, bool>,
    outside: f32,
) -> Result<Array3<f32>, SingularAffine> {
    let walk = IndexWalk::new(target, &source.grid())?;
    let mut out = Array3::from_elem(target.shape, outside);
    let source = source.data.as_standard_layout();
    let Some(sampler) = Sampler::new(source.view()) else {
        return Ok(out); // A source without voxels covers nothing.
    };
    for_each_row(&mut out, |mut row, [i0, i1]| {
        let start = walk.row_start(i0, i1);
        let mask = mask.slice(s![i0, i1, ..]);
        for (i2, (value, _)) in row.iter_mut().zip(mask).enumerate().filter(|(_, (_, inside))| **inside) {
            let position = walk.along_row(start, i2);
            if sampler.covers(position) {
                *value = sampler.at(position);
            }
        }
    });
    Ok(out)
}

/// A mask on another grid: true where [`trilinear`] would find at least one half if true were 1 and false 0.
///
/// # Errors
/// When the affine of the mask's grid has no inverse.
pub fn majority(mask: ArrayView3<'_, bool>, grid: &Grid, target: &Grid) -> Result<Array3<bool>, SingularAffine> {
    let walk = IndexWalk::new(target, grid)?;
    let mut out = Array3::from_elem(target.shape, false);
    let Some(lattice) = Lattice::new(grid.shape) else { return Ok(out) };
    let values = mask.mapv(|inside| f32::from(u8::from(inside)));
    let Some(sampler) = Sampler::new(values.view()) else { return Ok(out) };
    // Nearly everywhere all eight corners say the same, and so does every weighted mean of them.
    let cells = uniform_cells(mask);
    for_each_row(&mut out, |mut row, [i0, i1]| {
        let start = walk.row_start(i0, i1);
        for (i2, value) in row.iter_mut().enumerate() {
            let position = walk.along_row(start, i2);
            if lattice.covers(position) {
                *value = cells[lattice.below(position)].unwrap_or_else(|| sampler.at(position) >= 0.5);
            }
        }
    });
    Ok(out)
}

/// For each voxel and its seven neighbours upwards (held at the end): what they are, where all are the same.
fn uniform_cells(mask: ArrayView3<'_, bool>) -> Array3<Option<bool>> {
    let (n0, n1, n2) = mask.dim();
    Array3::from_shape_fn((n0, n1, n2), |(i, j, k)| {
        let (i2, j2, k2) = ((i + 1).min(n0 - 1), (j + 1).min(n1 - 1), (k + 1).min(n2 - 1));
        let all = mask[[i, j, k]];
        let corners = [[i, j, k2], [i, j2, k], [i, j2, k2], [i2, j, k], [i2, j, k2], [i2, j2, k], [i2, j2, k2]];
        corners.iter().all(|corner| mask[*corner] == all).then_some(all)
    })
}

fn resample(source: &Volume, target: &Grid, outside: Option<f32>) -> Result<Array3<f32>, SingularAffine> {
    let walk = IndexWalk::new(target, &source.grid())?;
    let mut out = Array3::from_elem(target.shape, outside.unwrap_or(0.0));
    let source = source.data.as_standard_layout();
    let Some(sampler) = Sampler::new(source.view()) else {
        return Ok(out); // A source without voxels covers nothing.
    };
    for_each_row(&mut out, |mut row, [i0, i1]| {
        let start = walk.row_start(i0, i1);
        for (i2, value) in row.iter_mut().enumerate() {
            let position = walk.along_row(start, i2);
            *value = match outside {
                Some(constant) if !sampler.covers(position) => constant,
                _ => sampler.at(position),
            };
        }
    });
    Ok(out)
}

/// Visits the rows of a volume, with their first two indices, spread over the cores.
fn for_each_row<T: Send + Sync>(out: &mut Array3<T>, visit: impl Fn(ArrayViewMut1<'_, T>, [usize; 2]) + Send + Sync) {
    out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i0, mut slab)| {
        slab.outer_iter_mut().enumerate().for_each(|(i1, row)| visit(row, [i0, i1]));
    });
}

/// The value whose voxel contains a position (in indices); `None` beyond the outermost voxels.
#[inline]
pub fn at_nearest<T>(data: &Array3<T>, position: [f64; 3]) -> Option<&T> {
    if position.iter().any(|x| *x <= -0.5) {
        return None;
    }
    // What `f64::round` gives from here on; that one is a call into the C library for each of millions of voxels.
    data.get(position.map(|x| {
        let (below, rest) = split(x);
        below.saturating_add(usize::from(rest >= 0.5))
    }))
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

/// The places between the voxel centres of an array.
#[derive(Debug, Clone, Copy)]
struct Lattice {
    last: [f64; 3],
}

impl Lattice {
    /// `None` where there are no voxels.
    fn new(shape: [usize; 3]) -> Option<Self> {
        (!shape.contains(&0)).then(|| Lattice { last: shape.map(|n| n as f64 - 1.0) })
    }

    /// Whether a position lies in the extent of some voxel.
    #[inline]
    fn covers(&self, p: [f64; 3]) -> bool {
        (0..3).all(|a| p[a] >= -0.5 && p[a] <= self.last[a] + 0.5)
    }

    /// The voxel at or below a position, held beyond the outermost voxel centres.
    #[inline]
    fn below(&self, p: [f64; 3]) -> [usize; 3] {
        [0, 1, 2].map(|a| split(p[a].clamp(0.0, self.last[a])).0)
    }
}

/// What is above -1 as a whole number and the rest. By way of 32 bits: no array is longer, and to 64 it takes several
/// times as long. (NaN becomes 0; an affine with an inverse makes none.)
#[inline]
fn split(x: f64) -> (usize, f64) {
    let whole = x as i32;
    (whole as usize, x - f64::from(whole))
}

/// Trilinear look-up by index.
#[derive(Debug, Clone, Copy)]
pub struct Sampler<'a> {
    values: &'a [f32],
    shape: [usize; 3],
    lattice: Lattice,
}

impl<'a> Sampler<'a> {
    /// A sampler of values in C order; `None` when they are not contiguous, or none.
    pub fn new(data: ArrayView3<'a, f32>) -> Option<Self> {
        let (a, b, c) = data.dim();
        let values = data.to_slice()?;
        Some(Sampler { values, shape: [a, b, c], lattice: Lattice::new([a, b, c])? })
    }

    /// Whether a position lies in the extent of some voxel.
    #[inline]
    pub fn covers(&self, p: [f64; 3]) -> bool {
        self.lattice.covers(p)
    }

    /// The value at a position, held beyond the outermost voxel centres.
    #[inline]
    pub fn at(&self, p: [f64; 3]) -> f32 {
        let mut low = [0usize; 3];
        let mut high = [0usize; 3];
        let mut t = [0f32; 3];
        for a in 0..3 {
            let (below, rest) = split(p[a].clamp(0.0, self.lattice.last[a]));
            low[a] = below;
            high[a] = (below + 1).min(self.shape[a] - 1);
            t[a] = rest as f32;
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
    fn the_nearest_voxel_is_the_rounded_index() {
        let data = Array3::from_shape_fn((9, 1, 1), |(i, _, _)| i);
        let by_round = |x: f64| {
            let nearest = x.round();
            if nearest >= 0.0 { data.get([nearest as usize, 0, 0]) } else { None }
        };
        let halves = (-4..24).map(|i| f64::from(i) / 2.0);
        let near = halves.flat_map(|x| [x.next_down(), x, x.next_up()]);
        for x in near.chain([0.499_999_999_999_999_94, 1e300, f64::INFINITY, -1e300, f64::NEG_INFINITY]) {
            assert_eq!(at_nearest(&data, [x, 0.0, 0.0]), by_round(x), "{x:?}");
        }
    }
}
