//! Grad-CAM of a fold's network on subjects that it never saw, by the code that serves: the ONNX graph's signed `cam`
//! in ONNX Runtime, placed by `analyze::gradcam`, 0 outside the head.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use crate::analyze::gradcam;
use crate::analyze::preprocess::FieldOfView;
use crate::analyze::session::{GraphShapes, ModelSessions, SessionError};
use crate::config::Device;
use crate::network::manifest::Precision;
use crate::network::{NetworkSpec, Weights, WeightsError, onnx_model};
use crate::research::heat_score::{Background, Undefined, heat_score, mirrored};
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
    Runtime(#[from] crate::analyze::runtime::RuntimeError),
    /// The input grid has no inverse: cannot happen with a positive spacing.
    #[error(transparent)]
    Grid(#[from] SingularAffine),
    /// A volume does not have the network's input shape.
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
pub trait Volumes {
    /// `[D, H, W]`.
    fn shape(&self) -> [usize; 3];
    /// z-scored intensities, C order; none where the subject is unknown.
    fn volume(&self, subject: &str) -> Option<&[f32]>;
    /// 1 inside the head.
    fn head(&self, subject: &str) -> Option<&[u8]>;
    /// 1 inside the lesion; none without a mask.
    fn lesion(&self, subject: &str) -> Option<&[u8]>;
}

/// One fold's network in ONNX Runtime.
pub struct FoldNetwork {
    sessions: ModelSessions,
    stride: [usize; 3],
    grid: Grid,
}

/// A subject's answer.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// `logits[1] − logits[0]`.
    pub logit: f64,
    /// Largest value of the unnormalised map (logit units) within the head.
    pub peak: f32,
    /// The unnormalised map on the input grid, after ReLU, 0 outside the head.
    pub map: Array3<f32>,
}

/// A patient's Heat-Score beside what chance looks like.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectHeat {
    /// On the lesion.
    pub lesion: Result<f64, Undefined>,
    /// On the lesion mirrored to the other hemisphere; none for midline lesions.
    pub mirrored: Option<Result<f64, Undefined>>,
    /// Mean on other patients' lesions; none where there are no others.
    pub others: Option<f64>,
}

impl FoldNetwork {
    /// Writes the network as ONNX and opens it on the CPU in fp32, the reference.
    ///
    /// # Errors
    /// When the weights are another network's or ONNX Runtime is not there.
    pub fn open(spec: &NetworkSpec, weights: &Weights, shape: [usize; 3], threads: usize) -> Result<Self, MapError> {
        let onnx = onnx_model(spec, weights, shape, &BTreeMap::new())?;
        let environment = crate::analyze::runtime::environment(None)?;
        let shapes = GraphShapes { input: shape, map: spec.map_shape(shape) };
        let files = [("fold.onnx".to_owned(), onnx)];
        let validated = BTreeSet::from([Precision::Fp32]);
        let sessions = ModelSessions::open(&environment, "fold", &files, shapes, &validated, Device::Cpu, threads)?;
        // Only places relative to each other matter here: any affine does.
        let affine = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
        Ok(FoldNetwork { sessions, stride: spec.total_stride(), grid: Grid { shape, affine } })
    }

    /// Runs it on a subject; none where `volumes` does not know the subject.
    ///
    /// # Errors
    /// When the volume has another shape or ONNX Runtime fails.
    pub fn run(&mut self, volumes: &impl Volumes, subject: &str) -> Result<Option<Mapped>, MapError> {
        let (Some(values), Some(head)) = (volumes.volume(subject), volumes.head(subject)) else { return Ok(None) };
        let wrong_shape = |found| MapError::Shape { subject: subject.to_owned(), expected: self.grid.shape, found };
        let tensor = ArrayView3::from_shape(self.grid.shape, values).map_err(|_| wrong_shape(values.len()))?;
        let head = mask(self.grid.shape, head).ok_or_else(|| wrong_shape(head.len()))?;
        let outputs = self.sessions.run(tensor)?;
        let Some(output) = outputs.first() else { return Ok(None) };
        let view = FieldOfView { grid: self.grid.clone(), head };
        let placed = gradcam::place([&output.cam], self.stride, &self.grid);
        let map = gradcam::on_input_grid(&placed, &view)?;
        let peak = map.iter().fold(0.0, |peak: f32, v| peak.max(*v));
        Ok(Some(Mapped { logit: output.logit, peak, map }))
    }
}

fn mask(shape: [usize; 3], values: &[u8]) -> Option<Array3<bool>> {
    Array3::from_shape_vec(shape, values.iter().map(|v| *v != 0).collect()).ok()
}

/// The Heat-Score of a patient's map and its nulls; `others` are the patients whose lesions stand for chance.
pub fn subject_heat(
    mapped: &Mapped,
    volumes: &impl Volumes,
    subject: &str,
    others: &[String],
    background: Background,
) -> Option<SubjectHeat> {
    let head = mask(volumes.shape(), volumes.head(subject)?)?;
    let lesion = mask(volumes.shape(), volumes.lesion(subject)?)?;
    let score = |roi: &Array3<bool>| heat_score(mapped.map.view(), roi.view(), head.view(), background);
    let elsewhere: Vec<f64> = others
        .iter()
        .filter(|other| other.as_str() != subject)
        .filter_map(|other| mask(volumes.shape(), volumes.lesion(other)?))
        .filter_map(|roi| score(&roi).ok())
        .collect();
    Some(SubjectHeat {
        lesion: score(&lesion),
        mirrored: mirrored(lesion.view(), head.view()).map(|roi| score(&roi)),
        others: (!elsewhere.is_empty()).then(|| elsewhere.iter().sum::<f64>() / elsewhere.len() as f64),
    })
}
