//! The receiver operating characteristic and the area under it.

use serde::Serialize;

/// One point of the curve: the rates when every score ≥ `threshold` is called FCD.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// 1 − specificity.
    pub false_positive_rate: f64,
    /// Sensitivity.
    pub true_positive_rate: f64,
    /// The threshold; `None` at the first point, where nothing is called FCD.
    pub threshold: Option<f64>,
}

/// Area under the curve = Mann–Whitney U / (patients × controls); a tie counts one half.
pub fn auc(labels: &[bool], scores: &[f64]) -> Option<f64> {
    let (wins, pairs) = mann_whitney(labels, scores)?;
    (pairs > 0.0).then(|| wins / pairs)
}

/// The area over pairs of subjects of the *same* fold only, so that scores of different networks are never
/// compared: folds weigh as many pairs as they have. Folds with one class have none.
///
/// Pooling instead would punish a baseline that knows nothing: its intercepts follow the training prevalence,
/// which is lower where the test fold holds more patients.
pub fn auc_within_folds(labels: &[bool], scores: &[f64], folds: &[usize]) -> Option<f64> {
    if labels.len() != scores.len() || labels.len() != folds.len() {
        return None;
    }
    let mut names = folds.to_vec();
    names.sort_unstable();
    names.dedup();
    let (mut wins, mut pairs) = (0.0, 0.0);
    for name in names {
        let rows = (0..folds.len()).filter(|&i| folds[i] == name);
        let (fold_labels, fold_scores): (Vec<bool>, Vec<f64>) = rows.map(|i| (labels[i], scores[i])).unzip();
        let (w, p) = mann_whitney(&fold_labels, &fold_scores)?;
        wins += w;
        pairs += p;
    }
    (pairs > 0.0).then(|| wins / pairs)
}

/// `(U, patients × controls)` by mid-ranks; `None` for scores that are not finite.
fn mann_whitney(labels: &[bool], scores: &[f64]) -> Option<(f64, f64)> {
    if labels.len() != scores.len() || scores.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut below, mut wins, mut patients) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positive = tied.iter().filter(|&&i| labels[i]).count() as f64;
        let negative = tied.len() as f64 - positive;
        wins += positive * (below + negative / 2.0);
        below += negative;
        patients += positive;
    }
    Some((wins, patients * below))
}

/// The curve from (0, 0) to (1, 1), one point for each distinct score, thresholds falling.
pub fn roc_curve(labels: &[bool], scores: &[f64]) -> Option<Vec<RocPoint>> {
    auc(labels, scores)?;
    let patients = labels.iter().filter(|&&l| l).count() as f64;
    let controls = labels.len() as f64 - patients;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut points = vec![RocPoint { false_positive_rate: 0.0, true_positive_rate: 0.0, threshold: None }];
    let (mut hits, mut alarms) = (0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        for &i in tied {
            if labels[i] { hits += 1.0 } else { alarms += 1.0 }
        }
        points.push(RocPoint {
            false_positive_rate: alarms / controls,
            true_positive_rate: hits / patients,
            threshold: Some(scores[tied[0]]),
        });
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_and_limits() {
        // Pairs: (0.8 > 0.1), (0.8 > 0.4), (0.4 > 0.1), (0.4 = 0.4): 3.5 of 4.
        let labels = [false, false, true, true];
        assert_eq!(auc(&labels, &[0.1, 0.4, 0.4, 0.8]), Some(0.875));
        assert_eq!(auc(&labels, &[1.0; 4]), Some(0.5));
        assert_eq!(auc(&[true; 4], &[0.1, 0.4, 0.4, 0.8]), None);
        assert_eq!(auc(&labels, &[0.1, f64::NAN, 0.4, 0.8]), None);
        assert_eq!(auc(&[], &[]), None);
    }

    #[test]
    fn curve_encloses_the_area() {
        let labels = [false, true, false, true, true, false];
        let scores = [0.1, 0.4, 0.4, 0.8, 0.3, 0.3];
        let curve = roc_curve(&labels, &scores).unwrap();
        let area: f64 = curve
            .windows(2)
            .map(|p| {
                (p[1].false_positive_rate - p[0].false_positive_rate)
                    * (p[0].true_positive_rate + p[1].true_positive_rate)
                    / 2.0
            })
            .sum();
        assert!((area - auc(&labels, &scores).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn folds_are_not_mixed() {
        // Each fold is ordered perfectly, but the second network's scores lie higher.
        let labels = [false, true, false, true];
        let scores = [0.0, 1.0, 10.0, 11.0];
        assert_eq!(auc_within_folds(&labels, &scores, &[0, 0, 1, 1]), Some(1.0));
        assert_eq!(auc(&labels, &scores), Some(0.75));
    }
}
