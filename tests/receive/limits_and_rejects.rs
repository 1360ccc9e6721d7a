//! Who may associate, how many at once, and how long anything may take. "Busy" and "disk low" are transient
//! rejects, so that senders try again; "not you" is a permanent one.

use std::time::{Duration, Instant};

use fcdd::spool::RenameCommit;

use crate::scripted_peer::*;

async fn associate(receiver: &Receiver, called_ae: &str, calling_ae: &str) -> (Peer, Answer) {
    let mut peer = Peer::connect(receiver.address).await;
    peer.send(&associate_rq(called_ae, calling_ae, &STANDARD_CONTEXTS)).await;
    let answer = peer.answer().await;
    (peer, answer)
}

#[tokio::test]
async fn when_all_places_are_taken_the_next_is_told_to_come_back() {
    let receiver = Receiver::start("max_associations = 2").await;
    let first = Peer::associated(receiver.address).await;
    let second = Peer::associated(receiver.address).await;
    let (peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
    assert_eq!(answer.rejection(), (2, 3, 1), "transient, presentation, temporary congestion");
    drop(peer);
    first.release().await;
    Peer::associated(receiver.address).await.release().await;
    second.release().await;
    let receipts = receiver.receipts(4).await;
    let rejected = receipts.iter().find(|r| r.outcome.as_deref() == Some("rejected")).expect("a receipt of the reject");
    assert_eq!(rejected.why, "there are 2 associations already");
}

#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let receiver = Receiver::start("max_associations_per_peer = 1").await;
    let _first = Peer::associated(receiver.address).await;
    let (_peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
    assert_eq!(answer.rejection(), (2, 3, 1));
}

/// Many senders open an association for each object, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_place_is_enough_for_one_association_after_the_other() {
    let receiver = Receiver::start("max_associations = 1\nmax_associations_per_peer = 1").await;
    for n in 0..100 {
        let (peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
        assert!(matches!(answer, Answer::Pdu(0x02, _)), "association {n}: {answer:?}");
        peer.release().await;
    }
}

#[tokio::test]
async fn a_low_disk_is_a_transient_reject() {
    let receiver = Receiver::start_with("", u64::MAX, Box::new(RenameCommit)).await;
    let (peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
    assert_eq!(answer.rejection(), (2, 3, 2), "transient, presentation, local limit exceeded");
    drop(peer);
    let receipt = receiver.receipt().await;
    assert!(receipt.why.contains("MiB are free in the spool"), "{}", receipt.why);
    assert_eq!(receipt.calling_ae, "SCRIPT");
}

#[tokio::test]
async fn ae_titles_that_are_not_listed_are_rejected_for_good() {
    let receiver = Receiver::start("allowed_calling_ae_titles = [\"MR1\"]").await;
    let (_peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
    assert_eq!(answer.rejection(), (1, 1, 3), "permanent, user, calling AE title not recognized");
    let (_peer, answer) = associate(&receiver, "OTHER", "MR1").await;
    assert_eq!(answer.rejection(), (1, 1, 7), "permanent, user, called AE title not recognized");
    let (_peer, answer) = associate(&receiver, "FCDD", "MR1").await;
    assert!(matches!(answer, Answer::Pdu(0x02, _)), "{answer:?}");
}

#[tokio::test]
async fn addresses_that_are_not_listed_get_no_word() {
    let receiver = Receiver::start("allowed_addresses = [\"192.0.2.1\"]").await;
    let (_peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
    assert_eq!(answer, Answer::Closed);
    let receiver = Receiver::start("allowed_addresses = [\"127.0.0.1\"]").await;
    let (_peer, answer) = associate(&receiver, "FCDD", "SCRIPT").await;
    assert!(matches!(answer, Answer::Pdu(0x02, _)), "{answer:?}");
}

#[tokio::test]
async fn silent_peers_lose_their_place() {
    let receiver = Receiver::start("association_request_timeout_s = 1\nidle_timeout_s = 1").await;
    let begun = Instant::now();
    let mut never_asks = Peer::connect(receiver.address).await;
    let mut never_stores = Peer::associated(receiver.address).await;
    assert_eq!(never_asks.answer().await.abort(), (0, 0));
    assert_eq!(never_stores.answer().await.abort(), (0, 0));
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop((never_asks, never_stores));
    let whys: Vec<String> = receiver.receipts(2).await.into_iter().map(|receipt| receipt.why).collect();
    assert!(whys.iter().any(|why| why == "no association request came within 1 s"), "{whys:?}");
    assert!(whys.iter().any(|why| why.starts_with("the peer was silent for 1 s")), "{whys:?}");
}

#[tokio::test]
async fn a_peer_that_trickles_an_object_is_cut() {
    let receiver = Receiver::start("object_timeout_s = 1").await;
    let mut peer = Peer::associated(receiver.address).await;
    peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))])).await;
    // A byte now and then, each in time for any deadline per PDU.
    let object = dataset("1.2.3", "1.2", 4000);
    let fragment = p_data(&[(1, DATA_MORE, &object)]);
    let trickle = async {
        for byte in fragment.chunks(1) {
            peer.send(byte).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let receipt = tokio::select! {
        receipt = receiver.receipt() => receipt,
        () = trickle => panic!("the peer was not cut"),
    };
    assert_eq!(receipt.outcome.as_deref(), Some("aborted_by_us"));
    assert!(receipt.why.starts_with("a message took longer than 1 s"), "{}", receipt.why);
    assert!(receiver.files("incoming").is_empty());
}

#[tokio::test]
async fn an_endless_object_is_cut() {
    let receiver = Receiver::start("max_object_mib = 2").await;
    let mut peer = Peer::associated(receiver.address).await;
    peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))])).await;
    let object = dataset("1.2.3", "1.2", 2 << 20);
    for fragment in object.chunks(100_000) {
        peer.send(&p_data(&[(1, DATA_MORE, fragment)])).await;
    }
    assert_eq!(peer.answer().await.abort(), (0, 0));
    drop(peer);
    let receipt = receiver.receipt().await;
    assert!(receipt.why.starts_with("an object is larger than 2 MiB"), "{}", receipt.why);
    assert!(receiver.files("incoming").is_empty() && receiver.files("studies").is_empty());
}
