//! Events of the stage "deliver".

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::dicom::Uid;
use crate::ledger::LedgerError;
use crate::ledger::studies::SettledStudy;
use crate::observe::metrics::Counter;

static DELIVERED: Counter = Counter::new("fcdd_deliver_objects_total", "Objects that a destination stored.");
static DEFERRED: Counter = Counter::new("fcdd_deliver_deferred_total", "Objects that a destination refused for now.");
static REFUSED: Counter = Counter::new("fcdd_deliver_refused_total", "Deliveries that were given up.");
static HELD: Counter = Counter::new("fcdd_deliver_held_total", "Deliveries that a rule withholds.");
static TROUBLE: Counter = Counter::new("fcdd_deliver_association_failures_total", "Associations that failed.");
static STUDIES: Counter = Counter::new("fcdd_deliver_studies_total", "Studies whose deliveries came to an end.");
static LEDGER: Counter = Counter::new("fcdd_deliver_ledger_failures_total", "Ledger failures while delivering.");
static PANICS: Counter = Counter::new("fcdd_deliver_panics_total", "Panics of a delivery task.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[&DELIVERED, &DEFERRED, &REFUSED, &HELD, &TROUBLE, &STUDIES, &LEDGER, &PANICS];

/// A destination stored an object.
pub struct ObjectDelivered<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// The object.
    pub sop_instance_uid: &'a Uid,
    /// DIMSE status: 0000H or a warning.
    pub status: u16,
}

impl ObjectDelivered<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        DELIVERED.increment();
        let Self { destination, sop_instance_uid, status } = self;
        debug!(destination, %sop_instance_uid, status = format!("{status:04X}H"), "object stored");
    }
}

/// A destination refused an object for now.
pub struct ObjectDeferred<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// The object.
    pub sop_instance_uid: &'a Uid,
    /// Why.
    pub reason: &'a str,
    /// How long until the next attempt.
    pub wait: Duration,
}

impl ObjectDeferred<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        DEFERRED.increment();
        let Self { destination, sop_instance_uid, reason, wait } = self;
        warn!(destination, %sop_instance_uid, reason, ?wait, "object not stored, will be sent again");
    }
}

/// A delivery was given up: an operator must act.
pub struct ObjectRefused<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// The study.
    pub study_uid: &'a Uid,
    /// The object.
    pub sop_instance_uid: &'a Uid,
    /// Why.
    pub reason: &'a str,
}

impl ObjectRefused<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        REFUSED.increment();
        let Self { destination, study_uid, sop_instance_uid, reason } = self;
        error!(
            destination, %study_uid, %sop_instance_uid, reason,
            "object refused for good; once the cause is removed, run: fcdd studies retry {study_uid}"
        );
    }
}

/// A rule withholds objects from a destination.
pub struct DeliveriesHeld<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// Name of the destination.
    pub destination: &'a str,
    /// Number of objects.
    pub objects: usize,
    /// Why.
    pub reason: &'a str,
}

impl DeliveriesHeld<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        HELD.add(self.objects as u64);
        let Self { study_uid, destination, objects, reason } = self;
        warn!(study_uid, destination, objects, reason, "results are withheld from a destination");
    }
}

/// An association with a destination failed.
pub struct DestinationInTrouble<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// What happened.
    pub error: &'a dyn std::fmt::Display,
    /// Failures in a row.
    pub failures: u32,
    /// How long until the next attempt.
    pub wait: Duration,
}

impl DestinationInTrouble<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        TROUBLE.increment();
        let Self { destination, error, failures, wait } = self;
        warn!(destination, %error, failures, ?wait, "delivery failed, will be tried again");
    }
}

/// A destination takes objects again.
pub struct DestinationBack<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// Failures before.
    pub failures: u32,
}

impl DestinationBack<'_> {
    /// Logs.
    pub fn emit(&self) {
        let Self { destination, failures } = self;
        info!(destination, failures, "destination is back, what waited for it follows at once");
    }
}

/// One association's work is done.
pub struct AssociationDone<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// The study.
    pub study_uid: &'a Uid,
    /// Objects stored.
    pub stored: usize,
    /// Objects that were due.
    pub due: usize,
    /// How long it took.
    pub took: Duration,
}

impl AssociationDone<'_> {
    /// Logs.
    pub fn emit(&self) {
        let Self { destination, study_uid, stored, due, took } = self;
        info!(destination, %study_uid, stored, due, ?took, "results sent");
    }
}

/// Every delivery of a study has come to an end.
pub struct StudyDelivered<'a> {
    /// The study, with counts.
    pub settled: &'a SettledStudy,
}

impl StudyDelivered<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        STUDIES.increment();
        let SettledStudy { study_uid, delivered, refused, held } = self.settled;
        info!(%study_uid, delivered, refused, held, "study delivered");
    }
}

/// Deliveries wait for a destination that the configuration does not name (any more).
pub struct UnknownDestination<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// Deliveries that wait.
    pub waiting: u64,
}

impl UnknownDestination<'_> {
    /// Logs.
    pub fn emit(&self) {
        let Self { destination, waiting } = self;
        warn!(destination, waiting, "deliveries wait for a destination that the configuration does not name");
    }
}

/// The ledger failed while delivering. Nothing is lost: the object is sent again, as the same SOP instance.
pub struct LedgerTrouble<'a> {
    /// Name of the destination.
    pub destination: &'a str,
    /// What happened.
    pub error: &'a LedgerError,
}

impl LedgerTrouble<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        LEDGER.increment();
        let Self { destination, error } = self;
        error!(destination, %error, "the ledger failed while delivering; is the disk full?");
    }
}

/// A delivery task panicked and is started again.
pub struct DeliveryPanicked<'a> {
    /// Name of the destination.
    pub destination: &'a str,
}

impl DeliveryPanicked<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        PANICS.increment();
        let Self { destination } = self;
        error!(destination, "the delivery task panicked and is started again; please report this");
    }
}
