//! What one run of a grid came to, from its own files: `predictions.csv`, `fold_K/history.csv`, `metrics.json`.
//!
//! Calls are the network's own at a probability of 0.5, uncalibrated, as the paper counts; they are what McNemar's test
//! compares too. What cannot be known is none, and a remark says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Configuration, GridError};
use crate::research::run::folder::{Part, Prediction, RunFolder, read_table};
use crate::research::statistics::{Confusion, MeanSd, auc, mean_sd};

/// A figure of the labels and logits of a fold's test subjects.
type OfFold = fn(&[bool], &[f64]) -> Option<f64>;

/// How the network that never saw a subject scored it.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectScore {
    /// The fold that tested it.
    pub fold: usize,
    /// True for a patient.
    pub fcd: bool,
    /// `logits[1] − logits[0]`.
    pub logit: f64,
}

impl SubjectScore {
    /// Whether the call at a probability of 0.5 is right.
    pub fn is_right(&self) -> bool {
        (self.logit >= 0.0) == self.fcd
    }
}

/// The figures of one configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Which.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// Its run's folder, from that of the grid.
    pub run: PathBuf,
    /// Subjects tested.
    pub subjects: usize,
    /// Patients among them.
    pub patients: usize,
    /// Share of right calls at a probability of 0.5, over folds.
    pub accuracy: Option<MeanSd>,
    /// Area under the ROC curve, over folds.
    pub auc: Option<MeanSd>,
    /// Mean Heat-Score of the patients of a fold, over folds.
    pub heat_score: Option<MeanSd>,
    /// Mean Heat-Score on the mirrored lesions: what chance looks like.
    pub heat_score_mirrored: Option<f64>,
    /// Training minus validation accuracy at the best epoch, over folds.
    pub train_validation_gap: Option<MeanSd>,
    /// Wall time of the epochs of a fold, s, over folds.
    pub seconds_per_fold: Option<MeanSd>,
    /// Median time of a scan's forward pass, ms.
    pub milliseconds_per_scan: Option<f64>,
    /// The verdict of its confound report; none: not assessed.
    pub confounds_passed: Option<bool>,
    /// Whether its subjects are synthetic; none: not known.
    pub synthetic: Option<bool>,
    /// The machines, as the run's report has them.
    pub hardware: Vec<String>,
    /// Why something is none, or of fewer folds or patients than it seems.
    pub remarks: Vec<String>,
    /// By subject.
    #[serde(skip)]
    pub scores: BTreeMap<String, SubjectScore>,
}

/// What is read here of `metrics.json`.
#[derive(Debug, Deserialize)]
struct Report {
    synthetic: bool,
    confounds: Option<Confounds>,
    metrics: Figures,
    #[serde(default)]
    hardware: Vec<String>,
    forward_pass: Option<ForwardPass>,
}

#[derive(Debug, Deserialize)]
struct ForwardPass {
    median_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Confounds {
    passed: bool,
}

#[derive(Debug, Deserialize)]
struct Figures {
    train_validation_gap: Option<MeanSd>,
    heat: Option<Heat>,
    per_subject: Vec<Subject>,
}

#[derive(Debug, Deserialize)]
struct Heat {
    lesion: Summary,
    mirrored: Summary,
}

#[derive(Debug, Deserialize)]
struct Summary {
    mean: Option<f64>,
    undefined: Vec<(String, usize)>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    subject: String,
    fold: Option<usize>,
    heat_score: Option<f64>,
}

impl Outcome {
    /// Reads a finished run in the grid's folder.
    ///
    /// # Errors
    /// When the run is not finished, or a file is damaged or not of this run.
    pub fn read(grid: &Path, configuration: Configuration) -> Result<Outcome, GridError> {
        let run = RunFolder::new(grid.join(configuration.folder()));
        let folds = run.plan()?.folds.value;
        let scores = scores(&run)?;
        if scores.is_empty() {
            return Err(GridError::Unfinished { path: run.path().to_owned() });
        }
        let mut remarks = Vec::new();
        let of_fold = |fold: usize| -> (Vec<bool>, Vec<f64>) {
            scores.values().filter(|score| score.fold == fold).map(|score| (score.fcd, score.logit)).unzip()
        };
        let by_fold = |figure: OfFold| -> Vec<f64> {
            (0..folds).map(of_fold).filter_map(|(labels, logits)| figure(&labels, &logits)).collect()
        };
        let accuracies = by_fold(|labels, logits| Confusion::at(labels, logits, 0.0)?.accuracy());
        let areas = by_fold(auc);
        if areas.len() < folds {
            remarks.push(format!("the AUC is undefined in {} of {folds} folds: one class", folds - areas.len()));
        }
        let seconds = (0..folds).map(|fold| {
            let history = run.fold(fold).history()?;
            Ok((!history.is_empty()).then(|| history.iter().map(|epoch| epoch.seconds).sum::<f64>()))
        });
        let seconds: Vec<f64> =
            seconds.collect::<Result<Vec<Option<f64>>, GridError>>()?.into_iter().flatten().collect();
        if seconds.len() < folds {
            remarks.push(format!("{} of {folds} folds have no history.csv", folds - seconds.len()));
        }
        let mut outcome = Outcome {
            configuration,
            run: configuration.folder(),
            subjects: scores.len(),
            patients: scores.values().filter(|score| score.fcd).count(),
            accuracy: mean_sd(&accuracies),
            auc: mean_sd(&areas),
            heat_score: None,
            heat_score_mirrored: None,
            train_validation_gap: None,
            seconds_per_fold: mean_sd(&seconds),
            milliseconds_per_scan: None,
            confounds_passed: None,
            synthetic: None,
            hardware: Vec::new(),
            remarks,
            scores,
        };
        outcome.read_report(&run, folds)?;
        Ok(outcome)
    }

