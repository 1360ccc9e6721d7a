//! Test-time augmentation: what the networks say of the same head mirrored left to right.
//!
//! A lesion may lie on either side, so the answer should stay. How far it moves is a spread that nothing has to be
//! fitted for, and whether the mean of both answers is better tells whether serving should pay for a second pass.

use serde::Serialize;

use super::Heard;
use crate::network::logit::sigmoid;
use crate::research::statistics::bootstrap::RESAMPLES;
use crate::research::statistics::{Interval, auc_interval, paired_auc_difference};

/// The answers to mirrored heads beside those to the heads as they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mirroring {
    /// Mean over the subjects of the absolute difference of the two probabilities, uncalibrated.
    pub mean_difference: f64,
    /// The largest.
    pub largest_difference: f64,
    /// AUC, within folds, of the mean of both logits.
    pub auc_of_both: Option<Interval>,
    /// That minus the AUC of the heads as they are, 95 % interval by paired bootstrap.
    pub gain: Option<Interval>,
}

impl Mirroring {
    /// Compares; `folds` is what pairs must have in common. None for nobody.
    pub fn of(heard: &[Heard], folds: &[usize], seed: u64) -> Option<Mirroring> {
        let labels: Vec<bool> = heard.iter().map(|h| h.row.fcd).collect();
        let plain: Vec<f64> = heard.iter().map(|h| h.logit).collect();
        let both: Vec<f64> = heard.iter().map(|h| f64::midpoint(h.logit, h.logit_of_mirrored)).collect();
        let moved: Vec<f64> = heard.iter().map(|h| (sigmoid(h.logit) - sigmoid(h.logit_of_mirrored)).abs()).collect();
        Some(Mirroring {
            mean_difference: moved.iter().sum::<f64>() / moved.len() as f64,
            largest_difference: moved.iter().copied().reduce(f64::max)?,
            auc_of_both: auc_interval(&labels, &both, folds, RESAMPLES, seed),
            gain: paired_auc_difference(&labels, &both, &plain, folds, RESAMPLES, seed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::SubjectRow;
    use super::*;

    fn heard(number: usize, logit: f64, logit_of_mirrored: f64) -> Heard {
        let row = SubjectRow {
            subject: format!("sub-{number}"),
            fcd: number.is_multiple_of(2),
            scanner: None,
            protocol: None,
            voxel_mm: None,
            sex: None,
            age: None,
        };
        Heard { row, fold: Some(0), logit, logit_of_mirrored, cams: Vec::new() }
    }

    #[test]
    fn errors_of_one_side_are_halved() {
        // Both answers know the label; each has an error of its own, and those of a subject cancel.
        let cohort: Vec<Heard> = (0..40)
            .map(|n| {
                let label = if n % 2 == 0 { 1.0 } else { -1.0 };
                let error = (n * 37 % 17) as f64 / 17.0 * 8.0 - 4.0;
                heard(n, label + error, label - error)
            })
            .collect();
        let found = Mirroring::of(&cohort, &[0; 40], 1).unwrap();
        assert_eq!(found.auc_of_both.unwrap().estimate, 1.0);
        assert!(found.gain.unwrap().lower > 0.0, "{found:?}");
        let moved = cohort.iter().map(|h| (sigmoid(h.logit) - sigmoid(h.logit_of_mirrored)).abs());
        assert!((found.mean_difference - moved.clone().sum::<f64>() / 40.0).abs() < 1e-12);
        assert!(moved.clone().all(|m| m <= found.largest_difference) && found.largest_difference > 0.5);
        assert_eq!(Mirroring::of(&[], &[], 1), None);
    }

    #[test]
    fn an_answer_that_stays_gains_nothing() {
        let cohort: Vec<Heard> = (0..20).map(|n| heard(n, (n * 7 % 5) as f64, (n * 7 % 5) as f64)).collect();
        let found = Mirroring::of(&cohort, &[0; 20], 1).unwrap();
        assert_eq!((found.mean_difference, found.largest_difference, found.gain.unwrap().estimate), (0.0, 0.0, 0.0));
    }
}
