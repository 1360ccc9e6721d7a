//! A sender that keeps its own log: which object was answered how, and what its bytes were.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use super::cheap::Study;
use crate::scripted_peer::{A_RELEASE_RQ, Answer, PATIENCE, Peer};

/// An object and the status that it was answered.
#[derive(Debug, Clone)]
pub struct Answered {
    pub study_uid: String,
    pub sop_instance_uid: String,
    pub dataset_sha256: [u8; 32],
    pub status: u16,
}

/// Every answer that the senders of a scenario have had.
#[derive(Clone, Default)]
pub struct SentLog(Arc<Mutex<Vec<Answered>>>);

impl SentLog {
    /// Every answer so far, in the order in which they came.
    pub fn answers(&self) -> Vec<Answered> {
        self.0.lock().expect("no sender panicked").clone()
    }

    /// Places of the objects of `study` that were not answered 0000H yet.
    pub fn unanswered(&self, study: &Study) -> Vec<usize> {
        let log = self.0.lock().expect("no sender panicked");
        let stored: std::collections::HashSet<&str> =
            log.iter().filter(|a| a.status == 0).map(|a| a.sop_instance_uid.as_str()).collect();
        let open = |i: &usize| !stored.contains(study.objects[*i].sop_instance_uid.as_str());
        (0..study.objects.len()).filter(open).collect()
    }

    fn add(&self, answered: Answered) {
        self.0.lock().expect("no sender panicked").push(answered);
    }
}

/// An association at work in a thread of its own.
pub struct Sending {
    thread: JoinHandle<bool>,
}

impl Sending {
    /// Waits until the association has ended; true if everything was answered, false if the peer was gone before.
    pub fn wait(self) -> bool {
        self.thread.join().expect("the sender ends well")
    }
}

/// Sends one object of a study and enters the answer; false if the peer was gone before there was one.
pub async fn store(peer: &mut Peer, study: &Study, place: usize, log: &SentLog) -> bool {
    let object = &study.objects[place];
    let answer = peer.store(&object.sop_instance_uid, &object.dataset).await;
    // A-ABORT says the same: nothing is known of this object.
    if matches!(answer, Answer::Closed | Answer::Pdu(0x07, _)) {
        return false;
    }
    let (status, _) = answer.status();
    log.add(Answered {
        study_uid: study.study_uid.clone(),
        sop_instance_uid: object.sop_instance_uid.clone(),
        dataset_sha256: object.dataset_sha256,
        status,
    });
    true
}

/// Sends these objects of a study over one association; returns once the association is established.
pub fn send(address: SocketAddr, study: &Arc<Study>, places: Vec<usize>, log: &SentLog) -> Sending {
    let (established, is_established) = mpsc::channel();
    let (study, log) = (study.clone(), log.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let mut peer = Peer::associated(address).await;
            let _ = established.send(());
            for place in places {
                if !store(&mut peer, &study, place, &log).await {
                    return false;
                }
            }
            peer.send(&A_RELEASE_RQ).await;
            let _ = peer.answer().await;
            true
        })
    });
    is_established.recv_timeout(PATIENCE).expect("the association is established within the deadline");
    Sending { thread }
}
