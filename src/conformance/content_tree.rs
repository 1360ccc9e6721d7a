//! The content tree that the reports have, merged from those that were written: PS3.16's template tables, as filled in.

use dicom_dictionary_std::tags;

use super::terminology::code_of;
use crate::dicom::Dataset;
use crate::dicom::attributes::{items, text};

/// Longest list of values that a row shows.
const MOST_VALUES: usize = 4;

/// A node of the merged tree.
#[derive(Debug, Default)]
pub(super) struct Node {
    relationship: String,
    value_type: String,
    /// Concept name, as `(value, scheme, "meaning")`; empty: none.
    concept: String,
    template: String,
    /// How often it stands below one parent, from and to.
    least: usize,
    most: usize,
    /// Distinct values, where they are codes, units or shapes.
    values: Vec<String>,
    children: Vec<Node>,
    /// How many nodes were merged into this one.
    merged: usize,
}

/// The trees of these documents as one.
pub(super) fn merged<'d>(documents: impl IntoIterator<Item = &'d Dataset>) -> Node {
    let mut root = Node::default();
    for document in documents {
        root.merge(document);
    }
    root
}

impl Node {
    fn merge(&mut self, item: &Dataset) {
        self.relationship = text(item, tags::RELATIONSHIP_TYPE);
        self.value_type = text(item, tags::VALUE_TYPE);
        self.concept = concept_of(item);
        self.template = template_of(item);
        let value = value_of(item, &self.value_type);
        if !value.is_empty() && !self.values.contains(&value) {
            self.values.push(value);
        }
        let mut counts = vec![0; self.children.len()];
        let mut place = 0;
        for child in items(item, tags::CONTENT_SEQUENCE) {
            let known = self.children.iter().position(|node| node.is_like(child));
            let index = known.unwrap_or_else(|| {
                // Beside what it followed, so that rows keep the document's order.
                self.children.insert(place, Node { least: usize::MAX, ..Node::default() });
                counts.insert(place, 0);
                place
            });
            place = index + 1;
            if let (Some(node), Some(count)) = (self.children.get_mut(index), counts.get_mut(index)) {
                node.merge(child);
                *count += 1;
            }
        }
        for (node, count) in self.children.iter_mut().zip(counts) {
            // What an earlier parent did not have may be missing.
            let before = if node.least == usize::MAX && self.merged > 0 { 0 } else { node.least };
            node.least = before.min(count);
            node.most = node.most.max(count);
        }
        self.merged += 1;
    }

    fn is_like(&self, item: &Dataset) -> bool {
        self.relationship == text(item, tags::RELATIONSHIP_TYPE)
            && self.value_type == text(item, tags::VALUE_TYPE)
            && self.concept == concept_of(item)
            && self.template == template_of(item)
    }

    /// One row per node: nesting, relationship, value type, concept name, how often, value.
    pub(super) fn rows(&self) -> Vec<[String; 6]> {
        let mut rows = Vec::new();
        self.add_rows(0, &mut rows);
        rows
    }

    fn add_rows(&self, depth: usize, rows: &mut Vec<[String; 6]>) {
        let times = match (depth, self.least, self.most) {
            (0, ..) => "1".to_owned(),
            (_, 1, 1) => "1".to_owned(),
            (_, least, most) => format!("{}-{}", least.min(1), if most > 1 { "n" } else { "1" }),
        };
        let value = match (self.template.as_str(), self.values.len()) {
            ("", 1..=MOST_VALUES) => self.values.join(" or "),
            ("", _) => String::new(),
            (template, _) => format!("TID {template}"),
        };
        let nesting = ">".repeat(depth);
        let (relationship, value_type) = (self.relationship.clone(), self.value_type.clone());
        rows.push([nesting, relationship, value_type, self.concept.clone(), times, value]);
        for child in &self.children {
            child.add_rows(depth + 1, rows);
        }
    }
}

fn concept_of(item: &Dataset) -> String {
    items(item, tags::CONCEPT_NAME_CODE_SEQUENCE).first().and_then(code_of).map(|c| c.to_string()).unwrap_or_default()
}

fn template_of(item: &Dataset) -> String {
    items(item, tags::CONTENT_TEMPLATE_SEQUENCE)
        .first()
        .map(|template| text(template, tags::TEMPLATE_IDENTIFIER))
        .unwrap_or_default()
}

/// What a row says about values: codes and units; words, UIDs and numbers are the study's own.
fn value_of(item: &Dataset, value_type: &str) -> String {
    let code = |dataset: &Dataset, tag| items(dataset, tag).first().and_then(code_of).map(|c| c.to_string());
    let value = match value_type {
        "CODE" => code(item, tags::CONCEPT_CODE_SEQUENCE),
        "NUM" => items(item, tags::MEASURED_VALUE_SEQUENCE)
            .first()
            .and_then(|measured| code(measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE))
            .map(|unit| format!("unit {unit}")),
        "SCOORD" => Some(text(item, tags::GRAPHIC_TYPE)),
        _ => None,
    };
    value.unwrap_or_default()
}
