//! Hits, misses and what is derived from them.

use serde::Serialize;

/// Counts at a threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Patients called FCD.
    pub true_positives: usize,
    /// Controls called FCD.
    pub false_positives: usize,
    /// Controls not called FCD.
    pub true_negatives: usize,
    /// Patients not called FCD.
    pub false_negatives: usize,
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Confusion {
    /// Counts with every score ≥ `threshold` called FCD; `None` for slices of different length or NaN.
    pub fn at(labels: &[bool], scores: &[f64], threshold: f64) -> Option<Self> {
        if labels.len() != scores.len() || threshold.is_nan() || scores.iter().any(|s| s.is_nan()) {
            return None;
        }
        let mut counts = Self::default();
        for (&patient, &score) in labels.iter().zip(scores) {
            match (patient, score >= threshold) {
                (true, true) => counts.true_positives += 1,
                (false, true) => counts.false_positives += 1,
                (false, false) => counts.true_negatives += 1,
                (true, false) => counts.false_negatives += 1,
            }
        }
        Some(counts)
    }

    /// Subjects counted.
    pub fn total(&self) -> usize {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Share of right calls.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.true_positives + self.true_negatives, self.total())
    }

    /// Share of patients called FCD.
    pub fn sensitivity(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Share of controls not called FCD.
    pub fn specificity(&self) -> Option<f64> {
        share(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Mean of sensitivity and specificity.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        Some((self.sensitivity()? + self.specificity()?) / 2.0)
    }

    /// Share of patients among those called FCD; undefined when nobody was.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// 2 TP / (2 TP + FP + FN); undefined without patients and alarms.
    pub fn f1(&self) -> Option<f64> {
        let hits = 2 * self.true_positives;
        share(hits, hits + self.false_positives + self.false_negatives)
    }
}
