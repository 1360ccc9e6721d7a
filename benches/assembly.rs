//! From files to a volume: a T1 of 192 slices with 256×256 pixels in five transfer syntaxes, `fcdd volume` against
//! dcm2niix, each a process of its own that writes an uncompressed NIfTI file, alternating, in one run.
//!
//! | row | bar |
//! |---|---|
//! | Explicit VR Little Endian, RLE, JPEG lossless, JPEG-LS, JPEG 2000 | ≤ dcm2niix, where it can read them |
//!
//! The files come from the system's cache, so that the disk is not measured. The series is a phantom; DCMTK compresses
//! it (`dcmcrle`, `dcmcjpeg`, `dcmcjpls`), and for JPEG 2000 the Python that `FCDD_BENCH_PYTHON` names (`make bench` makes
//! one). A syntax that nothing here can make is said and left out. Peak memory is that of a run of its own: of the
//! process, and of all decoders that it started.
//!
//! `cargo bench --bench assembly -- --rounds 9`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fcdd::phantom::{self, Protocol, Subject, SubjectOptions};
use fcdd::volume::nifti;

const FCDD: &str = env!("CARGO_BIN_EXE_fcdd");
const COMPRESS_JPEG2000: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/compress_jpeg2000.py");
const BAR: f64 = 1.0;

/// One side's time and memory.
struct Figures {
    seconds: Vec<f64>,
    peak_mb: f64,
    decoders_mb: f64,
}

fn main() {
    let mut rounds = 7;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => rounds = words.next().and_then(|n| n.parse().ok()).expect("a whole number follows"),
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is not --rounds"),
        }
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let subject = Subject::new(&SubjectOptions { seed: 1, ..SubjectOptions::default() }).expect("the options are good");
    let study = phantom::dicom::write_study(&subject, &[Protocol::t1_sag111()], &scratch.path().join("plain"));
    let plain = study.expect("the study can be written").series[0].folder.clone();
    let python = std::env::var_os("FCDD_BENCH_PYTHON");
    let each = |program: &str, arguments: &[&str]| compressed_by_dcmtk(&plain, scratch.path(), program, arguments);
    let syntaxes: [(&str, Result<PathBuf, String>); 5] = [
        ("Explicit VR Little Endian", Ok(plain.clone())),
        ("RLE", each("dcmcrle", &[])),
        ("JPEG lossless", each("dcmcjpeg", &["+e1"])),
        ("JPEG-LS", each("dcmcjpls", &[])),
        ("JPEG 2000", compressed_by_python(&plain, scratch.path(), python)),
    ];
    println!("192 slices of 256x256 to an uncompressed NIfTI file, medians of {rounds} rounds, bar {BAR:.2}:");
    for (name, folder) in syntaxes {
        match folder {
            Ok(folder) => measure(name, &folder, &scratch.path().join("volumes"), rounds),
            Err(why) => println!("  {name:26} left out: {why}"),
        }
    }
}

/// The files of a folder, each compressed by a program of DCMTK that takes the two names.
fn compressed_by_dcmtk(from: &Path, scratch: &Path, program: &str, arguments: &[&str]) -> Result<PathBuf, String> {
    let to = scratch.join(program);
    std::fs::create_dir(&to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the series is there") {
        let file = entry.expect("the series is there").path();
        let target = to.join(file.file_name().expect("a file has a name"));
        succeeds(Command::new(program).args(arguments).args([&file, &target]))?;
    }
    Ok(to)
}

fn compressed_by_python(from: &Path, scratch: &Path, python: Option<std::ffi::OsString>) -> Result<PathBuf, String> {
    let python = python.ok_or("FCDD_BENCH_PYTHON is not set")?;
    let to = scratch.join("jpeg2000");
    std::fs::create_dir(&to).expect("a folder can be made");
    succeeds(Command::new(python).arg(COMPRESS_JPEG2000).args([from, &to]))?;
    Ok(to)
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let last = String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().to_owned();
    output.status.success().then_some(()).ok_or_else(|| format!("{name} failed: {last}"))
}

