//! Lenient reading of attributes: from a classic header, or from the functional groups of a multi-frame
//! object (PS3.3 C.7.6.16), per-frame before shared before top level.
//!
//! Most attributes that are asked for are not there, and an object of hundreds of frames is asked for each of them in
//! each frame. So elements are looked up by `get`: the error that `element` makes of an absent one captures a backtrace.

use dicom_core::Tag;
use dicom_core::header::Header;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;

use super::Dataset;

/// The attributes that hold for one frame.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    top: &'a Dataset,
    shared: Option<&'a Dataset>,
    per_frame: Option<&'a Dataset>,
}

impl<'a> Attributes<'a> {
    /// Of the top level alone: what identifies the object and its series. Converted objects carry their
    /// source's Series Number and the like in functional groups.
    pub fn top_level(top: &'a Dataset) -> Self {
        Attributes { top, shared: None, per_frame: None }
    }

    /// Of a whole object, shared functional groups included.
    pub fn of(top: &'a Dataset) -> Self {
        Attributes { top, shared: items(top, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first(), per_frame: None }
    }

    /// Of one frame (from 0) of a multi-frame object.
    pub fn of_frame(top: &'a Dataset, frame: usize) -> Self {
        let per_frame = items(top, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame);
        Attributes { per_frame, ..Attributes::of(top) }
    }

    /// Whether there are functional groups at all.
    pub fn has_functional_groups(&self) -> bool {
        self.shared.is_some() || self.per_frame.is_some()
    }

    /// What stands in a functional group's place and is no sequence.
    pub fn functional_group_in_text(&self, group: Tag) -> Option<String> {
        let element = self.per_frame.and_then(|of_frame| of_frame.get(group));
        let element = element.or_else(|| self.shared.and_then(|shared| shared.get(group)))?;
        element.items().is_none().then(|| text_of(element))
    }

    /// The element, the most specific one first.
    pub fn element(&self, tag: Tag) -> Option<&'a InMemElement> {
        // A functional group is a sequence with one item; deeper sequences tell of other objects, and private ones by
        // their own rules: in Philips' copy of a frame as a classic image, its position is half a pixel away.
        let is_functional = |tag: Tag| tag.group() != 0x0008 && tag.group().is_multiple_of(2);
        let in_group = |group: Option<&'a Dataset>| {
            let mut groups = group?.iter().filter(|group| is_functional(group.tag()));
            groups.find_map(|group| group.items()?.first()?.get(tag))
        };
        in_group(self.per_frame).or_else(|| in_group(self.shared)).or_else(|| self.top.get(tag))
    }

    /// The same object's top level alone.
    pub fn at_top_level(&self) -> Self {
        Attributes::top_level(self.top)
    }

    /// The text, values joined by backslashes, without padding; empty when it is not there.
    pub fn text(&self, tag: Tag) -> String {
        self.element(tag).map(text_of).unwrap_or_default()
    }

    /// The text's values.
    pub fn texts(&self, tag: Tag) -> Vec<String> {
        let text = self.text(tag);
        if text.is_empty() { Vec::new() } else { text.split('\\').map(|v| v.trim().to_owned()).collect() }
    }

    /// The numbers, as far as they are finite numbers; empty as soon as one of them is none.
    pub fn numbers(&self, tag: Tag) -> Vec<f64> {
        let Some(element) = self.element(tag) else { return Vec::new() };
        if let Ok(numbers) = element.to_multi_float64()
            && numbers.iter().all(|n| n.is_finite())
        {
            return numbers;
        }
        let parsed: Option<Vec<f64>> =
            text_of(element).split('\\').map(|v| v.trim().parse().ok().filter(|n: &f64| n.is_finite())).collect();
        parsed.unwrap_or_default()
    }

    /// The first number.
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).first().copied()
    }

    /// Exactly `N` numbers.
    pub fn array<const N: usize>(&self, tag: Tag) -> Option<[f64; N]> {
        self.numbers(tag).try_into().ok()
    }

    /// The first number as an integer.
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        self.number(tag).filter(|n| n.abs() < 9e15).map(|n| n as i64)
    }

    /// A count or size that must be there and positive.
    pub fn size(&self, tag: Tag) -> Option<usize> {
        self.integer(tag).and_then(|n| usize::try_from(n).ok())
    }

    /// Whether a sequence is there with at least one item that says something.
    pub fn has_items(&self, tag: Tag) -> bool {
        self.element(tag).and_then(|e| e.items()).is_some_and(|i| i.iter().any(|item| item.iter().next().is_some()))
    }
}

/// The items of a sequence; none when it is not there.
pub fn items(dataset: &Dataset, tag: Tag) -> &[Dataset] {
    dataset.get(tag).and_then(|e| e.items()).unwrap_or_default()
}

/// A top-level attribute's text without padding; empty when it is not there.
pub fn text(dataset: &Dataset, tag: Tag) -> String {
    dataset.get(tag).map(text_of).unwrap_or_default()
}

fn text_of(element: &InMemElement) -> String {
    element.to_str().map(|t| t.trim_matches(['\0', ' ', '\n', '\r', '\t']).to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;

    fn sequence(tag: Tag, items: Vec<Dataset>) -> InMemElement {
        DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
    }

    fn number(tag: Tag, number: &str) -> Dataset {
        Dataset::from_element_iter([DataElement::new(tag, VR::DS, PrimitiveValue::from(number))])
    }

    #[test]
    fn a_frame_comes_before_what_frames_share_and_private_copies_of_either_do_not_count() {
        let private = Tag(0x2005, 0x140F);
        let of_frame = Dataset::from_element_iter([
            sequence(tags::MR_ECHO_SEQUENCE, vec![number(tags::EFFECTIVE_ECHO_TIME, "2")]),
            sequence(private, vec![number(tags::RESCALE_SLOPE, "3")]),
        ]);
        let shared = Dataset::from_element_iter([
            sequence(tags::MR_ECHO_SEQUENCE, vec![number(tags::EFFECTIVE_ECHO_TIME, "4")]),
            sequence(tags::PIXEL_MEASURES_SEQUENCE, vec![number(tags::SLICE_THICKNESS, "5")]),
        ]);
        let top = Dataset::from_element_iter([
            sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![of_frame]),
            sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]),
        ]);
        let attributes = Attributes::of_frame(&top, 0);
        assert_eq!(attributes.number(tags::EFFECTIVE_ECHO_TIME), Some(2.0));
        assert_eq!(Attributes::of_frame(&top, 1).number(tags::EFFECTIVE_ECHO_TIME), Some(4.0));
        assert_eq!(attributes.number(tags::SLICE_THICKNESS), Some(5.0));
        assert_eq!(attributes.number(tags::RESCALE_SLOPE), None);
        assert!(!attributes.has_items(private));
    }
}
