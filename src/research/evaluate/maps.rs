//! Grad-CAM of networks on subjects that they never saw, by the code that serves: the ONNX graph's signed `cam` in ONNX
//! Runtime, placed by `analyze::gradcam`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use super::heat_score::{Background, Undefined, heat_score, mirrored};
use super::map_category::{MapCategory, categorise};
use crate::analyze::gradcam;
use crate::analyze::runtime::{self, Provider, RuntimeError};
use crate::analyze::session::{GraphShapes, ModelSessions, SessionError};
use crate::config::Device;
use crate::network::logit::mean;
use crate::network::manifest::Precision;
use crate::network::{NetworkSpec, Weights, WeightsError, onnx_model};
use crate::research::cache::Cache;
use crate::research::training::augment::flip::left_right;
use crate::volume::{Affine, Grid, SingularAffine};

/// A network could not be run on a subject.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The weights are not those of the plan's network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// ONNX Runtime refused the graph or failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// ONNX Runtime is not there.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The input grid has no inverse: cannot happen with a positive spacing.
    #[error(transparent)]
    Grid(#[from] SingularAffine),
    /// Somebody who has a score has no volume.
    #[error("{subject}: it is not in the cache; were the folds trained on another archive?")]
    Unknown {
        /// Who.
        subject: String,
    },
    /// A volume or mask does not have the network's input shape.
    #[error("{subject}: its volume has {found} voxels, the network reads {expected:?}")]
    Shape {
        /// Who.
        subject: String,
        /// Edge lengths that the network reads.
        expected: [usize; 3],
        /// Voxels there are.
        found: usize,
    },
}

/// Preprocessed volumes of subjects on one input grid.
pub trait Volumes: Sync {
    /// `[D, H, W]`.
    fn shape(&self) -> [usize; 3];
    /// z-scored intensities, C order; none where the subject is unknown.
    fn volume(&self, subject: &str) -> Option<&[f32]>;
    /// 1 inside the head, else 0.
    fn head(&self, subject: &str) -> Option<&[u8]>;
    /// 1 inside the lesion, else 0; none without a mask.
    fn lesion(&self, subject: &str) -> Option<&[u8]>;
}

impl Volumes for Cache {
    fn shape(&self) -> [usize; 3] {
        Cache::shape(self)
    }

    fn volume(&self, subject: &str) -> Option<&[f32]> {
        self.index_of(subject).map(|index| Cache::volume(self, index))
    }

    fn head(&self, subject: &str) -> Option<&[u8]> {
        self.index_of(subject).map(|index| self.head_mask(index))
    }

    fn lesion(&self, subject: &str) -> Option<&[u8]> {
        self.index_of(subject).and_then(|index| self.roi(index))
    }
}

/// A mask as it lies in memory; none for another shape or bytes other than 0 and 1.
fn mask(shape: [usize; 3], bytes: &[u8]) -> Option<ArrayView3<'_, bool>> {
    ArrayView3::from_shape(shape, bytemuck::checked::try_cast_slice(bytes).ok()?).ok()
}

/// A fold's network, or those of a model that answer together, in ONNX Runtime.
pub struct Networks {
    sessions: ModelSessions,
    shape: [usize; 3],
    // One buffer for all subjects.
    mirrored: Vec<f32>,
}

/// What the networks say of a subject.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `logits[1] − logits[0]`, mean over the networks.
    pub logit: f64,
    /// The same of the head mirrored left to right.
    pub logit_of_mirrored: f64,
    /// Signed map of each network, `[d, h, w]` cells.
    pub cams: Vec<Array3<f32>>,
    /// Time of the forward passes on the head as it is, without preprocessing and without the map's work.
    pub took: Duration,
}

