//! The scan: samples a head's anatomy on a protocol's grid and adds what scanners add.
//!
//! Tissue shares become signal, the point spread of 0.6 voxel blurs it, the pose places it in the scanner's
//! LPS frame, coils shade it, motion ghosts it, noise covers it (Rician, as magnitude images have it), and
//! the reconstruction rounds it to 12 bits.

use ndarray::Array3;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::acquisition::Protocol;
use super::anatomy::{Anatomy, CORNER, Lattice};
use super::noise::{between, stream};
use super::pose::Pose;
use super::tissue::{TISSUES, Tissue};
use crate::volume::{Grid, Volume};

/// Largest value of a 12-bit image.
pub const MAX_VALUE: f32 = 4095.0;
/// Standard deviation of the point spread, in voxels.
const POINT_SPREAD_VOXELS: f64 = 0.6;

/// Tissues whose signals vary together from one subject to the next.
const KINDS: [&[Tissue]; 4] =
    [&[Tissue::Grey, Tissue::LesionCortex], &[Tissue::DeepGrey], &[Tissue::Fat, Tissue::Marrow], &[Tissue::Soft]];

/// What one scan added to the anatomy.
#[derive(Debug, Clone, Copy)]
pub struct Imperfections {
    /// Standard deviation of the noise as a share of white matter's signal.
    pub noise_share: f32,
    /// Largest difference of the coils' sensitivity across the head.
    pub shading_share: f32,
    /// Strength of the ghosts that motion leaves, 0 without motion.
    pub ghost_share: f32,
    /// Distance of the ghosts, mm.
    pub ghost_mm: f32,
    /// Value of white matter in the image, before shading.
    pub white_value: f32,
}

impl Imperfections {
    /// Those of one series of one seed.
    pub fn new(seed: u64, protocol: &Protocol) -> Self {
        let mut random = stream(seed, &format!("scan/{}", protocol.label));
        let [least_noise, most_noise] = protocol.scanner.noise_share();
        let [least_shading, most_shading] = protocol.scanner.shading_share();
        let moved = random.random::<f32>() < 0.2;
        let ghost = between(&mut random, 0.02, 0.07);
        Imperfections {
            noise_share: between(&mut random, least_noise, most_noise),
            shading_share: between(&mut random, least_shading, most_shading),
            ghost_share: if moved { ghost } else { 0.0 },
            ghost_mm: between(&mut random, 6.0, 14.0),
            white_value: between(&mut random, 380.0, 520.0),
        }
    }
}

/// Scans a head.
pub fn scan(seed: u64, anatomy: &Anatomy, pose: &Pose, protocol: &Protocol) -> (Volume, Imperfections) {
    let imperfections = Imperfections::new(seed, protocol);
    let grid = protocol.grid();
    let field = signal_field(seed, anatomy, pose, protocol, &grid);
    let shading = Shading::new(seed, protocol, imperfections.shading_share);
    let mut data = vec![0f32; grid.len()];
    sample(&field, anatomy.lattice, pose, &grid, &mut data, |value, lps_mm| value * shading.at(lps_mm));
    if imperfections.ghost_share > 0.0 {
        let distance = (f64::from(imperfections.ghost_mm) / protocol.spacing_mm[1]).round() as usize;
        ghost(&mut data, grid.shape, distance, imperfections.ghost_share);
    }
    add_noise(seed, protocol, &mut data, grid.shape[2], imperfections);
    let data = Array3::from_shape_vec(grid.shape, data).unwrap_or_else(|_| Array3::zeros(grid.shape));
    (Volume { data, affine: grid.affine }, imperfections)
}

/// Ground truth of the lesion on a grid: 1 where more than half belongs to it, else 0.
pub fn truth(anatomy: &Anatomy, pose: &Pose, grid: &Grid) -> Volume {
    let field: Vec<f32> = anatomy.truth.par_iter().map(|&share| f32::from(share) / 255.0).collect();
    let mut data = vec![0f32; grid.len()];
    sample(&field, anatomy.lattice, pose, grid, &mut data, |value, _| if value > 0.5 { 1.0 } else { 0.0 });
    let data = Array3::from_shape_vec(grid.shape, data).unwrap_or_else(|_| Array3::zeros(grid.shape));
    Volume { data, affine: grid.affine }
}

