//! Regions: connected parts of the unnormalised map above the manifest's threshold.
//!
//! They are found on the network's input grid, in logit units, never on the display map, which has a brightest spot in
//! every study. One cell of the map is tens of millimetres wide: positions are stated to the millimetre because the grid
//! has them, and every report states the cell size beside them.

use ndarray::Array3;

use crate::study::{Hemisphere, Region, Sequence};
use crate::volume::components::{self, Connectivity};
use crate::volume::{Grid, SingularAffine};

/// What is known about the map on which regions are looked for.
#[derive(Debug, Clone, Copy)]
pub struct MapContext<'a> {
    /// Which sequence's map it is.
    pub sequence: Sequence,
    /// Place of the map: the network's input grid.
    pub grid: &'a Grid,
    /// The grid of the series from which the input was made.
    pub source: &'a Grid,
    /// Values above this belong to a region, logit units; never below 0.
    pub threshold_logit: f64,
    /// LPS x of the head's mid-plane, mm.
    pub middle_x_mm: f64,
    /// Width of a map cell from left to right, mm.
    pub cell_width_mm: f64,
}

/// The regions of a map (after ReLU, unnormalised, 0 outside the head), strongest first.
///
/// # Errors
/// When the source grid's affine has no inverse.
pub fn find(map: &Array3<f32>, context: &MapContext<'_>) -> Result<Vec<Region>, SingularAffine> {
    let threshold = context.threshold_logit.max(0.0);
    let mask = map.mapv(|v| f64::from(v) > threshold);
    let components = components::label(mask.view(), Connectivity::Corners26);
    let mut sums = vec![Sum::default(); components.sizes.len()];
    for ((index, label), value) in components.labels.indexed_iter().zip(map) {
        if let Some(sum) = label.checked_sub(1).and_then(|i| sums.get_mut(i as usize)) {
            sum.add([index.0, index.1, index.2], f64::from(*value));
        }
    }
    let to_source = context.source.affine.inverse()?;
    let voxel_mm3 = context.grid.affine.determinant().abs();
    let mut regions: Vec<Region> = sums
        .into_iter()
        .map(|sum| {
            let centroid = context.grid.affine.apply(sum.weighted.map(|w| w / sum.weight));
            let peak = context.grid.affine.apply(sum.peak_index.map(|i| i as f64));
            Region {
                sequence: context.sequence,
                centroid_lps_mm: centroid,
                peak_lps_mm: peak,
                peak_source_index: nearest_voxel(context.source, to_source.apply(peak)),
                peak_logit: sum.peak,
                volume_mm3: sum.voxels as f64 * voxel_mm3,
                hemisphere: hemisphere(centroid[0], context.middle_x_mm, context.cell_width_mm),
            }
        })
        .collect();
    regions.sort_by(|a, b| b.peak_logit.total_cmp(&a.peak_logit).then(b.volume_mm3.total_cmp(&a.volume_mm3)));
    Ok(regions)
}

/// A component under summation.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    voxels: usize,
    weight: f64,
    weighted: [f64; 3],
    peak: f64,
    peak_index: [usize; 3],
}

impl Sum {
    fn add(&mut self, index: [usize; 3], value: f64) {
        self.voxels += 1;
        self.weight += value;
        for (sum, i) in self.weighted.iter_mut().zip(index) {
            *sum += value * i as f64;
        }
        // The first of equals: beyond the outermost cell centre the map is held, so equals follow the centre.
        if value > self.peak {
            (self.peak, self.peak_index) = (value, index);
        }
    }
}

fn nearest_voxel(grid: &Grid, index: [f64; 3]) -> [usize; 3] {
    [0, 1, 2].map(|a| index[a].round().clamp(0.0, grid.shape[a].saturating_sub(1) as f64) as usize)
}

/// Left and right are the patient's; LPS x grows to the left.
fn hemisphere(x_mm: f64, middle_x_mm: f64, cell_width_mm: f64) -> Hemisphere {
    let offset = x_mm - middle_x_mm;
    if offset.abs() <= cell_width_mm / 2.0 {
        Hemisphere::Midline
    } else if offset > 0.0 {
        Hemisphere::Left
    } else {
        Hemisphere::Right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    fn ras(shape: [usize; 3], origin: [f64; 3]) -> Grid {
        Grid { shape, affine: Affine::from_axes([[-2.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 2.0]], origin) }
    }

    #[test]
    fn two_spots_are_two_regions_with_their_sides_strongest_first() {
        let grid = ras([40, 20, 20], [39.0, 0.0, 0.0]);
        let mut map = Array3::zeros(grid.shape);
        map[[2, 5, 5]] = 1.0; // index 2 lies 35 mm to the left
        map[[3, 5, 5]] = 3.0;
        map[[37, 10, 10]] = 5.0; // 35 mm to the right
        map[[20, 1, 1]] = 0.4; // below the threshold
        let source = ras([10, 10, 10], [39.0, 0.0, 0.0]);
        let context = MapContext {
            sequence: Sequence::T1,
            grid: &grid,
            source: &source,
            threshold_logit: 0.5,
            middle_x_mm: 0.0,
            cell_width_mm: 32.0,
        };
        let regions = find(&map, &context).unwrap();
        assert_eq!(regions.len(), 2);
        assert_eq!((regions[0].hemisphere, regions[1].hemisphere), (Hemisphere::Right, Hemisphere::Left));
        assert_eq!(regions[0].peak_lps_mm, [-35.0, -20.0, 20.0]);
        // Outside the source series' grid the nearest of its voxels is named.
        assert_eq!(regions[0].peak_source_index, [9, 9, 9]);
        assert_eq!(regions[1].centroid_lps_mm, [39.0 - 2.0 * 2.75, -10.0, 10.0]);
        assert_eq!(regions[1].volume_mm3, 16.0);
        assert_eq!(regions[1].peak_logit, 3.0);
    }

    #[test]
    fn the_middle_is_a_cell_wide() {
        assert_eq!(hemisphere(20.0, 4.0, 32.0), Hemisphere::Midline);
        assert_eq!(hemisphere(20.1, 4.0, 32.0), Hemisphere::Left);
        assert_eq!(hemisphere(-12.1, 4.0, 32.0), Hemisphere::Right);
    }

    #[test]
    fn a_silent_map_has_no_region_even_at_a_negative_threshold() {
        let grid = ras([4, 4, 4], [0.0; 3]);
        let context = MapContext {
            sequence: Sequence::T1,
            grid: &grid,
            source: &grid,
            threshold_logit: -3.0,
            middle_x_mm: 0.0,
            cell_width_mm: 32.0,
        };
        assert!(find(&Array3::zeros(grid.shape), &context).unwrap().is_empty());
    }
}
