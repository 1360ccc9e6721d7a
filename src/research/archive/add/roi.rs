//! A lesion mask on the image's grid, from NIfTI or DICOM segmentation, or the reason why it cannot be one.
//!
//! A mask whose grid is the image's (every corner within 0.1 mm) is taken voxel by voxel; any other is looked
//! up at each of the image's voxel centres (nearest neighbour), and must keep at least half of its volume there.

use std::path::{Path, PathBuf};

use ndarray::Array3;

use super::segmentation::{self, SegmentationError};
use crate::analyze::head_mask::{self, HeadError};
use crate::dicom::Uid;
use crate::volume::nifti::{self, NiftiError};
use crate::volume::resample::{IndexWalk, at_nearest};
use crate::volume::{Grid, SingularAffine, Volume};

/// Corners nearer than this (mm) are the same: NIfTI keeps its matrix in single precision.
pub const SAME_GRID_MM: f64 = 0.1;
/// At least this part of the mask's voxels must lie in the head.
const LEAST_IN_HEAD: f64 = 0.5;
/// At least this part of the mask's volume must still be there on the image's grid.
const LEAST_KEPT: f64 = 0.5;
/// The head is looked for at this spacing, mm; only its place matters here.
const HEAD_SPACING_MM: f64 = 2.0;
/// More labels than this are no label map.
const MOST_LABELS: usize = 64;

/// Why a mask cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoiError {
    /// Not readable as NIfTI.
    #[error(transparent)]
    Nifti(#[from] NiftiError),
    /// Not usable as a segmentation object.
    #[error(transparent)]
    Segmentation(#[from] SegmentationError),
    /// Values that are no mask.
    #[error("{path} is no mask: {why}")]
    NotAMask {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Several labels, and none was asked for.
    #[error("{path} holds several labels ({labels}); say which one is the lesion with --segment N")]
    SeveralLabels {
        /// The file.
        path: PathBuf,
        /// The labels.
        labels: String,
    },
    /// Nothing is marked.
    #[error("{path} marks nothing: no voxel is set{}", label.map(|n| format!(" to {n}")).unwrap_or_default())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The label that was asked for.
        label: Option<u32>,
    },
    /// Little of it is left on the image's grid.
    #[error(
        "{path} marks {mask_ml:.2} ml, of which {kept_ml:.2} ml lie on the image's grid; was it drawn on another study, or on a much finer grid?"
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// Volume as drawn, ml.
        mask_ml: f64,
        /// Volume on the image's grid, ml.
        kept_ml: f64,
    },
    /// It lies beside the head.
    #[error("only {percent:.0} % of {path} lies in the head; was it drawn on another study?")]
    BesideHead {
        /// The file.
        path: PathBuf,
        /// Part in the head, percent.
        percent: f64,
    },
    /// There is no head in the image.
    #[error("the mask's place cannot be checked: {0}")]
    Head(#[from] HeadError),
    /// A grid that maps onto a plane.
    #[error(transparent)]
    Geometry(#[from] SingularAffine),
    /// Drawn on an image with another frame of reference.
    #[error(
        "{path} was drawn on the {drawn_on}, whose frame of reference is not that of the {image}: positions of the one say nothing about the other; draw it on the {image}"
    )]
    OtherFrame {
        /// The file.
        path: PathBuf,
        /// The image whose grid the mask has.
        drawn_on: &'static str,
        /// The image that the mask is written for.
        image: &'static str,
    },
}

/// The image for which the mask is.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// `FLAIR` or `T1`.
    pub name: &'static str,
    /// Its voxels.
    pub volume: &'a Volume,
    /// Its series.
    pub series_uid: &'a Uid,
    /// Its Frame of Reference UID (0020,0052); may be empty.
    pub frame_of_reference: &'a str,
}

/// A mask on the image's grid.
#[derive(Debug, Clone)]
pub struct Roi {
    /// 0 and 1.
    pub volume: Volume,
    /// Volume, ml.
    pub volume_ml: f64,
    /// Whether the grid was another one.
    pub was_resampled: bool,
}

