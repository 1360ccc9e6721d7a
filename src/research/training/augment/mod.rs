//! Augmentation of preprocessed volumes: what a network must not depend on is varied while it trains.
//!
//! Order for each sample: left-right flip and rotation in one trilinear pass, then scanner protocol, then
//! intensity. The head is where a turned volume differs from the background; nothing but the first pass
//! changes the background. What a sample draws depends on seed, fold, epoch and subject alone, never on
//! threads or order.

mod axis_map;
pub mod flip;
pub mod intensity;
pub mod protocol;
pub mod rotate;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use intensity::Intensity;
pub use protocol::Protocol;
pub use rotate::Turn;

/// What is varied, and how far. Angles and amounts are drawn uniformly within these ranges.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Rotation about each axis by `± rotation_deg`; 0 to 45.
    pub rotation_deg: f64,
    /// Mirror left and right in half of the draws.
    pub flip: bool,
    /// Intensity variation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intensity: Option<Intensity>,
    /// Scanner-protocol variation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// An amount of an [`Augmentation`] outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("augmentation.{field} is {found}; give a value from {lowest} to {highest}")]
pub struct OutOfRange {
    /// The field, as written in a plan.
    pub field: &'static str,
    /// Its value.
    pub found: f64,
    /// The lowest value allowed.
    pub lowest: f64,
    /// The highest value allowed.
    pub highest: f64,
}

/// What makes a sample's draw: equal keys, equal augmentation.
#[derive(Debug, Clone, Copy)]
pub struct DrawKey<'a> {
    /// The plan's seed.
    pub seed: u64,
    /// Fold number.
    pub fold: u32,
    /// Epoch number.
    pub epoch: u32,
    /// The subject's key, unique in the archive.
    pub subject: &'a str,
}

impl DrawKey<'_> {
    /// The random stream of this key for one purpose.
    pub(super) fn stream(&self, purpose: &str) -> ChaCha20Rng {
        let mut hash = Sha256::new();
        for text in [purpose, self.subject] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.update(self.seed.to_le_bytes());
        hash.update(self.fold.to_le_bytes());
        hash.update(self.epoch.to_le_bytes());
        ChaCha20Rng::from_seed(hash.finalize().into())
    }
}

/// A worker's buffers, reused from sample to sample.
#[derive(Debug, Default)]
pub struct Scratch {
    head: Vec<bool>,
    lines: axis_map::Lines,
    bias: [Vec<f32>; 3],
    lesion: Vec<f32>,
}

impl Augmentation {
    /// The paper's: rotation within ±15°, nothing else.
    pub fn paper() -> Self {
        Augmentation { rotation_deg: 15.0, flip: false, intensity: None, protocol: None }
    }

    /// Ours: the paper's rotation, flip, moderate intensity and protocol variation.
    pub fn default_profile() -> Self {
        Augmentation {
            rotation_deg: 15.0,
            flip: true,
            intensity: Some(Intensity { scale: 0.1, shift: 0.1, log_gamma: 0.2, noise: 0.1 }),
            protocol: Some(Protocol { blur_sigma_voxels: 0.7, thickness_voxels: 2.0, log_bias: 0.2 }),
        }
    }

    /// Checks every amount.
    ///
    /// # Errors
    /// The first amount that is outside its range or not a number.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let check = |field, found: f64, lowest, highest| {
            let inside = (lowest..=highest).contains(&found);
            if inside { Ok(()) } else { Err(OutOfRange { field, found, lowest, highest }) }
        };
        check("rotation_deg", self.rotation_deg, 0.0, 45.0)?;
        for (field, found, highest) in self.intensity.iter().flat_map(Intensity::limits) {
            check(field, found, 0.0, highest)?;
        }
        for (field, found, highest) in self.protocol.iter().flat_map(Protocol::limits) {
            check(field, found, if field == "protocol.thickness_voxels" { 1.0 } else { 0.0 }, highest)?;
        }
        Ok(())
    }

    /// Writes the augmented sample to `out`. Both slices hold `[D, H, W]` values in C order; `background` is
    /// the value outside the head. Volume-sized buffers are allocated only while `scratch` grows to its size.
    ///
    /// # Panics
    /// When a slice has another length than the shape.
    pub fn apply(
        &self,
        key: DrawKey<'_>,
        shape: [usize; 3],
        background: f32,
        source: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let mut random = key.stream("augment");
        self.turn(shape, &mut random).apply(source, background, out);
        if self.protocol.is_none() && self.intensity.is_none() {
            return;
        }
        scratch.head.clear();
        scratch.head.extend(out.iter().map(|v| *v != background));
        if let Some(protocol) = &self.protocol {
            protocol.apply(shape, background, out, scratch, &mut random);
        }
        if let Some(intensity) = &self.intensity {
            intensity.apply(out, &scratch.head, &mut random);
        }
    }

    /// Turns a lesion (1 inside) as [`Augmentation::apply`] turns the volume of the same key; `out` is how much of each
    /// voxel belongs to it, 0 to 1.
    ///
    /// # Panics
    /// When a slice has another length than the shape.
    pub fn apply_to_lesion(
        &self,
        key: DrawKey<'_>,
        shape: [usize; 3],
        source: &[u8],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        scratch.lesion.clear();
        scratch.lesion.extend(source.iter().map(|inside| f32::from(*inside)));
        self.turn(shape, &mut key.stream("augment")).apply(&scratch.lesion, 0.0, out);
    }

    /// The first that is drawn of a sample's stream.
    fn turn(&self, shape: [usize; 3], random: &mut ChaCha20Rng) -> Turn {
        let angles = [(); 3].map(|()| uniform(random, -self.rotation_deg, self.rotation_deg));
        let mirrored = random.next_u64() >> 63 == 1 && self.flip;
        Turn::new(shape, angles, mirrored)
    }
}

