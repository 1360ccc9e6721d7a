//! Tests of two configurations on the same subjects or the same set-ups.

use serde::Serialize;
use statrs::distribution::{Binomial, ContinuousCDF, Discrete, DiscreteCDF, StudentsT};

use super::spread::mean_sd;

/// McNemar's test on right and wrong calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Subjects only the first got right.
    pub only_first_right: usize,
    /// Subjects only the second got right.
    pub only_second_right: usize,
    /// Two-sided exact binomial p.
    pub p_exact: f64,
    /// Two-sided mid-p (Fagerland 2013): the exact p less the probability of the observed split; where the split is
    /// even, 1 less half of it.
    pub p_mid: f64,
}

/// McNemar's test of `first_right` against `second_right`, one entry per subject; `None` for different
/// lengths. Without a discordant subject both p are 1.
pub fn mcnemar(first_right: &[bool], second_right: &[bool]) -> Option<McNemar> {
    if first_right.len() != second_right.len() {
        return None;
    }
    let pairs = || first_right.iter().zip(second_right);
    let only_first_right = pairs().filter(|&(&a, &b)| a && !b).count();
    let only_second_right = pairs().filter(|&(&a, &b)| !a && b).count();
    let discordant = (only_first_right + only_second_right) as u64;
    let few = only_first_right.min(only_second_right) as u64;
    let binomial = Binomial::new(0.5, discordant).ok()?;
    let observed = binomial.pmf(few);
    let (p_exact, p_mid) = if discordant == 0 {
        (1.0, 1.0)
    } else if only_first_right == only_second_right {
        (1.0, 1.0 - observed / 2.0)
    } else {
        let exact = 2.0 * binomial.cdf(few);
        (exact.min(1.0), (exact - observed).min(1.0))
    };
    Some(McNemar { only_first_right, only_second_right, p_exact, p_mid })
}

/// A paired t-test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedT {
    /// Student's t of the mean difference.
    pub t: f64,
    /// Pairs − 1.
    pub degrees_of_freedom: usize,
    /// Two-sided p.
    pub p: f64,
    /// Mean of first − second.
    pub mean_difference: f64,
}

/// Two-sided paired t-test; `None` below two pairs or when all differences are equal but for rounding.
pub fn paired_t_test(first: &[f64], second: &[f64]) -> Option<PairedT> {
    if first.len() != second.len() {
        return None;
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let of = mean_sd(&differences)?;
    let largest = first.iter().chain(second).fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let sd = of.sd.filter(|&sd| sd > 1e-12 * largest)?;
    let t = of.mean / (sd / (of.n as f64).sqrt());
    let student = StudentsT::new(0.0, 1.0, of.n as f64 - 1.0).ok()?;
    Some(PairedT { t, degrees_of_freedom: of.n - 1, p: 2.0 * student.cdf(-t.abs()), mean_difference: of.mean })
}

/// Holm's step-down correction, in the order given; each at most 1.
pub fn holm(p_values: &[f64]) -> Option<Vec<f64>> {
    if p_values.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return None;
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p_values[i] * (p_values.len() - rank) as f64).min(1.0));
        adjusted[i] = largest;
    }
    Some(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_splits_and_degenerate_pairs() {
        let even = mcnemar(&[true, false], &[false, true]).unwrap();
        // One against one: probability 1/2, mid-p 1 − 1/4.
        assert!(even.p_exact == 1.0 && (even.p_mid - 0.75).abs() < 1e-12);
        let same = mcnemar(&[true, false], &[true, false]).unwrap();
        assert_eq!((same.p_exact, same.p_mid), (1.0, 1.0));
        // Fagerland's worked table: one child against seven, 18/256 and 10/256.
        let first: Vec<bool> = (0..8).map(|i| i < 7).collect();
        let second: Vec<bool> = first.iter().map(|right| !right).collect();
        let children = mcnemar(&first, &second).unwrap();
        assert!((children.p_exact - 18.0 / 256.0).abs() < 1e-12 && (children.p_mid - 10.0 / 256.0).abs() < 1e-12);
        // One against none: 2 · 1/2 = 1 exactly, mid-p 1 − 1/2.
        let one = mcnemar(&[true, true], &[false, true]).unwrap();
        assert!((one.p_exact - 1.0).abs() < 1e-12 && (one.p_mid - 0.5).abs() < 1e-12);
        assert_eq!(mcnemar(&[true], &[]), None);
        assert_eq!(paired_t_test(&[1.0, 2.0], &[0.0, 1.0]), None);
        assert_eq!(paired_t_test(&[0.7, 0.8], &[0.6, 0.7]), None);
        assert_eq!(holm(&[f64::NAN]), None);
    }
}
