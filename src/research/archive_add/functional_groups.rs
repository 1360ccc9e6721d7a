//! Looks attributes up where a multi-frame object may have put them: a frame's functional groups, the shared ones,
//! the top level (PS3.3 C.7.6.16).

use dicom_core::Tag;
use dicom_core::header::Header;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;

use crate::dicom::Dataset;

/// An object seen from one of its frames.
#[derive(Clone, Copy)]
pub struct FrameAttributes<'a> {
    top: &'a Dataset,
    shared: Option<&'a Dataset>,
    per_frame: Option<&'a Dataset>,
}

impl<'a> FrameAttributes<'a> {
    /// As frame `frame` (from 0) sees them; classic objects have only a top level.
    pub fn of(top: &'a Dataset, frame: usize) -> Self {
        FrameAttributes {
            top,
            shared: items(top, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first(),
            per_frame: items(top, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame),
        }
    }

    /// The element, the most specific one first.
    pub fn element(&self, tag: Tag) -> Option<&'a InMemElement> {
        let in_group = |group: Option<&'a Dataset>| {
            // Only the functional group macros themselves: deeper sequences tell of other objects.
            group?.iter().filter(|m| m.tag().group() != 0x0008).find_map(|m| m.items()?.first()?.element(tag).ok())
        };
        in_group(self.per_frame).or_else(|| in_group(self.shared)).or_else(|| self.top.element(tag).ok())
    }

    /// Its text without padding; empty when it is not there.
    pub fn text(&self, tag: Tag) -> String {
        self.element(tag).map(text_of).unwrap_or_default()
    }

    /// Its finite numbers; empty when one of them is none.
    pub fn numbers(&self, tag: Tag) -> Vec<f64> {
        let numbers = self.element(tag).and_then(|e| e.to_multi_float64().ok()).unwrap_or_default();
        if numbers.iter().all(|n| n.is_finite()) { numbers } else { Vec::new() }
    }

    /// The first number.
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).first().copied()
    }

    /// Exactly `N` numbers.
    pub fn array<const N: usize>(&self, tag: Tag) -> Option<[f64; N]> {
        self.numbers(tag).try_into().ok()
    }
}

/// The items of a sequence; none when it is not there.
pub fn items(dataset: &Dataset, tag: Tag) -> &[Dataset] {
    dataset.element(tag).ok().and_then(|e| e.items()).unwrap_or_default()
}

/// A top-level attribute's text without padding; empty when it is not there.
pub fn text(dataset: &Dataset, tag: Tag) -> String {
    dataset.element(tag).map(text_of).unwrap_or_default()
}

fn text_of(element: &InMemElement) -> String {
    element.to_str().map(|t| t.trim_matches(['\0', ' ', '\n', '\r', '\t']).to_owned()).unwrap_or_default()
}
