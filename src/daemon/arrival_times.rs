//! How long ago the objects of a study came, by a clock that nobody sets.
//!
//! The ledger's times are the wall clock's: they are right over a restart, and wrong by as much as the clock is set. A
//! study that is being received must not be taken for quiet because the clock was set forward, nor wait for a day
//! because it was set back. So a time of the ledger is turned into one of the steady clock when it is seen for the first
//! time, and stays that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::assemble::completion::Arrivals;
use crate::dicom::Uid;

/// Two clocks that went on by times this much apart: the wall clock was set.
const CLOCK_JUMP: Duration = Duration::from_secs(10);

/// The arrivals that the completion watch asks about, from look to look.
#[derive(Debug, Default)]
pub(super) struct ArrivalTimes {
    studies: HashMap<Uid, Seen>,
    /// Wall clock (Unix ms) and steady clock of this look; `None` before the first one.
    now: Option<(i64, Instant)>,
    /// If the clock was set since the last look: how long ago that was. What is new cannot have come before.
    newest_bound: Option<Duration>,
    /// Counts looks.
    look: u64,
}

#[derive(Debug)]
struct Seen {
    first: Arrival,
    last: Arrival,
    look: u64,
}

/// A time of the ledger, and the same by the steady clock.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    wall: Timestamp,
    /// `None`: before the steady clock began.
    steady: Option<Instant>,
}

impl ArrivalTimes {
    /// A look begins, at these times.
    pub(super) fn look(&mut self, wall_ms: i64, steady: Instant) {
        self.newest_bound = self.now.and_then(|(wall_before_ms, steady_before)| {
            let passed = steady.saturating_duration_since(steady_before);
            let by_the_wall_ms = i128::from(wall_ms) - i128::from(wall_before_ms);
            let apart_ms = (by_the_wall_ms - i128::try_from(passed.as_millis()).unwrap_or(i128::MAX)).unsigned_abs();
            (apart_ms >= CLOCK_JUMP.as_millis()).then_some(passed)
        });
        self.now = Some((wall_ms, steady));
        self.look += 1;
    }

    /// What completion asks about a study whose first and latest object came at these times of the wall clock.
    pub(super) fn of(&mut self, study: &Uid, first: Timestamp, last: Timestamp, association_open: bool) -> Arrivals {
        let before = self.studies.get(study);
        let first = self.arrival(before.map(|seen| seen.first), first);
        let last = self.arrival(before.map(|seen| seen.last), last);
        self.studies.insert(study.clone(), Seen { first, last, look: self.look });
        let since = |arrival: Arrival| match (arrival.steady, self.now) {
            (Some(at), Some((_, now))) => now.saturating_duration_since(at),
            _ => Duration::MAX,
        };
        Arrivals { since_first: since(first), since_last: since(last), association_open }
    }

    /// The look is over: studies that were not asked about are forgotten.
    pub(super) fn forget_the_others(&mut self) {
        let look = self.look;
        self.studies.retain(|_, seen| seen.look == look);
    }

    fn arrival(&self, before: Option<Arrival>, wall: Timestamp) -> Arrival {
        if let Some(before) = before.filter(|before| before.wall == wall) {
            return before;
        }
        let Some((now_ms, now)) = self.now else { return Arrival { wall, steady: None } };
        // Not from the future: the clock was set back while nobody looked.
        let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(wall.as_millisecond())).unwrap_or(0));
        let age = self.newest_bound.map_or(age, |bound| age.min(bound));
        Arrival { wall, steady: now.checked_sub(age) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const START_MS: i64 = 1_700_000_000_000;

    /// A watch that looks at one study, with both clocks in its hands (ms since the start).
    struct Watch {
        times: ArrivalTimes,
        start: Instant,
    }

    impl Watch {
        fn new() -> Watch {
            // The steady clock may have begun just now.
            Watch { times: ArrivalTimes::default(), start: Instant::now() + Duration::from_secs(1_000_000) }
        }

        /// Milliseconds since the first and the latest object.
        fn sees(&mut self, wall_ms: i64, steady_ms: u64, first_ms: i64, last_ms: i64) -> (u128, u128) {
            let at = |ms: i64| Timestamp::from_millisecond(START_MS + ms).unwrap();
            self.times.look(START_MS + wall_ms, self.start + Duration::from_millis(steady_ms));
            let arrivals = self.times.of(&Uid::parse("1.2.3").unwrap(), at(first_ms), at(last_ms), false);
            self.times.forget_the_others();
            (arrivals.since_first.as_millis(), arrivals.since_last.as_millis())
        }
    }

    #[test]
    fn while_nobody_sets_the_clock_it_is_the_ledgers_times() {
        let mut watch = Watch::new();
        assert_eq!(watch.sees(5000, 5000, 1000, 4000), (4000, 1000));
        assert_eq!(watch.sees(6000, 6000, 1000, 4000), (5000, 2000));
        assert_eq!(watch.sees(7000, 7000, 1000, 6500), (6000, 500));
    }

    #[test]
    fn a_clock_that_is_set_forward_makes_nothing_quiet() {
        let mut watch = Watch::new();
        assert_eq!(watch.sees(1000, 1000, 0, 1000), (1000, 0));
        assert_eq!(watch.sees(2000 + DAY_MS, 2000, 0, 1000), (2000, 1000));
        // What came last came before the clock was set, or after it.
        assert_eq!(watch.sees(3000 + DAY_MS, 3000, 0, 2500 + DAY_MS), (3000, 500));
        let mut watch = Watch::new();
        assert_eq!(watch.sees(1000, 1000, 0, 1000), (1000, 0));
        assert_eq!(watch.sees(2000 + DAY_MS, 2000, 0, 1500), (2000, 1000));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait_for_it() {
        let mut watch = Watch::new();
        assert_eq!(watch.sees(1000, 1000, 0, 1000), (1000, 0));
        assert_eq!(watch.sees(61_000 - DAY_MS, 61_000, 0, 1000), (61_000, 60_000));
        let mut watch = Watch::new();
        assert_eq!(watch.sees(1000 - DAY_MS, 1000, 0, 500), (0, 0), "set back before the start");
        assert_eq!(watch.sees(61_000 - DAY_MS, 61_000, 0, 500), (60_000, 60_000));
    }

    #[test]
    fn what_waited_through_a_restart_has_waited() {
        assert_eq!(Watch::new().sees(90_000, 500, 0, 10_000), (90_000, 80_000));
    }
}
