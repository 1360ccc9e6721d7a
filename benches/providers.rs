//! Each ResNet of full width at 160×192×160 on each execution provider, as it is served: how long it takes to open, the
//! first volume, and every one after it, beside the least time in which the device can do the multiply-adds.
//!
//! Made for GPUs, which this project's figures lack: without arguments it asks for TensorRT and CUDA, and a provider that
//! does not run here says why. There are no bars. ONNX Runtime must be a build with these providers
//! (`pip install --target DIR onnxruntime-gpu`, `FCDD_ONNXRUNTIME=DIR/onnxruntime/capi`). A whole study on the same device
//! is `cargo bench --bench whole_study`, which takes the first provider that works.
//!
//! The floor needs the device's peak in fp32 without tensor cores, which nobody can ask it for: `--peak-tflops`. Both
//! providers run with tf32 off, for which no model is validated. The weights are random: time does not depend on them.
//!
//! `cargo bench --bench providers -- --providers tensorrt,cuda,openvino,cpu --rounds 20 --threads 2 --peak-tflops 60`

#[path = "random_model/mod.rs"]
mod random_model;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use fcdd::analyze::runtime::{self, Provider};
use fcdd::analyze::session::{GraphShapes, ModelSessions, SessionError};
use fcdd::network::ModelFolder;
use fcdd::network::manifest::Precision;
use fcdd::network::spec::{Architecture, NetworkSpec};
use ndarray::Array3;
use random_model::{FULL_WIDTH, machine, median, peak_resident_mb};

const ARCHITECTURES: [Architecture; 3] = [Architecture::Resnet18, Architecture::Resnet34, Architecture::Resnet50];

fn main() {
    let (mut providers, mut rounds, mut threads, mut peak_tflops) = ("tensorrt,cuda".to_owned(), 20, 2, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        let mut next = || arguments.next().expect("something follows");
        match word.as_str() {
            "--providers" => providers = next(),
            "--rounds" => rounds = next().parse().expect("a whole number"),
            "--threads" => threads = next().parse().expect("a whole number"),
            "--peak-tflops" => peak_tflops = Some(next().parse::<f64>().expect("a number")),
            "--one" => {
                let (provider, architecture) = (provider(&next()), next().parse().expect("an architecture"));
                return one(provider, architecture, Path::new(&next()), rounds, threads, peak_tflops);
            }
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is none of --providers, --rounds, --threads, --peak-tflops"),
        }
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    println!("160x192x160, random weights, {threads} thread(s), {}:", machine());
    for architecture in ARCHITECTURES {
        let model = folder.path().join(architecture.name());
        random_model::write(architecture, "t1", 18, &model);
        for name in providers.split(',') {
            // A process each: whoever is first must not warm the device for the next.
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["--rounds", &rounds.to_string(), "--threads", &threads.to_string()]);
            if let Some(peak) = peak_tflops {
                command.args(["--peak-tflops", &peak.to_string()]);
            }
            command.args(["--one", name, architecture.name()]).arg(&model);
            let status = command.env("NVIDIA_TF32_OVERRIDE", "0").status().expect("this program starts");
            assert!(status.success(), "{architecture} on {name}: {status}");
        }
    }
}

fn provider(name: &str) -> Provider {
    match name {
        "tensorrt" => Provider::TensorRt(0),
        "cuda" => Provider::Cuda(0),
        "openvino" => Provider::OpenVino,
        "cpu" => Provider::Cpu,
        other => panic!("{other} is none of tensorrt, cuda, openvino, cpu"),
    }
}

/// One row: a network on a provider.
fn one(
    provider: Provider,
    architecture: Architecture,
    model: &Path,
    rounds: usize,
    threads: usize,
    peak_tflops: Option<f64>,
) {
    let environment = runtime::environment(None).expect("ONNX Runtime");
    let folder = ModelFolder::load(model).expect("a model");
    let input = folder.manifest().input.shape;
    let shapes = GraphShapes { input, map: folder.manifest().map.shape };
    let files = [("fold_0.onnx".to_owned(), folder.fold_bytes(0).expect("a network"))];
    let only_fp32 = BTreeSet::from([Precision::Fp32]);
    let began = Instant::now();
    let opened =
        ModelSessions::open(&environment, architecture.name(), &files, shapes, &only_fp32, &[provider], threads);
    let open_s = began.elapsed().as_secs_f64();
    let mut sessions = match opened {
        Ok(sessions) => sessions,
        Err(SessionError::NoProvider { refusals, .. }) => {
            let why = refusals.first().map_or("", |refusal| refusal.because.as_str());
            println!("  {architecture} on {provider}: does not run here: {why}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let tensor = Array3::from_shape_fn(input, |(i, j, k)| ((i * 31 + j * 7 + k) as f32 * 0.37).sin());
    let mut times_s = Vec::with_capacity(1 + rounds);
    for _ in 0..=rounds {
        let began = Instant::now();
        sessions.run(tensor.view()).expect("runs");
        times_s.push(began.elapsed().as_secs_f64());
    }
    let (first_s, steady_s) = (times_s[0], median(&times_s[1..]));
    let operations = 2.0 * NetworkSpec::paper(architecture, FULL_WIDTH).multiply_adds(input) as f64;
    let floor = peak_tflops.map_or(String::new(), |peak| {
        let floor_s = operations / (peak * 1e12);
        format!(", floor {:.1} ms at {peak} TFLOP/s: {:.2} times", floor_s * 1e3, steady_s / floor_s)
    });
    println!(
        "  {architecture} on {provider}: open and warm {open_s:.1} s, first {:.1} ms, steady {:.1} ms ({:.2} TFLOP/s)\
         {floor}; {:.0} MB of main memory",
        first_s * 1e3,
        steady_s * 1e3,
        operations / steady_s / 1e12,
        peak_resident_mb()
    );
}