fn measure(name: &str, series: &Path, volumes: &Path, rounds: usize) {
    let ours = |output: &Path| {
        let mut command = Command::new(FCDD);
        command.arg("volume").arg(series).arg("--uncompressed").arg("--output").arg(output);
        command
    };
    let theirs = |output: &Path| {
        let mut command = Command::new("dcm2niix");
        command.args(["-z", "n", "-b", "n", "-f", "volume", "-o"]).arg(output).arg(series);
        command
    };
    let (our_folder, their_folder) = (volumes.join("fcdd"), volumes.join("dcm2niix"));
    timed(ours(&our_folder), &our_folder).expect("fcdd runs");
    let own = volume_in(&our_folder).expect("fcdd makes a volume of the series");
    // Once for the system's cache, and to see whether it can.
    let peer = timed(theirs(&their_folder), &their_folder).and_then(|_| volume_in(&their_folder));
    match &peer {
        Ok(volume) => assert_eq!(sorted(volume), sorted(&own), "{name}: the voxels differ"),
        Err(why) => println!("  {name:26} dcm2niix cannot read it ({why})"),
    }
    let (mut own_seconds, mut peer_seconds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        own_seconds.push(timed(ours(&our_folder), &our_folder).expect("fcdd runs"));
        if peer.is_ok() {
            peer_seconds.push(timed(theirs(&their_folder), &their_folder).expect("it ran before"));
        }
    }
    let figures = |seconds: Vec<f64>, mut command: Command| {
        let (peak_mb, decoders_mb) = memory(&mut command);
        Figures { seconds, peak_mb, decoders_mb }
    };
    let own = figures(own_seconds, ours(&our_folder));
    let decoders =
        if own.decoders_mb > 0.0 { format!(" and {:.0} MB in decoders", own.decoders_mb) } else { String::new() };
    let ours_in_words = format!("fcdd {:.0} ms, {:.0} MB{decoders}", median(&own.seconds) * 1e3, own.peak_mb);
    if peer.is_err() {
        println!("  {name:26} no ratio; {ours_in_words}");
        return;
    }
    let peer = figures(peer_seconds, theirs(&their_folder));
    let ratios: Vec<f64> = own.seconds.iter().zip(&peer.seconds).map(|(own, peer)| own / peer).collect();
    let (ratio, least) = (median(&ratios), ratios.iter().copied().fold(f64::INFINITY, f64::min));
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let met = if ratio <= BAR { "met" } else { "missed" };
    let theirs_in_words = format!("dcm2niix {:.0} ms, {:.0} MB", median(&peer.seconds) * 1e3, peer.peak_mb);
    println!("  {name:26} {ratio:.2} ({least:.2} to {most:.2}) {met}; {ours_in_words}; {theirs_in_words}");
}

/// Seconds that a command takes into an empty folder.
fn timed(mut command: Command, output: &Path) -> Result<f64, String> {
    let _ = std::fs::remove_dir_all(output);
    std::fs::create_dir_all(output).expect("a folder can be made");
    let began = Instant::now();
    succeeds(&mut command)?;
    Ok(began.elapsed().as_secs_f64())
}

fn volume_in(folder: &Path) -> Result<fcdd::volume::Volume, String> {
    let mut entries = std::fs::read_dir(folder).expect("the folder is there").map(|e| e.expect("readable").path());
    let file = entries.find(|path| path.extension().is_some_and(|e| e == "nii")).ok_or("it wrote no volume")?;
    nifti::read(&file).map_err(|error| error.to_string())
}

/// All values, whichever axis comes first and whichever way it runs.
fn sorted(volume: &fcdd::volume::Volume) -> Vec<i32> {
    let mut values: Vec<i32> = volume.data.iter().map(|value| value.round() as i32).collect();
    values.sort_unstable();
    values
}

/// Peak resident memory of a command, and of all that it started together (MB), as looked at every millisecond.
fn memory(command: &mut Command) -> (f64, f64) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it ran before");
    let (mut own, mut others) = (0.0f64, 0.0f64);
    while child.try_wait().expect("it is ours").is_none() {
        own = own.max(kilobytes(child.id(), "VmHWM:"));
        others = others.max(children(child.id()).into_iter().map(|id| kilobytes(id, "VmRSS:")).sum());
        std::thread::sleep(Duration::from_millis(1));
    }
    (own / 1e3, others / 1e3)
}

fn children(id: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn kilobytes(id: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
