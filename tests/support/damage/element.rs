//! Damage to one element, wherever it stands: at the top level or in functional groups (PS3.3 C.7.6.16).

use dicom_core::header::Header;
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use super::set::Place;

/// Image Plane, Image Pixel, General Image, MR Image, Modality LUT and the multi-frame modules (PS3.3 C.7.6.1 to 3,
/// C.7.6.6, C.7.6.16, C.8.3.1, C.11.1), as far as their elements could change what becomes of an image.
pub const ELEMENTS: [Tag; 57] = [
    tags::IMAGE_TYPE,
    tags::PIXEL_SPACING,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::IMAGE_POSITION_PATIENT,
    tags::SLICE_THICKNESS,
    tags::SLICE_LOCATION,
    tags::SPACING_BETWEEN_SLICES,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_ASPECT_RATIO,
    tags::SMALLEST_IMAGE_PIXEL_VALUE,
    tags::LARGEST_IMAGE_PIXEL_VALUE,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_DATA,
    tags::RESCALE_SLOPE,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_TYPE,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::INSTANCE_NUMBER,
    tags::ACQUISITION_NUMBER,
    tags::NUMBER_OF_FRAMES,
    tags::FRAME_INCREMENT_POINTER,
    tags::IMAGES_IN_ACQUISITION,
    tags::PATIENT_ORIENTATION,
    tags::SCANNING_SEQUENCE,
    tags::SEQUENCE_VARIANT,
    tags::SCAN_OPTIONS,
    tags::MR_ACQUISITION_TYPE,
    tags::REPETITION_TIME,
    tags::ECHO_TIME,
    tags::EFFECTIVE_ECHO_TIME,
    tags::ECHO_NUMBERS,
    tags::ECHO_TRAIN_LENGTH,
    tags::INVERSION_TIME,
    tags::FLIP_ANGLE,
    tags::SEQUENCE_NAME,
    tags::TRIGGER_TIME,
    tags::TEMPORAL_POSITION_IDENTIFIER,
    tags::TEMPORAL_POSITION_INDEX,
    tags::STACK_ID,
    tags::IN_STACK_POSITION_NUMBER,
    tags::DIMENSION_INDEX_VALUES,
    tags::FRAME_TYPE,
    tags::PLANE_POSITION_SEQUENCE,
    tags::PLANE_ORIENTATION_SEQUENCE,
    tags::PIXEL_MEASURES_SEQUENCE,
    tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
    tags::FRAME_CONTENT_SEQUENCE,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
];

const GROUPS: [Tag; 2] = [tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE];

/// What is done to an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Removed,
    Emptied,
    Zero,
    Negative,
    Huge,
    NotANumber,
    Words,
}

pub const CHANGES: [Change; 7] =
    [Change::Removed, Change::Emptied, Change::Zero, Change::Negative, Change::Huge, Change::NotANumber, Change::Words];

impl Change {
    /// Whether this is something else than nothing for elements of this kind.
    fn applies(self, vr: VR) -> bool {
        !matches!(vr, VR::SQ | VR::OB | VR::OW | VR::UN)
            || matches!(self, Change::Removed | Change::Emptied | Change::Words)
    }

    /// The element as it is then; nothing where it is gone.
    fn of(self, element: &InMemElement) -> Option<InMemElement> {
        let (tag, vr) = (element.tag(), element.vr());
        let is_text = !matches!(vr, VR::US | VR::SS | VR::UL | VR::SL | VR::FD | VR::FL | VR::AT);
        let values = || element.to_multi_str().map_or(1, |values| values.len().max(1));
        let text = |value: &str| {
            let all = vec![value; values()].join("\\");
            Some(DataElement::new(tag, vr, PrimitiveValue::from(all)))
        };
        match self {
            Change::Removed => None,
            Change::Emptied if vr == VR::SQ => Some(DataElement::new(tag, vr, DataSetSequence::empty())),
            Change::Emptied => Some(DataElement::new(tag, vr, PrimitiveValue::Empty)),
            Change::Words => Some(DataElement::new(tag, VR::LO, PrimitiveValue::from("absurd"))),
            Change::Zero if is_text => text("0"),
            Change::Negative if is_text => text("-1"),
            Change::NotANumber if is_text => text("NaN"),
            // The longest that an integer string holds; 1e12 is a number that is no scale, 1e300 no single precision.
            Change::Huge if vr == VR::IS => text("999999999999"),
            Change::Huge if is_text && values() == 1 => text("1e12"),
            Change::Huge if is_text => text("1e300"),
            Change::Zero => Some(DataElement::new(tag, VR::US, PrimitiveValue::from(0u16))),
            Change::Negative => Some(DataElement::new(tag, VR::SS, PrimitiveValue::from(-1i16))),
            Change::Huge => Some(DataElement::new(tag, VR::US, PrimitiveValue::from(u16::MAX))),
            Change::NotANumber => Some(DataElement::new(tag, VR::FD, PrimitiveValue::from(f64::NAN))),
        }
    }
}

