//! One node of an SR document's content tree (PS3.3 C.17.3) and how it becomes a dataset.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;

use crate::dicom::codes::Concept;
use crate::dicom::{Dataset, Uid};
use crate::report::modules::elements::{ascii, decimal_string, put_code, put_sequence, put_text, reference_item};

/// How a node relates to its parent (PS3.3 table C.17.3-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relationship {
    /// The parent contains it.
    Contains,
    /// Says who observed, what is tracked.
    HasObservationContext,
    /// Says how an image was acquired.
    HasAcquisitionContext,
    /// Narrows the parent's concept.
    HasConceptModifier,
    /// The image that a region was drawn on.
    SelectedFrom,
}

impl Relationship {
    fn term(self) -> &'static str {
        match self {
            Relationship::Contains => "CONTAINS",
            Relationship::HasObservationContext => "HAS OBS CONTEXT",
            Relationship::HasAcquisitionContext => "HAS ACQ CONTEXT",
            Relationship::HasConceptModifier => "HAS CONCEPT MOD",
            Relationship::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// What a node says (PS3.3 table C.17.3-7); only the value types that we use.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemValue {
    /// A heading, with the DCMR template that it is the root of.
    Container {
        /// Template Identifier.
        template: Option<&'static str>,
    },
    /// A coded answer.
    Code(Concept),
    /// Words; anything but printable ASCII is replaced when written.
    Text(String),
    /// A UID.
    UidReference(Uid),
    /// A number with its unit.
    Number {
        /// As a Decimal String.
        value: String,
        /// UCUM unit.
        unit: Concept,
    },
    /// An image, or one frame of it.
    Image {
        /// SOP class.
        sop_class: Uid,
        /// SOP instance.
        sop_instance: Uid,
        /// Frame of a multi-frame image.
        frame: Option<u32>,
    },
    /// A point on an image: column and row, where the centre of the first pixel is 0.5, 0.5 (PS3.3 C.18.6.1.1).
    Point {
        /// Across, from the left edge.
        column: f32,
        /// Down, from the upper edge.
        row: f32,
    },
}

impl ItemValue {
    fn term(&self) -> &'static str {
        match self {
            ItemValue::Container { .. } => "CONTAINER",
            ItemValue::Code(_) => "CODE",
            ItemValue::Text(_) => "TEXT",
            ItemValue::UidReference(_) => "UIDREF",
            ItemValue::Number { .. } => "NUM",
            ItemValue::Image { .. } => "IMAGE",
            ItemValue::Point { .. } => "SCOORD",
        }
    }
}

/// A node with its children.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentItem {
    /// Relation to the parent.
    pub relationship: Relationship,
    /// Concept name; images need none.
    pub concept: Option<Concept>,
    /// The value.
    pub value: ItemValue,
    /// Nodes below.
    pub children: Vec<ContentItem>,
}

impl ContentItem {
    /// A node without children.
    pub fn new(relationship: Relationship, concept: &Concept, value: ItemValue) -> ContentItem {
        ContentItem { relationship, concept: Some(concept.clone()), value, children: Vec::new() }
    }

    /// A contained heading.
    pub fn container(concept: &Concept, template: Option<&'static str>) -> ContentItem {
        ContentItem::new(Relationship::Contains, concept, ItemValue::Container { template })
    }

    /// A coded node.
    pub fn code(relationship: Relationship, concept: &Concept, value: &Concept) -> ContentItem {
        ContentItem::new(relationship, concept, ItemValue::Code(value.clone()))
    }

    /// A node of words.
    pub fn text(relationship: Relationship, concept: &Concept, text: &str) -> ContentItem {
        ContentItem::new(relationship, concept, ItemValue::Text(text.to_owned()))
    }

    /// A contained number.
    pub fn number(concept: &Concept, value: f64, decimals: usize, unit: &Concept) -> ContentItem {
        // Rounded first, so that the Decimal String is what a reader sees and nothing is cut off by its 16 characters.
        let scale = 10_f64.powi(decimals as i32);
        let value = decimal_string((value * scale).round() / scale);
        ContentItem::new(Relationship::Contains, concept, ItemValue::Number { value, unit: unit.clone() })
    }

    /// The same node with children.
    pub fn with(mut self, children: Vec<ContentItem>) -> ContentItem {
        self.children.extend(children);
        self
    }

    /// The node as an item of its parent's Content Sequence.
    pub fn to_item(&self) -> Dataset {
        let mut item = Dataset::new_empty();
        put_text(&mut item, tags::RELATIONSHIP_TYPE, VR::CS, self.relationship.term());
        self.put_into(&mut item);
        item
    }

    /// Everything but the relationship: so the root stands in the document itself.
    pub fn put_into(&self, dataset: &mut Dataset) {
        put_text(dataset, tags::VALUE_TYPE, VR::CS, self.value.term());
        if let Some(concept) = &self.concept {
            put_code(dataset, tags::CONCEPT_NAME_CODE_SEQUENCE, concept);
        }
        match &self.value {
            ItemValue::Container { template } => {
                put_text(dataset, tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
                if let Some(template) = template {
                    let mut item = Dataset::new_empty();
                    put_text(&mut item, tags::MAPPING_RESOURCE, VR::CS, "DCMR");
                    put_text(&mut item, tags::TEMPLATE_IDENTIFIER, VR::CS, template);
                    put_sequence(dataset, tags::CONTENT_TEMPLATE_SEQUENCE, vec![item]);
                }
            }
            ItemValue::Code(concept) => put_code(dataset, tags::CONCEPT_CODE_SEQUENCE, concept),
            ItemValue::Text(text) => put_text(dataset, tags::TEXT_VALUE, VR::UT, &ascii(text)),
            ItemValue::UidReference(uid) => put_text(dataset, tags::UID, VR::UI, uid.as_str()),
            ItemValue::Number { value, unit } => {
                let mut measured = Dataset::new_empty();
                put_text(&mut measured, tags::NUMERIC_VALUE, VR::DS, value);
                put_code(&mut measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE, unit);
                put_sequence(dataset, tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
            }
            ItemValue::Image { sop_class, sop_instance, frame } => {
                let reference = reference_item(sop_class, sop_instance, *frame);
                put_sequence(dataset, tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
            }
            ItemValue::Point { column, row } => {
                put_text(dataset, tags::GRAPHIC_TYPE, VR::CS, "POINT");
                let data = PrimitiveValue::F32([*column, *row].as_slice().into());
                dataset.put(DataElement::new(tags::GRAPHIC_DATA, VR::FL, data));
            }
        }
        if !self.children.is_empty() {
            let items = self.children.iter().map(ContentItem::to_item).collect();
            put_sequence(dataset, tags::CONTENT_SEQUENCE, items);
        }
    }
}
