//! One slow destination does not hold up another, nor does one that never answers at all.

use fcdd::ledger::outbox::OutboxStatus;

use crate::bench::{AwkwardPeer, Bench, destinations};

#[tokio::test]
async fn a_fast_destination_has_everything_while_a_slow_and_a_silent_one_are_still_at_it() {
    let (Some(fast), Some(slow), Some(silent)) =
        (AwkwardPeer::start("good"), AwkwardPeer::start("slow"), AwkwardPeer::start("silent"))
    else {
        return;
    };
    let bench = Bench::new().await;
    let to =
        destinations(&[("fast", fast.port, ""), ("silent", silent.port, "timeout_s = 300"), ("slow", slow.port, "")]);
    let delivering = bench.deliver(&to);
    for study in ["1.2.3", "1.2.4", "1.2.5"] {
        bench.report(study, 4, &to).await;
    }
    let all_at = |details: &fcdd::ledger::overview::StudyDetails, destination: &str| {
        let mut deliveries = details.objects.iter().flat_map(|o| &o.deliveries);
        deliveries.all(|d| d.destination != destination || d.status == OutboxStatus::Delivered)
    };
    for study in ["1.2.3", "1.2.4", "1.2.5"] {
        bench.until_details("the fast one has it all", study, |details| all_at(details, "fast")).await;
    }
    // 15 objects at half a second each: the slow one cannot be done by now, unless it held up the fast one.
    assert!(slow.said().len() < 15, "{}", slow.said().len());
    assert_eq!(fast.said().len(), 15);
    for study in ["1.2.3", "1.2.4", "1.2.5"] {
        bench.until_details("the slow one has it all", study, |details| all_at(details, "slow")).await;
    }
    assert_eq!(silent.said().len(), 1, "one object is under way, and nothing else waits for it");
    delivering.crash().await;
}
