//! Class-conditional (Mondrian) conformal prediction: for each class separately, the true class is left out
//! of the set with probability at most alpha.
//!
//! Nonconformity of class c is 1 − p(c). The quantile of class c is the ⌈(n_c + 1)(1 − alpha)⌉-th smallest
//! among its own subjects; with too few subjects for that rank the class is always in the set.

use serde::{Deserialize, Serialize};

/// Quantiles of nonconformity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    /// Error rate allowed in each class.
    pub alpha: f64,
    /// Quantile of the patients; `None`: too few, FCD is always in the set.
    pub fcd: Option<f64>,
    /// Quantile of the controls; `None`: too few, HC is always in the set.
    pub hc: Option<f64>,
}

/// The classes that conform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PredictionSet {
    /// Only FCD.
    Fcd,
    /// Only healthy.
    Hc,
    /// Both: abstain.
    Both,
    /// Neither: abstain.
    Neither,
}

impl PredictionSet {
    /// True where no class is named alone.
    pub fn abstains(self) -> bool {
        matches!(self, Self::Both | Self::Neither)
    }

    /// True where the set holds the class.
    pub fn holds(self, fcd: bool) -> bool {
        match self {
            Self::Both => true,
            Self::Neither => false,
            Self::Fcd => fcd,
            Self::Hc => !fcd,
        }
    }
}

impl Conformal {
    /// Quantiles of probabilities of FCD; `None` for a single class, alpha outside 0..1 or a bad probability.
    pub fn fit(labels: &[bool], probabilities: &[f64], alpha: f64) -> Option<Self> {
        let bad = probabilities.iter().any(|p| !(0.0..=1.0).contains(p));
        if labels.len() != probabilities.len() || bad || !(alpha > 0.0 && alpha < 1.0) {
            return None;
        }
        let mut of_class = [Vec::new(), Vec::new()];
        for (&fcd, &p) in labels.iter().zip(probabilities) {
            of_class[usize::from(fcd)].push(if fcd { 1.0 - p } else { p });
        }
        if of_class.iter().any(Vec::is_empty) {
            return None;
        }
        let [hc, fcd] = of_class.map(|mut scores: Vec<f64>| {
            scores.sort_by(f64::total_cmp);
            // 1e-9: (n + 1)(1 − alpha) is often a whole number that rounding lifts above itself.
            let rank = ((scores.len() as f64 + 1.0) * (1.0 - alpha) - 1e-9).ceil() as usize;
            scores.get(rank.max(1) - 1).copied()
        });
        Some(Self { alpha, fcd, hc })
    }

    /// The set of a probability of FCD.
    pub fn set(&self, probability: f64) -> PredictionSet {
        let fcd = self.fcd.is_none_or(|q| 1.0 - probability <= q);
        let hc = self.hc.is_none_or(|q| probability <= q);
        match (fcd, hc) {
            (true, true) => PredictionSet::Both,
            (true, false) => PredictionSet::Fcd,
            (false, true) => PredictionSet::Hc,
            (false, false) => PredictionSet::Neither,
        }
    }
}

/// Share of subjects of each class whose set holds it, `(fcd, hc)`.
pub fn coverage(labels: &[bool], sets: &[PredictionSet]) -> Option<(f64, f64)> {
    let share = |fcd: bool| {
        let of: Vec<bool> = labels.iter().zip(sets).filter(|&(&l, _)| l == fcd).map(|(_, s)| s.holds(fcd)).collect();
        (!of.is_empty()).then(|| of.iter().filter(|&&h| h).count() as f64 / of.len() as f64)
    };
    (labels.len() == sets.len()).then_some(())?;
    Some((share(true)?, share(false)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_quantiles() {
        // Four of each; rank ⌈5 · 0.8⌉ = 4: the largest nonconformity. Patients: 1 − 0.4; controls: 0.5.
        let labels = [true, true, true, true, false, false, false, false];
        let p = [0.9, 0.8, 0.7, 0.4, 0.1, 0.2, 0.3, 0.5];
        let fitted = Conformal::fit(&labels, &p, 0.2).unwrap();
        assert_eq!((fitted.fcd, fitted.hc), (Some(0.6), Some(0.5)));
        assert_eq!(fitted.set(0.45), PredictionSet::Both);
        assert_eq!(fitted.set(0.6), PredictionSet::Fcd);
        assert_eq!(fitted.set(0.3), PredictionSet::Hc);
        // Rank ⌈5 · 0.9⌉ = 5 of four: every set holds everything.
        let few = Conformal::fit(&labels, &p, 0.1).unwrap();
        assert!(few.set(0.99).abstains());
        let sets: Vec<_> = p.iter().map(|&p| fitted.set(p)).collect();
        assert_eq!(coverage(&labels, &sets), Some((1.0, 1.0)));
    }
}
