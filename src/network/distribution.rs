//! How the scans looked that a model was trained on, so that a scan that looks otherwise is noticed.
//!
//! A network answers whatever it is shown. For a scan unlike all it has seen the answer means nothing, however sure it
//! is. A few measures of the preprocessed volume (those of the analysis stage) were taken of every training subject; the
//! manifest holds their mean and covariance (as a whitening matrix) and how far a scan may lie from them.

use serde::{Deserialize, Serialize};

use super::manifest_error::ManifestError;

/// The measures that this program takes.
pub const MEASURES: &str = "looks-1";
/// How many they are.
pub const COUNT: usize = 12;

/// A cloud of training scans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Which measures: [`MEASURES`].
    pub measures: String,
    /// Mean of each.
    pub mean: Vec<f64>,
    /// A row per measure of the lower triangular matrix `W` with `Wᵀ W = Σ⁻¹`: row `i` has `i + 1` numbers.
    pub whitening: Vec<Vec<f64>>,
    /// The largest distance at which a scan still counts as like those of the training.
    pub limit: f64,
    /// How the limit was chosen.
    pub rule: String,
}

impl Distribution {
    /// How far measures lie from the training's: Mahalanobis distance over the square root of their number, so that
    /// training scans have about 1. Not finite where a measure is not, or there are more or fewer than here.
    pub fn distance(&self, measures: &[f64]) -> f64 {
        if measures.len() != self.mean.len() {
            return f64::NAN;
        }
        let off: Vec<f64> = measures.iter().zip(&self.mean).map(|(value, mean)| value - mean).collect();
        let white =
            self.whitening.iter().map(|row| row.iter().zip(&off).map(|(weight, off)| weight * off).sum::<f64>());
        (white.map(|value| value * value).sum::<f64>() / off.len() as f64).sqrt()
    }

    /// Checks what a manifest says.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), ManifestError> {
        self.check_against(MEASURES, COUNT)
    }

    fn check_against(&self, name: &str, expected: usize) -> Result<(), ManifestError> {
        let wrong = |field: &str, expected: String, found: String| {
            Err(ManifestError::Field { field: format!("distribution.{field}"), expected, found })
        };
        if self.measures != name {
            return wrong(
                "measures",
                format!("{name:?} (this program takes no others)"),
                format!("{:?}", self.measures),
            );
        }
        if self.mean.len() != expected || !self.mean.iter().all(|value| value.is_finite()) {
            return wrong("mean", format!("{expected} finite numbers"), format!("{:?}", self.mean));
        }
        let is_triangle = self.whitening.len() == expected
            && self
                .whitening
                .iter()
                .enumerate()
                .all(|(at, row)| row.len() == at + 1 && row.iter().all(|value| value.is_finite()) && row[at] > 0.0);
        if !is_triangle {
            let found = self.whitening.iter().map(|row| row.len().to_string()).collect::<Vec<_>>().join(", ");
            let expected = format!("{expected} rows of 1 to {expected} finite numbers, the last of each above 0");
            return wrong("whitening", expected, format!("rows of {found}"));
        }
        if !(self.limit.is_finite() && self.limit > 0.0) {
            return wrong("limit", "a number above 0".to_owned(), self.limit.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two measures with standard deviations 1 and 2, not correlated.
    fn two() -> Distribution {
        Distribution {
            measures: "two".into(),
            mean: vec![1.0, -1.0],
            whitening: vec![vec![1.0], vec![0.0, 0.5]],
            limit: 2.0,
            rule: "by hand".into(),
        }
    }

    #[test]
    fn a_distance_is_in_standard_deviations() {
        assert_eq!(two().distance(&[1.0, -1.0]), 0.0);
        assert!((two().distance(&[4.0, -1.0]) - 3.0 / 2f64.sqrt()).abs() < 1e-12);
        assert!((two().distance(&[1.0, 5.0]) - 3.0 / 2f64.sqrt()).abs() < 1e-12);
        assert!(two().distance(&[f64::NAN, 0.0]).is_nan());
        assert!(two().distance(&[0.0]).is_nan());
    }

    #[test]
    fn what_is_no_cloud_of_these_measures_is_named() {
        two().check_against("two", 2).unwrap();
        let field = |distribution: Distribution, count| match distribution.check_against("two", count) {
            Err(ManifestError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(Distribution { measures: "three".into(), ..two() }, 2), "distribution.measures");
        assert_eq!(field(two(), 3), "distribution.mean");
        assert_eq!(field(Distribution { mean: vec![0.0, f64::NAN], ..two() }, 2), "distribution.mean");
        assert_eq!(field(Distribution { whitening: vec![vec![1.0]], ..two() }, 2), "distribution.whitening");
        let flat = vec![vec![1.0], vec![0.0, 0.0]];
        assert_eq!(field(Distribution { whitening: flat, ..two() }, 2), "distribution.whitening");
        assert_eq!(field(Distribution { limit: 0.0, ..two() }, 2), "distribution.limit");
    }
}
