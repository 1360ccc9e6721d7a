//! What lies beside the networks of a model: who took part, the out-of-fold logits, the run's figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ExportError, Fold};
use crate::network::manifest::SUBJECTS;
use crate::research::models::pretrained_on;
use crate::research::run::folder::{RunFolder, RunFolderError};

/// The record of out-of-fold logits.
pub const OUT_OF_FOLD: &str = "out_of_fold.csv";
/// The record of the run's figures.
pub const METRICS: &str = "metrics.json";

/// A row of [`OUT_OF_FOLD`]: what the one network said that never saw the subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutOfFold {
    /// [`Subject::hash`](super::Subject::hash).
    pub subject: String,
    /// True for a patient.
    pub fcd: bool,
    /// The fold whose network it was.
    pub fold: usize,
    /// `logits[1] − logits[0]`, not calibrated.
    pub logit: f64,
}

/// A row per test subject of every fold, sorted by subject.
pub(super) fn out_of_fold_rows(
    folds: &[Fold],
    identities: &BTreeMap<String, String>,
) -> Result<Vec<OutOfFold>, ExportError> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for fold in folds {
        for row in &fold.tests {
            let wrong = |message: &str| ExportError::Subject { subject: row.subject.clone(), message: message.into() };
            if row.fold != fold.number || !row.logit().is_finite() {
                return Err(wrong("its row in predictions.csv is of another fold or not finite"));
            }
            if !seen.insert(&row.subject) {
                return Err(wrong("two folds tested it: the folds' predictions are not of one split"));
            }
            let subject = identities.get(&row.subject).ok_or_else(|| wrong("it is not in the run's cache"))?.clone();
            rows.push(OutOfFold { subject, fcd: row.fcd, fold: fold.number, logit: row.logit() });
        }
    }
    rows.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(rows)
}

/// Names and contents of the records.
pub(super) fn records(
    run: &RunFolder,
    identities: &BTreeMap<String, String>,
    out_of_fold: &[OutOfFold],
) -> Result<Vec<(&'static str, Vec<u8>)>, ExportError> {
    let before = pretrained_on::read(run)?;
    let own = identities.values().map(String::as_str);
    let hashes: BTreeSet<&str> = own.chain(before.iter().map(|seen| seen.subject.as_str())).collect();
    let subjects: String = hashes.into_iter().map(|hash| format!("{hash}\n")).collect();
    let table = |message: String| RunFolderError::Table { path: OUT_OF_FOLD.into(), message };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in out_of_fold {
        writer.serialize(row).map_err(|e| table(e.to_string()))?;
    }
    let rows = writer.into_inner().map_err(|e| table(e.to_string()))?;
    let mut records = vec![(SUBJECTS, subjects.into_bytes()), (OUT_OF_FOLD, rows)];
    let metrics = run.path().join(METRICS);
    match fs::read(&metrics) {
        Ok(bytes) => records.push((METRICS, fit_to_travel(&bytes, &metrics)?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(RunFolderError::File { path: metrics, source }.into()),
    }
    Ok(records)
}

/// The figures without the table of subjects and the folders of this machine: a model travels, names its subjects by
/// hashes only, and the weights that it began with by their file's name and digest.
fn fit_to_travel(bytes: &[u8], path: &Path) -> Result<Vec<u8>, ExportError> {
    let damaged = |e: serde_json::Error| RunFolderError::Table { path: path.to_owned(), message: e.to_string() };
    let mut figures: Value = serde_json::from_slice(bytes).map_err(damaged)?;
    if let Some(metrics) = figures.get_mut("metrics").and_then(Value::as_object_mut) {
        metrics.remove("per_subject");
    }
    if let Some(weights) = figures.pointer_mut("/plan/weights/path") {
        let name = weights.as_str().map(Path::new).and_then(Path::file_name);
        *weights = name.map(|name| name.to_string_lossy().into_owned()).into();
    }
    Ok(serde_json::to_vec_pretty(&figures).map_err(damaged)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_subjects_nor_folders_travel() {
        let figures = br#"{"metrics": {"auc": 1, "per_subject": [{"subject": "sub-1"}]},
            "plan": {"weights": {"path": "/home/someone/run/fold_0/checkpoint_best", "sha256": "ab"}, "seed": 1}}"#;
        let text = String::from_utf8(fit_to_travel(figures, Path::new("metrics.json")).unwrap()).unwrap();
        assert!(!text.contains("sub-1") && !text.contains("someone"), "{text}");
        let figures: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(figures["plan"]["weights"]["path"], "checkpoint_best");
        assert_eq!((&figures["metrics"]["auc"], &figures["plan"]["seed"]), (&1.into(), &1.into()));
        let plain = fit_to_travel(br#"{"plan": {"seed": 1}}"#, Path::new("metrics.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap()["plan"], serde_json::json!({"seed": 1}));
    }
}
