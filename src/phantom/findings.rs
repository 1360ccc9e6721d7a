//! What patients and controls have alike and is no dysplasia: small white-matter hyperintensities and,
//! rarely, an arachnoid cyst. (Uneven ventricles are the brain's, motion is the acquisition's.)

use rand::Rng;

use super::noise::{between, stream};
use super::shapes::{Place, inside, length, minus};
use super::tissue::{Mixture, Tissue};

/// The findings of one subject.
pub struct Findings {
    /// Centre, radius (mm) and brightness of each hyperintensity.
    spots: Vec<(Place, f32, f32)>,
    cyst: Option<(Place, f32)>,
}

impl Findings {
    /// The findings of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = stream(seed, "findings");
        let count = random.random_range(0..=9);
        let spots = (0..count)
            .map(|_| {
                let side = if random.random::<bool>() { 1.0 } else { -1.0 };
                let x = between(&mut random, 16.0, 44.0);
                let y = between(&mut random, -45.0, 50.0);
                let z = between(&mut random, 2.0, 42.0);
                let radius = between(&mut random, 1.4, 4.2);
                ([side * x, y, z], radius, between(&mut random, 0.5, 1.0))
            })
            .collect();
        let cyst = (random.random::<f32>() < 0.08).then(|| {
            let side = if random.random::<bool>() { 1.0 } else { -1.0 };
            ([side * 46.0, -42.0, -28.0], between(&mut random, 7.0, 12.0))
        });
        Findings { spots, cyst }
    }

    /// Paints the findings: a hyperintensity takes white matter only.
    #[inline]
    pub fn paint(&self, mixture: &mut Mixture, place: Place) {
        for &(centre, radius, brightness) in &self.spots {
            let away = minus(place, centre);
            if away[0].abs() < 6.0 && away[1].abs() < 6.0 && away[2].abs() < 6.0 {
                let part = brightness * inside(length(away) - radius, 1.8);
                mixture.turn(Tissue::White, Tissue::Hyperintensity, part);
            }
        }
        if let Some((centre, radius)) = self.cyst {
            let away = length(minus(place, centre)) - radius;
            mixture.turn(Tissue::Grey, Tissue::Fluid, inside(away, 1.0));
            mixture.turn(Tissue::White, Tissue::Fluid, inside(away, 1.0));
        }
    }
}
