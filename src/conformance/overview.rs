//! Cover page, overview, table of contents and introduction.

use std::collections::BTreeSet;

use super::markdown::Document;
use super::{Subject, class_name};
use crate::dicom::dimse::VERIFICATION;
use crate::dicom::identity;
use crate::dicom::templates::ReportClass;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn add(document: &mut Document, subject: &Subject<'_>) {
    cover(document, subject);
    services(document, subject);
    document.heading("2", "Table of contents");
    document.contents();
    introduction(document);
}

fn cover(document: &mut Document, subject: &Subject<'_>) {
    document.title(&format!("DICOM Conformance Statement of fcdd {VERSION}"));
    let of = if subject.site.is_configured {
        "the configuration of one installation"
    } else {
        "the default configuration; `fcdd conformance --config FILE` prints that of an installation"
    };
    document.list([
        format!("Product: {} by {}, version {VERSION}", identity::MODEL_NAME, identity::MANUFACTURER),
        format!("Printed by `fcdd conformance` for {of}"),
        "**Research use only. fcdd is not a medical device, and every object that it writes says so.**".to_owned(),
    ]);
}

fn services(document: &mut Document, subject: &Subject<'_>) {
    document.heading("1", "Conformance statement overview");
    document.paragraph(
        "fcdd receives MR studies by C-STORE, looks for focal cortical dysplasia in their T1 and FLAIR series, and \
         sends its results (a heatmap series per sequence and an overview card as Secondary Capture, and a structured \
         report by TID 1500) to the destinations of its configuration by C-STORE.",
    );
    let accepted: BTreeSet<&str> = subject.site.config.receive.sop_classes.iter().map(String::as_str).collect();
    let sent: BTreeSet<&str> = subject.sent().map(|file| file.sop_class_uid.as_str()).collect();
    let yes_or_no = |is: bool| if is { "Yes" } else { "No" }.to_owned();
    let row = |uid: &str, is_user, is_provider| {
        [class_name(uid).to_owned(), uid.to_owned(), yes_or_no(is_user), yes_or_no(is_provider)]
    };
    let storage = accepted.union(&sent).map(|uid| row(uid, sent.contains(uid), accepted.contains(uid)));
    let rows: Vec<_> = storage.chain([row(VERIFICATION, true, true)]).collect();
    let headers = ["SOP class", "SOP Class UID", "User of service (SCU)", "Provider of service (SCP)"];
    document.table("Network services", &headers, rows);
    let others: Vec<String> = ReportClass::ALL
        .iter()
        .filter(|class| **class != subject.site.templates.report_class)
        .map(|class| format!("{} ({})", class_name(class.uid()), class.uid()))
        .collect();
    document.paragraph(&format!(
        "A site may have the structured report written as {} instead (`sop-class` in `report.toml` of its DICOM \
         templates): then that class is the one that is sent.",
        others.join(" or ")
    ));
    document.paragraph(
        "Not supported: Query/Retrieve, Storage Commitment, Modality Worklist, Performed Procedure Step, Print, media \
         interchange, DICOMweb, TLS.",
    );
}

fn introduction(document: &mut Document) {
    document.heading("3", "Introduction");
    document.heading("3.1", "Revision history");
    document.paragraph(&format!(
        "This statement is printed by fcdd {VERSION} itself and describes that version and no other. The same version \
         with the same configuration and DICOM templates prints the same text."
    ));
    document.heading("3.2", "Audience");
    document.paragraph("Administrators of PACS and networks, and integrators who connect fcdd to them.");
    document.heading("3.3", "Remarks");
    document.paragraph(
        "The sections stand in the order of the template in DICOM PS3.2 (annex A of its edition 2020a). A conformance statement makes a first comparison \
         possible; it does not replace a test with the equipment in question. Configuration keys are written as \
         `section.key`; the commented example `config/fcdd.toml` shows all of them.",
    );
    document.heading("3.4", "Terms, definitions and abbreviations");
    document.list([
        "AE, SCU, SCP, SOP, IOD, PDU, PDV, UID: as in the DICOM standard",
        "Destination: an application entity that results are sent to (`[destination.NAME]`)",
        "Spool: the folder on stable storage that received objects and results lie in",
        "COPY, CONFIG, AUTO: a value that is the source image's, the configuration's, or made by fcdd",
        "ALWAYS, VNAP, ANAP, EMPTY: always there with a value; there, but the value may be missing; not always there; \
         always there without a value",
    ]);
    document.heading("3.5", "References");
    document.paragraph("NEMA PS3 / ISO 12052, Digital Imaging and Communications in Medicine (DICOM) Standard.");
}
