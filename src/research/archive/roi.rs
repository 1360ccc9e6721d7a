//! Lesion masks: read, compared with their image's grid, brought onto any grid by nearest neighbour.

use std::path::{Path, PathBuf};

use ndarray::{Array3, Axis};
use rayon::prelude::*;

use crate::volume::nifti::{self, NiftiError};
use crate::volume::resample::IndexWalk;
use crate::volume::{Grid, SingularAffine, Volume};

/// Corners of two grids may differ by this and are still the same place, mm: headers are single precision.
const SAME_PLACE_MM: f64 = 0.05;

/// A mask that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoiError {
    /// The file.
    #[error(transparent)]
    File(#[from] NiftiError),
    /// Its affine has no inverse.
    #[error(transparent)]
    Geometry(#[from] SingularAffine),
    /// Values that are no numbers.
    #[error("{path} has {count} voxels that are not finite numbers; a mask has 0 and 1")]
    NotFinite {
        /// The mask.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// A lesion mask on its own grid.
#[derive(Debug, Clone)]
pub struct Mask {
    /// True in the lesion.
    pub inside: Array3<bool>,
    /// Its place.
    pub grid: Grid,
}

impl Mask {
    /// Voxels of the lesion.
    pub fn count_voxels(&self) -> usize {
        self.inside.iter().filter(|v| **v).count()
    }

    /// Volume of the lesion, ml.
    pub fn volume_ml(&self) -> f64 {
        self.count_voxels() as f64 * self.grid.affine.determinant().abs() / 1000.0
    }

    /// The mask on `target`, by nearest neighbour; false where the mask does not reach.
    ///
    /// # Errors
    /// When the mask's affine has no inverse.
    pub fn on_grid(&self, target: &Grid) -> Result<Array3<bool>, SingularAffine> {
        let walk = IndexWalk::new(target, &self.grid)?;
        let mut out = Array3::from_elem(target.shape, false);
        out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i0, mut slab)| {
            for (i1, mut row) in slab.outer_iter_mut().enumerate() {
                let start = walk.row_start(i0, i1);
                for (i2, value) in row.iter_mut().enumerate() {
                    let nearest = walk.along_row(start, i2).map(f64::round);
                    if nearest.iter().all(|n| *n >= 0.0) {
                        let index = nearest.map(|n| n as usize);
                        *value = self.inside.get(index).copied().unwrap_or(false);
                    }
                }
            }
        });
        Ok(out)
    }
}

/// Reads a mask: voxels of at least 0.5 are lesion.
///
/// # Errors
/// See [`RoiError`].
pub fn read(path: &Path) -> Result<Mask, RoiError> {
    let volume: Volume = nifti::read(path)?;
    let count = volume.data.iter().filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(RoiError::NotFinite { path: path.to_owned(), count });
    }
    Ok(Mask { inside: volume.data.mapv(|v| v >= 0.5), grid: volume.grid() })
}

/// Reads a mask and brings it onto `target` (the T1's grid, a network's input grid ...) by nearest neighbour.
///
/// # Errors
/// See [`RoiError`].
pub fn on_grid(path: &Path, target: &Grid) -> Result<Array3<bool>, RoiError> {
    Ok(read(path)?.on_grid(target)?)
}

/// Whether two grids have the same voxels at the same places.
pub fn is_same_grid(a: &Grid, b: &Grid) -> bool {
    a.shape == b.shape
        && (0..8usize).all(|corner| {
            let index: [f64; 3] =
                std::array::from_fn(|axis| if corner >> axis & 1 == 1 { a.shape[axis] as f64 - 1.0 } else { 0.0 });
            let (p, q) = (a.affine.apply(index), b.affine.apply(index));
            (0..3).all(|axis| (p[axis] - q[axis]).abs() <= SAME_PLACE_MM)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    fn axes(spacing_mm: [f64; 3], origin_mm: [f64; 3]) -> Affine {
        let [a, b, c] = spacing_mm;
        Affine::from_axes([[0.0, 0.0, a], [0.0, b, 0.0], [c, 0.0, 0.0]], origin_mm)
    }

    /// A box from LPS (0, 10, 20) to (30, 40, 50), each edge half a voxel off the centres of both grids.
    #[test]
    fn a_mask_keeps_its_place_on_a_turned_and_finer_grid() {
        let is_in = |p: [f64; 3]| {
            [(0.0, 30.0), (10.0, 40.0), (20.0, 50.0)].iter().zip(p).all(|((low, high), v)| v > *low && v < *high)
        };
        let grid = Grid { shape: [60, 60, 60], affine: axes([1.0; 3], [-10.5, -0.5, 0.5]) };
        let inside =
            Array3::from_shape_fn(grid.shape, |(i, j, k)| is_in(grid.affine.apply([i as f64, j as f64, k as f64])));
        let mask = Mask { inside, grid };
        assert!((mask.volume_ml() - 27.0).abs() < 1e-9);
        let target = Grid {
            shape: [80, 100, 140],
            affine: Affine::from_axes([[-0.5, 0.0, 0.0], [0.0, -0.5, 0.0], [0.0, 0.0, 0.5]], [38.75, 48.75, -2.25]),
        };
        let out = mask.on_grid(&target).unwrap();
        let wrong = out
            .indexed_iter()
            .filter(|((i, j, k), v)| **v != is_in(target.affine.apply([*i as f64, *j as f64, *k as f64])))
            .count();
        assert_eq!(wrong, 0);
        assert_eq!(out.iter().filter(|v| **v).count(), 27000 * 8);
    }

    #[test]
    fn a_shifted_grid_is_another_grid() {
        let grid = Grid { shape: [60, 60, 60], affine: axes([1.0; 3], [0.0; 3]) };
        let rounded = Grid { affine: axes([1.0; 3], [0.01, 0.0, 0.0]), ..grid.clone() };
        let shifted = Grid { affine: axes([1.0; 3], [0.5, 0.0, 0.0]), ..grid.clone() };
        let stretched = Grid { affine: axes([1.01, 1.0, 1.0], [0.0; 3]), ..grid.clone() };
        assert!(is_same_grid(&grid, &rounded));
        assert!(!is_same_grid(&grid, &shifted) && !is_same_grid(&grid, &stretched));
    }
}
