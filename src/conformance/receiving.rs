//! The application entity that receives: Storage SCP and Verification SCP.

use dicom_ul::pdu::{AbortRQSource, AssociationRJResult, AssociationRJSource, Pdu, UserVariableItem};

use super::markdown::Document;
use super::{ConformanceError, Subject, class_name};
use crate::config;
use crate::deliver::treatment::class_of;
use crate::dicom::dimse::{Status, VERIFICATION};
use crate::dicom::identity::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::dicom::upper_layer::{APPLICATION_CONTEXT, body_of, our_user_information};
use crate::receive::{AbortCause, ContextAnswer, OtherAnswer, RefusalCause, RejectionCause, Stored, TRANSFER_SYNTAXES};

pub(super) fn add(document: &mut Document, subject: &Subject<'_>) -> Result<(), ConformanceError> {
    let receive = &subject.site.config.receive;
    document.heading("4.2.1", "RECEIVE: Storage SCP and Verification SCP");
    document.heading("4.2.1.1", "SOP classes");
    document.paragraph("RECEIVE provides Standard Conformance to the following SOP classes as an SCP.");
    let rows: Vec<_> = accepted_classes(receive).map(|uid| [class_name(uid).to_owned(), uid.to_owned()]).collect();
    document.table("SOP classes accepted", &["SOP class", "SOP Class UID"], rows);
    document.paragraph(
        "The storage SOP classes are those of `receive.sop_classes`. All of them are stored; only MR images are \
         analyzed.",
    );
    policies(document, receive);
    document.heading("4.2.1.3", "Association initiation policy");
    document.paragraph("RECEIVE initiates no associations.");
    document.heading("4.2.1.4", "Association acceptance policy");
    document.heading("4.2.1.4.1", "A study is received");
    contexts(document);
    verification(document);
    storage(document);
    rejections(document)?;
    aborts(document)
}

/// Every abstract syntax that is accepted.
fn accepted_classes(receive: &config::Receive) -> impl Iterator<Item = &str> {
    receive.sop_classes.iter().map(String::as_str).chain([VERIFICATION])
}

fn policies(document: &mut Document, receive: &config::Receive) {
    document.heading("4.2.1.2", "Association policies");
    document.heading("4.2.1.2.1", "General");
    document.paragraph(&format!("The application context is DICOM's, {APPLICATION_CONTEXT}."));
    document.heading("4.2.1.2.2", "Number of associations");
    let counts = [
        ("simultaneous associations", "`receive.max_associations`", receive.max_associations),
        (
            "simultaneous associations from one address",
            "`receive.max_associations_per_peer`",
            receive.max_associations_per_peer,
        ),
    ];
    let rows = counts.map(|(what, key, n)| [format!("Maximum number of {what}"), key.to_owned(), n.to_string()]);
    document.table("Number of associations as an acceptor", &["What", "Key", "Value"], rows);
    document.paragraph(
        "An association no longer counts once its peer can read that it is over (A-RELEASE-RP, A-ASSOCIATE-RJ, \
         A-ABORT): a sender that opens one association after the other needs one.",
    );
    document.heading("4.2.1.2.3", "Asynchronous nature");
    document.paragraph(
        "One transaction at a time in an association: an asynchronous operations window is not accepted. An \
         association may send any number of objects of any number of studies, one after the other.",
    );
    document.heading("4.2.1.2.4", "Implementation identifying information");
    identifying(document, "RECEIVE", receive.max_pdu_bytes);
    document.paragraph(
        "SCP/SCU role selection, SOP class extended negotiation, common extended negotiation, asynchronous operations \
         and user identity are not negotiated: such items of a request are ignored and not answered.",
    );
}

/// The user information items that we send.
pub(super) fn identifying(document: &mut Document, ae: &str, max_pdu_bytes: u32) {
    let rows: Vec<[String; 2]> = our_user_information(max_pdu_bytes)
        .iter()
        .filter_map(|item| match item {
            UserVariableItem::MaxLength(bytes) => Some(["Maximum Length Received".to_owned(), bytes.to_string()]),
            UserVariableItem::ImplementationClassUID(uid) => Some(["Implementation Class UID".to_owned(), uid.clone()]),
            UserVariableItem::ImplementationVersionName(name) => {
                Some(["Implementation Version Name".to_owned(), name.clone()])
            }
            _ => None,
        })
        .collect();
    document.table(&format!("User information that {ae} sends"), &["Item", "Value"], rows);
    document.paragraph(&format!(
        "The Implementation Class UID is the same in every version; the Implementation Version Name of this one is \
         {IMPLEMENTATION_VERSION_NAME}. Files that fcdd writes carry {IMPLEMENTATION_CLASS_UID} in their file meta \
         information."
    ));
}

fn contexts(document: &mut Document) {
    document.paragraph(
        "Any number of presentation contexts may be proposed. Each of the SOP classes above is accepted in each of the \
         following transfer syntaxes, in the role SCP, without extended negotiation. Nothing is decoded on receipt: a \
         series in a transfer syntax that fcdd cannot decode later is stored, and its verdict says so.",
    );
    let rows = TRANSFER_SYNTAXES.map(|(uid, name)| [name.to_owned(), uid.to_owned()]);
    document.table("Transfer syntaxes accepted", &["Transfer syntax", "Transfer Syntax UID"], rows);
    document.paragraph(
        "Where a presentation context proposes several transfer syntaxes, the first one that is accepted is taken: the \
         sender knows best what it has. Where several contexts are proposed for one SOP class, all of them are \
         accepted.",
    );
    let rows = ContextAnswer::ALL
        .map(|answer| [(answer.reason() as u8).to_string(), reason_words(answer).to_owned(), answer.when().to_owned()]);
    document.table("Results of presentation contexts", &["Result", "Meaning", "When"], rows);
}