/// Signal on the anatomy's grid (white matter is 1), already blurred by the protocol's point spread.
fn signal_field(seed: u64, anatomy: &Anatomy, pose: &Pose, protocol: &Protocol, grid: &Grid) -> Vec<f32> {
    let mut signals = protocol.pulses.signals().map(|signal| signal / 255.0);
    // Relaxation differs between people by some percent: healthy and sick tissue of a kind go together.
    let mut random = stream(seed, "contrast");
    for kind in KINDS {
        let factor = between(&mut random, 0.95, 1.05);
        for &tissue in kind {
            signals[tissue as usize] *= factor;
        }
    }
    let mut field: Vec<f32> = anatomy
        .shares
        .par_iter()
        .map(|shares| {
            // Nearly half of the grid is air.
            if *shares == [0; TISSUES] {
                return 0.0;
            }
            let mut sum = 0.0;
            for (&share, signal) in shares.iter().zip(&signals) {
                sum += f32::from(share) * signal;
            }
            sum
        })
        .collect();
    // The spread of a voxel's edges along each of the head's axes.
    let origin = pose.to_head([0.0; 3]);
    let mut squares = [0f64; 3];
    for axis in 0..3 {
        let tip = pose.to_head(grid.affine.axis_mm(axis));
        for (square, (end, start)) in squares.iter_mut().zip(tip.into_iter().zip(origin)) {
            *square += (POINT_SPREAD_VOXELS * (end - start)).powi(2);
        }
    }
    let mut spare = vec![0f32; field.len()];
    for (axis, square) in squares.into_iter().enumerate() {
        blur(&field, &mut spare, anatomy.lattice.extent, axis, square.sqrt() as f32 / anatomy.lattice.step_mm);
        std::mem::swap(&mut field, &mut spare);
    }
    field
}

