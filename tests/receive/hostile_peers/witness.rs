//! What the daemon leaves behind, as its administrator sees it: receipts, lines of the log, files, memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::Value;

use crate::support::{Configuration, Daemon, fcdd, files_below};

/// A daemon whose timers the scenarios can wait for. It only receives: no study is ever complete.
pub fn daemon_of_short_waits() -> Configuration {
    Configuration::new()
        .set("assemble.quiet_s", 3600.0)
        .set("assemble.max_wait_s", 7200.0)
        .set("receive.association_request_timeout_s", 2)
        .set("receive.idle_timeout_s", 2)
        // Limits of connections are another scenario's.
        .set("receive.max_associations", 1000)
        .set("receive.object_timeout_s", 13)
        .set("receive.max_object_mib", 1)
        .set("observe.json", true)
        .set("observe.log", "info,ort=error")
}

/// Receipts and lines by the peer's address, and what is in the spool.
pub struct Witness {
    receipts: BTreeMap<Ipv4Addr, Vec<Value>>,
    lines: BTreeMap<Ipv4Addr, Vec<Value>>,
    /// Lines at WARN or above that name no peer.
    pub nameless: Vec<Value>,
    /// The longest line of the log, bytes.
    pub longest_line: usize,
}

impl Witness {
    pub fn of(daemon: &Daemon) -> Witness {
        let mut receipts: BTreeMap<Ipv4Addr, Vec<Value>> = BTreeMap::new();
        for receipt in receipts_of(daemon) {
            receipts.entry(address(&receipt["peer"])).or_default().push(receipt);
        }
        let (mut lines, mut nameless): (BTreeMap<Ipv4Addr, Vec<Value>>, Vec<Value>) = Default::default();
        let log = daemon.log();
        for line in complaints(&log) {
            match line["fields"]["peer"].as_str() {
                Some(_) => lines.entry(address(&line["fields"]["peer"])).or_default().push(line),
                None => nameless.push(line),
            }
        }
        let longest_line = log.lines().map(str::len).max().unwrap_or(0);
        Witness { receipts, lines, nameless, longest_line }
    }

    pub fn receipts(&self, peer: [u8; 4]) -> &[Value] {
        self.receipts.get(&Ipv4Addr::from(peer)).map_or(&[], Vec::as_slice)
    }

    pub fn lines(&self, peer: [u8; 4]) -> &[Value] {
        self.lines.get(&Ipv4Addr::from(peer)).map_or(&[], Vec::as_slice)
    }
}

/// `fcdd associations --json`: all of them.
pub fn receipts_of(daemon: &Daemon) -> Vec<Value> {
    match ask(daemon, &["--limit", "100000"]) {
        Value::Array(receipts) => receipts,
        other => panic!("no list: {other}"),
    }
}

/// `fcdd associations ID --json`: why its objects were refused.
pub fn refusals_of(daemon: &Daemon, association: &Value) -> Vec<Value> {
    let receipt = ask(daemon, &[association.to_string().as_str()]);
    receipt["refusals"].as_array().expect("a receipt lists its refusals").clone()
}

fn ask(daemon: &Daemon, arguments: &[&str]) -> Value {
    let config = daemon.configuration_file();
    let config = config.to_str().expect("test paths are UTF-8");
    let output = fcdd(["associations", "--json", "--config", config].iter().chain(arguments));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The lines of a log at WARN or above.
pub fn complaints(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| matches!(line["level"].as_str(), Some("WARN" | "ERROR"))).collect()
}

/// The address in `address:port` or an address alone.
fn address(peer: &Value) -> Ipv4Addr {
    let peer = peer.as_str().expect("a peer");
    let address = peer.split_once(':').map_or(peer, |(address, _)| address);
    address.parse().unwrap_or_else(|_| panic!("{peer} is no address"))
}

/// Every object in the spool: data set by SOP instance, wherever it lies.
pub fn objects_in(spool: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = ["studies", "quarantine"].map(|folder| files_below(&spool.join(folder))).concat();
    let is_object = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "dcm");
    let mut objects = BTreeMap::new();
    for file in files.iter().filter(is_object) {
        let bytes = std::fs::read(file).expect("the spool can be read");
        let (_, sop_instance, _, dataset) = crate::scripted_peer::split_file(&bytes);
        let before = objects.insert(sop_instance.clone(), dataset.to_vec());
        assert!(before.is_none(), "{sop_instance} is there twice");
    }
    objects
}

/// The resident memory of a process, KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    idle: u64,
    process: u32,
}

impl Memory {
    /// Takes what it needs now for what it needs at rest; from now on the peak counts.
    pub fn at_rest(process: u32) -> Memory {
        // Resets VmHWM to what is resident now (proc(5)).
        std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the peak can be reset");
        Memory { idle: field(process, "VmRSS"), process }
    }

    /// At rest, at its peak since then, and now, MB.
    pub fn idle_peak_now(&self) -> [f64; 3] {
        [self.idle, field(self.process, "VmHWM"), field(self.process, "VmRSS")].map(|kib| kib as f64 * 1024.0 / 1e6)
    }

    /// What issue and README promise.
    pub fn assert_small(&self, scenario: &str) {
        const LIMIT_MB: f64 = 30.0;
        let [idle, peak, now] = self.idle_peak_now();
        println!("{scenario}: {idle:.1} MB at rest, {peak:.1} MB at the peak (+{:.1}), {now:.1} MB after", peak - idle);
        assert!(peak - idle <= LIMIT_MB, "{:.1} MB above rest", peak - idle);
    }
}

fn field(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the daemon runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}