impl Networks {
    /// Writes a fold's network as ONNX and opens it on the CPU in fp32, the reference. `library` is ONNX Runtime, where
    /// it is not found by itself.
    ///
    /// # Errors
    /// When the weights are another network's or ONNX Runtime is not there.
    pub fn of_fold(
        spec: &NetworkSpec,
        weights: &Weights,
        shape: [usize; 3],
        library: Option<&Path>,
    ) -> Result<Self, MapError> {
        let onnx = onnx_model(spec, weights, shape, &BTreeMap::new())?;
        let shapes = GraphShapes { input: shape, map: spec.map_shape(shape) };
        Networks::open("fold", &[("fold.onnx".to_owned(), onnx)], shapes, library)
    }

    /// Opens ONNX files (name and content) on the CPU in fp32.
    ///
    /// # Errors
    /// When a graph is not what `shapes` says or ONNX Runtime is not there.
    pub fn open(
        model: &str,
        files: &[(String, Vec<u8>)],
        shapes: GraphShapes,
        library: Option<&Path>,
    ) -> Result<Self, MapError> {
        let environment = runtime::environment(library)?;
        let fp32 = BTreeSet::from([Precision::Fp32]);
        let sessions = ModelSessions::open(
            &environment,
            model,
            files,
            shapes,
            &fp32,
            &Provider::candidates(Device::Cpu),
            threads(),
        )?;
        Ok(Networks { sessions, shape: shapes.input, mirrored: Vec::new() })
    }

    /// Runs them on a subject as it is and mirrored.
    ///
    /// # Errors
    /// When the subject is unknown, its volume has another shape, or ONNX Runtime fails.
    pub fn answer(&mut self, volumes: &impl Volumes, subject: &str) -> Result<Answer, MapError> {
        let values = volumes.volume(subject).ok_or_else(|| MapError::Unknown { subject: subject.to_owned() })?;
        let tensor =
            ArrayView3::from_shape(self.shape, values).map_err(|_| wrong_shape(subject, self.shape, values.len()))?;
        let begun = Instant::now();
        let outputs = self.sessions.run(tensor)?;
        let took = begun.elapsed();
        let logit = mean(outputs.iter().map(|output| output.logit));
        self.mirrored.clear();
        self.mirrored.extend_from_slice(values);
        left_right(self.shape, &mut self.mirrored);
        let mirrored = ArrayView3::from_shape(self.shape, &self.mirrored)
            .map_err(|_| wrong_shape(subject, self.shape, values.len()))?;
        let of_mirrored = self.sessions.run(mirrored)?;
        let logit_of_mirrored = mean(of_mirrored.iter().map(|output| output.logit));
        Ok(Answer { logit, logit_of_mirrored, cams: outputs.into_iter().map(|output| output.cam).collect(), took })
    }
}

/// Threads of a forward pass: all there are.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn wrong_shape(subject: &str, expected: [usize; 3], found: usize) -> MapError {
    MapError::Shape { subject: subject.to_owned(), expected, found }
}

/// How a map is drawn and what the lesion is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRule {
    /// Input voxels per cell along `[D, H, W]`.
    pub stride: [usize; 3],
    /// Captum's map (signed, nearest cell) instead of the one that serving draws (ReLU, trilinear, head only).
    pub as_captum: bool,
    /// What the lesion is compared with.
    pub background: Background,
}

impl MapRule {
    /// As serving draws it, against the brain without the lesion.
    pub fn serving(stride: [usize; 3]) -> MapRule {
        MapRule { stride, as_captum: false, background: Background::BrainMinusRoi }
    }

    /// As the paper has it, against the whole volume without the lesion.
    pub fn paper(stride: [usize; 3]) -> MapRule {
        MapRule { stride, as_captum: true, background: Background::WholeVolumeMinusRoi }
    }

    /// In words, for a report.
    pub fn sentence(&self) -> &'static str {
        match (self.as_captum, self.background) {
            (false, Background::BrainMinusRoi) => {
                "Grad-CAM at layer4 as it is served (ReLU, trilinear, inside the head); background: brain without lesion."
            }
            (false, Background::WholeVolumeMinusRoi) => {
                "Grad-CAM at layer4 as it is served (ReLU, trilinear, inside the head); background: volume without lesion."
            }
            (true, Background::BrainMinusRoi) => {
                "Grad-CAM at layer4 as Captum draws it (signed, nearest cell); background: brain without lesion."
            }
            (true, Background::WholeVolumeMinusRoi) => {
                "Grad-CAM at layer4 as Captum draws it (signed, nearest cell); background: volume without lesion."
            }
        }
    }
}

