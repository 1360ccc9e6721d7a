//! The tissues of the phantom: their relaxation times and how a voxel is made of several of them.

/// One kind of matter in the head. Air is what is left when nothing else fills a voxel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Tissue {
    /// White matter.
    White,
    /// Cortical grey matter.
    Grey,
    /// Basal ganglia and thalamus, between grey and white.
    DeepGrey,
    /// Cerebrospinal fluid, and the eyes' vitreous.
    Fluid,
    /// Fat.
    Fat,
    /// Compact bone.
    Bone,
    /// Bone marrow (diploe).
    Marrow,
    /// Muscle, skin and other soft tissue.
    Soft,
    /// Dysplastic cortex.
    LesionCortex,
    /// White matter below dysplastic cortex, and the transmantle sign.
    LesionWhite,
    /// A small white-matter hyperintensity, which is no dysplasia.
    Hyperintensity,
    /// The marker: no tissue at all, but brighter than any.
    Marker,
}

/// How many kinds there are.
pub const TISSUES: usize = 12;

/// Relaxation times and proton density at 3 T.
#[derive(Debug, Clone, Copy)]
pub struct Relaxation {
    /// Longitudinal relaxation time, ms.
    pub t1_ms: f32,
    /// Transverse relaxation time, ms.
    pub t2_ms: f32,
    /// Proton density relative to water.
    pub density: f32,
}

impl Tissue {
    /// Every tissue, in the order of a voxel's shares.
    pub const ALL: [Tissue; TISSUES] = [
        Tissue::White,
        Tissue::Grey,
        Tissue::DeepGrey,
        Tissue::Fluid,
        Tissue::Fat,
        Tissue::Bone,
        Tissue::Marrow,
        Tissue::Soft,
        Tissue::LesionCortex,
        Tissue::LesionWhite,
        Tissue::Hyperintensity,
        Tissue::Marker,
    ];

    /// Relaxation of the tissue; `None` for the marker, whose signal follows no equation.
    pub fn relaxation(self) -> Option<Relaxation> {
        let (t1_ms, t2_ms, density) = match self {
            Tissue::White => (850.0, 70.0, 0.70),
            Tissue::Grey => (1350.0, 95.0, 0.82),
            Tissue::DeepGrey => (1120.0, 78.0, 0.77),
            Tissue::Fluid => (4000.0, 1800.0, 1.0),
            // In a train of refocusing pulses fat decays slower than its T2 says (J-coupling): bright in FLAIR.
            Tissue::Fat => (380.0, 100.0, 0.55),
            Tissue::Bone => (800.0, 8.0, 0.06),
            Tissue::Marrow => (480.0, 50.0, 0.38),
            // Likewise: with the 42 ms of muscle the scalp fell below the head mask's threshold in FLAIR in many heads, with 65
            // still in one of twelve, where it is thin.
            Tissue::Soft => (1250.0, 85.0, 0.68),
            // Long T1, at the upper end of what is measured in dysplasias: with 1450 and 1200 ms the lesion looks like grey
            // matter in T1, and at 2 mm neither eye nor network tells it from folded cortex. T2 keeps the FLAIR contrast.
            Tissue::LesionCortex => (1650.0, 134.0, 0.84),
            Tissue::LesionWhite => (1600.0, 139.0, 0.82),
            Tissue::Hyperintensity => (1300.0, 115.0, 0.80),
            Tissue::Marker => return None,
        };
        Some(Relaxation { t1_ms, t2_ms, density })
    }
}

/// The shares of the tissues in one voxel; what is missing to 1 is air.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mixture {
    shares: [f32; TISSUES],
}

impl Mixture {
    /// Lays `tissue` over what is there, covering the share `cover` (0 to 1) of the voxel.
    #[inline]
    pub fn paint(&mut self, tissue: Tissue, cover: f32) {
        if cover > 0.0 {
            self.clear(cover);
            self.shares[tissue as usize] += cover;
        }
    }

    /// Takes away the share `cover` (0 to 1) of everything that is there: air.
    #[inline]
    pub fn clear(&mut self, cover: f32) {
        for share in &mut self.shares {
            *share *= 1.0 - cover;
        }
    }

    /// Turns the share `part` (0 to 1) of one tissue into another.
    #[inline]
    pub fn turn(&mut self, from: Tissue, into: Tissue, part: f32) {
        let moved = self.shares[from as usize] * part;
        self.shares[from as usize] -= moved;
        self.shares[into as usize] += moved;
    }

    /// Lays another mixture over this one.
    #[inline]
    pub fn paint_mixture(&mut self, other: &Mixture, cover: f32) {
        if cover > 0.0 {
            for (share, over) in self.shares.iter_mut().zip(other.shares) {
                *share += (over - *share) * cover;
            }
        }
    }

    /// The shares in 255ths, in the order of [`Tissue::ALL`].
    #[inline]
    pub fn to_bytes(self) -> [u8; TISSUES] {
        self.shares.map(|share| (share * 255.0 + 0.5) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn painting_keeps_the_sum_at_one() {
        let mut mixture = Mixture::default();
        mixture.paint(Tissue::White, 1.0);
        mixture.paint(Tissue::Grey, 0.25);
        mixture.turn(Tissue::White, Tissue::LesionWhite, 0.5);
        assert!((mixture.shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        mixture.clear(0.5);
        assert!((mixture.shares.iter().sum::<f32>() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (position, tissue) in Tissue::ALL.into_iter().enumerate() {
            assert_eq!(tissue as usize, position);
        }
    }
}
