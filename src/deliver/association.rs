//! The requestor's side of an association (PS3.8 section 7): request, the contexts that were accepted,
//! release, abort.
//!
//! Each presentation context offers one SOP class in one transfer syntax, so that we learn everything that the
//! peer takes and choose ourselves: a file's own bytes where they are accepted, a rewritten dataset otherwise.
//!
//! After an error the association is of no more use; [`Association::abort`] it. Every error names the peer.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AbortRQSource, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ,
    PDataValueType, Pdu, PresentationContextProposed, PresentationContextResultReason,
};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::dicom::dimse::{Command, DimseError, MAX_COMMAND_BYTES, VERIFICATION};
use crate::dicom::upper_layer::{APPLICATION_CONTEXT, PduStream, UpperLayerError, our_user_information, peer_max_pdu};
use crate::dicom::{AeTitle, Peer};

/// Context ids are the odd numbers from 1 to 255 (PS3.8 section 9.3.2.2).
pub const MAX_CONTEXTS: usize = 128;

/// Longest P-DATA-TF that we announce; only responses come in.
pub const MAX_INCOMING_PDU: u32 = 16_384;

/// A release is a courtesy: nothing depends on its answer, so nobody waits long for it.
pub const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom to call, as whom, and how patiently.
#[derive(Debug, Clone)]
pub struct Call {
    /// Our AE title.
    pub calling: AeTitle,
    /// The application entity to call.
    pub peer: Peer,
    /// How long to wait for any single answer, and for the peer to take one PDU.
    pub timeout: Duration,
}

/// A failed association. None of its causes is final: an AE title that the PACS does not know yet, too, must
/// not lose a result.
#[derive(Debug, thiserror::Error)]
#[error("{peer}, called by {calling}: {failure}")]
pub struct AssociationError {
    /// Who was called.
    pub peer: Peer,
    /// As whom.
    pub calling: AeTitle,
    /// What happened.
    pub failure: Failure,
}

/// What can happen to an association.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host has no address.
    #[error("the host name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection in time.
    #[error("cannot connect within {seconds} s")]
    ConnectTimeout {
        /// How long it was tried.
        seconds: f64,
    },
    /// The peer rejected the association.
    #[error("the association was rejected ({}): {reason}{}", if *.permanent { "permanent" } else { "transient" }, hint(.reason))]
    Rejected {
        /// Result 1, rejected-permanent, or 2, rejected-transient.
        permanent: bool,
        /// The peer's source and reason.
        reason: AssociationRJSource,
    },
    /// The peer aborted.
    #[error("the peer aborted the association ({by})")]
    Aborted {
        /// `its user` or `its provider: ...`.
        by: String,
    },
    /// Something else than the protocol wants came.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What should have come.
        expected: String,
        /// What came.
        found: String,
    },
    /// More combinations of SOP class and transfer syntax than one association can offer.
    #[error("{contexts} presentation contexts are needed, one association has {MAX_CONTEXTS}")]
    TooManyContexts {
        /// How many.
        contexts: usize,
    },
    /// A response that cannot be read.
    #[error("the peer's response cannot be read: {0}")]
    Dimse(#[from] DimseError),
    /// The connection or its PDUs.
    #[error(transparent)]
    UpperLayer(#[from] UpperLayerError),
}

/// What an administrator should look at after a reject.
fn hint(reason: &AssociationRJSource) -> &'static str {
    match reason {
        AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CallingAETitleNotRecognized) => {
            "; is our AE title configured there?"
        }
        AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CalledAETitleNotRecognized) => {
            "; is its AE title right?"
        }
        _ => "",
    }
}

/// One SOP class in one transfer syntax, to be offered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// SOP Class UID.
    pub sop_class_uid: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
}

/// An offer that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Accepted {
    id: u8,
    offer: Offer,
}

/// An established association.
#[derive(Debug)]
pub struct Association {
    call: Call,
    stream: PduStream,
    accepted: Vec<Accepted>,
    last_message_id: u16,
}

