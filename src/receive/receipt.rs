//! What an association leaves behind: its receipt under way, how it ended, and what the peer is told about that.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dicom_ul::pdu::{AbortRQSource, Pdu};

use super::abort::AbortCause;
use crate::dicom::peer_text::shown;
use crate::dicom::upper_layer::UpperLayerError;
use crate::ledger::associations::{Counts, Opening, Outcome};

/// The receipt under way. It lives outside the association's task, so that it survives a panic in it.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) opening: Opening,
    /// The ledger's row, once it was opened.
    pub(super) association_id: Option<i64>,
    pub(super) counts: Counts,
}

/// A shared handle on the receipt.
#[derive(Debug, Clone)]
pub(super) struct Account(Arc<Mutex<Receipt>>);

impl Account {
    pub(super) fn new(peer: SocketAddr) -> Account {
        let opening = Opening {
            peer,
            calling_ae: String::new(),
            called_ae: String::new(),
            contexts_offered: 0,
            contexts_accepted: 0,
        };
        Account(Arc::new(Mutex::new(Receipt { opening, association_id: None, counts: Counts::default() })))
    }

    /// Numbers are never left half-changed, so a panic elsewhere does not make them wrong.
    pub(super) fn receipt(&self) -> MutexGuard<'_, Receipt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests of an association that were answered with a failure and concern no object.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    count: u64,
    first: String,
}

impl Unserved {
    /// Takes note of one; whether it is the first.
    pub(super) fn note(&mut self, what: &str) -> bool {
        self.count += 1;
        if self.count == 1 {
            self.first = what.to_owned();
        }
        self.count == 1
    }

    /// How the association ended, with these requests, if there were any.
    pub(super) fn told(&self, ending: &str) -> String {
        match self.count {
            0 => ending.to_owned(),
            1 => format!("{ending}; it asked for what is not served: {}", self.first),
            count => format!("{ending}; it asked {count} times for what is not served, first: {}", self.first),
        }
    }
}

/// How an association ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// One sentence.
    pub(super) why: String,
}

/// Why an association stops, and what is said to the peer about it.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) end: End,
    pub(super) answer: Option<AbortRQSource>,
}

impl Stop {
    /// We abort.
    pub(super) fn because(cause: AbortCause, why: impl Into<String>) -> Stop {
        Stop { end: End { outcome: Outcome::AbortedByUs, why: why.into() }, answer: Some(cause.source()) }
    }

    pub(super) fn stopping() -> Stop {
        Stop::because(AbortCause::Stopping, "fcdd is being stopped")
    }

    pub(super) fn aborted_by_peer(source: &AbortRQSource) -> Stop {
        let by = match source {
            AbortRQSource::ServiceUser => "its application".to_owned(),
            AbortRQSource::ServiceProvider(reason) => format!("its protocol layer: {reason}"),
            AbortRQSource::Reserved => "a reserved source".to_owned(),
        };
        Stop { end: End { outcome: Outcome::AbortedByPeer, why: format!("the peer aborted ({by})") }, answer: None }
    }

    /// A response came, of this kind.
    pub(super) fn unasked(response: &str) -> Stop {
        let why = format!("the peer sent a {response} to which there was no request");
        Stop::because(AbortCause::UnaskedResponse, why)
    }

    pub(super) fn unexpected(pdu: &Pdu, state: &str) -> Stop {
        Stop::because(AbortCause::UnexpectedPdu, format!("{} {state}", pdu_name(pdu)))
    }

    /// Adds which object was under way.
    pub(super) fn during(mut self, sop_instance_uid: &str, dataset_bytes: u64) -> Stop {
        let shown = shown(sop_instance_uid);
        self.end.why +=
            &format!(", while object {shown} was under way ({dataset_bytes} bytes of it had come; it was discarded)");
        self
    }
}

impl From<UpperLayerError> for Stop {
    fn from(error: UpperLayerError) -> Stop {
        let answer = AbortCause::of(&error).map(AbortCause::source);
        let outcome = if answer.is_some() { Outcome::AbortedByUs } else { Outcome::AbortedByPeer };
        Stop { end: End { outcome, why: error.to_string() }, answer }
    }
}

fn pdu_name(pdu: &Pdu) -> &'static str {
    match pdu {
        Pdu::Unknown { .. } => "an unknown PDU",
        Pdu::AssociationRQ(_) => "an A-ASSOCIATE-RQ",
        Pdu::AssociationAC(_) => "an A-ASSOCIATE-AC",
        Pdu::AssociationRJ(_) => "an A-ASSOCIATE-RJ",
        Pdu::PData { .. } => "a P-DATA-TF",
        Pdu::ReleaseRQ => "an A-RELEASE-RQ",
        Pdu::ReleaseRP => "an A-RELEASE-RP",
        Pdu::AbortRQ { .. } => "an A-ABORT",
    }
}
