//! Results reach a PACS that is awkward in every way we could think of, or an operator hears why they do not.
//! The peer is pynetdicom; nothing of ours is on its side.

use fcdd::ledger::StudyState;
use fcdd::ledger::outbox::OutboxStatus;
use sha2::{Digest, Sha256};

use crate::bench::{self, AwkwardPeer, Bench, PATIENT, destinations, pixels};

const STUDY: &str = "1.2.3";

#[tokio::test]
async fn a_busy_answer_passes_and_the_report_comes_last() {
    let Some(peer) = AwkwardPeer::start("busy-once") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 3, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    let said = peer.said();
    let uids: Vec<&str> = said.iter().map(|s| s.uid.as_str()).collect();
    // The first is refused for now, the others follow, and the first comes again.
    assert_eq!(uids, ["1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.0", "1.2.3.1"]);
    assert_eq!(said[0].status, Some(0xA700));
    let associations = |range: std::ops::Range<usize>| {
        let mut ids: Vec<u64> = said[range].iter().map(|s| s.association).collect();
        ids.dedup();
        ids.len()
    };
    assert_eq!(associations(0..4), 1, "one association for all that was due");
    let first = details.objects.iter().find(|o| o.sop_instance_uid.as_str() == "1.2.3.1").unwrap();
    assert_eq!(first.deliveries[0].attempts, 2);
    assert_eq!(details.study.reason, "");
}

#[tokio::test]
async fn a_warning_means_stored() {
    let Some(peer) = AwkwardPeer::start("warns") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 1, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    assert_eq!(details.objects[0].deliveries[0].dimse_status, Some(0xB000));
    assert_eq!(peer.until_said(2).await.len(), 2, "each object once");
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again_and_does_not_stop_the_rest() {
    let Some(peer) = AwkwardPeer::start("poison") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 3, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    assert_eq!(peer.said().len(), 4, "{:?}", peer.said());
    let statuses = bench.statuses(STUDY).await;
    assert_eq!(statuses["1.2.3.2 pacs"], "refused");
    assert_eq!(statuses.values().filter(|s| *s == "delivered").count(), 3);
    let refused = details.objects.iter().find(|o| o.sop_instance_uid.as_str() == "1.2.3.2").unwrap();
    assert!(refused.deliveries[0].last_error.contains("C000H"), "{refused:?}");
    assert_eq!(refused.deliveries[0].dimse_status, Some(0xC000));
    assert!(details.study.reason.contains("1 deliveries refused"), "{}", details.study.reason);
}

#[tokio::test]
async fn an_object_that_is_always_refused_for_now_does_not_keep_others_from_the_pacs() {
    let Some(peer) = AwkwardPeer::start("always-busy") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 2, &to).await;
    let delivering = bench.deliver(&to);
    // Another study comes while the first object goes round and round.
    peer.until_said(4).await;
    bench.report("1.2.4", 0, &to).await;
    bench.until("1.2.4", StudyState::Delivered).await;
    let stuck = bench.details(STUDY).await;
    delivering.stop().await;
    assert_eq!(stuck.study.state, StudyState::Reported);
    let statuses = bench.statuses(STUDY).await;
    assert_eq!(statuses["1.2.3.1 pacs"], "waiting");
    assert_eq!(statuses["1.2.3.2 pacs"], "delivered");
    assert_eq!(statuses["1.2.3.0 pacs"], "delivered");
}

#[tokio::test]
async fn a_connection_that_breaks_inside_an_object_is_tried_again() {
    let Some(peer) = AwkwardPeer::start("good") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", bench::cut_once(peer.port, 20_000).await, "")]);
    bench.report(STUDY, 2, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    let mut uids: Vec<String> = peer.said().into_iter().map(|s| s.uid).collect();
    uids.sort();
    assert_eq!(uids, ["1.2.3.0", "1.2.3.1", "1.2.3.2"], "each stored once, under its own UID");
    let first = details.objects.iter().find(|o| o.sop_instance_uid.as_str() == "1.2.3.1").unwrap();
    assert_eq!(first.deliveries[0].attempts, 2);
}

#[tokio::test]
async fn an_object_that_breaks_every_association_does_not_keep_the_others_back() {
    let Some(peer) = AwkwardPeer::start("crashes-on-1") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 3, &to).await;
    let delivering = bench.deliver(&to);
    let is_done = |o: &fcdd::ledger::overview::StoredObject| o.deliveries[0].status == OutboxStatus::Delivered;
    let details = bench
        .until_details("the others are stored", STUDY, |d| d.objects.iter().filter(|o| is_done(o)).count() == 3)
        .await;
    delivering.stop().await;
    let stuck = details.objects.iter().find(|o| !is_done(o)).unwrap();
    assert_eq!(stuck.sop_instance_uid.as_str(), "1.2.3.1");
    assert_eq!(stuck.deliveries[0].status, OutboxStatus::Waiting);
}

