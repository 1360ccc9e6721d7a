//! Random streams and smooth noise, the only sources of chance in a phantom.
//!
//! Every aspect of a subject (its folding, its lesion, its pose ...) draws from a stream of its own, named
//! by a word: an aspect that draws once more or once less moves nothing else. Values depend on the seed and
//! the place alone, so any number of threads computes the same bytes.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The stream of random numbers for one aspect of one subject.
pub fn stream(seed: u64, aspect: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(aspect.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// A number between `low` and `high`.
pub fn between(random: &mut impl Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * random.random::<f32>()
}

/// A normally distributed number (Box-Muller).
pub fn normal(random: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * random.random::<f32>()).cos()
}

/// Gradient noise in three dimensions (after Perlin): smooth, about −1 to 1, mean 0, features of about the
/// wavelength it is asked for, without a period below 256 wavelengths.
pub struct GradientNoise {
    permutation: [u8; 512],
    offset: [f32; 3],
}

impl GradientNoise {
    /// The noise of one aspect of one subject.
    pub fn new(seed: u64, aspect: &str) -> Self {
        let mut random = stream(seed, aspect);
        let mut order: [u8; 256] = std::array::from_fn(|i| i as u8);
        for i in (1..256).rev() {
            order.swap(i, random.random_range(0..=i));
        }
        // A shift of the lattice: gradient noise is zero at lattice points, and the head's centre is none.
        let offset = std::array::from_fn(|_| between(&mut random, 0.0, 256.0));
        GradientNoise { permutation: std::array::from_fn(|i| order[i & 255]), offset }
    }

    /// The noise at a place, both in millimetres.
    #[inline]
    pub fn at(&self, place: [f32; 3], wavelength: f32) -> f32 {
        let scale = 1.0 / wavelength;
        let x = place[0] * scale + self.offset[0];
        let y = place[1] * scale + self.offset[1];
        let z = place[2] * scale + self.offset[2];
        let (xi, yi, zi) = (whole(x), whole(y), whole(z));
        let (x, y, z) = (x - xi as f32, y - yi as f32, z - zi as f32);
        let (xi, yi, zi) = ((xi & 255) as usize, (yi & 255) as usize, (zi & 255) as usize);
        let p = &self.permutation;
        let column = |dx: usize, dy: usize| p[(p[xi + dx] as usize + yi + dy) & 511] as usize;
        let corner = |dx: usize, dy: usize, dz: usize, c: usize| {
            slope(p[(c + zi + dz) & 511], x - dx as f32, y - dy as f32, z - dz as f32)
        };
        let (c00, c10, c01, c11) = (column(0, 0), column(1, 0), column(0, 1), column(1, 1));
        let (u, v, w) = (fade(x), fade(y), fade(z));
        let near = mix(
            mix(corner(0, 0, 0, c00), corner(1, 0, 0, c10), u),
            mix(corner(0, 1, 0, c01), corner(1, 1, 0, c11), u),
            v,
        );
        let far = mix(
            mix(corner(0, 0, 1, c00), corner(1, 0, 1, c10), u),
            mix(corner(0, 1, 1, c01), corner(1, 1, 1, c11), u),
            v,
        );
        mix(near, far, w)
    }
}

/// The largest whole number that is not above `t`. Without SSE 4.1, `f32::floor` is a call into libm.
#[inline]
pub fn whole(t: f32) -> i32 {
    let towards_zero = t as i32;
    towards_zero - i32::from((towards_zero as f32) > t)
}

#[inline]
fn fade(t: f32) -> f32 {
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}

#[inline]
fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// The dot product with one of the twelve directions to the edges of a cube.
#[inline]
fn slope(hash: u8, x: f32, y: f32, z: f32) -> f32 {
    let h = hash & 15;
    let u = if h < 8 { x } else { y };
    let v = if h < 4 {
        y
    } else if h == 12 || h == 14 {
        x
    } else {
        z
    };
    (if h & 1 == 0 { u } else { -u }) + (if h & 2 == 0 { v } else { -v })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_aspects_differ_and_repeat() {
        let draw = |seed, aspect| stream(seed, aspect).random::<u64>();
        assert_eq!(draw(7, "pose"), draw(7, "pose"));
        assert_ne!(draw(7, "pose"), draw(7, "lesion"));
        assert_ne!(draw(7, "pose"), draw(8, "pose"));
    }

    #[test]
    fn noise_is_smooth_and_centred() {
        let noise = GradientNoise::new(3, "test");
        let mut sum = 0.0;
        for i in 0..4000 {
            let place = [i as f32 * 0.37, i as f32 * 0.11, -(i as f32) * 0.23];
            let here = noise.at(place, 10.0);
            let beside = noise.at([place[0] + 0.01, place[1], place[2]], 10.0);
            assert!(here.abs() <= 1.5);
            assert!((here - beside).abs() < 0.01, "{here} {beside}");
            sum += here;
        }
        assert!((sum / 4000.0).abs() < 0.1);
    }
}
