//! How long a message may take: a total, and a minimum rate that is judged after a grace time.
//!
//! Deadlines per PDU are not enough: a peer that sends a byte now and then keeps those for ever.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum rate is judged only after this time.
pub const GRACE: Duration = Duration::from_secs(10);

/// A time of the configuration; cut at a year, so that adding it to an instant cannot overflow.
pub(super) fn seconds(configured: u64) -> Duration {
    Duration::from_secs(configured.min(365 * 86_400))
}

/// The clock of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    started: Instant,
    /// The stream's byte count when the message began.
    bytes_before: u64,
    limit: Duration,
    min_bytes_per_s: u64,
}

/// Why a message was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooSlow {
    /// The total time.
    Total,
    /// The average rate.
    Rate,
}

impl Pace {
    pub(super) fn new(started: Instant, bytes_before: u64, limit: Duration, min_bytes_per_s: u64) -> Pace {
        Pace { started, bytes_before, limit, min_bytes_per_s }
    }

    /// The moment at which the peer is too slow, should nothing more arrive. It moves on as bytes arrive.
    pub(super) fn deadline(&self, bytes_received: u64) -> (Instant, TooSlow) {
        let total = self.started + self.limit;
        let bytes = bytes_received.saturating_sub(self.bytes_before);
        if self.min_bytes_per_s == 0 {
            return (total, TooSlow::Total);
        }
        // Cut at a day: beyond it the total decides anyway, and an addition to an instant cannot overflow.
        let paid_s = (bytes as f64 / self.min_bytes_per_s as f64).min(86_400.0);
        let rate = self.started + GRACE.max(Duration::from_secs_f64(paid_s));
        if rate < total { (rate, TooSlow::Rate) } else { (total, TooSlow::Total) }
    }

    /// Takes out time that we spent ourselves, writing: it is not the peer's fault.
    pub(super) fn excuse(&mut self, ours: Duration) {
        self.started += ours;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time_up_to_the_total() {
        let start = Instant::now();
        let s = Duration::from_secs;
        let mut pace = Pace::new(start, 1000, s(60), 100);
        assert_eq!(pace.deadline(1000), (start + s(10), TooSlow::Rate));
        assert_eq!(pace.deadline(1000 + 2000), (start + s(20), TooSlow::Rate));
        assert_eq!(pace.deadline(1_000_000), (start + s(60), TooSlow::Total));
        pace.excuse(s(5));
        assert_eq!(pace.deadline(1000), (start + s(15), TooSlow::Rate));
        assert_eq!(Pace::new(start, 0, s(60), 0).deadline(0), (start + s(60), TooSlow::Total));
    }
}
