//! Why an association is aborted by us, and what the peer then reads in the A-ABORT (PS3.8 section 9.3.8).
//!
//! The conformance statement prints this table, so a cause that is not in it cannot go out.

use dicom_ul::pdu::{AbortRQServiceProviderReason as ProviderReason, AbortRQSource};

use crate::dicom::upper_layer::UpperLayerError;

/// Every cause of an A-ABORT of ours as an acceptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortCause {
    /// The first bytes are no PDU.
    NotDicom,
    /// A PDU that is longer than was agreed or that cannot be read.
    InvalidPdu,
    /// A PDU that may not come now.
    UnexpectedPdu,
    /// No A-ASSOCIATE-RQ in time.
    NoRequestInTime,
    /// Data on a presentation context that was not accepted.
    ContextNotAccepted,
    /// A message that changes its presentation context.
    ContextChanged,
    /// A P-DATA-TF without a value.
    EmptyPdu,
    /// Dataset bytes where a command must be.
    DatasetBeforeCommand,
    /// A command where dataset bytes must be.
    CommandInsteadOfDataset,
    /// A command set that cannot be read.
    UnreadableCommand,
    /// A command set without end.
    CommandTooLong,
    /// A request with a dataset for a service that is not offered.
    UnofferedService,
    /// A response that nobody asked for.
    UnaskedResponse,
    /// An object without end.
    ObjectTooLarge,
    /// Nothing came between two messages for too long.
    Silence,
    /// A message took too long.
    TooSlow,
    /// The association took too long.
    LastedTooLong,
    /// The peer does not take our answers.
    AnswerNotTaken,
    /// We are being stopped.
    Stopping,
}

impl AbortCause {
    /// All of them.
    pub const ALL: [AbortCause; 19] = [
        AbortCause::NotDicom,
        AbortCause::InvalidPdu,
        AbortCause::UnexpectedPdu,
        AbortCause::NoRequestInTime,
        AbortCause::ContextNotAccepted,
        AbortCause::ContextChanged,
        AbortCause::EmptyPdu,
        AbortCause::DatasetBeforeCommand,
        AbortCause::CommandInsteadOfDataset,
        AbortCause::UnreadableCommand,
        AbortCause::CommandTooLong,
        AbortCause::UnofferedService,
        AbortCause::UnaskedResponse,
        AbortCause::ObjectTooLarge,
        AbortCause::Silence,
        AbortCause::TooSlow,
        AbortCause::LastedTooLong,
        AbortCause::AnswerNotTaken,
        AbortCause::Stopping,
    ];

    /// The cause behind an error of the upper layer; `None` where no peer is left that could read an A-ABORT.
    pub(super) fn of(error: &UpperLayerError) -> Option<AbortCause> {
        match error {
            UpperLayerError::NotDicom { .. } => Some(AbortCause::NotDicom),
            UpperLayerError::TooLong { .. } | UpperLayerError::Malformed { .. } => Some(AbortCause::InvalidPdu),
            UpperLayerError::Encode(_) | UpperLayerError::Timeout { .. } => Some(AbortCause::AnswerNotTaken),
            UpperLayerError::Closed | UpperLayerError::ClosedMidPdu { .. } | UpperLayerError::Io { .. } => None,
        }
    }

    /// Source and reason: violations of the protocol come from the provider, limits of ours from the user.
    pub fn source(self) -> AbortRQSource {
        let reason = match self {
            AbortCause::NotDicom => ProviderReason::UnrecognizedPdu,
            AbortCause::UnexpectedPdu => ProviderReason::UnexpectedPdu,
            AbortCause::InvalidPdu
            | AbortCause::ContextNotAccepted
            | AbortCause::ContextChanged
            | AbortCause::EmptyPdu
            | AbortCause::UnreadableCommand => ProviderReason::InvalidPduParameter,
            AbortCause::DatasetBeforeCommand | AbortCause::CommandInsteadOfDataset | AbortCause::UnaskedResponse => {
                ProviderReason::UnexpectedPduParameter
            }
            AbortCause::UnofferedService | AbortCause::AnswerNotTaken => ProviderReason::ReasonNotSpecified,
            AbortCause::NoRequestInTime
            | AbortCause::CommandTooLong
            | AbortCause::ObjectTooLarge
            | AbortCause::Silence
            | AbortCause::TooSlow
            | AbortCause::LastedTooLong
            | AbortCause::Stopping => return AbortRQSource::ServiceUser,
        };
        AbortRQSource::ServiceProvider(reason)
    }

    /// When it is sent, in words.
    pub fn when(self) -> &'static str {
        match self {
            AbortCause::NotDicom => "the first byte is no PDU type: an HTTP request, a TLS handshake, garbage",
            AbortCause::InvalidPdu => {
                "a PDU is longer than was announced, or its items contradict their lengths (before or within an \
                 association)"
            }
            AbortCause::UnexpectedPdu => {
                "a PDU comes that the state does not allow: data before an association, a second A-ASSOCIATE-RQ, a \
                 release in the middle of a message"
            }
            AbortCause::NoRequestInTime => {
                "no A-ASSOCIATE-RQ comes within `receive.association_request_timeout_s` of the connection"
            }
            AbortCause::ContextNotAccepted => "a PDV comes on a presentation context that was not accepted",
            AbortCause::ContextChanged => "a message goes on on another presentation context than it began on",
            AbortCause::EmptyPdu => "a P-DATA-TF holds no PDV",
            AbortCause::DatasetBeforeCommand => "a data set fragment comes where a command must be",
            AbortCause::CommandInsteadOfDataset => "a command fragment comes where the data set of a C-STORE must be",
            AbortCause::UnreadableCommand => {
                "a command set cannot be read: elements out of order, truncated, or mandatory ones missing"
            }
            AbortCause::CommandTooLong => "a command set is longer than 65,536 bytes",
            AbortCause::UnofferedService => "a request with a data set comes for a service other than C-STORE",
            AbortCause::UnaskedResponse => "a response comes to which there was no request",
            AbortCause::ObjectTooLarge => "a data set is larger than `receive.max_object_mib`",
            AbortCause::Silence => "nothing comes between two messages for `receive.idle_timeout_s`",
            AbortCause::TooSlow => {
                "a message takes longer than `receive.object_timeout_s`, or comes slower than \
                 `receive.min_bytes_per_s` on average, judged after 10 s"
            }
            AbortCause::LastedTooLong => "an association lasts longer than `receive.association_timeout_s`",
            AbortCause::AnswerNotTaken => "the peer does not take a response within `receive.idle_timeout_s`",
            AbortCause::Stopping => {
                "fcdd is being stopped: between two messages at once, within a message after `observe.drain_s`"
            }
        }
    }
}
