//! What each frame of an object is and where it lies: its plane, its rescaling, and what tells it from others at the same
//! place. A number that no scanner writes is named, not used.

use std::ops::RangeInclusive;
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::classify::SeriesFacts;
use super::pixels::PixelFormat;
use crate::dicom::Dataset;
use crate::dicom::attributes::Attributes;
use crate::study::ImagePlane;

/// More frames than this in one object are not believed.
pub(super) const MAX_FRAMES: usize = 65_536;
/// Nor images that lie farther from the isocentre (mm) ...
const FARTHEST_MM: f64 = 1e5;
/// ... or have other pixels (mm): no number of theirs is one that arithmetic loses.
const PIXEL_SPACINGS_MM: RangeInclusive<f64> = 1e-3..=100.0;
/// No scanner writes another Rescale Slope (a negative one would turn bright into dark) ...
const RESCALE_SLOPES: RangeInclusive<f64> = 1e-9..=1e9;
/// ... nor an intercept of more slopes than this: single precision would take neighbouring values for the same.
const MOST_SLOPES_IN_INTERCEPT: f64 = 16_777_216.0;

/// One frame.
#[derive(Debug, Clone)]
pub struct Image {
    /// Zero-based frame in its object.
    pub frame: usize,
    /// Whether the object is multi-frame.
    pub is_multi_frame: bool,
    /// Where it lies, or what is missing.
    pub plane: Result<ImagePlane, String>,
    /// Rescale slope and intercept (1 and 0 where there are none), or what is there instead of numbers.
    pub rescale: Result<[f64; 2], String>,
    /// Whether slope and intercept are there.
    pub has_rescale: [bool; 2],
    /// Instance Number.
    pub instance_number: Option<i64>,
    /// Image Type or Frame Type, values joined by backslashes.
    pub image_type: String,
    /// Echo Number(s).
    pub echo_number: Option<i64>,
    /// (Effective) Echo Time, ms.
    pub echo_time_ms: Option<f64>,
    /// Stack ID of a multi-frame object.
    pub stack_id: String,
    /// What may tell apart images at the same position: acquisition, time point, diffusion weighting ...
    pub separators: [Option<i64>; SEPARATORS],
    /// What classification needs.
    pub facts: Arc<SeriesFacts>,
}

/// Number of attributes in [`Image::separators`].
pub const SEPARATORS: usize = 6;

/// The frames of an object, in their order; one where it has no pixels.
pub(super) fn images(header: &Dataset, object: &Attributes, format: Option<&PixelFormat>) -> Vec<Image> {
    let frames = format.map_or(1, |f| f.frames.min(MAX_FRAMES));
    let is_multi_frame = frames > 1 || object.has_functional_groups();
    let mut facts = Arc::new(SeriesFacts::read(object));
    (0..frames)
        .map(|frame| {
            if !is_multi_frame {
                return image(object, format, frame, false, facts.clone());
            }
            let attributes = Attributes::of_frame(header, frame);
            let of_frame = SeriesFacts::read(&attributes);
            if of_frame != *facts {
                facts = Arc::new(of_frame);
            }
            image(&attributes, format, frame, true, facts.clone())
        })
        .collect()
}

fn image(
    attributes: &Attributes,
    format: Option<&PixelFormat>,
    frame: usize,
    is_multi_frame: bool,
    facts: Arc<SeriesFacts>,
) -> Image {
    let milli = |tag: Tag| attributes.number(tag).map(|n| (n * 1000.0).round() as i64);
    let frame_type = attributes.text(tags::FRAME_TYPE);
    let (rescale, has_rescale) = rescale(attributes);
    let temporal = attributes.integer(tags::TEMPORAL_POSITION_INDEX);
    Image {
        frame,
        is_multi_frame,
        plane: plane(attributes, format),
        rescale,
        has_rescale,
        instance_number: attributes.integer(tags::INSTANCE_NUMBER),
        image_type: if frame_type.is_empty() { attributes.text(tags::IMAGE_TYPE) } else { frame_type },
        echo_number: attributes.integer(tags::ECHO_NUMBERS),
        echo_time_ms: facts.te_ms,
        stack_id: attributes.text(tags::STACK_ID),
        separators: [
            attributes.integer(tags::ACQUISITION_NUMBER),
            attributes.integer(tags::FRAME_ACQUISITION_NUMBER),
            temporal.or_else(|| attributes.integer(tags::TEMPORAL_POSITION_IDENTIFIER)),
            milli(tags::TRIGGER_TIME).or_else(|| milli(tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME)),
            milli(tags::DIFFUSION_B_VALUE),
            milli(tags::INVERSION_TIME),
        ],
        facts,
    }
}

