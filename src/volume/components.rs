//! Connected components of a mask, and what is made of them: the largest one, filled holes.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, s};

/// Which voxels count as neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connectivity {
    /// Those that share a face.
    Faces6,
    /// Those that share a face, an edge or a corner.
    Corners26,
}

/// The components of a mask.
#[derive(Debug, Clone)]
pub struct Components {
    /// 0 outside the mask; otherwise one more than the component's position in `sizes`.
    pub labels: Array3<u32>,
    /// Voxels per component, in the order in which a scan of the array meets them.
    pub sizes: Vec<usize>,
}

/// Voxels of one row that follow each other in the mask.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: usize,
    end: usize,
}

/// Labels the connected components of `mask`. Each row (axis 2) is cut into runs; a run that touches one of a row before
/// is joined with it. A head of millions of voxels has some ten thousand runs.
pub fn label(mask: ArrayView3<'_, bool>, connectivity: Connectivity) -> Components {
    let (n0, n1, n2) = mask.dim();
    // The steps to the neighbouring rows that come before, across slabs and across rows.
    let (rows_before, reach): (&[[isize; 2]], usize) = match connectivity {
        Connectivity::Faces6 => (&[[0, -1], [-1, 0]], 0),
        Connectivity::Corners26 => (&[[0, -1], [-1, -1], [-1, 0], [-1, 1]], 1),
    };
    let mut runs: Vec<Run> = Vec::new();
    // Where each row's runs begin, and where the last one's end.
    let mut row_runs = vec![0; n0 * n1 + 1];
    let mut roots: Vec<u32> = Vec::new();
    for (i, slab) in mask.outer_iter().enumerate() {
        for (j, row) in slab.outer_iter().enumerate() {
            let first = runs.len();
            add_runs(&mut runs, row);
            roots.extend(first as u32..runs.len() as u32);
            row_runs[i * n1 + j + 1] = runs.len();
            for [across_slabs, across_rows] in rows_before {
                let place = (i.checked_add_signed(*across_slabs), j.checked_add_signed(*across_rows));
                if let (Some(i), Some(j)) = place
                    && j < n1
                {
                    let before = row_runs[i * n1 + j]..row_runs[i * n1 + j + 1];
                    join(&mut roots, &runs, before, first..runs.len(), reach);
                }
            }
        }
    }
    // A root is the first run of its component, so components are numbered as a scan meets them.
    let mut sizes = Vec::new();
    let mut label_of_root = vec![0; runs.len()];
    let mut labels = Array3::<u32>::zeros((n0, n1, n2));
    for (i, mut slab) in labels.outer_iter_mut().enumerate() {
        for (j, mut row) in slab.outer_iter_mut().enumerate() {
            let in_row = row_runs[i * n1 + j]..row_runs[i * n1 + j + 1];
            for (index, Run { start, end }) in in_row.clone().zip(&runs[in_row]) {
                let root = root_of(&mut roots, index as u32) as usize;
                if label_of_root[root] == 0 {
                    sizes.push(0);
                    label_of_root[root] = sizes.len() as u32;
                }
                sizes[label_of_root[root] as usize - 1] += end - start;
                row.slice_mut(s![*start..*end]).fill(label_of_root[root]);
            }
        }
    }
    Components { labels, sizes }
}

fn add_runs(runs: &mut Vec<Run>, row: ArrayView1<'_, bool>) {
    let mut start = None;
    for (k, inside) in row.iter().enumerate() {
        match (start, inside) {
            (None, true) => start = Some(k),
            (Some(begun), false) => {
                runs.push(Run { start: begun, end: k });
                start = None;
            }
            _ => {}
        }
    }
    runs.extend(start.map(|start| Run { start, end: row.len() }));
}

/// Joins the runs of two rows that touch, or come as near as `reach`.
fn join(roots: &mut [u32], runs: &[Run], before: Range<usize>, here: Range<usize>, reach: usize) {
    let (mut a, mut b) = (before.start, here.start);
    while a < before.end && b < here.end {
        let (one, other) = (runs[a], runs[b]);
        if one.start < other.end + reach && other.start < one.end + reach {
            let (x, y) = (root_of(roots, a as u32), root_of(roots, b as u32));
            roots[x.max(y) as usize] = x.min(y);
        }
        // The one that ends first touches nothing further on.
        if one.end < other.end { a += 1 } else { b += 1 }
    }
}

/// The first run of a run's component, as far as it is known; shortens the way there.
fn root_of(roots: &mut [u32], mut run: u32) -> u32 {
    while roots[run as usize] != run {
        roots[run as usize] = roots[roots[run as usize] as usize];
        run = roots[run as usize];
    }
    run
}

/// The components of `mask` that have at least `share` (0 to 1) of the largest one's voxels.
pub fn large(mask: ArrayView3<'_, bool>, connectivity: Connectivity, share: f64) -> Array3<bool> {
    let components = label(mask, connectivity);
    let needed = share * components.sizes.iter().max().map_or(0.0, |largest| *largest as f64);
    let is_large: Vec<bool> = components.sizes.iter().map(|size| *size as f64 >= needed).collect();
    components.labels.mapv(|l| l > 0 && is_large.get(l as usize - 1).copied().unwrap_or(false))
}

/// `mask` with everything filled that cannot be reached from the array's faces through face neighbours.
pub fn fill_holes(mask: ArrayView3<'_, bool>) -> Array3<bool> {
    fill_holes_from(mask, &[Axis(0), Axis(1), Axis(2)])
}

/// The same within one level: what cannot be reached from its edges through edge neighbours.
pub fn fill_holes_of_level(level: ArrayView2<'_, bool>) -> Array2<bool> {
    fill_holes_from(level.insert_axis(Axis(0)), &[Axis(1), Axis(2)]).remove_axis(Axis(0))
}

