//! Mean and spread over folds; the interval of a share.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::bootstrap::Interval;

/// Mean ± standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanSd {
    /// The mean.
    pub mean: f64,
    /// Sample standard deviation (ddof = 1); `None` for a single value.
    pub sd: Option<f64>,
    /// How many values.
    pub n: usize,
}

/// Mean and sample standard deviation (ddof = 1); `None` without values or with one that is not finite.
pub fn mean_sd(values: &[f64]) -> Option<MeanSd> {
    if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some(MeanSd { mean, sd: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()), n: values.len() })
}

/// Wilson's score interval of a share at `confidence` (0.95), without continuity correction.
pub fn wilson(successes: usize, trials: usize, confidence: f64) -> Option<Interval> {
    if trials == 0 || successes > trials || !(0.0..1.0).contains(&confidence) {
        return None;
    }
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let (n, p) = (trials as f64, successes as f64 / trials as f64);
    let scale = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / scale;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / scale;
    Some(Interval { estimate: p, lower: (centre - half).max(0.0), upper: (centre + half).min(1.0) })
}
