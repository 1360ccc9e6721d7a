//! Lines about connections that are closed without an answer: the first one at once, then one line with their number for
//! as long as they keep coming. Whoever opens thousands of connections must not fill the log; the metric counts each.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::observe::events::receive::{ConnectionRefused, ConnectionsRefused};

/// Time between two lines for the same reason.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Why a connection is closed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The address is not listed.
    AddressNotAllowed,
    /// It waited to be turned away, and others came after it.
    Displaced,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::AddressNotAllowed => "the address is not in receive.allowed_addresses",
            Why::Displaced => {
                "receive.max_associations or receive.max_associations_per_peer is reached, it asked for nothing, and \
                 others came after it"
            }
        }
    }
}

/// What has not been told yet.
#[derive(Debug, Default)]
pub(super) struct RefusedConnections(Vec<Untold>);

#[derive(Debug)]
struct Untold {
    why: Why,
    count: u64,
    last: IpAddr,
    since: Instant,
}

impl RefusedConnections {
    /// Counts one; tells of it at once unless a line of the same kind has just been written.
    pub(super) fn note(&mut self, peer: IpAddr, why: Why, now: Instant) {
        let refused = ConnectionRefused { peer, why: why.text() };
        match self.0.iter_mut().find(|untold| untold.why == why) {
            Some(untold) => {
                untold.count += 1;
                untold.last = peer;
                refused.count();
            }
            None => {
                refused.emit();
                self.0.push(Untold { why, count: 0, last: peer, since: now });
            }
        }
    }

    /// Returns when [`RefusedConnections::tell`] has something to do; never where there is nothing.
    pub(super) async fn wait(&self) {
        match self.0.iter().map(|untold| untold.since + LINE_EVERY).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Tells of those whose time has come.
    pub(super) fn tell(&mut self, now: Instant) {
        self.0.retain_mut(|untold| {
            if now < untold.since + LINE_EVERY {
                return true;
            }
            if untold.count == 0 {
                return false;
            }
            ConnectionsRefused { count: untold.count, last: untold.last, why: untold.why.text() }.emit();
            (untold.count, untold.since) = (0, now);
            true
        });
    }

    /// Tells of all: nothing more will come.
    pub(super) fn tell_all(mut self) {
        self.tell(Instant::now() + LINE_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_one_line_per_while() {
        let (peer, start) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        let mut refused = RefusedConnections::default();
        refused.note(peer, Why::Displaced, start);
        for _ in 0..1000 {
            refused.note(peer, Why::Displaced, start);
        }
        assert_eq!(refused.0[0].count, 1000, "the first one was told at once");
        refused.note(peer, Why::AddressNotAllowed, start);
        assert_eq!(refused.0[1].count, 0, "another reason has a line of its own");
        refused.tell(start + LINE_EVERY / 2);
        assert_eq!(refused.0[0].count, 1000, "it is not time yet");
        refused.tell(start + LINE_EVERY);
        assert_eq!((refused.0.len(), refused.0[0].count), (1, 0));
        refused.tell(start + LINE_EVERY * 2);
        assert!(refused.0.is_empty(), "after a quiet while the next one is told at once again");
    }
}