/// Reads a mask for `target`. `others` are the study's other images: a NIfTI mask on the grid of one with
/// another frame of reference is refused.
///
/// # Errors
/// See [`RoiError`].
pub fn read(path: &Path, segment: Option<u32>, target: Target<'_>, others: &[Target<'_>]) -> Result<Roi, RoiError> {
    let is_nifti = path.to_string_lossy().ends_with(".nii") || path.to_string_lossy().ends_with(".nii.gz");
    let drawn = if is_nifti {
        let drawn = label_of_nifti(path, segment)?;
        let grid = target.volume.grid();
        let same = |image: &&Target<'_>| is_same_grid(&drawn.grid(), &image.volume.grid());
        if !is_same_grid(&drawn.grid(), &grid)
            && let Some(other) = others.iter().find(same)
            && other.frame_of_reference != target.frame_of_reference
        {
            return Err(RoiError::OtherFrame { path: path.to_owned(), drawn_on: other.name, image: target.name });
        }
        drawn
    } else {
        segmentation::read(path, segment, &target)?
    };
    on_grid(path, segment, &drawn, target.volume)
}

/// One label of a NIfTI file as 0 and 1.
fn label_of_nifti(path: &Path, label: Option<u32>) -> Result<Volume, RoiError> {
    let volume = nifti::read(path)?;
    let not_a_mask = |why: String| RoiError::NotAMask { path: path.to_owned(), why };
    let mut labels: Vec<f32> = Vec::new();
    let mut has_parts = false;
    for value in volume.data.iter().copied() {
        if !value.is_finite() || value < 0.0 {
            return Err(not_a_mask(format!("it holds the value {value}")));
        }
        has_parts |= value.fract() != 0.0;
        if value > 0.0 && !has_parts && !labels.contains(&value) {
            labels.push(value);
            if labels.len() > MOST_LABELS {
                return Err(not_a_mask(format!("it holds more than {MOST_LABELS} values, like an image")));
            }
        }
    }
    let data = if has_parts {
        // Parts of voxels, as interpolation leaves them.
        if volume.data.iter().any(|v| *v > 1.0) {
            return Err(not_a_mask("it holds fractions and values above 1, like an image".to_owned()));
        }
        volume.data.mapv(|v| f32::from(u8::from(v >= 0.5)))
    } else {
        labels.sort_by(f32::total_cmp);
        let wanted = match (label, labels.as_slice()) {
            (Some(n), _) => n as f32,
            (None, [only]) => *only,
            (None, []) => return Err(RoiError::Empty { path: path.to_owned(), label: None }),
            (None, several) => {
                let labels = several.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
                return Err(RoiError::SeveralLabels { path: path.to_owned(), labels });
            }
        };
        volume.data.mapv(|v| f32::from(u8::from(v == wanted)))
    };
    Ok(Volume { data, affine: volume.affine })
}

/// Puts a mask onto the image's grid and checks that it is one of this head.
fn on_grid(path: &Path, label: Option<u32>, drawn: &Volume, image: &Volume) -> Result<Roi, RoiError> {
    let mask_ml = volume_ml(drawn);
    if mask_ml == 0.0 {
        return Err(RoiError::Empty { path: path.to_owned(), label });
    }
    let grid = image.grid();
    let was_resampled = !is_same_grid(&drawn.grid(), &grid);
    let data = if was_resampled { nearest(drawn, &grid)? } else { drawn.data.clone() };
    let mask = Volume { data, affine: grid.affine };
    let kept_ml = volume_ml(&mask);
    if kept_ml < LEAST_KEPT * mask_ml {
        return Err(RoiError::Lost { path: path.to_owned(), mask_ml, kept_ml });
    }
    let part = part_in_head(&mask, image)?;
    if part < LEAST_IN_HEAD {
        return Err(RoiError::BesideHead { path: path.to_owned(), percent: 100.0 * part });
    }
    Ok(Roi { volume: mask, volume_ml: kept_ml, was_resampled })
}

fn volume_ml(mask: &Volume) -> f64 {
    mask.data.iter().filter(|v| **v > 0.5).count() as f64 * mask.affine.determinant().abs() / 1000.0
}

