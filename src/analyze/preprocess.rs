//! Preprocessing `fcdd-2`: from a volume on the scanner's grid to the tensor that a network sees. One pure
//! function, used by serving and by training.
//!
//! 1. The head is found ([`super::head_mask`]).
//! 2. The target grid lies along the world's R, A and S axes (no permutation of the scanner's axes), isotropic,
//!    `[D, H, W]` = left-right, posterior-anterior, inferior-superior. It is centred on the head's middle left-right and
//!    front-back; its upper end is 6 mm above the vertex, so what does not fit is cut at the neck. Its voxel centres are
//!    whole multiples of the spacing in LPS: every acquisition of a head lands on the same lattice.
//! 3. Low-pass along source axes that are finer than the target ([`crate::volume::low_pass`]), then trilinear
//!    interpolation ([`crate::volume::resample`]).
//! 4. z-score with mean and standard deviation of the head's voxels within the grid; everything else gets the
//!    manifest's background value.
//!
//! The returned grid is the transform: `grid.affine` maps a tensor index to LPS mm, the same frame as the source's.

use ndarray::{Array3, Zip};

use super::head_mask::{self, HeadError, HeadMeasures, ras_axes};
use crate::study::Reason;
use crate::volume::{Grid, SingularAffine, Volume, low_pass, resample};

/// The name that manifests use for what this file does.
pub const NAME: &str = "fcdd-2";
/// Room between the vertex and the upper end of the grid, mm.
const VERTEX_MARGIN_MM: f64 = 6.0;

/// What a network wants to see, from its manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputSpec {
    /// Voxels along `[D, H, W]`.
    pub shape: [usize; 3],
    /// Edge of a voxel, mm.
    pub spacing_mm: f64,
    /// Value outside the head, after z-scoring.
    pub background: f32,
}

/// Where a network looks: its input grid, and which of its voxels are head.
#[derive(Debug, Clone)]
pub struct FieldOfView {
    /// Place of the tensor: index `[D, H, W]` to LPS mm.
    pub grid: Grid,
    /// True inside the head, on that grid.
    pub head: Array3<bool>,
}

/// A volume made ready for a network.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// z-scored intensities, `[D, H, W]`, C order.
    pub tensor: Array3<f32>,
    /// Place of the tensor, and the head on it.
    pub view: FieldOfView,
    /// Mean of the head's intensities within the grid, in the source's units.
    pub mean: f64,
    /// Their standard deviation.
    pub standard_deviation: f64,
    /// What was measured on the head.
    pub measures: HeadMeasures,
}

/// Why a volume could not be made ready. Each has a stable code, see [`PreprocessError::reason`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    /// No head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The source's affine has no inverse.
    #[error(transparent)]
    Geometry(#[from] SingularAffine),
    /// NaN or infinite values.
    #[error("{count} of {of} voxels are not finite numbers; the series cannot be read as an image")]
    NotFinite {
        /// Voxels that are NaN or infinite.
        count: usize,
        /// Voxels in all.
        of: usize,
    },
    /// The head's voxels all have one value.
    #[error("the head has no contrast (standard deviation {standard_deviation:e} about {mean:e})")]
    NoContrast {
        /// Mean of the head's voxels.
        mean: f64,
        /// Their standard deviation.
        standard_deviation: f64,
    },
}

impl PreprocessError {
    /// The reason that withholds the verdict.
    pub fn reason(&self) -> Reason {
        let code = match self {
            PreprocessError::Head(HeadError::TooSmall { .. } | HeadError::Flat { .. }) => "no_head_found",
            PreprocessError::Head(HeadError::Geometry(_)) | PreprocessError::Geometry(_) => "unusable_geometry",
            PreprocessError::NotFinite { .. } => "values_not_finite",
            PreprocessError::NoContrast { .. } => "no_contrast_in_head",
        };
        Reason::new(code, self.to_string())
    }
}

