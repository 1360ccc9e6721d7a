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
        let noise = Noise { seed: random.next_u64(), amount: noise };
        let (low, high) = super::range(values, head);
        if gamma != 1.0 && high > low {
            let curve = Curve::new(low, high, |share| (low + (high - low) * share.powf(gamma)) * scale + shift);
            noise.add(values, head, |v| curve.at(v));
        } else {
            noise.add(values, head, |v| v * scale + shift);
        }
    }
}

/// A function of intensity as a table: a power for each voxel would cost more than the rotation.
struct Curve {
    low: f32,
    knots_per_unit: f32,
    knots: [f32; Self::STEPS + 1],
}

impl Curve {
    /// With an exponent down to 0.37 the line between two knots is off by less than 0.002 of the range, but
    /// for its lowest thousandth.
    const STEPS: usize = 1024;

    /// Tabulates `value`, a function of where between `low` and `high` an intensity lies (0 to 1).
    fn new(low: f32, high: f32, value: impl Fn(f32) -> f32) -> Self {
        let knots = std::array::from_fn(|k| value(k as f32 / Self::STEPS as f32));
        Curve { low, knots_per_unit: Self::STEPS as f32 / (high - low), knots }
    }

    #[inline]
    fn at(&self, intensity: f32) -> f32 {
        let position = ((intensity - self.low) * self.knots_per_unit).clamp(0.0, Self::STEPS as f32);
        let knot = (position as usize).min(Self::STEPS - 1);
        let (a, b) = (self.knots[knot], self.knots[knot + 1]);
        a + (b - a) * (position - knot as f32)
    }
}

/// Noise that depends on a seed and the voxel's index alone: the same on every machine, in any order.
struct Noise {
    seed: u64,
    amount: f32,
}

impl Noise {
    /// Replaces each of the head's values by `change` of it and adds noise.
    #[inline]
    fn add(&self, values: &mut [f32], head: &[bool], change: impl Fn(f32) -> f32) {
        if self.amount == 0.0 {
            let inside = values.iter_mut().zip(head).filter(|(_, inside)| **inside);
            return inside.for_each(|(value, _)| *value = change(*value));
        }
        for (index, (value, _)) in values.iter_mut().zip(head).enumerate().filter(|(_, (_, inside))| **inside) {
            *value = change(*value) + self.amount * nearly_normal(split_mix(self.seed, index as u64));
        }
    }
}

/// Output `index` of the SplitMix64 generator (Steele, Lea and Flood 2014), whose state is a counter.
#[inline]
fn split_mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Four 16-bit uniforms, summed: mean 0, variance 1, nearly normal, never beyond 3.47. A true normal would
/// cost a logarithm per voxel and buy nothing here.
#[inline]
fn nearly_normal(bits: u64) -> f32 {
    let pairs = (bits & 0x0000_ffff_0000_ffff) + ((bits >> 16) & 0x0000_ffff_0000_ffff);
    let sum = (pairs & 0xffff_ffff) + (pairs >> 32);
    (sum as i32 - 131_070) as f32 * (1.732_050_8 / 65_536.0)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn noise_has_unit_variance_no_mean_and_no_memory() {
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|i| f64::from(nearly_normal(split_mix(1, i)))).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|v| v * v).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.01, "{mean} {variance}");
        // Neighbours along each axis of a 160×192×160 grid; five standard errors.
        for lag in [1, 160, 192 * 160] {
            let pairs = draws.iter().zip(&draws[lag..]);
            let correlation = pairs.map(|(a, b)| a * b).sum::<f64>() / (draws.len() - lag) as f64;
            assert!(correlation.abs() < 5.0 / ((draws.len() - lag) as f64).sqrt(), "{lag}: {correlation}");
        }
    }

    /// The first outputs for seed 1234567, as published with the generator's Java and C versions.
    #[test]
    fn the_generator_is_split_mix() {
        let published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!([0, 1, 2, 3].map(|i| split_mix(1_234_567, i)), published);
    }

    #[test]
    fn the_table_follows_the_power() {
        for gamma in [0.37f32, 0.8, 1.2, 2.7] {
            let curve = Curve::new(-2.0, 5.0, |share| share.powf(gamma));
            for k in 0..=5000 {
                let share = k as f32 / 5000.0;
                let off = (curve.at(-2.0 + 7.0 * share) - share.powf(gamma)).abs();
                assert!(off < 2e-3 || share < 1.0 / 1024.0, "{gamma} {share} {off}");
            }
            assert_eq!([curve.at(-3.0), curve.at(6.0)], [0.0, 1.0]);
        }
    }

    #[test]
    fn amounts_of_zero_change_nothing_and_each_amount_alone_does() {
        let before: Vec<f32> = (0..90).map(|i| (i as f32).sin()).collect();
        let head: Vec<bool> = (0..90).map(|i| i % 3 != 0).collect();
        let varied = |amounts: Intensity| {
            let mut values = before.clone();
            amounts.apply(&mut values, &head, &mut ChaCha20Rng::seed_from_u64(4));
            values
        };
        let none = Intensity { scale: 0.0, shift: 0.0, log_gamma: 0.0, noise: 0.0 };
        assert_eq!(varied(none), before);
        for one in [
            Intensity { scale: 0.1, ..none },
            Intensity { shift: 0.1, ..none },
            Intensity { log_gamma: 0.2, ..none },
            Intensity { noise: 0.1, ..none },
        ] {
            let after = varied(one);
            assert_ne!(after, before, "{one:?}");
            assert!(after.iter().zip(&before).zip(&head).all(|((a, b), inside)| *inside || a == b));
            assert!(after.iter().zip(&before).all(|(a, b)| (a - b).abs() < 0.5));
        }
    }
}
