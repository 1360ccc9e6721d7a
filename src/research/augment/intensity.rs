//! Intensity variation of a z-scored head: contrast (gamma), scale, shift, noise. Background is untouched.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::uniform;

/// Ranges of the intensity variation; each sample draws uniformly within them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intensity {
    /// Multiplies the z-scores by `1 ± scale`; 0 to 0.9.
    pub scale: f64,
    /// Adds `± shift` (z-score units); 0 to 2.
    pub shift: f64,
    /// Contrast: exponent `exp(± log_gamma)` on the head's range brought to 0–1; 0 to 1.
    pub log_gamma: f64,
    /// Largest standard deviation of added noise (z-score units); 0 to 1.
    pub noise: f64,
}

impl Intensity {
    /// Every field with the largest value it may take.
    pub(super) fn limits(&self) -> [(&'static str, f64, f64); 4] {
        [
            ("intensity.scale", self.scale, 0.9),
            ("intensity.shift", self.shift, 2.0),
            ("intensity.log_gamma", self.log_gamma, 1.0),
            ("intensity.noise", self.noise, 1.0),
        ]
    }

    /// Varies the voxels for which `head` is true, in place.
    pub fn apply(&self, values: &mut [f32], head: &[bool], random: &mut ChaCha20Rng) {
        let scale = (1.0 + uniform(random, -self.scale, self.scale)) as f32;
        let shift = uniform(random, -self.shift, self.shift) as f32;
        let gamma = uniform(random, -self.log_gamma, self.log_gamma).exp() as f32;
        let noise = uniform(random, 0.0, self.noise) as f32;
        let (low, high) = super::range(values, head);
        let span = high - low;
        let bend = gamma != 1.0 && span > 0.0;
        for (value, _) in values.iter_mut().zip(head).filter(|(_, inside)| **inside) {
            let mut v = *value;
            if bend {
                v = low + span * ((v - low) / span).clamp(0.0, 1.0).powf(gamma);
            }
            v = v * scale + shift;
            if noise > 0.0 {
                v += noise * nearly_normal(random.next_u64());
            }
            *value = v;
        }
    }
}

/// Four 16-bit uniforms, summed: mean 0, variance 1, nearly normal, never beyond 3.47. A true normal would
/// cost a logarithm per voxel and buy nothing here.
fn nearly_normal(bits: u64) -> f32 {
    let sum: u32 = (0..4).map(|k| (bits >> (16 * k)) as u32 & 0xffff).sum();
    (sum as f32 - 131_070.0) * (1.732_050_8 / 65_536.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn noise_has_unit_variance_and_no_mean() {
        use rand_chacha::rand_core::{RngCore, SeedableRng};
        let mut random = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(super::nearly_normal(random.next_u64()))).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
