//! The anatomy of one subject: shares of every tissue on a grid in the head's frame.
//!
//! The grid ([`Lattice`], 1 mm unless a coarse scan needs no more than 1.5 mm) is computed once; every acquisition samples it through the head's pose, at whatever spacing
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

/// Room that a head takes along x, y and z, mm.
const ROOM_MM: Place = [190.0, 242.0, 262.0];
/// Place of the first grid point in the head's frame, mm. Below the last slice the neck goes on unchanged.
pub const CORNER: Place = [-95.0, -128.0, -158.0];

/// The grid of an anatomy.
#[derive(Debug, Clone, Copy)]
pub struct Lattice {
    /// Distance of neighbouring points, mm.
    pub step_mm: f32,
    /// Number of points along x, y, z.
    pub extent: [usize; 3],
}

impl Lattice {
    /// The grid with this distance between points.
    pub fn new(step_mm: f32) -> Lattice {
        Lattice { step_mm, extent: ROOM_MM.map(|room| (room / step_mm).ceil() as usize) }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.extent.iter().product()
    }

    /// Position in memory of a point: x fastest, then y, then z.
    #[inline]
    fn index(&self, ix: usize, iy: usize, iz: usize) -> usize {
        (iz * self.extent[1] + iy) * self.extent[0] + ix
    }

    /// The place of a point in the head's frame.
    #[inline]
    fn place(&self, ix: usize, iy: usize, iz: usize) -> Place {
        let [x, y, z] = [ix, iy, iz].map(|i| i as f32 * self.step_mm);
        [CORNER[0] + x, CORNER[1] + y, CORNER[2] + z]
    }
}

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
    /// The grid of `shares` and `truth`.
    pub lattice: Lattice,
    /// Shares in 255ths, x fastest, then y, then z.
    pub shares: Vec<[u8; TISSUES]>,
    /// The lesion's extent in 255ths on the same grid: ground truth, whatever the strength.
    pub truth: Vec<u8>,
    /// The lesion that was planned, also when its amplitude is 0.
    pub lesion: Lesion,
}

/// Hull distance and folding noise, which every later step needs at neighbouring places too.
struct Ground {
    lattice: Lattice,
    hull: Vec<f32>,
    noise: Vec<f32>,
}

impl Anatomy {
    /// Grows the head of a seed on a lattice. `amplitude` is the lesion's strength, 0 for a control.
    pub fn grow(seed: u64, lattice: Lattice, amplitude: f32, left_capsule: bool, marker: Option<Ball>) -> Anatomy {
        let brain = Brain::new(seed);
        let folding = Folding::new(seed);
        let head = Head::new(seed, left_capsule);
        let findings = Findings::new(seed);
        let ground = Ground::new(lattice, &brain, &folding);
        let bottoms = ground.sulcal_bottoms(&brain, &folding);
        let lesion = Lesion::new(seed, amplitude, &bottoms, &brain);
        let [columns, rows, _] = lattice.extent;
        let mut shares = vec![[0u8; TISSUES]; lattice.len()];
        let mut truth = vec![0u8; lattice.len()];
        shares.par_chunks_mut(columns).zip(truth.par_chunks_mut(columns)).enumerate().for_each(
            |(row, (shares, truth))| {
                let (iy, iz) = (row % rows, row / rows);
                for (ix, (share, truth)) in shares.iter_mut().zip(truth).enumerate() {
                    let at = lattice.index(ix, iy, iz);
                    let place = lattice.place(ix, iy, iz);
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
        Anatomy { lattice, shares, truth, lesion }
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
    // Below the cortex the signal fades inwards, slowly: in T1 the lesion is grey and nothing else, and what shows is that
    // white matter is missing where there should be some.
    let beneath = (below_pia - thickness).max(0.0);
    let fading = (-(beneath / 12.0).powi(2)).exp();
    mixture.turn(Tissue::Grey, Tissue::LesionCortex, signal);
    mixture.turn(Tissue::White, Tissue::LesionWhite, (signal * fading).max(lesion.amplitude * cone));
    mixture.paint(Tissue::Fluid, inside(below_pia, 0.9));
    let in_tissue = inside(-below_pia, 0.9) * (1.0 - brain.without_cortex(p) / 12.0);
    (mixture, in_tissue * (extent * fading).max(cone))
}

impl Ground {
    fn new(lattice: Lattice, brain: &Brain, folding: &Folding) -> Ground {
        let [columns, rows, _] = lattice.extent;
        let mut hull = vec![0f32; lattice.len()];
        let mut noise = vec![0f32; lattice.len()];
        hull.par_chunks_mut(columns).zip(noise.par_chunks_mut(columns)).enumerate().for_each(|(row, (hull, noise))| {
            let (iy, iz) = (row % rows, row / rows);
            for (ix, (hull, noise)) in hull.iter_mut().zip(noise).enumerate() {
                let p = brain.normalised(lattice.place(ix, iy, iz));
                *hull = brain.hull(p);
                if *hull < 3.0 {
                    *noise = folding.noise(brain, p);
                }
            }
        });
        Ground { lattice, hull, noise }
    }

    /// Slope of the folding noise, per mm, by central differences.
    fn slope(&self, ix: usize, iy: usize, iz: usize) -> f32 {
        let [columns, rows, _] = self.lattice.extent;
        let steps = [1, columns, columns * rows];
        let at = self.lattice.index(ix, iy, iz);
        let squares = steps.map(|step| {
            let (before, after) = (at.saturating_sub(step), (at + step).min(self.noise.len() - 1));
            let difference = 0.5 * (self.noise[after] - self.noise[before]) / self.lattice.step_mm;
            difference * difference
        });
        (squares[0] + squares[1] + squares[2]).sqrt()
    }

    /// Places at the bottom of deep sulci, away from the midline and the base: where a dysplasia may sit.
    fn sulcal_bottoms(&self, brain: &Brain, folding: &Folding) -> Vec<Place> {
        let [columns, rows, slices] = self.lattice.extent;
        // About every 2 mm.
        let stride = (2.0 / self.lattice.step_mm).round().max(1.0) as usize;
        (0..slices)
            .into_par_iter()
            .step_by(stride)
            .map(|iz| {
                let mut found = Vec::new();
                for iy in (0..rows).step_by(stride) {
                    for ix in (0..columns).step_by(stride) {
                        let at = self.lattice.index(ix, iy, iz);
                        let place = self.lattice.place(ix, iy, iz);
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
