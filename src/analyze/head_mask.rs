//! Finds the head in a volume: which voxels it has, where its vertex is, how big it is. Part of `fcdd-2`.
//!
//! The search runs on a coarse scout grid along the world's axes, so that it neither depends on how the scanner's
//! axes lay nor costs much at 1 mm:
//!
//! 1. threshold by Otsu's method on the square root of the intensities, clipped to their 0.5–99.5 percentiles
//!    (the root lifts dark tissue away from air; the clip keeps bright fat and vessels from deciding);
//! 2. erosion by one voxel, large 26-connected components, dilation by one voxel within the threshold,
//!    large components again: thin bridges to ghosts and to a head holder break. Large is what has a quarter of the
//!    largest one's voxels: where skull and fluid are dark all around (FLAIR), brain and scalp are two, of about one size;
//! 3. holes filled, in the volume and in each axial level (ventricles and bone are head, also where the field of view
//!    cuts the crown off and leaves them open).
//!
//! The **vertex** is the uppermost level at which the mask covers 10 cm². Width, length and the head's middle
//! are taken from the 100 mm below it, where there is neither neck nor jaw, between the 1st and the 99th
//! percentile of the mask's coordinates.

use ndarray::{Array3, Axis, s};

use crate::volume::components::{self, Connectivity};
use crate::volume::{Affine, Grid, SingularAffine, Volume, low_pass, resample};

/// The scout is never finer than this, mm.
const SCOUT_SPACING_MM: f64 = 2.0;
/// Level area that makes the vertex, mm².
const VERTEX_AREA_MM2: f64 = 1000.0;
/// Depth below the vertex that decides width, length and middle, mm.
const VAULT_MM: f64 = 100.0;
/// Depth below the vertex in which a cut mask means a cut vertex, mm.
const CROWN_MM: f64 = 60.0;
/// A component with at least this share of the largest one's voxels is a part of the head.
const PART_OF_HEAD: f64 = 0.25;
/// Objects smaller than this are no head, ml.
const SMALLEST_OBJECT_ML: f64 = 200.0;
const HISTOGRAM_BINS: usize = 256;

/// The head on the scout grid.
#[derive(Debug, Clone)]
pub struct Head {
    /// True inside the head; axes `[R, A, S]` of `grid`.
    pub mask: Array3<bool>,
    /// The scout grid, whose voxel centres lie at whole multiples of its spacing in LPS.
    pub grid: Grid,
    /// What was measured on it.
    pub measures: HeadMeasures,
}

/// Numbers about a head, for gates and reasons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadMeasures {
    /// Intensity above which a voxel may belong to the head, in the source's units.
    pub threshold: f64,
    /// Volume of the whole mask, neck included, ml.
    pub volume_ml: f64,
    /// Volume of the mask in the 100 mm below the vertex, ml.
    pub vault_volume_ml: f64,
    /// Left-right extent in the 100 mm below the vertex, mm.
    pub width_mm: f64,
    /// Front-back extent in the 100 mm below the vertex, mm.
    pub length_mm: f64,
    /// From the vertex down to the lowest level at which the mask covers 10 cm², mm.
    pub height_mm: f64,
    /// LPS z of the vertex, mm.
    pub vertex_z_mm: f64,
    /// LPS x of the mid-plane between left and right, mm.
    pub middle_x_mm: f64,
    /// LPS y of the middle between front and back, mm.
    pub middle_y_mm: f64,
    /// Area over which the field of view cuts the crown off, cm².
    pub crown_cut_cm2: f64,
}

/// Why no head was found.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum HeadError {
    /// The affine of the source has no inverse.
    #[error(transparent)]
    Geometry(#[from] SingularAffine),
    /// Nothing is brighter than anything else.
    #[error("all voxels have nearly the same value ({low} to {high}): there is no image")]
    Flat {
        /// 0.5th percentile.
        low: f32,
        /// 99.5th percentile.
        high: f32,
    },
    /// The largest object is too small.
    #[error("no head found: the largest object has {largest_ml:.0} ml, a head has at least {needed_ml:.0} ml")]
    TooSmall {
        /// Volume of the largest object, ml.
        largest_ml: f64,
        /// Smallest volume of a head, ml.
        needed_ml: f64,
    },
}

/// Spacing (mm) of the grid on which the head is sought for a grid of `spacing_mm`.
pub fn scout_spacing_mm(spacing_mm: f64) -> f64 {
    spacing_mm.max(SCOUT_SPACING_MM)
}

