//! Everything around the brain: fluid, skull, scalp, face and neck, so that front, left and top can be told.

use super::brain::Brain;
use super::noise::{GradientNoise, between, stream};
use super::shapes::{Place, bar, blend, ellipsoid, inside, length, minus, rise};
use super::tissue::{Mixture, Tissue};

/// Parameters of one head outside its brain.
pub struct Head {
    skull_mm: f32,
    fat_mm: f32,
    nose_mm: f32,
    rough: GradientNoise,
    left_capsule: bool,
}

impl Head {
    /// The head of a seed; `left_capsule` tapes an oil capsule to the left temple.
    pub fn new(seed: u64, left_capsule: bool) -> Self {
        let mut random = stream(seed, "head");
        Head {
            skull_mm: between(&mut random, 5.0, 7.5),
            fat_mm: between(&mut random, 4.5, 6.5),
            nose_mm: between(&mut random, 7.5, 10.5),
            rough: GradientNoise::new(seed, "head/rough"),
            left_capsule,
        }
    }

    /// Distance to the inner table of the skull. `p` is normalised, `hull` the cerebrum's distance there.
    #[inline]
    fn cavity(&self, brain: &Brain, p: Place, hull: f32) -> f32 {
        if p[2] > 16.0 {
            return hull - 2.2;
        }
        let hind = blend(brain.cerebellum(p), brain.stem(p) + 1.0, 8.0);
        blend(hull, hind, 12.0) - 2.2
    }

    /// Paints the head without the brain, its fluid included; `false` where there is nothing but air.
    #[inline]
    pub fn paint(&self, mixture: &mut Mixture, brain: &Brain, place: Place, p: Place, hull: f32) -> bool {
        let capsule = if self.left_capsule { length(minus(p, [84.0, -22.0, 4.0])) - 7.0 } else { 50.0 };
        // Scalp is nowhere thicker than 25 mm above the face, so that most of the air is known at once.
        let beside_neck = p[2] < -60.0 && (p[0].abs() > 72.0 || p[1] > 88.0);
        if capsule > 1.0 && ((hull > 25.0 && p[2] > 5.0) || (hull > 40.0 && beside_neck)) {
            return false;
        }
        let cavity = self.cavity(brain, p, hull);
        if cavity < -0.5 {
            mixture.paint(Tissue::Fluid, 1.0);
            return true;
        }
        let skull = cavity - self.skull_mm - 1.2 * self.rough.at(place, 40.0);
        let low = 1.0 - rise(p[2], -75.0, -20.0);
        let scalp = skull - self.fat_mm - 2.2 - 5.0 * low;
        let nose = bar(p, [0.0, -98.0, -30.0], [0.0, -107.0, -58.0], 5.0, self.nose_mm);
        let face = ellipsoid(p, [0.0, -48.0, -66.0], [56.0, 52.0, 58.0]);
        let neck = bar(p, [0.0, 18.0, -70.0], [0.0, 26.0, -220.0], 50.0, 54.0);
        let outer = blend(blend(scalp, blend(face, nose, 7.0), 14.0), neck, 26.0);
        if outer > 1.0 && capsule > 1.0 {
            return false;
        }
        let cover = inside(outer, 1.0);
        mixture.paint(Tissue::Soft, cover);
        // Below the skin lies fat; deeper in face and neck, muscle with fat between.
        let under_skin = rise(-outer, 1.2, 2.4);
        let to_deep = rise(-outer, 3.0 + self.fat_mm, 6.0 + self.fat_mm);
        let streaks = rise(self.rough.at([place[0], place[1], 0.5 * place[2]], 11.0), -0.05, 0.35);
        let around_skull = rise(skull, -0.5, 0.5) * (1.0 - rise(skull, self.fat_mm + 3.0, self.fat_mm + 6.0));
        let fat = under_skin * ((1.0 - to_deep) * 0.9 + to_deep * streaks * 0.6).max(0.0);
        mixture.paint(Tissue::Fat, fat * (1.0 - 0.3 * around_skull));
        if p[2] < 0.0 {
            self.paint_face(mixture, place, p, outer);
        }
        // The skull: compact, diploe, compact; then the fluid around the brain.
        mixture.paint(Tissue::Bone, inside(skull, 1.0));
        let diploe = inside((skull + 1.5).max(1.7 - cavity), 1.0);
        mixture.paint(Tissue::Marrow, diploe * (0.8 + 0.2 * streaks));
        mixture.paint(Tissue::Fluid, inside(cavity, 1.0));
        mixture.paint(Tissue::Fat, 0.9 * inside(capsule, 1.0));
        true
    }

