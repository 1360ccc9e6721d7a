//! What analysis hands to reporting: probabilities, the verdict, heatmaps in source space, regions.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::{Prior, Sequence};

/// Why something could not be assessed: a stable code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, snake_case (`several_patients`, `untrained_model`, `no_usable_series` ...).
    pub code: String,
    /// A sentence without patient data.
    pub text: String,
}

impl Reason {
    /// A reason from its code and its sentence.
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Reason { code: code.to_owned(), text: text.into() }
    }
}

/// The study's outcome. "Not suspected" is a statement; "unassessable" is the absence of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The fused probability reached its threshold.
    Suspected,
    /// It did not.
    NotSuspected,
    /// No statement can be made.
    Unassessable {
        /// Why, at least one.
        reasons: Vec<Reason>,
    },
}

impl Verdict {
    /// `suspected`, `not_suspected` or `unassessable`.
    pub fn code(&self) -> &'static str {
        match self {
            Verdict::Suspected => "suspected",
            Verdict::NotSuspected => "not_suspected",
            Verdict::Unassessable { .. } => "unassessable",
        }
    }

    /// Why the study is unassessable; empty otherwise.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Verdict::Unassessable { reasons } => reasons,
            _ => &[],
        }
    }
}

/// Which model ran, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelIdentity {
    /// Name from the manifest.
    pub name: String,
    /// Semantic version from the manifest.
    pub version: String,
    /// SHA-256 over the manifest and the model files, hexadecimal.
    pub digest: String,
    /// False for the demonstration models with random weights.
    pub trained: bool,
    /// True where no scan of a person was among its training subjects.
    pub synthetic: bool,
    /// What the training data was, in the manifest's words.
    pub data_source: String,
    /// Architecture, e.g. `resnet18`.
    pub architecture: String,
    /// Number of networks in the ensemble (folds).
    pub folds: usize,
    /// ONNX Runtime execution provider that ran it, e.g. `OpenVINO`, `CPU`, `CUDA`.
    pub provider: String,
    /// Arithmetic: `fp32` or `bf16`.
    pub precision: String,
    /// Edge lengths (mm) of one cell of the last feature map along D, H, W.
    pub cell_mm: [f64; 3],
}

/// What a model's numbers are worth; the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Random weights: its numbers mean nothing.
    Untrained,
    /// Trained on synthetic data only: its numbers say nothing about patients.
    SyntheticOnly,
    /// Trained on scans of people.
    Trained,
}

impl ModelIdentity {
    /// What its numbers are worth.
    pub fn standing(&self) -> Standing {
        match (self.trained, self.synthetic) {
            (false, _) => Standing::Untrained,
            (true, true) => Standing::SyntheticOnly,
            (true, false) => Standing::Trained,
        }
    }
}

/// Side of the patient's head. Decided by the sign of x relative to the head's mid-plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hemisphere {
    /// Patient's left (LPS x above the mid-plane).
    Left,
    /// Patient's right.
    Right,
    /// Within one cell's half width of the mid-plane: the map cannot tell.
    Midline,
}

/// A connected part of the unnormalised map above the manifest's threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Region {
    /// Which sequence's map it was found on.
    pub sequence: Sequence,
    /// Weighted centroid, mm LPS.
    pub centroid_lps_mm: [f64; 3],
    /// Place of the largest value, mm LPS.
    pub peak_lps_mm: [f64; 3],
    /// Index `[slice, row, column]` of the source voxel nearest to the peak.
    pub peak_source_index: [usize; 3],
    /// Largest value, in logit units of the unnormalised map.
    pub peak_logit: f64,
    /// Volume in mm³.
    pub volume_mm3: f64,
    /// Side of the centroid.
    pub hemisphere: Hemisphere,
}

/// Grad-CAM of one model, resampled to its source series' grid.
#[derive(Debug, Clone)]
pub struct Heatmap {
    /// After ReLU, min-max normalised to 0..1 over the study's map; axes `[slice, row, column]` of the source volume.
    pub display: Arc<Array3<f32>>,
    /// Minimum and maximum (logit units, after ReLU) that were mapped to 0 and 1.
    pub range_logit: [f32; 2],
    /// True when the map has one value everywhere: nothing to show, `display` is all zero.
    pub constant: bool,
}

