//! Which attributes the written objects have, how often, and where their values come from: found by comparing the
//! objects with each other and with their sources.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::header::Header;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;

use super::example::Role;
use super::written::Written;
use crate::dicom::Dataset;

/// Whether an attribute is there (the words of PS3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Always there, with a value.
    Always,
    /// Always there, the value may be missing.
    ValueNotAlways,
    /// Not always there.
    NotAlways,
    /// Always there, never with a value.
    Empty,
}

impl Presence {
    /// PS3.2's abbreviation.
    pub(super) fn term(self) -> &'static str {
        match self {
            Presence::Always => "ALWAYS",
            Presence::ValueNotAlways => "VNAP",
            Presence::NotAlways => "ANAP",
            Presence::Empty => "EMPTY",
        }
    }
}

/// One attribute, with those inside its items.
#[derive(Debug, Default)]
pub(super) struct Attribute {
    pub(super) vr: Option<VR>,
    /// How many datasets (or items) have it, and how many of these without a value.
    there: usize,
    empty: usize,
    /// False as soon as one value is not the source's.
    differs_from_source: bool,
    values: BTreeSet<String>,
    /// The values with the site's templates, and of the same study with others.
    of_full: BTreeSet<String>,
    of_other_templates: BTreeSet<String>,
    pub(super) items: Attributes,
}

/// The attributes of datasets of one kind, by tag.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// How many datasets (or items) were looked at.
    datasets: usize,
    by_tag: BTreeMap<Tag, Attribute>,
}

impl Attributes {
    /// Compares objects. The content tree of a report is not followed: it has a table of its own.
    pub(super) fn of<'w>(objects: impl IntoIterator<Item = &'w Written>) -> Attributes {
        let mut attributes = Attributes::default();
        for object in objects {
            attributes.look_at(&object.dataset, Some(&object.source), object.role);
        }
        attributes
    }

    fn look_at(&mut self, dataset: &Dataset, source: Option<&Dataset>, role: Role) {
        self.datasets += 1;
        for element in dataset {
            let tag = element.tag();
            let attribute = self.by_tag.entry(tag).or_default();
            attribute.vr = Some(element.vr());
            attribute.there += 1;
            let value = value_of(element);
            attribute.empty += usize::from(value.is_empty());
            let in_source = source.and_then(|s| s.element(tag).ok()).map(value_of).unwrap_or_default();
            attribute.differs_from_source |= source.is_none() || in_source != value;
            match role {
                Role::Full => attribute.of_full.insert(value.clone()),
                Role::OtherTemplates => attribute.of_other_templates.insert(value.clone()),
                Role::Other => false,
            };
            attribute.values.insert(value);
            if tag != tags::CONTENT_SEQUENCE {
                for item in element.items().unwrap_or_default() {
                    attribute.items.look_at(item, None, role);
                }
            }
        }
    }

    /// In the order of tags.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Tag, &Attribute)> {
        self.by_tag.iter().map(|(tag, attribute)| (*tag, attribute))
    }

    /// The attribute with this tag.
    pub(super) fn get(&self, tag: Tag) -> Option<&Attribute> {
        self.by_tag.get(&tag)
    }

    /// Whether an attribute of this level is there.
    pub(super) fn presence(&self, attribute: &Attribute) -> Presence {
        if attribute.there < self.datasets {
            Presence::NotAlways
        } else if attribute.empty == attribute.there {
            Presence::Empty
        } else if attribute.empty > 0 {
            Presence::ValueNotAlways
        } else {
            Presence::Always
        }
    }
}

impl Attribute {
    /// True where the value is the source's own, whatever that is.
    pub(super) fn is_copied(&self) -> bool {
        !self.differs_from_source && self.values.len() > 1
    }

    /// Where the value comes from, in PS3.2's words.
    pub(super) fn source(&self) -> &'static str {
        let configured = !self.of_other_templates.is_empty() && self.of_full != self.of_other_templates;
        let with_own_templates = self.values.difference(&self.of_other_templates).count();
        match configured {
            _ if self.is_copied() => "COPY",
            true if with_own_templates > self.of_full.len() => "CONFIG, AUTO",
            true => "CONFIG",
            false => "AUTO",
        }
    }

    /// The values that there are with the site's templates.
    pub(super) fn values_here(&self) -> Vec<&str> {
        let only_elsewhere = |value: &String| self.of_other_templates.contains(value) && !self.of_full.contains(value);
        let here = self.values.iter().filter(|value| !value.is_empty() && !only_elsewhere(value));
        here.map(String::as_str).collect()
    }
}

/// A value as a text that can be compared: numbers by what they mean, sequences by their items.
fn value_of(element: &InMemElement) -> String {
    if let Some(items) = element.items() {
        let item = |item: &Dataset| item.iter().map(|e| format!("{}={};", e.tag(), value_of(e))).collect::<String>();
        return items.iter().map(|i| format!("[{}]", item(i))).collect();
    }
    // Pixels are longer than any text here and never looked at.
    let text = match element.vr() {
        VR::OB | VR::OW if element.tag() == tags::PIXEL_DATA => return "pixels".to_owned(),
        _ => element.to_str().map(|text| text.trim_matches(['\0', ' ']).to_owned()).unwrap_or_default(),
    };
    match element.vr() {
        VR::DS => text.split('\\').map(as_number).collect::<Vec<_>>().join("\\"),
        _ => text,
    }
}

fn as_number(text: &str) -> String {
    text.trim().parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string())
}
