//! The folded cortex: sulci are the sheets where a noise field is zero.
//!
//! The noise is stretched along the radius, so that its zero sheets stand upright on the hull and wind
//! along it as sulci do. `|noise| / |gradient of noise|` is the distance to the nearest sheet; joined with
//! the depth below the hull it becomes the distance to the pial surface, and cortex is the layer of
//! constant thickness below that.

use super::brain::Brain;
use super::noise::{GradientNoise, between, stream};
use super::shapes::Place;

/// Parameters of one subject's cortex.
pub struct Folding {
    primary: GradientNoise,
    secondary: GradientNoise,
    warp: GradientNoise,
    depth: GradientNoise,
    thickness: GradientNoise,
    white: GradientNoise,
    wavelength_mm: f32,
}

/// The state of one place in the cerebrum.
#[derive(Debug, Clone, Copy)]
pub struct Fold {
    /// Distance below the pial surface, mm; negative in the fluid of a sulcus.
    pub below_pia_mm: f32,
    /// Distance to the middle of the nearest sulcus' sheet, its lower end not counted, mm.
    pub to_sheet_mm: f32,
    /// How deep the sulci reach here, mm.
    pub sulcal_depth_mm: f32,
    /// Distance below the surface from which sulci go in, the hull or a great fissure, mm.
    pub depth_mm: f32,
}

/// Below this slope (per mm) the noise is flat, and the quotient is no distance any more.
const LEAST_SLOPE: f32 = 0.025;

impl Folding {
    /// The folding of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = stream(seed, "folding");
        Folding {
            primary: GradientNoise::new(seed, "folding/primary"),
            secondary: GradientNoise::new(seed, "folding/secondary"),
            warp: GradientNoise::new(seed, "folding/warp"),
            depth: GradientNoise::new(seed, "folding/depth"),
            thickness: GradientNoise::new(seed, "folding/thickness"),
            white: GradientNoise::new(seed, "folding/white"),
            wavelength_mm: between(&mut random, 12.0, 14.0),
        }
    }

    /// The noise whose zeros are sulci. `p` is normalised.
    #[inline]
    pub fn noise(&self, brain: &Brain, p: Place) -> f32 {
        let stretch = brain.radius_share(p).max(0.25).powf(-0.7);
        let [x, y, z] = p.map(|v| v * stretch);
        let bend = 3.2 * self.warp.at([x, y, z], 27.0);
        let q = [x + bend, y + 0.6 * bend, z - 0.8 * bend];
        // The second field is turned, so that the lattices of the two do not coincide.
        let turned = [0.8 * q[0] - 0.6 * q[1], 0.6 * q[0] + 0.8 * q[1], q[2]];
        self.primary.at(q, self.wavelength_mm) + 0.45 * self.secondary.at(turned, 0.55 * self.wavelength_mm)
    }

    /// Cortical thickness, mm: 2.5 ± 0.4.
    #[inline]
    pub fn thickness_mm(&self, p: Place) -> f32 {
        (2.5 + 1.3 * self.thickness.at(p, 24.0)).clamp(1.7, 3.4)
    }

    /// How much of the white matter looks like grey here, as fibres cross and myelin varies: 0 to 0.12.
    #[inline]
    pub fn mottling(&self, p: Place) -> f32 {
        (0.045 + 0.075 * self.white.at(p, 13.0)).clamp(0.0, 0.12)
    }

    /// Folds at a normalised place, from the noise and its slope (per mm) and the depth below the hull (mm).
    #[inline]
    pub fn fold(&self, brain: &Brain, p: Place, noise: f32, slope: f32, below_hull_mm: f32) -> Fold {
        let to_sheet_mm = noise.abs() / slope.max(LEAST_SLOPE);
        let sulcal_depth_mm = (15.0 + 15.0 * self.depth.at(p, 30.0)).clamp(4.0, 24.0);
        // Sulci go in from the fissures' walls too, though not as deep.
        let to_fissure = brain.fissures(p);
        let depth_mm = below_hull_mm.min(1.5 * to_fissure.max(0.0));
        // Sulci are narrow at the bottom and open to the surface.
        let open = (1.0 - depth_mm / sulcal_depth_mm).clamp(0.0, 1.0);
        let half_width = (0.35 + 0.75 * open + brain.wide_sulci_mm).max(0.1);
        let beneath = (depth_mm - sulcal_depth_mm).max(0.0);
        let to_sulcus = (to_sheet_mm * to_sheet_mm + beneath * beneath).sqrt() - half_width;
        let below_pia_mm = below_hull_mm.min(to_sulcus).min(to_fissure) + brain.without_cortex(p);
        Fold { below_pia_mm, to_sheet_mm, sulcal_depth_mm, depth_mm }
    }
}
