//! Connected components of a mask, and what is made of them: the largest one, filled holes.

use ndarray::{Array3, ArrayView3};

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

/// What a voxel of the padded copy is while components grow; above, labels.
const OUTSIDE: u32 = 0;
const NOT_YET: u32 = 1;
const FIRST_LABEL: u32 = 2;

/// Labels the connected components of `mask`, by a stack of flat indices (no recursion: a head has millions of voxels).
///
/// The work is done on a copy with a margin of one voxel outside the mask, where every voxel has all of its neighbours at
/// fixed distances: no step needs to know where the array ends.
pub fn label(mask: ArrayView3<'_, bool>, connectivity: Connectivity) -> Components {
    let (n0, n1, n2) = mask.dim();
    let (across, row) = ((n1 + 2) * (n2 + 2), n2 + 2);
    let at = |i: usize, j: usize| (i + 1) * across + (j + 1) * row + 1;
    let mut padded = vec![OUTSIDE; (n0 + 2) * across];
    for (i, slab) in mask.outer_iter().enumerate() {
        for (j, line) in slab.outer_iter().enumerate() {
            let start = at(i, j);
            for (voxel, inside) in padded[start..start + n2].iter_mut().zip(line) {
                *voxel = if *inside { NOT_YET } else { OUTSIDE };
            }
        }
    }
    let steps: Vec<isize> =
        neighbours(connectivity).into_iter().map(|[a, b, c]| a * across as isize + b * row as isize + c).collect();
    let mut sizes = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for first in 0..padded.len() {
        if padded[first] != NOT_YET {
            continue;
        }
        let this = FIRST_LABEL + sizes.len() as u32;
        let mut size = 0;
        padded[first] = this;
        open.push(first);
        while let Some(voxel) = open.pop() {
            size += 1;
            for step in &steps {
                let neighbour = voxel.wrapping_add_signed(*step);
                // In the mask, so never in the margin: its neighbours are within the copy too.
                if padded[neighbour] == NOT_YET {
                    padded[neighbour] = this;
                    open.push(neighbour);
                }
            }
        }
        sizes.push(size);
    }
    let mut labels = Array3::<u32>::zeros((n0, n1, n2));
    for (i, mut slab) in labels.outer_iter_mut().enumerate() {
        for (j, mut line) in slab.outer_iter_mut().enumerate() {
            let start = at(i, j);
            for (label, voxel) in line.iter_mut().zip(&padded[start..start + n2]) {
                *label = voxel.saturating_sub(FIRST_LABEL - 1);
            }
        }
    }
    Components { labels, sizes }
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
    let (n0, n1, n2) = mask.dim();
    let background = label(mask.mapv(|m| !m).view(), Connectivity::Faces6);
    let mut open_to_outside = vec![false; background.sizes.len() + 1];
    for ((i, j, k), l) in background.labels.indexed_iter() {
        let on_face = i == 0 || j == 0 || k == 0 || i + 1 == n0 || j + 1 == n1 || k + 1 == n2;
        if on_face && *l != 0 {
            open_to_outside[*l as usize] = true;
        }
    }
    background.labels.mapv(|l| l == 0 || !open_to_outside[l as usize])
}

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

#[cfg(test)]
mod tests {
    use super::*;

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
        shell[[2, 2, 3]] = false;
        assert!(!fill_holes(shell.view())[[2, 2, 2]]);
    }
}
