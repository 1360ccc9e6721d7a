//! What the benchmarks that run networks share: model folders with random weights, and what a process says of itself.

use std::path::Path;
use std::process::Command;

use fcdd::network::spec::Architecture;

/// Channels of the stem in a network of full width.
pub const FULL_WIDTH: usize = 64;

/// Writes a network of full width for 160×192×160 into `folder`: random weights, labelled untrained, and yet marked as
/// validated in bf16, so that it runs in what this processor computes fastest.
pub fn write(architecture: Architecture, sequence: &str, seed: u32, folder: &Path) {
    let exported = Command::new(env!("CARGO_BIN_EXE_fcdd"))
        .args(["export", "--architecture", architecture.name(), "--width", &FULL_WIDTH.to_string()])
        .args(["--input", "160,192,160", "--spacing", "1"])
        .args(["--sequence", sequence, "--random-init", &seed.to_string(), "--output"])
        .arg(folder)
        .output()
        .expect("fcdd starts");
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let manifest = folder.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let validated = text.replace("validated = [\"fp32\"]", "validated = [\"fp32\", \"bf16\"]");
    assert_ne!(text, validated, "the manifest says in what it was validated");
    std::fs::write(&manifest, validated).expect("a manifest");
}

/// Most memory that this process had resident so far, MB.
pub fn peak_resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") * 1024.0 / 1e6
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The processor's name and what of it is ours.
pub fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |m| m.1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let has = |flag: &str| cpuinfo.split_ascii_whitespace().any(|word| word == flag);
    let units = [("avx512f", "AVX-512"), ("avx512_bf16", "bf16"), ("amx_bf16", "AMX"), ("sha_ni", "SHA")];
    let units: Vec<&str> = units.into_iter().filter(|(flag, _)| has(flag)).map(|(_, name)| name).collect();
    format!("{cores} core(s) of {name} ({})", units.join(", "))
}
