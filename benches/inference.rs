//! ResNet-18 of full width at 160×192×160 on two threads, as it is served, against OpenVINO's own runtime on the same
//! ONNX file; alternating, in one run, each engine in a process of its own.
//!
//! | row | bar |
//! |---|---|
//! | fp32, OpenVINO provider | ≤ 1.1 × OpenVINO |
//! | bf16, OpenVINO provider | ≤ 1.1 × OpenVINO |
//! | bf16 with the rewritten stem (`fcdd::network::stem_rewrite`) | ≤ 0.92 × without |
//!
//! The weights are random: time does not depend on them. Rows in bf16 need a processor that has it; where there is none
//! the run says so. What the rewritten stem does to fp32 is told without a bar: there it is not used.
//!
//! `FCDD_BENCH_PYTHON` names a Python with OpenVINO (`make bench` makes one).
//!
//! `cargo bench --bench inference -- --rounds 5 --threads 2`

#[path = "random_model/mod.rs"]
mod random_model;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use fcdd::analyze::runtime::{self, Provider};
use fcdd::analyze::session::{GraphShapes, ModelSessions};
use fcdd::network::ModelFolder;
use fcdd::network::manifest::Precision;
use fcdd::network::spec::Architecture;
use fcdd::network::stem_rewrite::with_blocked_stem;
use fcdd::network::writer::{INPUT, LOGITS};
use ndarray::ArrayView3;
use random_model::{machine, median, peak_resident_mb};

const PEER_BAR: f64 = 1.1;
const STEM_BAR: f64 = 0.92;
/// Two engines that compute the same network agree on its logit this well, relative to what it is about (fp32, bf16).
const AGREEMENT: [f64; 2] = [1e-3, 5e-2];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut rounds, mut threads) = (5, 2);
    while let Some(word) = arguments.next() {
        let mut next = || arguments.next().expect("something follows");
        match word.as_str() {
            "--rounds" => rounds = next().parse().expect("a whole number"),
            "--threads" => threads = next().parse().expect("a whole number"),
            "--engine" => return engine(&next(), &next(), Path::new(&next()), next().parse().expect("threads")),
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is none of --rounds, --threads"),
        }
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let model = folder.path().join("resnet18");
    random_model::write(Architecture::Resnet18, "t1", 18, &model);
    let python = std::env::var_os("FCDD_BENCH_PYTHON").filter(has_openvino);
    println!("ResNet-18 160x192x160, random weights, {threads} thread(s), {}:", machine());
    if python.is_none() {
        println!("  no peer (set FCDD_BENCH_PYTHON to a Python with OpenVINO), so no ratio to OpenVINO");
    }
    let has_bf16 = Provider::OpenVino.precision(&validated("bf16")) == Ok(Precision::Bf16);
    for precision in ["fp32", "bf16"] {
        if precision == "bf16" && !has_bf16 {
            println!("  this processor has no bf16 units: no rows in bf16");
            continue;
        }
        let ours = |kind: &str| Engine::start(ours(kind, precision, &model, threads), &format!("{precision}, {kind}"));
        if let Some(python) = &python {
            let peer = Engine::start(theirs(python, precision, &model, threads), &format!("{precision}, OpenVINO"));
            compare("fcdd / OpenVINO", ours("served"), peer, rounds, Some(PEER_BAR), precision);
        }
        let bar = (precision == "bf16").then_some(STEM_BAR);
        compare("rewritten stem / original", ours("blocked"), ours("plain"), rounds, bar, precision);
    }
}

fn ours(kind: &str, precision: &str, model: &Path, threads: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--engine", kind, precision]).arg(model).arg(threads.to_string());
    command
}

fn theirs(python: &OsString, precision: &str, model: &Path, threads: usize) -> Command {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/inference_openvino.py"));
    command.arg(model.join("fold_0.onnx")).arg(precision).arg(threads.to_string());
    command
}

fn has_openvino(python: &OsString) -> bool {
    Command::new(python).args(["-c", "import openvino"]).output().is_ok_and(|output| output.status.success())
}

/// A process that runs the network once for each line that it reads, and says seconds and logit.
struct Engine {
    name: String,
    process: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    seconds: Vec<f64>,
    logit: f64,
}

impl Engine {
    fn start(mut command: Command, name: &str) -> Engine {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the engine starts");
        let ask = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut engine = Engine { name: name.to_owned(), process, ask, answers, seconds: Vec::new(), logit: 0.0 };
        engine.run();
        engine.seconds.clear(); // The first run touches every page.
        engine
    }

