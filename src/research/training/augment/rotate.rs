//! Rotation of a volume about its centre, trilinear, optionally mirrored along axis D: one pass, one thread.
//!
//! Why not [`crate::volume::resample`]: that one walks affines between patient grids on all cores, allocates
//! its result and holds the edge for half a voxel. Here the grid is its own target, the workers of a loader
//! are the parallelism, and the boundary is SciPy's `affine_transform(mode="constant")`: a position beyond
//! the outermost voxel *centres* takes the background. Angles are those of the index grid, which is the
//! patient's only on an isotropic grid, as the network's is.
//!
//! Nor does one kernel serve both. `Sampler` there clamps every position, to hold the edge, which this inner loop
//! must not pay for. The one here wants positions between centres, so resampling would keep its own beside it for
//! the edge, and would round differently at the last centre: the values of `fcdd-2` would change.
//!
//! Along an output row the source position is `start + k·step`, so the voxels whose position lies inside
//! are one interval of `k`. It is found by division and settled with the very arithmetic of the loop; the
//! loop itself then never asks whether it is inside. Positions are `f64`, so rounding does not pile up.

/// Voxels whose positions are computed together: long enough to vectorise, short enough for registers and L1.
const BLOCK: usize = 32;

/// Where each output index is taken from: `source = map · [i0, i1, i2, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    map: [[f64; 4]; 3],
    shape: [usize; 3],
    still: bool,
    mirrored: bool,
}

impl Turn {
    /// Mirrors along axis D when asked, then rotates about axis 2 (W), then axis 1 (H), then axis 0 (D), by
    /// `angles_deg[a]` about axis `a`; positive turns axis `a+1` towards axis `a+2` (cyclic).
    /// `shape` is `[D, H, W]`; the centre lies midway between the first and last voxel centres.
    pub fn new(shape: [usize; 3], angles_deg: [f64; 3], mirrored: bool) -> Self {
        // Active rotation R = R0·R1·R2; the source of an output position is R⁻¹ = Rᵀ.
        let mut rotation = identity();
        for (axis, degrees) in angles_deg.iter().enumerate() {
            rotation = product(&rotation, &about(axis, *degrees));
        }
        let centre = shape.map(|n| (n as f64 - 1.0) / 2.0);
        let mut map = [[0.0; 4]; 3];
        for (row, line) in map.iter_mut().enumerate() {
            for (column, centre_column) in centre.iter().enumerate() {
                line[column] = rotation[column][row];
                line[3] -= rotation[column][row] * centre_column;
            }
            line[3] += centre[row];
        }
        if mirrored {
            // The source itself is mirrored before it is turned: position p0 is found at (n0 − 1) − p0.
            map[0] = map[0].map(|v| -v);
            map[0][3] += shape[0] as f64 - 1.0;
        }
        Turn { map, shape, still: angles_deg == [0.0; 3], mirrored }
    }

    /// Writes the turned volume. Both slices hold `D·H·W` values in C order. Without rotation the values are
    /// copied bit for bit.
    ///
    /// # Panics
    /// When a slice has another length than the shape: a mistake of the caller, not of data.
    pub fn apply(&self, source: &[f32], background: f32, out: &mut [f32]) {
        let [depth, height, width] = self.shape;
        let voxels = depth * height * width;
        assert!(source.len() == voxels && out.len() == voxels, "a volume of {voxels} voxels is turned into its like");
        if voxels == 0 {
            return;
        }
        if self.still {
            out.copy_from_slice(source);
            if self.mirrored {
                super::flip::left_right(self.shape, out);
            }
            return;
        }
        let corners = Corners::new(source, self.shape);
        for (line, row) in out.chunks_exact_mut(width).enumerate() {
            let (i0, i1) = ((line / height) as f64, (line % height) as f64);
            let start = self.map.map(|m| m[0] * i0 + m[1] * i1 + m[3]);
            let step = self.map.map(|m| m[2]);
            let inside = self.interval(start, step);
            let (before, rest) = row.split_at_mut(inside.start);
            let (covered, after) = rest.split_at_mut(inside.end - inside.start);
            before.fill(background);
            after.fill(background);
            for (block, values) in covered.chunks_mut(BLOCK).enumerate() {
                corners.mix(start, step, inside.start + block * BLOCK, values);
            }
        }
    }