/// Equal shapes, and every corner within [`SAME_GRID_MM`].
pub fn is_same_grid(a: &Grid, b: &Grid) -> bool {
    if a.shape != b.shape {
        return false;
    }
    (0..8).all(|corner: usize| {
        let index = [0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { a.shape[axis] as f64 - 1.0 } else { 0.0 });
        let (p, q) = (a.affine.apply(index), b.affine.apply(index));
        (0..3).map(|c| (p[c] - q[c]).powi(2)).sum::<f64>().sqrt() < SAME_GRID_MM
    })
}

/// The mask's value at each voxel centre of the grid; 0 outside.
fn nearest(mask: &Volume, grid: &Grid) -> Result<Array3<f32>, SingularAffine> {
    let walk = IndexWalk::new(grid, &mask.grid())?;
    Ok(Array3::from_shape_fn(grid.shape, |(i, j, k)| {
        let position = walk.along_row(walk.row_start(i, j), k);
        at_nearest(&mask.data, position).copied().unwrap_or(0.0)
    }))
}

fn part_in_head(mask: &Volume, image: &Volume) -> Result<f64, RoiError> {
    let head = head_mask::find(image, HEAD_SPACING_MM)?;
    let walk = IndexWalk::new(&mask.grid(), &head.grid)?;
    let (mut all, mut inside) = (0usize, 0usize);
    for ((i, j, k), _) in mask.data.indexed_iter().filter(|(_, v)| **v > 0.5) {
        all += 1;
        let position = walk.along_row(walk.row_start(i, j), k);
        inside += usize::from(at_nearest(&head.mask, position).is_some_and(|v| *v));
    }
    Ok(inside as f64 / all.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    fn identity(shape: (usize, usize, usize), step: f64) -> Volume {
        let affine = Affine::from_axes([[step, 0.0, 0.0], [0.0, step, 0.0], [0.0, 0.0, step]], [0.0; 3]);
        Volume { data: Array3::zeros(shape), affine }
    }

    #[test]
    fn a_turned_and_mirrored_grid_keeps_the_place() {
        let mut mask = identity((6, 7, 8), 1.0);
        mask.data[[1, 2, 3]] = 1.0;
        // The same voxels with the axes in another order and one of them backwards.
        let turned = Grid {
            shape: [8, 6, 7],
            affine: Affine::from_axes([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [0.0, 0.0, 7.0]),
        };
        let out = nearest(&mask, &turned).unwrap();
        assert_eq!(out.sum(), 1.0);
        assert_eq!(out[[4, 1, 2]], 1.0);
    }

    #[test]
    fn grids_are_the_same_within_a_tenth_of_a_millimetre() {
        let a = identity((4, 4, 4), 1.0).grid();
        let moved = |mm: f64| Grid {
            affine: Affine { rows: [[1.0, 0.0, 0.0, mm], a.affine.rows[1], a.affine.rows[2]] },
            ..a.clone()
        };
        assert!(is_same_grid(&a, &moved(0.09)) && !is_same_grid(&a, &moved(0.11)));
    }

    #[test]
    fn labels_are_chosen_or_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.nii.gz");
        let mut volume = identity((3, 3, 3), 1.0);
        nifti::write(&path, &volume).unwrap();
        assert!(matches!(label_of_nifti(&path, None), Err(RoiError::Empty { .. })));
        volume.data[[0, 0, 0]] = 2.0;
        nifti::write(&path, &volume).unwrap();
        assert_eq!(label_of_nifti(&path, None).unwrap().data.sum(), 1.0);
        volume.data[[0, 0, 1]] = 3.0;
        volume.data[[0, 0, 2]] = 3.0;
        nifti::write(&path, &volume).unwrap();
        assert!(label_of_nifti(&path, None).unwrap_err().to_string().contains("2, 3"));
        assert_eq!(label_of_nifti(&path, Some(3)).unwrap().data.sum(), 2.0);
        volume.data.fill(f32::NAN);
        nifti::write(&path, &volume).unwrap();
        assert!(matches!(label_of_nifti(&path, None), Err(RoiError::NotAMask { .. })));
    }
}
