//! What a running daemon takes, sample by sample, and whether that stays the same.
//!
//! Flat means: the last quarter of the time is compared with the second (in the first, caches fill). Each limit leaves
//! room for the noise of the thing measured and none for anything that grows with the number of studies.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::kill::Study;
use crate::support::{Daemon, fcdd};

const SAMPLES: u32 = 240;

/// One look at the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    pub seconds: f64,
    /// Resident memory, MiB.
    pub rss_mib: f64,
    pub descriptors: u64,
    pub threads: u64,
    /// Size of the ledger, and of its write-ahead log, KiB.
    pub ledger_kib: u64,
    pub log_kib: u64,
    /// Deliveries that wait, by `fcdd status`.
    pub waiting: u64,
    /// Studies whose files are in the spool.
    pub in_spool: u64,
    /// Studies that are delivered, all together.
    pub delivered: u64,
}

/// Looks at a daemon from time to time, in a thread of its own.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// For about this long.
    pub fn start(daemon: &Daemon, time: Duration) -> Sampler {
        let (stop, stopped) = channel();
        let process = PathBuf::from(format!("/proc/{}", daemon.id()));
        let (spool, configuration) = (daemon.spool(), daemon.configuration_file());
        let every = time / SAMPLES;
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut samples = Vec::new();
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                samples.push(look(begun, &process, &spool, &configuration));
            }
            samples
        });
        Sampler { stop, thread }
    }

    pub fn stop(self) -> Vec<Sample> {
        self.stop.send(()).expect("it looks until it is stopped");
        self.thread.join().expect("every look succeeds")
    }
}