fn reason_words(answer: ContextAnswer) -> &'static str {
    match answer {
        ContextAnswer::Accepted => "acceptance",
        ContextAnswer::UnknownSopClass => "abstract-syntax-not-supported",
        ContextAnswer::UnknownTransferSyntaxes => "transfer-syntaxes-not-supported",
    }
}

/// A status with the standard's name for it.
fn status_cells(status: Status) -> [String; 2] {
    [status.to_string(), class_of(status).map(|class| class.name).unwrap_or_default().to_owned()]
}

fn verification(document: &mut Document) {
    document.heading("4.2.1.4.1.1", "SOP specific conformance for Verification, and for services that are not offered");
    let rows = OtherAnswer::ALL.map(|answer| {
        let [status, name] = status_cells(answer.status());
        [status, name, answer.when().to_owned()]
    });
    document.table("Statuses of other responses", &["Status", "Meaning", "When"], rows);
}

fn storage(document: &mut Document) {
    document.heading("4.2.1.4.1.2", "SOP specific conformance for storage SOP classes");
    document.paragraph(
        "Level of conformance: 2 (Full). Every attribute is stored, private ones included; the data set is kept byte \
         for byte in the transfer syntax that it came in. Nothing is coerced.",
    );
    let stored = Stored::ALL.map(|stored| (Stored::STATUS, stored.when()));
    let refused = RefusalCause::ALL.map(|cause| (cause.status(), cause.when()));
    let rows: Vec<_> = stored
        .into_iter()
        .chain(refused)
        .map(|(status, when)| {
            let [status, name] = status_cells(status);
            [status, name, when.to_owned()]
        })
        .collect();
    document.table("Statuses of C-STORE responses", &["Status", "Meaning", "When"], rows);
    document.paragraph(
        "A response with another status than 0000H carries an Error Comment (0000,0902) of at most 64 characters. The \
         association goes on after it. The response is sent after the whole data set was received.",
    );
    document.paragraph(
        "Stored objects stay until their study is dealt with: a study that is not for analysis leaves the spool after \
         `spool.keep_not_for_analysis_days`. fcdd is no archive and offers no way to query or retrieve objects.",
    );
}

fn rejections(document: &mut Document) -> Result<(), ConformanceError> {
    document.heading("4.2.1.4.1.3", "Rejected associations");
    document.paragraph("The first line that applies is what is answered.");
    let mut rows = Vec::new();
    for cause in RejectionCause::ALL {
        let answer = cause.answer();
        let result = match answer.result {
            AssociationRJResult::Permanent => "rejected-permanent",
            AssociationRJResult::Transient => "rejected-transient",
        };
        let source = match answer.source {
            AssociationRJSource::ServiceUser(_) => "service-user",
            AssociationRJSource::ServiceProviderASCE(_) => "service-provider, ACSE",
            AssociationRJSource::ServiceProviderPresentation(_) => "service-provider, presentation",
        };
        let reason = answer.source.to_string();
        let number = numbers_of::<4>(&Pdu::AssociationRJ(answer))?;
        rows.push([
            format!("{} ({result})", number[1]),
            format!("{} ({source})", number[2]),
            format!("{} ({reason})", number[3]),
            cause.when().to_owned(),
        ]);
    }
    document.table("Rejected associations", &["Result", "Source", "Reason", "When"], rows);
    document.paragraph(
        "A connection from an address that is not among `receive.allowed_addresses`, where that is set, is closed \
         without a word. So is one beyond the number of connections that may wait for their transient reject (see \
         section 4.4.2).",
    );
    Ok(())
}

fn aborts(document: &mut Document) -> Result<(), ConformanceError> {
    document.heading("4.2.1.4.1.4", "Aborted associations");
    document.paragraph(
        "An object whose data set had not come whole is discarded; what was answered with 0000H before stays stored.",
    );
    let mut rows = Vec::new();
    for cause in AbortCause::ALL {
        let source = cause.source();
        let words = match &source {
            AbortRQSource::ServiceUser => ("service-user", "not significant".to_owned()),
            AbortRQSource::ServiceProvider(reason) => ("service-provider", reason.to_string()),
            AbortRQSource::Reserved => ("reserved", String::new()),
        };
        let number = numbers_of::<4>(&Pdu::AbortRQ { source })?;
        rows.push([
            format!("{} ({})", number[2], words.0),
            format!("{} ({})", number[3], words.1),
            cause.when().to_owned(),
        ]);
    }
    document.table("Aborted associations", &["Source", "Reason", "When"], rows);
    document.paragraph(
        "The connection is closed without an A-ABORT where the peer has closed it already, and should a defect of \
         fcdd end the association.",
    );
    Ok(())
}

/// The fields of a short PDU, as they go out.
fn numbers_of<const N: usize>(pdu: &Pdu) -> Result<[u8; N], ConformanceError> {
    let body = body_of(pdu)?;
    Ok(*body.first_chunk::<N>().unwrap_or(&[0; N]))
}
