//! Which folds of a run are there, and their predictions in one table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::folder::{Part, Prediction, RunFolder, RunFolderError, write_table};

/// How far a fold is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FoldState {
    /// Trained and predicted.
    Done,
    /// Some epochs are done.
    Begun,
    /// Nothing is there.
    Missing,
}

/// A fold of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoldStatus {
    /// From 0.
    pub fold: usize,
    /// How far it is.
    pub state: FoldState,
    /// Epochs in its history.
    pub epochs: usize,
}

/// Folds that cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Not all folds are there.
    #[error("{path}: fold(s) {missing} not done yet; train each with fcdd admin retrain … --fold K")]
    Incomplete {
        /// The run.
        path: PathBuf,
        /// The folds, as a list.
        missing: String,
    },
    /// The folds are not of one run.
    #[error("{path}: {subject} is tested by {tests} folds, not by one: the folds were made with different splits.json")]
    Mixed {
        /// The run.
        path: PathBuf,
        /// The subject.
        subject: String,
        /// How many folds test it.
        tests: usize,
    },
    /// A file of the run.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
}

/// How far each fold is.
///
/// # Errors
/// When the plan or a history cannot be read.
pub fn status(run: &RunFolder) -> Result<Vec<FoldStatus>, RunFolderError> {
    let folds = run.plan()?.folds.value;
    (0..folds)
        .map(|fold| {
            let folder = run.fold(fold);
            let epochs = folder.history()?.len();
            let state = match () {
                () if folder.is_done() => FoldState::Done,
                () if epochs > 0 || folder.checkpoint_latest().exists() => FoldState::Begun,
                () => FoldState::Missing,
            };
            Ok(FoldStatus { fold, state, epochs })
        })
        .collect()
}

/// Joins the folds' predictions, by fold, and writes `RUN/predictions.csv`.
///
/// # Errors
/// When a fold is not done, or a subject is not tested exactly once.
pub fn collect(run: &RunFolder) -> Result<Vec<Prediction>, CollectError> {
    let status = status(run)?;
    let path = || run.path().to_owned();
    let missing: Vec<String> =
        status.iter().filter(|fold| fold.state != FoldState::Done).map(|fold| fold.fold.to_string()).collect();
    if !missing.is_empty() {
        return Err(CollectError::Incomplete { path: path(), missing: missing.join(", ") });
    }
    let mut rows = Vec::new();
    for fold in status {
        rows.extend(run.fold(fold.fold).predictions()?);
    }
    let everybody: BTreeSet<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
    let mut tests: BTreeMap<&str, usize> = everybody.into_iter().map(|subject| (subject, 0)).collect();
    for row in rows.iter().filter(|row| row.part == Part::Test) {
        *tests.entry(row.subject.as_str()).or_default() += 1;
    }
    if let Some((subject, tests)) = tests.into_iter().find(|(_, tests)| *tests != 1) {
        return Err(CollectError::Mixed { path: path(), subject: subject.to_owned(), tests });
    }
    write_table(&run.predictions_path(), &rows)?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::run::plan::{Plan, Profile, Said};
    use crate::study::Sequence;

    fn row(subject: &str, fold: usize, part: Part) -> Prediction {
        Prediction { subject: subject.to_owned(), fold, part, fcd: fold == 0, logit_hc: 0.25, logit_fcd: -1.5 }
    }

    #[test]
    fn missing_folds_are_named_and_whole_runs_joined() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path().join("run"));
        let said = Said { folds: Some(3), ..Said::default() };
        run.begin(&Plan::new(Profile::Paper, Sequence::T1, "0".repeat(64), None, 1, &said)).unwrap();
        let finish = |fold: usize, subject: &str| {
            let rows = [row(subject, fold, Part::Test), row("sub-9", fold, Part::Validation)];
            write_table(&run.fold(fold).predictions_path(), &rows).unwrap();
            std::fs::write(run.fold(fold).checkpoint_best(), b"weights").unwrap();
        };
        finish(1, "sub-1");
        let states: Vec<FoldState> = status(&run).unwrap().iter().map(|fold| fold.state).collect();
        assert_eq!(states, [FoldState::Missing, FoldState::Done, FoldState::Missing]);
        let error = collect(&run).unwrap_err().to_string();
        assert!(error.contains("fold(s) 0, 2 not done"), "{error}");
        finish(0, "sub-0");
        finish(2, "sub-1");
        let error = collect(&run).unwrap_err().to_string();
        assert!(error.contains("sub-1 is tested by 2 folds"), "{error}");
        finish(2, "sub-9");
        let rows = collect(&run).unwrap();
        assert_eq!(rows.len(), 6);
        assert_eq!(super::super::folder::read_table::<Prediction>(&run.predictions_path()).unwrap(), rows);
    }
}
