//! Blur and slice thickness along one axis: both are linear, so one banded matrix does either or both.
//!
//! Voxel `i` of a line becomes `Σ weight · line[first + k]`; the weights of each voxel sum to one. Beyond the
//! ends the edge value is held. The loops run over voxels that lie side by side in memory, whatever the axis:
//! along D and H the rows of a tile are added up, along W the diagonals of the matrix.

use std::ops::Range;

use crate::volume::low_pass::half_kernel;

/// Values added up together: four registers of the narrowest x86-64, and no remainder within a tile.
const BLOCK: usize = 16;
/// Width of the tiles in which lines along D or H are read: a tile of 192 lines stays in the L2 cache.
const TILE: usize = 256;

/// What one axis of a volume goes through.
#[derive(Debug, Clone)]
pub(super) struct AxisMap {
    rows: Vec<Row>,
}

/// The weights of one voxel, beginning with that of voxel `first`; never empty.
#[derive(Debug, Clone)]
struct Row {
    first: usize,
    weights: Vec<f32>,
}

impl Row {
    fn columns(&self) -> Range<usize> {
        self.first..self.first + self.weights.len()
    }
}

/// A worker's buffers for [`AxisMap::apply`].
#[derive(Debug, Default)]
pub(super) struct Lines {
    tile: Vec<f32>,
    diagonals: Vec<f32>,
}

impl AxisMap {
    /// Gaussian blur of a line of `len` voxels, then slices of `thickness` voxels: each becomes its mean, and
    /// the slices are joined by linear interpolation. `None` when neither does anything that could be seen:
    /// `sigma` under 0.1 voxels and `thickness` under 1.05.
    pub(super) fn new(len: usize, sigma: f64, thickness: f64) -> Option<Self> {
        let blur = (sigma >= 0.1).then(|| blurred(len, &half_kernel(sigma)));
        let slices = (thickness > 1.05).then(|| thickened(len, thickness));
        let rows = match (blur, slices) {
            (None, None) => return None,
            (Some(rows), None) | (None, Some(rows)) => rows,
            (Some(blur), Some(slices)) => product(&slices, &blur),
        };
        Some(AxisMap { rows })
    }

    /// Maps every line along `axis` of a `[D, H, W]` volume, in place. Where all that is mixed has the value
    /// `background`, it stays to the bit.
    pub(super) fn apply(
        &self,
        shape: [usize; 3],
        axis: usize,
        background: f32,
        values: &mut [f32],
        buffers: &mut Lines,
    ) {
        if values.is_empty() {
            return;
        }
        match axis {
            2 => self.along_rows(background, values, buffers),
            _ => self.across_rows(shape[axis + 1..].iter().product(), background, values, buffers),
        }
    }

    /// Lines whose neighbouring voxels are `inner` values apart.
    fn across_rows(&self, inner: usize, background: f32, values: &mut [f32], buffers: &mut Lines) {
        let len = self.rows.len();
        let tile = &mut buffers.tile;
        for volume in values.chunks_exact_mut(len * inner) {
            for left in (0..inner).step_by(TILE) {
                let width = TILE.min(inner - left);
                let pitch = width.next_multiple_of(BLOCK);
                tile.resize(len * pitch, 0.0);
                let mut only_background = true;
                for (line, copy) in volume.chunks_exact(inner).zip(tile.chunks_exact_mut(pitch)) {
                    let line = &line[left..left + width];
                    copy[..width].copy_from_slice(line);
                    only_background &= line.iter().all(|v| *v == background);
                }
                if only_background {
                    continue;
                }
                for (row, line) in self.rows.iter().zip(volume.chunks_exact_mut(inner)) {
                    let read = &tile[row.first * pitch..row.columns().end * pitch];
                    for (block, out) in line[left..left + width].chunks_mut(BLOCK).enumerate() {
                        let mut sums = [0f32; BLOCK];
                        for (weight, line) in row.weights.iter().zip(read.chunks_exact(pitch)) {
                            add(&mut sums, &line[block * BLOCK..], |_| *weight);
                        }
                        out.copy_from_slice(&sums[..out.len()]);
                    }
                }
            }
        }
    }