/// The map of a subject on the input grid, not normalised.
///
/// # Errors
/// When the subject is unknown or a mask has another shape.
pub fn map(
    cams: &[Array3<f32>],
    volumes: &impl Volumes,
    subject: &str,
    rule: &MapRule,
) -> Result<Array3<f32>, MapError> {
    let shape = volumes.shape();
    // Only places relative to each other matter here: any affine does.
    let affine = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
    if rule.as_captum {
        let count = cams.len().max(1) as f32;
        let mean = cams.iter().skip(1).fold(cams.first().cloned().unwrap_or_default(), |sum, cam| sum + cam) / count;
        return Ok(gradcam::as_captum(&mean, shape));
    }
    let grid = Grid { shape, affine };
    let head = volumes.head(subject).ok_or_else(|| MapError::Unknown { subject: subject.to_owned() })?;
    let head = mask(shape, head).ok_or_else(|| wrong_shape(subject, shape, head.len()))?;
    Ok(gradcam::within_head(&gradcam::place(cams, rule.stride, &grid), &grid, head)?)
}

/// A patient's Heat-Score and category beside what chance looks like.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectHeat {
    /// On the lesion.
    pub lesion: Result<f64, Undefined>,
    /// On the lesion mirrored to the other hemisphere; none for midline lesions.
    pub mirrored: Option<Result<f64, Undefined>>,
    /// Mean on other patients' lesions; none where there are no others.
    pub others: Option<f64>,
    /// Figure 2's category on the lesion.
    pub category: Result<MapCategory, Undefined>,
    /// And on the mirrored lesion.
    pub mirrored_category: Option<Result<MapCategory, Undefined>>,
}

