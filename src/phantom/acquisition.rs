//! Protocols: what is scanned, in which plane, how fine, and on which (imaginary) scanner.
//!
//! Names and times are those of OpenNeuro ds004199, so that whatever reads that set reads a phantom.

use super::signal::{Pulses, Timing};
use crate::study::Sequence;
use crate::volume::{Affine, Grid};

/// The plane of the slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plane {
    /// Rows run to the left, columns to the back, slices upwards.
    Axial,
    /// Rows run to the back, columns downwards, slices to the right.
    Sagittal,
    /// Rows run to the left, columns downwards, slices to the back.
    Coronal,
    /// Axial slices, first tilted about the left-right axis, then turned about the slices' column axis.
    Oblique {
        /// Tilt about the left-right axis, degrees.
        tilt_degrees: f64,
        /// Turn about the column axis, degrees.
        turn_degrees: f64,
    },
}

impl Plane {
    /// Image Orientation (Patient), PS3.3 C.7.6.2.1.1: direction along a row, then along a column.
    pub fn orientation(self) -> [f64; 6] {
        match self {
            Plane::Axial => [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            Plane::Sagittal => [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],
            Plane::Coronal => [1.0, 0.0, 0.0, 0.0, 0.0, -1.0],
            Plane::Oblique { tilt_degrees, turn_degrees } => {
                let (st, ct) = tilt_degrees.to_radians().sin_cos();
                let (su, cu) = turn_degrees.to_radians().sin_cos();
                [cu, st * su, -ct * su, 0.0, ct, st]
            }
        }
    }

    /// The patient axis (0 x, 1 y, 2 z) nearest to slices, rows' order and columns' order.
    fn patient_axes(self) -> [usize; 3] {
        match self {
            Plane::Axial | Plane::Oblique { .. } => [2, 1, 0],
            Plane::Sagittal => [0, 2, 1],
            Plane::Coronal => [1, 2, 0],
        }
    }
}

/// An imaginary scanner. Two of them differ in model, coil, noise and shading, as Bonn's two do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scanner {
    /// The newer one, with a coil of 32 channels.
    ChannelsThirtyTwo,
    /// The older one, with a coil of 8 channels: more noise, and shading of another kind.
    ChannelsEight,
}

impl Scanner {
    /// Manufacturer's Model Name.
    pub fn model(self) -> &'static str {
        match self {
            Scanner::ChannelsThirtyTwo => "phantom scanner A",
            Scanner::ChannelsEight => "phantom scanner B",
        }
    }

    /// Device Serial Number.
    pub fn serial(self) -> &'static str {
        match self {
            Scanner::ChannelsThirtyTwo => "900001",
            Scanner::ChannelsEight => "900002",
        }
    }

    /// Receive Coil Name.
    pub fn coil(self) -> &'static str {
        match self {
            Scanner::ChannelsThirtyTwo => "32Ch_Head",
            Scanner::ChannelsEight => "8_Channel_Head",
        }
    }

    /// Least and most noise, as a share of white matter's signal.
    pub(super) fn noise_share(self) -> [f32; 2] {
        match self {
            Scanner::ChannelsThirtyTwo => [0.02, 0.03],
            Scanner::ChannelsEight => [0.03, 0.04],
        }
    }

    /// Least and most difference of sensitivity across the head.
    pub(super) fn shading_share(self) -> [f32; 2] {
        match self {
            Scanner::ChannelsThirtyTwo => [0.18, 0.40],
            Scanner::ChannelsEight => [0.10, 0.28],
        }
    }
}

/// How large the volumes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// As scanned in Bonn: 0.8 mm and 1 mm.
    Full,
    /// 1.5 mm: an eighth of the voxels and still fine enough for an analysis.
    Small,
}

impl Size {
    /// Distance of the anatomy's points that is fine enough for scans of this size, mm.
    pub fn anatomy_step_mm(self) -> f32 {
        match self {
            Size::Full => 1.0,
            Size::Small => 1.5,
        }
    }
}

/// One series to be acquired.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// BIDS `acq-` label, as in ds004199.
    pub label: String,
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// Series Description and Protocol Name.
    pub description: String,
    /// Pulse sequence and its times.
    pub pulses: Pulses,
    /// Distance between slices, rows and columns, mm.
    pub spacing_mm: [f64; 3],
    /// Field of view along the patient's x, y and z, mm.
    pub field_of_view_mm: [f64; 3],
    /// Plane of the slices.
    pub plane: Plane,
    /// Where it is scanned.
    pub scanner: Scanner,
}

/// Centre of the field of view, LPS mm: the lower half holds face and neck.
const FIELD_CENTRE_LPS_MM: [f64; 3] = [0.0, -4.0, -18.0];

impl Protocol {
    /// `acq-iso08`: MPRAGE at 0.8 mm.
    pub fn t1_iso08() -> Protocol {
        let timing = Timing { tr_ms: 1660.0, te_ms: 2.54, effective_te_ms: 2.54, ti_ms: 850.0, flip_degrees: 9.0 };
        Protocol {
            label: "iso08".to_owned(),
            sequence: Sequence::T1,
            description: "t1_mpr_32ch_iso_0.8".to_owned(),
            pulses: Pulses::InversionGradientEcho(timing),
            spacing_mm: [0.8; 3],
            field_of_view_mm: [192.0, 256.0, 256.0],
            plane: Plane::Sagittal,
            scanner: Scanner::ChannelsThirtyTwo,
        }
    }