    /// The output indices of a row whose source position lies between the outermost voxel centres.
    fn interval(&self, start: [f64; 3], step: [f64; 3]) -> std::ops::Range<usize> {
        let width = self.shape[2];
        let (mut first, mut end) = (0.0f64, width as f64);
        for axis in 0..3 {
            let last = self.shape[axis] as f64 - 1.0;
            if step[axis] == 0.0 {
                if !(0.0..=last).contains(&start[axis]) {
                    return 0..0;
                }
                continue;
            }
            let (a, b) = (-start[axis] / step[axis], (last - start[axis]) / step[axis]);
            first = first.max(a.min(b).floor());
            end = end.min(a.max(b).floor() + 2.0);
        }
        // One voxel too wide on each side; the loop's own arithmetic, monotonic in k, decides.
        let inside = |k: usize| {
            (0..3).all(|a| {
                let p = start[a] + k as f64 * step[a];
                p >= 0.0 && p <= self.shape[a] as f64 - 1.0
            })
        };
        let (mut first, mut end) = (first as usize, (end.max(0.0) as usize).min(width));
        while first < end && !inside(first) {
            first += 1;
        }
        while first < end && !inside(end - 1) {
            end -= 1;
        }
        if first < end { first..end } else { 0..0 }
    }
}

/// The four source rows around a position, as slices whose index is that of the lowest corner.
struct Corners<'a> {
    rows: [&'a [f32]; 4],
    /// Distance of the upper corner along W: 0 on an axis of one voxel.
    right: usize,
    highest: [i32; 3],
    strides: [i32; 2],
}

impl<'a> Corners<'a> {
    fn new(source: &'a [f32], shape: [usize; 3]) -> Self {
        let strides = [shape[1] * shape[2], shape[2]];
        // An axis of one voxel has no upper neighbour: its weight is zero, its own value stands in.
        let down = if shape[0] > 1 { strides[0] } else { 0 };
        let next = if shape[1] > 1 { strides[1] } else { 0 };
        Corners {
            rows: [source, &source[next..], &source[down..], &source[down + next..]],
            right: usize::from(shape[2] > 1),
            highest: shape.map(|n| n.saturating_sub(2) as i32),
            strides: strides.map(|s| s as i32),
        }
    }

    /// Values of at most [`BLOCK`] voxels from output index `first` on, all known to lie inside.
    #[inline]
    fn mix(&self, start: [f64; 3], step: [f64; 3], first: usize, values: &mut [f32]) {
        let mut lowest = [0i32; BLOCK];
        let mut weights = [[0f32; BLOCK]; 3];
        let first = first as i32;
        for (k, index) in lowest.iter_mut().enumerate() {
            let i = f64::from(first + k as i32);
            let p = [start[0] + i * step[0], start[1] + i * step[1], start[2] + i * step[2]];
            let low = [
                (p[0] as i32).min(self.highest[0]),
                (p[1] as i32).min(self.highest[1]),
                (p[2] as i32).min(self.highest[2]),
            ];
            weights[0][k] = (p[0] - f64::from(low[0])) as f32;
            weights[1][k] = (p[1] - f64::from(low[1])) as f32;
            weights[2][k] = (p[2] - f64::from(low[2])) as f32;
            // Wrapping: the block's unused tail may lie outside; its indices are never used.
            *index = low[0]
                .wrapping_mul(self.strides[0])
                .wrapping_add(low[1].wrapping_mul(self.strides[1]))
                .wrapping_add(low[2]);
        }
        let [t0, t1, t2] = &weights;
        let along = |row: &[f32], at: usize, t: f32| {
            let pair = &row[at..at + self.right + 1];
            let (x, y) = (pair[0], pair[self.right]);
            x + (y - x) * t
        };
        for ((((value, &at), &t0), &t1), &t2) in values.iter_mut().zip(&lowest).zip(t0).zip(t1).zip(t2) {
            let at = at as usize;
            let a = along(self.rows[0], at, t2);
            let b = along(self.rows[1], at, t2);
            let c = along(self.rows[2], at, t2);
            let d = along(self.rows[3], at, t2);
            let (near, far) = (a + (b - a) * t1, c + (d - c) * t1);
            *value = near + (far - near) * t0;
        }
    }
}

type Matrix = [[f64; 3]; 3];

fn identity() -> Matrix {
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
}