/// Finds the head in `volume`, whose values must be finite. `spacing_mm` is that of the grid to come.
///
/// # Errors
/// See [`HeadError`].
pub fn find(volume: &Volume, spacing_mm: f64) -> Result<Head, HeadError> {
    let spacing_mm = scout_spacing_mm(spacing_mm);
    let filtered = low_pass::filtered(volume, spacing_mm);
    find_in_filtered(filtered.as_ref().unwrap_or(volume), spacing_mm)
}

/// [`find`] in a volume that went through the low-pass filter for the scout's spacing, `spacing_mm`.
///
/// # Errors
/// See [`HeadError`].
pub fn find_in_filtered(volume: &Volume, spacing_mm: f64) -> Result<Head, HeadError> {
    let grid = scout_grid(&volume.grid(), spacing_mm);
    // NaN marks what the field of view does not cover.
    let scout = resample::trilinear(volume, &grid, f32::NAN)?;
    let threshold = threshold(&scout)?;

    let bright = scout.mapv(|v| v > threshold);
    let large = |mask: &Array3<bool>| components::large(mask.view(), Connectivity::Corners26, PART_OF_HEAD);
    let core = large(&eroded(&bright));
    let mut grown = dilated(&core);
    grown.zip_mut_with(&bright, |g, b| *g &= *b);
    let mut mask = components::fill_holes(large(&grown).view());
    fill_levels(&mut mask);

    let voxel_ml = spacing_mm.powi(3) / 1000.0;
    let volume_ml = count(&mask) as f64 * voxel_ml;
    let too_small = HeadError::TooSmall { largest_ml: volume_ml, needed_ml: SMALLEST_OBJECT_ML };
    if volume_ml < SMALLEST_OBJECT_ML {
        return Err(too_small);
    }
    let level_voxels = VERTEX_AREA_MM2 / spacing_mm.powi(2);
    let wide: Vec<usize> = mask
        .axis_iter(Axis(2))
        .enumerate()
        .filter(|(_, level)| level.iter().filter(|v| **v).count() as f64 >= level_voxels)
        .map(|(k, _)| k)
        .collect();
    let (Some(&bottom), Some(&top)) = (wide.first(), wide.last()) else {
        return Err(too_small);
    };
    let below = |depth_mm: f64| top.saturating_sub((depth_mm / spacing_mm).round() as usize - 1);
    let vault = mask.slice(s![.., .., below(VAULT_MM)..=top]);
    let (r0, r1) = span(vault.axis_iter(Axis(0)).map(|level| level.iter().filter(|v| **v).count()));
    let (a0, a1) = span(vault.axis_iter(Axis(1)).map(|level| level.iter().filter(|v| **v).count()));
    let middle = grid.affine.apply([(r0 + r1) as f64 / 2.0, (a0 + a1) as f64 / 2.0, top as f64]);
    let measures = HeadMeasures {
        threshold: f64::from(threshold),
        volume_ml,
        vault_volume_ml: vault.iter().filter(|v| **v).count() as f64 * voxel_ml,
        width_mm: (r1 - r0 + 1) as f64 * spacing_mm,
        length_mm: (a1 - a0 + 1) as f64 * spacing_mm,
        height_mm: (top - bottom + 1) as f64 * spacing_mm,
        vertex_z_mm: middle[2],
        middle_x_mm: middle[0],
        middle_y_mm: middle[1],
        crown_cut_cm2: cut_from_above(&mask, &scout, below(CROWN_MM)) as f64 * spacing_mm.powi(2) / 100.0,
    };
    Ok(Head { mask, grid, measures })
}

/// A grid along R, A, S that covers `source`, with voxel centres at whole multiples of the spacing: the same
/// head gets the same lattice from every acquisition.
fn scout_grid(source: &Grid, spacing_mm: f64) -> Grid {
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for corner in 0..8usize {
        let at = |axis: usize| if corner >> axis & 1 == 1 { source.shape[axis] as f64 - 0.5 } else { -0.5 };
        for (axis, mm) in source.affine.apply([at(0), at(1), at(2)]).into_iter().enumerate() {
            low[axis] = low[axis].min(mm);
            high[axis] = high[axis].max(mm);
        }
    }
    let low = low.map(|mm| (mm / spacing_mm).ceil() * spacing_mm);
    let high = high.map(|mm| (mm / spacing_mm).floor() * spacing_mm);
    let samples = |axis: usize| ((high[axis] - low[axis]) / spacing_mm).round().max(0.0) as usize + 1;
    // R and A grow against LPS x and y.
    Grid { shape: [samples(0), samples(1), samples(2)], affine: ras_axes(spacing_mm, [high[0], high[1], low[2]]) }
}

