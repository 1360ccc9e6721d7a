//! The annexes: what the created objects hold, what is read of received ones, codes and templates.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::attributes::{Attribute, Attributes};
use super::content_tree::merged;
use super::example::Role;
use super::markdown::Document;
use super::modules::{Iod, MODULES, Module, module_of, remark};
use super::terminology::codes;
use super::written::Written;
use super::{Subject, class_name, keyword, received};
use crate::deliver::dicom_file::DicomFile;
use crate::dicom::templates::ReportClass;

/// Longest value that is shown.
const MAX_VALUE_CHARS: usize = 64;
/// Longest list of values that is shown.
const MOST_VALUES: usize = 2;

impl Subject<'_> {
    /// The files of a study that is sent whole, as this site writes them.
    pub(super) fn sent(&self) -> impl Iterator<Item = &DicomFile> {
        self.written.iter().filter(|written| written.role == Role::Full).map(|written| &written.file)
    }

    fn of(&self, iod: Iod) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(move |written| Iod::of(written.kind) == iod)
    }

    /// The same without those that were written with other templates.
    fn as_here(&self, iod: Iod) -> impl Iterator<Item = &Written> {
        self.of(iod).filter(|written| written.role != Role::OtherTemplates)
    }
}

pub(super) fn add(document: &mut Document, subject: &Subject<'_>) {
    document.heading("8", "Annexes");
    document.heading("8.1", "IOD contents");
    created(document, subject);
    used(document);
    document.heading("8.1.3", "Attribute mapping");
    document.paragraph("See COPY in the tables of section 8.1.1.");
    document.heading("8.1.4", "Coerced and modified fields");
    document.paragraph("None: received objects are kept as they came.");
    let private = private_attributes(subject);
    document.heading("8.2", "Data dictionary of private attributes");
    if private.is_empty() {
        document.paragraph("No private attributes are written.");
    } else {
        document.table("Private attributes", &["Tag"], private.iter().map(|tag| [tag.to_string()]));
    }
    terminology(document, subject);
    document.heading("8.4", "Greyscale image consistency");
    document.paragraph("Not supported: fcdd displays nothing, and its images are in colour.");
    document.heading("8.5", "Standard extended, specialized and private SOP classes");
    document.paragraph("None: the objects are of standard SOP classes, with standard attributes.");
    document.heading("8.6", "Private transfer syntaxes");
    document.paragraph("None.");
}

/// The rows of a table of attributes.
type Rows = Vec<[String; 7]>;

fn created(document: &mut Document, subject: &Subject<'_>) {
    document.heading("8.1.1", "Created SOP instances");
    document.paragraph(
        "Written in Explicit VR Little Endian; heatmaps and cards are single-frame Secondary Capture images in RGB. \
         All of a study's results belong to the study that they were made from. The tables were found by writing \
         results of example studies and comparing them. Attributes inside the items of a sequence are marked with \
         `>`; sequences that are copied are copied with their items. A value is shown where it is always the same, or \
         comes from the configuration.",
    );
    let attributes = Iod::ALL.map(|iod| (iod, Attributes::of(subject.of(iod))));
    let rows = |module| attributes.each_ref().map(|(iod, attributes)| rows_of(attributes, module, *iod));
    let modules: Vec<(String, [Rows; 3])> = MODULES
        .into_iter()
        .map(|(module, title, section)| (format!("{title} module (PS3.3 {section})"), rows(Some(module))))
        .chain([("other attributes".to_owned(), rows(None))])
        .collect();
    let is_in_all = |[first, rest @ ..]: &[Rows; 3]| rest.iter().all(|rows| rows == first);

    document.heading("8.1.1.1", "All objects");
    for (title, [rows, ..]) in modules.iter().filter(|(_, rows)| is_in_all(rows)) {
        attributes_table(document, "All objects", title, rows);
    }
    for (number, (place, iod)) in (2..).zip(Iod::ALL.into_iter().enumerate()) {
        let mut classes: BTreeSet<&str> = subject.as_here(iod).map(|w| w.file.sop_class_uid.as_str()).collect();
        let class = classes.pop_first().unwrap_or_default();
        document.heading(&format!("8.1.1.{number}"), &format!("{}: {} ({class})", iod.name(), class_name(class)));
        if iod == Iod::Report {
            let names: Vec<String> = ReportClass::ALL.map(|c| format!("{} ({})", class_name(c.uid()), c.uid())).into();
            document.paragraph(&format!(
                "By configuration one of {}; the attributes are the same in each.",
                names.join(", ")
            ));
        }
        for (title, rows) in modules.iter().filter(|(_, rows)| !is_in_all(rows)) {
            attributes_table(document, iod.name(), title, rows.get(place).map(Vec::as_slice).unwrap_or_default());
        }
    }
}

fn attributes_table(document: &mut Document, of: &str, title: &str, rows: &[[String; 7]]) {
    if !rows.is_empty() {
        let headers = ["Attribute", "Tag", "VR", "Presence", "Source", "Value", "Remark"];
        document.table(&format!("{of}, {title}"), &headers, rows);
    }
}

fn rows_of(attributes: &Attributes, module: Option<Module>, iod: Iod) -> Rows {
    let mut rows = Vec::new();
    for (tag, attribute) in attributes.iter().filter(|(tag, _)| module_of(*tag, iod) == module) {
        add_rows(attributes, tag, attribute, 0, iod, &mut rows);
    }
    rows
}

