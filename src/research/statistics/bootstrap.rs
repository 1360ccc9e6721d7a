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
    let (estimate, mut figures) = resampled(labels, resamples, seed, |rows| {
        let (l, f) = (pick(labels, rows), pick(folds, rows));
        auc_within_folds(&l, &pick(scores, rows), &f)
    })?;
    between(estimate, &mut figures)
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
    paired_auc_test(labels, a, b, folds, resamples, seed).map(|test| test.difference)
}

/// A difference of two AUCs with its interval and p.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedAuc {
    /// AUC(first) − AUC(second), 95 % interval.
    pub difference: Interval,
    /// Two-sided p that belongs to the interval: twice the share of resamples on the rarer side of 0, where one more
    /// resample than there were is counted on either side (Davison and Hinkley 1997, chapter 4), at most 1. It is
    /// never below 2 / (resamples + 1).
    pub p: f64,
}

/// [`paired_auc_difference`] with its p, for corrections that want one.
pub fn paired_auc_test(
    labels: &[bool],
    a: &[f64],
    b: &[f64],
    folds: &[usize],
    resamples: usize,
    seed: u64,
) -> Option<PairedAuc> {
    if a.len() != labels.len() || b.len() != labels.len() {
        return None;
    }
    let (estimate, mut differences) = resampled(labels, resamples, seed, |rows| {
        let (l, f) = (pick(labels, rows), pick(folds, rows));
        Some(auc_within_folds(&l, &pick(a, rows), &f)? - auc_within_folds(&l, &pick(b, rows), &f)?)
    })?;
    let share = |count: usize| (count + 1) as f64 / (differences.len() + 1) as f64;
    let not_above = share(differences.iter().filter(|d| **d <= 0.0).count());
    let not_below = share(differences.iter().filter(|d| **d >= 0.0).count());
    let p = (2.0 * not_above.min(not_below)).min(1.0);
    Some(PairedAuc { difference: between(estimate, &mut differences)?, p })
}

fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|&i| values.get(i).copied()).collect()
}

/// Any figure of the rows, and of their resamples within each class.
fn resampled(
    labels: &[bool],
    resamples: usize,
    seed: u64,
    figure: impl Fn(&[usize]) -> Option<f64>,
) -> Option<(f64, Vec<f64>)> {
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
    Some((estimate, figures))
}

/// The 95 % percentile interval.
fn between(estimate: f64, figures: &mut [f64]) -> Option<Interval> {
    Some(Interval { estimate, lower: percentile(figures, 2.5)?, upper: percentile(figures, 97.5)? })
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
    fn p_counts_the_resamples_beyond_zero() {
        let labels: Vec<bool> = (0..20).map(|i| i % 2 == 0).collect();
        let folds = vec![0; 20];
        let right: Vec<f64> = labels.iter().map(|l| f64::from(u8::from(*l))).collect();
        let wrong: Vec<f64> = right.iter().map(|r| -r).collect();
        // Perfect against upside down: every resample differs by 1, none lies at or below 0.
        let test = paired_auc_test(&labels, &right, &wrong, &folds, 99, 1).unwrap();
        assert_eq!((test.difference.estimate, test.difference.lower, test.p), (1.0, 1.0, 2.0 / 100.0));
        assert_eq!(paired_auc_test(&labels, &wrong, &right, &folds, 99, 1).unwrap().p, 2.0 / 100.0);
        // Equal scores: every resample lies on both sides.
        assert_eq!(paired_auc_test(&labels, &right, &right, &folds, 99, 1).unwrap().p, 1.0);
        // One patient of ten below all controls: a resample without it, probability 0.9^10 = 0.35, differs by 0.
        let mut almost = right.clone();
        almost[0] = -1.0;
        let p = paired_auc_test(&labels, &right, &almost, &folds, 4000, 1).unwrap().p;
        assert!((p - 2.0 * 0.9_f64.powi(10)).abs() < 0.05, "{p}");
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
