//! Right, near, vague or wrong: the four categories of the paper's Figure 2, by stated rules instead of by eye.
//!
//! The network says where by cells of its last map, so a cell (the total stride, in voxels of the input) is the ruler.
//! The map is min-max normalised within the brain. In this order:
//!
//! 1. **vague**: more than a quarter of the brain has half of the maximum or more: the map shows no place;
//! 2. **right**: the lesion reaches into the cell around the hottest voxel (half a cell along each axis);
//! 3. **near**: it reaches into one of the cells beside it (one and a half cells along each axis);
//! 4. **wrong**: neither.
//!
//! A coarse map is near to much. So that a reader sees what chance looks like, count the same categories with
//! [`super::heat_score::mirrored`] lesions beside them.

use ndarray::{ArrayView3, Zip};
use serde::{Deserialize, Serialize};

use super::heat_score::Undefined;

/// Share of the brain above which the hot part is vague.
const VAGUE_SHARE: f64 = 0.25;

/// How a map fares on a lesion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapCategory {
    /// The hottest place is the lesion's.
    Right,
    /// It is beside the lesion.
    Near,
    /// There is no hottest place.
    Vague,
    /// It is elsewhere.
    Wrong,
}

impl MapCategory {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            MapCategory::Right => "right",
            MapCategory::Near => "near",
            MapCategory::Vague => "vague",
            MapCategory::Wrong => "wrong",
        }
    }
}

/// How many maps are in each category.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryCounts {
    /// Right.
    pub right: usize,
    /// Near.
    pub near: usize,
    /// Vague.
    pub vague: usize,
    /// Wrong.
    pub wrong: usize,
    /// Constant maps and the like.
    pub undefined: usize,
}

/// The category of a map on a lesion; all three arrays share one grid, `cell` is the network's total stride `[D, H, W]`.
///
/// # Errors
/// A constant map, an empty lesion, no brain, values that are not finite, or different grids.
pub fn categorise(
    map: ArrayView3<'_, f32>,
    roi: ArrayView3<'_, bool>,
    brain: ArrayView3<'_, bool>,
    cell: [usize; 3],
) -> Result<MapCategory, Undefined> {
    if map.dim() != roi.dim() || map.dim() != brain.dim() {
        return Err(Undefined::OtherGrid);
    }
    if !roi.iter().any(|r| *r) {
        return Err(Undefined::EmptyRoi);
    }
    let (mut low, mut high, mut voxels, mut finite) = (f32::INFINITY, f32::NEG_INFINITY, 0usize, true);
    Zip::from(map).and(brain).for_each(|&value, &inside| {
        if inside {
            (low, high, voxels) = (low.min(value), high.max(value), voxels + 1);
            finite &= value.is_finite();
        }
    });
    if voxels == 0 {
        return Err(Undefined::NoBackground);
    }
    if !finite {
        return Err(Undefined::NotFinite);
    }
    if low >= high {
        return Err(Undefined::ConstantMap);
    }
    let half = low + (high - low) / 2.0;
    // The middle of the hottest voxels: beyond the last cell's centre the map is flat.
    let (mut hot, mut hottest, mut sum) = (0usize, 0usize, [0.0f64; 3]);
    for (((i, j, k), value), inside) in map.indexed_iter().zip(brain) {
        if !inside {
            continue;
        }
        hot += usize::from(*value >= half);
        if *value >= high {
            hottest += 1;
            for (total, index) in sum.iter_mut().zip([i, j, k]) {
                *total += index as f64;
            }
        }
    }
    if hot as f64 > VAGUE_SHARE * voxels as f64 {
        return Ok(MapCategory::Vague);
    }
    let centre = sum.map(|total| total / hottest as f64);
    // Distance from the centre in cells, along the axis where it is largest; of the nearest voxel of the lesion.
    let cells = roi
        .indexed_iter()
        .filter(|(_, r)| **r)
        .map(|((i, j, k), _)| {
            let distance = |axis: usize, index: usize| (index as f64 - centre[axis]).abs() / cell[axis].max(1) as f64;
            distance(0, i).max(distance(1, j)).max(distance(2, k))
        })
        .fold(f64::INFINITY, f64::min);
    Ok(match cells {
        c if c <= 0.5 => MapCategory::Right,
        c if c <= 1.5 => MapCategory::Near,
        _ => MapCategory::Wrong,
    })
}

