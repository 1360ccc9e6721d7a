//! The daemon's wall clock is set a day forward and back again, while studies are being received and results wait for
//! a PACS: no study is taken for complete too early or waits for the clock, and no retry is put off by a day.
//!
//! That no study leaves the spool because of it is told where the removals are (`src/daemon/housekeeping.rs`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::kill::{Mood, SentLog, Sink, Study, cheap_configuration, send, store};
use crate::scripted_peer::Peer;
use crate::support::{Daemon, require_file, require_onnxruntime, wait_until};

const PATIENCE: Duration = Duration::from_secs(40);
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[test]
fn completes_no_study_early_or_late_and_puts_off_no_retry() {
    let Some(_) = require_onnxruntime() else { return };
    let Some(_) = require_file(FAKETIME, "libfaketime") else { return };
    let sink = Sink::in_mood(Mood::Rejects(2, 3, 1));
    let configuration = cheap_configuration().destination("sink", Sink::AE_TITLE, sink.port);
    let clock = configuration.directory().join("clock");
    set_clock(&clock, "+0");
    let clock_of_the_daemon = [
        "env".to_owned(),
        format!("LD_PRELOAD={FAKETIME}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ];
    let daemon = Daemon::start(configuration.under(clock_of_the_daemon));
    let address = ([127, 0, 0, 1], daemon.port()).into();
    let [waiting, first, second] = [71, 72, 73].map(|seed| Arc::new(Study::new(seed)));
    let sent = SentLog::default();
    assert!(send(address, &waiting, (0..waiting.objects.len()).collect(), &sent).wait());
    daemon.wait_for_state(&waiting.study_uid, "reported", PATIENCE);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let half = first.objects.len() / 2;
        let mut of_first = Peer::associated(address).await;
        send_part(&mut of_first, &first, 0..half, &sent).await;
        set_clock(&clock, "+25h");
        was_noticed(&daemon, 1);
        // Whatever makes the daemon look for complete studies: the first one is none.
        let mut of_second = Peer::associated(address).await;
        send_part(&mut of_second, &second, 0..half, &sent).await;
        assert!(daemon.study(&first.study_uid).is_some_and(|study| study["state"] == "receiving"));
        send_part(&mut of_first, &first, half..first.objects.len(), &sent).await;
        of_first.release().await;
        daemon.wait_for_state(&first.study_uid, "reported", PATIENCE);
        is_called_again(&sink);

        set_clock(&clock, "+0");
        was_noticed(&daemon, 2);
        is_called_again(&sink);
        send_part(&mut of_second, &second, half..second.objects.len(), &sent).await;
        of_second.release().await;
        daemon.wait_for_state(&second.study_uid, "reported", PATIENCE);
    });
    sink.set_mood(Mood::Good);
    for study in [&waiting, &first, &second] {
        let study = daemon.wait_for_state(&study.study_uid, "delivered", PATIENCE);
        assert_eq!((study["revision"].as_u64(), study["late_instances"].as_u64()), (Some(1), Some(0)), "{study}");
        assert_eq!(study["series"][0]["instances"], 38, "{study}");
    }
}

fn set_clock(file: &Path, offset: &str) {
    // Aside and renamed: the daemon reads it all the time.
    let aside = file.with_extension("new");
    std::fs::write(&aside, offset).and_then(|()| std::fs::rename(&aside, file)).expect("the clock can be set");
}

fn was_noticed(daemon: &Daemon, times: usize) {
    wait_until("the daemon notices that the clock was set", PATIENCE, || {
        (daemon.log().matches("the clock was set").count() == times).then_some(())
    });
}

fn is_called_again(sink: &Sink) {
    let before = sink.calls();
    wait_until("the PACS is called again, and again", PATIENCE, || (sink.calls() >= before + 2).then_some(()));
}

async fn send_part(peer: &mut Peer, study: &Study, places: std::ops::Range<usize>, sent: &SentLog) {
    for place in places {
        assert!(store(peer, study, place, sent).await, "the association lasts");
    }
}
