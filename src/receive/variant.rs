//! How a variant in quarantine differs from the object that was first under its UID.
//!
//! Both are on stable storage when this looks, and nothing depends on what it finds but the words for the
//! administrator. It names attributes, never their values.

use std::collections::BTreeSet;
use std::path::Path;

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use crate::dicom::element_digests::element_digests;
use crate::ledger::quarantine::VariantKind;
use crate::spool::received_file::{OpenedDataset, open_dataset};

/// Attributes that are named at most.
const MAX_NAMED: usize = 8;

/// What somebody edits who corrects a patient, a study or a visit, besides groups 0010 (patient), 0032 and 0038 (visit)
/// and what an editing system adds about itself.
const DEMOGRAPHICS: [Tag; 12] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::INSTITUTION_NAME,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::INSTANCE_COERCION_DATE_TIME,
    tags::STUDY_ID,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
    tags::ORIGINAL_ATTRIBUTES_SEQUENCE,
    tags::CONTRIBUTING_EQUIPMENT_SEQUENCE,
];

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) kind: VariantKind,
    /// In words, without values.
    pub(super) text: String,
}

/// Compares two files of the spool. Both came from outside: they are walked over, never parsed.
pub(super) fn difference(first: &Path, second: &Path) -> Difference {
    let other = |text: String| Difference { kind: VariantKind::Other, text };
    let (first, second) = match (open_dataset(first), open_dataset(second)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return other(format!("not compared ({error})")),
    };
    if first.transfer_syntax != second.transfer_syntax {
        let text = format!("it came as {}, the first one as {}", second.transfer_syntax, first.transfer_syntax);
        return Difference { kind: VariantKind::TransferSyntax, text };
    }
    let digests = |opened: OpenedDataset| element_digests(opened.dataset, &opened.transfer_syntax);
    let (first, second) = match (digests(first), digests(second)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return other(format!("not compared ({error})")),
    };
    let tags: BTreeSet<&(u16, u16)> = first.keys().chain(second.keys()).collect();
    let differing: Vec<Tag> = tags
        .into_iter()
        // Group lengths follow from the rest.
        .filter(|tag| tag.1 != 0 && first.get(*tag) != second.get(*tag))
        .map(|(group, element)| Tag(*group, *element))
        .collect();
    if differing.is_empty() {
        return other("the same attributes, encoded otherwise".to_owned());
    }
    let is_demographic = |tag: &Tag| matches!(tag.group(), 0x0010 | 0x0032 | 0x0038) || DEMOGRAPHICS.contains(tag);
    let kind = if differing.iter().all(is_demographic) { VariantKind::Demographics } else { VariantKind::Other };
    let verb = if differing.len() == 1 { "differs" } else { "differ" };
    Difference { kind, text: format!("{} {verb}", names(&differing)) }
}

fn names(differing: &[Tag]) -> String {
    let name = |tag: &Tag| match StandardDataDictionary.by_tag(*tag) {
        Some(entry) => entry.alias().to_owned(),
        None => tag.to_string(),
    };
    let mut names: Vec<String> = differing.iter().take(MAX_NAMED).map(name).collect();
    if differing.len() > MAX_NAMED {
        names.push(format!("{} more", differing.len() - MAX_NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

    use super::*;

    fn file(folder: &Path, name: &str, syntax: &str, change: impl FnOnce(&mut InMemDicomObject)) -> std::path::PathBuf {
        let mut object = InMemDicomObject::from_element_iter([
            DataElement::new(tags::SOP_CLASS_UID, VR::UI, PrimitiveValue::from("1.2.840.10008.5.1.4.1.1.4")),
            DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, PrimitiveValue::from("1.2.3")),
            DataElement::new(tags::PATIENT_NAME, VR::PN, PrimitiveValue::from("Doe^Jane")),
            DataElement::new(tags::ECHO_TIME, VR::DS, PrimitiveValue::from("3.1")),
        ]);
        change(&mut object);
        let path = folder.join(name);
        let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
        object.with_meta(meta).unwrap().write_to_file(&path).unwrap();
        path
    }

    #[test]
    fn a_variant_is_called_what_it_is() {
        const LITTLE: &str = "1.2.840.10008.1.2.1";
        let folder = tempfile::tempdir().unwrap();
        let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
        let first = file(folder.path(), "first", LITTLE, |_| {});
        let renamed = file(folder.path(), "renamed", LITTLE, |o| {
            o.put(text(tags::PATIENT_NAME, VR::PN, "Roe^Jane"));
            o.put(text(tags::ACCESSION_NUMBER, VR::SH, "17"));
        });
        let found = difference(&first, &renamed);
        assert_eq!(found.kind, VariantKind::Demographics);
        assert_eq!(found.text, "AccessionNumber, PatientName differ");
        assert!(!found.text.contains("Roe"));
        let implicit = file(folder.path(), "implicit", "1.2.840.10008.1.2", |_| {});
        assert_eq!(difference(&first, &implicit).kind, VariantKind::TransferSyntax);
        let other = file(folder.path(), "other", LITTLE, |o| {
            o.put(text(tags::ECHO_TIME, VR::DS, "90"));
        });
        assert_eq!(
            difference(&first, &other),
            Difference { kind: VariantKind::Other, text: "EchoTime differs".into() }
        );
        std::fs::write(folder.path().join("rubbish"), b"no DICOM").unwrap();
        let found = difference(&first, &folder.path().join("rubbish"));
        assert!(found.kind == VariantKind::Other && found.text.starts_with("not compared"), "{found:?}");
    }
}
