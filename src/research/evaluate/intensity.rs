//! The model beside the baseline that sees intensities but no shapes, on the same subjects and the same folds.

use serde::Serialize;

use super::intensity_baseline::{self, FEATURES};
use super::{Scored, Volumes};
use crate::research::few_at_once;
use crate::research::statistics::bootstrap::RESAMPLES;
use crate::research::statistics::{Interval, auc_interval, paired_auc_difference};

/// Both AUCs over pairs within folds, and their paired difference; none where they are undefined.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntensityComparison {
    /// Of the baseline, out of fold.
    pub baseline_auc: Option<Interval>,
    /// Of the model.
    pub model_auc: Option<Interval>,
    /// Model minus baseline, 95 % interval by paired bootstrap.
    pub difference: Option<Interval>,
    /// Subjects of whom the baseline could take no features; they are left out of all three.
    pub left_out: usize,
}

impl IntensityComparison {
    /// Compares; `folds` is what pairs must have in common, and what the baseline is fitted without.
    pub fn of(scored: &[Scored], volumes: &impl Volumes, folds: &[usize], seed: u64) -> IntensityComparison {
        let features = few_at_once::map(scored, |s| {
            let subject = s.row.subject.as_str();
            intensity_baseline::features(volumes.shape(), volumes.volume(subject)?, volumes.head(subject)?)
        });
        let (mut rows, mut labels, mut logits, mut cells) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((s, row), fold) in scored.iter().zip(&features).zip(folds) {
            if let Some(row) = row {
                rows.push(*row);
                labels.push(s.row.fcd);
                logits.push(s.logit);
                cells.push(*fold);
            }
        }
        let left_out = scored.len() - rows.len();
        compare(&rows, &labels, &logits, &cells, left_out, seed)
    }
}

fn compare(
    rows: &[[f64; FEATURES]],
    labels: &[bool],
    logits: &[f64],
    folds: &[usize],
    left_out: usize,
    seed: u64,
) -> IntensityComparison {
    let baseline = intensity_baseline::out_of_fold_logits(rows, labels, folds);
    let baseline = baseline.as_deref();
    IntensityComparison {
        baseline_auc: baseline.and_then(|scores| auc_interval(labels, scores, folds, RESAMPLES, seed)),
        model_auc: auc_interval(labels, logits, folds, RESAMPLES, seed),
        difference: baseline.and_then(|scores| paired_auc_difference(labels, logits, scores, folds, RESAMPLES, seed)),
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_knows_more_than_brightness_is_above() {
        let labels: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let folds: Vec<usize> = (0..40).map(|i| i / 2 % 4).collect();
        let noise = |i: usize| (i * 37 % 17) as f64 / 17.0;
        let rows: Vec<[f64; FEATURES]> = (0..40).map(|i| [noise(i); FEATURES]).collect();
        let knows: Vec<f64> = (0..40).map(|i| noise(i) + if labels[i] { 2.0 } else { 0.0 }).collect();
        let found = compare(&rows, &labels, &knows, &folds, 0, 1);
        assert_eq!(found.model_auc.unwrap().estimate, 1.0);
        let difference = found.difference.unwrap();
        assert!((difference.estimate - (1.0 - found.baseline_auc.unwrap().estimate)).abs() < 1e-12);
        assert!(difference.lower > 0.0, "{difference:?}");
        // One fold: nobody is left to fit on.
        let alone = compare(&rows, &labels, &knows, &[0; 40], 0, 1);
        assert!(alone.baseline_auc.is_none() && alone.difference.is_none() && alone.model_auc.is_some());
    }
}
