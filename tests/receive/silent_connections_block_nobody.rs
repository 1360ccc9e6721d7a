//! Hundreds of silent connections: the limits of the configuration hold, a peer that speaks gets through or is told to
//! come back later, the silent ones lose their places in time, and neither the log nor the memory grows with them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hostile_peers::{Memory, complaints, daemon_of_short_waits, receipts_of};
use crate::scripted_peer::{Answer, PATIENCE, Peer, STANDARD_CONTEXTS, associate_rq, dataset};
use crate::support::{Configuration, Daemon, Exit, require_onnxruntime};

const MANY: usize = 500;
/// `receive.max_associations` and `receive.max_associations_per_peer`; the rest of the daemon is as by default.
const TOTAL: usize = 64;
const PER_PEER: usize = 16;
/// Connections over the limits that may wait to be told (the conformance statement names the number).
const WAITING: usize = 32;
/// Transient, presentation, temporary congestion.
const COME_BACK_LATER: (u8, u8, u8) = (2, 3, 1);

/// Silent connections hold their places for this long: long enough for what is to be seen meanwhile.
const HELD_S: i64 = 6;

fn configuration() -> Configuration {
    daemon_of_short_waits()
        .set("receive.max_associations", TOTAL as i64)
        .set("receive.max_associations_per_peer", PER_PEER as i64)
        .set("receive.association_request_timeout_s", HELD_S)
        .set("receive.idle_timeout_s", HELD_S)
}

async fn knock(daemon: SocketAddr, from: [u8; 4]) -> (Peer, Answer) {
    let mut peer = Peer::connect_from(from, daemon).await;
    peer.send(&associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS)).await;
    let answer = peer.answer().await;
    (peer, answer)
}

/// Associates, stores and releases.
async fn is_served(daemon: SocketAddr, from: [u8; 4], uid: &str) {
    let (mut peer, answer) = knock(daemon, from).await;
    assert!(matches!(answer, Answer::Pdu(0x02, _)), "{from:?}: {answer:?}");
    assert_eq!(peer.store(uid, &dataset(uid, "2.25.777", 5000)).await.status().0, 0);
    peer.release().await;
}

async fn is_told_to_come_back(daemon: SocketAddr, from: [u8; 4]) {
    let begun = Instant::now();
    let (_peer, answer) = knock(daemon, from).await;
    assert_eq!(answer.rejection(), COME_BACK_LATER);
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited {:?} for its answer", begun.elapsed());
}

/// Waits until all of them are closed, and says how many were told by an A-ABORT.
async fn told_and_closed(silent: Vec<Peer>) -> usize {
    let mut told = 0;
    for mut peer in silent {
        match peer.answer().await {
            Answer::Closed => {}
            answer => {
                assert_eq!(answer.abort(), (0, 0), "a limit of ours, not a violation");
                told += 1;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_from_one_address() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(configuration());
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));
    let memory = Memory::at_rest(daemon.id());
    let (silent_one, other) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    let mut silent = Vec::new();
    for _ in 0..MANY {
        silent.push(Peer::connect_from(silent_one, address).await);
    }
    // Another address does not notice; the same one is answered, although nobody before it was.
    is_served(address, other, "2.25.777.1").await;
    is_told_to_come_back(address, silent_one).await;
    is_served(address, other, "2.25.777.2").await;
    let told = told_and_closed(silent).await;
    assert!((PER_PEER..=PER_PEER + WAITING).contains(&told), "{told} were told; no more than that had a place");
    is_served(address, silent_one, "2.25.777.3").await;
    memory.assert_small("500 silent connections from one address");
    is_bounded(daemon, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_from_fifty_addresses() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(configuration());
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));
    let memory = Memory::at_rest(daemon.id());
    let stranger = [127, 0, 1, 200];
    let mut silent = Vec::new();
    for number in 0..MANY {
        silent.push(Peer::connect_from([127, 0, 1, 1 + (number % 50) as u8], address).await);
    }
    // All places are taken: whoever speaks is told so at once.
    for _ in 0..3 {
        is_told_to_come_back(address, stranger).await;
    }
    let told = told_and_closed(silent).await;
    assert!((TOTAL..=TOTAL + WAITING).contains(&told), "{told} were told; no more than that had a place");
    is_served(address, stranger, "2.25.777.1").await;
    memory.assert_small("500 silent connections from 50 addresses");
    is_bounded(daemon, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_associations_lose_their_places() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(configuration());
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));
    let memory = Memory::at_rest(daemon.id());
    let mut silent = Vec::new();
    for number in 0..TOTAL {
        let (peer, answer) = knock(address, [127, 0, 2, 1 + (number / PER_PEER) as u8]).await;
        assert!(matches!(answer, Answer::Pdu(0x02, _)), "{number}: {answer:?}");
        silent.push(peer);
    }
    let (speaking, crowded) = ([127, 0, 2, 200], [127, 0, 2, 1]);
    is_told_to_come_back(address, speaking).await;
    is_told_to_come_back(address, crowded).await;
    assert_eq!(told_and_closed(silent).await, TOTAL);
    is_served(address, speaking, "2.25.777.1").await;
    is_served(address, crowded, "2.25.777.2").await;
    memory.assert_small("64 silent associations");
    let receipts = receipts_of(&daemon);
    let silent =
        receipts.iter().filter(|r| r["why"].as_str().is_some_and(|why| why.starts_with("the peer was silent for")));
    assert_eq!(silent.count(), TOTAL);
}

/// Receipts for those that had a place, few lines for the rest, and the number of all of them in the lines.
fn is_bounded(mut daemon: Daemon, told: usize) {
    // Then every receipt and every line is written.
    daemon.terminate();
    assert_eq!(daemon.wait_for_exit(PATIENCE), Exit::Status(0));
    let receipts = receipts_of(&daemon);
    let is_silent = |why: &str| why.starts_with("no association request came within");
    let silent = receipts.iter().filter(|receipt| receipt["why"].as_str().is_some_and(is_silent)).count();
    assert_eq!(silent, told, "a receipt for each that was told");
    let lines = complaints(&daemon.log());
    let said = |message: &str| -> Vec<Value> {
        lines.iter().filter(|line| line["fields"]["message"] == message).cloned().collect()
    };
    let single = said("connection closed without an answer");
    let many = said("further connections closed without an answer");
    let counted: u64 = many.iter().filter_map(|line| line["fields"]["count"].as_u64()).sum();
    assert_eq!(single.len() as u64 + counted, (MANY - told) as u64, "each is counted once: {single:?} {many:?}");
    assert!(single.len() + many.len() <= 4, "{single:?} {many:?}");
    // Besides: one for each that had a place, and for each reject that was wanted here.
    assert!(lines.len() <= told + 4 + 4, "{} lines", lines.len());
}