/// In which frames of a multi-frame object an element is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    All,
    /// One frame's item of the per-frame functional groups; nothing elsewhere.
    Only(usize),
}

/// Whether there is anything that [`change`] would change.
pub fn stands(object: &InMemDicomObject, tag: Tag, frames: Frames, what: Change) -> bool {
    let here = |object: &InMemDicomObject| object.get(tag).is_some_and(|element| what.applies(element.vr()));
    let items = |element: &InMemElement| element.items().is_some_and(|items| items.iter().any(here));
    let in_group = |group: &InMemDicomObject| here(group) || group.iter().any(items);
    let groups = |groups: Tag| object.get(groups).and_then(|element| element.items()).unwrap_or_default();
    match frames {
        Frames::All => here(object) || GROUPS.iter().any(|tag| groups(*tag).iter().any(in_group)),
        Frames::Only(frame) => groups(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame).is_some_and(in_group),
    }
}

/// Changes an element everywhere, or in the functional groups of one frame; how many times it stood there.
pub fn change(object: &mut InMemDicomObject, tag: Tag, frames: Frames, what: Change) -> usize {
    let mut made = 0;
    if frames == Frames::All {
        made += change_here(object, tag, what);
    }
    for groups in GROUPS {
        if frames != Frames::All && groups == tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE {
            continue;
        }
        change_items(object, groups, |index, group| {
            if frames != Frames::All && frames != Frames::Only(index) {
                return;
            }
            made += change_here(group, tag, what);
            for functional in group.tags().collect::<Vec<_>>() {
                change_items(group, functional, |_, item| made += change_here(item, tag, what));
            }
        });
    }
    made
}

fn change_items(object: &mut InMemDicomObject, tag: Tag, mut each: impl FnMut(usize, &mut InMemDicomObject)) {
    let Some(items) = object.get(tag).and_then(|element| element.items()) else { return };
    let mut items = items.to_vec();
    items.iter_mut().enumerate().for_each(|(index, item)| each(index, item));
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn change_here(object: &mut InMemDicomObject, tag: Tag, what: Change) -> usize {
    let Some(element) = object.get(tag).filter(|element| what.applies(element.vr())) else { return 0 };
    match what.of(element) {
        Some(changed) => {
            object.put(changed);
        }
        None => {
            object.remove_element(tag);
        }
    }
    1
}

/// Slope and intercept of each frame of a file, by what stands in its header; nothing where it is no number.
pub fn rescale(file: usize, object: &InMemDicomObject) -> Vec<(Place, [f64; 2])> {
    let frames = object.get(tags::NUMBER_OF_FRAMES).and_then(|e| e.to_int::<u32>().ok()).unwrap_or(1).min(10_000);
    (1..=frames.max(1)).filter_map(|frame| Some(((file, frame), rescale_of(object, frame)?))).collect()
}

fn rescale_of(object: &InMemDicomObject, frame: u32) -> Option<[f64; 2]> {
    let in_groups = |groups: Tag, index: usize, tag: Tag| {
        let group = object.get(groups)?.items()?.get(index)?;
        group.get(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE)?.items()?.first()?.get(tag).cloned()
    };
    let one = |tag: Tag, absent: f64| {
        let element = in_groups(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frame as usize - 1, tag)
            .or_else(|| in_groups(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, 0, tag))
            .or_else(|| object.get(tag).cloned());
        let text = element.and_then(|e| e.to_str().ok().map(|t| t.trim().to_owned())).unwrap_or_default();
        if text.is_empty() { Some(absent) } else { text.parse().ok() }
    };
    Some([one(tags::RESCALE_SLOPE, 1.0)?, one(tags::RESCALE_INTERCEPT, 0.0)?])
}
