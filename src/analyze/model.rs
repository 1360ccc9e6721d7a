//! What the engine needs to know about a model, taken from its verified folder.
//!
//! The folder's manifest and files are checked by [`ModelFolder`]; what the graphs inside the files must look like is
//! checked when their sessions open ([`super::session`]). The bytes that were hashed are the bytes that run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::preprocess::InputSpec;
use super::session::GraphShapes;
use crate::network::distribution::Distribution;
use crate::network::manifest::{Calibration, Precision};
use crate::network::{ModelFolder, ModelFolderError};
use crate::study::Sequence;

/// A verified model.
#[derive(Debug)]
pub struct Model {
    /// Where it was loaded from.
    pub folder: PathBuf,
    /// Name from the manifest.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// The sequence for which it was made.
    pub sequence: Sequence,
    /// Architecture, e.g. `resnet18`.
    pub architecture: String,
    /// False for demonstration models.
    pub trained: bool,
    /// True where it was trained on synthetic data only.
    pub synthetic: bool,
    /// What it was trained on.
    pub data_source: String,
    /// SHA-256 over manifest and files, hexadecimal.
    pub digest: String,
    /// What its networks want to see.
    pub input: InputSpec,
    /// Input voxels per map cell along `[D, H, W]`.
    pub stride: [usize; 3],
    /// Shape `[d, h, w]` of the map.
    pub map_shape: [usize; 3],
    /// Edge lengths of a map cell along D, H, W, mm.
    pub cell_mm: [f64; 3],
    /// Map values above this make a region, logit units.
    pub region_threshold_logit: f64,
    /// Probability from which FCD is suspected.
    pub decision_threshold: f64,
    /// Applied to the mean logit.
    pub calibration: Calibration,
    /// Share of patients in training, where the manifest states it.
    pub training_prevalence: Option<f64>,
    /// How its training's scans looked, where the manifest states it.
    pub distribution: Option<Distribution>,
    /// Arithmetics in which it was validated.
    pub validated: BTreeSet<Precision>,
    /// Names and contents of the ONNX files, one per fold; taken out once the sessions are open.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Model {
    /// Loads and verifies the model in the folder `path`.
    ///
    /// # Errors
    /// The manifest is wrong, or a file is not the one that it names.
    pub fn load(path: &Path) -> Result<Model, ModelFolderError> {
        let folder = ModelFolder::load(path)?;
        let manifest = folder.manifest();
        let files = manifest
            .files
            .iter()
            .enumerate()
            .map(|(fold, file)| Ok((file.name.clone(), folder.fold_bytes(fold)?)))
            .collect::<Result<_, ModelFolderError>>()?;
        Ok(Model {
            folder: path.to_owned(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            architecture: manifest.architecture.to_string(),
            trained: manifest.trained,
            synthetic: manifest.is_synthetic(),
            data_source: manifest.data_source.clone(),
            digest: folder.digest().to_owned(),
            input: InputSpec {
                shape: manifest.input.shape,
                spacing_mm: manifest.input.spacing_mm,
                background: manifest.input.background as f32,
            },
            stride: manifest.map.stride,
            map_shape: manifest.map.shape,
            cell_mm: manifest.cell_mm(),
            region_threshold_logit: manifest.map.threshold_logit,
            decision_threshold: manifest.decision.threshold,
            calibration: manifest.calibration.clone(),
            training_prevalence: manifest.training.as_ref().map(|training| training.prevalence),
            distribution: manifest.distribution.clone(),
            validated: manifest.precision.validated.clone(),
            files,
        })
    }

    /// What its graphs must look like.
    pub fn shapes(&self) -> GraphShapes {
        GraphShapes { input: self.input.shape, map: self.map_shape }
    }
}
