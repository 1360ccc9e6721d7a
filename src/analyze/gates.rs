//! Gates: what a series must be for a verdict to mean anything. Each is a named check with its numbers.
//!
//! A gate that does not open withholds the verdict, never the heatmap: inference still runs, and the reason says what
//! was found and what would be right. Bounds are ours, wide on purpose, and stated in every reason. An attribute that
//! the source does not state closes no gate: NIfTI and de-identified series have none.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::head_mask::HeadMeasures;
use crate::dicom::Dataset;
use crate::study::{Reason, Sequence};
use crate::volume::Grid;

/// Largest distance between slices, mm.
pub const LARGEST_SPACING_MM: f64 = 1.5;
/// Rounding that headers show on a nominal 1.5 mm, mm.
pub const SPACING_TOLERANCE_MM: f64 = 0.01;
/// Least extent of the head below its vertex within the field of view, mm.
const LEAST_HEIGHT_MM: f64 = 90.0;
/// Largest area over which the crown may be cut off, cm²; a flat cut 4 mm below the vertex of an adult's head.
const LARGEST_CROWN_CUT_CM2: f64 = 20.0;
/// Left-right extents of heads, mm: from a skull-stripped infant to a large adult.
const WIDTHS_MM: [f64; 2] = [80.0, 200.0];
/// Front-back extents of heads, mm.
const LENGTHS_MM: [f64; 2] = [90.0, 250.0];
/// Width over length (the cephalic index). Very long heads have 0.6, very round ones 0.95.
const WIDTH_OVER_LENGTH: [f64; 2] = [0.55, 0.97];

/// What the gates look at.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// The series' kind.
    pub sequence: Sequence,
    /// Header of the stack's first image.
    pub header: &'a Dataset,
    /// The source grid, axis 0 across slices.
    pub grid: &'a Grid,
    /// What was measured on the head.
    pub head: &'a HeadMeasures,
}

