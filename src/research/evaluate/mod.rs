//! From out-of-fold logits and maps to every figure of a report. **Nothing is scored by what has seen it**: each
//! subject's logit and map come from networks that never trained on it.
//!
//! | file | holds |
//! |---|---|
//! | `maps` | networks in ONNX Runtime, their maps, Heat-Score and category of one patient |
//! | `cohort` | the same of all patients |
//! | `measures` | every figure of the logits and Heat-Scores |
//! | `heat_score`, `map_category` | what a map is worth: the paper's score with its nulls, Figure 2's categories |
//! | `intensity_baseline` | the baseline that sees intensities but no shapes |
//! | `intensity` | the model beside a baseline that sees no shapes |
//! | `abstention` | how many a conformal prediction would abstain on |
//! | `mirroring` | how far the answer moves when the head is mirrored |
//! | `withheld` | how many scans serving's gates would withhold a verdict on |

mod abstention;
mod cohort;
pub mod heat_score;
mod intensity;
pub mod intensity_baseline;
pub mod map_category;
pub mod maps;
pub mod measures;
mod mirroring;
mod withheld;

pub use abstention::Abstention;
pub use cohort::{Heard, chosen, score, subject_row};
pub use intensity::IntensityComparison;
pub use maps::{Answer, MapError, MapRule, Networks, SubjectHeat, Volumes};
pub use measures::{FoldMeasures, Measure, Metrics, Scoring, measure};
pub use mirroring::Mirroring;
pub use withheld::Withheld;

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

/// A subject with the score of networks that never saw it.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Who, and what else is known.
    pub row: SubjectRow,
    /// The fold whose network it was; none: all networks of a model together.
    pub fold: Option<usize>,
    /// `logits[1] − logits[0]`.
    pub logit: f64,
    /// Heat-Score with its nulls; none for controls and where there is no mask.
    pub heat: Option<SubjectHeat>,
}

impl Scored {
    /// A number for the network that said it, so that scores of different ones are not compared: the fold's, and one
    /// that no fold has for all networks together.
    pub fn network(&self) -> usize {
        self.fold.unwrap_or(usize::MAX)
    }
}