/// Counts the categories.
pub fn count(categories: &[Result<MapCategory, Undefined>]) -> CategoryCounts {
    let mut counts = CategoryCounts::default();
    for category in categories {
        *match category {
            Ok(MapCategory::Right) => &mut counts.right,
            Ok(MapCategory::Near) => &mut counts.near,
            Ok(MapCategory::Vague) => &mut counts.vague,
            Ok(MapCategory::Wrong) => &mut counts.wrong,
            Err(_) => &mut counts.undefined,
        } += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    const CELL: [usize; 3] = [4, 8, 8];

    /// A cone of the given width around a voxel.
    fn spot(at: [usize; 3], width: f32) -> Array3<f32> {
        Array3::from_shape_fn((32, 32, 32), |(i, j, k)| {
            let d: f32 = [i, j, k].iter().zip(at).map(|(x, a)| (*x as f32 - a as f32).powi(2)).sum();
            (1.0 - d.sqrt() / width).max(0.0)
        })
    }

    fn of(map: &Array3<f32>, lesion: [usize; 3]) -> Result<MapCategory, Undefined> {
        let roi = Array3::from_shape_fn(map.dim(), |(i, j, k)| [i, j, k] == lesion);
        categorise(map.view(), roi.view(), Array3::from_elem(map.dim(), true).view(), CELL)
    }

    #[test]
    fn the_cell_is_the_ruler() {
        let map = spot([16, 16, 16], 6.0);
        assert_eq!(of(&map, [16, 16, 16]), Ok(MapCategory::Right));
        assert_eq!(of(&map, [18, 12, 20]), Ok(MapCategory::Right));
        // 3 of 4 voxels off along the first axis is beside; along the second it is within.
        assert_eq!(of(&map, [19, 16, 16]), Ok(MapCategory::Near));
        assert_eq!(of(&map, [16, 19, 16]), Ok(MapCategory::Right));
        assert_eq!(of(&map, [22, 28, 4]), Ok(MapCategory::Near));
        assert_eq!(of(&map, [23, 16, 16]), Ok(MapCategory::Wrong));
        assert_eq!(of(&spot([16, 16, 16], 40.0), [16, 16, 16]), Ok(MapCategory::Vague));
    }

    #[test]
    fn only_the_brain_counts_and_nothing_is_guessed() {
        let mut map = spot([16, 16, 16], 6.0);
        map[[0, 0, 0]] = 9.0;
        let mut brain = Array3::from_elem(map.dim(), true);
        brain[[0, 0, 0]] = false;
        let roi = Array3::from_shape_fn(map.dim(), |(i, j, k)| (i, j, k) == (16, 16, 16));
        assert_eq!(categorise(map.view(), roi.view(), brain.view(), CELL), Ok(MapCategory::Right));
        let undefined = [
            of(&Array3::zeros((4, 4, 4)), [1, 1, 1]),
            of(&map, [99, 0, 0]),
            of(&Array3::from_elem((4, 4, 4), f32::NAN), [1, 1, 1]),
            categorise(map.view(), roi.view(), Array3::from_elem(map.dim(), false).view(), CELL),
        ];
        use Undefined::{ConstantMap, EmptyRoi, NoBackground, NotFinite};
        assert_eq!(undefined, [Err(ConstantMap), Err(EmptyRoi), Err(NotFinite), Err(NoBackground)]);
        let counts = count(&[Ok(MapCategory::Right), Ok(MapCategory::Wrong), undefined[0]]);
        assert_eq!((counts.right, counts.wrong, counts.undefined), (1, 1, 1));
    }
}
