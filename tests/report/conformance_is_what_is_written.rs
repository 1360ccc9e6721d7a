//! The annexes of the conformance statement against results that the writers make of other studies than those that
//! the statement was found with: every attribute, every content item and every code that is written is listed, and
//! what is listed as always there is always there. And the document itself is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dicom_core::Tag;
use dicom_core::header::Header;
use dicom_dictionary_std::tags;
use fcdd::config;
use fcdd::dicom::{Dataset, Templates};
use fcdd::report::render;
use fcdd::study::{ObjectKind, ReportReference, Revision};

use crate::report_fixture::*;
use crate::statement::{Row, Statement};

/// A result object and the image that its attributes are copied from.
struct Written {
    kind: ObjectKind,
    dataset: Dataset,
    source: Dataset,
}

/// The results of the fixture's studies.
fn written(folder: &Path) -> Vec<Written> {
    let plain = study(folder, Acquisition::Axial, Acquisition::Sagittal);
    let no_volumes = unassessable(plain.clone());
    let no_frame_of_reference = {
        let other = folder.join("bare");
        std::fs::create_dir_all(&other).unwrap();
        let mut study = study_with(&other, Acquisition::Oblique, Acquisition::Axial, &|dataset| {
            dataset.remove_element(tags::SPECIFIC_CHARACTER_SET);
            dataset.remove_element(tags::PATIENT_NAME);
        });
        for stack in &mut study.stacks {
            std::sync::Arc::make_mut(&mut stack.header).remove_element(tags::FRAME_OF_REFERENCE_UID);
        }
        study
    };
    let uid = |text: &str| fcdd::dicom::Uid::parse(text).unwrap();
    let predecessor = ReportReference {
        series_uid: uid("1.2.3.4"),
        sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.88.34"),
        sop_instance_uid: uid("1.2.3.4.1"),
    };
    let second_revision = Revision { number: 2, predecessor: Some(predecessor) };
    let studies = [
        (plain.clone(), suspected(&plain), Revision::first()),
        (plain.clone(), suspected_at_a_site(&plain), Revision::first()),
        (plain.clone(), not_suspected(&plain), Revision::first()),
        (plain.clone(), untrained(&plain), Revision::first()),
        (plain.clone(), not_suspected(&plain), second_revision),
        (no_frame_of_reference.clone(), not_suspected(&no_frame_of_reference), Revision::first()),
        (no_volumes.0, no_volumes.1, Revision::first()),
    ];
    let mut all = Vec::new();
    for (number, (study, analysis, revision)) in studies.into_iter().enumerate() {
        let out = folder.join(format!("results-{number}"));
        std::fs::create_dir_all(&out).unwrap();
        let report = config::Report::default();
        let objects = render(&study, &analysis, &Templates::built_in(), &report, &revision, &out).unwrap();
        for object in objects {
            let dataset = open(&object.path).into_inner();
            let slice = items(&dataset, tags::SOURCE_IMAGE_SEQUENCE).first();
            let slice = slice.map(|item| text(item, tags::REFERENCED_SOP_INSTANCE_UID));
            let files = study.stacks.iter().filter_map(|stack| stack.volume.as_ref()).flat_map(|v| &v.slices);
            let file = slice.and_then(|uid| files.clone().find(|s| s.sop_instance_uid.as_str() == uid));
            let source = match file {
                Some(slice) => open(&slice.path).into_inner(),
                None => (*study.header).clone(),
            };
            all.push(Written { kind: object.kind, dataset, source });
        }
    }
    all
}

/// The lines about one kind of object, top level and nested, by path.
fn listed(statement: &Statement, kind: ObjectKind) -> BTreeMap<Vec<String>, Row> {
    let own = match kind {
        ObjectKind::HeatmapT1 | ObjectKind::HeatmapFlair => "Heatmap, ",
        ObjectKind::Card => "Card, ",
        ObjectKind::Report => "Structured report, ",
    };
    let mut listed = BTreeMap::new();
    for (caption, rows) in statement.tables() {
        if !caption.starts_with("All objects, ") && !caption.starts_with(own) {
            continue;
        }
        let mut path: Vec<String> = Vec::new();
        for row in rows {
            let depth = row.cell("Attribute").matches("> ").count();
            path.truncate(depth);
            path.push(row.cell("Tag").to_owned());
            assert_eq!(path.len(), depth + 1, "{row:?}");
            assert!(listed.insert(path.clone(), row).is_none(), "{path:?} is listed twice");
        }
    }
    listed
}

