//! The codes that stand in the written objects, but for those that were copied from the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dicom_core::Tag;
use dicom_core::header::Header;
use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use crate::dicom::Dataset;
use crate::dicom::attributes::text;

/// A code as it stands in an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Code {
    pub(super) scheme: String,
    pub(super) value: String,
    pub(super) meaning: String,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}, \"{}\")", self.value, self.scheme, self.meaning)
    }
}

/// The code in an item of a code sequence; `None` where the item holds none.
pub(super) fn code_of(item: &Dataset) -> Option<Code> {
    let [value, scheme, meaning] =
        [tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR, tags::CODE_MEANING].map(|tag| text(item, tag));
    (!value.is_empty()).then_some(Code { scheme, value, meaning })
}

/// Every code with the sequences that it stands in.
pub(super) fn codes<'d>(
    objects: impl IntoIterator<Item = &'d Dataset>,
    attributes: &Attributes,
) -> BTreeMap<Code, BTreeSet<Tag>> {
    let mut codes = BTreeMap::new();
    for object in objects {
        for element in object {
            let is_copied = attributes.get(element.tag()).is_some_and(|attribute| attribute.is_copied());
            if !is_copied {
                collect(element.tag(), element.items().unwrap_or_default(), &mut codes);
            }
        }
    }
    codes
}

fn collect(sequence: Tag, items: &[Dataset], codes: &mut BTreeMap<Code, BTreeSet<Tag>>) {
    for item in items {
        if let Some(code) = code_of(item) {
            codes.entry(code).or_default().insert(sequence);
        }
        for element in item {
            collect(element.tag(), element.items().unwrap_or_default(), codes);
        }
    }
}
