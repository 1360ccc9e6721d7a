//! From tissue to signal: the equations of the two pulse sequences.

use super::tissue::{Relaxation, TISSUES, Tissue};

/// Times of a pulse sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Repetition time, ms.
    pub tr_ms: f32,
    /// Echo time as the header states it, ms.
    pub te_ms: f32,
    /// Echo time that makes the contrast, ms. In a train of refocusing pulses with varying flip angles
    /// (SPACE, VISTA, CUBE) the magnetisation rests along the field for most of the train, so that the
    /// stated 388 ms weigh like some 112 ms of a plain spin echo.
    pub effective_te_ms: f32,
    /// Inversion time, ms.
    pub ti_ms: f32,
    /// Flip angle of the excitation, degrees.
    pub flip_degrees: f32,
}

/// The pulse sequences that the phantom can run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pulses {
    /// Inversion recovery with a spoiled gradient echo readout (MPRAGE).
    InversionGradientEcho(Timing),
    /// Inversion recovery with a turbo spin echo readout (FLAIR).
    InversionSpinEcho(Timing),
}

/// How many times brighter than the brightest tissue the marker is.
const MARKER_OVER_TISSUE: f32 = 3.0;

impl Pulses {
    /// The sequence's times.
    pub fn timing(&self) -> Timing {
        match self {
            Pulses::InversionGradientEcho(timing) | Pulses::InversionSpinEcho(timing) => *timing,
        }
    }

    /// Magnitude of the signal of a tissue, relative to the full magnetisation of water.
    pub fn signal(&self, tissue: Relaxation) -> f32 {
        let Timing { tr_ms, te_ms, effective_te_ms, ti_ms, flip_degrees } = self.timing();
        let recovery = (-ti_ms / tissue.t1_ms).exp();
        let repetition = (-tr_ms / tissue.t1_ms).exp();
        match self {
            // Inversion once per repetition, low flip angles in between: the steady state is
            // 1 − 2·E(TI) / (1 + E(TR)), and decay goes with T2*, here taken as half of T2.
            Pulses::InversionGradientEcho(_) => {
                let longitudinal = 1.0 - 2.0 * recovery / (1.0 + repetition);
                let decay = (-te_ms / (0.5 * tissue.t2_ms)).exp();
                (tissue.density * longitudinal * decay * flip_degrees.to_radians().sin()).abs()
            }
            // The readout's end leaves no magnetisation: 1 − 2·E(TI) + E(TR).
            Pulses::InversionSpinEcho(_) => {
                let longitudinal = 1.0 - 2.0 * recovery + repetition;
                (tissue.density * longitudinal * (-effective_te_ms / tissue.t2_ms).exp()).abs()
            }
        }
    }

    /// Signal of every tissue in the order of `Tissue::ALL`, with white matter at 1.
    pub fn signals(&self) -> [f32; TISSUES] {
        let mut signals = Tissue::ALL.map(|tissue| tissue.relaxation().map_or(0.0, |r| self.signal(r)));
        let white = signals[Tissue::White as usize];
        for signal in &mut signals {
            *signal /= white;
        }
        let brightest = signals.iter().copied().fold(0.0, f32::max);
        signals[Tissue::Marker as usize] = MARKER_OVER_TISSUE * brightest;
        signals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flair() -> [f32; TISSUES] {
        let timing = Timing { tr_ms: 5000.0, te_ms: 388.0, effective_te_ms: 112.0, ti_ms: 1800.0, flip_degrees: 120.0 };
        Pulses::InversionSpinEcho(timing).signals()
    }

    #[test]
    fn flair_lesion_is_nine_percent_brighter_in_cortex_and_a_third_below_it() {
        let signals = flair();
        let cortex = signals[Tissue::LesionCortex as usize] / signals[Tissue::Grey as usize];
        let below = signals[Tissue::LesionWhite as usize] / signals[Tissue::White as usize];
        assert!((cortex - 1.09).abs() < 0.015, "{cortex}");
        assert!((below - 1.34).abs() < 0.015, "{below}");
    }

    #[test]
    fn fluid_is_dark_in_both_and_grey_stands_out_from_white() {
        let flair = flair();
        let timing = Timing { tr_ms: 2000.0, te_ms: 2.5, effective_te_ms: 2.5, ti_ms: 900.0, flip_degrees: 9.0 };
        let t1 = Pulses::InversionGradientEcho(timing).signals();
        for signals in [flair, t1] {
            assert!(signals[Tissue::Fluid as usize] < 0.2 * signals[Tissue::White as usize]);
        }
        assert!(t1[Tissue::Grey as usize] < 0.75 * t1[Tissue::White as usize]);
        assert!(flair[Tissue::Grey as usize] > 1.1 * flair[Tissue::White as usize]);
    }
}
