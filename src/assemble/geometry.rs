//! From slice positions to a regular grid, or to the reason why there is none.
//!
//! Slices are ordered by their position along the normal (row direction × column direction), never by
//! instance number; the distance between them comes from the positions, never from Slice Thickness
//! (PS3.3 C.7.6.2.1.1).

use crate::study::{ImagePlane, SeriesVerdict};
use crate::volume::Affine;

/// Slices nearer to each other than this along the normal lie at the same place (mm).
const SAME_PLACE_MM: f64 = 0.02;
/// A slice may lie this far from its place in a regular grid (mm), or this part of the slice distance.
const OFF_GRID_MM: f64 = 0.05;
const OFF_GRID_PART: f64 = 0.02;
/// Slice origins may run this far off the normal (degrees) before it counts as tilt.
const TILT_DEGREES: f64 = 0.5;
/// Directions that differ by less than this in every component are the same orientation.
const SAME_DIRECTION: f64 = 2e-3;

/// A regular stack.
#[derive(Debug, Clone, PartialEq)]
pub struct RegularGrid {
    /// For each slice of the volume, the index of its image.
    pub order: Vec<usize>,
    /// Index `[slice, row, column]` to LPS mm.
    pub affine: Affine,
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Direction of increasing column index, of increasing row index, and their cross product, normalised.
pub fn directions(orientation: &[f64; 6]) -> [[f64; 3]; 3] {
    let unit = |v: [f64; 3]| v.map(|c| c / dot(v, v).sqrt());
    let along_row = unit([orientation[0], orientation[1], orientation[2]]);
    let along_column = unit([orientation[3], orientation[4], orientation[5]]);
    let (r, c) = (along_row, along_column);
    let normal = [r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0]];
    [along_row, along_column, unit(normal)]
}

/// Whether two planes are parallel with the same row and column directions.
pub fn same_orientation(a: &ImagePlane, b: &ImagePlane) -> bool {
    a.orientation.iter().zip(&b.orientation).all(|(x, y)| (x - y).abs() < SAME_DIRECTION)
}

/// Whether two planes have the same matrix and pixel spacing.
pub fn same_size(a: &ImagePlane, b: &ImagePlane) -> bool {
    let same = |x: f64, y: f64| (x - y).abs() <= 1e-4 * x.max(y);
    (a.rows, a.columns) == (b.rows, b.columns)
        && same(a.pixel_spacing_mm[0], b.pixel_spacing_mm[0])
        && same(a.pixel_spacing_mm[1], b.pixel_spacing_mm[1])
}

/// Position of each plane along the first one's normal, with its index, in increasing order.
fn along_normal(planes: &[&ImagePlane]) -> Vec<(f64, usize)> {
    let Some(first) = planes.first() else { return Vec::new() };
    let normal = directions(&first.orientation)[2];
    let mut places: Vec<(f64, usize)> =
        planes.iter().enumerate().map(|(i, p)| (dot(p.position_mm, normal), i)).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    places
}

/// How many planes lie where another one already lies.
pub fn duplicates(planes: &[&ImagePlane]) -> usize {
    along_normal(planes).windows(2).filter(|w| w[1].0 - w[0].0 < SAME_PLACE_MM).count()
}

/// The regular grid of parallel planes of one size, or the verdict that they deserve.
pub fn regular_grid(planes: &[&ImagePlane]) -> Result<RegularGrid, SeriesVerdict> {
    let places = along_normal(planes);
    let (Some(&(start, first)), Some(&(end, last))) = (places.first(), places.last()) else {
        return Err(SeriesVerdict::NoGeometry { what: "no images".to_owned() });
    };
    if places.len() == 1 {
        return Err(SeriesVerdict::SingleSlice);
    }
    let duplicates = duplicates(planes);
    if duplicates > 0 {
        return Err(SeriesVerdict::DuplicatePosition { duplicates });
    }
    check_distances(&places.iter().map(|p| p.0).collect::<Vec<_>>())?;
    let plane = planes[first];
    let [along_row, along_column, normal] = directions(&plane.orientation);
    let steps = (places.len() - 1) as f64;
    let step = minus(planes[last].position_mm, plane.position_mm).map(|c| c / steps);
    let sideways = minus(step, normal.map(|c| c * dot(step, normal)));
    let degrees = dot(sideways, sideways).sqrt().atan2((end - start) / steps).to_degrees();
    if degrees > TILT_DEGREES {
        return Err(SeriesVerdict::GantryTilt { degrees });
    }
    // Each slice must lie where the grid says, sideways too: a shifted slice is no regular volume.
    let off_grid = OFF_GRID_MM.max(OFF_GRID_PART * (end - start) / steps);
    for (i, (_, index)) in places.iter().enumerate() {
        let due = [0, 1, 2].map(|c| plane.position_mm[c] + step[c] * i as f64);
        let off = minus(planes[*index].position_mm, due);
        if dot(off, off).sqrt() > off_grid {
            let what = format!("slice {i} lies {:.3} mm beside the line of the others", dot(off, off).sqrt());
            return Err(SeriesVerdict::NoGeometry { what });
        }
    }
    let [between_rows, between_columns] = plane.pixel_spacing_mm;
    let axes = [step, along_column.map(|c| c * between_rows), along_row.map(|c| c * between_columns)];
    Ok(RegularGrid { order: places.iter().map(|p| p.1).collect(), affine: Affine::from_axes(axes, plane.position_mm) })
}

