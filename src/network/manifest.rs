//! `manifest.toml`: what a model is, what it wants, and what its numbers mean.
//!
//! Unknown fields are refused, and every statement that can be checked against the architecture is. The
//! file that [`Manifest::to_toml`] writes has a fixed order, so equal manifests are equal bytes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use super::logit::sigmoid;
pub use super::manifest_error::ManifestError;
use super::spec::{Architecture, Geometry, NetworkSpec};
use crate::study::Sequence;

/// Manifest format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// Name of the preprocessing that this program implements.
pub const PREPROCESSING: &str = "fcdd-2";

/// A manifest, as read and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// Depth of the network.
    pub architecture: Architecture,
    /// Channels of the first stage.
    pub width: usize,
    /// Strides and dilations.
    pub geometry: Geometry,
    /// False for random weights: results say so and give no verdict.
    pub trained: bool,
    /// What the model may be used for.
    pub intended_use: String,
    /// What it was trained on.
    pub data_source: String,
    /// Identity of the training run; empty when there was none.
    pub training_run: String,
    /// The volume that the network reads.
    pub input: Input,
    /// The map that it writes.
    pub map: Map,
    /// From probability to verdict.
    pub decision: Decision,
    /// From logits to probability.
    pub calibration: Calibration,
    /// Arithmetic that may be used.
    pub precision: PrecisionList,
    /// How it was trained; missing where it was not.
    #[serde(default)]
    pub training: Option<Training>,
    /// How its training's scans looked; missing where nothing is known of them, and no scan is then unlike them.
    #[serde(default)]
    pub distribution: Option<Distribution>,
    /// One ONNX file per fold, in order.
    #[serde(rename = "file")]
    pub files: Vec<ModelFile>,
    /// Tables about the training that lie beside the networks: its subjects, their out-of-fold logits, the run's
    /// figures.
    #[serde(default, rename = "record")]
    pub records: Vec<ModelFile>,
    /// Newest first.
    #[serde(default)]
    pub changelog: Vec<Change>,
}

/// What the network reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `[D, H, W]`: left-right, posterior-anterior, inferior-superior; the index grows to R, A and S.
    pub shape: [usize; 3],
    /// Always `RAS`: the direction in which D, H and W grow.
    pub axes: String,
    /// The axis along which the stem does not stride: `D`, or `none` in the faithful geometry.
    pub stem_stride_one_axis: String,
    /// Isotropic voxel size, mm.
    pub spacing_mm: f64,
    /// [`PREPROCESSING`].
    pub preprocessing: String,
    /// Value outside the head, after z-scoring.
    pub background: f64,
}

/// Where the cells of `cam` lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Cell `i` is centred at input index `stride · i`.
    pub stride: [usize; 3],
    /// `[d, h, w]`.
    pub shape: [usize; 3],
    /// Regions are parts of the unnormalised map above this value (logit units).
    pub threshold_logit: f64,
    /// How the threshold was chosen.
    #[serde(default)]
    pub threshold_rule: Option<String>,
    /// The percentile of out-of-fold controls' maxima that the threshold is, 0..100.
    #[serde(default)]
    pub control_percentile: Option<f64>,
}

/// From probability to verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Suspected from this calibrated probability on, 0..1.
    pub threshold: f64,
    /// How the threshold was chosen.
    #[serde(default)]
    pub rule: Option<String>,
}

/// How logits become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalibrationKind {
    /// Not calibrated: softmax of the two logits.
    None,
    /// Platt's: a line through the logit.
    Platt,
}

/// `p = sigmoid(scale · logit + offset)` with `logit = logits[1] − logits[0]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// `none` demands scale 1 and offset 0.
    pub kind: CalibrationKind,
    /// Above 0.
    #[serde(default = "one")]
    pub scale: f64,
    /// Any finite number.
    #[serde(default)]
    pub offset: f64,
    /// What it was fitted on, in words.
    #[serde(default)]
    pub fitted_on: Option<String>,
}

fn one() -> f64 {
    1.0
}

impl Calibration {
    /// No calibration.
    pub const NONE: Calibration = Calibration { kind: CalibrationKind::None, scale: 1.0, offset: 0.0, fitted_on: None };

    /// The calibrated logit of `logits[1] − logits[0]`.
    pub fn calibrated_logit(&self, logit: f64) -> f64 {
        self.scale * logit + self.offset
    }

    /// The calibrated probability of FCD for `logits[1] − logits[0]`.
    pub fn probability(&self, logit: f64) -> f64 {
        sigmoid(self.calibrated_logit(logit))
    }
}

/// Arithmetic of the convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision, the reference.
    Fp32,
    /// Brain float.
    Bf16,
}

/// Arithmetic in which the model's results were validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionList {
    /// Contains at least `fp32`.
    pub validated: BTreeSet<Precision>,
}

/// How a model was trained, and on whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// True where no scan of a person was among the subjects: results say so.
    pub synthetic: bool,
    /// The record with a hash per subject that took part: [`SUBJECTS`].
    pub subjects: String,
    /// Share of patients among them, 0..1: the prior that the probabilities assume.
    pub prevalence: f64,
    /// Folds of the cross-validation; with fewer files some were left out.
    pub folds: usize,
    /// Digest of the run's plan.
    pub plan: String,
}

