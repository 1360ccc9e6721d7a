//! The structured report: TID 1500 in a Comprehensive 3D (or Comprehensive, or Enhanced) SR document.
//!
//! A file is named after the template that it implements. [`content_item`] is the tree, [`measurement_report`] its
//! root; this file adds the modules of the document around it (PS3.3 A.35, C.17).

pub mod algorithm_identification;
pub mod content_item;
pub mod image_library;
pub mod measurement_group;
pub mod measurement_report;
pub mod observer_context;

use std::collections::BTreeSet;

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::modules::elements::{encode_file, put_code, put_sequence, put_text, reference_item};
use super::modules::series_and_sop::{put_instance, put_series};
use super::{ObjectBytes, ReportError, Results};
use crate::dicom::templates::Concepts;
use crate::dicom::{Dataset, Uid};
use crate::study::ObjectKind;

/// The report as an object. Every study gets one, also one that cannot be assessed.
pub fn report_object(results: &Results<'_>) -> Result<ObjectBytes, ReportError> {
    let kind = ObjectKind::Report;
    let class = results.templates.report_class.uid();
    let uid = results.uids.instance(kind, 0);
    let images = image_library::images_of_study(results.study);

    let mut document = results.common.clone();
    let series = results.uids.series(kind);
    put_series(&mut document, "SR", &series, &results.templates.report_series, &results.content, results.revision);
    put_instance(&mut document, class, &uid, 1, &results.content);
    put_document_general(&mut document, results);
    put_predecessor(&mut document, results);
    image_library::put_evidence(&mut document, &results.study.study_uid, &images);
    measurement_report::root(results, &images).put_into(&mut document);

    let bytes = encode_file(&document, class, &uid, None)?;
    Ok((kind, Uid::parse(class)?, uid, bytes))
}

/// Says of every private coding scheme ("99...") that it is one (PS3.3 C.12.1.1.9).
fn put_private_schemes(document: &mut Dataset, concepts: &Concepts) {
    let Concepts { finding, finding_site, procedure, prevalence, language, present, absent, undetermined } = concepts;
    let schemes: BTreeSet<&str> =
        [finding, finding_site, procedure, prevalence, language, present, absent, undetermined]
            .into_iter()
            .map(|concept| concept.scheme.as_ref())
            .filter(|scheme| scheme.starts_with("99"))
            .collect();
    if schemes.is_empty() {
        return;
    }
    let items = schemes.into_iter().map(|scheme| {
        let mut item = Dataset::new_empty();
        put_text(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
        put_text(&mut item, tags::CODING_SCHEME_NAME, VR::ST, "private concepts of this fcdd installation");
        item
    });
    put_sequence(document, tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE, items.collect());
}

/// Names the report that this one replaces (PS3.3 C.17.2.1, Hierarchical SOP Instance Reference Macro C.17-3).
fn put_predecessor(document: &mut Dataset, results: &Results<'_>) {
    let Some(before) = &results.revision.predecessor else { return };
    let mut series = Dataset::new_empty();
    put_text(&mut series, tags::SERIES_INSTANCE_UID, VR::UI, before.series_uid.as_str());
    let reference = reference_item(&before.sop_class_uid, &before.sop_instance_uid, None);
    put_sequence(&mut series, tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
    let mut study = Dataset::new_empty();
    put_text(&mut study, tags::STUDY_INSTANCE_UID, VR::UI, results.study.study_uid.as_str());
    put_sequence(&mut study, tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
    put_sequence(document, tags::PREDECESSOR_DOCUMENTS_SEQUENCE, vec![study]);
}

/// SR Document Series and General (PS3.3 C.17.1, C.17.2), but for the evidence.
fn put_document_general(document: &mut Dataset, results: &Results<'_>) {
    put_sequence(document, tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
    put_text(document, tags::COMPLETION_FLAG, VR::CS, "COMPLETE");
    put_text(document, tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED");
    put_text(document, tags::PRELIMINARY_FLAG, VR::CS, "PRELIMINARY");
    put_code(document, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, &results.templates.concepts.procedure);
    put_private_schemes(document, &results.templates.concepts);
}