    /// Lines that are the rows themselves.
    fn along_rows(&self, background: f32, values: &mut [f32], buffers: &mut Lines) {
        let len = self.rows.len();
        let padded = len.next_multiple_of(BLOCK);
        // How far voxels reach to the left and to the right: the diagonals of the band.
        let before = self.rows.iter().enumerate().map(|(i, row)| i.saturating_sub(row.first)).max().unwrap_or(0);
        let after = self.rows.iter().enumerate().map(|(i, row)| row.columns().end.saturating_sub(i + 1)).max();
        let count = before + 1 + after.unwrap_or(0);
        let diagonals = &mut buffers.diagonals;
        diagonals.clear();
        diagonals.resize(count * padded, 0.0);
        for (i, row) in self.rows.iter().enumerate() {
            for (column, weight) in row.columns().zip(&row.weights) {
                diagonals[(column + before - i) * padded + i] = *weight;
            }
        }
        let line = &mut buffers.tile;
        line.clear();
        line.resize(padded + count, 0.0);
        for row in values.chunks_exact_mut(len) {
            if row.iter().all(|v| *v == background) {
                continue;
            }
            line[before..before + len].copy_from_slice(row);
            for (block, out) in row.chunks_mut(BLOCK).enumerate() {
                let mut sums = [0f32; BLOCK];
                for (shift, diagonal) in diagonals.chunks_exact(padded).enumerate() {
                    let weights = &diagonal[block * BLOCK..(block + 1) * BLOCK];
                    add(&mut sums, &line[block * BLOCK + shift..], |k| weights[k]);
                }
                out.copy_from_slice(&sums[..out.len()]);
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f32; BLOCK], values: &[f32], weight: impl Fn(usize) -> f32) {
    for (k, (sum, value)) in sums.iter_mut().zip(&values[..BLOCK]).enumerate() {
        *sum += weight(k) * value;
    }
}

/// Convolution with a symmetric kernel (centre first).
fn blurred(len: usize, half: &[f32]) -> Vec<Row> {
    let row = |i: usize| {
        let (first, last) = (i.saturating_sub(half.len() - 1), (i + half.len() - 1).min(len - 1));
        let mut weights = vec![0f32; last - first + 1];
        for (offset, weight) in half.iter().enumerate() {
            weights[i.saturating_sub(offset) - first] += weight;
            if offset > 0 {
                weights[(i + offset).min(last) - first] += weight;
            }
        }
        Row { first, weights }
    };
    (0..len).map(row).collect()
}

fn thickened(len: usize, thickness: f64) -> Vec<Row> {
    let slices = ((len as f64 / thickness).ceil() as usize).max(1);
    let voxels = |slice: usize| {
        let first = ((slice as f64 * thickness) as usize).min(len - 1);
        first..(((slice + 1) as f64 * thickness) as usize).clamp(first + 1, len)
    };
    let row = |i: usize| {
        let position = ((i as f64 + 0.5) / thickness - 0.5).clamp(0.0, slices as f64 - 1.0);
        let low = position as usize;
        let high_share = (position - low as f64) as f32;
        let (low, high) = (voxels(low), voxels((low + 1).min(slices - 1)));
        let mut weights = vec![0f32; high.end - low.start];
        for (slice, share) in [(&low, 1.0 - high_share), (&high, high_share)] {
            let weight = share / slice.len() as f32;
            weights[slice.start - low.start..slice.end - low.start].iter_mut().for_each(|w| *w += weight);
        }
        Row { first: low.start, weights }
    };
    (0..len).map(row).collect()
}

/// First `inner`, then `outer`.
fn product(outer: &[Row], inner: &[Row]) -> Vec<Row> {
    let row = |row: &Row| {
        let sources = &inner[row.columns()];
        let first = sources.iter().map(|s| s.first).min().unwrap_or(0);
        let end = sources.iter().map(|s| s.columns().end).max().unwrap_or(0);
        let mut weights = vec![0f32; end - first];
        for (outer, source) in row.weights.iter().zip(sources) {
            for (sum, weight) in weights[source.first - first..].iter_mut().zip(&source.weights) {
                *sum += outer * weight;
            }
        }
        Row { first, weights }
    };
    outer.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, voxel by voxel, in `f64`: the edge is held, a slice is a mean, slices are joined.
    fn plainly(line: &[f64], sigma: f64, thickness: f64) -> Vec<f64> {
        let last = line.len() as isize - 1;
        let held = |i: isize| line[i.clamp(0, last) as usize];
        let radius = (3.0 * sigma).ceil() as isize;
        let gauss = |o: isize| if sigma == 0.0 { 1.0 } else { (-0.5 * (o as f64 / sigma).powi(2)).exp() };
        let total: f64 = (-radius..=radius).map(gauss).sum();
        let blurred: Vec<f64> =
            (0..=last).map(|i| (-radius..=radius).map(|o| gauss(o) / total * held(i + o)).sum()).collect();
        if thickness == 1.0 {
            return blurred;
        }
        let slices = (line.len() as f64 / thickness).ceil() as usize;
        let means: Vec<f64> = (0..slices)
            .map(|s| {
                let inside = |i: &usize| {
                    let (from, to) = ((s as f64 * thickness).floor(), ((s + 1) as f64 * thickness).floor());
                    (from..to).contains(&(*i as f64))
                };
                let of: Vec<usize> = (0..line.len()).filter(inside).collect();
                of.iter().map(|i| blurred[*i]).sum::<f64>() / of.len() as f64
            })
            .collect();
        let at = |i: usize| {
            let p = ((i as f64 + 0.5) / thickness - 0.5).clamp(0.0, slices as f64 - 1.0);
            let (low, high) = (p.floor() as usize, p.ceil() as usize);
            means[low] + (means[high] - means[low]) * (p - p.floor())
        };
        (0..line.len()).map(at).collect()
    }

    #[test]
    fn every_axis_agrees_with_the_definition() {
        // Wider than a tile along H·W, and no size a multiple of a block.
        let shape = [13, 19, 37];
        let steps = [19 * 37, 37, 1];
        let source: Vec<f32> = (0..13 * 19 * 37).map(|i| (i as f32 * 0.73).sin()).collect();
        for (sigma, thickness) in [(0.7, 1.0), (0.0, 2.0), (2.0, 1.0), (0.4, 1.7), (1.3, 6.0), (0.0, 3.3)] {
            for axis in 0..3 {
                let mut values = source.clone();
                let map = AxisMap::new(shape[axis], sigma, thickness).unwrap();
                map.apply(shape, axis, 9.0, &mut values, &mut Lines::default());
                for start in (0..source.len()).filter(|i| i / steps[axis] % shape[axis] == 0) {
                    let index = |k: usize| start + k * steps[axis];
                    let line: Vec<f64> = (0..shape[axis]).map(|k| f64::from(source[index(k)])).collect();
                    for (k, expected) in plainly(&line, sigma, thickness).into_iter().enumerate() {
                        let found = f64::from(values[index(k)]);
                        assert!(
                            (found - expected).abs() < 2e-6,
                            "axis {axis}, {sigma}, {thickness}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn thick_slices_flatten_a_point() {
        let mut line = [0.0; 12];
        line[4] = 3.0;
        AxisMap::new(12, 0.0, 3.0).unwrap().apply([1, 1, 12], 2, 9.0, &mut line, &mut Lines::default());
        // Voxel 4 is the middle of the second slice, whose mean is one.
        assert!((line[4] - 1.0).abs() < 1e-6 && line[0] == 0.0 && (line[3] - 2.0 / 3.0).abs() < 1e-6, "{line:?}");
    }

    #[test]
    fn a_background_stays_to_the_bit_and_nothing_is_asked_of_an_idle_map() {
        assert!(AxisMap::new(9, 0.05, 1.0).is_none());
        let shape = [7, 8, 9];
        for axis in 0..3 {
            let mut values = vec![-1.7; 7 * 8 * 9];
            AxisMap::new(shape[axis], 1.9, 5.0).unwrap().apply(shape, axis, -1.7, &mut values, &mut Lines::default());
            assert!(values.iter().all(|v| *v == -1.7));
        }
        AxisMap::new(1, 1.9, 5.0).unwrap().apply([1, 1, 1], 2, 0.0, &mut [4.0], &mut Lines::default());
    }
}
