//! How many subjects a class-conditional conformal prediction would abstain on, cross-fitted: the quantiles of a fold
//! come from the others.

use serde::Serialize;

use crate::research::statistics::conformal::coverage;
use crate::research::statistics::{Conformal, PredictionSet, cross_fitted, sigmoid};

/// Error rate allowed in each class.
const ALPHA: f64 = 0.1;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Abstention {
    /// Error rate allowed in each class.
    pub alpha: f64,
    /// Patients, and those of them with both classes or none.
    pub patients: [usize; 2],
    /// Controls, and those of them with both classes or none.
    pub controls: [usize; 2],
    /// Share of the patients whose set holds FCD; should be at least 1 − alpha.
    pub coverage_fcd: f64,
    /// Share of the controls whose set holds "no FCD".
    pub coverage_hc: f64,
    /// Subjects whose other folds have too few of a class for a quantile: that class is always in their set.
    pub without_quantile: usize,
}

impl Abstention {
    /// None with one fold or one class.
    ///
    /// Any strictly rising calibration gives the same sets, because quantiles are order statistics: the networks' own
    /// probabilities do.
    pub fn of(labels: &[bool], logits: &[f64], folds: &[usize]) -> Option<Abstention> {
        let probabilities: Vec<f64> = logits.iter().map(|logit| sigmoid(*logit)).collect();
        let found: Vec<(PredictionSet, bool)> = cross_fitted(
            folds,
            |others| {
                let picked = |i: &usize| Some((*labels.get(*i)?, *probabilities.get(*i)?));
                let (l, p): (Vec<bool>, Vec<f64>) = others.iter().filter_map(picked).unzip();
                Conformal::fit(&l, &p, ALPHA)
            },
            |fitted, i| {
                let lacks = fitted.fcd.is_none() || fitted.hc.is_none();
                (fitted.set(probabilities.get(i).copied().unwrap_or(0.5)), lacks)
            },
        )?;
        let sets: Vec<PredictionSet> = found.iter().map(|(set, _)| *set).collect();
        let (coverage_fcd, coverage_hc) = coverage(labels, &sets)?;
        let count = |fcd: bool| {
            let of: Vec<&PredictionSet> =
                labels.iter().zip(&sets).filter(|(label, _)| **label == fcd).map(|(_, set)| set).collect();
            [of.len(), of.iter().filter(|set| set.abstains()).count()]
        };
        Some(Abstention {
            alpha: ALPHA,
            patients: count(true),
            controls: count(false),
            coverage_fcd,
            coverage_hc,
            without_quantile: found.iter().filter(|(_, lacks)| *lacks).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separated_classes_need_no_abstention_and_few_subjects_force_it() {
        // Two folds of ten patients and ten controls: 11 · 0.9 = 9.9, so the quantile is the tenth of ten.
        let labels: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let folds: Vec<usize> = (0..40).map(|i| i / 20).collect();
        let logit = |i: usize| f64::from(i as u32 / 2 % 10) / 10.0 + if labels[i] { 2.0 } else { -3.0 };
        let logits: Vec<f64> = (0..40).map(logit).collect();
        let found = Abstention::of(&labels, &logits, &folds).unwrap();
        assert_eq!((found.patients, found.controls, found.without_quantile), ([20, 0], [20, 0], 0));
        assert_eq!((found.coverage_fcd, found.coverage_hc), (1.0, 1.0));
        // Two folds of four patients and four controls: the quantile would be the ⌈5 · 0.9⌉ = fifth of four.
        let few = Abstention::of(&labels[..16], &logits[..16], &[[0; 8], [1; 8]].concat()).unwrap();
        assert_eq!((few.patients, few.controls, few.without_quantile), ([8, 8], [8, 8], 16));
        assert_eq!(Abstention::of(&labels, &logits, &[0; 40]), None);
        assert_eq!(Abstention::of(&[true; 40], &logits, &folds), None);
    }

    /// A patient below all others and a control above all others: named alone, each is called the wrong class; a
    /// logit between the classes belongs to neither.
    #[test]
    fn what_is_between_belongs_to_nobody() {
        let mut labels = vec![];
        let mut logits = vec![];
        let mut folds = vec![];
        for fold in 0..2 {
            for i in 0..20 {
                labels.push(i % 2 == 0);
                logits.push(if i % 2 == 0 { 3.0 } else { -3.0 } + f64::from(i) * 0.01);
                folds.push(fold);
            }
        }
        logits[0] = 0.0;
        let found = Abstention::of(&labels, &logits, &folds).unwrap();
        // Fold 1's quantile of patients is the tenth of ten: the odd one at 0 widens it, nobody there abstains.
        assert_eq!(found.patients, [20, 1]);
        assert!((found.coverage_fcd - 0.95).abs() < 1e-12 && found.coverage_hc == 1.0);
    }
}
