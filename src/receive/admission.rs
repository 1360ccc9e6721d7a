//! Who may be connected at once: places in total and for each address.
//!
//! An association gives its place back before its peer is told that it is over: whoever has read the answer can come
//! again at once, and a sender that opens an association for each object needs one place. What is left of it then, the
//! wait for the peer to close and the receipt, is limited as well.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::waiting_room::{MAX_TURNED_AWAY, Place, TurnedAway, WaitingRoom};
use crate::config;

/// The places.
#[derive(Debug)]
pub(super) struct Limits {
    total: Arc<Semaphore>,
    per_peer: Arc<Mutex<HashMap<IpAddr, usize>>>,
    waiting_room: WaitingRoom,
    /// Connections that are over for their peers: as many as may be open. While there are more (the ledger is far
    /// behind, or peers do not close), associations keep their places.
    ending: Arc<Semaphore>,
    max_total: usize,
    max_per_peer: usize,
}

impl Limits {
    pub(super) fn new(config: &config::Receive) -> Limits {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Limits {
            total: places(config.max_associations),
            per_peer: Arc::default(),
            waiting_room: WaitingRoom::default(),
            ending: places(config.max_associations.saturating_add(MAX_TURNED_AWAY)),
            max_total: config.max_associations,
            max_per_peer: config.max_associations_per_peer,
        }
    }

    /// Decides about a connection before a byte of it is read; and whose connection is closed without an answer for it,
    /// if any is.
    pub(super) fn admit(&self, peer: IpAddr) -> (Admission, Option<IpAddr>) {
        // The address's permit is given back where there is no place: being told to come back later must not cost it
        // one.
        let why = match self.peer_permit(peer) {
            None => format!("this address has {} associations already", self.max_per_peer),
            Some(peer) => match self.total.clone().try_acquire_owned() {
                Ok(total) => return (self.admission(Holding::Association { _total: total, _peer: peer }), None),
                Err(_) => format!("there are {} associations already", self.max_total),
            },
        };
        let (place, displaced) = self.waiting_room.enter(peer, why);
        (self.admission(Holding::TurnedAway(place)), displaced)
    }

    fn admission(&self, holding: Holding) -> Admission {
        Admission { holding: Arc::new(Mutex::new(holding)), ending: self.ending.clone() }
    }

    fn peer_permit(&self, peer: IpAddr) -> Option<PeerPermit> {
        let mut per_peer = self.per_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = per_peer.entry(peer).or_insert(0);
        if *connections >= self.max_per_peer {
            return None;
        }
        *connections += 1;
        Some(PeerPermit { per_peer: self.per_peer.clone(), peer })
    }
}

/// One connection of an address.
#[derive(Debug)]
struct PeerPermit {
    per_peer: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let mut per_peer = self.per_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = per_peer.get_mut(&self.peer) {
            *connections -= 1;
            if *connections == 0 {
                per_peer.remove(&self.peer);
            }
        }
    }
}

/// A connection may go on: a shared handle on what it holds. Nothing is held once all handles are dropped.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    holding: Arc<Mutex<Holding>>,
    ending: Arc<Semaphore>,
}

#[derive(Debug)]
enum Holding {
    /// A place, to be an association.
    Association { _total: OwnedSemaphorePermit, _peer: PeerPermit },
    /// A place in the waiting room, to be told to come back later.
    TurnedAway(Place),
    /// It is over for the peer.
    Ending { _permit: Option<OwnedSemaphorePermit> },
}

impl Admission {
    /// How it is turned away, if it is.
    pub(super) fn turned_away(&self) -> Option<TurnedAway> {
        match &*self.lock() {
            Holding::TurnedAway(place) => Some(place.turned_away.clone()),
            Holding::Association { .. } | Holding::Ending { .. } => None,
        }
    }

    /// Before the peer is told that it is over: gives an association's place back. One that is turned away stays in the
    /// waiting room until it is gone, where a newcomer can displace it.
    pub(super) async fn farewell(&self) {
        match self.turned_away() {
            Some(turned_away) => turned_away.is_being_answered(),
            None => self.end().await,
        }
    }

    /// There is nothing left but its receipt to be written.
    pub(super) async fn end(&self) {
        if matches!(*self.lock(), Holding::Ending { .. }) {
            return;
        }
        // Nobody closes the semaphore; if that happened, there would be no limit.
        let permit = self.ending.clone().acquire_owned().await.ok();
        *self.lock() = Holding::Ending { _permit: permit };
    }

    fn lock(&self) -> MutexGuard<'_, Holding> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn limits(total: usize, per_peer: usize) -> Limits {
        let text = format!("ae_title = \"FCDD\"\nmax_associations = {total}\nmax_associations_per_peer = {per_peer}");
        Limits::new(&toml::from_str(&text).unwrap())
    }

    fn why(admission: &Admission) -> Option<String> {
        admission.turned_away().map(|turned_away| turned_away.why)
    }

    #[tokio::test]
    async fn a_place_is_free_before_the_peer_hears_that_it_is_over() {
        for (limits, full) in [
            (limits(1, 9), "there are 1 associations already"),
            (limits(9, 1), "this address has 1 associations already"),
        ] {
            let (first, _) = limits.admit(PEER);
            assert_eq!(why(&first), None);
            assert_eq!(why(&limits.admit(PEER).0).as_deref(), Some(full));
            first.farewell().await;
            // The first one lingers, and its receipt is not written yet.
            let (second, _) = limits.admit(PEER);
            assert_eq!(why(&second), None);
            assert_eq!(why(&limits.admit(PEER).0).as_deref(), Some(full));
        }
    }

    #[tokio::test]
    async fn connections_that_do_not_come_to_their_end_are_limited_too() {
        let limits = limits(1, 1);
        let mut ending = Vec::new();
        for _ in 0..1 + MAX_TURNED_AWAY {
            let (admission, _) = limits.admit(PEER);
            admission.farewell().await;
            ending.push(admission);
        }
        let (next, _) = limits.admit(PEER);
        assert_eq!(why(&next), None);
        let mut farewell = tokio::spawn({
            let next = next.clone();
            async move { next.farewell().await }
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut farewell).await.is_err(), "it keeps its place");
        assert!(why(&limits.admit(PEER).0).is_some());
        ending.pop();
        tokio::time::timeout(Duration::from_secs(20), farewell).await.expect("there is room now").unwrap();
        assert_eq!(why(&limits.admit(PEER).0), None);
    }
}