#[tokio::test]
async fn silence_runs_into_the_time_out_and_the_object_waits() {
    let Some(peer) = AwkwardPeer::start("silent") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "timeout_s = 1")]);
    bench.report(STUDY, 0, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until_details("the time-out", STUDY, |d| d.objects[0].deliveries[0].attempts >= 2).await;
    delivering.stop().await;
    let delivery = &details.objects[0].deliveries[0];
    assert_eq!(delivery.status, OutboxStatus::Waiting);
    assert!(delivery.last_error.contains("the time ran out"), "{}", delivery.last_error);
    assert!(delivery.last_error.contains(&format!("PACS@127.0.0.1:{}", peer.port)), "{}", delivery.last_error);
}

#[tokio::test]
async fn a_peer_that_takes_implicit_vr_only_gets_the_same_values() {
    let Some(peer) = AwkwardPeer::start("implicit-only") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 1, &to).await;
    let delivering = bench.deliver(&to);
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    let said = peer.said();
    let digest: String = Sha256::digest(pixels()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(said[0].syntax, "1.2.840.10008.1.2");
    assert_eq!(said[0].name, PATIENT);
    assert_eq!(said[0].pixels, digest);
    assert_eq!(said[1].text, "Für die Übung");
}

#[tokio::test]
async fn a_class_that_is_not_accepted_is_refused_and_the_rest_is_delivered() {
    let Some(peer) = AwkwardPeer::start("sr-only") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("ris", peer.port, "")]);
    bench.report(STUDY, 2, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    let statuses = bench.statuses(STUDY).await;
    assert_eq!(statuses["1.2.3.0 ris"], "delivered");
    assert_eq!(statuses["1.2.3.1 ris"], "refused");
    assert_eq!(statuses["1.2.3.2 ris"], "refused");
    let picture = details.objects.iter().find(|o| o.sop_instance_uid.as_str() == "1.2.3.1").unwrap();
    assert!(picture.deliveries[0].last_error.contains("presentation context"), "{picture:?}");
}

#[tokio::test]
async fn an_ae_title_that_the_pacs_does_not_know_yet_loses_nothing() {
    let Some(peer) = AwkwardPeer::start("one-caller") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 0, &to).await;
    let delivering = bench.deliver(&to);
    let rejected = |d: &fcdd::ledger::overview::StudyDetails| !d.objects[0].deliveries[0].last_error.is_empty();
    let details = bench.until_details("the reject", STUDY, rejected).await;
    delivering.stop().await;
    let delivery = &details.objects[0].deliveries[0];
    assert_eq!((delivery.status, delivery.attempts), (OutboxStatus::Waiting, 0));
    assert!(delivery.last_error.contains("is our AE title configured there?"), "{}", delivery.last_error);

    // The administrator calls us OTHER; nothing else is done.
    let to = destinations(&[("pacs", peer.port, "calling_ae_title = 'OTHER'")]);
    let delivering = bench.deliver(&to);
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
}

#[tokio::test]
async fn a_file_that_vanished_is_given_up_and_the_rest_is_delivered() {
    let Some(peer) = AwkwardPeer::start("good") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 2, &to).await;
    let results = bench.spool().join("results").join(STUDY);
    std::fs::remove_file(results.join("1.2.3.1.dcm")).unwrap();
    // And one that now holds another object: it must not go out under that UID.
    bench::write_object(&results.join("1.2.3.2.dcm"), bench::SECONDARY_CAPTURE, STUDY, "9.9.9");
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    assert_eq!(peer.said().into_iter().map(|s| s.uid).collect::<Vec<_>>(), ["1.2.3.0"]);
    let error = |uid: &str| {
        let object = details.objects.iter().find(|o| o.sop_instance_uid.as_str() == uid).unwrap();
        assert_eq!(object.deliveries[0].status, OutboxStatus::Refused);
        object.deliveries[0].last_error.clone()
    };
    assert!(error("1.2.3.1").contains("cannot read"), "{}", error("1.2.3.1"));
    assert!(error("1.2.3.2").contains("9.9.9"), "{}", error("1.2.3.2"));
}
