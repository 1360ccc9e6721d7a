//! Rotation of a 160×192×160 volume on one thread against SciPy, alternating, in one run.
//!
//! `FCDD_BENCH_PYTHON` names a Python with NumPy and SciPy (`make bench` makes one); without it only our own
//! time is printed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use fcdd::research::training::augment::Turn;

const SHAPE: [usize; 3] = [160, 192, 160];
const ROUNDS: usize = 7;
const BAR: f64 = 0.25;

fn main() {
    let source: Vec<f32> = (0..SHAPE.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut out = vec![0f32; source.len()];
    let turn = Turn::new(SHAPE, [11.0, -7.0, 13.0], false);
    let mut ours = || {
        let began = Instant::now();
        turn.apply(std::hint::black_box(&source), -1.5, std::hint::black_box(&mut out));
        began.elapsed().as_secs_f64()
    };
    ours(); // Touches every page once.
    let Some(python) = std::env::var_os("FCDD_BENCH_PYTHON") else {
        let times: Vec<f64> = (0..ROUNDS).map(|_| ours()).collect();
        println!("rotation: no peer (set FCDD_BENCH_PYTHON to a Python with SciPy), so no ratio");
        print_times("fcdd", times);
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/rotation_scipy.py");
    let mut peer = Command::new(python)
        .arg(script)
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peer starts");
    let mut ask = peer.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(peer.stdout.take().expect("a pipe")).lines();
    let mut theirs = || -> f64 {
        writeln!(ask, "go").expect("the peer reads");
        answers.next().expect("the peer answers").expect("text").trim().parse().expect("seconds")
    };
    theirs();
    let pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (ours(), theirs())).collect();
    drop(ask);
    peer.wait().expect("the peer ends");
    let ratio = median(pairs.iter().map(|(a, b)| a / b).collect());
    let met = if ratio <= BAR { "met" } else { "missed" };
    println!("rotation 160x192x160, 1 thread: fcdd / SciPy = {ratio:.3} (median of {ROUNDS} pairs), bar {BAR}: {met}");
    print_times("fcdd", pairs.iter().map(|p| p.0).collect());
    print_times("SciPy", pairs.iter().map(|p| p.1).collect());
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_times(who: &str, times: Vec<f64>) {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    println!("  {who:6} min {:8.1} ms, median {:8.1} ms", least * 1e3, median(times) * 1e3);
}
