//! A daemon with nothing to do sleeps: at most one wake-up in a second over all of its threads, and at most 60 MB
//! resident without a model. What wakes it is noticed all the same: an association at once, what another process writes
//! into the ledger within a few seconds.

mod support;

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use fcdd::ledger::Ledger;
use support::{Configuration, Daemon, free_port, storescu, wait_until};

/// Without an event there is nothing to wait for but time.
/// One writing of the metrics falls into it, whenever it begins.
const WINDOW: Duration = Duration::from_secs(15);
/// Often enough that no thread begins and ends unseen.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const WAKE_UPS_PER_SECOND: f64 = 1.0;
const RESIDENT_MB: f64 = 60.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each thread of the process went to sleep so far: each time something must have woken it.
fn sleeps(daemon: &Daemon) -> HashMap<OsString, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("the daemon runs");
    let of_task = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        Some((task.file_name(), number_after(&status, "\nvoluntary_ctxt_switches:")?))
    };
    tasks.filter_map(|task| of_task(task.ok()?)).collect()
}

/// Counts wake-ups from one look to the next.
struct WakeUps {
    before: HashMap<OsString, u64>,
}

impl WakeUps {
    fn begin(daemon: &Daemon) -> WakeUps {
        WakeUps { before: sleeps(daemon) }
    }

    /// Those since the last look. A thread that is gone woke at least once, to end.
    fn look(&mut self, daemon: &Daemon) -> u64 {
        let now = sleeps(daemon);
        let of_those_there =
            now.iter().map(|(thread, count)| count - self.before.get(thread).unwrap_or(&0)).sum::<u64>();
        let gone = self.before.keys().filter(|thread| !now.contains_key(*thread)).count() as u64;
        self.before = now;
        of_those_there + gone
    }
}

fn resident_mb(daemon: &Daemon) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("the daemon runs");
    number_after(&status, "VmRSS:").expect("it has a size") as f64 * 1024.0 / 1e6
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    text.split_once(label)?.1.split_whitespace().next()?.parse().ok()
}

/// Waits until work has left nothing behind: so many looks in a row with next to no wake-up.
fn wait_for_quiet(daemon: &Daemon, looks: u32) {
    let (mut wake_ups, mut looked, mut quiet) = (WakeUps::begin(daemon), Instant::now(), 0);
    wait_until("the daemon is quiet", PATIENCE, || {
        if looked.elapsed() < LOOK_EVERY {
            return None;
        }
        looked = Instant::now();
        quiet = if wake_ups.look(daemon) <= 2 { quiet + 1 } else { 0 };
        (quiet >= looks).then_some(())
    });
}

fn wake_ups_per_second(daemon: &Daemon) -> f64 {
    let (mut wake_ups, begun, mut count) = (WakeUps::begin(daemon), Instant::now(), 0);
    while begun.elapsed() < WINDOW {
        std::thread::sleep(LOOK_EVERY);
        count += wake_ups.look(daemon);
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

#[test]
fn it_sleeps_and_is_small_and_wakes_for_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(16, &folder.path().join("study"));
    // Its models do not load; its destination is not there.
    let configuration = Configuration::new().set("analyze.models", vec!["/nowhere/at/all".to_owned()]).destination(
        "pacs",
        "NOBODY",
        free_port(),
    );
    let mut daemon = Daemon::start(configuration);
    wait_for_quiet(&daemon, 1);
    let fresh = wake_ups_per_second(&daemon);
    let resident = resident_mb(&daemon);
    println!("idle: {fresh:.2} wake-ups in a second, {resident:.1} MB resident");
    assert!(fresh <= WAKE_UPS_PER_SECOND, "{fresh:.2} wake-ups in a second");
    assert!(resident <= RESIDENT_MB, "{resident:.1} MB resident");

    // After work it goes back to sleep.
    let Some(sent) = storescu(&[&folder.path().join("study")], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    daemon.wait_for_state(&study_uid, "complete", PATIENCE);
    // The runtime's threads for blocking work end after ten seconds without any.
    wait_for_quiet(&daemon, 11);
    let again = wake_ups_per_second(&daemon);
    let resident = resident_mb(&daemon);
    println!("after a study: {again:.2} wake-ups in a second, {resident:.1} MB resident");
    assert!(again <= WAKE_UPS_PER_SECOND, "{again:.2} wake-ups in a second after a study");
    assert!(resident <= RESIDENT_MB, "{resident:.1} MB resident after a study");

    // Another process's write into the ledger wakes it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open_existing(&daemon.spool().join("ledger.sqlite")).await.unwrap();
        ledger.enter_trouble("a test", "writes from another process").await.unwrap();
        ledger.close().await;
    });
    daemon.wait_for_log("another process wrote into the ledger", Duration::from_secs(10));
}