fn uniform(random: &mut ChaCha20Rng, low: f64, high: f64) -> f64 {
    // 53 random bits: every value a double can tell apart in [0, 1).
    low + (high - low) * ((random.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
}

/// Lowest and highest value of the head; zeros without one.
fn range(values: &[f32], head: &[bool]) -> (f32, f32) {
    // As many running extremes as fit in registers: one alone would wait for itself at each voxel.
    const LANES: usize = 16;
    let (mut lows, mut highs) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let mut look = |values: &[f32; LANES], head: &[bool; LANES]| {
        for k in 0..LANES {
            let (low, high) = if head[k] { (values[k], values[k]) } else { (f32::INFINITY, f32::NEG_INFINITY) };
            lows[k] = if low < lows[k] { low } else { lows[k] };
            highs[k] = if high > highs[k] { high } else { highs[k] };
        }
    };
    let ((blocks, rest), (inside, rest_inside)) = (values.as_chunks(), head.as_chunks());
    blocks.iter().zip(inside).for_each(|(values, head)| look(values, head));
    let (mut last, mut last_inside) = ([0.0; LANES], [false; LANES]);
    last[..rest.len()].copy_from_slice(rest);
    last_inside[..rest.len()].copy_from_slice(rest_inside);
    look(&last, &last_inside);
    let low = lows.into_iter().fold(f32::INFINITY, f32::min);
    let high = highs.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [12, 14, 10];
    const BACKGROUND: f32 = -1.5;

    fn head() -> Vec<f32> {
        let mut values = vec![BACKGROUND; 12 * 14 * 10];
        for (i, v) in values.iter_mut().enumerate() {
            let p = [i / 140, i / 10 % 14, i % 10];
            if (0..3).all(|a| p[a] >= 3 && p[a] + 3 < SHAPE[a]) {
                *v = (i as f32 * 0.7).sin();
            }
        }
        values
    }

    fn augmented(augmentation: &Augmentation, key: DrawKey<'_>) -> Vec<f32> {
        let mut out = vec![f32::NAN; 12 * 14 * 10];
        augmentation.apply(key, SHAPE, BACKGROUND, &head(), &mut out, &mut Scratch::default());
        out
    }

    #[test]
    fn a_key_makes_one_result_and_each_part_of_it_counts() {
        let key = DrawKey { seed: 1, fold: 2, epoch: 3, subject: "sub-01" };
        let all = Augmentation::default_profile();
        let once = augmented(&all, key);
        assert_eq!(once, augmented(&all, key));
        for other in [
            DrawKey { seed: 2, ..key },
            DrawKey { fold: 3, ..key },
            DrawKey { epoch: 4, ..key },
            DrawKey { subject: "sub-02", ..key },
        ] {
            assert_ne!(once, augmented(&all, other), "{other:?}");
        }
    }

    #[test]
    fn background_stays_and_the_head_changes() {
        let mut still = Augmentation::default_profile();
        (still.rotation_deg, still.flip) = (0.0, false);
        let before = head();
        for epoch in 0..20 {
            let after = augmented(&still, DrawKey { seed: 1, fold: 0, epoch, subject: "a" });
            assert!(before.iter().zip(&after).all(|(b, a)| *b != BACKGROUND || *a == BACKGROUND));
            assert!(before.iter().zip(&after).filter(|(b, _)| **b != BACKGROUND).any(|(b, a)| b != a));
        }
    }

    #[test]
    fn no_draw_at_the_widest_ranges_is_not_a_number() {
        let widest = Augmentation {
            rotation_deg: 45.0,
            flip: true,
            intensity: Some(Intensity { scale: 0.9, shift: 2.0, log_gamma: 1.0, noise: 1.0 }),
            protocol: Some(Protocol { blur_sigma_voxels: 2.0, thickness_voxels: 6.0, log_bias: 0.5 }),
        };
        widest.validate().unwrap();
        for epoch in 0..50 {
            let out = augmented(&widest, DrawKey { seed: 9, fold: 0, epoch, subject: "b" });
            assert!(out.iter().all(|v| v.is_finite()));
        }
        let flat = vec![BACKGROUND; 12 * 14 * 10];
        let mut out = flat.clone();
        let key = DrawKey { seed: 0, fold: 0, epoch: 0, subject: "empty" };
        widest.apply(key, SHAPE, BACKGROUND, &flat, &mut out, &mut Scratch::default());
        assert_eq!(out, flat);
    }

    #[test]
    fn the_range_is_the_heads_alone() {
        let values: Vec<f32> = (0..37).map(|i| 40.0 - i as f32).collect();
        let mut head = vec![true; 37];
        (head[0], head[36]) = (false, false);
        assert_eq!(range(&values, &head), (5.0, 39.0));
        assert_eq!(range(&values, &[false; 37]), (0.0, 0.0));
    }

    #[test]
    fn an_amount_outside_its_range_is_named() {
        Augmentation::paper().validate().unwrap();
        Augmentation::default_profile().validate().unwrap();
        let bad = Augmentation { rotation_deg: f64::NAN, ..Augmentation::paper() };
        assert_eq!(bad.validate().unwrap_err().field, "rotation_deg");
        let thin = Protocol { blur_sigma_voxels: 0.0, thickness_voxels: 0.5, log_bias: 0.0 };
        let bad = Augmentation { protocol: Some(thin), ..Augmentation::paper() };
        assert!(bad.validate().unwrap_err().to_string().contains("protocol.thickness_voxels is 0.5"));
    }
}