/// Distances between neighbours must be the same: whole multiples are missing slices, the rest is uneven.
fn check_distances(positions_mm: &[f64]) -> Result<(), SeriesVerdict> {
    let distances: Vec<f64> = positions_mm.windows(2).map(|w| w[1] - w[0]).collect();
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    let (Some(&min_mm), Some(&max_mm)) = (sorted.first(), sorted.last()) else { return Ok(()) };
    // The lower middle: with as many gaps as neighbours, the neighbours' distance is the usual one.
    let spacing_mm = sorted[(sorted.len() - 1) / 2];
    let off = |d: f64, whole: f64| (d - whole * spacing_mm).abs() > OFF_GRID_MM.max(OFF_GRID_PART * spacing_mm) * whole;
    if distances.iter().all(|d| !off(*d, 1.0)) {
        return Ok(());
    }
    let whole = |d: f64| (d / spacing_mm).round();
    if distances.iter().any(|d| whole(*d) < 1.0 || off(*d, whole(*d))) {
        return Err(SeriesVerdict::UnevenSpacing { min_mm, max_mm });
    }
    let missing = distances.iter().map(|d| whole(*d) as usize - 1).sum();
    let after = distances.iter().position(|d| whole(*d) > 1.0).unwrap_or(0);
    Err(SeriesVerdict::MissingSlice { after, missing, gap_mm: distances[after], spacing_mm })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oblique planes at these distances along the normal, shifted sideways by `shear` mm per mm.
    fn planes(at_mm: &[f64], shear: f64) -> Vec<ImagePlane> {
        let (s, c) = 0.3f64.sin_cos();
        let orientation = [1.0, 0.0, 0.0, 0.0, c, s];
        let [_, along_column, normal] = directions(&orientation);
        let at = |d: f64| [0, 1, 2].map(|i| [10.0, -20.0, 30.0][i] + normal[i] * d + along_column[i] * d * shear);
        at_mm
            .iter()
            .map(|d| ImagePlane {
                position_mm: at(*d),
                orientation,
                pixel_spacing_mm: [0.5, 0.75],
                slice_thickness_mm: Some(99.0),
                rows: 4,
                columns: 3,
            })
            .collect()
    }

    fn grid(at_mm: &[f64], shear: f64) -> Result<RegularGrid, SeriesVerdict> {
        let planes = planes(at_mm, shear);
        regular_grid(&planes.iter().collect::<Vec<_>>())
    }

    #[test]
    fn order_and_spacing_come_from_positions() {
        let grid = grid(&[4.0, 0.0, 2.0, 6.0], 0.0).unwrap();
        assert_eq!(grid.order, [1, 2, 0, 3]);
        let spacing = grid.affine.spacing_mm();
        for (found, due) in spacing.iter().zip([2.0, 0.5, 0.75]) {
            assert!((found - due).abs() < 1e-12, "{spacing:?}");
        }
        // Axis 2 is the direction of increasing column index.
        assert!(grid.affine.axis_mm(2)[0] > 0.74);
    }

    #[test]
    fn a_gap_of_whole_slices_is_missing_slices() {
        let verdict = grid(&[0.0, 1.0, 2.0, 4.0, 5.0, 8.0], 0.0).unwrap_err();
        let SeriesVerdict::MissingSlice { after, missing, gap_mm, spacing_mm } = verdict else { panic!("{verdict}") };
        assert_eq!((after, missing), (2, 3));
        assert!((gap_mm - 2.0).abs() < 1e-9 && (spacing_mm - 1.0).abs() < 1e-9);
    }

    #[test]
    fn distances_without_pattern_are_uneven() {
        assert!(matches!(grid(&[0.0, 1.0, 2.4, 3.4], 0.0), Err(SeriesVerdict::UnevenSpacing { .. })));
    }

    #[test]
    fn an_image_at_the_place_of_another_is_a_duplicate() {
        assert_eq!(
            grid(&[0.0, 1.0, 1.001, 2.0, 2.0], 0.0).unwrap_err(),
            SeriesVerdict::DuplicatePosition { duplicates: 2 }
        );
    }

    #[test]
    fn origins_that_run_off_the_normal_are_tilt() {
        let verdict = grid(&[0.0, 2.0, 4.0], 14f64.to_radians().tan()).unwrap_err();
        let SeriesVerdict::GantryTilt { degrees } = verdict else { panic!("{verdict}") };
        assert!((degrees - 14.0).abs() < 1e-6);
    }

    #[test]
    fn one_slice_beside_the_line_is_no_volume() {
        let mut planes = planes(&[0.0, 1.0, 2.0, 3.0], 0.0);
        planes[1].position_mm[0] += 0.5;
        let verdict = regular_grid(&planes.iter().collect::<Vec<_>>()).unwrap_err();
        assert!(matches!(verdict, SeriesVerdict::NoGeometry { .. }));
    }

    #[test]
    fn one_slice_is_no_volume() {
        assert_eq!(grid(&[5.0], 0.0).unwrap_err(), SeriesVerdict::SingleSlice);
    }
}