/// Makes `volume` ready for a network.
///
/// # Errors
/// See [`PreprocessError`]; none of them is a fault of this machine, all are statements about the series.
pub fn prepare(volume: &Volume, spec: &InputSpec) -> Result<Prepared, PreprocessError> {
    let not_finite = volume.data.iter().filter(|v| !v.is_finite()).count();
    if not_finite > 0 {
        return Err(PreprocessError::NotFinite { count: not_finite, of: volume.data.len() });
    }
    let scout_spacing_mm = head_mask::scout_spacing_mm(spec.spacing_mm);
    let mut filtered = low_pass::filtered(volume, scout_spacing_mm);
    let head = head_mask::find_in_filtered(filtered.as_ref().unwrap_or(volume), scout_spacing_mm)?;
    let grid = target_grid(spec, &head.measures);
    let head_on_grid = resample::majority(head.mask.view(), &head.grid, &grid)?;
    if scout_spacing_mm != spec.spacing_mm {
        drop(filtered); // Before the next one takes as much memory.
        filtered = low_pass::filtered(volume, spec.spacing_mm);
    }
    let source = filtered.as_ref().unwrap_or(volume);
    // What is not head gets the background value below, whatever it is.
    let mut tensor = resample::trilinear_within(source, &grid, head_on_grid.view(), 0.0)?;
    drop(filtered);

    let (mean, standard_deviation) = mean_and_deviation(&tensor, &head_on_grid);
    if standard_deviation.is_nan() || standard_deviation <= 1e-6 * mean.abs().max(f64::MIN_POSITIVE) {
        return Err(PreprocessError::NoContrast { mean, standard_deviation });
    }
    Zip::from(&mut tensor).and(&head_on_grid).for_each(|value, inside| {
        *value = if *inside { ((f64::from(*value) - mean) / standard_deviation) as f32 } else { spec.background };
    });
    let view = FieldOfView { grid, head: head_on_grid };
    Ok(Prepared { tensor, view, mean, standard_deviation, measures: head.measures })
}

fn target_grid(spec: &InputSpec, head: &HeadMeasures) -> Grid {
    let s = spec.spacing_mm;
    let snap = |mm: f64| (mm / s).round() * s;
    let half = |n: usize| (n as f64 - 1.0) / 2.0 * s;
    let origin = [
        snap(head.middle_x_mm + half(spec.shape[0])),
        snap(head.middle_y_mm + half(spec.shape[1])),
        snap(head.vertex_z_mm + VERTEX_MARGIN_MM) - (spec.shape[2] as f64 - 1.0) * s,
    ];
    Grid { shape: spec.shape, affine: ras_axes(s, origin) }
}

