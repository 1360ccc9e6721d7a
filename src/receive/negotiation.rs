//! Association negotiation (PS3.8 section 9.3.2, PS3.7 annex D): a pure function from a request to an answer.

use std::collections::{HashMap, HashSet};

use dicom_ul::pdu::{
    AssociationRQ, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
};

use super::rejection::{Rejection, RejectionCause};
use crate::config;
use crate::dicom::dimse::VERIFICATION;
use crate::dicom::identifying::IMPLICIT_VR_LITTLE_ENDIAN;
use crate::dicom::peer_text::shown;
use crate::dicom::upper_layer::APPLICATION_CONTEXT;

/// Transfer syntaxes that are accepted, with their names. Storing needs no decoder: some of these nobody here
/// can decode, and the verdict on the series says so later.
pub const TRANSFER_SYNTAXES: [(&str, &str); 19] = [
    ("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    ("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.2", "Explicit VR Big Endian"),
    ("1.2.840.10008.1.2.5", "RLE Lossless"),
    ("1.2.840.10008.1.2.4.50", "JPEG Baseline"),
    ("1.2.840.10008.1.2.4.51", "JPEG Extended"),
    ("1.2.840.10008.1.2.4.57", "JPEG Lossless"),
    ("1.2.840.10008.1.2.4.70", "JPEG Lossless, first-order prediction"),
    ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
    ("1.2.840.10008.1.2.4.81", "JPEG-LS Near-lossless"),
    ("1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless"),
    ("1.2.840.10008.1.2.4.91", "JPEG 2000"),
    ("1.2.840.10008.1.2.4.201", "HTJ2K Lossless"),
    ("1.2.840.10008.1.2.4.202", "HTJ2K Lossless RPCL"),
    ("1.2.840.10008.1.2.4.203", "HTJ2K"),
    ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
    ("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
    ("1.2.840.10008.1.2.4.112", "JPEG XL"),
];

/// What the configuration says about who and what is accepted.
#[derive(Debug)]
pub(super) struct Policy {
    called: HashSet<String>,
    calling: HashSet<String>,
    sop_classes: HashSet<String>,
}

/// A presentation context that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) abstract_syntax: String,
    pub(super) transfer_syntax: String,
}

/// How a presentation context is answered in an A-ASSOCIATE-AC (PS3.8 table 9-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextAnswer {
    /// It may carry data.
    Accepted,
    /// Its SOP class is not ours.
    UnknownSopClass,
    /// None of its transfer syntaxes is ours.
    UnknownTransferSyntaxes,
}

impl ContextAnswer {
    /// All of them.
    pub const ALL: [ContextAnswer; 3] =
        [ContextAnswer::Accepted, ContextAnswer::UnknownSopClass, ContextAnswer::UnknownTransferSyntaxes];

    /// The result that is sent.
    pub fn reason(self) -> PresentationContextResultReason {
        match self {
            ContextAnswer::Accepted => PresentationContextResultReason::Acceptance,
            ContextAnswer::UnknownSopClass => PresentationContextResultReason::AbstractSyntaxNotSupported,
            ContextAnswer::UnknownTransferSyntaxes => PresentationContextResultReason::TransferSyntaxesNotSupported,
        }
    }

    /// When it is sent, in words.
    pub fn when(self) -> &'static str {
        match self {
            ContextAnswer::Accepted => "SOP class and at least one transfer syntax are accepted",
            ContextAnswer::UnknownSopClass => "the SOP class is not accepted",
            ContextAnswer::UnknownTransferSyntaxes => "the SOP class is accepted, none of the transfer syntaxes is",
        }
    }
}

/// An association that may begin.
#[derive(Debug)]
pub(super) struct Negotiated {
    /// Those that were accepted, by context id.
    pub(super) contexts: HashMap<u8, Context>,
    /// Those that were not, by context id.
    pub(super) refused: HashMap<u8, ContextAnswer>,
    /// For the A-ASSOCIATE-AC, in the order of the request.
    pub(super) results: Vec<PresentationContextResult>,
}

impl Policy {
    pub(super) fn new(config: &config::Receive) -> Policy {
        let called = match config.called_ae_titles.as_slice() {
            [] => HashSet::from([config.ae_title.clone()]),
            titles => titles.iter().cloned().collect(),
        };
        Policy {
            called,
            calling: config.allowed_calling_ae_titles.iter().cloned().collect(),
            sop_classes: config.sop_classes.iter().cloned().collect(),
        }
    }

    /// Answers a request.
    pub(super) fn answer(&self, request: &AssociationRQ) -> Result<Negotiated, Rejection> {
        if request.protocol_version & 1 == 0 {
            return Err(Rejection::new(
                RejectionCause::ProtocolVersion,
                format!("protocol version {:#06x} does not include version 1", request.protocol_version),
            ));
        }
        let application_context = request.application_context_name.trim_end_matches(['\0', ' ']);
        if application_context != APPLICATION_CONTEXT {
            return Err(Rejection::new(
                RejectionCause::ApplicationContext,
                format!("application context \"{}\" is not DICOM's", shown(application_context)),
            ));
        }
        if !self.called.contains(&request.called_ae_title) {
            return Err(Rejection::new(
                RejectionCause::CalledAeTitle,
                format!(
                    "called AE title \"{}\" is not ours (receive.ae_title, receive.called_ae_titles)",
                    shown(&request.called_ae_title)
                ),
            ));
        }
        let calling = &request.calling_ae_title;
        let is_an_ae_title = (1..=16).contains(&calling.len()) && calling.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !is_an_ae_title || !(self.calling.is_empty() || self.calling.contains(calling)) {
            return Err(Rejection::new(
                RejectionCause::CallingAeTitle,
                format!("calling AE title \"{}\" is not allowed (receive.allowed_calling_ae_titles)", shown(calling)),
            ));
        }
        self.contexts(&request.presentation_contexts)
    }