/// Isotropic axes towards R, A and S from the LPS position of voxel `[0, 0, 0]`.
pub(super) fn ras_axes(spacing_mm: f64, origin_lps_mm: [f64; 3]) -> Affine {
    let axes = [[-spacing_mm, 0.0, 0.0], [0.0, -spacing_mm, 0.0], [0.0, 0.0, spacing_mm]];
    Affine::from_axes(axes, origin_lps_mm)
}

/// Otsu's threshold on the square root of the clipped intensities; NaN voxels do not count.
fn threshold(scout: &Array3<f32>) -> Result<f32, HeadError> {
    let mut values: Vec<f32> = scout.iter().copied().filter(|v| v.is_finite()).collect();
    if values.is_empty() {
        return Err(HeadError::Flat { low: 0.0, high: 0.0 });
    }
    let mut percentile = |p: f64| {
        let rank = (p * (values.len() - 1) as f64).round() as usize;
        *values.select_nth_unstable_by(rank, f32::total_cmp).1
    };
    let (low, high) = (percentile(0.005), percentile(0.995));
    let range = high - low;
    if range <= 1e-6 * high.abs().max(low.abs()) || range <= f32::MIN_POSITIVE {
        return Err(HeadError::Flat { low, high });
    }
    let mut histogram = [0u64; HISTOGRAM_BINS];
    for v in &values {
        let root = ((v - low) / range).clamp(0.0, 1.0).sqrt();
        histogram[((root * HISTOGRAM_BINS as f32) as usize).min(HISTOGRAM_BINS - 1)] += 1;
    }
    let root = otsu(&histogram);
    Ok(low + range * root * root)
}

/// The upper edge (0..1) of the bin after which the variance between the two classes is largest.
fn otsu(histogram: &[u64; HISTOGRAM_BINS]) -> f32 {
    let total = histogram.iter().sum::<u64>() as f64;
    let sum = histogram.iter().enumerate().map(|(bin, n)| bin as f64 * *n as f64).sum::<f64>();
    let (mut below, mut sum_below) = (0.0, 0.0);
    let (mut best, mut best_bin) = (-1.0, 0);
    for (bin, n) in histogram.iter().enumerate() {
        below += *n as f64;
        sum_below += bin as f64 * *n as f64;
        let above = total - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let distance = sum_below / below - (sum - sum_below) / above;
        let between = below * above * distance * distance;
        if between > best {
            (best, best_bin) = (between, bin);
        }
    }
    (best_bin + 1) as f32 / HISTOGRAM_BINS as f32
}

fn count(mask: &Array3<bool>) -> usize {
    mask.iter().filter(|v| **v).count()
}

/// First and last index between which all but one percent at either end lies.
fn span(counts: impl Iterator<Item = usize>) -> (usize, usize) {
    let counts: Vec<usize> = counts.collect();
    let total: usize = counts.iter().sum();
    let reach = |fraction: f64| {
        let mut passed = 0;
        let index = counts.iter().position(|n| {
            passed += n;
            passed as f64 > fraction * total as f64
        });
        index.unwrap_or(counts.len().saturating_sub(1))
    };
    (reach(0.01), reach(0.99))
}

/// Mask voxels from level `from` upwards that have nothing of the field of view above them.
fn cut_from_above(mask: &Array3<bool>, scout: &Array3<f32>, from: usize) -> usize {
    let levels = mask.dim().2;
    mask.indexed_iter()
        .filter(|((i, j, k), inside)| **inside && *k >= from && (*k + 1 == levels || scout[[*i, *j, *k + 1]].is_nan()))
        .count()
}

/// Fills what is enclosed within its axial level.
fn fill_levels(mask: &mut Array3<bool>) {
    for mut level in mask.axis_iter_mut(Axis(2)).filter(|level| level.iter().any(|v| *v)) {
        let filled = components::fill_holes_of_level(level.view());
        level.assign(&filled);
    }
}

fn eroded(mask: &Array3<bool>) -> Array3<bool> {
    with_face_neighbours(mask, |centre, neighbours| centre && neighbours.into_iter().all(|n| n))
}

