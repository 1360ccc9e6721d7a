//! Receiving: the real daemon on a real disk, beside what the disk can do and beside other receivers, in one run.
//!
//! | row | bar |
//! |---|---|
//! | 4 fast senders, every object durable before its answer | ≥ 0.60 × the disk limit (same durable order, 4 writers) |
//! | memory at its peak, above idle | ≤ 30 MB |
//! | one association of DCMTK storescu, as installed | ≥ 30 × DCMTK storescp as installed (which syncs nothing) |
//!
//! Slices of 132 KB. The rows take turns, `--rounds` times; medians are told, and what they lie between. The daemon has
//! no models: intake needs none.
//!
//! `cargo bench --bench receive -- --rounds 3 --slices 1000 --slow-slices 60`

#[path = "../tests/support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "../tests/support/mod.rs"]
mod support;
mod traffic;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Configuration, Daemon, Orthanc, free_port, python, require_peer, wait_until};
use traffic::{Storescp, disk_limit, median, on_a_real_disk, range, send_from, slices, write_files};

const BAR_OF_THE_DISK: f64 = 0.60;
const BAR_MB: f64 = 30.0;
const BAR_OF_STORESCP: f64 = 30.0;

fn main() {
    let (mut rounds, mut count, mut slow) = (3, 1000, 60);
    traffic::arguments(&mut [("rounds", &mut rounds), ("slices", &mut count), ("slow-slices", &mut slow)]);
    let folder = on_a_real_disk();
    durable(&folder, rounds, count);
    from_storescu(&folder, rounds, count, slow);
}

/// A daemon without models, logging what a daemon logs by default.
fn daemon() -> Daemon {
    let configuration = Configuration::new();
    let no_models = configuration.directory().join("models");
    std::fs::create_dir(&no_models).expect("a folder can be made");
    let no_models = no_models.to_str().expect("temporary paths are UTF-8").to_owned();
    Daemon::start(
        configuration
            .set("analyze.models", vec![no_models])
            .set("assemble.quiet_s", 3600.0)
            .set("assemble.max_wait_s", 7200.0)
            .set("observe.log", "info"),
    )
}

fn durable(folder: &Path, rounds: usize, count: usize) {
    let daemon = daemon();
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));
    let idle_mb = memory_mb(daemon.id(), "VmRSS");
    forget_the_peak(daemon.id());
    let (mut one, mut four, mut disk_one, mut disk_four, mut ratios) = (vec![], vec![], vec![], vec![], vec![]);
    let written = tempfile::tempdir_in(folder).expect("a temporary directory can be made");
    for round in 0..rounds {
        let bytes = slices(0, 1)[0].dataset.len();
        disk_one.push(disk_limit(&written, 1, count, bytes));
        one.push(send_from(1, address, &slices(2 * round, count)));
        let limit = disk_limit(&written, 4, count, bytes);
        let received = send_from(4, address, &slices(2 * round + 1, count));
        ratios.push(received / limit);
        disk_four.push(limit);
        four.push(received);
    }
    let peak_mb = memory_mb(daemon.id(), "VmHWM");
    println!("receiving {count} slices of 132 KB, durable, {rounds} rounds in turn; images per second:");
    println!(
        "  {:.2} of the disk limit with 4 senders (bar: at least {BAR_OF_THE_DISK:.2}): {:.0} ({}); disk {:.0} ({})",
        median(&ratios),
        median(&four),
        range(&four),
        median(&disk_four),
        range(&disk_four)
    );
    println!(
        "  1 sender: {:.0} ({}); disk with one writer {:.0} ({})",
        median(&one),
        range(&one),
        median(&disk_one),
        range(&disk_one)
    );
    println!(
        "  memory: {:.1} MB above the idle {idle_mb:.1} MB at the peak (bar: at most {BAR_MB:.0})",
        peak_mb - idle_mb
    );
}

/// One of those that storescu sends to.
struct Receiver {
    name: &'static str,
    ae_title: &'static str,
    port: u16,
    /// TCP_NODELAY=1 in the environment of DCMTK's programs, on either end.
    no_delay: bool,
    /// How many slices it gets at a time: the slow ones are not waited for longer than needed.
    slices: usize,
    /// Ends when dropped.
    _process: Box<dyn std::any::Any>,
}

