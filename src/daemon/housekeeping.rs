//! Small regular work: noticing what another process wrote into the ledger, that somebody set the clock, how much room
//! there is; the metrics file; expiry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::WakeUps;
use super::expiry::{Expiry, Removed};
use super::tick::Tick;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::ledger::outside_writes::OutsideWrites;
use crate::observe::events::daemon::{ClockJumped, LedgerWritten, TaskTrouble};
use crate::observe::events::{self, spool::SpoolReplaced};
use crate::observe::metrics;
use crate::spool::room::RoomWatch;
use crate::spool::{Spool, SpoolError};

/// The only regular wake-up of an idle daemon: with what little else there is, less than one in a second. What is done in
/// each needs no other thread.
const TICK: Duration = Duration::from_secs(2);
const METRICS_EVERY: Duration = Duration::from_secs(15);
const EXPIRY_EVERY: Duration = Duration::from_secs(60);

/// A wall clock that goes this much faster or slower than time itself was set by somebody.
const CLOCK_JUMP: SignedDuration = SignedDuration::from_secs(60);

/// After the clock was set forward nothing is removed for so long: by then somebody may have set it right.
const NO_EXPIRY_AFTER_JUMP: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Housekeeping {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub spool: Spool,
    pub room: Arc<RoomWatch>,
    pub wake_ups: WakeUps,
}

impl Housekeeping {
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut metrics_written: Option<Instant> = None;
        let mut expired: Option<Instant> = None;
        let mut outside_writes = OutsideWrites::new(&self.spool.ledger_path());
        let tick = Tick::every(TICK);
        let mut spool_is_there = true;
        let mut clock = Clock::new();
        let mut expiry = Expiry::default();
        let is_due = |last: Option<Instant>, every: Duration| last.is_none_or(|at| at.elapsed() >= every);
        loop {
            match outside_writes.look(&self.ledger).await {
                // `fcdd studies retry` writes from another process: its studies are complete, its objects waiting.
                Ok(true) => {
                    LedgerWritten.emit();
                    self.wake_everybody();
                }
                Ok(false) => {}
                Err(error) => TaskTrouble { task: "ledger watch", error: &error }.emit(),
            }
            if let Some(jump) = clock.jump() {
                ClockJumped { seconds: jump.as_secs() }.emit();
                self.wake_everybody();
            }
            spool_is_there = self.look_at_the_room(spool_is_there);
            if is_due(metrics_written, METRICS_EVERY) {
                metrics_written = Some(Instant::now());
                self.write_metrics();
            }
            if is_due(expired, EXPIRY_EVERY) && !clock.was_set_forward_lately() && spool_is_there {
                expired = Some(Instant::now());
                match expiry.pass(&self.config.spool, &self.ledger, &self.spool).await {
                    // More is due than is removed at once: on with it, after a look at everything else.
                    Ok(Removed::AsManyAsAtOnce) => expired = None,
                    Ok(Removed::WhatWasDue) => {}
                    Err(error) => TaskTrouble { task: "expiry", error: &error }.emit(),
                }
            }
            tokio::select! {
                _ = stop.cancelled() => return,
                () = tick.next() => {}
            }
        }
    }

    fn wake_everybody(&self) {
        self.wake_ups.study_complete.notify_one();
        self.wake_ups.objects_rendered.notify_one();
    }

    /// Said once when it goes and once when it is back.
    fn look_at_the_room(&self, was_there: bool) -> bool {
        match self.room.look() {
            Err(error @ SpoolError::Replaced { .. }) => {
                if was_there {
                    SpoolReplaced { error: &error }.emit();
                }
                false
            }
            Err(error) => {
                TaskTrouble { task: "watch over the spool's room", error: &error }.emit();
                was_there
            }
            Ok(_) => true,
        }
    }

    fn write_metrics(&self) {
        let path = self.config.spool.directory.join("metrics.prom");
        let text = metrics::render(&events::counters());
        // Written aside and renamed, so that a collector never reads half a file; it need not survive a power cut.
        let aside = path.with_extension("prom.new");
        if let Err(error) = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, &path)) {
            TaskTrouble { task: "metrics file", error: &error }.emit();
        }
    }
}

/// Compares the wall clock with time itself.
struct Clock {
    wall: Timestamp,
    steady: Instant,
    set_forward: Option<Instant>,
}

impl Clock {
    fn new() -> Clock {
        Clock { wall: Timestamp::now(), steady: Instant::now(), set_forward: None }
    }

    /// How far the wall clock was set since the last call, if it was.
    fn jump(&mut self) -> Option<SignedDuration> {
        self.jump_at(Timestamp::now(), Instant::now())
    }

    fn jump_at(&mut self, wall: Timestamp, steady: Instant) -> Option<SignedDuration> {
        let passed = SignedDuration::try_from(steady.duration_since(self.steady)).unwrap_or(SignedDuration::ZERO);
        let jump = wall.duration_since(self.wall) - passed;
        (self.wall, self.steady) = (wall, steady);
        if jump >= CLOCK_JUMP {
            self.set_forward = Some(steady);
        }
        (jump.abs() >= CLOCK_JUMP).then_some(jump)
    }

    fn was_set_forward_lately(&self) -> bool {
        self.set_forward.is_some_and(|at| at.elapsed() < NO_EXPIRY_AFTER_JUMP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_runs_is_not() {
        let mut clock = Clock::new();
        let (wall, steady) = (clock.wall, clock.steady);
        let seconds = SignedDuration::from_secs;
        assert_eq!(clock.jump_at(wall + seconds(10), steady + Duration::from_secs(10)), None);
        assert_eq!(clock.jump_at(wall + seconds(4000), steady + Duration::from_secs(11)), Some(seconds(3989)));
        assert!(clock.was_set_forward_lately());
        let mut clock = Clock::new();
        let (wall, steady) = (clock.wall, clock.steady);
        assert_eq!(clock.jump_at(wall - seconds(600), steady + Duration::from_secs(1)), Some(seconds(-601)));
        assert!(!clock.was_set_forward_lately(), "back: nothing is removed too early");
    }
}