/// The record that names a model's subjects: a SHA-256 per line, sorted.
pub const SUBJECTS: &str = "subjects.txt";

/// A file that the manifest names: a fold's network, or a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// File name in the model's folder, `*.onnx`.
    pub name: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What changed in a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Semantic version.
    pub version: String,
    /// YYYY-MM-DD.
    pub date: String,
    /// What and why.
    pub text: String,
}

impl Manifest {
    /// Reads and checks a manifest's text.
    ///
    /// # Errors
    /// The first thing that is wrong, with field, expected and found.
    pub fn from_toml(text: &str) -> Result<Manifest, ManifestError> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| ManifestError::Syntax(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The network that the manifest describes.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec { architecture: self.architecture, width: self.width, geometry: self.geometry }
    }

    /// Edge lengths (mm) of one cell of the map along D, H, W.
    pub fn cell_mm(&self) -> [f64; 3] {
        self.map.stride.map(|stride| stride as f64 * self.input.spacing_mm)
    }

    /// True where the model was trained, and on synthetic subjects only.
    pub fn is_synthetic(&self) -> bool {
        self.training.as_ref().is_some_and(|training| training.synthetic)
    }
}

/// The value of `input.stem_stride_one_axis` for a geometry.
pub fn stem_stride_one_axis(geometry: Geometry) -> &'static str {
    match geometry {
        Geometry::Paper => "D",
        Geometry::Faithful => "none",
    }
}

/// True for a name that can be a file or folder without surprises.
pub fn is_plain_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::distribution;
    use super::*;

    /// A manifest that passes every check; its files have digests of nothing.
    pub(crate) fn example() -> Manifest {
        let spec = NetworkSpec::paper(Architecture::Resnet10, 16);
        Manifest {
            format: FORMAT,
            name: "demo-t1".into(),
            version: "0.1.0".into(),
            sequence: Sequence::T1,
            architecture: spec.architecture,
            width: spec.width,
            geometry: spec.geometry,
            trained: false,
            intended_use: "say \"tests\"".into(),
            data_source: "none".into(),
            training_run: String::new(),
            input: Input {
                shape: [80, 96, 80],
                axes: "RAS".into(),
                stem_stride_one_axis: "D".into(),
                spacing_mm: 2.0,
                preprocessing: PREPROCESSING.into(),
                background: 0.0,
            },
            map: Map {
                stride: [16, 32, 32],
                shape: [5, 3, 3],
                threshold_logit: 1.25,
                threshold_rule: Some("by \"hand\"".into()),
                control_percentile: Some(95.0),
            },
            decision: Decision { threshold: 0.5, rule: Some("half".into()) },
            calibration: Calibration {
                kind: CalibrationKind::Platt,
                scale: 0.8,
                offset: -0.25,
                fitted_on: Some("out-of-fold logits".into()),
            },
            precision: PrecisionList { validated: [Precision::Bf16, Precision::Fp32].into() },
            training: Some(Training {
                synthetic: true,
                subjects: SUBJECTS.into(),
                prevalence: 0.25,
                folds: 5,
                plan: "a".repeat(64),
            }),
            distribution: Some(Distribution {
                measures: distribution::MEASURES.into(),
                mean: (0..distribution::COUNT).map(|at| at as f64 / 3.0).collect(),
                whitening: (0..distribution::COUNT).map(|at| vec![0.1; at + 1]).collect(),
                limit: 1.0 / 3.0,
                rule: "by \"hand\"".into(),
            }),
            files: vec![ModelFile { name: "fold_0.onnx".into(), sha256: "0".repeat(64) }],
            records: vec![ModelFile { name: SUBJECTS.into(), sha256: "1".repeat(64) }],
            changelog: vec![Change { version: "0.1.0".into(), date: "2026-11-23".into(), text: "First.".into() }],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = example().to_toml();
        assert_eq!(Manifest::from_toml(&text).unwrap(), example(), "{text}");
    }

    #[test]
    fn unknown_and_missing_fields_are_refused() {
        let text = example().to_toml();
        for wrong in [
            text.replace("width = 16", "width = 16\nwidht = 16"),
            text.replace("background = 0.0", ""),
            text.replace("resnet10", "resnet12"),
            text.replace("[decision]\nthreshold = 0.5", "[decision]"),
        ] {
            assert!(matches!(Manifest::from_toml(&wrong), Err(ManifestError::Syntax(_))));
        }
    }

    #[test]
    fn platt_moves_the_logit() {
        let platt = Calibration { kind: CalibrationKind::Platt, scale: 2.0, offset: -1.0, fitted_on: None };
        assert_eq!(platt.probability(0.5), 0.5);
        assert_eq!(Calibration::NONE.probability(0.0), 0.5);
        assert!((Calibration::NONE.probability(3.0_f64.ln()) - 0.75).abs() < 1e-12);
    }
}
