//! How the head lies in the scanner: a rotation and a shift from the head's frame to DICOM's LPS.

use super::noise::{normal, stream};
use super::shapes::Place;

/// A rigid motion.
#[derive(Debug, Clone, Copy)]
pub struct Pose {
    rotation: [[f64; 3]; 3],
    shift_mm: [f64; 3],
}

impl Pose {
    /// The pose of a seed: some degrees and millimetres from straight, as heads lie in a coil.
    pub fn new(seed: u64) -> Self {
        let mut random = stream(seed, "pose");
        let mut vary = |spread: f64, most: f64| (f64::from(normal(&mut random)) * spread).clamp(-most, most);
        let (nod, tilt, turn) = (vary(5.0, 12.0), vary(2.5, 7.0), vary(3.5, 9.0));
        let shift_mm = [vary(2.5, 7.0), vary(3.5, 9.0), vary(4.0, 10.0)];
        Pose { rotation: rotation(nod, tilt, turn), shift_mm }
    }

    /// LPS millimetres of a place in the head's frame.
    pub fn to_lps(self, place: Place) -> [f64; 3] {
        let p = place.map(f64::from);
        [0, 1, 2].map(|r| {
            let m = self.rotation[r];
            m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + self.shift_mm[r]
        })
    }

    /// The place in the head's frame of a position in LPS millimetres.
    pub fn to_head(self, lps_mm: [f64; 3]) -> [f64; 3] {
        let d: [f64; 3] = std::array::from_fn(|i| lps_mm[i] - self.shift_mm[i]);
        [0, 1, 2].map(|c| (0..3).map(|r| self.rotation[r][c] * d[r]).sum())
    }
}

/// Rotation about x (nod), y (tilt), then z (turn), in degrees.
fn rotation(nod: f64, tilt: f64, turn: f64) -> [[f64; 3]; 3] {
    let [(sx, cx), (sy, cy), (sz, cz)] = [nod, tilt, turn].map(|angle: f64| angle.to_radians().sin_cos());
    [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for seed in 0..50 {
            let pose = Pose::new(seed);
            let back = pose.to_head(pose.to_lps([31.0, -20.0, 55.0]));
            for (value, expected) in back.into_iter().zip([31.0, -20.0, 55.0]) {
                assert!((value - expected).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn left_stays_left() {
        for seed in 0..200 {
            assert!(Pose::new(seed).to_lps([35.0, 0.0, 20.0])[0] > 10.0);
        }
    }
}
