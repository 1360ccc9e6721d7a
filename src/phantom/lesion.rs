//! The dysplasia: thick cortex at the bottom of a sulcus, a blurred junction, and what lies below.
//!
//! Every seed has a lesion planned, also a control's: its amplitude is what tells the two apart. At
//! amplitude 0 the very same code runs and changes nothing, so a lesion of strength 0 is the control.

use rand::Rng;

use super::brain::Brain;
use super::noise::{GradientNoise, between, stream};
use super::shapes::{Place, length, minus, rise};

/// One planned lesion.
pub struct Lesion {
    /// The seed, at the bottom of a sulcus, in the head's frame.
    pub centre: Place,
    /// Radius within which the cortex is abnormal, mm: 10 to 18; below that nobody sees
    /// it at 2 mm in T1.
    pub radius_mm: f32,
    /// Factor on the cortical thickness in the lesion's middle: 1.4 to 2.2.
    pub thickening: f32,
    /// Standard deviation of the junction's blur in the middle, mm: 1 to 2.5.
    pub blur_mm: f32,
    /// Where the transmantle sign ends, if there is one: a place on the ventricle.
    pub transmantle_to: Option<Place>,
    /// Strength of the signal, 0 to 1; 0 in a control.
    pub amplitude: f32,
    ragged: GradientNoise,
}

impl Lesion {
    /// Plans a seed's lesion at one of the sulcal bottoms found in its brain.
    ///
    /// Without any (no brain is that smooth) it lies in the white matter of the left frontal lobe.
    pub fn new(seed: u64, amplitude: f32, bottoms: &[Place], brain: &Brain) -> Self {
        let mut random = stream(seed, "lesion");
        let centre = match bottoms.len() {
            0 => [30.0, -30.0, 30.0],
            count => bottoms[random.random_range(0..count)],
        };
        let transmantle = random.random::<f32>() < 0.45;
        Lesion {
            centre,
            radius_mm: between(&mut random, 10.0, 18.0),
            thickening: between(&mut random, 1.4, 2.2),
            blur_mm: between(&mut random, 1.0, 2.5),
            transmantle_to: transmantle.then(|| brain.nearest_ventricle(centre)),
            amplitude,
            ragged: GradientNoise::new(seed, "lesion/ragged"),
        }
    }

    /// How much a place belongs to the lesion, 0 to 1, whatever the strength.
    #[inline]
    pub fn extent(&self, place: Place) -> f32 {
        let away = length(minus(place, self.centre));
        if away > 1.4 * self.radius_mm {
            return 0.0;
        }
        let ragged = 1.0 + 0.25 * self.ragged.at(place, 9.0);
        1.0 - rise(away * ragged / self.radius_mm, 0.7, 1.1)
    }

    /// How much a place belongs to the transmantle cone, 0 to 1: wide at the cortex, narrow at the ventricle.
    #[inline]
    pub fn transmantle(&self, place: Place) -> f32 {
        let Some(end) = self.transmantle_to else { return 0.0 };
        let along = minus(end, self.centre);
        let p = minus(place, self.centre);
        let whole = length(along).max(1.0);
        let t = (along[0] * p[0] + along[1] * p[1] + along[2] * p[2]) / (whole * whole);
        if !(0.0..=1.0).contains(&t) {
            return 0.0;
        }
        let away = length(minus(p, along.map(|v| v * t)));
        let width = (1.0 - t) * (0.45 * self.radius_mm) + t * 1.2;
        (1.0 - rise(away / width, 0.6, 1.2)) * (1.0 - 0.5 * t)
    }
}
