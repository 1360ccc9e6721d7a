//! Two studies interleaved over four associations, slice by slice: each is one study with the volumes that it has and
//! one result, and nothing of the one is with the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::kill::{SentLog, Sink, Study, cheap_configuration, compare, store};
use crate::scripted_peer::Peer;
use crate::support::{Daemon, Exit, require_onnxruntime};

const PATIENCE: Duration = Duration::from_secs(60);
const ASSOCIATIONS: usize = 4;

#[test]
fn each_ends_as_one_study_with_one_result() {
    let Some(_) = require_onnxruntime() else { return };
    let sink = Sink::start();
    let daemon = Daemon::start(cheap_configuration().destination("sink", Sink::AE_TITLE, sink.port));
    let studies = [31, 32].map(|seed| Arc::new(Study::with_flair(seed)));
    let sent = SentLog::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(interleave(([127, 0, 0, 1], daemon.port()).into(), &studies, &sent));

    let uids = studies.clone().map(|study| study.study_uid.clone());
    for uid in &uids {
        let study = daemon.wait_for_state(uid, "delivered", PATIENCE);
        let instances: Vec<u64> =
            study["series"].as_array().unwrap().iter().map(|s| s["instances"].as_u64().unwrap()).collect();
        assert_eq!(instances, [38, 38], "{study}");
        let verdicts = study["verdicts"].as_array().unwrap();
        let mut chosen: Vec<&str> =
            verdicts.iter().filter(|v| v["chosen"] == true).map(|v| v["sequence"].as_str().unwrap()).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, ["FLAIR", "T1"], "{study}");
        assert!(verdicts.iter().all(|v| v["verdict"]["verdict"] == "ok"), "{study}");
    }
    assert_eq!(daemon.studies().len(), 2);
    let (exit, stopped) = daemon.stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));
    let findings = compare(&stopped.spool(), &uids, &sent, &sink);
    let wrong: Vec<&String> = [&findings.lost, &findings.doubled, &findings.stuck].into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((findings.acknowledged, findings.delivered), (4 * 38, 2 * Study::RESULTS));
}

/// Every association carries slices of both studies in turns; all are open until all are done.
async fn interleave(address: SocketAddr, studies: &[Arc<Study>; 2], sent: &SentLog) {
    let mut peers = Vec::new();
    for _ in 0..ASSOCIATIONS {
        peers.push(Peer::associated(address).await);
    }
    let mut sending = tokio::task::JoinSet::new();
    for (number, mut peer) in peers.into_iter().enumerate() {
        let (studies, sent) = (studies.clone(), sent.clone());
        sending.spawn(async move {
            for place in (number..studies[0].objects.len()).step_by(ASSOCIATIONS) {
                for study in &studies {
                    assert!(store(&mut peer, study, place, &sent).await, "the association lasts");
                }
            }
            peer
        });
    }
    for peer in sending.join_all().await {
        peer.release().await;
    }
}
