//! The grey window of a source volume: which values become black and white.

use ndarray::ArrayView3;

/// How many voxels are looked at; more do not move a percentile visibly.
const SAMPLES: usize = 200_000;

/// A linear window, one for the whole volume, so that slices keep their brightness among each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GreyWindow {
    /// Value that becomes black.
    pub low: f32,
    /// Value that becomes white.
    pub high: f32,
}

impl GreyWindow {
    /// From the 1st to the 99.5th percentile of the finite values: robust against a few bright vessels or spikes.
    pub fn of(volume: ArrayView3<'_, f32>) -> GreyWindow {
        let step = (volume.len() / SAMPLES).max(1);
        let mut values: Vec<f32> = volume.iter().step_by(step).copied().filter(|v| v.is_finite()).collect();
        if values.is_empty() {
            return GreyWindow { low: 0.0, high: 1.0 };
        }
        let mut percentile = |fraction: f64| {
            let index = ((values.len() - 1) as f64 * fraction).round() as usize;
            *values.select_nth_unstable_by(index, f32::total_cmp).1
        };
        let (low, high) = (percentile(0.01), percentile(0.995));
        GreyWindow { low, high: if high > low { high } else { low + 1.0 } }
    }

    /// Grey level 0..255; what is not a number becomes black.
    pub fn grey(&self, value: f32) -> f32 {
        let grey = (value - self.low) / (self.high - self.low) * 255.0;
        if grey.is_nan() { 0.0 } else { grey.clamp(0.0, 255.0) }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn one_spike_does_not_darken_the_rest() {
        let mut volume = Array3::from_shape_fn((10, 20, 20), |(_, r, c)| (r * 20 + c) as f32);
        volume[[0, 0, 0]] = 1e9;
        let window = GreyWindow::of(volume.view());
        assert!(window.high < 400.0, "{window:?}");
        assert_eq!(window.grey(f32::NAN), 0.0);
        assert_eq!(window.grey(1e9), 255.0);
    }

    #[test]
    fn a_constant_volume_has_a_window() {
        let window = GreyWindow::of(Array3::from_elem((2, 2, 2), 7.0).view());
        assert_eq!(window.grey(7.0), 0.0);
    }
}
