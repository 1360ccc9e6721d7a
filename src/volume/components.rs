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

/// Labels the connected components of `mask`, breadth by a stack of flat indices (no recursion: a head has
/// millions of voxels).
pub fn label(mask: ArrayView3<'_, bool>, connectivity: Connectivity) -> Components {
    let (n0, n1, n2) = mask.dim();
    let steps = neighbours(connectivity);
    let mut labels = Array3::<u32>::zeros((n0, n1, n2));
    let mut sizes = Vec::new();
    let mut open: Vec<[usize; 3]> = Vec::new();
    for ((i, j, k), inside) in mask.indexed_iter() {
        if !inside || labels[[i, j, k]] != 0 {
            continue;
        }
        let this = sizes.len() as u32 + 1;
        let mut size = 0;
        labels[[i, j, k]] = this;
        open.push([i, j, k]);
        while let Some([a, b, c]) = open.pop() {
            size += 1;
            for [da, db, dc] in &steps {
                let (Some(x), Some(y), Some(z)) =
                    (a.checked_add_signed(*da), b.checked_add_signed(*db), c.checked_add_signed(*dc))
                else {
                    continue;
                };
                if x < n0 && y < n1 && z < n2 && mask[[x, y, z]] && labels[[x, y, z]] == 0 {
                    labels[[x, y, z]] = this;
                    open.push([x, y, z]);
                }
            }
        }
        sizes.push(size);
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
