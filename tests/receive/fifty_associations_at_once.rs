//! Fifty associations at once, all with objects to store, where twenty are allowed: the others are told to come back,
//! do so, and are served; every object that was acknowledged is there, and every study comes out of it whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::kill::{SentLog, Sink, Study, cheap_configuration, compare, store, with_copy};
use crate::scripted_peer::{Answer, Peer, STANDARD_CONTEXTS, associate_rq};
use crate::support::{Daemon, Exit, require_onnxruntime};

const PATIENCE: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 50;
const ALLOWED: usize = 20;
/// How long a sender that was turned away waits.
const COMES_BACK_AFTER: Duration = Duration::from_millis(50);

#[test]
fn those_over_the_limit_come_back_and_nothing_is_lost() {
    let Some(_) = require_onnxruntime() else { return };
    let sink = Sink::start();
    let configuration = cheap_configuration()
        .set("receive.max_associations", ALLOWED as i64)
        .set("receive.max_associations_per_peer", 2 * AT_ONCE as i64)
        // No study is complete before all associations are through, however long some of them wait.
        .set("assemble.quiet_s", 3600.0)
        .set("assemble.max_wait_s", 3600.0)
        .destination("sink", Sink::AE_TITLE, sink.port);
    let daemon = Daemon::start(configuration);
    let studies: Arc<Vec<Study>> = Arc::new((61..67).map(Study::new).collect());
    let sent = SentLog::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(all_at_once(([127, 0, 0, 1], daemon.port()).into(), &studies, &sent));
    let (exit, stopped) = daemon.stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));
    with_copy(&stopped.spool(), async |ledger: fcdd::ledger::Ledger| {
        let receipts = ledger.list_associations(u32::MAX).await.unwrap();
        let count = |outcome: &str| receipts.iter().filter(|r| r.outcome.as_deref() == Some(outcome)).count();
        assert_eq!(count("released"), AT_ONCE);
        assert!(count("rejected") >= AT_ONCE - ALLOWED, "each has its receipt");
        assert_eq!(receipts.len(), count("released") + count("rejected"));
    });

    let daemon = Daemon::start(stopped.configuration().set("assemble.quiet_s", 0.001));
    let uids: Vec<String> = studies.iter().map(|study| study.study_uid.clone()).collect();
    for uid in &uids {
        daemon.wait_for_state(uid, "delivered", PATIENCE);
    }
    let (exit, stopped) = daemon.stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));
    let findings = compare(&stopped.spool(), &uids, &sent, &sink);
    let wrong: Vec<&String> = [&findings.lost, &findings.doubled, &findings.stuck].into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let objects: usize = studies.iter().map(|study| study.objects.len()).sum();
    assert_eq!((findings.acknowledged, findings.delivered), (objects, uids.len() * Study::RESULTS));
}

async fn request(address: SocketAddr) -> (Peer, Answer) {
    let mut peer = Peer::connect(address).await;
    peer.send(&associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS)).await;
    let answer = peer.answer().await;
    (peer, answer)
}

/// Objects of all studies in turns, dealt out to the associations.
async fn all_at_once(address: SocketAddr, studies: &Arc<Vec<Study>>, sent: &SentLog) {
    let first_answers = (0..AT_ONCE).map(|_| request(address)).collect::<JoinSet<_>>().join_all().await;
    let is_accepted = |answer: &Answer| matches!(answer, Answer::Pdu(0x02, _));
    let (accepted, rejected): (Vec<_>, Vec<_>) = first_answers.into_iter().partition(|(_, a)| is_accepted(a));
    assert_eq!(accepted.len(), ALLOWED, "as many as are allowed, while nobody leaves");
    for (_, answer) in &rejected {
        assert_eq!(answer.rejection(), (2, 3, 1), "transient, presentation, temporary congestion");
    }
    let mut sending = JoinSet::new();
    for (number, (peer, answer)) in accepted.into_iter().chain(rejected).enumerate() {
        let (studies, sent) = (studies.clone(), sent.clone());
        sending.spawn(async move {
            let mut peer = if is_accepted(&answer) { peer } else { come_back(address).await };
            let (places, of_all) = (studies[0].objects.len(), studies.len());
            for turn in (number..places * of_all).step_by(AT_ONCE) {
                let (study, place) = (&studies[turn % of_all], turn / of_all);
                assert!(store(&mut peer, study, place, &sent).await, "the association lasts");
            }
            peer.release().await;
        });
    }
    sending.join_all().await;
}

/// Tries again until there is a place, as a sender does after a transient reject.
async fn come_back(address: SocketAddr) -> Peer {
    loop {
        tokio::time::sleep(COMES_BACK_AFTER).await;
        match request(address).await {
            (peer, Answer::Pdu(0x02, _)) => return peer,
            // Too many at once that are turned away are not even told so.
            (_, Answer::Closed) => {}
            (_, answer) => assert_eq!(answer.rejection(), (2, 3, 1)),
        }
    }
}
