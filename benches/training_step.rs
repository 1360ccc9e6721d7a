//! A training step against PyTorch of the same version, and its peak memory, alternating, in one run.
//!
//! | row | bar |
//! |---|---|
//! | ResNet-18, 2×1×96×112×96, fp32, 2 threads | ≤ 1.05 × PyTorch |
//! | the same with everything up to layer3 frozen | ≤ 0.45 × the full step |
//! | the same, fed by the loader with default augmentation | the step waits < 3 % of its time |
//! | peak memory, ResNet-18, 1×1×160×192×160 | ≤ 1.1 × PyTorch |
//!
//! A step in bf16 is told as well, without a bar: what it gains depends on the processor.
//!
//! Each figure comes from a process of its own: `fcdd-trainer bench-step` and `benches/peers/step_pytorch.py`, which take
//! the same arguments. `FCDD_PYTHON` names a Python with PyTorch (`make setup-test` makes one); without it only our own
//! figures are printed.
//!
//! `cargo bench --features train --bench training_step -- --rounds 5`

use std::process::Command;

use serde_json::Value;

const TRAINER: &str = env!("CARGO_BIN_EXE_fcdd-trainer");
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/step_pytorch.py");
const STEP: [&str; 10] =
    ["--architecture", "resnet18", "--input", "96,112,96", "--batch", "2", "--threads", "2", "--steps", "5"];
const LARGE: [&str; 10] =
    ["--architecture", "resnet18", "--input", "160,192,160", "--batch", "1", "--threads", "2", "--steps", "2"];

/// What one process said.
struct Figures {
    seconds: f64,
    peak_mb: f64,
    waited_share: Option<f64>,
}

fn main() {
    let mut rounds = 3;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => rounds = words.next().and_then(|n| n.parse().ok()).expect("a whole number follows"),
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is not --rounds"),
        }
    }
    let python = std::env::var_os("FCDD_PYTHON").filter(|python| has_torch(python));
    let ours =
        |arguments: &[&str], more: &[&str]| figures(Command::new(TRAINER).arg("bench-step").args(arguments).args(more));
    let theirs = |arguments: &[&str]| python.as_ref().map(|it| figures(Command::new(it).arg(PEER).args(arguments)));

    let (mut to_peer, mut to_full, mut waited, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut full_s, mut peer_s, mut frozen_s, mut bf16_s) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let full = ours(&STEP, &[]);
        if let Some(peer) = theirs(&STEP) {
            to_peer.push(full.seconds / peer.seconds);
            peer_s.push(peer.seconds);
        }
        let frozen = ours(&STEP, &["--trainable", "layer4"]);
        to_full.push(frozen.seconds / full.seconds);
        full_s.push(full.seconds);
        frozen_s.push(frozen.seconds);
        bf16_s.push(ours(&STEP, &["--precision", "bf16"]).seconds);
        waited.extend(ours(&STEP, &["--loaded"]).waited_share);
        let large = ours(&LARGE, &[]);
        if let Some(peer) = theirs(&LARGE) {
            memory.push(large.peak_mb / peer.peak_mb);
        }
        println!("peak memory of a round: fcdd {:.0} MB", large.peak_mb);
    }
    if python.is_none() {
        println!("no peer (set FCDD_PYTHON to a Python with PyTorch), so no ratio to PyTorch");
    }
    println!("medians of {rounds} rounds, each figure the median of its process:");
    say("step, full: fcdd / PyTorch", &to_peer, 1.05);
    say("step, layer4 only / full", &to_full, 0.45);
    say("share of the time that the step waits for data", &waited, 0.03);
    say("peak memory at 160x192x160: fcdd / PyTorch", &memory, 1.1);
    let seconds_of =
        [("fcdd, full", full_s), ("PyTorch, full", peer_s), ("fcdd, layer4 only", frozen_s), ("fcdd, bf16", bf16_s)];
    for (who, seconds) in seconds_of {
        if !seconds.is_empty() {
            println!("  {who:18} {:.3} s a step", median(&seconds));
        }
    }
}

fn has_torch(python: &std::ffi::OsStr) -> bool {
    Command::new(python).args(["-c", "import torch"]).output().is_ok_and(|output| output.status.success())
}

fn figures(command: &mut Command) -> Figures {
    let output = command.output().expect("the process starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    Figures {
        seconds: said["median_seconds"].as_f64().expect("seconds"),
        peak_mb: said["peak_resident_mb"].as_f64().expect("megabytes"),
        waited_share: said["waited_share"].as_f64(),
    }
}

fn say(what: &str, ratios: &[f64], bar: f64) {
    if ratios.is_empty() {
        return;
    }
    let (middle, least) = (median(ratios), ratios.iter().copied().fold(f64::INFINITY, f64::min));
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let met = if middle <= bar { "met" } else { "missed" };
    println!("{what}: {middle:.3} ({least:.3} to {most:.3}), bar {bar}: {met}");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
