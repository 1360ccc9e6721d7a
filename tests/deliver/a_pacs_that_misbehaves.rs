//! Ten destinations at once, nine of which misbehave, each in its own way: down, rejecting for good and for now, silent,
//! hanging and closing within an object, forgetting to answer, taking one class only, refusing one. The tenth has its
//! results at once. When the nine behave again, or an operator retries what was refused, every one has every result
//! once, byte for byte, under the same UIDs; what a destination never takes is named with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::kill::{Kept, Mood, SentLog, Sink, Study, cheap_configuration, send};
use crate::scripted_peer::split_file;
use crate::support::{Daemon, fcdd, free_port, require_onnxruntime, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const COMPREHENSIVE_3D_SR: &str = "1.2.840.10008.5.1.4.1.1.88.34";

const OUT_OF_TIME: &str = "the time ran out";
/// Of those that are silent. When they behave again, none of their answers may take as long: they would have it twice.
const TIMEOUT_S: i64 = 2;

/// How a destination misbehaves, and what the ledger says of its deliveries meanwhile.
const MOODS: [(&str, Mood, &str); 8] = [
    ("stranger", Mood::Rejects(1, 1, 3), "rejected (permanent)"),
    ("busy", Mood::Rejects(2, 3, 1), "rejected (transient)"),
    ("mute", Mood::Mute, OUT_OF_TIME),
    ("hangs", Mood::HangsWithin(1000), OUT_OF_TIME),
    ("closes", Mood::ClosesWithin(1000), "connection"),
    ("forgets", Mood::KeepsAndIsSilent, OUT_OF_TIME),
    ("reports-only", Mood::TakesOnly(COMPREHENSIVE_3D_SR), "accepts no presentation context"),
    ("picky", Mood::Answers(SECONDARY_CAPTURE, 0xA900), "A900H"),
];

#[test]
fn costs_no_other_its_results_and_has_them_all_in_the_end() {
    let Some(_) = require_onnxruntime() else { return };
    let good = Sink::start();
    let moody: BTreeMap<&str, Sink> = MOODS.iter().map(|(name, mood, _)| (*name, Sink::in_mood(*mood))).collect();
    let down = free_port();
    let mut configuration =
        cheap_configuration().destination("good", Sink::AE_TITLE, good.port).destination("down", Sink::AE_TITLE, down);
    for (name, _, why) in MOODS {
        configuration = configuration.destination(name, Sink::AE_TITLE, moody[name].port);
        if why == OUT_OF_TIME {
            configuration = configuration.set(&format!("destination.{name}.timeout_s"), TIMEOUT_S);
        }
    }
    let daemon = Daemon::start(configuration);

    // Twice: the second study finds every destination in trouble already.
    let studies = [51, 52].map(|seed| Arc::new(Study::new(seed)));
    let mut received = 0;
    for study in &studies {
        let begun = Instant::now();
        let everything = (0..study.objects.len()).collect();
        assert!(send(([127, 0, 0, 1], daemon.port()).into(), study, everything, &SentLog::default()).wait());
        received += Study::RESULTS;
        wait_until("the good one has it all", PATIENCE, || (good.kept().len() == received).then_some(()));
        println!("the good destination has its results {:.1} s after the first slice", begun.elapsed().as_secs_f64());
        assert_eq!(state_of(&daemon, study), "reported", "the others still wait");
    }
    let expected = results(&daemon, &studies);
    assert_has(&good.kept(), &expected, "good");

    for (name, mood, why) in MOODS {
        let trouble = wait_until(&format!("{name} is named"), PATIENCE, || {
            let groups = deliveries(&daemon, name);
            groups.into_iter().find(|group| group["last_error"].as_str().is_some_and(|error| error.contains(why)))
        });
        let is_permanent = matches!(mood, Mood::TakesOnly(_) | Mood::Answers(..));
        assert_eq!(trouble["status"], if is_permanent { "refused" } else { "waiting" }, "{trouble}");
        let status = if let Mood::Answers(_, status) = mood { Value::from(status) } else { Value::Null };
        assert_eq!(trouble["dimse_status"], status, "{trouble}");
        // Again and again, each in its own time.
        let sink = &moody[name];
        let calls = if is_permanent { 2 } else { 4 };
        wait_until(&format!("{name} is called again"), PATIENCE, || (sink.calls() >= calls).then_some(()));
    }
    let waiting = deliveries(&daemon, "down");
    assert!(waiting[0]["last_error"].as_str().unwrap().contains("cannot connect"), "{waiting:?}");

    // All but two behave again.
    let down = Sink::at(down, Mood::Good);
    for (name, mood, _) in MOODS {
        if !matches!(mood, Mood::TakesOnly(_) | Mood::Answers(..)) {
            moody[name].set_mood(Mood::Good);
        }
    }
    for study in &studies {
        let study = daemon.wait_for_state(&study.study_uid, "delivered", PATIENCE);
        let refused = 2 * (Study::RESULTS - 1);
        assert_eq!(study["reason"], format!("{refused} deliveries refused for good"), "{study}");
        assert_eq!(study["revision"], 1);
    }
    assert_has(&down.kept(), &expected, "down");
    for (name, mood, _) in MOODS {
        let kept = moody[name].kept();
        match mood {
            Mood::TakesOnly(_) | Mood::Answers(..) => assert_eq!(kept.len(), studies.len(), "{name}: the reports"),
            Mood::KeepsAndIsSilent => {
                assert!(kept.values().any(|object| object.times > 1), "it was not asked again");
                assert_same_bytes(&kept, &expected, name);
            }
            _ => assert_has(&kept, &expected, name),
        }
    }

    // The dead letters: an operator has the PACS mended and retries.
    moody["picky"].set_mood(Mood::Answers(SECONDARY_CAPTURE, 0xB000));
    for study in &studies {
        let retried =
            fcdd(["studies", "retry", &study.study_uid, "--config", daemon.configuration_file().to_str().unwrap()]);
        assert!(retried.status.success(), "{}", String::from_utf8_lossy(&retried.stderr));
    }
    wait_until("the picky one has it all", PATIENCE, || (moody["picky"].kept().len() == expected.len()).then_some(()));
    for study in &studies {
        let study = wait_until("the study is settled again", PATIENCE, || {
            daemon.study(&study.study_uid).filter(|s| s["state"] == "delivered")
        });
        assert_eq!(study["revision"], 1, "the same result");
        let refused = Study::RESULTS - 1;
        assert_eq!(study["reason"], format!("{refused} deliveries refused for good"), "{study}");
    }
    let groups = deliveries(&daemon, "picky");
    assert!(groups.iter().all(|group| group["status"] == "delivered"), "{groups:?}");
    assert!(groups.iter().all(|group| group["dimse_status"] == 0xB000), "the warning is told: {groups:?}");
    assert_has(&moody["picky"].kept(), &expected, "picky");
    assert_has(&good.kept(), &expected, "good: nothing was sent to it again");
}

fn state_of(daemon: &Daemon, study: &Study) -> Value {
    daemon.study(&study.study_uid).expect("the ledger knows it")["state"].clone()
}

/// What `fcdd deliveries` says of a destination.
fn deliveries(daemon: &Daemon, destination: &str) -> Vec<Value> {
    let configuration = daemon.configuration_file();
    let configuration = configuration.to_str().expect("test paths are UTF-8");
    let output = fcdd(["deliveries", "--destination", destination, "--json", "--config", configuration]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// SOP Instance UID and the dataset's digest of every result in the spool.
fn results(daemon: &Daemon, studies: &[Arc<Study>]) -> BTreeMap<String, [u8; 32]> {
    let mut results = BTreeMap::new();
    for study in studies {
        let details = daemon.study(&study.study_uid).expect("the ledger knows it");
        for object in details["objects"].as_array().expect("it has results") {
            let file = std::fs::read(daemon.spool().join(object["path"].as_str().unwrap())).unwrap();
            let digest = Sha256::digest(split_file(&file).3).into();
            results.insert(object["sop_instance_uid"].as_str().unwrap().to_owned(), digest);
        }
    }
    assert_eq!(results.len(), studies.len() * Study::RESULTS);
    results
}

/// Every result once, and nothing else.
fn assert_has(kept: &BTreeMap<String, Kept>, expected: &BTreeMap<String, [u8; 32]>, who: &str) {
    assert_same_bytes(kept, expected, who);
    assert!(kept.values().all(|object| object.times == 1), "{who} got something twice");
}

fn assert_same_bytes(kept: &BTreeMap<String, Kept>, expected: &BTreeMap<String, [u8; 32]>, who: &str) {
    assert_eq!(kept.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{who}");
    let is_same = |(uid, object): (&String, &Kept)| object.dataset_sha256 == expected[uid] && object.times_other == 0;
    assert!(kept.iter().all(is_same), "{who} has other bytes than the spool");
}