/// Fills what cannot be reached from the faces across these axes.
fn fill_holes_from(mask: ArrayView3<'_, bool>, across: &[Axis]) -> Array3<bool> {
    let background = label(mask.mapv(|m| !m).view(), Connectivity::Faces6);
    // What is no background has label 0.
    let mut is_open = vec![false; background.sizes.len() + 1];
    for axis in across {
        let faces = [0, mask.len_of(*axis).saturating_sub(1)];
        for face in faces.into_iter().filter(|_| !mask.is_empty()) {
            background.labels.index_axis(*axis, face).iter().for_each(|label| is_open[*label as usize] = true);
        }
    }
    is_open[0] = false;
    background.labels.mapv(|label| !is_open[label as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(connectivity: Connectivity) -> Vec<[isize; 3]> {
        let mut steps = Vec::with_capacity(26);
        for a in -1..=1isize {
            for b in -1..=1isize {
                for c in -1..=1isize {
                    let distance = a.abs() + b.abs() + c.abs();
                    let limit = if connectivity == Connectivity::Faces6 { 1 } else { 3 };
                    if (1..=limit).contains(&distance) {
                        steps.push([a, b, c]);
                    }
                }
            }
        }
        steps
    }

    #[test]
    fn a_corner_joins_only_where_corners_count() {
        let mut mask = Array3::from_elem((3, 3, 3), false);
        mask[[0, 0, 0]] = true;
        mask[[1, 1, 1]] = true;
        mask[[1, 1, 2]] = true;
        assert_eq!(label(mask.view(), Connectivity::Faces6).sizes, [1, 2]);
        assert_eq!(label(mask.view(), Connectivity::Corners26).sizes, [3]);
        let big = large(mask.view(), Connectivity::Faces6, 0.6);
        assert!(big[[1, 1, 2]] && big[[1, 1, 1]] && !big[[0, 0, 0]]);
    }

    /// Random masks against the definition: voxels are joined as long as any two neighbours bear different labels.
    #[test]
    fn components_are_what_the_definition_says() {
        // Of eight voxels so many are inside: more, and nearly all of them hang together.
        for (seed, connectivity, inside) in
            [(1u64, Connectivity::Faces6, 3), (2, Connectivity::Corners26, 1), (3, Connectivity::Faces6, 3)]
        {
            let mut state = seed;
            let mask = Array3::from_shape_fn((7, 1 + seed as usize * 3, 9), |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 33 & 7 < inside
            });
            let (n0, n1, n2) = mask.dim();
            let flat = |i: usize, j: usize, k: usize| ((i * n1 + j) * n2 + k) as u32 + 1;
            let mut joined =
                Array3::from_shape_fn(mask.dim(), |(i, j, k)| if mask[[i, j, k]] { flat(i, j, k) } else { 0 });
            loop {
                let before = joined.clone();
                for ((i, j, k), inside) in mask.indexed_iter().filter(|(_, inside)| **inside) {
                    debug_assert!(*inside);
                    for [a, b, c] in neighbours(connectivity) {
                        let place = (i.checked_add_signed(a), j.checked_add_signed(b), k.checked_add_signed(c));
                        let (Some(x), Some(y), Some(z)) = place else { continue };
                        if mask.get([x, y, z]).is_some_and(|inside| *inside) {
                            joined[[i, j, k]] = joined[[i, j, k]].min(joined[[x, y, z]]);
                        }
                    }
                }
                if joined == before {
                    break;
                }
            }
            let mut roots: Vec<u32> = joined.iter().copied().filter(|root| *root > 0).collect();
            roots.sort_unstable();
            roots.dedup();
            assert!(roots.len() > 3 && n0 > 0, "{roots:?}");
            let number = |root: u32| roots.iter().position(|r| *r == root).map_or(0, |at| at as u32 + 1);
            let found = label(mask.view(), connectivity);
            assert_eq!(found.labels, joined.mapv(number));
            let count = |root: &u32| joined.iter().filter(|r| *r == root).count();
            assert_eq!(found.sizes, roots.iter().map(count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn half_of_the_largest_is_large_enough_where_half_is_asked_for() {
        let mut mask = Array3::from_elem((1, 1, 9), false);
        for at in [0, 2, 3, 5, 6, 7, 8] {
            mask[[0, 0, at]] = true;
        }
        let kept = large(mask.view(), Connectivity::Faces6, 0.5);
        assert_eq!(kept.iter().copied().collect::<Vec<_>>(), [0, 0, 1, 1, 0, 1, 1, 1, 1].map(|v| v == 1));
        assert!(!large(Array3::from_elem((2, 2, 2), false).view(), Connectivity::Faces6, 0.5).iter().any(|v| *v));
    }

    #[test]
    fn only_closed_cavities_are_filled() {
        let mut shell = Array3::from_elem((5, 5, 5), false);
        shell.slice_mut(ndarray::s![1..4, 1..4, 1..4]).fill(true);
        shell[[2, 2, 2]] = false;
        assert!(fill_holes(shell.view())[[2, 2, 2]]);
        let level = Axis(0);
        assert!(fill_holes_of_level(shell.index_axis(level, 2))[[2, 2]]);
        shell[[2, 2, 3]] = false;
        assert!(!fill_holes(shell.view())[[2, 2, 2]]);
        assert!(!fill_holes_of_level(shell.index_axis(level, 2))[[2, 2]]);
        assert!(fill_holes_of_level(shell.index_axis(Axis(2), 2))[[2, 2]], "open only across the level");
    }
}