    fn contexts(&self, proposed: &[PresentationContextProposed]) -> Result<Negotiated, Rejection> {
        let mut negotiated = Negotiated {
            contexts: HashMap::new(),
            refused: HashMap::new(),
            results: Vec::with_capacity(proposed.len()),
        };
        let mut ids = HashSet::new();
        for context in proposed {
            // PS3.8 section 9.3.2.2: odd, each once.
            if context.id % 2 == 0 || !ids.insert(context.id) {
                return Err(Rejection::new(
                    RejectionCause::ContextId,
                    format!("presentation context id {} is even or comes twice", context.id),
                ));
            }
            let abstract_syntax = context.abstract_syntax.trim_end_matches(['\0', ' ']);
            // The sender knows best what it has: its first proposal that we know.
            let transfer_syntax = context
                .transfer_syntaxes
                .iter()
                .map(|uid| uid.trim_end_matches(['\0', ' ']))
                .find(|uid| TRANSFER_SYNTAXES.iter().any(|(known, _)| known == uid));
            let is_known = abstract_syntax == VERIFICATION || self.sop_classes.contains(abstract_syntax);
            let (answer, transfer_syntax) = match transfer_syntax {
                _ if !is_known => (ContextAnswer::UnknownSopClass, IMPLICIT_VR_LITTLE_ENDIAN),
                None => (ContextAnswer::UnknownTransferSyntaxes, IMPLICIT_VR_LITTLE_ENDIAN),
                Some(uid) => (ContextAnswer::Accepted, uid),
            };
            if answer == ContextAnswer::Accepted {
                negotiated.contexts.insert(
                    context.id,
                    Context {
                        abstract_syntax: abstract_syntax.to_owned(),
                        transfer_syntax: transfer_syntax.to_owned(),
                    },
                );
            } else {
                negotiated.refused.insert(context.id, answer);
            }
            negotiated.results.push(PresentationContextResult {
                id: context.id,
                reason: answer.reason(),
                transfer_syntax: transfer_syntax.to_owned(),
            });
        }
        Ok(negotiated)
    }
}

#[cfg(test)]
mod tests {
    use dicom_ul::pdu::{
        AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason as AcseReason,
        AssociationRJServiceUserReason as UserReason, AssociationRJSource,
    };

    use super::*;

    const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

    fn policy(rest: &str) -> Policy {
        let text = format!("ae_title = \"FCDD\"\n{rest}");
        Policy::new(&toml::from_str(&text).unwrap())
    }

    fn request(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "MR1".into(),
            called_ae_title: "FCDD".into(),
            application_context_name: format!("{APPLICATION_CONTEXT}\0"),
            presentation_contexts: contexts
                .iter()
                .map(|(id, abstract_syntax, syntaxes)| PresentationContextProposed {
                    id: *id,
                    abstract_syntax: (*abstract_syntax).into(),
                    transfer_syntaxes: syntaxes.iter().map(|s| (*s).into()).collect(),
                })
                .collect(),
            user_variables: vec![],
        }
    }

    #[test]
    fn the_first_syntax_that_is_known_is_accepted() {
        let explicit = "1.2.840.10008.1.2.1";
        let mpeg4 = "1.2.840.10008.1.2.4.102";
        let answer = policy("")
            .answer(&request(&[
                (1, MR, &[mpeg4, explicit, "1.2.840.10008.1.2"]),
                (3, MR, &[mpeg4]),
                (5, "1.2.840.10008.5.1.4.1.1.2", &[explicit]), // CT: not in the default list
                (7, VERIFICATION, &["1.2.840.10008.1.2"]),
            ]))
            .unwrap();
        let reasons: Vec<_> = answer.results.iter().map(|r| r.reason.clone() as u8).collect();
        assert_eq!(reasons, [0, 4, 3, 0]);
        assert_eq!(answer.contexts[&1].transfer_syntax, explicit);
        assert_eq!(answer.contexts.len(), 2);
    }

    #[test]
    fn rejections_name_the_right_source_and_reason() {
        let rejected = |policy: &Policy, change: &dyn Fn(&mut AssociationRQ)| {
            let mut rq = request(&[]);
            change(&mut rq);
            policy.answer(&rq).unwrap_err().cause.answer()
        };
        let permanent = |source| AssociationRJ {
            result: AssociationRJResult::Permanent,
            source: AssociationRJSource::ServiceUser(source),
        };
        let open = policy("");
        assert_eq!(
            rejected(&open, &|rq| rq.called_ae_title = "ELSE".into()),
            permanent(UserReason::CalledAETitleNotRecognized)
        );
        assert_eq!(
            rejected(&open, &|rq| rq.application_context_name = "1.2.3".into()),
            permanent(UserReason::ApplicationContextNameNotSupported)
        );
        let closed = policy("allowed_calling_ae_titles = [\"MR2\"]");
        assert_eq!(rejected(&closed, &|_| {}), permanent(UserReason::CallingAETitleNotRecognized));
        assert!(policy("allowed_calling_ae_titles = [\"MR1\"]").answer(&request(&[])).is_ok());
        assert!(policy("called_ae_titles = [\"A\", \"B\"]").answer(&request(&[])).is_err());
        let version = rejected(&open, &|rq| rq.protocol_version = 2);
        assert_eq!(version.source, AssociationRJSource::ServiceProviderASCE(AcseReason::ProtocolVersionNotSupported));
        assert!(open.answer(&request(&[(1, MR, &[]), (1, MR, &[])])).is_err());
        assert!(open.answer(&request(&[(2, MR, &[])])).is_err());
    }
}
