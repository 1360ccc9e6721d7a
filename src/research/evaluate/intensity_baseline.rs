//! The baseline that sees intensities but no shapes: what a network finds must be more than "something is bright".
//!
//! Features of a preprocessed (z-scored) volume within the head: the maximum after smoothing, mean, standard
//! deviation, and percentiles; then a logistic regression on the standardised features.

use ndarray::{Array3, Axis};
use serde::Serialize;

use crate::research::statistics::bootstrap::percentile;
use crate::research::statistics::logistic::Logistic;
use crate::research::statistics::{Scale, cross_fitted};

/// Percentiles among the features.
pub const PERCENTILES: [f64; 7] = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0];
/// Features of a volume: smoothed maximum, mean, standard deviation, percentiles.
pub const FEATURES: usize = 3 + PERCENTILES.len();
/// Means over 3 voxels along each axis: three are nearly a Gaussian of σ = 1.4 voxels.
const SMOOTHINGS: usize = 3;
/// 1/C of scikit-learn's default.
const PENALTY: f64 = 1.0;

/// Features of a volume `[D, H, W]` in C order; `head` is 1 inside the head. `None` for other lengths, no head, or
/// values that are not finite.
///
/// Smoothing looks at the head only: sums over neighbours in the head, divided by how many there are.
pub fn features(shape: [usize; 3], values: &[f32], head: &[u8]) -> Option<[f64; FEATURES]> {
    if values.len() != head.len() {
        return None;
    }
    let inside = || values.iter().zip(head).filter(|(_, h)| **h != 0).map(|(v, _)| f64::from(*v));
    let mut sorted: Vec<f64> = inside().collect();
    if sorted.is_empty() || sorted.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let sd = (sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let weight: Vec<f32> = head.iter().map(|h| if *h != 0 { 1.0 } else { 0.0 }).collect();
    let weighted: Vec<f32> = values.iter().zip(head).map(|(v, h)| if *h != 0 { *v } else { 0.0 }).collect();
    let sums = smoothed(Array3::from_shape_vec(shape, weighted).ok()?);
    let weights = smoothed(Array3::from_shape_vec(shape, weight).ok()?);
    let maximum = sums
        .iter()
        .zip(&weights)
        .zip(head)
        .filter(|(_, h)| **h != 0)
        .map(|((sum, weight), _)| f64::from(sum / weight))
        .fold(f64::NEG_INFINITY, f64::max);
    let mut features = [maximum, mean, sd, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    for (feature, percent) in features.iter_mut().skip(3).zip(PERCENTILES) {
        *feature = percentile(&mut sorted, percent)?;
    }
    Some(features)
}

/// Sums over 3 voxels along each axis, [`SMOOTHINGS`] times, divided by 3; outside the volume is 0.
fn smoothed(mut volume: Array3<f32>) -> Array3<f32> {
    for axis in (0..3).flat_map(|axis| [axis; SMOOTHINGS]) {
        for mut lane in volume.lanes_mut(Axis(axis)) {
            let mut before = 0.0;
            for i in 0..lane.len() {
                let own = lane[i];
                let after = lane.get(i + 1).copied().unwrap_or(0.0);
                lane[i] = (before + own + after) / 3.0;
                before = own;
            }
        }
    }
    volume
}

/// The baseline, fitted on some subjects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntensityBaseline {
    scales: Vec<Scale>,
    logistic: Logistic,
}

impl IntensityBaseline {
    /// Fits on the features and labels (`true` for FCD) of the training subjects; `None` for a single class.
    pub fn fit(features: &[[f64; FEATURES]], labels: &[bool]) -> Option<Self> {
        if labels.iter().all(|l| Some(l) == labels.first()) || features.len() != labels.len() {
            return None;
        }
        let scales: Vec<Scale> = (0..FEATURES)
            .map(|k| Scale::fit(&features.iter().map(|row| row[k]).collect::<Vec<_>>()))
            .collect::<Option<_>>()?;
        let rows: Vec<Vec<f64>> = features.iter().map(|row| scaled(&scales, row)).collect();
        let targets: Vec<f64> = labels.iter().map(|l| f64::from(u8::from(*l))).collect();
        let logistic = Logistic::fit(&rows, &targets, PENALTY)?;
        Some(Self { scales, logistic })
    }

    /// The logit of a subject.
    pub fn logit(&self, features: &[f64; FEATURES]) -> f64 {
        self.logistic.logit(&scaled(&self.scales, features))
    }
}

fn scaled(scales: &[Scale], row: &[f64; FEATURES]) -> Vec<f64> {
    scales.iter().zip(row).map(|(scale, value)| scale.apply(*value)).collect()
}

/// Of every subject, the logit of a baseline fitted on the other folds; `None` when one of them cannot be fitted.
pub fn out_of_fold_logits(features: &[[f64; FEATURES]], labels: &[bool], folds: &[usize]) -> Option<Vec<f64>> {
    if features.len() != labels.len() || features.len() != folds.len() {
        return None;
    }
    cross_fitted(
        folds,
        |others| {
            let (rows, labels): (Vec<_>, Vec<bool>) = others.iter().map(|&i| (features[i], labels[i])).unzip();
            IntensityBaseline::fit(&rows, &labels)
        },
        |baseline, own| baseline.logit(&features[own]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::statistics::auc_within_folds;

    #[test]
    fn features_of_a_known_volume() {
        // 0..=100 along one lane: percentiles are the values themselves.
        let values: Vec<f32> = (0..=100).map(|v| v as f32).collect();
        let f = features([101, 1, 1], &values, &[1; 101]).unwrap();
        assert_eq!(f[1], 50.0);
        assert!((f[2] - 850.0f64.sqrt()).abs() < 1e-9);
        assert_eq!(f[3..], PERCENTILES);
        // A ramp stays a ramp inside; its end is averaged with what is left of it in the head.
        assert!(f[0] > 98.0 && f[0] < 100.0, "{}", f[0]);
    }

    #[test]
    fn smoothing_stays_in_the_head_and_tells_a_spot_from_noise() {
        let shape = [16, 16, 16];
        let at = |i: usize| [i / 256, i / 16 % 16, i % 16];
        let head: Vec<u8> = (0..4096).map(|i| u8::from(at(i).iter().all(|x| (3..13).contains(x)))).collect();
        // Bright outside: no feature sees it. Constant inside: the smoothed maximum is the constant.
        let constant: Vec<f32> = head.iter().map(|h| if *h == 1 { 2.0 } else { 90.0 }).collect();
        let f = features(shape, &constant, &head).unwrap();
        assert!((f[0] - 2.0).abs() < 1e-5 && f[2] < 1e-9, "{f:?}");
        let peak = |spot: &dyn Fn([usize; 3]) -> bool| {
            let values: Vec<f32> = (0..4096).map(|i| if spot(at(i)) { 5.0 } else { 0.0 }).collect();
            features(shape, &values, &head).unwrap()[0]
        };
        let voxel = peak(&|x| x == [8, 8, 8]);
        let ball = peak(&|x| x.iter().all(|v| (6..11).contains(v)));
        assert!(voxel < 0.2 && ball > 3.5, "{voxel} {ball}");
        assert_eq!(features(shape, &constant, &[0; 4096]), None);
        assert_eq!(features(shape, &constant, &[1; 7]), None);
        assert_eq!(features(shape, &vec![f32::NAN; 4096], &head), None);
    }

    #[test]
    fn a_bright_feature_is_used_and_rounding_is_not() {
        let labels: Vec<bool> = (0..60).map(|i| i % 2 == 0).collect();
        let folds: Vec<usize> = (0..60).map(|i| i / 2 % 5).collect();
        let subject = |i: usize, gain: f64| {
            let mut f = [0.0; FEATURES];
            f[0] = (i * 37 % 17) as f64 / 17.0 + if labels[i] { gain } else { 0.0 };
            f[1] = if labels[i] { 1e-9 } else { 0.0 };
            f
        };
        let score = |gain: f64| {
            let rows: Vec<_> = (0..60).map(|i| subject(i, gain)).collect();
            auc_within_folds(&labels, &out_of_fold_logits(&rows, &labels, &folds).unwrap(), &folds).unwrap()
        };
        assert_eq!(score(2.0), 1.0);
        assert!(score(0.0) < 0.75, "{}", score(0.0));
        assert_eq!(IntensityBaseline::fit(&[[0.0; FEATURES]; 3], &[true; 3]), None);
    }
}