impl Association {
    /// Connects and negotiates. Dropping the future loses nothing but the connection.
    pub async fn request(call: &Call, offers: &BTreeSet<Offer>) -> Result<Association, AssociationError> {
        let error = |failure| AssociationError { peer: call.peer.clone(), calling: call.calling.clone(), failure };
        if offers.len() > MAX_CONTEXTS {
            return Err(error(Failure::TooManyContexts { contexts: offers.len() }));
        }
        let mut stream = connect(call).await.map_err(error)?;
        match negotiate(&mut stream, call, offers).await {
            Ok(accepted) => Ok(Association { call: call.clone(), stream, accepted, last_message_id: 0 }),
            Err(failure) => {
                // A rejected or aborted association is over; everything else deserves an A-ABORT.
                if !matches!(failure, Failure::Rejected { .. } | Failure::Aborted { .. }) {
                    stream.abort(AbortRQSource::ServiceUser).await;
                }
                Err(error(failure))
            }
        }
    }

    /// The offers for Verification (C-ECHO).
    pub fn echo_offers() -> BTreeSet<Offer> {
        let offer = |transfer_syntax: &str| Offer {
            sop_class_uid: VERIFICATION.to_owned(),
            transfer_syntax: transfer_syntax.to_owned(),
        };
        BTreeSet::from([offer(uids::IMPLICIT_VR_LITTLE_ENDIAN), offer(uids::EXPLICIT_VR_LITTLE_ENDIAN)])
    }

    /// The context for a SOP class in the first of these transfer syntaxes that was accepted: its id, and the
    /// transfer syntax.
    pub fn context<'s>(&self, sop_class_uid: &str, transfer_syntaxes: &[&'s str]) -> Option<(u8, &'s str)> {
        let accepted = |syntax: &str| {
            let wanted = |a: &&Accepted| a.offer.sop_class_uid == sop_class_uid && a.offer.transfer_syntax == syntax;
            self.accepted.iter().find(wanted).map(|a| a.id)
        };
        transfer_syntaxes.iter().find_map(|syntax| accepted(syntax).map(|id| (id, *syntax)))
    }

    /// Whom this association is with.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// A new message id; it is unique among the messages under way, of which there is one.
    pub(super) fn next_message_id(&mut self) -> u16 {
        self.last_message_id = self.last_message_id.checked_add(1).unwrap_or(1);
        self.last_message_id
    }

    /// Sends a command set.
    pub(super) async fn send_command(&mut self, context_id: u8, command: &Command) -> Result<(), AssociationError> {
        let deadline = Instant::now() + self.call.timeout;
        let sent = self.stream.send_command(context_id, &command.encode(), deadline).await;
        sent.map_err(|e| self.error(e.into()))
    }

    /// Sends a dataset in as many PDUs as the peer's Maximum Length asks for. Each PDU must be taken within the
    /// time-out, and the whole within `whole`.
    pub(super) async fn send_dataset(
        &mut self,
        context_id: u8,
        dataset: &[u8],
        whole: Instant,
    ) -> Result<(), AssociationError> {
        let mut rest = dataset;
        // At least once: an empty dataset is one empty last fragment.
        loop {
            let (fragment, after) = rest.split_at(self.stream.fragment_bytes().min(rest.len()));
            let deadline = whole.min(Instant::now() + self.call.timeout);
            let is_last = after.is_empty();
            let sent = self.stream.send_pdv(context_id, PDataValueType::Data, is_last, fragment, deadline).await;
            sent.map_err(|e| self.error(e.into()))?;
            if is_last {
                return Ok(());
            }
            rest = after;
        }
    }

    /// The next command set from the peer, which must come in this context.
    pub(super) async fn receive_command(
        &mut self,
        context_id: u8,
        expected: &'static str,
    ) -> Result<Command, AssociationError> {
        let deadline = Instant::now() + self.call.timeout;
        let received = receive_command(&mut self.stream, context_id, expected, deadline).await;
        received.map_err(|failure| self.error(failure))
    }

    /// An error that names the peer.
    pub(super) fn error(&self, failure: Failure) -> AssociationError {
        AssociationError { peer: self.call.peer.clone(), calling: self.call.calling.clone(), failure }
    }

    /// Ends the association in good order. What went before has been answered already, so a peer that fails
    /// here harms nobody.
    pub async fn release(mut self) {
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        let mut sent = self.stream.send(&Pdu::ReleaseRQ, deadline).await;
        while sent.is_ok() {
            match self.stream.receive(deadline).await {
                // Both sides asked at once (PS3.8 section 7.2.2.7): the requestor answers first.
                Ok(Pdu::ReleaseRQ) => sent = self.stream.send(&Pdu::ReleaseRP, deadline).await,
                Ok(Pdu::PData { .. }) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.stream.close().await;
    }

    /// Ends the association at once (A-ABORT).
    pub async fn abort(self) {
        self.stream.abort(AbortRQSource::ServiceUser).await;
    }
}

async fn connect(call: &Call) -> Result<PduStream, Failure> {
    let deadline = Instant::now() + call.timeout;
    let too_late = |_| Failure::ConnectTimeout { seconds: call.timeout.as_secs_f64() };
    let name = (call.peer.host.clone(), call.peer.port);
    let found = timeout_at(deadline, tokio::net::lookup_host(name)).await.map_err(too_late)?;
    let addresses: Vec<SocketAddr> = found.map_err(Failure::Resolve)?.collect();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout_at(deadline, TcpStream::connect(address)).await.map_err(too_late)? {
            Ok(socket) => return Ok(PduStream::new(socket, MAX_INCOMING_PDU)?),
            Err(error) => last_error = error,
        }
    }
    Err(Failure::Connect(last_error))
}

