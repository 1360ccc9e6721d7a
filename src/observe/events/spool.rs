//! Events of the spool: its room, and whether it is still where it was.

use crate::observe::metrics::Counter;

static ROOM_RAN_OUT: Counter =
    Counter::new("fcdd_spool_rejecting_total", "Times that the spool had too little room for new associations.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[&ROOM_RAN_OUT];

/// The spool's room went to another level.
pub struct RoomChanged<'a> {
    /// Free space, MiB.
    pub free_mib: u64,
    /// The level before.
    pub was: &'a str,
    /// The level now.
    pub now: &'a str,
    /// There is more room than before.
    pub is_better: bool,
    /// No new associations at this level.
    pub stops_intake: bool,
}

impl RoomChanged<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        let Self { free_mib, was, now, .. } = *self;
        if self.stops_intake && !self.is_better {
            ROOM_RAN_OUT.increment();
            tracing::error!(free_mib, was, now, "the spool runs out of room: make room, or intake stays closed");
        } else if self.is_better {
            tracing::info!(free_mib, was, now, "the spool has more room again");
        } else {
            tracing::warn!(free_mib, was, now, "the spool is getting full");
        }
    }
}

/// The spool's path leads somewhere else than when it was opened.
pub struct SpoolReplaced<'a> {
    /// What was found.
    pub error: &'a dyn std::fmt::Display,
}

impl SpoolReplaced<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(error = %self.error, "intake is closed until the spool is back");
    }
}
