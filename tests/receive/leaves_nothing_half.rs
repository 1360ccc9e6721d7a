//! Aborts, failing disks, defects and a stop in the middle of an object: nothing is half there afterwards, nothing
//! is answered with success that is not safe, and the receipt says what happened.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use fcdd::dicom::Uid;
use fcdd::ledger::Ledger;
use fcdd::spool::{Commit, Committed, RenameCommit, Spool, SpoolError};

use crate::scripted_peer::*;

/// An association in the middle of a large object whose temporary file exists.
async fn in_the_middle_of_an_object(receiver: &Receiver) -> Peer {
    let mut peer = Peer::associated(receiver.address).await;
    peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))])).await;
    for fragment in dataset("1.2.3", "1.2", 3_000_000)[..2_000_000].chunks(100_000) {
        peer.send(&p_data(&[(1, DATA_MORE, fragment)])).await;
    }
    receiver.wait_for_incoming().await;
    peer
}

#[tokio::test]
async fn an_abort_in_the_middle_of_an_object_leaves_no_file() {
    let receiver = Receiver::start("").await;
    let mut peer = in_the_middle_of_an_object(&receiver).await;
    peer.send(&A_ABORT).await;
    let receipt = receiver.receipt().await;
    assert_eq!(receipt.outcome.as_deref(), Some("aborted_by_peer"));
    assert!(receipt.why.starts_with("the peer aborted (its application), while object 1.2.3"), "{}", receipt.why);
    assert!(receipt.why.contains("(2000000 bytes of it had come; it was discarded)"), "{}", receipt.why);
    assert_eq!((receipt.offered, receipt.stored, receipt.bytes), (1, 0, 2_000_000));
    assert!(receiver.files("incoming").is_empty() && receiver.files("studies").is_empty());
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_no_file() {
    let receiver = Receiver::start("").await;
    drop(in_the_middle_of_an_object(&receiver).await);
    let receipt = receiver.receipt().await;
    assert_eq!(receipt.outcome.as_deref(), Some("aborted_by_peer"));
    assert!(receipt.why.contains("connection"), "{}", receipt.why);
    assert!(receiver.files("incoming").is_empty() && receiver.files("studies").is_empty());
}

#[tokio::test]
async fn a_study_is_open_while_its_association_is() {
    let receiver = Receiver::start("").await;
    let study = Uid::parse("1.2").expect("a UID");
    let mut peer = Peer::associated(receiver.address).await;
    assert!(!receiver.in_flight.is_open(&study));
    assert_eq!(peer.store("1.2.3", &dataset("1.2.3", "1.2", 100)).await.status().0, 0);
    assert!(receiver.in_flight.is_open(&study));
    let mut changes = receiver.in_flight.changes();
    peer.send(&A_ABORT).await;
    tokio::time::timeout(PATIENCE, changes.changed()).await.expect("a change").expect("the registry lives");
    assert!(!receiver.in_flight.is_open(&study));
}

/// A disk that cannot sync, or code that is broken, for one SOP instance.
#[derive(Debug)]
struct FailsFor {
    sop_instance: &'static str,
    by_panic: bool,
}

impl Commit for FailsFor {
    fn commit(&self, file: &File, temporary: &Path, to: &Path) -> Result<Committed, SpoolError> {
        if !to.ends_with(format!("{}.dcm", self.sop_instance)) {
            return RenameCommit.commit(file, temporary, to);
        }
        assert!(!self.by_panic, "a defect, made for this test");
        let source = io::Error::other("made for this test");
        Err(SpoolError::Io { doing: "sync", path: temporary.to_owned(), source })
    }
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_not_answered_with_success() {
    for by_panic in [false, true] {
        let commit = FailsFor { sop_instance: "1.2.3", by_panic };
        let receiver = Receiver::start_with("", 0, Box::new(commit)).await;
        let mut peer = Peer::associated(receiver.address).await;
        let (status, comment) = peer.store("1.2.3", &dataset("1.2.3", "1.2", 100)).await.status();
        assert_eq!((status, comment.as_str()), (0xA700, "cannot store now, try again later"));
        assert!(receiver.files("studies").is_empty() && receiver.files("incoming").is_empty());
        // The next object, on the same association, is none the worse for it.
        assert_eq!(peer.store("1.2.4", &dataset("1.2.4", "1.2", 100)).await.status().0, 0);
        peer.release().await;
        let receipt = receiver.receipt().await;
        assert_eq!((receipt.offered, receipt.stored, receipt.refused), (2, 1, 1));
    }
}

#[tokio::test]
async fn a_stop_lets_objects_under_way_arrive_and_cuts_the_rest() {
    let receiver = Receiver::start("").await;
    let object = dataset("1.2.3", "1.2", 3_000_000);
    let mut finishes = in_the_middle_of_an_object(&receiver).await;
    let mut stalls = Peer::associated(receiver.address).await;
    stalls.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.9"))])).await;
    stalls.send(&p_data(&[(1, DATA_MORE, &dataset("1.2.9", "1.2", 100))])).await;
    let mut idle = Peer::associated(receiver.address).await;
    receiver.shutdown.cancel();
    assert_eq!(idle.answer().await.abort(), (0, 0), "nothing was under way");
    finishes.send_dataset(1, &object[2_000_000..]).await;
    assert_eq!(finishes.answer().await.status().0, 0, "the object under way was taken");
    assert_eq!(finishes.answer().await.abort(), (0, 0));
    assert_eq!(stalls.answer().await.abort(), (0, 0), "cut after the drain");
    drop((idle, finishes, stalls));
    tokio::time::timeout(PATIENCE, receiver.task).await.expect("the listener ends").expect("without a panic");
    let receipts = receiver.ledger.list_associations(10).await.expect("the ledger can be read");
    assert_eq!(receipts.len(), 3);
    assert!(receipts.iter().all(|receipt| receipt.why.starts_with("fcdd is being stopped")), "{receipts:?}");
}

#[tokio::test]
async fn rows_that_were_lost_are_written_again_from_the_spool() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    let mut variant = dataset("1.2.3", "1.2", 100);
    *variant.last_mut().expect("it has bytes") ^= 1;
    for object in [&dataset("1.2.3", "1.2", 100), &variant] {
        assert_eq!(peer.store("1.2.3", object).await.status().0, 0);
    }
    assert_eq!(peer.store("1.2.4", &dataset("1.2.4", "1.2", 100)).await.status().0, 0);
    std::fs::write(receiver.path("studies/1.2/junk.dcm"), b"no object").expect("the spool is writable");
    // The ledger is lost; the spool stays.
    let fresh = Ledger::open(&receiver.path("fresh.sqlite")).await.expect("the ledger can be made");
    let spool: &Spool = &receiver.spool;
    let rebuilt = fresh.rebuild_from_spool(spool).await.expect("the spool can be read");
    assert_eq!((rebuilt.instances, rebuilt.quarantined, rebuilt.unreadable.len()), (2, 1, 1));
    let uid = Uid::parse("1.2.3").expect("a UID");
    let before = receiver.ledger.find_instance(&uid).await.expect("the ledger can be read");
    assert_eq!(fresh.find_instance(&uid).await.expect("the ledger can be read"), before);
    let again = fresh.rebuild_from_spool(spool).await.expect("the spool can be read");
    assert_eq!((again.instances, again.quarantined), (0, 0));
    tokio::time::timeout(Duration::from_secs(5), peer.release()).await.expect("a release");
}
