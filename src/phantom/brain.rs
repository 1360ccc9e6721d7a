//! Shape of the brain: the hull of the cerebrum, its fissures, ventricles, deep nuclei, cerebellum and stem.
//!
//! All distances are signed, in mm, in the head's frame (see [`Place`]).

use rand_chacha::ChaCha8Rng;

use super::noise::{GradientNoise, between, stream};
use super::shapes::{Place, bar, blend, common, ellipsoid, inside, length, rise};
use super::tissue::{Mixture, Tissue};

/// The parameters by which one brain differs from another.
pub struct Brain {
    /// Size along each axis relative to the average brain.
    scale: Place,
    /// Width of the ventricles, right and left.
    ventricles: [f32; 2],
    /// Width of sulci beyond the average, mm: atrophy.
    pub wide_sulci_mm: f32,
    bend: GradientNoise,
    folia: GradientNoise,
}

/// Radii of the average cerebrum, mm.
const CEREBRUM_RADII: Place = [66.0, 84.0, 60.0];

impl Brain {
    /// The brain of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random: ChaCha8Rng = stream(seed, "brain");
        let size = between(&mut random, 0.94, 1.05);
        let scale = std::array::from_fn(|_| size * between(&mut random, 0.97, 1.03));
        let width = between(&mut random, 0.75, 1.35);
        let asymmetry = between(&mut random, -0.22, 0.22);
        Brain {
            scale,
            ventricles: [width * (1.0 + asymmetry), width * (1.0 - asymmetry)],
            wide_sulci_mm: between(&mut random, -0.1, 0.35),
            bend: GradientNoise::new(seed, "brain/bend"),
            folia: GradientNoise::new(seed, "brain/folia"),
        }
    }

    /// A place as it would lie in the average brain.
    #[inline]
    pub fn normalised(&self, place: Place) -> Place {
        [place[0] / self.scale[0], place[1] / self.scale[1], place[2] / self.scale[2]]
    }

    /// Distance to the cerebrum's hull, sulci and fissures not counted. `p` is normalised.
    #[inline]
    pub fn hull(&self, p: Place) -> f32 {
        // Far away the distance to a box around it is as good, and most of the grid is far away.
        let box_mm = (p[0].abs() - 76.0).max(p[1].abs() - 92.0).max(p[2] - 74.0).max(-56.0 - p[2]);
        if box_mm > 30.0 {
            return box_mm;
        }
        // Wider at the back than in front, and flat below.
        let egg = 1.0 + 0.085 * (p[1] / 84.0) - 0.06 * (p[1] / 84.0) * (p[1] / 84.0);
        let main = ellipsoid([p[0] / egg, p[1], p[2]], [0.0, 0.0, 8.0], CEREBRUM_RADII);
        let floor = -(p[2] + 26.0 - 0.16 * p[1]);
        let dome = common(main, floor, 14.0);
        let x = p[0].abs();
        let temporal = bar([x, p[1], p[2]], [41.0, -26.0, -29.0], [46.0, 34.0, -18.0], 17.0, 20.0);
        blend(dome, temporal, 7.0)
    }

    /// How far from the centre a place is, as a share of the way to the hull: the direction in which sulci go in.
    #[inline]
    pub fn radius_share(&self, p: Place) -> f32 {
        length([p[0] / CEREBRUM_RADII[0], p[1] / CEREBRUM_RADII[1], (p[2] - 8.0) / CEREBRUM_RADII[2]])
    }

    /// Distance to the pial surface of the two great fissures: between the hemispheres and above the
    /// temporal lobes. Negative in the fissure's fluid.
    #[inline]
    pub fn fissures(&self, p: Place) -> f32 {
        let wave = 1.6 * self.bend.at([40.0, p[1], p[2]], 34.0);
        // Between the hemispheres, down to the callosum and open before and behind it.
        let (a, b) = ((p[1] - 2.0) / 43.0, (p[2] - 4.0) / 24.0);
        let outside_callosum = ((a * a + b * b).sqrt() - 1.0) * 26.0;
        let sheet = (p[0] - wave).abs();
        let gap =
            if outside_callosum >= 0.0 { sheet } else { (sheet * sheet + outside_callosum * outside_callosum).sqrt() };
        let between_hemispheres = gap - 1.1;
        // The Sylvian fissure, rising to the back.
        let x = p[0].abs();
        let height = -13.0 + 0.24 * p[1] + 6.0 * self.bend.at([p[0], p[1], 9.0], 30.0);
        let away = [(33.0 - x).max(0.0), (p[1] - 34.0).max(0.0).max(-42.0 - p[1]), p[2] - height];
        let sylvian = length(away) - 1.0;
        between_hemispheres.min(sylvian)
    }

    /// How far cortex is kept away, mm: none grows where the stem enters and along the callosum.
    #[inline]
    pub fn without_cortex(&self, p: Place) -> f32 {
        let stem = ellipsoid(p, [0.0, 8.0, -16.0], [21.0, 26.0, 20.0]);
        let callosum = ellipsoid(p, [0.0, 2.0, 4.0], [16.0, 44.0, 25.0]);
        12.0 * inside(stem.min(callosum), 5.0)
    }

    /// Distance to the ventricles of one side (`true`: left) or, on the midline, to the third and fourth.
    #[inline]
    fn ventricle(&self, p: Place) -> f32 {
        if p[0].abs() > 48.0 || p[1].abs() > 66.0 || p[2].abs() > 54.0 {
            return 20.0;
        }
        let width = self.ventricles[usize::from(p[0] > 0.0)];
        let q = [p[0].abs(), p[1], p[2]];
        let horn = bar(q, [9.5, -33.0, 5.0], [8.0, -8.0, 15.0], 4.2 * width, 4.6 * width);
        let body = bar(q, [8.0, -8.0, 15.0], [14.0, 20.0, 15.0], 4.6 * width, 4.8 * width);
        let atrium = bar(q, [14.0, 20.0, 15.0], [25.0, 33.0, 2.0], 4.8 * width, 6.0 * width);
        let occipital = bar(q, [25.0, 33.0, 2.0], [24.0, 56.0, 2.0], 5.0 * width, 1.2 * width);
        let temporal = bar(q, [25.0, 33.0, 2.0], [33.0, 2.0, -22.0], 4.0 * width, 1.6 * width);
        let lateral = blend(blend(horn, body, 3.0), blend(atrium, blend(occipital, temporal, 3.0), 3.0), 3.0);
        // The septum keeps the two apart.
        let lateral = lateral.max(0.9 - q[0]);
        let third = ellipsoid(p, [0.0, 2.0, -4.0], [1.6 * width + 0.6, 14.0, 9.0]);
        let fourth = ellipsoid(p, [0.0, 33.0, -40.0], [7.0, 5.5, 9.0]);
        lateral.min(third).min(fourth)
    }

    /// The nearest place on the ventricle's body: where a transmantle sign points. In the head's frame.
    pub fn nearest_ventricle(&self, place: Place) -> Place {
        let p = self.normalised(place);
        let side = if p[0] > 0.0 { 1.0 } else { -1.0 };
        let track = [[9.5, -33.0, 5.0], [8.0, -8.0, 15.0], [14.0, 20.0, 15.0], [25.0, 33.0, 2.0], [33.0, 2.0, -22.0]];
        let away = |q: &Place| length([p[0].abs() - q[0], p[1] - q[1], p[2] - q[2]]);
        let nearest = track.iter().min_by(|a, b| away(a).total_cmp(&away(b))).unwrap_or(&track[0]);
        [side * nearest[0] * self.scale[0], nearest[1] * self.scale[1], nearest[2] * self.scale[2]]
    }

    /// Ventricles and deep nuclei over the white matter of the cerebrum.
    #[inline]
    pub fn paint_inner(&self, mixture: &mut Mixture, p: Place) {
        if p[0].abs() > 52.0 || p[1].abs() > 70.0 || !(-60.0..60.0).contains(&p[2]) {
            return;
        }
        let q = [p[0].abs(), p[1], p[2]];
        let thalamus = ellipsoid(q, [10.5, 9.0, 3.0], [8.5, 14.0, 8.5]);
        let caudate = blend(
            ellipsoid(q, [13.5, -22.0, 7.0], [5.0, 10.0, 8.0]),
            bar(q, [14.5, -14.0, 15.0], [18.5, 16.0, 19.0], 3.2, 2.0),
            4.0,
        );
        let putamen = ellipsoid(q, [26.0 - 0.1 * q[1], -4.0, 1.0], [4.8, 17.0, 10.0]);
        let pallidum = ellipsoid(q, [19.0, -1.0, 0.0], [3.4, 9.0, 6.0]);
        let claustrum = ellipsoid(q, [33.0 - 0.1 * q[1], -4.0, 0.0], [0.9, 15.0, 11.0]);
        mixture.paint(Tissue::DeepGrey, 0.85 * inside(thalamus, 2.0));
        mixture.paint(Tissue::Grey, 0.9 * inside(caudate, 1.2));
        mixture.paint(Tissue::Grey, 0.85 * inside(putamen.min(claustrum), 1.2));
        mixture.paint(Tissue::DeepGrey, 0.6 * inside(pallidum, 1.5));
        mixture.paint(Tissue::Fluid, inside(self.ventricle(p), 1.0));
    }

    /// Distance to the cerebellum's hull.
    #[inline]
    pub fn cerebellum(&self, p: Place) -> f32 {
        let q = [p[0].abs(), p[1], p[2]];
        let lobe = ellipsoid(q, [23.0, 48.0, -40.0], [32.0, 31.0, 23.0]);
        let vermis = ellipsoid(p, [0.0, 46.0, -36.0], [11.0, 24.0, 24.0]);
        blend(lobe, vermis, 5.0)
    }

    /// Distance to midbrain, pons, medulla and cord.
    #[inline]
    pub fn stem(&self, p: Place) -> f32 {
        let midbrain = bar(p, [0.0, 6.0, -8.0], [0.0, 15.0, -26.0], 14.0, 12.0);
        let pons = ellipsoid(p, [0.0, 14.0, -33.0], [15.0, 12.5, 14.0]);
        let medulla = bar(p, [0.0, 20.0, -42.0], [0.0, 29.0, -70.0], 9.0, 5.8);
        let cord = bar(p, [0.0, 29.0, -70.0], [0.0, 40.0, -180.0], 5.8, 5.2);
        blend(blend(midbrain, pons, 6.0), blend(medulla, cord, 4.0), 6.0)
    }

    /// Cerebellum with its folia, and the stem, over fluid.
    #[inline]
    pub fn paint_hind(&self, mixture: &mut Mixture, p: Place) {
        if p[2] > 6.0 {
            return;
        }
        let cerebellum = self.cerebellum(p);
        if cerebellum < 2.0 {
            let wave = 2.2 * self.folia.at(p, 17.0);
            let depth = -cerebellum;
            // Folia lie like the leaves of a book that opens to the stem.
            let angle = (p[2] + 44.0).atan2(p[1] - 20.0);
            let leaf = (angle * 24.0 + wave) * std::f32::consts::TAU / 4.6;
            let trunk = (angle * 24.0 + wave) * std::f32::consts::TAU / 15.0;
            let white = rise(depth + 3.5 * trunk.cos(), 7.5, 11.0);
            let mut folia = Mixture::default();
            folia.paint(Tissue::Grey, 1.0);
            let sulcus = (0.5 + 0.5 * leaf.sin()).powi(3) * (1.0 - rise(depth, 3.0, 9.0));
            folia.paint(Tissue::Fluid, 0.55 * sulcus);
            folia.paint(Tissue::White, (white + 0.35 * (0.5 - 0.5 * leaf.sin()) * rise(depth, 2.0, 6.0)).min(1.0));
            mixture.paint_mixture(&folia, inside(cerebellum, 1.0));
        }
        let stem = self.stem(p);
        if stem < 2.0 {
            let mut inner = Mixture::default();
            inner.paint(Tissue::White, 1.0);
            inner.paint(Tissue::Grey, 0.3 + 0.12 * self.folia.at(p, 9.0));
            mixture.paint_mixture(&inner, inside(stem, 1.2));
        }
        mixture.paint(Tissue::Fluid, inside(ellipsoid(p, [0.0, 33.0, -40.0], [7.0, 5.5, 9.0]), 1.0));
    }
}
