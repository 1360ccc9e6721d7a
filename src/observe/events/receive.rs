//! Events of the stage "receive".

use std::net::{IpAddr, SocketAddr};

use crate::dicom::dimse::Status;
use crate::ledger::associations::{Counts, Outcome};
use crate::ledger::refusals::KEPT_PER_ASSOCIATION;
use crate::observe::metrics::Counter;

static ASSOCIATIONS: Counter = Counter::new("fcdd_receive_associations_total", "Associations that were established.");
static REJECTED: Counter =
    Counter::new("fcdd_receive_rejected_total", "Association requests and connections that were turned away.");
static ABORTED: Counter = Counter::new("fcdd_receive_aborted_total", "Associations that did not end with a release.");
static STORED: Counter = Counter::new("fcdd_receive_stored_total", "New objects that are safe on disk.");
static BYTES: Counter = Counter::new("fcdd_receive_bytes_total", "Dataset bytes received.");
static DUPLICATES: Counter =
    Counter::new("fcdd_receive_duplicates_total", "Objects that were there already, byte for byte.");
static QUARANTINED: Counter =
    Counter::new("fcdd_receive_quarantined_total", "Objects whose UID was there with other bytes.");
static REFUSED: Counter = Counter::new("fcdd_receive_refused_total", "Objects that were answered with a failure.");
static LATE: Counter = Counter::new("fcdd_receive_late_total", "Objects that came after their study was complete.");
static STORE_FAILURES: Counter =
    Counter::new("fcdd_receive_store_failures_total", "Objects that could not be made durable for a reason of ours.");
static PANICS: Counter = Counter::new("fcdd_receive_panics_total", "Associations that ended in a defect of fcdd.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[
    &ASSOCIATIONS,
    &REJECTED,
    &ABORTED,
    &STORED,
    &BYTES,
    &DUPLICATES,
    &QUARANTINED,
    &REFUSED,
    &LATE,
    &STORE_FAILURES,
    &PANICS,
];

/// The port is open.
#[derive(Debug)]
pub struct Listening<'a> {
    /// Where.
    pub address: SocketAddr,
    /// As whom.
    pub ae_title: &'a str,
}

impl Listening<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        tracing::info!(address = %self.address, ae_title = self.ae_title, "accepting associations");
    }
}

/// `accept` failed; the listener goes on after a pause.
#[derive(Debug)]
pub struct AcceptFailed<'a> {
    /// The system's reason.
    pub error: &'a std::io::Error,
    /// How long no connection is accepted, milliseconds.
    pub pause_ms: u128,
}

impl AcceptFailed<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        tracing::error!(
            error = %self.error,
            pause_ms = self.pause_ms,
            "cannot accept connections; if files are what is missing, raise LimitNOFILE"
        );
    }
}

/// A connection was closed without an answer.
#[derive(Debug)]
pub struct ConnectionRefused<'a> {
    /// The peer's address.
    pub peer: IpAddr,
    /// Why.
    pub why: &'a str,
}

impl ConnectionRefused<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        self.count();
        tracing::warn!(peer = %self.peer, why = self.why, "connection closed without an answer");
    }

    /// Counts: one of many, of which [`ConnectionsRefused`] will tell.
    pub fn count(&self) {
        REJECTED.increment();
    }
}

/// Further connections were closed without an answer since the last line of this kind.
#[derive(Debug)]
pub struct ConnectionsRefused<'a> {
    /// How many; each is counted already.
    pub count: u64,
    /// The address of the last one.
    pub last: IpAddr,
    /// Why.
    pub why: &'a str,
}

impl ConnectionsRefused<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            count = self.count, last_peer = %self.last, why = self.why,
            "further connections closed without an answer"
        );
    }
}

/// An association was established.
#[derive(Debug)]
pub struct AssociationOpened<'a> {
    /// The ledger's row.
    pub association: i64,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Who calls.
    pub calling_ae: &'a str,
    /// Its software.
    pub implementation: &'a str,
    /// Presentation contexts proposed.
    pub contexts_offered: usize,
    /// Presentation contexts accepted.
    pub contexts_accepted: usize,
}

impl AssociationOpened<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        ASSOCIATIONS.increment();
        tracing::debug!(
            association = self.association,
            peer = %self.peer,
            calling_ae = self.calling_ae,
            implementation = self.implementation,
            contexts_offered = self.contexts_offered,
            contexts_accepted = self.contexts_accepted,
            "association opened"
        );
    }
}

/// An association ended; its receipt.
#[derive(Debug)]
pub struct AssociationClosed<'a> {
    /// The ledger's row; `None` where it could not be written.
    pub association: Option<i64>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Who called; empty where nobody said.
    pub calling_ae: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence.
    pub why: &'a str,
    /// What came of it.
    pub counts: &'a Counts,
}

impl AssociationClosed<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        let Counts { offered, stored, duplicates, quarantined, refused, bytes } = *self.counts;
        BYTES.add(bytes);
        let (association, outcome, why) = (self.association, self.outcome.name(), self.why);
        let (peer, calling_ae) = (self.peer, self.calling_ae);
        match self.outcome {
            // A peer that only asked whether we are there is not worth a line per minute.
            Outcome::Released if offered == 0 => {
                tracing::debug!(association, %peer, calling_ae, outcome, why, "association closed");
            }
            Outcome::Released => tracing::info!(
                association, %peer, calling_ae, outcome, why,
                offered, stored, duplicates, quarantined, refused, bytes, "association closed"
            ),
            Outcome::Rejected => {
                REJECTED.increment();
                tracing::warn!(association, %peer, calling_ae, why, "association rejected");
            }
            Outcome::AbortedByPeer | Outcome::AbortedByUs | Outcome::Lost => {
                ABORTED.increment();
                tracing::warn!(
                    association, %peer, calling_ae, outcome, why,
                    offered, stored, duplicates, quarantined, refused, bytes, "association aborted"
                );
            }
        }
    }
}