fn about(axis: usize, degrees: f64) -> Matrix {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (u, v) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut m = identity();
    m[u][u] = cos;
    m[u][v] = -sin;
    m[v][u] = sin;
    m[v][v] = cos;
    m
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let mut m = [[0.0; 3]; 3];
    for (i, row) in m.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            *value = (0..3).map(|k| a[i][k] * b[k][j]).sum();
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        shape: [usize; 3],
        background: f32,
        source: Vec<f32>,
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        angles_deg: [f64; 3],
        mirrored: bool,
        expected: Vec<f32>,
    }

    /// Values of SciPy's `ndimage.affine_transform(order=1, mode="constant")`: `tests/golden/rotation_golden.py`.
    #[test]
    fn rotation_agrees_with_scipy() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../../../tests/golden/rotation_golden.json")).unwrap();
        let mut out = vec![f32::NAN; golden.source.len()];
        assert!(golden.cases.len() >= 5);
        for case in &golden.cases {
            Turn::new(golden.shape, case.angles_deg, case.mirrored).apply(&golden.source, golden.background, &mut out);
            for (i, (ours, theirs)) in out.iter().zip(&case.expected).enumerate() {
                assert!((ours - theirs).abs() < 2e-5, "{:?} voxel {i}: {ours} for {theirs}", case.angles_deg);
            }
        }
    }

    #[test]
    fn no_angle_keeps_every_bit() {
        let source: Vec<f32> = (0..60).map(|i| (i as f32).sin() / 3.0).collect();
        let mut out = vec![0.0; 60];
        Turn::new([3, 4, 5], [0.0; 3], false).apply(&source, 9.0, &mut out);
        assert!(source.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn there_and_back_is_the_smooth_volume_again() {
        let shape = [33, 37, 31];
        let at = |i: usize| [i / (37 * 31), i / 31 % 37, i % 31].map(|p| p as f32);
        let wave = |p: [f32; 3]| (p[0] / 5.0).sin() + (p[1] / 6.0 + 1.0).sin() + (p[2] / 5.5).cos();
        let source: Vec<f32> = (0..33 * 37 * 31).map(|i| wave(at(i))).collect();
        let (mut there, mut back) = (vec![0.0; source.len()], vec![0.0; source.len()]);
        let inside = |i: &usize| {
            let p = at(*i);
            (p[0] - 16.0).powi(2) + (p[1] - 18.0).powi(2) + (p[2] - 15.0).powi(2) < 14.0 * 14.0
        };
        for (axis, degrees) in [(0, 12.0), (1, -15.0), (2, 40.0)] {
            let mut angles = [0.0; 3];
            angles[axis] = degrees;
            Turn::new(shape, angles, false).apply(&source, 0.0, &mut there);
            Turn::new(shape, angles.map(|a| -a), false).apply(&there, 0.0, &mut back);
            let off = |with: &[f32]| {
                let ball = (0..source.len()).filter(inside);
                ball.map(|i| (with[i] - source[i]).abs()).fold(0.0, f32::max)
            };
            // Twice linear interpolation along two axes: at most 2·2·(1/8)/5² of the amplitude.
            assert!(off(&back) < 0.02, "{axis}: {}", off(&back));
            assert!(off(&there) > 0.3, "{axis}: nothing turned");
        }
    }

    #[test]
    fn mirroring_alone_is_exact_and_as_in_a_turn() {
        let shape = [4, 3, 5];
        let source: Vec<f32> = (0..60).map(|i| (i as f32).sin() / 3.0).collect();
        let mirrored: Vec<f32> = (0..60).map(|i| source[(3 - i / 15) * 15 + i % 15]).collect();
        let mut out = vec![f32::NAN; 60];
        Turn::new(shape, [0.0; 3], true).apply(&source, 9.0, &mut out);
        assert_eq!(out, mirrored);
        // A turn too small to see goes the other way through the code; only the edge may fall outside.
        Turn::new(shape, [1e-9; 3], true).apply(&source, 9.0, &mut out);
        let interior = |i: usize| (1..3).contains(&(i / 15)) && i / 5 % 3 == 1 && (1..4).contains(&(i % 5));
        assert_eq!((0..60).filter(|i| interior(*i)).count(), 6);
        for i in (0..60).filter(|i| interior(*i)) {
            assert!((out[i] - mirrored[i]).abs() < 1e-6, "{i}");
        }
    }

    #[test]
    fn axes_of_one_voxel_and_steep_angles_stay_inside() {
        for shape in [[1, 7, 6], [7, 1, 6], [7, 6, 1], [1, 1, 1], [2, 2, 2], [40, 3, 65]] {
            let voxels = shape.iter().product();
            let mut out = vec![f32::NAN; voxels];
            for angle in [-180.0, -90.0, -45.0, -15.0, 1e-9, 15.0, 90.0] {
                Turn::new(shape, [angle, angle / 2.0, -angle], true).apply(&vec![1.0; voxels], 1.0, &mut out);
                assert!(out.iter().all(|v| (v - 1.0).abs() < 1e-6), "{shape:?} {angle}");
            }
        }
    }
}