/// Everybody that is installed; fcdd comes first.
fn receivers(stored: &Path, count: usize, slow: usize) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for (no_delay, name) in [(false, "fcdd (durable)"), (true, "fcdd (durable), TCP_NODELAY=1 at storescu")] {
        let daemon = daemon();
        let (ae_title, port) = (Configuration::AE_TITLE, daemon.port());
        receivers.push(Receiver { name, ae_title, port, no_delay, slices: count, _process: Box::new(daemon) });
    }
    for (no_delay, slices, name) in
        [(false, slow, "DCMTK storescp"), (true, count, "DCMTK storescp, TCP_NODELAY=1 on both ends")]
    {
        let Some(storescp) = Storescp::start(no_delay, &[], stored) else { continue };
        let port = storescp.port;
        receivers.push(Receiver { name, ae_title: "STORESCP", port, no_delay, slices, _process: Box::new(storescp) });
    }
    for (no_delay, name) in [(false, "Orthanc"), (true, "Orthanc, TCP_NODELAY=1 at storescu")] {
        let Some(orthanc) = Orthanc::start() else { continue };
        let (ae_title, port) = (Orthanc::AE_TITLE, orthanc.dicom_port());
        receivers.push(Receiver { name, ae_title, port, no_delay, slices: slow, _process: Box::new(orthanc) });
    }
    for (no_delay, name) in [(false, "pynetdicom"), (true, "pynetdicom, TCP_NODELAY=1 at storescu")] {
        let Some(scp) = Pynetdicom::start(stored) else { continue };
        let port = scp.port;
        receivers.push(Receiver { name, ae_title: "STORESCP", port, no_delay, slices: slow, _process: Box::new(scp) });
    }
    receivers
}

fn from_storescu(folder: &Path, rounds: usize, count: usize, slow: usize) {
    let Some(storescu) = require_peer("storescu") else { return };
    let stored = tempfile::tempdir_in(folder).expect("a temporary directory can be made");
    let receivers = receivers(stored.path(), count, slow);
    let mut measured = vec![Vec::new(); receivers.len()];
    for round in 0..rounds {
        for (index, receiver) in receivers.iter().enumerate() {
            // Another study each time: nobody is sent what it has already.
            let study = 1000 + round * receivers.len() + index;
            let sent = slices(study, receiver.slices);
            let files = write_files(&stored.path().join(format!("study-{study}")), &sent);
            let mut command = Command::new(&storescu);
            if receiver.no_delay {
                command.env("TCP_NODELAY", "1");
            }
            command.args(["+sd", "-aec", receiver.ae_title, "127.0.0.1", &receiver.port.to_string()]).arg(&files);
            let began = Instant::now();
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("storescu starts");
            let took = began.elapsed();
            assert!(status.success(), "storescu to {}: {status}", receiver.name);
            measured[index].push(receiver.slices as f64 / took.as_secs_f64());
            std::fs::remove_dir_all(files).expect("the folder can be removed");
        }
    }
    println!("one association of DCMTK storescu; images per second:");
    if let Some(at) = receivers.iter().position(|receiver| receiver.name == "DCMTK storescp") {
        let times = median(&measured[0]) / median(&measured[at]);
        println!("  fcdd takes {times:.0} times what storescp takes (bar: at least {BAR_OF_STORESCP:.0})");
    }
    for (receiver, rates) in receivers.iter().zip(&measured) {
        println!("  {}: {:.0} ({}), {} slices", receiver.name, median(rates), range(rates), receiver.slices);
    }
}

/// pynetdicom's own storage SCP; killed when dropped.
struct Pynetdicom {
    port: u16,
    process: Child,
}

impl Pynetdicom {
    fn start(folder: &Path) -> Option<Pynetdicom> {
        let port = free_port();
        let process = Command::new(python()?)
            .args(["-m", "pynetdicom", "storescp", &port.to_string(), "-q", "-od"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python starts");
        let patience = Duration::from_secs(20);
        wait_until("pynetdicom listens", patience, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Pynetdicom { port, process })
    }
}

impl Drop for Pynetdicom {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A line of `/proc/PID/status`, MB (10⁶ bytes).
fn memory_mb(process: u32, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the daemon runs");
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok()).expect("a number of kB");
    kib * 1024.0 / 1e6
}

/// Lets `VmHWM` begin anew (proc(5), clear_refs).
fn forget_the_peak(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the peak can be reset");
}
