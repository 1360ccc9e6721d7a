//! From logits to probabilities that mean something: Platt scaling, temperature, cross-fitting. The logistic function
//! and the change of prevalence are in [`crate::network::logit`], where serving has them too.
//!
//! Fits use Platt's regularised targets, (N₊+1)/(N₊+2) for patients and 1/(N₋+2) for controls, so that
//! perfectly separated logits do not end in certainty.

use serde::{Deserialize, Serialize};

use super::logistic::Logistic;
use crate::network::logit::sigmoid;

/// Calibrated logit = slope · logit + offset.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// Slope.
    pub slope: f64,
    /// Offset.
    pub offset: f64,
}

/// Calibrated logit = logit / temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Above 1 makes probabilities less extreme; at most [`Temperature::HOTTEST`].
    pub temperature: f64,
}

fn regularised_targets(labels: &[bool]) -> Option<Vec<f64>> {
    let patients = labels.iter().filter(|&&l| l).count() as f64;
    let controls = labels.len() as f64 - patients;
    (patients > 0.0 && controls > 0.0).then(|| {
        labels.iter().map(|&l| if l { (patients + 1.0) / (patients + 2.0) } else { 1.0 / (controls + 2.0) }).collect()
    })
}

impl Platt {
    /// Fits by Newton's method; `None` for a single class, non-finite or constant logits.
    pub fn fit(labels: &[bool], logits: &[f64]) -> Option<Self> {
        let first = logits.first()?;
        if logits.iter().all(|z| z == first) {
            return None;
        }
        let rows: Vec<Vec<f64>> = logits.iter().map(|&z| vec![z]).collect();
        let fitted = Logistic::fit(&rows, &regularised_targets(labels)?, 0.0)?;
        Some(Self { slope: *fitted.weights.first()?, offset: fitted.intercept })
    }

    /// The calibrated logit.
    pub fn logit(&self, logit: f64) -> f64 {
        self.slope * logit + self.offset
    }
}

impl Temperature {
    /// The bound on the temperature, taken where the logits do not order the classes at all.
    pub const HOTTEST: f64 = 100.0;

    /// Fits 1/temperature by Newton's method (the loss is convex in it); `None` for a single class,
    /// non-finite logits or logits that are all 0.
    pub fn fit(labels: &[bool], logits: &[f64]) -> Option<Self> {
        let targets = regularised_targets(labels)?;
        if logits.len() != labels.len() || logits.iter().any(|z| !z.is_finite()) || logits.iter().all(|&z| z == 0.0) {
            return None;
        }
        let slope = |s: f64| logits.iter().zip(&targets).map(|(z, t)| z * (sigmoid(s * z) - t)).sum::<f64>();
        let (mut low, mut high) = (1.0 / Self::HOTTEST, 1.0);
        if slope(low) >= 0.0 {
            return Some(Self { temperature: Self::HOTTEST });
        }
        while slope(high) < 0.0 && high < 1e12 {
            high *= 2.0;
        }
        // Newton's step, or the middle of the bracket where the step leaves it.
        let mut s = (low + high) / 2.0;
        for _ in 0..200 {
            let first = slope(s);
            if first > 0.0 {
                high = s
            } else {
                low = s
            }
            let second: f64 = logits.iter().map(|z| z * z * sigmoid(s * z) * (1.0 - sigmoid(s * z))).sum();
            let step = s - first / second;
            let next = if step > low && step < high { step } else { (low + high) / 2.0 };
            if (next - s).abs() < 1e-13 * s {
                break;
            }
            s = next;
        }
        Some(Self { temperature: 1.0 / s })
    }

    /// The calibrated logit.
    pub fn logit(&self, logit: f64) -> f64 {
        logit / self.temperature
    }
}

/// For every subject, in order: `apply(fit(subjects of the other folds), subject)`, so that nothing is scored
/// by what has seen it. `fit` and `apply` get indices. `None` as soon as a fit fails.
pub fn cross_fitted<F, T>(
    folds: &[usize],
    mut fit: impl FnMut(&[usize]) -> Option<F>,
    mut apply: impl FnMut(&F, usize) -> T,
) -> Option<Vec<T>> {
    let mut results: Vec<Option<T>> = folds.iter().map(|_| None).collect();
    let mut names = folds.to_vec();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (inside, others): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&i| folds[i] == name);
        let fitted = fit(&others)?;
        for i in inside {
            results[i] = Some(apply(&fitted, i));
        }
    }
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_fitting_never_sees_its_own_fold() {
        let folds = [0, 1, 2, 0, 1, 2];
        let seen = cross_fitted(&folds, |others| Some(others.to_vec()), |others, i| (others.clone(), i)).unwrap();
        for (i, (others, own)) in seen.iter().enumerate() {
            assert_eq!(*own, i);
            assert_eq!(others.len(), 4);
            assert!(others.iter().all(|&o| folds[o] != folds[i]));
        }
    }

    #[test]
    fn separated_logits_stay_uncertain_and_reversed_ones_turn_cold() {
        let labels = [false, false, true, true];
        let platt = Platt::fit(&labels, &[-9.0, -8.0, 8.0, 9.0]).unwrap();
        assert!(sigmoid(platt.logit(9.0)) < 0.9);
        let reversed = Temperature::fit(&labels, &[2.0, 1.0, -1.0, -2.0]).unwrap();
        assert_eq!(reversed.temperature, Temperature::HOTTEST);
        assert_eq!(Platt::fit(&[true; 3], &[1.0, 2.0, 3.0]), None);
    }
}