/// Compares a dataset, or an item, with the lines below `path`.
fn compare(written: &Written, dataset: &Dataset, path: &[String], listed: &BTreeMap<Vec<String>, Row>) {
    let mut present = BTreeSet::new();
    for element in dataset {
        let mut path = path.to_vec();
        path.push(element.tag().to_string());
        let row = listed.get(&path).unwrap_or_else(|| panic!("{path:?} of a {:?} is not listed", written.kind));
        assert_eq!(element.vr().to_string(), row.cell("VR"), "{path:?}");
        let value = element.to_str().map(|v| v.trim_matches(['\0', ' ']).to_owned()).unwrap_or_default();
        let is_copied = row.cell("Source") == "COPY";
        if is_copied && path.len() == 1 {
            assert_copied(element.tag(), dataset, &written.source);
        }
        let values: Vec<&str> = row.cell("Value").split("`, `").map(|v| v.trim_matches('`')).collect();
        let has_items = element.items().is_some_and(|items| !items.is_empty());
        match row.cell("Presence") {
            "EMPTY" => assert!(value.is_empty() && !has_items, "{path:?}: {value:?}"),
            "ALWAYS" => assert!(!value.is_empty() || has_items || element.tag() == tags::PIXEL_DATA, "{path:?}"),
            "VNAP" | "ANAP" => {}
            other => panic!("{other} of {path:?}"),
        }
        if values != [""] {
            assert!(values.contains(&value.as_str()), "{path:?}: {value:?}, listed are {values:?}");
        }
        if !is_copied && element.tag() != tags::CONTENT_SEQUENCE {
            for item in element.items().unwrap_or_default() {
                compare(written, item, &path, listed);
            }
        }
        present.insert(path);
    }
    let of_this_level = listed.iter().filter(|(p, _)| p.len() == path.len() + 1 && p.starts_with(path));
    for (path, row) in of_this_level.filter(|(_, row)| row.cell("Presence") != "ANAP") {
        assert!(present.contains(path), "{row:?} is not in a {:?}", written.kind);
    }
}

fn assert_copied(tag: Tag, dataset: &Dataset, source: &Dataset) {
    let numbers = |dataset: &Dataset| -> Option<Vec<f64>> { dataset.element(tag).ok()?.to_multi_float64().ok() };
    match (numbers(dataset), numbers(source)) {
        (Some(own), Some(theirs)) => assert_eq!(own, theirs, "{tag}"),
        _ => assert_eq!(text(dataset, tag), text(source, tag), "{tag}"),
    }
}

#[test]
fn every_attribute_is_listed_and_what_is_always_there_is() {
    let statement = Statement::printed::<&str>([]);
    let folder = tempfile::tempdir().unwrap();
    let written = written(folder.path());
    for kind in ObjectKind::ALL {
        let listed = listed(&statement, kind);
        let objects: Vec<&Written> = written.iter().filter(|object| object.kind == kind).collect();
        assert!(objects.len() >= 6, "{kind:?}");
        for object in objects {
            compare(object, &object.dataset, &[], &listed);
            assert!(object.dataset.iter().all(|element| element.tag().group() % 2 == 0), "no private attributes");
        }
    }
    assert!(statement.text.contains("No private attributes are written."));
}

/// One line of the content tree with those below it.
struct Node {
    row: Row,
    children: Vec<Node>,
}

fn tree(rows: &[Row], depth: usize) -> Vec<Node> {
    let level = |row: &Row| row.cell("Nesting").len();
    let mut nodes = Vec::new();
    let mut rest = rows;
    while let Some((first, after)) = rest.split_first() {
        assert_eq!(level(first), depth);
        let below = after.iter().position(|row| level(row) <= depth).unwrap_or(after.len());
        let (children, others) = after.split_at(below);
        nodes.push(Node { row: first.clone(), children: tree(children, depth + 1) });
        rest = others;
    }
    nodes
}

