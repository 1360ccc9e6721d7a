//! The application entity that delivers: Storage SCU and Verification SCU.

use std::collections::BTreeSet;

use super::markdown::Document;
use super::receiving::identifying;
use super::{Subject, class_name, syntax_name};
use crate::deliver::association::{Association, MAX_CONTEXTS, MAX_INCOMING_PDU, Offer};
use crate::deliver::outbox::{MAX_OBJECTS_PER_ASSOCIATION, MAX_PASSING_IN_A_ROW};
use crate::deliver::scu;
use crate::deliver::treatment::{ANY_OTHER_STATUS, STORE_STATUSES, Treatment};
use crate::dicom::dimse::{Status, VERIFICATION};

/// What can happen instead of a status.
const EVENTS: [(&str, Treatment); 6] = [
    ("the connection cannot be made, or breaks", Treatment::TriedAgain),
    ("the association is rejected, permanently or transiently", Treatment::TriedAgain),
    ("the association is aborted by the peer", Treatment::TriedAgain),
    ("no answer comes within `timeout_s`, or one that the protocol does not allow", Treatment::TriedAgain),
    ("no presentation context is accepted for the object's SOP class", Treatment::GivenUp),
    ("the object's file is gone or damaged", Treatment::GivenUp),
];

pub(super) fn add(document: &mut Document, subject: &Subject<'_>) {
    let offers = scu::offers(subject.sent());
    document.heading("4.2.2", "DELIVER: Storage SCU and Verification SCU");
    document.heading("4.2.2.1", "SOP classes");
    document.paragraph("DELIVER provides Standard Conformance to the following SOP classes as an SCU.");
    let classes: BTreeSet<&str> = offers.iter().map(|offer| offer.sop_class_uid.as_str()).collect();
    let rows: Vec<_> =
        classes.into_iter().chain([VERIFICATION]).map(|uid| [class_name(uid).to_owned(), uid.to_owned()]).collect();
    document.table("SOP classes sent", &["SOP class", "SOP Class UID"], rows);
    policies(document);
    document.heading("4.2.2.3", "Association initiation policy");
    results(document, &offers);
    echo(document);
    by_hand(document);
    document.heading("4.2.2.4", "Association acceptance policy");
    document.paragraph("DELIVER accepts no associations.");
}

fn policies(document: &mut Document) {
    document.heading("4.2.2.2", "Association policies");
    document.heading("4.2.2.2.1", "General");
    document.paragraph("The application context is DICOM's, as for RECEIVE.");
    document.heading("4.2.2.2.2", "Number of associations");
    document.paragraph(
        "One association at a time to each destination; the destinations know nothing of each other. It carries what \
         is due of one study, is released after the last object, and is not kept open between studies.",
    );
    document.heading("4.2.2.2.3", "Asynchronous nature");
    document.paragraph("One transaction at a time: an asynchronous operations window is not proposed.");
    document.heading("4.2.2.2.4", "Implementation identifying information");
    identifying(document, "DELIVER", MAX_INCOMING_PDU);
}

fn results(document: &mut Document, offers: &BTreeSet<Offer>) {
    document.heading("4.2.2.3.1", "Results are delivered");
    document.heading("4.2.2.3.1.1", "Description and sequencing");
    document.paragraph(&format!(
        "After a study was analyzed, its results are sent to each destination whose rules select the study \
         (`only_from_ae`, `only_study_description`) and the kind of object (`objects`): heatmaps first, the report \
         last, at most {MAX_OBJECTS_PER_ASSOCIATION} objects in one association. Results of demonstration models go \
         to loopback addresses only, unless `allow_untrained` is set."
    ));
    document.paragraph(&format!(
        "What is to be tried again waits `retry_s`, then twice as long each time up to `max_retry_s`, without end. A \
         destination that refuses {MAX_PASSING_IN_A_ROW} objects in a row for now is left alone for a while. A \
         delivery survives a restart of fcdd; an object whose answer was lost is sent again under the same UID."
    ));
    document.heading("4.2.2.3.1.2", "Proposed presentation contexts");
    document.paragraph(
        "One presentation context for each SOP class in each transfer syntax, in this order, for the SOP classes of \
         the objects that are due. Role SCU, no extended negotiation.",
    );
    offers_table(document, "Presentation contexts proposed for results", offers);
    document.paragraph(
        "An object is sent as it was written, in Explicit VR Little Endian, where that is accepted, and rewritten as \
         Implicit VR Little Endian otherwise. Nothing is compressed.",
    );
    document.heading("4.2.2.3.1.3", "SOP specific conformance for storage SOP classes");
    let rows: Vec<_> = STORE_STATUSES
        .iter()
        .map(|class| {
            let [first, last] = [class.statuses.start(), class.statuses.end()].map(|status| Status(*status));
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            [range, class.name.to_owned(), class.treatment.words().to_owned()]
        })
        .chain([["any other".to_owned(), String::new(), ANY_OTHER_STATUS.words().to_owned()]])
        .collect();
    document.table("Treatment of C-STORE statuses", &["Status", "Meaning", "The object is"], rows);
    let rows = EVENTS.map(|(event, treatment)| [event.to_owned(), treatment.words().to_owned()]);
    document.table("Treatment of other events", &["Event", "The object is"], rows);
    document.paragraph(
        "Storage Commitment is not asked for: what was answered with success or a warning counts as delivered.",
    );
}

fn echo(document: &mut Document) {
    document.heading("4.2.2.3.2", "An operator asks whether a peer answers");
    document.paragraph("`fcdd echo AET@HOST:PORT` sends one C-ECHO in an association of its own.");
    offers_table(document, "Presentation contexts proposed for Verification", &Association::echo_offers());
    document.paragraph("The status 0000H means that the peer answers; any other is shown to the operator.");
}

fn by_hand(document: &mut Document) {
    document.heading("4.2.2.3.3", "An operator sends files");
    document.paragraph(&format!(
        "`fcdd send PATH... --to AET@HOST:PORT` sends the DICOM files that it is given, of whatever SOP class, each in \
         its own transfer syntax, and those in Explicit VR Little Endian in Implicit VR Little Endian where nothing \
         else is accepted; with one presentation context per SOP class and transfer syntax, at most {MAX_CONTEXTS} in \
         an association. Statuses are classed as above; nothing is tried again."
    ));
}

fn offers_table(document: &mut Document, caption: &str, offers: &BTreeSet<Offer>) {
    let rows: Vec<_> = offers
        .iter()
        .map(|Offer { sop_class_uid, transfer_syntax }| {
            [
                class_name(sop_class_uid).to_owned(),
                sop_class_uid.clone(),
                syntax_name(transfer_syntax).to_owned(),
                transfer_syntax.clone(),
            ]
        })
        .collect();
    document.table(caption, &["SOP class", "SOP Class UID", "Transfer syntax", "Transfer Syntax UID"], rows);
}
