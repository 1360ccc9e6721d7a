//! Features to mean 0 and deviation 1, by the subjects that a model is fitted on.

use serde::{Deserialize, Serialize};

use super::spread::mean_sd;

/// What varies less than this is taken as constant: rounding must not become a feature.
const SMALLEST_SD: f64 = 1e-6;

/// Mean and standard deviation of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; 0 for a constant.
    pub sd: f64,
}

impl Scale {
    /// Of the values of a feature; `None` without values or with one that is not finite.
    pub fn fit(values: &[f64]) -> Option<Self> {
        let of = mean_sd(values)?;
        Some(Self { mean: of.mean, sd: of.sd.filter(|sd| *sd > SMALLEST_SD).unwrap_or(0.0) })
    }

    /// (value − mean) / sd; 0 for a constant.
    pub fn apply(&self, value: f64) -> f64 {
        if self.sd > 0.0 { (value - self.mean) / self.sd } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_say_nothing() {
        let scale = Scale::fit(&[1.0, 3.0]).unwrap();
        assert!((scale.apply(3.0) - 1.0 / 2.0f64.sqrt()).abs() < 1e-12);
        assert_eq!(Scale::fit(&[2.0, 2.0 + 1e-9]).unwrap().apply(5.0), 0.0);
        assert_eq!(Scale::fit(&[]), None);
    }
}