/// Slope and intercept, and whether there are any. What is there and no number must not be taken for 1 and 0, nor what is
/// there and no functional group for none.
fn rescale(attributes: &Attributes) -> (Result<[f64; 2], String>, [bool; 2]) {
    if let Some(text) = attributes.functional_group_in_text(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE) {
        return (Err(format!("Pixel Value Transformation Sequence is {text:?}")), [true, true]);
    }
    let one = |tag: Tag, name: &str, absent: f64| match attributes.text(tag) {
        text if text.is_empty() => Ok((absent, false)),
        text => match attributes.numbers(tag).as_slice() {
            [number] => Ok((*number, true)),
            _ => Err(format!("{name} is {text:?}")),
        },
    };
    let slope = one(tags::RESCALE_SLOPE, "Rescale Slope", 1.0).and_then(|(slope, is_there)| {
        let is_usual = RESCALE_SLOPES.contains(&slope);
        is_usual.then_some((slope, is_there)).ok_or_else(|| format!("Rescale Slope is {slope}"))
    });
    match (slope, one(tags::RESCALE_INTERCEPT, "Rescale Intercept", 0.0)) {
        (Ok((slope, _)), Ok((intercept, _))) if intercept.abs() > slope * MOST_SLOPES_IN_INTERCEPT => {
            (Err(format!("Rescale Intercept is {intercept}, with a Rescale Slope of {slope}")), [true, true])
        }
        (Ok((slope, has_slope)), Ok((intercept, has_intercept))) => {
            (Ok([slope, intercept]), [has_slope, has_intercept])
        }
        (Err(why), _) | (_, Err(why)) => (Err(why), [true, true]),
    }
}

fn plane(attributes: &Attributes, format: Option<&PixelFormat>) -> Result<ImagePlane, String> {
    let array = |tag, name: &str| format!("{name} is {:?}", attributes.text(tag));
    let position_mm = attributes
        .array::<3>(tags::IMAGE_POSITION_PATIENT)
        .filter(|p| p.iter().all(|mm| mm.abs() <= FARTHEST_MM))
        .ok_or_else(|| array(tags::IMAGE_POSITION_PATIENT, "Image Position (Patient)"))?;
    let orientation = attributes
        .array::<6>(tags::IMAGE_ORIENTATION_PATIENT)
        .filter(is_orthonormal)
        .ok_or_else(|| array(tags::IMAGE_ORIENTATION_PATIENT, "Image Orientation (Patient)"))?;
    let pixel_spacing_mm = attributes
        .array::<2>(tags::PIXEL_SPACING)
        .filter(|s| s.iter().all(|mm| PIXEL_SPACINGS_MM.contains(mm)))
        .ok_or_else(|| array(tags::PIXEL_SPACING, "Pixel Spacing"))?;
    let (rows, columns) = format.map(|f| (f.rows, f.columns)).ok_or("Rows or Columns are missing")?;
    Ok(ImagePlane {
        position_mm,
        orientation,
        pixel_spacing_mm,
        slice_thickness_mm: attributes.number(tags::SLICE_THICKNESS).filter(|t| *t > 0.0),
        rows,
        columns,
    })
}

/// Direction cosines that are unit vectors at right angles, as far as decimal strings can say so.
fn is_orthonormal(o: &[f64; 6]) -> bool {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let (row, column) = o.split_at(3);
    (dot(row, row) - 1.0).abs() < 1e-2 && (dot(column, column) - 1.0).abs() < 1e-2 && dot(row, column).abs() < 1e-2
}
