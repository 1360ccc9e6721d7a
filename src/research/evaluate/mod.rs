//! From out-of-fold logits and maps to every figure of a report. **Nothing is scored by what has seen it**: each
//! subject's logit and map come from the one network whose fold it was the test of.
//!
//! `maps` runs the folds' networks by the serving code (ONNX Runtime, Grad-CAM), `measures` makes the figures.

pub mod maps;
pub mod measures;

pub use maps::{FoldNetwork, MapError, Mapped, SubjectHeat, Volumes};
pub use measures::{FoldMeasures, Measure, Metrics, measure};

use serde::{Deserialize, Serialize};

/// What is known of a subject beside its images: a row of `RUN/subjects.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectRow {
    /// `sub-…`
    pub subject: String,
    /// True for a patient.
    pub fcd: bool,
    /// Serial number of the scanner, or what stands for it.
    pub scanner: Option<String>,
    /// Acquisition label of the series.
    pub protocol: Option<String>,
    /// Mean edge of a voxel of the series, mm.
    pub voxel_mm: Option<f64>,
    /// As in `participants.tsv`.
    pub sex: Option<String>,
    /// As in `participants.tsv`: years or a bin's number.
    pub age: Option<f64>,
}

/// A subject with the score of the network that never saw it.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Who, and what else is known.
    pub row: SubjectRow,
    /// The fold whose test part it was in.
    pub fold: usize,
    /// `logits[1] − logits[0]`.
    pub logit: f64,
    /// Heat-Score with its nulls; none for controls and where there is no mask.
    pub heat: Option<SubjectHeat>,
}
