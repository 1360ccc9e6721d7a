//! The anatomy of one subject: shares of every tissue on a 1 mm grid in the head's frame.
//!
//! The grid is computed once; every acquisition samples it through the head's pose, at whatever spacing
//! and obliquity. Each voxel depends on the seed and its place alone, so the result does not depend on
//! the number of threads.

use rayon::prelude::*;

use super::brain::Brain;
use super::findings::Findings;
use super::folding::{Fold, Folding};
use super::head::Head;
use super::lesion::Lesion;
use super::shapes::{Place, inside, length, minus};
use super::tissue::{Mixture, TISSUES, Tissue};

/// Number of grid points along x, y, z, 1 mm apart.
pub const EXTENT: [usize; 3] = [190, 242, 262];
/// Place of the first grid point in the head's frame, mm. Below the last slice the neck goes on unchanged.
pub const CORNER: Place = [-95.0, -128.0, -158.0];

/// A ball to be drawn, in the head's frame.
#[derive(Debug, Clone, Copy)]
pub struct Ball {
    /// Centre.
    pub centre: Place,
    /// Radius, mm.
    pub radius_mm: f32,
}

/// Tissue shares of one head, and where its lesion is.
pub struct Anatomy {
    /// Shares in 255ths, x fastest, then y, then z.
    pub shares: Vec<[u8; TISSUES]>,
    /// The lesion's extent in 255ths on the same grid: ground truth, whatever the strength.
    pub truth: Vec<u8>,
    /// The lesion that was planned, also when its amplitude is 0.
    pub lesion: Lesion,
}

/// Hull distance and folding noise, which every later step needs at neighbouring places too.
struct Ground {
    hull: Vec<f32>,
    noise: Vec<f32>,
}

impl Anatomy {
    /// Grows the head of a seed. `amplitude` is the lesion's strength, 0 for a control.
    pub fn grow(seed: u64, amplitude: f32, left_capsule: bool, marker: Option<Ball>) -> Anatomy {
        let brain = Brain::new(seed);
        let folding = Folding::new(seed);
        let head = Head::new(seed, left_capsule);
        let findings = Findings::new(seed);
        let ground = Ground::new(&brain, &folding);
        let bottoms = ground.sulcal_bottoms(&brain, &folding);
        let lesion = Lesion::new(seed, amplitude, &bottoms, &brain);
        let plane = EXTENT[0] * EXTENT[1];
        let mut shares = vec![[0u8; TISSUES]; plane * EXTENT[2]];
        let mut truth = vec![0u8; plane * EXTENT[2]];
        shares.par_chunks_mut(EXTENT[0]).zip(truth.par_chunks_mut(EXTENT[0])).enumerate().for_each(
            |(row, (shares, truth))| {
                let (iy, iz) = (row % EXTENT[1], row / EXTENT[1]);
                for (ix, (share, truth)) in shares.iter_mut().zip(truth).enumerate() {
                    let at = (iz * EXTENT[1] + iy) * EXTENT[0] + ix;
                    let place = place_of(ix, iy, iz);
                    let p = brain.normalised(place);
                    let hull = ground.hull[at];
                    let mut mixture = Mixture::default();
                    // Well inside the hull the cerebrum covers all that lies outside it.
                    let is_head = hull < -0.5 || head.paint(&mut mixture, &brain, place, p, hull);
                    if is_head && hull >= -0.5 {
                        brain.paint_hind(&mut mixture, p);
                    }
                    if is_head && hull < 1.0 {
                        let fold = folding.fold(&brain, p, ground.noise[at], ground.slope(ix, iy, iz), -hull);
                        let (cerebrum, extent) = cerebrum(&brain, &folding, &lesion, place, p, &fold);
                        mixture.paint_mixture(&cerebrum, inside(hull, 1.0));
                        *truth = (extent * 255.0 + 0.5) as u8;
                        brain.paint_inner(&mut mixture, p);
                        findings.paint(&mut mixture, place);
                    }
                    if let Some(ball) = marker {
                        mixture.paint(Tissue::Marker, inside(length(minus(place, ball.centre)) - ball.radius_mm, 1.0));
                    }
                    if is_head || marker.is_some() {
                        *share = mixture.to_bytes();
                    }
                }
            },
        );
        Anatomy { shares, truth, lesion }
    }
}

