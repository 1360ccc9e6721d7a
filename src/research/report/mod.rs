//! The report of a run: `report.html` (one file that opens from disk), `report.md` and `metrics.json`.
//!
//! | file | holds |
//! |---|---|
//! | `charts` | ROC, calibration and learning curves as SVG |
//! | `montage` | source, heatmap and lesion contour of chosen patients |
//! | `html`, `markdown` | the pages |

mod charts;
mod html;
mod markdown;
mod montage;

pub(super) use html::head;
pub use montage::Tile;

use std::path::Path;

use serde::Serialize;

use super::confounds::ConfoundReport;
use super::evaluate::Metrics;
use super::plan::Plan;
use super::run_folder::{Epoch, RunFolderError, write_durably};

/// Everything that a report says.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// Version of this file.
    pub format: u32,
    /// Where the figures come from, e.g. `cross-validation of RUN` or `model demo-t1 on DIR`.
    pub title: String,
    /// True when any subject is synthetic: then every page says so on top.
    pub synthetic: bool,
    /// What the figures do not say, a sentence each.
    pub cautions: Vec<String>,
    /// The verdict on confounds; none means not assessed, which is no pass.
    pub confounds: Option<ConfoundReport>,
    /// Every figure.
    pub metrics: Metrics,
    /// The plan, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Hardware, threads, arithmetic.
    pub hardware: String,
    /// Wall time of the folds, s; none unless all are known.
    pub training_s: Option<f64>,
    /// Epochs by fold.
    #[serde(skip)]
    pub histories: Vec<(usize, Vec<Epoch>)>,
    /// Chosen patients.
    #[serde(skip)]
    pub tiles: Vec<Tile>,
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

/// The sentence that stands above every figure of a synthetic cohort.
pub(super) const SYNTHETIC: &str =
    "Synthetic subjects: these figures come from computed heads, nobody was scanned. They say nothing about patients.";

/// What every page says.
pub(super) const RESEARCH_ONLY: &str = "Research use only; not a medical device.";

/// The verdict on confounds in one sentence.
fn confound_verdict(contents: &Contents) -> String {
    match &contents.confounds {
        Some(report) if report.passed => {
            "Passed: the images tell more than scanner, protocol, sex and age do.".to_owned()
        }
        Some(report) => {
            let failed: Vec<&str> = report.checks.iter().filter(|c| !c.passed).map(|c| c.sentence.as_str()).collect();
            format!("FAILED: {}", failed.join(" "))
        }
        None => "NOT ASSESSED: nothing is known of scanner, protocol, sex and age. That is no pass.".to_owned(),
    }
}

/// The measures in the order of the pages, with their names.
fn measures(metrics: &Metrics) -> [(&'static str, &super::evaluate::Measure); 9] {
    [
        ("Accuracy", &metrics.accuracy),
        ("Balanced accuracy", &metrics.balanced_accuracy),
        ("AUC", &metrics.auc),
        ("Sensitivity", &metrics.sensitivity),
        ("Specificity", &metrics.specificity),
        ("F1", &metrics.f1),
        ("Brier score", &metrics.brier),
        ("Calibration error", &metrics.calibration_error),
        ("Accuracy, uncalibrated at 0.5 (the paper's)", &metrics.accuracy_uncalibrated),
    ]
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "undefined".to_owned(), |v| format!("{v:.3}"))
}

fn mean_and_sd(value: Option<&super::statistics::MeanSd>) -> String {
    value.map_or_else(
        || "undefined".to_owned(),
        |m| m.sd.map_or_else(|| format!("{:.3}", m.mean), |sd| format!("{:.3} ± {sd:.3}", m.mean)),
    )
}

fn interval(value: Option<&super::statistics::Interval>) -> String {
    value.map_or_else(String::new, |i| format!("{:.3} to {:.3}", i.lower, i.upper))
}