fn look(begun: Instant, process: &Path, spool: &Path, configuration: &Path) -> Sample {
    let status = fs::read_to_string(process.join("status")).expect("the daemon runs");
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says it");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    };
    let entries = |folder: &Path| fs::read_dir(folder).expect("it can be listed").count() as u64;
    let kib = |name: &str| fs::metadata(spool.join(name)).map_or(0, |file| file.len() >> 10);
    let output = fcdd(["status".as_ref(), "--json".as_ref(), "--config".as_ref(), configuration.as_os_str()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    Sample {
        seconds: begun.elapsed().as_secs_f64(),
        rss_mib: field("VmRSS:") as f64 / 1024.0,
        descriptors: entries(&process.join("fd")),
        threads: field("Threads:"),
        ledger_kib: kib("ledger.sqlite"),
        log_kib: kib("ledger.sqlite-wal"),
        waiting: said["outbox"]["pacs"]["waiting"].as_u64().unwrap_or(0),
        in_spool: entries(&spool.join("studies")),
        delivered: said["studies"]["delivered"].as_u64().expect("it is counted"),
    }
}

/// A quarter of the samples, from 0.
fn quarter(samples: &[Sample], number: usize) -> &[Sample] {
    let length = samples.len() / 4;
    &samples[number * length..(number + 1) * length]
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn most(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(of).max().expect("there are samples")
}

/// What grew from the first sample to the last.
fn growth(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    of(samples.last().expect("there are samples")).saturating_sub(of(&samples[0]))
}

fn ledger_kib_per_study(samples: &[Sample]) -> f64 {
    growth(samples, |s| s.ledger_kib) as f64 / growth(samples, |s| s.delivered).max(1) as f64
}

/// What is not flat, each in a sentence.
pub fn not_flat(samples: &[Sample]) -> Vec<String> {
    let (second, last) = (quarter(samples, 1), quarter(samples, 3));
    let mut findings = Vec::new();
    let mut at_most = |what: &str, now: f64, before: f64, limit: f64| {
        if now > limit {
            findings
                .push(format!("{what}: {now:.1} in the last quarter, {before:.1} in the second, at most {limit:.1}"));
        }
    };
    let rss = |part: &[Sample]| median(part, |s| s.rss_mib);
    at_most("resident memory, MiB", rss(last), rss(second), 1.05 * rss(second) + 6.0);
    let mut counted = |what: &str, of: fn(&Sample) -> u64, factor: f64, more: f64| {
        let (now, before) = (most(last, of) as f64, most(second, of) as f64);
        at_most(what, now, before, factor * before + more);
    };
    counted("file descriptors", |s| s.descriptors, 1.0, 4.0);
    counted("threads", |s| s.threads, 1.0, 4.0);
    counted("deliveries that wait", |s| s.waiting, 1.5, 2.0 * Study::RESULTS as f64);
    counted("studies in the spool", |s| s.in_spool, 1.3, 10.0);
    counted("the ledger's write-ahead log, KiB", |s| s.log_kib, 1.2, 4096.0);
    let per_study = ledger_kib_per_study;
    at_most("the ledger's growth per study, KiB", per_study(last), per_study(second), 1.3 * per_study(second) + 2.0);
    // The other way round: the pace must not fall.
    let pace = |part: &[Sample]| {
        (part[part.len() - 1].seconds - part[0].seconds) / growth(part, |s| s.delivered).max(1) as f64
    };
    at_most("seconds per study", pace(last), pace(second), 1.3 * pace(second));
    findings
}

/// The samples as a table, at most 24 lines, and the quarters that are compared.
pub fn table(samples: &[Sample]) -> String {
    let mut text = "     s   RSS MiB  fds  threads  ledger KiB  WAL KiB  waiting  in spool  delivered\n".to_owned();
    for s in samples.iter().step_by(samples.len().div_ceil(24).max(1)).chain(samples.last()) {
        let Sample { seconds, rss_mib, descriptors, threads, ledger_kib, log_kib, waiting, in_spool, delivered } = s;
        let _ = writeln!(
            text,
            "{seconds:>6.0}{rss_mib:>10.1}{descriptors:>5}{threads:>9}{ledger_kib:>12}{log_kib:>9}{waiting:>9}\
             {in_spool:>10}{delivered:>11}"
        );
    }
    for (name, number) in [("second", 1), ("last", 3)] {
        let part = quarter(samples, number);
        let _ = writeln!(
            text,
            "{name} quarter: RSS {:.1} MiB (median); at most {} descriptors, {} threads, {} waiting, {} studies in the \
             spool; ledger {:.1} KiB per study; {} studies",
            median(part, |s| s.rss_mib),
            most(part, |s| s.descriptors),
            most(part, |s| s.threads),
            most(part, |s| s.waiting),
            most(part, |s| s.in_spool),
            ledger_kib_per_study(part),
            growth(part, |s| s.delivered)
        );
    }
    text
}

/// A daemon that stays as it is, with the noise that one has.
fn flat(number: u64) -> Sample {
    Sample {
        seconds: 15.0 * number as f64,
        rss_mib: 120.0 + (number % 7) as f64,
        descriptors: 30 + number % 3,
        threads: 20 + number % 4,
        ledger_kib: 500 + 40 * number,
        log_kib: 4000 + number % 5,
        waiting: 17 * (number % 6),
        in_spool: 20 + 10 * (number % 8),
        delivered: 10 * number,
    }
}

#[test]
fn what_stays_as_it_is_is_flat_and_what_grows_is_not() {
    type Change = fn(u64, &mut Sample);
    let run = |change: Change| {
        let samples = (0..240).map(|number| {
            let mut sample = flat(number);
            change(number, &mut sample);
            sample
        });
        not_flat(&samples.collect::<Vec<_>>())
    };
    assert_eq!(run(|_, _| {}), Vec::<String>::new());
    let growing: [(&str, Change); 8] = [
        // 40 MiB, 12 descriptors or threads, and so on in an hour.
        ("resident memory", |n, s| s.rss_mib += n as f64 / 6.0),
        ("file descriptors", |n, s| s.descriptors += n / 20),
        ("threads", |n, s| s.threads += n / 20),
        ("deliveries that wait", |n, s| s.waiting += 4 * n),
        ("studies in the spool", |n, s| s.in_spool += n),
        ("write-ahead log", |n, s| s.log_kib += 100 * n),
        ("growth per study", |n, s| s.ledger_kib += n * n / 4),
        ("seconds per study", |n, s| s.seconds += (n * n) as f64 / 10.0),
    ];
    for (what, grow) in growing {
        let findings = run(grow);
        assert!(findings.len() == 1 && findings[0].contains(what), "{what}: {findings:?}");
    }
}