fn code(item: Option<&Dataset>) -> String {
    let Some(item) = item else { return String::new() };
    let [value, scheme, meaning] =
        [tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR, tags::CODE_MEANING].map(|tag| text(item, tag));
    format!("({value}, {scheme}, {meaning:?})")
}

impl Node {
    fn is_for(&self, item: &Dataset) -> bool {
        let template = items(item, tags::CONTENT_TEMPLATE_SEQUENCE).first();
        let template = template.map(|t| format!("TID {}", text(t, tags::TEMPLATE_IDENTIFIER))).unwrap_or_default();
        let listed_template = if self.row.cell("Value").starts_with("TID ") { self.row.cell("Value") } else { "" };
        self.row.cell("Relationship") == text(item, tags::RELATIONSHIP_TYPE)
            && self.row.cell("Value type") == text(item, tags::VALUE_TYPE)
            && self.row.cell("Concept name") == code(items(item, tags::CONCEPT_NAME_CODE_SEQUENCE).first())
            && listed_template == template
    }

    fn compare(&self, item: &Dataset) {
        let listed = self.row.cell("Value");
        let measured = items(item, tags::MEASURED_VALUE_SEQUENCE).first();
        let value = match self.row.cell("Value type") {
            "CODE" => code(items(item, tags::CONCEPT_CODE_SEQUENCE).first()),
            "NUM" => {
                format!("unit {}", code(measured.and_then(|m| items(m, tags::MEASUREMENT_UNITS_CODE_SEQUENCE).first())))
            }
            "SCOORD" => text(item, tags::GRAPHIC_TYPE),
            _ => String::new(),
        };
        if !value.is_empty() {
            assert!(listed.split(" or ").any(|one| one == value), "{value} is not listed: {:?}", self.row);
        }
        let below = items(item, tags::CONTENT_SEQUENCE);
        let mut counts = vec![0; self.children.len()];
        for child in below {
            let place = self.children.iter().position(|node| node.is_for(child));
            let place = place.unwrap_or_else(|| panic!("not listed below {:?}: {child:?}", self.row));
            counts[place] += 1;
            self.children[place].compare(child);
        }
        for (node, count) in self.children.iter().zip(counts) {
            let times = node.row.cell("Times");
            let (least, most) = times.split_once('-').unwrap_or((times, times));
            let most = if most == "n" { usize::MAX } else { most.parse().unwrap() };
            assert!((least.parse().unwrap()..=most).contains(&count), "{count} times: {:?}", node.row);
        }
    }
}