    /// `acq-sag111`: MPRAGE at 1 mm.
    pub fn t1_sag111() -> Protocol {
        let timing = Timing { tr_ms: 1570.0, te_ms: 3.42, effective_te_ms: 3.42, ti_ms: 800.0, flip_degrees: 15.0 };
        Protocol {
            label: "sag111".to_owned(),
            description: "t1_mpr_ns_sag_1x1x1".to_owned(),
            pulses: Pulses::InversionGradientEcho(timing),
            spacing_mm: [1.0; 3],
            scanner: Scanner::ChannelsEight,
            ..Protocol::t1_iso08()
        }
    }

    /// `acq-T2sel`: 3D FLAIR (SPACE) at 1 mm.
    pub fn flair_t2sel() -> Protocol {
        let timing = Timing { tr_ms: 5000.0, te_ms: 388.0, effective_te_ms: 112.0, ti_ms: 1800.0, flip_degrees: 120.0 };
        Protocol {
            label: "T2sel".to_owned(),
            sequence: Sequence::Flair,
            description: "flair_32ch_iso_1.0_T2sel".to_owned(),
            pulses: Pulses::InversionSpinEcho(timing),
            spacing_mm: [1.0; 3],
            ..Protocol::t1_iso08()
        }
    }

    /// `acq-tse3dvfl`: 3D FLAIR at 1 mm, with longer times.
    pub fn flair_tse3dvfl() -> Protocol {
        let timing = Timing { tr_ms: 7000.0, te_ms: 372.0, effective_te_ms: 106.0, ti_ms: 2220.0, flip_degrees: 120.0 };
        Protocol {
            label: "tse3dvfl".to_owned(),
            description: "flair_tse3dvfl_opt_fov_big".to_owned(),
            pulses: Pulses::InversionSpinEcho(timing),
            scanner: Scanner::ChannelsEight,
            ..Protocol::flair_t2sel()
        }
    }

    /// T1 and FLAIR as one scanner makes them.
    pub fn pair(scanner: Scanner, size: Size) -> [Protocol; 2] {
        let pair = match scanner {
            Scanner::ChannelsThirtyTwo => [Protocol::t1_iso08(), Protocol::flair_t2sel()],
            Scanner::ChannelsEight => [Protocol::t1_sag111(), Protocol::flair_tse3dvfl()],
        };
        pair.map(|protocol| protocol.sized(size))
    }

    /// The same protocol at another size.
    pub fn sized(self, size: Size) -> Protocol {
        match size {
            Size::Full => self,
            Size::Small => self.at_spacing_mm([1.5; 3]),
        }
    }

    /// The same protocol with another distance between slices, rows and columns, mm.
    pub fn at_spacing_mm(self, spacing_mm: [f64; 3]) -> Protocol {
        Protocol { spacing_mm, ..self }
    }

    /// The same protocol in another plane.
    pub fn in_plane(self, plane: Plane) -> Protocol {
        Protocol { plane, ..self }
    }

    /// The same protocol on another scanner.
    pub fn on(self, scanner: Scanner) -> Protocol {
        Protocol { scanner, ..self }
    }

    /// Numbers of slices, rows and columns, and where they lie: axes `[slice, row, column]` to LPS mm.
    pub fn grid(&self) -> Grid {
        let orientation = self.plane.orientation();
        let along_row = [orientation[0], orientation[1], orientation[2]];
        let along_column = [orientation[3], orientation[4], orientation[5]];
        let normal = [
            along_row[1] * along_column[2] - along_row[2] * along_column[1],
            along_row[2] * along_column[0] - along_row[0] * along_column[2],
            along_row[0] * along_column[1] - along_row[1] * along_column[0],
        ];
        let axes = self.plane.patient_axes();
        let shape: [usize; 3] = std::array::from_fn(|axis| {
            let samples = (self.field_of_view_mm[axes[axis]] / self.spacing_mm[axis]).round().max(1.0);
            samples as usize
        });
        let steps = [
            normal.map(|v| v * self.spacing_mm[0]),
            along_column.map(|v| v * self.spacing_mm[1]),
            along_row.map(|v| v * self.spacing_mm[2]),
        ];
        let origin = std::array::from_fn(|r| {
            let half: f64 = (0..3).map(|axis| steps[axis][r] * (shape[axis] as f64 - 1.0) / 2.0).sum();
            FIELD_CENTRE_LPS_MM[r] - half
        });
        Grid { shape, affine: Affine::from_axes(steps, origin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plane_covers_the_same_centre_with_upright_axes() {
        let oblique = Plane::Oblique { tilt_degrees: 17.0, turn_degrees: -11.0 };
        for plane in [Plane::Axial, Plane::Sagittal, Plane::Coronal, oblique] {
            let grid = Protocol::flair_t2sel().at_spacing_mm([2.0, 1.0, 1.5]).in_plane(plane).grid();
            for (value, expected) in grid.centre_lps_mm().into_iter().zip(FIELD_CENTRE_LPS_MM) {
                assert!((value - expected).abs() < 1e-9, "{plane:?}");
            }
            let steps = [0, 1, 2].map(|axis| grid.affine.axis_mm(axis));
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                let product: f64 = (0..3).map(|i| steps[a][i] * steps[b][i]).sum();
                assert!(product.abs() < 1e-9, "{plane:?}: axes {a} and {b} are not upright on each other");
            }
            for (value, expected) in grid.affine.spacing_mm().into_iter().zip([2.0, 1.0, 1.5]) {
                assert!((value - expected).abs() < 1e-9, "{plane:?}");
            }
        }
    }
}
