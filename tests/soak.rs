//! Hours of continuous studies: late images, objects that are refused, variants, associations that break off, studies
//! that are not for analysis, a PACS that now and then is busy, silent or gone, and files that leave the spool. Memory,
//! file descriptors, threads, queues, the spool and the ledger's size per study stay as they are; so does the pace.
//!
//! `make soak` runs it; `FCDD_SOAK_MINUTES` says for how long (60).

#[path = "support/kill/mod.rs"]
mod kill;
#[path = "support/soak/modality.rs"]
mod modality;
#[path = "support/soak/sampling.rs"]
mod sampling;
#[path = "support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "support/scripted_scp/mod.rs"]
mod scripted_scp;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fcdd::dicom::Uid;
use fcdd::ledger::{Ledger, LedgerError, StudyState};
use kill::{Study, cheap_configuration};
use modality::Modality;
use sampling::Sampler;
use scripted_scp::{Message, Reply, ScriptedScp, Welcome};
use support::{Daemon, Exit, require_onnxruntime, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);
const COMPREHENSIVE_3D_SR: &str = "1.2.840.10008.5.1.4.1.1.88.34";
/// Studies that are on their way at once, at most: the pace is the daemon's.
const MOST_ON_THEIR_WAY: u64 = 6;

#[test]
#[ignore = "an hour, or as many minutes as FCDD_SOAK_MINUTES says: make soak"]
fn everything_stays_as_it_is() {
    let Some(_) = require_onnxruntime() else { return };
    let minutes = std::env::var("FCDD_SOAK_MINUTES").map_or(60.0, |text| text.parse().expect("a number of minutes"));
    // Files leave the spool once a minute: a quarter of the time must see that happen.
    assert!(minutes >= 5.0, "in less than 5 minutes there is nothing to see");
    let time = Duration::from_secs_f64(60.0 * minutes);
    let reports = Arc::new(Mutex::new(BTreeSet::new()));
    let pacs = ScriptedScp::start(Welcome::All, now_and_then_in_trouble(reports.clone()));
    let configuration = cheap_configuration()
        .set("assemble.quiet_s", 0.2)
        .set("spool.keep_delivered_days", 0)
        .set("spool.keep_not_for_analysis_days", 0)
        .set("observe.log", "error")
        .destination("pacs", "PACS", pacs.port)
        .set("destination.pacs.timeout_s", 1);
    let daemon = Daemon::start(configuration);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let ledger = runtime.block_on(Ledger::open_existing(&daemon.spool().join("ledger.sqlite"))).expect("it is there");
    let on_their_way = || {
        let overview = runtime.block_on(ledger.overview()).expect("the ledger can be read");
        ["receiving", "complete", "analyzing", "reported"].iter().map(|state| overview.studies[state]).sum::<u64>()
    };

    let sampler = Sampler::start(&daemon, time);
    let mut modality = Modality::new(([127, 0, 0, 1], daemon.port()).into());
    let begun = Instant::now();
    while begun.elapsed() < time {
        runtime.block_on(modality.send_the_next());
        wait_until("the daemon gets on", PATIENCE, || (on_their_way() < MOST_ON_THEIR_WAY).then_some(()));
    }
    let samples = sampler.stop();
    wait_until("everything comes to its end", PATIENCE, || (on_their_way() == 0).then_some(()));
    let reports = reports.lock().expect("no connection panicked").clone();
    runtime.block_on(every_study_has_its_report(&ledger, &modality, &reports));
    runtime.block_on(ledger.close());
    let (exit, _) = daemon.stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));

    println!("{}", sampling::table(&samples));
    println!("{}", modality.in_words());
    let findings = sampling::not_flat(&samples);
    assert!(findings.is_empty(), "{findings:#?}");
}

/// A PACS that stores nearly everything; keeps the reports that it has stored.
fn now_and_then_in_trouble(reports: Arc<Mutex<BTreeSet<String>>>) -> impl Fn(&Message) -> Reply + Send + Sync {
    let number = AtomicU64::new(0);
    move |message| {
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        let reply = match number {
            n if n % 2003 == 0 => Reply::Silence,
            n if n % 1511 == 0 => Reply::Abort,
            n if n % 1009 == 0 => Reply::Close,
            n if n % 97 == 0 => Reply::Status(0xA700),
            n if n % 53 == 0 => Reply::Status(0xB000),
            _ => Reply::Status(0x0000),
        };
        let is_stored = matches!(reply, Reply::Status(0x0000 | 0xB000));
        if is_stored && message.sop_class == COMPREHENSIVE_3D_SR {
            reports.lock().expect("no connection panicked").insert(message.sop_instance.clone());
        }
        reply
    }
}

async fn every_study_has_its_report(ledger: &Ledger, modality: &Modality, reports: &BTreeSet<String>) {
    for study_uid in &modality.for_analysis {
        let details = ledger.show_study(&Uid::parse(study_uid).unwrap()).await.expect("it is remembered");
        let (state, revision) = (details.study.state, details.study.revision);
        assert_eq!(state, StudyState::Delivered, "{study_uid}: {}", details.study.reason);
        assert!((1..=2).contains(&revision), "{study_uid} has revision {revision}");
        let its_reports = details.objects.iter().filter(|object| object.kind == "report");
        assert!(details.study.files_removed_at.is_some() || details.objects.len() + 1 >= Study::RESULTS, "{study_uid}");
        let not_there = its_reports.clone().find(|object| !reports.contains(object.sop_instance_uid.as_str()));
        assert_eq!(its_reports.count(), revision as usize, "{study_uid}");
        assert!(not_there.is_none(), "{study_uid}: the PACS has not {not_there:?}");
    }
    for study_uid in &modality.not_for_analysis {
        match ledger.study(&Uid::parse(study_uid).unwrap()).await {
            Ok(study) => assert_eq!(study.state, StudyState::NotForAnalysis, "{study_uid}"),
            Err(LedgerError::UnknownStudy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
