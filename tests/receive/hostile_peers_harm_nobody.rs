//! Hostile peers against the real program: hundreds of families of bytes, each of which is told what it did wrong, leaves
//! one clear line and a receipt that says why, and nothing else; meanwhile a well-behaved association stores one object
//! after the other, and the daemon's memory stays small.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::hostile_peers::{
    Ending, Expected, Family, GoodPeer, Memory, Played, Witness, complaints, daemon_of_short_waits, objects_in, play,
    quick_families, refusals_of, slow_families,
};
use crate::scripted_peer::Answer;
use crate::support::{Daemon, Exit, files_below, require_onnxruntime};

/// Conversations at once; with the slow ones they stay below `receive.max_associations`.
const AT_ONCE: usize = 24;
/// Refused objects of an association that get a line of their own; and one that says so.
const REFUSALS_LOGGED: u64 = 100;
/// Longest line that a peer can make the daemon write, bytes.
const LONGEST_LINE: usize = 1500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_peers_harm_nobody() {
    let Some(_) = require_onnxruntime() else { return };
    let mut daemon = Daemon::start(daemon_of_short_waits());
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));
    let memory = Memory::at_rest(daemon.id());

    let (occasions, told) = mpsc::unbounded_channel();
    let good = tokio::spawn(GoodPeer::associate(address).await.keep_storing(told));
    let played = play_all(address, &occasions).await;
    drop(occasions);
    let good = good.await.expect("the good peer is never harmed");
    println!("{} conversations; the good peer stored {} objects meanwhile", played.len(), good.len());
    assert!(played.len() >= 1000 && good.len() >= played.len());
    memory.assert_small("hostile peers");

    // Then every receipt and every line is written.
    daemon.terminate();
    assert_eq!(daemon.wait_for_exit(Duration::from_secs(20)), Exit::Status(0));
    let witness = Witness::of(&daemon);
    let objects = objects_in(&daemon.spool());
    let mut faults: Vec<String> = Vec::new();
    for played in &played {
        if let Err(fault) = judge(played, &witness, &daemon, &objects) {
            faults.push(format!("{}: {fault}", played.family.name));
        }
    }
    assert!(faults.is_empty(), "{} of {} conversations:\n{}", faults.len(), played.len(), faults.join("\n"));

    // Nothing else is there, and nothing is half there.
    let of_hostile = played.iter().filter_map(|played| played.family.object.clone());
    let known: BTreeMap<String, Vec<u8>> = good.iter().cloned().chain(of_hostile).collect();
    for (uid, dataset) in &objects {
        assert_eq!(known.get(uid), Some(dataset), "{uid} is in the spool");
    }
    for (uid, _) in &good {
        assert!(objects.contains_key(uid), "the good peer's object {uid} is missing");
    }
    assert_eq!(files_below(&daemon.spool().join("incoming")), Vec::<std::path::PathBuf>::new());
    assert_eq!(witness.nameless, Vec::<Value>::new(), "a complaint without a peer");
    assert!(witness.longest_line <= LONGEST_LINE, "a line of {} bytes", witness.longest_line);
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains('\u{1b}'), "{log}");
    let errors: Vec<Value> = complaints(&log).into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors, Vec::<Value>::new());
    assert_eq!(witness.lines([127, 0, 0, 1]), &[] as &[Value], "nothing is said against the good peer");
}

/// All families: the slow ones at once, the others as fast as so many at a time can be.
async fn play_all(daemon: SocketAddr, occasions: &mpsc::UnboundedSender<()>) -> Vec<Played> {
    let mut playing = JoinSet::new();
    let slow = slow_families();
    let quick: VecDeque<(usize, Family)> = (slow.len()..).zip(quick_families()).collect();
    for (number, family) in slow.into_iter().enumerate() {
        let occasions = occasions.clone();
        playing.spawn(async move {
            let played = play(daemon, number, family).await;
            let _ = occasions.send(());
            vec![played]
        });
    }
    let quick = Arc::new(Mutex::new(quick));
    for _ in 0..AT_ONCE {
        let (quick, occasions) = (quick.clone(), occasions.clone());
        playing.spawn(async move {
            let mut done = Vec::new();
            loop {
                let next = quick.lock().expect("no player panics with it").pop_front();
                let Some((number, family)) = next else { return done };
                done.push(play(daemon, number, family).await);
                let _ = occasions.send(());
            }
        });
    }
    playing.join_all().await.into_iter().flatten().collect()
}

