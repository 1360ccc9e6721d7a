//! Percentile bootstrap over subjects, drawn within each class, so that every resample has as many patients and
//! controls as the original. Seeded: the same data and seed give the same interval.
//!
//! It is not drawn within folds as well: of m patients in a fold that would show (m − 1)/m of the variance only, and
//! intervals of small cohorts would be too narrow for a gate.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::roc::auc_within_folds;

/// Resamples of an interval in a report.
pub const RESAMPLES: usize = 2000;

/// Share of the resamples in which the figure must be defined.
const DEFINED_SHARE: f64 = 0.95;

/// An estimate with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure on the subjects themselves.
    pub estimate: f64,
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
}

/// 95 % interval of the AUC over pairs within folds ([`auc_within_folds`]); a single fold number for all
/// gives the ordinary AUC.
pub fn auc_interval(labels: &[bool], scores: &[f64], folds: &[usize], resamples: usize, seed: u64) -> Option<Interval> {
    interval(labels, resamples, seed, |rows| {
        let (l, f) = (pick(labels, rows), pick(folds, rows));
        auc_within_folds(&l, &pick(scores, rows), &f)
    })
}

/// 95 % interval of AUC(`a`) − AUC(`b`) on the same subjects: each resample scores both.
pub fn paired_auc_difference(
    labels: &[bool],
    a: &[f64],
    b: &[f64],
    folds: &[usize],
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    if a.len() != labels.len() || b.len() != labels.len() {
        return None;
    }
    interval(labels, resamples, seed, |rows| {
        let (l, f) = (pick(labels, rows), pick(folds, rows));
        Some(auc_within_folds(&l, &pick(a, rows), &f)? - auc_within_folds(&l, &pick(b, rows), &f)?)
    })
}

fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|&i| values.get(i).copied()).collect()
}

/// Interval of any figure of the rows, resampled within each class.
fn interval(
    labels: &[bool],
    resamples: usize,
    seed: u64,
    figure: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    let mut rows: Vec<usize> = (0..labels.len()).collect();
    let estimate = figure(&rows)?;
    rows.sort_by_key(|&i| labels[i]);
    let classes: Vec<&[usize]> = rows.chunk_by(|&i, &j| labels[i] == labels[j]).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut figures = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let mut drawn = Vec::with_capacity(rows.len());
        for class in &classes {
            for _ in 0..class.len() {
                drawn.push(class[random.random_range(0..class.len())]);
            }
        }
        figures.extend(figure(&drawn));
    }
    // A draw may leave no fold with both classes; where that is not rare, there is too little for an interval.
    if (figures.len() as f64) < DEFINED_SHARE * resamples as f64 {
        return None;
    }
    Some(Interval { estimate, lower: percentile(&mut figures, 2.5)?, upper: percentile(&mut figures, 97.5)? })
}

/// Percentile with linear interpolation between order statistics (NumPy's default); sorts the values.
pub fn percentile(values: &mut [f64], percent: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = percent / 100.0 * (values.len().checked_sub(1)? as f64);
    let low = values.get(place.floor() as usize)?;
    let high = values.get(place.ceil() as usize)?;
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_interval_and_equal_scores_differ_by_nothing() {
        let labels: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let scores: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) + if i % 2 == 0 { 2.0 } else { 0.0 }).collect();
        let folds = vec![0; 40];
        let once = auc_interval(&labels, &scores, &folds, 500, 1).unwrap();
        assert_eq!(Some(once), auc_interval(&labels, &scores, &folds, 500, 1));
        assert!(once.lower < once.estimate && once.estimate < once.upper);
        let none = paired_auc_difference(&labels, &scores, &scores, &folds, 100, 1).unwrap();
        assert_eq!((none.estimate, none.lower, none.upper), (0.0, 0.0, 0.0));
    }

    #[test]
    fn many_small_folds_do_not_narrow_the_interval() {
        // Scores that know nothing, two of each class per fold: about 1 interval of 20 should miss 0.5.
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let labels: Vec<bool> = (0..60).map(|i| i % 2 == 0).collect();
        let folds: Vec<usize> = (0..60).map(|i| i / 4).collect();
        let missed = (0..200)
            .filter(|&seed| {
                let scores: Vec<f64> = (0..60).map(|_| random.random()).collect();
                let i = auc_interval(&labels, &scores, &folds, 200, seed).unwrap();
                i.lower > 0.5 || i.upper < 0.5
            })
            .count();
        assert!(missed <= 20, "{missed} of 200");
    }
}