    fn run(&mut self) {
        writeln!(self.ask, "go").expect("the engine reads");
        let [seconds, logit] = self.numbers();
        self.seconds.push(seconds);
        self.logit = logit;
    }

    fn numbers<const N: usize>(&mut self) -> [f64; N] {
        let line = self.answers.next().expect("the engine answers").expect("text");
        let numbers: Vec<f64> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        numbers.try_into().expect("as many numbers as were asked for")
    }

    /// Ends it; its peak memory, MB.
    fn end(self) -> f64 {
        let Engine { mut process, ask, mut answers, .. } = self;
        drop(ask);
        let peak = answers.next().expect("the engine says its peak").expect("text").trim().parse().expect("MB");
        process.wait().expect("the engine ends");
        peak
    }
}

fn compare(what: &str, mut first: Engine, mut second: Engine, rounds: usize, bar: Option<f64>, precision: &str) {
    for _ in 0..rounds {
        first.run();
        second.run();
    }
    let allowed = if precision == "fp32" { AGREEMENT[0] } else { AGREEMENT[1] };
    let (a, b) = (first.logit, second.logit);
    assert!((a - b).abs() <= allowed * a.abs().max(1.0), "{} says {a}, {} says {b}", first.name, second.name);
    let ratios: Vec<f64> = first.seconds.iter().zip(&second.seconds).map(|(a, b)| a / b).collect();
    let ratio = median(&ratios);
    let verdict = match bar {
        Some(bar) if ratio <= bar => format!("bar {bar}: met"),
        Some(bar) => format!("bar {bar}: missed"),
        None => "no bar".to_owned(),
    };
    println!("  {precision}: {what} = {ratio:.3} (median of {rounds} pairs), {verdict}");
    for engine in [first, second] {
        let least = engine.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let (name, middle) = (engine.name.clone(), median(&engine.seconds));
        let peak = engine.end();
        println!("    {name:16} min {least:.3} s, median {middle:.3} s, peak {peak:.0} MB");
    }
}

fn validated(precision: &str) -> BTreeSet<Precision> {
    let all = [Precision::Fp32, Precision::Bf16];
    all.into_iter().filter(|p| *p == Precision::Fp32 || precision == "bf16").collect()
}

/// The other side of [`Engine`]: `served` is what the daemon runs, `plain` and `blocked` have the original and the
/// rewritten stem.
fn engine(kind: &str, precision: &str, model: &Path, threads: usize) {
    let environment = runtime::environment(None).expect("ONNX Runtime");
    let folder = ModelFolder::load(model).expect("a model");
    let input = folder.manifest().input.shape;
    let onnx = folder.fold_bytes(0).expect("a network");
    let values: Vec<f32> = (0..input.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut run: Box<dyn FnMut() -> f64> = if kind == "served" {
        let shapes = GraphShapes { input, map: folder.manifest().map.shape };
        let files = [("fold_0.onnx".to_owned(), onnx)];
        let mut sessions = ModelSessions::open(
            &environment,
            "resnet18",
            &files,
            shapes,
            &validated(precision),
            &[Provider::OpenVino],
            threads,
        )
        .expect("opens");
        let wanted = if precision == "bf16" { Precision::Bf16 } else { Precision::Fp32 };
        assert_eq!(sessions.precision, wanted);
        Box::new(move || {
            let tensor = ArrayView3::from_shape(input, &values).expect("a volume");
            sessions.run(tensor).expect("runs")[0].logit
        })
    } else {
        let blocked = (kind == "blocked").then(|| with_blocked_stem(&onnx).expect("our own stem"));
        let precision = if precision == "bf16" { Precision::Bf16 } else { Precision::Fp32 };
        let bytes = blocked.as_deref().unwrap_or(&onnx);
        let mut session = Provider::OpenVino.open(&environment, bytes, precision, threads).expect("opens");
        drop((blocked, onnx));
        Box::new(move || {
            let [d, h, w] = input;
            let tensor =
                ort::value::TensorRef::from_array_view(([1, 1, d, h, w], values.as_slice())).expect("a tensor");
            let outputs = session.run(ort::inputs![INPUT => tensor]).expect("runs");
            let (_, logits) = outputs[LOGITS].try_extract_tensor::<f32>().expect("logits");
            f64::from(logits[1]) - f64::from(logits[0])
        })
    };
    for line in std::io::stdin().lines() {
        line.expect("text");
        let began = Instant::now();
        let logit = run();
        println!("{} {logit}", began.elapsed().as_secs_f64());
    }
    println!("{}", peak_resident_mb());
}