/// Tissues of the cerebrum from the depth below the pial surface, and the lesion's true extent here.
fn cerebrum(brain: &Brain, folding: &Folding, lesion: &Lesion, place: Place, p: Place, fold: &Fold) -> (Mixture, f32) {
    let below_pia = fold.below_pia_mm;
    let extent = lesion.extent(place);
    let cone = lesion.transmantle(place);
    let signal = lesion.amplitude * extent;
    let thickness = folding.thickness_mm(p) * (1.0 + (lesion.thickening - 1.0) * signal);
    // The junction is 1 mm wide by itself; a blur of σ makes a ramp of about σ·√12.
    let blur = lesion.blur_mm * signal;
    let junction_mm = (1.0 + 12.0 * blur * blur).sqrt();
    let mut mixture = Mixture::default();
    mixture.paint(Tissue::White, 1.0);
    mixture.paint(Tissue::DeepGrey, folding.mottling(p));
    mixture.paint(Tissue::Grey, inside(below_pia - thickness, junction_mm));
    // Below the cortex the signal fades inwards over some millimetres.
    let beneath = (below_pia - thickness).max(0.0);
    let fading = (-beneath / 6.5).exp();
    mixture.turn(Tissue::Grey, Tissue::LesionCortex, signal);
    mixture.turn(Tissue::White, Tissue::LesionWhite, (signal * fading).max(lesion.amplitude * cone));
    mixture.paint(Tissue::Fluid, inside(below_pia, 0.9));
    let in_tissue = inside(-below_pia, 0.9) * (1.0 - brain.without_cortex(p) / 12.0);
    (mixture, in_tissue * (extent * if beneath < 5.0 { 1.0 } else { 0.4 }).max(cone))
}

/// The place of a grid point in the head's frame.
#[inline]
fn place_of(ix: usize, iy: usize, iz: usize) -> Place {
    [CORNER[0] + ix as f32, CORNER[1] + iy as f32, CORNER[2] + iz as f32]
}

impl Ground {
    fn new(brain: &Brain, folding: &Folding) -> Ground {
        let plane = EXTENT[0] * EXTENT[1];
        let mut hull = vec![0f32; plane * EXTENT[2]];
        let mut noise = vec![0f32; plane * EXTENT[2]];
        hull.par_chunks_mut(EXTENT[0]).zip(noise.par_chunks_mut(EXTENT[0])).enumerate().for_each(
            |(row, (hull, noise))| {
                let (iy, iz) = (row % EXTENT[1], row / EXTENT[1]);
                for (ix, (hull, noise)) in hull.iter_mut().zip(noise).enumerate() {
                    let p = brain.normalised(place_of(ix, iy, iz));
                    *hull = brain.hull(p);
                    if *hull < 3.0 {
                        *noise = folding.noise(brain, p);
                    }
                }
            },
        );
        Ground { hull, noise }
    }

    /// Slope of the folding noise, per mm, by central differences.
    fn slope(&self, ix: usize, iy: usize, iz: usize) -> f32 {
        let steps = [1, EXTENT[0], EXTENT[0] * EXTENT[1]];
        let at = iz * steps[2] + iy * steps[1] + ix;
        let squares = steps.map(|step| {
            let (before, after) = (at.saturating_sub(step), (at + step).min(self.noise.len() - 1));
            let difference = 0.5 * (self.noise[after] - self.noise[before]);
            difference * difference
        });
        (squares[0] + squares[1] + squares[2]).sqrt()
    }

    /// Places at the bottom of deep sulci, away from the midline and the base: where a dysplasia may sit.
    fn sulcal_bottoms(&self, brain: &Brain, folding: &Folding) -> Vec<Place> {
        (0..EXTENT[2])
            .into_par_iter()
            .step_by(2)
            .map(|iz| {
                let mut found = Vec::new();
                for iy in (0..EXTENT[1]).step_by(2) {
                    for ix in (0..EXTENT[0]).step_by(2) {
                        let at = (iz * EXTENT[1] + iy) * EXTENT[0] + ix;
                        let place = place_of(ix, iy, iz);
                        let depth = -self.hull[at];
                        if depth < 8.0 || place[0].abs() < 16.0 || place[2] < -28.0 {
                            continue;
                        }
                        let p = brain.normalised(place);
                        let fold = folding.fold(brain, p, self.noise[at], self.slope(ix, iy, iz), depth);
                        let at_bottom = (fold.depth_mm - fold.sulcal_depth_mm).abs() < 1.2 && fold.to_sheet_mm < 1.0;
                        if at_bottom && brain.fissures(p) > 5.0 && brain.without_cortex(p) == 0.0 {
                            found.push(place);
                        }
                    }
                }
                found
            })
            .collect::<Vec<_>>()
            .concat()
    }
}