/// What the yes or no rests on: the calibrated probability at the prevalence of training, where the threshold was
/// chosen. A site's prevalence moves neither: sensitivity and specificity do not depend on it, so it must not move the
/// operating point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decision {
    /// Calibrated probability at the prevalence of training, 0..1.
    pub probability: f64,
    /// FCD is suspected from here on, 0..1.
    pub threshold: f64,
}

impl Decision {
    /// True from the threshold on.
    pub fn is_suspected(&self) -> bool {
        self.probability >= self.threshold
    }
}

/// What one model said about one series. What is shown (`probability`, `fold_probabilities`, `threshold`) assumes
/// [`Self::prior`]; what is decided is in [`Self::decision`].
#[derive(Debug, Clone)]
pub struct ModelOutcome {
    /// The series' kind.
    pub sequence: Sequence,
    /// The model.
    pub model: ModelIdentity,
    /// Calibrated probability of FCD at that prior, 0..1.
    pub probability: f64,
    /// The same for each fold's network alone.
    pub fold_probabilities: Vec<f64>,
    /// The decision threshold at that prior: the probability reaches it where the decision reaches its own.
    pub threshold: f64,
    /// The prior that these numbers assume.
    pub prior: Prior,
    /// Calibrated logit at the prevalence of training.
    pub logit: f64,
    /// The same without the site's prevalence, with the manifest's threshold.
    pub decision: Decision,
    /// Where the network looked.
    pub heatmap: Heatmap,
    /// Found on the unnormalised map; empty unless the verdict is suspected. Strongest first.
    pub regions: Vec<Region>,
}

impl ModelOutcome {
    /// The lowest and the highest probability of a single fold's network; `None` of one network. A range, no interval
    /// of confidence: whatever shows it says so.
    pub fn range_over_folds(&self) -> Option<[f64; 2]> {
        let folds = &self.fold_probabilities;
        let range = folds.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], p| [low.min(*p), high.max(*p)]);
        (folds.len() > 1).then_some(range)
    }
}

/// The combined result of all models that ran; shown and decided as in [`ModelOutcome`].
#[derive(Debug, Clone, PartialEq)]
pub struct Fused {
    /// Probability from the fused logit, at `prior`.
    pub probability: f64,
    /// The decision threshold at that prior.
    pub threshold: f64,
    /// The prior that these numbers assume.
    pub prior: Prior,
    /// Of one model its calibrated logit; of two `scale · mean + offset` of theirs. At the prevalence of training.
    pub logit: f64,
    /// Scale and offset that made it; `[1, 0]` for one model.
    pub calibration: [f64; 2],
    /// The same without the site's prevalence, with the threshold for what was fused.
    pub decision: Decision,
    /// Which sequences took part; one means that the other was missing.
    pub sequences: Vec<Sequence>,
}

/// Everything that analysis found in one study.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// One entry per model that ran: T1 first, then FLAIR.
    pub outcomes: Vec<ModelOutcome>,
    /// The fused result; `None` when no model ran.
    pub fused: Option<Fused>,
    /// The outcome.
    pub verdict: Verdict,
    /// Remarks that do not withhold the verdict (a missing modality, say).
    pub remarks: Vec<Reason>,
    /// Milliseconds per stage (`preprocess_t1`, `inference_t1`, `gradcam_t1` ...).
    pub timings_ms: BTreeMap<String, f64>,
}

impl Analysis {
    /// The outcome for one sequence, if its model ran.
    pub fn outcome(&self, sequence: Sequence) -> Option<&ModelOutcome> {
        self.outcomes.iter().find(|o| o.sequence == sequence)
    }

    /// The least of what the models that ran are worth; `Trained` when none did, since then nothing is claimed.
    pub fn standing(&self) -> Standing {
        self.outcomes.iter().map(|o| o.model.standing()).min().unwrap_or(Standing::Trained)
    }
}
