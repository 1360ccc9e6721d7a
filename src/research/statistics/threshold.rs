//! The operating point. A threshold is one of the scores; scores ≥ it are called FCD.

use super::roc::roc_curve;

/// The threshold with the largest sensitivity + specificity − 1 (Youden's J). Ties: the lowest, which is the
/// one with the higher sensitivity.
pub fn youden(labels: &[bool], scores: &[f64]) -> Option<f64> {
    let mut best: Option<(f64, f64)> = None;
    for point in roc_curve(labels, scores)? {
        let j = point.true_positive_rate - point.false_positive_rate;
        // Equal J can differ in the last digit, since the rates are quotients.
        if let Some(threshold) = point.threshold
            && best.is_none_or(|(most, _)| j >= most - 1e-12)
        {
            best = Some((j, threshold));
        }
    }
    best.map(|(_, threshold)| threshold)
}

/// The highest threshold whose sensitivity is at least `sensitivity`.
pub fn for_sensitivity(labels: &[bool], scores: &[f64], sensitivity: f64) -> Option<f64> {
    let curve = roc_curve(labels, scores)?;
    curve.iter().find(|p| p.threshold.is_some() && p.true_positive_rate >= sensitivity - 1e-12)?.threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_prefer_sensitivity() {
        // J is 1/2 at 0.8 (one of two patients, no alarm) and at 0.3 (both patients, one alarm).
        let labels = [false, false, true, true];
        let scores = [0.1, 0.5, 0.3, 0.8];
        assert_eq!(youden(&labels, &scores), Some(0.3));
        assert_eq!(for_sensitivity(&labels, &scores, 0.5), Some(0.8));
        assert_eq!(for_sensitivity(&labels, &scores, 0.9), Some(0.3));
    }
}