    /// Takes over what the run's report knows.
    fn read_report(&mut self, run: &RunFolder, folds: usize) -> Result<(), GridError> {
        let path = metrics_path(run);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let lacking = "no Heat-Score, gap, time per scan or verdict on confounds: its metrics.json is missing; \
                     make it by fcdd admin report";
                self.remarks.push(lacking.to_owned());
                return Ok(());
            }
            Err(source) => return Err(GridError::File { path, source }),
        };
        let report: Report = serde_json::from_slice(&text)
            .map_err(|e| GridError::Report { path: path.clone(), message: e.to_string() })?;
        let reported: BTreeSet<(&str, Option<usize>)> =
            report.metrics.per_subject.iter().map(|subject| (subject.subject.as_str(), subject.fold)).collect();
        if reported != self.scores.iter().map(|(subject, score)| (subject.as_str(), Some(score.fold))).collect() {
            let message = "it is about other subjects or folds than predictions.csv".to_owned();
            return Err(GridError::Report { path, message });
        }
        self.synthetic = Some(report.synthetic);
        self.confounds_passed = report.confounds.map(|confounds| confounds.passed);
        self.hardware = report.hardware;
        self.milliseconds_per_scan = report.forward_pass.map(|pass| pass.median_ms);
        self.train_validation_gap = report.metrics.train_validation_gap;

        let means = (0..folds).filter_map(|fold| {
            let of_fold = report.metrics.per_subject.iter().filter(|subject| subject.fold == Some(fold));
            mean_sd(&of_fold.filter_map(|subject| subject.heat_score).collect::<Vec<_>>())
        });
        let means: Vec<f64> = means.map(|of| of.mean).collect();
        self.heat_score = mean_sd(&means);
        match report.metrics.heat {
            None => self.remarks.push("no Heat-Score: no patient has a lesion mask".to_owned()),
            Some(heat) => {
                for (reason, count) in &heat.lesion.undefined {
                    let reason = reason.replace('-', " ");
                    self.remarks.push(format!("the Heat-Score of {count} patient(s) is undefined: {reason}"));
                }
                if means.len() < folds {
                    self.remarks.push(format!("the Heat-Score is of {} of {folds} folds", means.len()));
                }
                self.heat_score_mirrored = heat.mirrored.mean;
            }
        }
        Ok(())
    }
}

/// `metrics.json`
pub fn metrics_path(run: &RunFolder) -> PathBuf {
    run.path().join("metrics.json")
}

fn scores(run: &RunFolder) -> Result<BTreeMap<String, SubjectScore>, GridError> {
    let rows: Vec<Prediction> = read_table(&run.predictions_path())?;
    let mut scores = BTreeMap::new();
    for row in rows.into_iter().filter(|row| row.part == Part::Test) {
        let score = SubjectScore { fold: row.fold, fcd: row.fcd, logit: row.logit() };
        if !score.logit.is_finite() {
            return Err(GridError::NotFinite { path: run.predictions_path(), subject: row.subject });
        }
        scores.insert(row.subject, score);
    }
    Ok(scores)
}

#[cfg(test)]
pub(super) fn made_up(configuration: Configuration, accuracy: Option<f64>) -> Outcome {
    Outcome {
        configuration,
        run: configuration.folder(),
        subjects: 0,
        patients: 0,
        accuracy: accuracy.map(|mean| MeanSd { mean, sd: None, n: 1 }),
        auc: None,
        heat_score: None,
        heat_score_mirrored: None,
        train_validation_gap: None,
        seconds_per_fold: None,
        milliseconds_per_scan: None,
        confounds_passed: None,
        synthetic: None,
        hardware: Vec::new(),
        remarks: Vec::new(),
        scores: BTreeMap::new(),
    }
}
