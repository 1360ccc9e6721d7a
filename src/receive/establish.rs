//! From a connection to an established association, or to the reason why there is none.

use std::collections::HashMap;
use std::time::Duration;

use dicom_ul::pdu::{AssociationAC, AssociationRQ, Pdu};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::abort::AbortCause;
use super::listener::Intake;
use super::negotiation::{Context, ContextAnswer, Negotiated, Policy};
use super::object::Refusal;
use super::pace::seconds;
use super::receipt::{Account, Stop};
use super::rejection::Rejection;
use super::waiting_room::{TurnedAway, unless_displaced};
use crate::config;
use crate::dicom::peer_text::shown;
use crate::dicom::upper_layer::{
    APPLICATION_CONTEXT, PduStream, UpperLayerError, our_user_information, peer_implementation, peer_max_pdu,
};
use crate::observe::events::receive::AssociationOpened;
use crate::spool::room::{Level, Room};

/// What all associations of a listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: config::Receive,
    pub(super) policy: Policy,
    pub(super) intake: Intake,
    /// Cancelled: no further message is begun.
    pub(super) stop: CancellationToken,
    /// Cancelled: the message under way is given up.
    pub(super) cut: CancellationToken,
}

/// How long a connection that will be turned away may take with its A-ASSOCIATE-RQ.
pub const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(3);

/// An association that was accepted.
pub(super) struct Established {
    /// Accepted contexts, by their id.
    pub(super) contexts: HashMap<u8, Context>,
    /// The other ones that were proposed.
    pub(super) refused_contexts: HashMap<u8, ContextAnswer>,
    /// The ledger's row.
    pub(super) association_id: i64,
}

/// No association came about.
pub(super) enum Refused {
    Rejected(Rejection),
    Stopped(Stop),
}

impl From<Stop> for Refused {
    fn from(stop: Stop) -> Refused {
        Refused::Stopped(stop)
    }
}

/// From the connection to the A-ASSOCIATE-AC; `None` where the peer went away without a byte, or had to go for another.
pub(super) async fn establish(
    shared: &Shared,
    stream: &mut PduStream,
    turned_away: Option<&TurnedAway>,
    account: &Account,
) -> Result<Option<Established>, Refused> {
    let Some(request) = read_request(shared, stream, turned_away).await? else { return Ok(None) };
    {
        let mut receipt = account.receipt();
        receipt.opening.calling_ae = shown(&request.calling_ae_title);
        receipt.opening.called_ae = shown(&request.called_ae_title);
        receipt.opening.contexts_offered = request.presentation_contexts.len();
    }
    let Negotiated { contexts, refused, results } = shared.policy.answer(&request).map_err(Refused::Rejected)?;
    if let Some(turned_away) = turned_away {
        return Err(Refused::Rejected(Rejection::congestion(turned_away.why.clone())));
    }
    if let Err(refusal) = enough_room(&shared.intake, Level::Low) {
        return Err(Refused::Rejected(Rejection::local_limit(refusal.why)));
    }
    let opening = {
        let mut receipt = account.receipt();
        receipt.opening.contexts_accepted = contexts.len();
        receipt.opening.clone()
    };
    let opened = shared.intake.ledger.open_association(&opening).await;
    let association_id = opened.map_err(|error| Refused::Rejected(Rejection::local_limit(error.to_string())))?;
    account.receipt().association_id = Some(association_id);
    let accept = Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title,
        called_ae_title: request.called_ae_title,
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: our_user_information(shared.config.max_pdu_bytes),
    });
    stream.set_max_outgoing(peer_max_pdu(&request.user_variables));
    let deadline = Instant::now() + seconds(shared.config.association_request_timeout_s);
    stream.send(&accept, deadline).await.map_err(Stop::from)?;
    AssociationOpened {
        association: association_id,
        peer: opening.peer,
        calling_ae: &opening.calling_ae,
        implementation: &peer_implementation(&request.user_variables),
        contexts_offered: opening.contexts_offered,
        contexts_accepted: opening.contexts_accepted,
    }
    .emit();
    Ok(Some(Established { contexts, refused_contexts: refused, association_id }))
}

/// The A-ASSOCIATE-RQ; `None` where the peer went away without a byte, or had to go for another one.
async fn read_request(
    shared: &Shared,
    stream: &mut PduStream,
    turned_away: Option<&TurnedAway>,
) -> Result<Option<AssociationRQ>, Stop> {
    let patience = seconds(shared.config.association_request_timeout_s);
    let patience = if turned_away.is_some() { patience.min(TURNED_AWAY_TIMEOUT) } else { patience };
    let receiving = unless_displaced(turned_away, stream.receive(Instant::now() + patience));
    let received = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return Err(Stop::stopping()),
        received = receiving => received,
    };
    let Some(received) = received else { return Ok(None) };
    match received {
        Ok(Pdu::AssociationRQ(request)) => Ok(Some(request)),
        Ok(Pdu::AbortRQ { source }) => Err(Stop::aborted_by_peer(&source)),
        Ok(other) => Err(Stop::unexpected(&other, "came before an association was requested")),
        Err(UpperLayerError::Closed | UpperLayerError::Io { .. }) if stream.bytes_received() == 0 => Ok(None),
        Err(UpperLayerError::Timeout { .. }) => {
            let mut why = match stream.unfinished_bytes() {
                0 => format!("no association request came within {} s", patience.as_secs()),
                bytes => format!("only {bytes} bytes of a PDU came within {} s", patience.as_secs()),
            };
            if let Some(turned_away) = turned_away {
                why += &format!("; it would have been rejected: {}", turned_away.why);
            }
            Err(Stop::because(AbortCause::NoRequestInTime, why))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether there is room for what begins now: for a new association (`up_to` [`Level::Low`]), or for an object of an open
/// one (`up_to` [`Level::Rejecting`]).
pub(super) fn enough_room(intake: &Intake, up_to: Level) -> Result<(), Refusal> {
    let Room { level, free_mib } = intake.room.look()?;
    if level > up_to {
        let steps = intake.room.steps();
        let needed_mib = if up_to == Level::Low { steps.min_mib } else { steps.reserve_mib };
        return Err(Refusal::ours(format!("only {free_mib} MiB are free in the spool, {needed_mib} must stay free")));
    }
    Ok(())
}