#[test]
fn every_content_item_is_listed_as_often_as_it_comes() {
    let statement = Statement::printed::<&str>([]);
    let roots = tree(&statement.table("Content tree of the structured report"), 0);
    assert_eq!(roots.len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let reports: Vec<Written> =
        written(folder.path()).into_iter().filter(|object| object.kind == ObjectKind::Report).collect();
    for report in &reports {
        assert!(roots[0].is_for(&report.dataset));
        roots[0].compare(&report.dataset);
    }
    assert_eq!(reports.len(), 7);
}

fn collect_codes(dataset: &Dataset, found: &mut BTreeSet<(String, String, String)>) {
    for element in dataset {
        for item in element.items().unwrap_or_default() {
            let [value, scheme, meaning] =
                [tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR, tags::CODE_MEANING].map(|tag| text(item, tag));
            if !value.is_empty() {
                found.insert((value, scheme, meaning));
            }
            collect_codes(item, found);
        }
    }
}

#[test]
fn every_code_that_is_written_or_known_is_listed() {
    let statement = Statement::printed::<&str>([]);
    let listed: BTreeSet<(String, String, String)> = statement
        .table("Codes")
        .iter()
        .map(|row| {
            ["Code Value", "Coding Scheme Designator", "Code Meaning"].map(|header| row.cell(header).to_owned()).into()
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let mut found = BTreeSet::new();
    for object in written(folder.path()) {
        collect_codes(&object.dataset, &mut found);
    }
    let missing: Vec<_> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");

    // The source text is the only list of the fixed concepts.
    let source = include_str!("../../src/dicom/codes.rs");
    let concept = regex::Regex::new(r#"Concept = (?:dcm|sct|Concept::fixed)\("([^"]+)""#).unwrap();
    let known: Vec<&str> = concept.captures_iter(source).map(|c| c.get(1).unwrap().as_str()).collect();
    assert_eq!(known.len(), source.matches(": Concept = ").count(), "every constant is found");
    for value in known {
        assert!(listed.iter().any(|(listed, ..)| listed == value), "{value} of src/dicom/codes.rs");
    }
}

#[test]
fn the_document_is_in_order_and_sound() {
    let statement = Statement::printed::<&str>([]);
    // PS3.2's sections, in its order.
    let expected = [
        "# DICOM Conformance Statement of fcdd",
        "## 1 Conformance statement overview",
        "## 2 Table of contents",
        "## 3 Introduction",
        "## 4 Networking",
        "### 4.1 Implementation model",
        "#### 4.1.1 Application data flow",
        "#### 4.1.2 Functional definition of AEs",
        "#### 4.1.3 Sequencing of real-world activities",
        "### 4.2 AE specifications",
        "#### 4.2.1 RECEIVE",
        "##### 4.2.1.1 SOP classes",
        "##### 4.2.1.2 Association policies",
        "##### 4.2.1.3 Association initiation policy",
        "##### 4.2.1.4 Association acceptance policy",
        "#### 4.2.2 DELIVER",
        "##### 4.2.2.1 SOP classes",
        "##### 4.2.2.2 Association policies",
        "##### 4.2.2.3 Association initiation policy",
        "##### 4.2.2.4 Association acceptance policy",
        "### 4.3 Network interfaces",
        "### 4.4 Configuration",
        "## 5 Media interchange",
        "## 6 Support of character sets",
        "## 7 Security",
        "## 8 Annexes",
        "### 8.1 IOD contents",
        "### 8.2 Data dictionary of private attributes",
        "### 8.3 Coded terminology and templates",
        "### 8.4 Greyscale image consistency",
        "### 8.5 Standard extended, specialized and private SOP classes",
        "### 8.6 Private transfer syntaxes",
    ];
    let mut headings = statement.text.lines().filter(|line| line.starts_with('#'));
    for heading in expected {
        assert!(headings.any(|line| line.starts_with(heading)), "{heading} is missing or out of order");
    }
    // Every link of the contents has its heading, as a Git forge makes anchors.
    let anchors: BTreeSet<String> = statement
        .text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c)).collect::<String>())
        .map(|title| title.replace(' ', "-"))
        .collect();
    let links = regex::Regex::new(r"\]\(#([^)]+)\)").unwrap();
    let links: Vec<&str> = links.captures_iter(&statement.text).map(|c| c.get(1).unwrap().as_str()).collect();
    assert!(links.len() > 20);
    for link in links {
        assert!(anchors.contains(link), "{link}");
    }
    // Tables are well formed (the parser looks), numbered, and not empty.
    let tables = statement.tables();
    assert_eq!(tables.len(), statement.text.matches("**Table ").count());
    assert!(tables.iter().all(|(_, rows)| !rows.is_empty()));
    // The same again is the same text, wherever the clock stands.
    assert_eq!(statement.text, Statement::printed::<&str>([]).text);
}

#[test]
fn every_key_of_the_network_has_its_line() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(repository.join("config/fcdd.toml")).unwrap();
    // The destination is commented out in the example.
    let example = example.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest)
            if rest.starts_with("[destination") || rest.split(" = ").next().is_some_and(|k| !k.contains(' ')) =>
        {
            rest.to_owned()
        }
        _ => line.to_owned(),
    });
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in example {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            section = name.replace("destination.pacs", "destination.NAME");
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.is_empty()
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.insert(format!("`{section}.{key}`"));
        }
    }
    let statement = Statement::printed::<&str>([]);
    let mut listed: BTreeSet<String> = statement.column("Parameters of RECEIVE", "Key").into_iter().collect();
    listed.extend(statement.column("Parameters of each destination of DELIVER", "Key"));
    let of_the_network = |key: &&String| key.starts_with("`receive.") || key.starts_with("`destination.");
    let keys: BTreeSet<&String> = keys.iter().filter(of_the_network).collect();
    assert!(keys.len() >= 26, "{keys:?}");
    for key in keys {
        assert!(listed.contains(key), "{key}");
    }
}
