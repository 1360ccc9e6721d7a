//! The affine map from array index to patient millimetres, and its inverse.

/// An affine map from `[i0, i1, i2]` (array index, voxel centres at integers) to LPS millimetres.
///
/// Stored as three rows of a 3×4 matrix: `lps[r] = m[r][0]·i0 + m[r][1]·i1 + m[r][2]·i2 + m[r][3]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Rows x, y, z (LPS); columns axis 0, axis 1, axis 2, origin.
    pub rows: [[f64; 4]; 3],
}

/// The affine maps the grid onto a plane, a line or a point, so it has no inverse.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the voxel axes are not independent (determinant {determinant:e}); the geometry of this series cannot be used")]
pub struct SingularAffine {
    /// Determinant of the 3×3 part, in mm³.
    pub determinant: f64,
}

impl Affine {
    /// From the step (mm, LPS) along each array axis and the position of voxel `[0, 0, 0]`.
    pub fn from_axes(axes: [[f64; 3]; 3], origin_mm: [f64; 3]) -> Self {
        let row = |r: usize| [axes[0][r], axes[1][r], axes[2][r], origin_mm[r]];
        Affine { rows: [row(0), row(1), row(2)] }
    }

    /// LPS position (mm) of an index, which may lie between voxels.
    pub fn apply(&self, index: [f64; 3]) -> [f64; 3] {
        self.rows.map(|m| m[0] * index[0] + m[1] * index[1] + m[2] * index[2] + m[3])
    }

    /// Step (mm, LPS) along array axis 0, 1 or 2.
    pub fn axis_mm(&self, axis: usize) -> [f64; 3] {
        self.rows.map(|m| m[axis])
    }

    /// Position (mm, LPS) of voxel `[0, 0, 0]`.
    pub fn origin_mm(&self) -> [f64; 3] {
        self.rows.map(|m| m[3])
    }

    /// Distance between neighbouring voxel centres along each array axis, mm.
    pub fn spacing_mm(&self) -> [f64; 3] {
        [0, 1, 2].map(|a| self.axis_mm(a).iter().map(|c| c * c).sum::<f64>().sqrt())
    }

    /// Determinant of the 3×3 part: the signed voxel volume in mm³.
    pub fn determinant(&self) -> f64 {
        let m = &self.rows;
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    }

    /// The inverse map, LPS millimetres to index.
    pub fn inverse(&self) -> Result<Affine, SingularAffine> {
        let determinant = self.determinant();
        let scale = self.spacing_mm().iter().product::<f64>();
        if !determinant.is_finite() || determinant.abs() <= 1e-9 * scale {
            return Err(SingularAffine { determinant });
        }
        let m = &self.rows;
        let cofactor =
            |r0: usize, c0: usize, r1: usize, c1: usize| (m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0]) / determinant;
        let linear = [
            [cofactor(1, 1, 2, 2), -cofactor(0, 1, 2, 2), cofactor(0, 1, 1, 2)],
            [-cofactor(1, 0, 2, 2), cofactor(0, 0, 2, 2), -cofactor(0, 0, 1, 2)],
            [cofactor(1, 0, 2, 1), -cofactor(0, 0, 2, 1), cofactor(0, 0, 1, 1)],
        ];
        let origin = self.origin_mm();
        Ok(Affine {
            rows: linear.map(|l| [l[0], l[1], l[2], -(l[0] * origin[0] + l[1] * origin[1] + l[2] * origin[2])]),
        })
    }

    /// `self ∘ first`: an index of `first`'s domain through `first`, then through `self`.
    pub fn after(&self, first: &Affine) -> Affine {
        let rows = self.rows.map(|m| {
            let column = |c: usize| (0..3).map(|k| m[k] * first.rows[k][c]).sum::<f64>();
            [column(0), column(1), column(2), column(3) + m[3]]
        });
        Affine { rows }
    }

    /// The same place in RAS millimetres (x and y negated), as NIfTI wants it.
    pub fn to_ras(&self) -> [[f64; 4]; 3] {
        let m = self.rows;
        [m[0].map(|v| -v), m[1].map(|v| -v), m[2]]
    }

    /// From a matrix that maps indices to RAS millimetres.
    pub fn from_ras(ras: [[f64; 4]; 3]) -> Self {
        Affine { rows: [ras[0].map(|v| -v), ras[1].map(|v| -v), ras[2]] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_undoes_an_oblique_map() {
        let a = Affine { rows: [[0.9, 0.1, -0.3, 12.0], [-0.2, 1.1, 0.05, -40.0], [0.3, 0.02, 2.9, 7.5]] };
        let back = a.inverse().unwrap().after(&a);
        for (r, row) in back.rows.iter().enumerate() {
            for (c, v) in row.iter().enumerate() {
                let expected = if r == c { 1.0 } else { 0.0 };
                assert!((v - expected).abs() < 1e-12, "[{r}][{c}] = {v}");
            }
        }
    }

    #[test]
    fn parallel_axes_have_no_inverse() {
        let a = Affine::from_axes([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
        assert!(a.inverse().is_err());
    }

    #[test]
    fn ras_is_lps_with_x_and_y_negated() {
        let a = Affine::from_axes([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]], [1.0, 1.0, 1.0]);
        assert_eq!(a.to_ras()[0], [-1.0, -4.0, -7.0, -1.0]);
        assert_eq!(a.to_ras()[2], [3.0, 6.0, 10.0, 1.0]);
        assert_eq!(Affine::from_ras(a.to_ras()), a);
    }
}