/// What must be true of every conversation, and of this one.
fn judge(
    played: &Played,
    witness: &Witness,
    daemon: &Daemon,
    objects: &BTreeMap<String, Vec<u8>>,
) -> Result<(), String> {
    let (receipts, lines) = (witness.receipts(played.from), witness.lines(played.from));
    let family = &played.family;
    let seen = || format!("receipts {receipts:?}\nlines {lines:?}\nanswers {:?}", short(&played.answers));
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}\n{}", seen())) };
    if family.expected == Expected::Unseen {
        return check(receipts.is_empty() && lines.is_empty(), "it said nothing and left something");
    }
    check(receipts.len() == 1, "not one receipt")?;
    let receipt = &receipts[0];
    let number = |field: &str| receipt[field].as_u64().unwrap_or(u64::MAX);
    let (outcome, why) = (receipt["outcome"].as_str().unwrap_or(""), receipt["why"].as_str().unwrap_or(""));
    check(!why.is_empty() && why.chars().all(|c| !c.is_control()), "the receipt does not say why")?;
    let is_unserved = why.contains("what is not served");
    let refused = number("refused");
    let of_refusals = refused.min(REFUSALS_LOGGED) + u64::from(refused >= REFUSALS_LOGGED);
    let expected_lines = of_refusals + u64::from(is_unserved) + u64::from(outcome != "released");
    check(lines.len() as u64 == expected_lines, &format!("{expected_lines} lines were expected"))?;
    let has_line =
        |words: &str| lines.iter().any(|line| line["fields"]["why"].as_str().is_some_and(|w| w.contains(words)));
    check(outcome == "released" || has_line(why), "the line does not say what the receipt says")?;

    // Success is what lies in the spool whole, and only that.
    let kept = number("stored") + number("duplicates") + number("quarantined");
    let hears = !matches!(family.ending, Ending::Closes | Ending::Resets);
    check(played.successes() as u64 == kept || !hears && played.successes() as u64 <= kept, "successes and receipt")?;
    if let Some((uid, dataset)) = &family.object {
        let found = objects.get(uid);
        check(found.is_some() == (kept == 1), "the receipt and the spool")?;
        check(found.is_none_or(|found| found == dataset), "what is in the spool is not what was sent")?;
    } else {
        check(kept == 0, "it had no object to store")?;
    }
    let said_abort = played.answers.iter().any(|answer| matches!(answer, Answer::Pdu(0x07, _)));
    check(!hears || said_abort == (outcome == "aborted_by_us"), "an A-ABORT where one is due, and only there")?;

    let last = played.answers.last();
    let told = |outcome_wanted: &str, words: &str| {
        check(outcome == outcome_wanted, &format!("the outcome should be {outcome_wanted}"))?;
        check(why.contains(words), &format!("the receipt should say {words:?}"))
    };
    match &family.expected {
        Expected::Abort(answer, words) => {
            told("aborted_by_us", words)?;
            check(
                last.is_some_and(|last| matches!(last, Answer::Pdu(0x07, _)) && last.abort() == *answer),
                "the A-ABORT",
            )
        }
        Expected::Rejected(answer, words) => {
            told("rejected", words)?;
            let is_right = last.is_some_and(|last| matches!(last, Answer::Pdu(0x03, _)) && last.rejection() == *answer);
            check(is_right, "the A-ASSOCIATE-RJ")
        }
        Expected::Accepted => {
            told("released", "released by the peer")?;
            check(matches!(last, Some(Answer::Pdu(0x02, _))) && lines.is_empty() && played.released, "accepted")
        }
        Expected::Refused(status, words) => {
            told("released", "released by the peer")?;
            let statuses: HashSet<u16> = played.responses().map(|(_, status)| status).collect();
            check(played.released && statuses == HashSet::from([*status]), &format!("status {status:04X}H"))?;
            let noted = refusals_of(daemon, &receipt["id"]);
            let noted = noted.iter().any(|refusal| refusal["why"].as_str().is_some_and(|why| why.contains(words)));
            check(
                noted && has_line(words) || why.contains(words) && lines.len() == 1,
                &format!("it should say {words:?}"),
            )
        }
        Expected::Stored => {
            let is_released = outcome == "released" || family.ending != Ending::Listens;
            check(is_released && kept == 1 && played.successes() == 1, "stored and answered so")
        }
        Expected::Unanswered(words) => {
            told("released", words)?;
            check(played.answers.is_empty() && played.released, "no answer but to the release")
        }
        Expected::Gone(words) => {
            told("aborted_by_peer", words)?;
            check(kept == 0 && played.responses().count() == 0, "nothing is answered to half a message")
        }
        Expected::Unseen | Expected::Judged => Ok(()),
    }
}

/// Answers as far as a reader needs them.
fn short(answers: &[Answer]) -> Vec<String> {
    let shown = |answer: &Answer| match answer {
        Answer::Pdu(pdu_type, body) => format!("{pdu_type:02X}H {:02X?}", &body[..body.len().min(16)]),
        Answer::Closed => "closed".to_owned(),
    };
    answers.iter().take(4).map(shown).collect()
}
