//! An object arrives in the spool exactly as it was sent, however it was cut into PDVs; what came before is never
//! overwritten; what does not match its command is refused.

use crate::scripted_peer::*;

fn stored_dataset(receiver: &Receiver, study: &str, sop_instance: &str) -> Vec<u8> {
    let file =
        std::fs::read(receiver.path(&format!("studies/{study}/{sop_instance}.dcm"))).expect("the object is there");
    split_file(&file).3.to_vec()
}

#[tokio::test]
async fn an_empty_fragment_in_the_middle_ends_nothing() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    let object = dataset("1.2.3", "1.2", 20_000);
    let command = store_rq(MR_IMAGE_STORAGE, "1.2.3");
    let (first, second) = object.split_at(10_000);
    // The command in two fragments, the dataset with empty ones between; PDVs share PDUs across that border.
    peer.send(&p_data(&[(1, COMMAND_MORE, &command[..20]), (1, COMMAND_MORE, &[])])).await;
    peer.send(&p_data(&[(1, COMMAND_LAST, &command[20..]), (1, DATA_MORE, &[]), (1, DATA_MORE, first)])).await;
    peer.send(&p_data(&[(1, DATA_MORE, &[])])).await;
    peer.send(&p_data(&[(1, DATA_MORE, second)])).await;
    peer.send(&p_data(&[(1, DATA_LAST, &[])])).await;
    assert_eq!(peer.answer().await.status(), (0x0000, String::new()));
    peer.release().await;
    assert_eq!(stored_dataset(&receiver, "1.2", "1.2.3"), object);
    let receipt = receiver.receipt().await;
    assert_eq!((receipt.offered, receipt.stored, receipt.bytes), (1, 1, object.len() as i64));
    assert_eq!((receipt.outcome.as_deref(), receipt.why.as_str()), (Some("released"), "released by the peer"));
    assert_eq!((receipt.calling_ae.as_str(), receipt.contexts_accepted), ("SCRIPT", 2));
}

#[tokio::test]
async fn large_objects_are_streamed_and_stay_whole() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    let object = dataset("1.2.3", "1.2", 5_000_001);
    peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))])).await;
    let (most, last) = object.split_at(4_500_000);
    for fragment in most.chunks(100_000) {
        peer.send(&p_data(&[(1, DATA_MORE, fragment)])).await;
    }
    receiver.wait_for_incoming().await;
    peer.send_dataset(1, last).await;
    assert_eq!(peer.answer().await.status().0, 0);
    assert_eq!(stored_dataset(&receiver, "1.2", "1.2.3"), object);
    assert!(receiver.files("incoming").is_empty());
}

#[tokio::test]
async fn the_same_bytes_are_ignored_and_other_bytes_are_quarantined() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    let first = dataset("1.2.3", "1.2", 100);
    let mut other = first.clone();
    *other.last_mut().expect("it has bytes") ^= 1;
    let moved = dataset("1.2.3", "1.9", 100); // the same SOP instance, claimed by another study
    for object in [&first, &first, &other, &other, &moved] {
        assert_eq!(peer.store("1.2.3", object).await.status(), (0, String::new()));
    }
    peer.release().await;
    let receipt = receiver.receipt().await;
    assert_eq!((receipt.offered, receipt.stored, receipt.duplicates, receipt.quarantined), (5, 1, 1, 3));
    assert_eq!(stored_dataset(&receiver, "1.2", "1.2.3"), first, "the first one stays");
    let quarantined = receiver.files("quarantine");
    assert_eq!(quarantined.len(), 2, "{quarantined:?}");
    for variant in [&other, &moved] {
        let is_there =
            |path: &std::path::PathBuf| std::fs::read(path).is_ok_and(|file| split_file(&file).3 == *variant);
        assert!(quarantined.iter().any(is_there));
    }
    assert!(receiver.files("studies/1.9").is_empty() && receiver.files("incoming").is_empty());
}

#[tokio::test]
async fn what_does_not_match_its_command_is_refused_and_the_association_goes_on() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    let (status, comment) = peer.store("1.2.4", &dataset("1.2.3", "1.2", 100)).await.status();
    assert_eq!(status, 0xA900);
    assert!(comment.starts_with("SOP instance differs: data set 1.2.3") && comment.len() <= 64, "{comment}");
    let (status, comment) = peer.store("1.2.3", b"\x28\x00\x10\x00US\x02\x00\x01\x00").await.status();
    assert_eq!((status, comment.as_str()), (0xC000, "the data set has no SOP Class UID (0008,0016)"));
    peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3")), (1, DATA_LAST, &[])])).await;
    assert_eq!(peer.answer().await.status().0, 0xC000, "an empty dataset");
    assert_eq!(peer.store("1.2.3", &dataset("1.2.3", "1.2", 100)).await.status().0, 0);
}

#[tokio::test]
async fn uids_are_checked_before_they_touch_a_path() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    for trick in ["../../evil", "/etc/passwd", "1.2/3", "..", "1..2", "1.2\n3"] {
        assert_eq!(peer.store(trick, &dataset(trick, "1.2", 10)).await.status().0, 0x0117, "{trick:?}");
        let (status, _) = peer.store("1.2.3", &dataset("1.2.3", trick, 10)).await.status();
        assert_eq!(status, 0xC000, "study {trick:?}");
    }
    // A SOP class that is not the context's.
    peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq("1.2.840.10008.5.1.4.1.1.2", "1.2.3"))])).await;
    peer.send_dataset(1, &dataset("1.2.3", "1.2", 10)).await;
    assert_eq!(peer.answer().await.status().0, 0x0122);
    peer.release().await;
    let receipt = receiver.receipt().await;
    assert_eq!((receipt.offered, receipt.refused, receipt.stored), (13, 13, 0));
    assert!(receiver.files("studies").is_empty() && receiver.files("incoming").is_empty());
    let outside = receiver.directory().parent().expect("it is below the temporary directory").join("evil.dcm");
    assert!(!outside.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn associations_that_send_the_same_study_at_once_agree() {
    const PEERS: i64 = 8;
    const OBJECTS: i64 = 10;
    let receiver = Receiver::start("").await;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..PEERS {
        let address = receiver.address;
        senders.spawn(async move {
            let mut peer = Peer::associated(address).await;
            for number in 0..OBJECTS {
                let sop_instance = format!("1.2.{number}");
                let status = peer.store(&sop_instance, &dataset(&sop_instance, "1.2", 5000)).await.status();
                assert_eq!(status, (0, String::new()));
            }
            peer.release().await;
        });
    }
    senders.join_all().await;
    let receipts = receiver.receipts(PEERS as usize).await;
    let sum = |count: fn(&fcdd::ledger::associations::AssociationRow) -> i64| receipts.iter().map(count).sum::<i64>();
    assert_eq!(sum(|r| r.stored), OBJECTS);
    assert_eq!(sum(|r| r.duplicates), (PEERS - 1) * OBJECTS);
    assert_eq!(sum(|r| r.quarantined + r.refused), 0);
    assert_eq!(receiver.files("studies").len(), OBJECTS as usize);
}