type Gate = fn(&GateInput<'_>) -> Option<Reason>;

/// Every gate, in the order of the reasons.
const GATES: [Gate; 8] = [
    slices_thin_enough,
    acquired_in_3d,
    without_contrast_agent,
    inversion_time_stated,
    head_of_plausible_size,
    head_of_plausible_shape,
    crown_covered,
    head_covered,
];

/// The reasons of all gates that stay shut; empty when the series is what the models were made for.
pub fn check(input: &GateInput<'_>) -> Vec<Reason> {
    GATES.iter().filter_map(|gate| gate(input)).collect()
}

fn slices_thin_enough(input: &GateInput<'_>) -> Option<Reason> {
    let spacing = input.grid.affine.spacing_mm()[0];
    (spacing > LARGEST_SPACING_MM + SPACING_TOLERANCE_MM).then(|| {
        let label = input.sequence.label();
        Reason::new(
            "slices_too_thick",
            format!("{label} slices lie {spacing:.2} mm apart; at most {LARGEST_SPACING_MM} mm can be assessed"),
        )
    })
}

fn acquired_in_3d(input: &GateInput<'_>) -> Option<Reason> {
    (text(input.header, tags::MR_ACQUISITION_TYPE) == "2D").then(|| {
        let label = input.sequence.label();
        Reason::new("not_3d", format!("{label} was acquired in 2D (MR Acquisition Type); only 3D can be assessed"))
    })
}

fn without_contrast_agent(input: &GateInput<'_>) -> Option<Reason> {
    let agent = text(input.header, tags::CONTRAST_BOLUS_AGENT);
    let none = ["", "no", "none", "nil", "n", "-", "0"].contains(&agent.to_lowercase().as_str());
    (!none).then(|| {
        let label = input.sequence.label();
        Reason::new(
            "contrast_agent",
            format!("{label} was acquired with a contrast agent (Contrast/Bolus Agent is filled in)"),
        )
    })
}

/// A header that states a repetition time but no inversion time is complete, and not that of a FLAIR.
fn inversion_time_stated(input: &GateInput<'_>) -> Option<Reason> {
    let missing = input.sequence == Sequence::Flair
        && !text(input.header, tags::REPETITION_TIME).is_empty()
        && text(input.header, tags::INVERSION_TIME).is_empty();
    missing.then(|| {
        Reason::new("no_inversion_time", "FLAIR states a repetition time but no inversion time; it may be no FLAIR")
    })
}

fn head_of_plausible_size(input: &GateInput<'_>) -> Option<Reason> {
    let HeadMeasures { width_mm, length_mm, volume_ml, .. } = *input.head;
    let plausible = within(width_mm, WIDTHS_MM) && within(length_mm, LENGTHS_MM);
    (!plausible).then(|| {
        let [w0, w1] = WIDTHS_MM;
        let [l0, l1] = LENGTHS_MM;
        Reason::new(
            "implausible_head_size",
            format!(
                "the object in {} is {width_mm:.0} mm wide and {length_mm:.0} mm long ({volume_ml:.0} ml); heads are \
                 {w0:.0} to {w1:.0} mm wide and {l0:.0} to {l1:.0} mm long",
                input.sequence.label(),
            ),
        )
    })
}

fn head_of_plausible_shape(input: &GateInput<'_>) -> Option<Reason> {
    let ratio = input.head.width_mm / input.head.length_mm;
    (!within(ratio, WIDTH_OVER_LENGTH)).then(|| {
        let [low, high] = WIDTH_OVER_LENGTH;
        Reason::new(
            "implausible_head_shape",
            format!(
                "the object in {} is {:.0} mm wide and {:.0} mm long, a ratio of {ratio:.2}; heads have {low} to {high}",
                input.sequence.label(),
                input.head.width_mm,
                input.head.length_mm,
            ),
        )
    })
}

fn crown_covered(input: &GateInput<'_>) -> Option<Reason> {
    let cut = input.head.crown_cut_cm2;
    (cut > LARGEST_CROWN_CUT_CM2).then(|| {
        let label = input.sequence.label();
        Reason::new("crown_not_covered", format!("{label} cuts the crown of the head off over {cut:.0} cm²"))
    })
}

fn head_covered(input: &GateInput<'_>) -> Option<Reason> {
    let height = input.head.height_mm;
    (height < LEAST_HEIGHT_MM).then(|| {
        let label = input.sequence.label();
        Reason::new(
            "head_not_covered",
            format!("{label} covers {height:.0} mm of the head from its vertex down; at least {LEAST_HEIGHT_MM} mm are needed"),
        )
    })
}

fn within(value: f64, [low, high]: [f64; 2]) -> bool {
    value >= low && value <= high
}

fn text(header: &Dataset, tag: Tag) -> String {
    header.get(tag).and_then(|e| e.to_str().ok()).map(|s| s.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;
    use crate::volume::Affine;

    const ADULT: HeadMeasures = HeadMeasures {
        threshold: 50.0,
        volume_ml: 3000.0,
        vault_volume_ml: 1700.0,
        width_mm: 140.0,
        length_mm: 180.0,
        height_mm: 170.0,
        vertex_z_mm: 90.0,
        middle_x_mm: 0.0,
        middle_y_mm: 0.0,
        crown_cut_cm2: 0.0,
    };

    fn codes(sequence: Sequence, spacing_mm: f64, head: HeadMeasures, header: &[(Tag, VR, &str)]) -> Vec<String> {
        let header = Dataset::from_element_iter(
            header.iter().map(|(tag, vr, v)| DataElement::new(*tag, *vr, PrimitiveValue::from(*v))),
        );
        let axes = [[0.0, 0.0, spacing_mm], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
        let grid = Grid { shape: [160, 256, 256], affine: Affine::from_axes(axes, [0.0; 3]) };
        check(&GateInput { sequence, header: &header, grid: &grid, head: &head }).into_iter().map(|r| r.code).collect()
    }

    #[test]
    fn a_head_in_thin_slices_passes_without_any_header() {
        assert!(codes(Sequence::Flair, 1.5, ADULT, &[]).is_empty());
    }

    #[test]
    fn headers_that_speak_against_it_are_heard() {
        let header = [
            (tags::MR_ACQUISITION_TYPE, VR::CS, "2D"),
            (tags::CONTRAST_BOLUS_AGENT, VR::LO, "GADOVIST"),
            (tags::REPETITION_TIME, VR::DS, "9000"),
        ];
        assert_eq!(
            codes(Sequence::Flair, 3.0, ADULT, &header),
            ["slices_too_thick", "not_3d", "contrast_agent", "no_inversion_time"]
        );
        let complete = [
            (tags::REPETITION_TIME, VR::DS, "5000"),
            (tags::INVERSION_TIME, VR::DS, "1800"),
            (tags::CONTRAST_BOLUS_AGENT, VR::LO, "None"),
        ];
        assert!(codes(Sequence::Flair, 1.0, ADULT, &complete).is_empty());
    }

    #[test]
    fn a_fruit_is_too_round() {
        let melon = HeadMeasures { width_mm: 140.0, length_mm: 134.0, ..ADULT };
        assert_eq!(codes(Sequence::T1, 1.2, melon, &[]), ["implausible_head_shape"]);
        let doll = HeadMeasures { width_mm: 60.0, length_mm: 80.0, height_mm: 70.0, ..ADULT };
        assert_eq!(codes(Sequence::T1, 1.2, doll, &[]), ["implausible_head_size", "head_not_covered"]);
    }
}
