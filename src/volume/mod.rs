//! Volumes and their place in the patient: grids, affines, resampling, NIfTI.
//!
//! One convention everywhere: a volume is an [`ndarray::Array3`] in C order and its [`Affine`] maps the
//! array index `[i0, i1, i2]` to millimetres in DICOM's patient frame, **LPS** (x to the patient's left,
//! y to the back, z to the head; PS3.3 C.7.6.2.1.1). For a DICOM stack the axes are
//! `[slice, row, column]`; for a network input they are `[D, H, W]` along RAS directions. NIfTI's RAS+
//! exists only inside [`nifti`].

mod affine;
pub mod components;
pub mod low_pass;
pub mod nifti;
pub mod resample;

pub use affine::{Affine, SingularAffine};

use ndarray::Array3;

/// Shape and place of a sampled volume, without its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Number of samples along each array axis.
    pub shape: [usize; 3],
    /// Array index to LPS millimetres; integer indices are voxel centres.
    pub affine: Affine,
}

impl Grid {
    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when an axis has no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// LPS position (mm) of the grid's centre, between the first and the last voxel centre of each axis.
    pub fn centre_lps_mm(&self) -> [f64; 3] {
        self.affine.apply(self.shape.map(|n| (n as f64 - 1.0) / 2.0))
    }
}

/// A scalar volume: values in the source's units (rescaled), with its place.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Values, C order, axes as in [`Grid::shape`].
    pub data: Array3<f32>,
    /// Array index to LPS millimetres.
    pub affine: Affine,
}

impl Volume {
    /// The volume's grid.
    pub fn grid(&self) -> Grid {
        let (a, b, c) = self.data.dim();
        Grid { shape: [a, b, c], affine: self.affine }
    }
}