/// The Heat-Score of a patient's map and its nulls; `others` are the patients whose lesions stand for chance. None
/// without a lesion mask.
pub fn subject_heat(
    map: ArrayView3<'_, f32>,
    volumes: &impl Volumes,
    subject: &str,
    others: &[&str],
    rule: &MapRule,
) -> Option<SubjectHeat> {
    let shape = volumes.shape();
    let head = mask(shape, volumes.head(subject)?)?;
    let lesion = mask(shape, volumes.lesion(subject)?)?;
    let score = |roi: ArrayView3<'_, bool>| heat_score(map, roi, head, rule.background);
    let category = |roi: ArrayView3<'_, bool>| categorise(map, roi, head, rule.stride);
    let elsewhere: Vec<f64> = others
        .iter()
        .filter(|other| **other != subject)
        .filter_map(|other| score(mask(shape, volumes.lesion(other)?)?).ok())
        .collect();
    let mirrored = mirrored(lesion, head);
    Some(SubjectHeat {
        lesion: score(lesion),
        mirrored: mirrored.as_ref().map(|roi| score(roi.view())),
        others: (!elsewhere.is_empty()).then(|| elsewhere.iter().sum::<f64>() / elsewhere.len() as f64),
        category: category(lesion),
        mirrored_category: mirrored.as_ref().map(|roi| category(roi.view())),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Volumes in memory: by name the values, and the voxels of the lesion.
    pub(crate) struct MadeUp {
        pub shape: [usize; 3],
        pub head: Vec<u8>,
        pub subjects: BTreeMap<String, (Vec<f32>, Option<Vec<u8>>)>,
    }

    impl Volumes for MadeUp {
        fn shape(&self) -> [usize; 3] {
            self.shape
        }
        fn volume(&self, subject: &str) -> Option<&[f32]> {
            self.subjects.get(subject).map(|(values, _)| values.as_slice())
        }
        fn head(&self, subject: &str) -> Option<&[u8]> {
            self.subjects.contains_key(subject).then_some(self.head.as_slice())
        }
        fn lesion(&self, subject: &str) -> Option<&[u8]> {
            self.subjects.get(subject)?.1.as_deref()
        }
    }

    /// A row of 8 voxels, the first and the last outside the head.
    fn row() -> MadeUp {
        let lesion = |at: usize| Some((0..8).map(|i| u8::from(i == at)).collect());
        let subject = |name: &str, lesion| (name.to_owned(), (vec![0.0; 8], lesion));
        MadeUp {
            shape: [8, 1, 1],
            head: vec![0, 1, 1, 1, 1, 1, 1, 0],
            subjects: BTreeMap::from([
                subject("sub-1", lesion(2)),
                subject("sub-2", lesion(4)),
                subject("sub-3", lesion(6)),
                subject("sub-4", None),
            ]),
        }
    }

    /// Cells at voxels 0, 4 and 8 with 0, 4, −9: ReLU makes the last 0, and between them it is linear.
    #[test]
    fn the_map_is_that_of_serving_or_captums() {
        let cam = Array3::from_shape_vec((3, 1, 1), vec![0.0, 4.0, -9.0]).unwrap();
        let rule = MapRule::serving([4, 1, 1]);
        let map =
            |cams: &[Array3<f32>], rule| super::map(cams, &row(), "sub-1", rule).unwrap().into_raw_vec_and_offset().0;
        assert_eq!(map(std::slice::from_ref(&cam), &rule), [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 0.0]);
        // The mean of the signed maps first: (4 - 8) / 2 is below 0.
        let other = Array3::from_shape_vec((3, 1, 1), vec![2.0, -8.0, 9.0]).unwrap();
        assert_eq!(map(&[cam.clone(), other], &rule), [0.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0]);
        // Captum: cell floor(i * 3 / 8), signed, everywhere.
        assert_eq!(map(&[cam], &MapRule::paper([4, 1, 1])), [0.0, 0.0, 0.0, 4.0, 4.0, 4.0, -9.0, -9.0]);
        assert!(matches!(super::map(&[], &row(), "sub-9", &rule), Err(MapError::Unknown { .. })));
    }

    #[test]
    fn the_lesion_its_mirror_image_and_those_of_others() {
        let map = Array3::from_shape_vec((8, 1, 1), vec![0.0, 0.0, 8.0, 1.0, 3.0, 1.0, 0.0, 0.0]).unwrap();
        let rule = MapRule::serving([1, 1, 1]);
        let volumes = row();
        let heat = subject_heat(map.view(), &volumes, "sub-1", &["sub-1", "sub-2", "sub-3", "sub-4"], &rule).unwrap();
        // Against voxels 1 3 4 5 6 of the head: mean 1, deviation sqrt(6/5).
        let deviation = (6.0_f64 / 5.0).sqrt();
        assert!((heat.lesion.unwrap() - 7.0 / deviation).abs() < 1e-9, "{heat:?}");
        // The head reaches from 1 to 6: voxel 2 is mirrored to 5, around it 0 8 1 3 0.
        let around: [f64; 5] = [0.0, 8.0, 1.0, 3.0, 0.0];
        let mean = around.iter().sum::<f64>() / 5.0;
        let sd = (around.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 5.0).sqrt();
        assert!((heat.mirrored.unwrap().unwrap() - (1.0 - mean) / sd).abs() < 1e-9, "{heat:?}");
        assert_eq!(heat.category, Ok(MapCategory::Right));
        assert_eq!(heat.mirrored_category, Some(Ok(MapCategory::Wrong)));
        // Of others: voxels 4 and 6, not its own and not of who has none.
        let on = |at: usize| {
            let rest: Vec<f64> = (1..7).filter(|i| *i != at).map(|i| f64::from(map[[i, 0, 0]])).collect();
            let mean = rest.iter().sum::<f64>() / 5.0;
            let sd = (rest.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 5.0).sqrt();
            (f64::from(map[[at, 0, 0]]) - mean) / sd
        };
        assert!((heat.others.unwrap() - (on(4) + on(6)) / 2.0).abs() < 1e-9, "{heat:?}");
        assert!(subject_heat(map.view(), &volumes, "sub-4", &[], &rule).is_none());
    }
}
