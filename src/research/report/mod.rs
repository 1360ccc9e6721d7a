//! The pages of a report: `report.html` (one file that opens from disk), `report.md` and `metrics.json`.
//!
//! | file | holds |
//! |---|---|
//! | `charts` | ROC, calibration and learning curves as SVG |
//! | `montage` | source, heatmap and lesion contour of chosen patients |
//! | `words` | sentences that both pages say |
//! | `html`, `markdown` | the pages |
//! | `live` | the page while training goes on |
//! | `of_cohort` | pictures, cautions and times of any cohort |
//!
//! What stands in them is made by `of_run` (a cross-validation), `of_both` (those of T1 and FLAIR together) and `of_model`
//! (a model on any archive).

mod charts;
mod html;
mod live;
mod markdown;
mod montage;
pub mod of_both;
mod of_cohort;
pub mod of_model;
pub mod of_run;
mod words;

pub(super) use html::head;
pub(super) use live::name;
pub use live::{LivePage, processor};
pub use montage::Tile;
pub(super) use words::{RESEARCH_ONLY, SYNTHETIC};

use std::path::Path;

use serde::Serialize;

use crate::research::confounds::ConfoundReport;
use crate::research::evaluate::{Abstention, IntensityComparison, Metrics, Mirroring, Withheld};
use crate::research::run::folder::{Epoch, RunFolderError, write_durably};
use crate::research::run::plan::Plan;
use crate::research::statistics::Interval;
use crate::study::Sequence;

/// Version of `metrics.json`.
pub const FORMAT: u32 = 1;

/// Everything that a report says.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// [`FORMAT`].
    pub format: u32,
    /// Where the figures come from, e.g. `cross-validation of RUN` or `model demo-t1 on DIR`.
    pub title: String,
    /// True when any subject is synthetic: then every page says so on top.
    pub synthetic: bool,
    /// Which networks scored whom, in a sentence or two.
    pub scored_by: String,
    /// What the figures do not say, a sentence each.
    pub cautions: Vec<String>,
    /// The verdict on confounds; none means not assessed, which is no pass.
    pub confounds: Option<ConfoundReport>,
    /// Every figure.
    pub metrics: Metrics,
    /// How the maps were drawn and what the lesions were compared with.
    pub maps: &'static str,
    /// The model beside a baseline that sees no shapes; none for scores that are not of one sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity: Option<IntensityComparison>,
    /// T1 and FLAIR together beside each alone; none for a report of one sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// How far the answers move when heads are mirrored; none where the reports of the sequences say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirroring: Option<Mirroring>,
    /// How many a conformal prediction would abstain on; none where it cannot be cross-fitted.
    pub abstention: Option<Abstention>,
    /// How many scans serving would withhold its verdict on; none where the reports of the sequences say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// From which probability on serving says `suspected`; none where there is none.
    pub operating_point: Option<OperatingPoint>,
    /// Time of a scan.
    pub forward_pass: Option<ForwardPass>,
    /// The plan, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The model, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSaid>,
    /// Processor, threads, device and arithmetic, a line for each machine or step.
    pub hardware: Vec<String>,
    /// Wall time of the folds' epochs, s; none unless all are known.
    pub training_s: Option<f64>,
    /// Epochs by fold.
    #[serde(skip)]
    pub histories: Vec<(usize, Vec<Epoch>)>,
    /// Chosen patients.
    #[serde(skip)]
    pub tiles: Vec<Tile>,
}

/// The threshold that a model has, or would be exported with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Called FCD from this calibrated probability on.
    pub threshold: f64,
    /// How it was chosen.
    pub rule: String,
    /// How logits become probabilities: slope and offset of the logit.
    pub calibration: [f64; 2],
    /// What the calibration was fitted on.
    pub fitted_on: String,
}

/// Two sequences together beside each alone, on the subjects who have both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fusion {
    /// T1, then FLAIR.
    pub alone: Vec<Alone>,
    /// What serves these scores: `analyze.fused_calibration` (scale, offset), fitted on all of them.
    pub calibration: [f64; 2],
    /// And `analyze.fused_threshold`; none where there is none.
    pub threshold: Option<f64>,
}

/// One sequence alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alone {
    /// Which.
    pub sequence: Sequence,
    /// Its AUC within folds, on the subjects who have both.
    pub auc: Option<Interval>,
    /// AUC of both together minus this, 95 % interval by paired bootstrap.
    pub difference: Option<Interval>,
    /// Patients and controls who have a score of this sequence only: they are in its own report.
    pub only: [usize; 2],
}

/// How long a scan takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForwardPass {
    /// Median over the scans, ms.
    pub median_ms: f64,
    /// How many scans.
    pub scans: usize,
    /// What was measured, on what.
    pub what: String,
}

/// What a model says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSaid {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 over manifest and files.
    pub digest: String,
    /// What it was trained on.
    pub data_source: String,
    /// True where no scan of a person was among its subjects.
    pub synthetic: bool,
    /// Number of networks.
    pub networks: usize,
}

/// A report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] RunFolderError),
    /// A chart could not be drawn.
    #[error("cannot draw {what}: {reason}")]
    Draw {
        /// Which chart.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
    /// The figures cannot be written as JSON.
    #[error("cannot write the figures as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A picture could not be encoded.
    #[error(transparent)]
    Picture(#[from] crate::report::ReportError),
}

/// Writes `report.html`, `report.md` and `metrics.json` into a folder.
///
/// # Errors
/// When a chart cannot be drawn or a file cannot be written.
pub fn write(folder: &Path, contents: &Contents) -> Result<(), ReportError> {
    write_durably(&folder.join("metrics.json"), serde_json::to_string_pretty(contents)?.as_bytes())?;
    write_durably(&folder.join("report.md"), markdown::page(contents).as_bytes())?;
    write_durably(&folder.join("report.html"), html::page(contents)?.as_bytes())?;
    Ok(())
}