/// NaN for both when the mask is empty.
fn mean_and_deviation(values: &Array3<f32>, mask: &Array3<bool>) -> (f64, f64) {
    let inside = || values.iter().zip(mask).filter(|(_, m)| **m).map(|(v, _)| f64::from(*v));
    let (n, sum) = inside().fold((0.0, 0.0), |(n, sum), v| (n + 1.0, sum + v));
    let mean = sum / n;
    let variance = inside().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    /// An ellipsoid head with a neck, a ramp of intensities inside and a bright ball on the patient's left, as a
    /// function of the place in LPS mm; noise-free, edges 3 mm soft.
    fn subject(p: [f64; 3]) -> f64 {
        let radius = ((p[0] / 72.0).powi(2) + (p[1] / 90.0).powi(2) + (p[2] / 80.0).powi(2)).sqrt();
        let neck = ((p[0] / 50.0).powi(2) + ((p[1] - 20.0) / 50.0).powi(2)).sqrt();
        let skull = ((1.0 - radius) * 72.0 / 3.0).clamp(0.0, 1.0);
        let neck = if p[2] < 0.0 { ((1.0 - neck) * 50.0 / 3.0).clamp(0.0, 1.0) } else { 0.0 };
        let lesion = ((p[0] - 30.0).powi(2) + (p[1] + 20.0).powi(2) + (p[2] - 25.0).powi(2)).sqrt();
        let lesion = ((10.0 - lesion) / 3.0).clamp(0.0, 1.0);
        skull.max(neck) * (200.0 + 0.5 * p[0] - 0.3 * p[1] + 0.4 * p[2] + 250.0 * lesion)
    }

    fn acquired(shape: [usize; 3], axes: [[f64; 3]; 3]) -> Volume {
        let half = shape.map(|n| (n as f64 - 1.0) / 2.0);
        let linear = Affine::from_axes(axes, [0.0; 3]);
        let centre = linear.apply(half);
        let affine = Affine::from_axes(axes, [3.0 - centre[0], -4.0 - centre[1], -25.0 - centre[2]]);
        let data =
            Array3::from_shape_fn(shape, |(i, j, k)| subject(affine.apply([i as f64, j as f64, k as f64])) as f32);
        Volume { data, affine }
    }

    /// Rotation about x, then about z, of the three steps.
    fn turned(axes: [[f64; 3]; 3], about_x: f64, about_z: f64) -> [[f64; 3]; 3] {
        axes.map(|[x, y, z]| {
            let (y, z) = (y * about_x.cos() - z * about_x.sin(), y * about_x.sin() + z * about_x.cos());
            [x * about_z.cos() - y * about_z.sin(), x * about_z.sin() + y * about_z.cos(), z]
        })
    }

    const SPEC: InputSpec = InputSpec { shape: [80, 96, 80], spacing_mm: 2.0, background: -1.5 };
    const AXIAL: [[f64; 3]; 3] = [[0.0, 0.0, 1.2], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
    const SAGITTAL: [[f64; 3]; 3] = [[-1.2, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]];

    #[test]
    fn every_acquisition_of_a_head_gives_the_same_tensor() {
        let axial = prepare(&acquired([200, 250, 220], AXIAL), &SPEC).unwrap();
        let others = [
            ("sagittal", acquired([170, 240, 250], SAGITTAL)),
            ("oblique", acquired([200, 260, 230], turned(AXIAL, 0.25, -0.2))),
        ];
        for (name, volume) in others {
            let other = prepare(&volume, &SPEC).unwrap();
            assert_eq!(other.view.grid, axial.view.grid, "{name}");
            let mask_differs =
                Zip::from(&axial.view.head).and(&other.view.head).fold(0, |n, a, b| n + usize::from(a != b));
            assert!(mask_differs < 4000, "{name}: {mask_differs} voxels of the mask differ");
            let inside = axial.tensor.indexed_iter().zip(&other.tensor).filter(|((i, _), _)| {
                let p = axial.view.grid.affine.apply([i.0 as f64, i.1 as f64, i.2 as f64]);
                (p[0] / 62.0).powi(2) + (p[1] / 80.0).powi(2) + (p[2] / 70.0).powi(2) < 1.0
            });
            let (mut worst, mut sum, mut n) = (0f32, 0f64, 0usize);
            for ((_, a), b) in inside {
                worst = worst.max((a - b).abs());
                sum += f64::from((a - b).abs());
                n += 1;
            }
            // z-scores; the ball's soft edge is where two lattices differ most.
            assert!(
                n > 100_000 && worst < 0.5 && sum / (n as f64) < 0.02,
                "{name}: worst {worst}, mean {}",
                sum / n as f64
            );
        }
    }

    #[test]
    fn a_tensor_voxel_maps_to_its_exact_place_in_the_source() {
        let source = acquired([170, 240, 250], SAGITTAL);
        let prepared = prepare(&source, &SPEC).unwrap();
        let to_source = source.affine.inverse().unwrap().after(&prepared.view.grid.affine);
        let mut checked = 0;
        for i in [[30, 40, 60], [40, 48, 45], [25, 58, 62], [50, 30, 50]] {
            let p = prepared.view.grid.affine.apply(i.map(|x| x as f64));
            let back = source.affine.apply(to_source.apply(i.map(|x| x as f64)));
            assert!((0..3).all(|a| (p[a] - back[a]).abs() < 1e-9));
            let value = f64::from(prepared.tensor[i]) * prepared.standard_deviation + prepared.mean;
            if prepared.view.head[i] {
                checked += 1;
                assert!((value - subject(p)).abs() < 1.0, "{i:?}: {value} for {}", subject(p));
            }
        }
        assert_eq!(checked, 4);
    }

    #[test]
    fn axes_are_right_anterior_superior_and_the_vertex_stays() {
        let prepared = prepare(&acquired([200, 250, 220], AXIAL), &SPEC).unwrap();
        let grid = &prepared.view.grid;
        assert_eq!(
            [grid.affine.axis_mm(0), grid.affine.axis_mm(1), grid.affine.axis_mm(2)],
            [[-2.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 2.0]]
        );
        let top_mm = grid.affine.apply([0.0, 0.0, 79.0])[2];
        assert!(top_mm > 80.0 && top_mm < 92.0, "vertex at 80 mm, grid up to {top_mm} mm");
        let centre = grid.centre_lps_mm();
        assert!(centre[0].abs() <= 2.0 && centre[1].abs() <= 2.0, "{centre:?}");
        // The head's z-scores have mean 0 and deviation 1, everything else the background.
        let (mean, sd) = mean_and_deviation(&prepared.tensor, &prepared.view.head);
        assert!(mean.abs() < 1e-4 && (sd - 1.0).abs() < 1e-4, "{mean} {sd}");
        assert!(prepared.tensor.iter().zip(&prepared.view.head).all(|(v, h)| *h || *v == SPEC.background));
        assert!(!prepared.view.head[[0, 0, 79]]);
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        let mut volume = acquired([50, 60, 60], AXIAL.map(|a| a.map(|c| c * 4.0)));
        let code = |v: &Volume| prepare(v, &SPEC).unwrap_err().reason().code;
        volume.data[[3, 3, 3]] = f32::NAN;
        assert_eq!(code(&volume), "values_not_finite");
        volume.data.fill(0.0);
        assert_eq!(code(&volume), "no_head_found");
    }
}