async fn negotiate(stream: &mut PduStream, call: &Call, offers: &BTreeSet<Offer>) -> Result<Vec<Accepted>, Failure> {
    let deadline = Instant::now() + call.timeout;
    // At most 128 offers: the ids are 1, 3 ... 255.
    let proposed: Vec<Accepted> =
        offers.iter().zip((1..=255).step_by(2)).map(|(offer, id)| Accepted { id, offer: offer.clone() }).collect();
    let request = AssociationRQ {
        protocol_version: 1,
        calling_ae_title: call.calling.to_string(),
        called_ae_title: call.peer.ae_title.to_string(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: proposed
            .iter()
            .map(|p| PresentationContextProposed {
                id: p.id,
                abstract_syntax: p.offer.sop_class_uid.clone(),
                transfer_syntaxes: vec![p.offer.transfer_syntax.clone()],
            })
            .collect(),
        user_variables: our_user_information(MAX_INCOMING_PDU),
    };
    stream.send(&Pdu::AssociationRQ(request), deadline).await?;
    let answer = match stream.receive(deadline).await? {
        Pdu::AssociationAC(answer) => answer,
        Pdu::AssociationRJ(reject) => {
            let permanent = reject.result == AssociationRJResult::Permanent;
            return Err(Failure::Rejected { permanent, reason: reject.source });
        }
        other => return Err(unexpected("an answer to the association request", &other)),
    };
    stream.set_max_outgoing(peer_max_pdu(&answer.user_variables));
    let is_accepted = |p: &Accepted| {
        answer.presentation_contexts.iter().any(|result| {
            result.id == p.id
                && result.reason == PresentationContextResultReason::Acceptance
                && result.transfer_syntax.trim_end_matches(['\0', ' ']) == p.offer.transfer_syntax
        })
    };
    Ok(proposed.into_iter().filter(is_accepted).collect())
}

async fn receive_command(
    stream: &mut PduStream,
    context_id: u8,
    expected: &'static str,
    deadline: Instant,
) -> Result<Command, Failure> {
    let mut command = Vec::new();
    loop {
        let values = match stream.receive(deadline).await? {
            Pdu::PData { data } => data,
            other => return Err(unexpected(expected, &other)),
        };
        for value in values {
            if value.value_type != PDataValueType::Command || value.presentation_context_id != context_id {
                let found = format!("{:?} in context {}", value.value_type, value.presentation_context_id);
                return Err(Failure::Unexpected { expected: format!("{expected} in context {context_id}"), found });
            }
            command.extend_from_slice(&value.data);
            if command.len() > MAX_COMMAND_BYTES {
                return Err(DimseError::TooLong { bytes: command.len() }.into());
            }
            if value.is_last {
                return Ok(Command::decode(&command)?);
            }
        }
    }
}

fn unexpected(expected: &'static str, found: &Pdu) -> Failure {
    match found {
        Pdu::AbortRQ { source } => Failure::Aborted {
            by: match source {
                AbortRQSource::ServiceUser => "its user".to_owned(),
                AbortRQSource::ServiceProvider(reason) => format!("its provider: {reason}"),
                AbortRQSource::Reserved => "source not stated".to_owned(),
            },
        },
        other => Failure::Unexpected { expected: expected.to_owned(), found: other.short_description().to_string() },
    }
}