/// Gaussian blur of the anatomy's grid along one axis; `sigma` in grid points.
fn blur(from: &[f32], into: &mut [f32], extent: [usize; 3], axis: usize, sigma: f32) {
    let reach = (2.5 * sigma).ceil().max(1.0) as usize;
    let mut weights: Vec<f32> =
        (0..=2 * reach).map(|i| (-0.5 * ((i as f32 - reach as f32) / sigma).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    let [nx, ny, nz] = extent;
    into.par_chunks_mut(nx).enumerate().for_each(|(row, into)| {
        let (iy, iz) = (row % ny, row / ny);
        into.fill(0.0);
        for (tap, weight) in weights.iter().enumerate() {
            let shift = tap as isize - reach as isize;
            let moved = |i: usize, n: usize| (i as isize + shift).clamp(0, n as isize - 1) as usize;
            let line = match axis {
                1 => iz * ny + moved(iy, ny),
                2 => moved(iz, nz) * ny + iy,
                _ => row,
            };
            let line = &from[line * nx..(line + 1) * nx];
            if axis == 0 {
                for (ix, value) in into.iter_mut().enumerate() {
                    *value += weight * line[moved(ix, nx)];
                }
            } else {
                for (value, from) in into.iter_mut().zip(line) {
                    *value += weight * from;
                }
            }
        }
    });
}

/// Trilinear samples of a field on the anatomy's grid at every voxel of `grid`, each passed through
/// `finish` with its LPS position.
fn sample(
    field: &[f32],
    lattice: Lattice,
    pose: &Pose,
    grid: &Grid,
    data: &mut [f32],
    finish: impl Fn(f32, [f32; 3]) -> f32 + Sync,
) {
    let [_, rows, columns] = grid.shape;
    let origin = pose.to_head([0.0; 3]);
    let step_lps = grid.affine.axis_mm(2);
    let tip = pose.to_head(step_lps);
    let step: [f32; 3] = std::array::from_fn(|i| (tip[i] - origin[i]) as f32 / lattice.step_mm);
    let step_lps = step_lps.map(|v| v as f32);
    data.par_chunks_mut(columns).enumerate().for_each(|(line, data)| {
        let start_lps = grid.affine.apply([(line / rows) as f64, (line % rows) as f64, 0.0]);
        let start = pose.to_head(start_lps);
        let start: [f32; 3] = std::array::from_fn(|i| (start[i] as f32 - CORNER[i]) / lattice.step_mm);
        let start_lps = start_lps.map(|v| v as f32);
        for (column, value) in data.iter_mut().enumerate() {
            let c = column as f32;
            let at = [start[0] + c * step[0], start[1] + c * step[1], start[2] + c * step[2]];
            let lps = [start_lps[0] + c * step_lps[0], start_lps[1] + c * step_lps[1], start_lps[2] + c * step_lps[2]];
            *value = finish(trilinear(field, lattice.extent, at), lps);
        }
    });
}

/// The field between its grid points; 0 outside, except that the neck goes on below the lowest slice.
#[inline]
fn trilinear(field: &[f32], [nx, ny, nz]: [usize; 3], at: [f32; 3]) -> f32 {
    let z = at[2].max(0.0);
    if !(at[0] >= 0.0 && at[1] >= 0.0) {
        return 0.0;
    }
    // No `floor`: without SSE 4.1 it is a call into libm.
    let (x0, y0, z0) = (at[0] as usize, at[1] as usize, z as usize);
    if x0 + 1 >= nx || y0 + 1 >= ny || z0 + 1 >= nz {
        return 0.0;
    }
    let (u, v, w) = (at[0] - x0 as f32, at[1] - y0 as f32, z - z0 as f32);
    let corner = (z0 * ny + y0) * nx + x0;
    let along_x = |i: usize| field[i] + (field[i + 1] - field[i]) * u;
    let near = along_x(corner) * (1.0 - v) + along_x(corner + nx) * v;
    let above = corner + nx * ny;
    let far = along_x(above) * (1.0 - v) + along_x(above + nx) * v;
    near + (far - near) * w
}

/// Smooth shading by the coils: a polynomial of second order about 1.
struct Shading {
    weights: [f32; 9],
    middle: f32,
}

impl Shading {
    fn new(seed: u64, protocol: &Protocol, share: f32) -> Self {
        let mut random = stream(seed, &format!("shading/{}", protocol.label));
        // Coils hear what is near them: towards the surface it gets brighter.
        let mut weights: [f32; 9] = std::array::from_fn(|_| between(&mut random, -1.0, 1.0));
        for weight in &mut weights[3..6] {
            *weight = weight.abs() * 1.2;
        }
        let mut shading = Shading { weights, middle: 0.0 };
        let (mut least, mut most) = (f32::MAX, f32::MIN);
        for x in -2..=2 {
            for y in -2..=2 {
                for z in -2..=2 {
                    let place = [x as f32 * 32.0, y as f32 * 42.0, z as f32 * 35.0];
                    let value = shading.sum(place);
                    least = least.min(value);
                    most = most.max(value);
                }
            }
        }
        let scale = share / (most - least).max(1e-6);
        shading.weights = shading.weights.map(|weight| weight * scale);
        shading.middle = 0.5 * (least + most) * scale;
        shading
    }

    #[inline]
    fn sum(&self, lps_mm: [f32; 3]) -> f32 {
        let [x, y, z] = lps_mm.map(|v| v * 0.01);
        let w = &self.weights;
        w[0] * x
            + w[1] * y
            + w[2] * z
            + w[3] * x * x
            + w[4] * y * y
            + w[5] * z * z
            + w[6] * x * y
            + w[7] * y * z
            + w[8] * x * z
    }

    #[inline]
    fn at(&self, lps_mm: [f32; 3]) -> f32 {
        (1.0 + self.sum(lps_mm) - self.middle).clamp(0.5, 1.5)
    }
}

/// Leaves a ghost of the image on both sides of it, along the rows' order (the phase encoding).
fn ghost(data: &mut [f32], shape: [usize; 3], distance: usize, share: f32) {
    let [_, rows, columns] = shape;
    data.par_chunks_mut(rows * columns).for_each(|slice| {
        let still = slice.to_vec();
        for row in 0..rows {
            let before = (row + rows - distance % rows) % rows;
            let after = (row + distance) % rows;
            for column in 0..columns {
                let ghosts = still[before * columns + column] + still[after * columns + column];
                slice[row * columns + column] = (1.0 - share) * still[row * columns + column] + 0.5 * share * ghosts;
            }
        }
    });
}

/// Rician noise, scaling and rounding to 12 bits.
fn add_noise(seed: u64, protocol: &Protocol, data: &mut [f32], columns: usize, scan: Imperfections) {
    let key: [u8; 32] = stream(seed, &format!("noise/{}", protocol.label)).random();
    data.par_chunks_mut(columns).enumerate().for_each(|(line, data)| {
        // Every line has a stream of its own, so that threads may share the work as they like.
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(line as u64);
        for value in data {
            // |signal + complex normal noise|, by Box and Muller in polar form.
            let radius = scan.noise_share * (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
            let angle = std::f32::consts::TAU * random.random::<f32>();
            let square = *value * *value + 2.0 * *value * radius * angle.cos() + radius * radius;
            *value = (scan.white_value * square.max(0.0).sqrt()).round().min(MAX_VALUE);
        }
    });
}
