//! A well-behaved association: one object after the other, each answered with success, all of them there at the end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::scripted_peer::{Peer, dataset};

/// Its study.
pub const GOOD_STUDY: &str = "2.25.777";

/// Longest pause between two objects; below every timer of the daemon.
const PULSE: Duration = Duration::from_millis(250);

/// An association that stores.
pub struct GoodPeer {
    peer: Peer,
    stored: Vec<String>,
}

impl GoodPeer {
    pub async fn associate(daemon: SocketAddr) -> GoodPeer {
        GoodPeer { peer: Peer::associated(daemon).await, stored: Vec::new() }
    }

    /// Stores an object for each message, and now and then, until the channel is closed; then releases. Its objects.
    pub async fn keep_storing(mut self, mut occasions: mpsc::UnboundedReceiver<()>) -> Vec<(String, Vec<u8>)> {
        loop {
            match timeout(PULSE, occasions.recv()).await {
                Ok(None) => break,
                Ok(Some(())) | Err(_) => self.store().await,
            }
        }
        self.peer.release().await;
        self.stored.iter().map(|uid| (uid.clone(), object(uid))).collect()
    }

    async fn store(&mut self) {
        let uid = format!("{GOOD_STUDY}.{}", self.stored.len() + 1);
        let (status, comment) = self.peer.store(&uid, &object(&uid)).await.status();
        assert_eq!(status, 0, "the good peer's object {uid} was refused: {comment}");
        self.stored.push(uid);
    }
}

fn object(uid: &str) -> Vec<u8> {
    dataset(uid, GOOD_STUDY, 8000)
}
