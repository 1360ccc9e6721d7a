//! After a crash in the middle of a delivery exactly the missing objects are sent, as the same SOP instances;
//! an orderly stop lets the object under way finish.

use std::collections::BTreeMap;

use fcdd::ledger::{Ledger, StudyState};

use crate::bench::{AwkwardPeer, Bench, destinations};

const STUDY: &str = "1.2.3";

#[tokio::test]
async fn exactly_the_missing_objects_follow_after_a_crash() {
    let Some(peer) = AwkwardPeer::start("slow") else { return };
    let mut bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 5, &to).await;
    let delivering = bench.deliver(&to);
    peer.until_said(2).await;
    delivering.crash().await;
    bench.ledger.close().await;

    bench.ledger = Ledger::open(&bench.spool().join("ledger.sqlite")).await.unwrap();
    let recorded = bench.statuses(STUDY).await;
    let delivered_before: Vec<&String> = recorded.iter().filter(|(_, s)| *s == "delivered").map(|(k, _)| k).collect();
    assert!((1..6).contains(&delivered_before.len()), "in the middle: {recorded:?}");
    let delivering = bench.deliver(&to);
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;

    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for said in peer.said() {
        *times.entry(said.uid).or_default() += 1;
    }
    assert_eq!(times.len(), 6, "every object, and no other UID: {times:?}");
    // What was recorded as delivered came once; at most the one object under way came twice.
    for key in delivered_before {
        let uid = key.split(' ').next().unwrap();
        assert_eq!(times[uid], 1, "{uid}: {times:?}");
    }
    assert!(times.values().sum::<usize>() <= 7, "{times:?}");
}

#[tokio::test]
async fn a_stop_lets_the_object_under_way_finish_and_records_it() {
    let Some(peer) = AwkwardPeer::start("slow") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report(STUDY, 5, &to).await;
    let delivering = bench.deliver(&to);
    peer.until_said(1).await;
    delivering.stop().await;
    let recorded = bench.statuses(STUDY).await.into_values().filter(|s| s == "delivered").count();
    let said = peer.said().len();
    assert_eq!(recorded, said, "what the peer has is what the ledger says");
    assert!(said < 6, "it did not go on to the end");
    let delivering = bench.deliver(&to);
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    assert_eq!(peer.said().len(), 6, "nothing was sent twice");
}

#[tokio::test]
async fn a_study_whose_last_delivery_was_recorded_just_before_the_crash_is_settled_at_the_start() {
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", 1, "")]);
    bench.report(STUDY, 0, &to).await;
    let report = fcdd::dicom::Uid::parse("1.2.3.0").unwrap();
    bench.ledger.record_delivered(&report, "pacs", 0).await.unwrap();
    assert_eq!(bench.details(STUDY).await.study.state, StudyState::Reported);
    let delivering = bench.deliver(&to);
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
}
