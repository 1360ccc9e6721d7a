//! Until when a peer is waited for within an association, and what its receipt says once that is over.

use tokio::time::Instant;

use super::abort::AbortCause;
use super::pace::{Pace, TooSlow, seconds};
use super::receipt::Stop;
use crate::config;

/// Which limit of the configuration a peer comes up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// `receive.idle_timeout_s`, between two messages.
    Idle,
    /// `receive.object_timeout_s`.
    Message,
    /// `receive.min_bytes_per_s`.
    Rate,
    /// `receive.association_timeout_s`.
    Association,
}

/// When waiting for the next bytes ends, and by which limit. Between messages (`pace` is `None`) the idle time counts,
/// from `idle_since` on; the association ends at `ends_at` whatever comes.
pub(super) fn wait_until(
    config: &config::Receive,
    pace: Option<&Pace>,
    bytes_received: u64,
    idle_since: Instant,
    ends_at: Instant,
) -> (Instant, Limit) {
    let (at, limit) = match pace.map(|pace| pace.deadline(bytes_received)) {
        None => (idle_since + seconds(config.idle_timeout_s), Limit::Idle),
        Some((at, TooSlow::Total)) => (at, Limit::Message),
        Some((at, TooSlow::Rate)) => (at, Limit::Rate),
    };
    if ends_at < at { (ends_at, Limit::Association) } else { (at, limit) }
}

impl Limit {
    /// The end of the association by this limit. `unfinished_bytes`: how much of a PDU lies there that never became whole.
    pub(super) fn reached(self, config: &config::Receive, unfinished_bytes: usize) -> Stop {
        let (cause, why) = match self {
            Limit::Idle if unfinished_bytes > 0 => (
                AbortCause::Silence,
                format!(
                    "the peer left a PDU unfinished for {} s (receive.idle_timeout_s), {unfinished_bytes} bytes of it had \
                     come",
                    config.idle_timeout_s
                ),
            ),
            Limit::Idle => (
                AbortCause::Silence,
                format!("the peer was silent for {} s (receive.idle_timeout_s)", config.idle_timeout_s),
            ),
            Limit::Message => (
                AbortCause::TooSlow,
                format!("a message took longer than {} s (receive.object_timeout_s)", config.object_timeout_s),
            ),
            Limit::Rate => (
                AbortCause::TooSlow,
                format!(
                    "the peer sent slower than {} bytes per second (receive.min_bytes_per_s)",
                    config.min_bytes_per_s
                ),
            ),
            Limit::Association => (
                AbortCause::LastedTooLong,
                format!(
                    "the association lasted longer than {} s (receive.association_timeout_s)",
                    config.association_timeout_s
                ),
            ),
        };
        Stop::because(cause, why)
    }
}