fn dilated(mask: &Array3<bool>) -> Array3<bool> {
    with_face_neighbours(mask, |centre, neighbours| centre || neighbours.into_iter().any(|n| n))
}

/// Applies `rule` to every voxel and its six face neighbours; outside the array a voxel's own value stands.
fn with_face_neighbours(mask: &Array3<bool>, rule: impl Fn(bool, [bool; 6]) -> bool) -> Array3<bool> {
    let (n0, n1, n2) = mask.dim();
    Array3::from_shape_fn((n0, n1, n2), |(i, j, k)| {
        let (i_low, j_low, k_low) = (i.saturating_sub(1), j.saturating_sub(1), k.saturating_sub(1));
        let (i_high, j_high, k_high) = ((i + 1).min(n0 - 1), (j + 1).min(n1 - 1), (k + 1).min(n2 - 1));
        let neighbours = [
            mask[[i_low, j, k]],
            mask[[i_high, j, k]],
            mask[[i, j_low, k]],
            mask[[i, j_high, k]],
            mask[[i, j, k_low]],
            mask[[i, j, k_high]],
        ];
        rule(mask[[i, j, k]], neighbours)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(radius_mm: f64, value: f32) -> Volume {
        let affine = Affine::from_axes([[0.0, 0.0, 2.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0]], [-110.0, -110.0, -110.0]);
        let data = Array3::from_shape_fn((111, 111, 111), |(i, j, k)| {
            let p = affine.apply([i as f64, j as f64, k as f64]);
            let inside = p[0].powi(2) + (p[1] / 1.2).powi(2) + p[2].powi(2) < radius_mm * radius_mm;
            if inside { value } else { 0.01 * value * ((i * 7 + j * 13 + k * 29) % 11) as f32 }
        });
        Volume { data, affine }
    }

    #[test]
    fn an_ellipsoid_is_measured() {
        let head = find(&ball(70.0, 300.0), 2.0).unwrap();
        let m = head.measures;
        let expected_ml = 4.0 / 3.0 * std::f64::consts::PI * 7.0f64.powi(3) * 1.2;
        assert!((m.volume_ml / expected_ml - 1.0).abs() < 0.03, "{m:?}");
        assert!((m.vertex_z_mm - 68.0).abs() <= 4.0, "{m:?}");
        assert!(m.middle_x_mm.abs() <= 2.0 && m.middle_y_mm.abs() <= 2.0, "{m:?}");
        assert!(m.length_mm > 1.1 * m.width_mm, "{m:?}");
        assert_eq!(m.crown_cut_cm2, 0.0);
    }

    /// A dark ring all around: the brain is a component of its own, and so are scalp and face; a ghost stays out.
    #[test]
    fn brain_and_scalp_are_both_head_where_a_dark_skull_parts_them() {
        let mut head = ball(80.0, 300.0);
        let radius = |p: [f64; 3]| (p[0].powi(2) + (p[1] / 1.2).powi(2) + p[2].powi(2)).sqrt();
        let affine = head.affine;
        for ((i, j, k), value) in head.data.indexed_iter_mut() {
            let p = affine.apply([i as f64, j as f64, k as f64]);
            if (56.0..64.0).contains(&radius(p)) {
                *value = 3.0;
            }
            // Eyes and ears leave the scalp open, so that filling cannot make up for a brain that was dropped.
            if p[2].abs() < 10.0 && p[1] < -60.0 {
                *value = 3.0;
            }
            if p.iter().all(|v| (-108.0..-88.0).contains(v)) {
                *value = 300.0;
            }
        }
        let found = find(&head, 2.0).unwrap();
        let is_head = |p: [f64; 3]| {
            let at = found.grid.affine.inverse().unwrap().apply(p).map(|v| v.round() as usize);
            found.mask[at]
        };
        assert!(is_head([0.0, 0.0, 0.0]) && is_head([0.0, -40.0, 4.0]), "brain");
        assert!(is_head([72.0, 0.0, 0.0]) && is_head([0.0, 0.0, 72.0]), "scalp");
        assert!(!is_head([-98.0, -98.0, -98.0]), "ghost");
    }

    #[test]
    fn nothing_and_next_to_nothing_are_no_head() {
        let mut empty = ball(70.0, 1.0);
        empty.data.fill(0.0);
        assert!(matches!(find(&empty, 2.0), Err(HeadError::Flat { .. })));
        assert!(matches!(find(&ball(30.0, 100.0), 2.0), Err(HeadError::TooSmall { .. })));
    }
}