    /// Eyes, nasal cavity, sinuses, ears, spine and jaw. Each lies in a part of the head of its own.
    #[inline]
    fn paint_face(&self, mixture: &mut Mixture, place: Place, p: Place, outer: f32) {
        let q = [p[0].abs(), p[1], p[2]];
        let deep = rise(-outer, 1.5, 3.0);
        if p[1] < 10.0 {
            if p[2] > -60.0 {
                self.paint_orbit(mixture, q, deep);
            }
            self.paint_airways(mixture, place, p, q);
            let jaw = (ellipsoid(q, [0.0, -52.0, -104.0], [40.0, 40.0, 14.0]).abs() - 5.0).max(p[1] - 5.0);
            mixture.paint(Tissue::Bone, 0.7 * inside(jaw, 1.5) * deep);
            mixture.paint(Tissue::Marrow, 0.8 * inside(jaw + 2.0, 1.5) * deep);
        }
        if q[0] > 44.0 && p[2] > -75.0 {
            let mastoid = ellipsoid(q, [57.0, 24.0, -52.0], [9.0, 12.0, 14.0]) + 5.0 * self.rough.at(place, 8.0);
            let canal = bar(q, [90.0, 10.0, -42.0], [54.0, 8.0, -42.0], 3.0, 3.0);
            mixture.clear(0.97 * inside(mastoid.min(canal), 1.2));
        }
        if q[0] < 26.0 && p[1] > 0.0 && p[2] < -45.0 {
            let vertebrae = bar(p, [0.0, 30.0, -75.0], [0.0, 41.0, -200.0], 21.0, 22.0);
            let spine = vertebrae.max(12.0 - length([q[0], 0.6 * (p[1] - 31.0), 0.0]));
            mixture.paint(Tissue::Bone, 0.5 * inside(spine, 1.5));
            mixture.paint(Tissue::Marrow, 0.8 * inside(spine + 2.0, 1.5));
            let canal_fluid = bar(p, [0.0, 29.0, -70.0], [0.0, 40.0, -180.0], 9.0, 8.5);
            mixture.paint(Tissue::Fluid, inside(canal_fluid, 1.0));
        }
    }

    /// Fat, eye, lens and optic nerve. `q` is `p` with its x made positive: both sides are alike.
    #[inline]
    fn paint_orbit(&self, mixture: &mut Mixture, q: Place, deep: f32) {
        let orbit = ellipsoid(q, [31.0, -64.0, -36.0], [17.0, 26.0, 16.0]);
        mixture.paint(Tissue::Fat, 0.9 * inside(orbit, 1.5) * deep);
        let eye = length(minus(q, [31.0, -78.0, -36.0])) - 12.0;
        mixture.paint(Tissue::Soft, inside(eye - 1.0, 1.0));
        mixture.paint(Tissue::Fluid, inside(eye, 1.0));
        let lens = ellipsoid(q, [31.0, -87.5, -36.0], [4.5, 2.0, 4.5]);
        mixture.paint(Tissue::Soft, inside(lens, 1.0));
        let nerve = bar(q, [29.0, -66.0, -36.0], [9.0, -28.0, -28.0], 2.2, 2.2);
        mixture.paint(Tissue::White, 0.8 * inside(nerve, 1.0));
    }

    /// Air in nose, sinuses and throat.
    #[inline]
    fn paint_airways(&self, mixture: &mut Mixture, place: Place, p: Place, q: Place) {
        if q[0] > 45.0 {
            return;
        }
        let turbinates = 5.0 * self.rough.at(place, 8.0);
        let nasal = ellipsoid(p, [0.0, -70.0, -60.0], [13.0, 26.0, 22.0]) + turbinates;
        let maxillary = ellipsoid(q, [27.0, -66.0, -66.0], [12.0, 14.0, 15.0]);
        let sphenoid = ellipsoid(p, [2.0, -38.0, -40.0], [13.0, 11.0, 9.0]);
        let throat = bar(p, [0.0, -30.0, -72.0], [0.0, -22.0, -200.0], 8.0, 9.0);
        mixture.clear(0.97 * inside(nasal.min(maxillary).min(sphenoid).min(throat), 1.2));
    }
}
