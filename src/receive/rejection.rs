//! Why an association is rejected, and what the peer then reads in the A-ASSOCIATE-RJ (PS3.8 section 9.3.4).
//!
//! The conformance statement prints this table, so a cause that is not in it cannot go out.

use dicom_ul::pdu::{
    AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason as AcseReason,
    AssociationRJServiceProviderPresentationReason as PresentationReason, AssociationRJServiceUserReason as UserReason,
    AssociationRJSource as Source,
};

/// Every cause of an A-ASSOCIATE-RJ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionCause {
    /// The request does not name version 1 of the protocol.
    ProtocolVersion,
    /// The application context is not DICOM's.
    ApplicationContext,
    /// We are called by a name that is not ours.
    CalledAeTitle,
    /// The caller is not one that may associate.
    CallingAeTitle,
    /// The ids of the presentation contexts are not as PS3.8 wants them.
    ContextId,
    /// Too many associations.
    Congestion,
    /// The disk is low, or the ledger does not answer.
    LocalLimit,
}

impl RejectionCause {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [RejectionCause; 7] = [
        RejectionCause::ProtocolVersion,
        RejectionCause::ApplicationContext,
        RejectionCause::CalledAeTitle,
        RejectionCause::CallingAeTitle,
        RejectionCause::ContextId,
        RejectionCause::Congestion,
        RejectionCause::LocalLimit,
    ];

    /// Result, source and reason. Only what passes by itself is transient: then the sender should try again.
    pub fn answer(self) -> AssociationRJ {
        use AssociationRJResult::{Permanent, Transient};
        let (result, source) = match self {
            RejectionCause::ProtocolVersion => {
                (Permanent, Source::ServiceProviderASCE(AcseReason::ProtocolVersionNotSupported))
            }
            RejectionCause::ApplicationContext => {
                (Permanent, Source::ServiceUser(UserReason::ApplicationContextNameNotSupported))
            }
            RejectionCause::CalledAeTitle => (Permanent, Source::ServiceUser(UserReason::CalledAETitleNotRecognized)),
            RejectionCause::CallingAeTitle => (Permanent, Source::ServiceUser(UserReason::CallingAETitleNotRecognized)),
            RejectionCause::ContextId => (Permanent, Source::ServiceProviderASCE(AcseReason::NoReasonGiven)),
            RejectionCause::Congestion => {
                (Transient, Source::ServiceProviderPresentation(PresentationReason::TemporaryCongestion))
            }
            RejectionCause::LocalLimit => {
                (Transient, Source::ServiceProviderPresentation(PresentationReason::LocalLimitExceeded))
            }
        };
        AssociationRJ { result, source }
    }

    /// When it is sent, in words.
    pub fn when(self) -> &'static str {
        match self {
            RejectionCause::ProtocolVersion => "the request does not include version 1 of the upper layer protocol",
            RejectionCause::ApplicationContext => "the application context is not DICOM's (1.2.840.10008.3.1.1.1)",
            RejectionCause::CalledAeTitle => {
                "the called AE title is neither `receive.ae_title` nor, where that is set, one of \
                 `receive.called_ae_titles`"
            }
            RejectionCause::CallingAeTitle => {
                "the calling AE title is empty or not printable ASCII, or not one of \
                 `receive.allowed_calling_ae_titles` where that is set"
            }
            RejectionCause::ContextId => "a presentation context id is even or comes twice",
            RejectionCause::Congestion => {
                "there are `receive.max_associations` associations already, or `receive.max_associations_per_peer` \
                 from this address"
            }
            RejectionCause::LocalLimit => {
                "less than `spool.min_free_mib` is free in the spool, or the ledger cannot be written"
            }
        }
    }
}

/// An association that may not begin.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) cause: RejectionCause,
    /// One sentence for the receipt.
    pub(super) why: String,
}

impl Rejection {
    pub(super) fn new(cause: RejectionCause, why: String) -> Rejection {
        Rejection { cause, why }
    }

    /// Too many associations: the peer should try again.
    pub(super) fn congestion(why: String) -> Rejection {
        Rejection::new(RejectionCause::Congestion, why)
    }

    /// The disk is low, or the ledger does not answer: the peer should try again.
    pub(super) fn local_limit(why: String) -> Rejection {
        Rejection::new(RejectionCause::LocalLimit, why)
    }
}