/// A new object is safe on disk.
#[derive(Debug)]
pub struct InstanceStored<'a> {
    /// Its study.
    pub study: &'a str,
    /// The object.
    pub sop_instance: &'a str,
    /// Where the study stood if it was complete already.
    pub late_for: Option<&'a str>,
}

impl InstanceStored<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        STORED.increment();
        match self.late_for {
            None => tracing::debug!(study = self.study, sop_instance = self.sop_instance, "object stored"),
            Some(state) => {
                LATE.increment();
                tracing::info!(
                    study = self.study,
                    sop_instance = self.sop_instance,
                    state,
                    "object stored after its study was complete"
                );
            }
        }
    }
}

/// The same object came again.
#[derive(Debug)]
pub struct InstanceDuplicate<'a> {
    /// The object.
    pub sop_instance: &'a str,
}

impl InstanceDuplicate<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        DUPLICATES.increment();
        tracing::debug!(sop_instance = self.sop_instance, "object was here already, byte for byte");
    }
}

/// Other bytes came under a UID that is taken.
#[derive(Debug)]
pub struct InstanceQuarantined<'a> {
    /// The variant's study.
    pub study: &'a str,
    /// The object.
    pub sop_instance: &'a str,
    /// Who sent it.
    pub calling_ae: &'a str,
    /// The variant's file, relative to the spool.
    pub path: &'a str,
    /// How it differs: `transfer_syntax`, `demographics`, `other_study` or `other`.
    pub variant: &'a str,
    /// One sentence.
    pub why: &'a str,
}

impl InstanceQuarantined<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        QUARANTINED.increment();
        tracing::warn!(
            study = self.study,
            sop_instance = self.sop_instance,
            calling_ae = self.calling_ae,
            path = self.path,
            variant = self.variant,
            why = self.why,
            "object quarantined; the first one stays as it is"
        );
    }
}

/// A refused object could not be noted in the ledger; the receipt still counts it.
pub struct ReceiptIncomplete<'a> {
    /// The association's row.
    pub association: i64,
    /// Why.
    pub error: &'a dyn std::fmt::Display,
}

impl ReceiptIncomplete<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(association = self.association, error = %self.error, "cannot note which object was refused");
    }
}

/// Who sent something, in the words of its association's receipt.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The association's row.
    pub association: i64,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Who called.
    pub calling_ae: &'a str,
}

/// Refused objects that get a line of their own per association: as many as the ledger keeps. A peer that offers nothing
/// but rubbish must not fill the log; the receipt counts all of them.
const REFUSALS_LOGGED: u64 = KEPT_PER_ASSOCIATION as u64;

/// An object was answered with a failure for a reason of the sender's.
#[derive(Debug)]
pub struct InstanceRefused<'a> {
    /// The object as the command names it, fit to be shown.
    pub sop_instance: &'a str,
    /// Who sent it.
    pub sender: Sender<'a>,
    /// The DIMSE status.
    pub status: Status,
    /// One sentence.
    pub why: &'a str,
    /// Refused objects of this association, with this one.
    pub nth: u64,
}

impl InstanceRefused<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        REFUSED.increment();
        let Sender { association, peer, calling_ae } = self.sender;
        let (sop_instance, status, why) = (self.sop_instance, self.status, self.why);
        if self.nth > REFUSALS_LOGGED {
            tracing::debug!(association, %peer, calling_ae, sop_instance, %status, why, "object refused");
            return;
        }
        tracing::warn!(association, %peer, calling_ae, sop_instance, %status, why, "object refused");
        if self.nth == REFUSALS_LOGGED {
            tracing::warn!(association, %peer, calling_ae, "further refusals are only counted in the receipt");
        }
    }
}

/// A request that concerns no object was answered with a failure; the first of its association.
#[derive(Debug)]
pub struct RequestNotServed<'a> {
    /// Who sent it.
    pub sender: Sender<'a>,
    /// What was asked for.
    pub what: &'a str,
    /// The DIMSE status of the answer.
    pub status: Status,
}

impl RequestNotServed<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Sender { association, peer, calling_ae } = self.sender;
        tracing::warn!(
            association, %peer, calling_ae, status = %self.status, why = self.what,
            "request not served; only C-STORE and C-ECHO are"
        );
    }
}

/// An object could not be made durable: the disk or the ledger failed. The sender was told to try again.
#[derive(Debug)]
pub struct StoreFailed<'a> {
    /// The object.
    pub sop_instance: &'a str,
    /// Who sent it.
    pub sender: Sender<'a>,
    /// The reason.
    pub error: &'a str,
}

impl StoreFailed<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        REFUSED.increment();
        STORE_FAILURES.increment();
        let Sender { association, peer, calling_ae } = self.sender;
        tracing::error!(
            association, %peer, calling_ae,
            sop_instance = self.sop_instance,
            error = self.error,
            "object not stored; the sender was told to try again later"
        );
    }
}

/// The ledger could not take a receipt.
#[derive(Debug)]
pub struct ReceiptFailed<'a> {
    /// The reason.
    pub error: &'a str,
}

impl ReceiptFailed<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        tracing::error!(error = %self.error, "cannot write an association's receipt");
    }
}

/// A defect of fcdd ended an association; the listener lives on.
#[derive(Debug)]
pub struct AssociationPanicked<'a> {
    /// The peer's address.
    pub peer: SocketAddr,
    /// What the panic said.
    pub error: &'a str,
}

impl AssociationPanicked<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        PANICS.increment();
        tracing::error!(peer = %self.peer, error = %self.error, "an association ended in a defect of fcdd; please report it");
    }
}
