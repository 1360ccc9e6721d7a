//! Connections over the limits, until they have said who they are and can be told to come back later.
//!
//! There are few places. A newcomer takes the place of whoever has waited longest: a peer that speaks is answered at once
//! although hundreds of others are silent, and those never hold more than these places.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Connections over the limits that may wait for their transient reject at once; one more, and the one that has waited
/// longest is closed without an answer.
pub const MAX_TURNED_AWAY: usize = 32;

/// The places.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitingRoom(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    waiting: VecDeque<Waiting>,
    /// Of the next one who enters; no number is given twice.
    next_number: u64,
}

#[derive(Debug)]
struct Waiting {
    peer: IpAddr,
    turned_away: TurnedAway,
    /// What tells one from the other; an address may wait several times.
    number: u64,
}

/// A connection over the limits: it may say who it is, and is told to come back later.
#[derive(Debug, Clone)]
pub(super) struct TurnedAway {
    /// Which limit is reached.
    pub(super) why: String,
    /// Cancelled when a newcomer takes the place.
    has_to_go: CancellationToken,
    /// It has been told, and only lingers.
    is_answered: Arc<AtomicBool>,
}

impl TurnedAway {
    /// It is being told: whatever becomes of it now, it was not closed without an answer.
    pub(super) fn is_being_answered(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }
}

/// Does something with a connection; `None` where that was cut short because a newcomer took its place.
pub(super) async fn unless_displaced<T>(turned_away: Option<&TurnedAway>, work: impl Future<Output = T>) -> Option<T> {
    let Some(turned_away) = turned_away else { return Some(work.await) };
    tokio::select! {
        biased;
        () = turned_away.has_to_go.cancelled() => None,
        done = work => Some(done),
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: WaitingRoom,
    number: u64,
    pub(super) turned_away: TurnedAway,
}

impl WaitingRoom {
    /// A place for a connection from `peer`; and who was closed without an answer for it, if anybody was.
    pub(super) fn enter(&self, peer: IpAddr, why: String) -> (Place, Option<IpAddr>) {
        let mut places = self.lock();
        let Places { waiting, next_number } = &mut *places;
        let number = *next_number;
        *next_number += 1;
        let longest = if waiting.len() < MAX_TURNED_AWAY { None } else { waiting.pop_front() };
        let turned_away = TurnedAway { why, has_to_go: CancellationToken::new(), is_answered: Arc::default() };
        waiting.push_back(Waiting { peer, turned_away: turned_away.clone(), number });
        let displaced = longest.and_then(|longest| {
            longest.turned_away.has_to_go.cancel();
            let is_answered = longest.turned_away.is_answered.load(Ordering::Relaxed);
            (!is_answered).then_some(longest.peer)
        });
        (Place { room: self.clone(), number, turned_away }, displaced)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().waiting.retain(|waiting| waiting.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_takes_the_place_of_whoever_has_waited_longest() {
        let room = WaitingRoom::default();
        let address = |last: usize| IpAddr::from([192, 0, 2, last as u8]);
        let enter = |last: usize| room.enter(address(last), "no place".into());
        let has_to_go = |place: &Place| place.turned_away.has_to_go.is_cancelled();
        let mut places: Vec<Place> = (0..MAX_TURNED_AWAY).map(|n| enter(n).0).collect();
        assert!(!places.iter().any(has_to_go));
        let (newcomer, displaced) = enter(200);
        assert_eq!(displaced, Some(address(0)));
        assert!(has_to_go(&places[0]) && !has_to_go(&places[1]));
        // One that was told goes too, and nobody needs to hear of it.
        places[1].turned_away.is_being_answered();
        let (_next, displaced) = enter(201);
        assert_eq!((displaced, has_to_go(&places[1])), (None, true));
        // One that goes by itself leaves its place to the next.
        places.remove(2);
        let (_next_but_one, displaced) = enter(202);
        assert_eq!(displaced, None);
        assert!(!has_to_go(&newcomer) && !has_to_go(&places[2]));
    }
}