fn add_rows(level: &Attributes, tag: Tag, attribute: &Attribute, depth: usize, iod: Iod, rows: &mut Rows) {
    let is_sequence = attribute.items.iter().next().is_some();
    let source = if is_sequence && !attribute.is_copied() { "" } else { attribute.source() };
    rows.push([
        format!("{}{}", "> ".repeat(depth), keyword(tag)),
        tag.to_string(),
        attribute.vr.map(|vr| vr.to_string()).unwrap_or_default().to_owned(),
        level.presence(attribute).term().to_owned(),
        source.to_owned(),
        if is_sequence { String::new() } else { value_of(tag, attribute) },
        remark(tag, iod, depth > 0).to_owned(),
    ]);
    if !attribute.is_copied() {
        for (tag, inner) in attribute.items.iter() {
            add_rows(&attribute.items, tag, inner, depth + 1, iod, rows);
        }
    }
}

fn value_of(tag: Tag, attribute: &Attribute) -> String {
    let values = attribute.values_here();
    let is_worth_it = values.len() == 1 || attribute.source() == "CONFIG";
    let shown = values.into_iter().map(|value| format!("`{value}`")).collect::<Vec<_>>();
    let is_short = shown.len() <= MOST_VALUES && shown.iter().all(|value| value.chars().count() <= MAX_VALUE_CHARS);
    if tag == tags::PIXEL_DATA || attribute.is_copied() || !is_worth_it || !is_short {
        return String::new();
    }
    shown.join(", ")
}

fn used(document: &mut Document) {
    document.heading("8.1.2", "Usage of attributes from received IODs");
    document.paragraph(
        "Every attribute is stored. These are read, from the functional groups of multi-frame objects as well; those \
         that are copied into results are in the tables above.",
    );
    let rows = received::USES.map(|(what_for, attributes)| {
        let names: Vec<String> = attributes.iter().map(|tag| format!("{} {tag}", keyword(*tag))).collect();
        [what_for.to_owned(), names.join(", ")]
    });
    document.table("Attributes that are read", &["What for", "Attributes"], rows);
}

fn private_attributes(subject: &Subject<'_>) -> BTreeSet<Tag> {
    fn collect(attributes: &Attributes, found: &mut BTreeSet<Tag>) {
        for (tag, attribute) in attributes.iter() {
            if tag.group() % 2 == 1 {
                found.insert(tag);
            }
            collect(&attribute.items, found);
        }
    }
    let mut found = BTreeSet::new();
    collect(&Attributes::of(&subject.written), &mut found);
    found
}

fn terminology(document: &mut Document, subject: &Subject<'_>) {
    document.heading("8.3", "Coded terminology and templates");
    let mut all = BTreeMap::new();
    for iod in Iod::ALL {
        let attributes = Attributes::of(subject.of(iod));
        for (code, sequences) in codes(subject.as_here(iod).map(|written| &written.dataset), &attributes) {
            all.entry(code).or_insert_with(BTreeSet::new).extend(sequences);
        }
    }
    document.heading("8.3.1", "Context groups and codes");
    document.paragraph(
        "These codes stand in the results. Finding, site, procedure, prevalence, language and the three answers come \
         from `concepts.toml` of the DICOM templates.",
    );
    let rows: Vec<_> = all
        .iter()
        .map(|(code, sequences)| {
            let sequences: Vec<String> = sequences.iter().map(|tag| keyword(*tag)).collect();
            [code.value.clone(), code.scheme.clone(), code.meaning.clone(), sequences.join(", ")]
        })
        .collect();
    document.table("Codes", &["Code Value", "Coding Scheme Designator", "Code Meaning", "In"], rows);
    document.heading("8.3.2", "Template specifications");
    document.paragraph(
        "The structured report is made by TID 1500 Measurement Report with TID 1204, 1001 (1002, 1004), 1600 (1602), \
         1501, 1410, 300 and 4019. A group by TID 1501 speaks of the whole study, one for all models and one for each; \
         a group by TID 1410 speaks of a region with a point on a source image, and is there only where the finding \
         is suspected. Nesting is marked with `>`.",
    );
    let tree = merged(subject.as_here(Iod::Report).map(|written| &written.dataset));
    let headers = ["Nesting", "Relationship", "Value type", "Concept name", "Times", "Value"];
    document.table("Content tree of the structured report", &headers, tree.rows());
    document.heading("8.3.3", "Private code definitions");
    let private: Vec<_> = all
        .keys()
        .filter(|code| code.scheme.starts_with("99"))
        .map(|code| [code.value.clone(), code.scheme.clone(), code.meaning.clone()])
        .collect();
    if private.is_empty() {
        document.paragraph("None.");
    } else {
        document.table("Private codes", &["Code Value", "Coding Scheme Designator", "Code Meaning"], private);
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::header::Header;

    use super::*;
    use crate::config;
    use crate::conformance::written::write_examples;
    use crate::dicom::Templates;

    #[test]
    fn every_attribute_that_is_written_has_its_module() {
        let written = write_examples(&Templates::built_in(), &config::Report::default()).unwrap();
        for object in &written {
            for element in &object.dataset {
                let tag = element.tag();
                let name = keyword(tag);
                assert!(module_of(tag, Iod::of(object.kind)).is_some(), "{tag} {name} of a {:?}", object.kind);
                assert!(!name.is_empty(), "{tag}");
            }
        }
    }
}
