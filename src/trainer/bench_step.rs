//! `fcdd-trainer bench-step` (hidden): what a training step costs, on random volumes.
//!
//! Prints one JSON object: seconds of each step after the first, their median, and the peak of resident memory. `make
//! bench` runs it beside `benches/peers/step_pytorch.py`, which takes the same arguments and prints the same object.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use fcdd::network::{Architecture, NetworkSpec, random_init};
use fcdd::research::plan::{Trainable, TrainingPrecision};
use tch::{Cuda, Device, Kind, Tensor};

use super::adam::Adam;
use super::network::{Network, Options};
use super::{device, step};

/// Arguments of `fcdd-trainer bench-step`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// resnet10, resnet18, resnet34 or resnet50
    #[arg(long)]
    architecture: Architecture,
    /// Channels of the stem
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Edge lengths D,H,W of a volume
    #[arg(long, value_delimiter = ',', required = true)]
    input: Vec<i64>,
    /// Volumes per step
    #[arg(long, default_value_t = 2)]
    batch: i64,
    /// What learns
    #[arg(long, value_enum, default_value_t = Trainable::All)]
    trainable: Trainable,
    /// Steps measured, after one that is not
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: i32,
    /// Arithmetic
    #[arg(long, value_enum, default_value_t = TrainingPrecision::Fp32)]
    precision: TrainingPrecision,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Measures and prints.
///
/// # Errors
/// libtorch's.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = device::select(&args.device)?;
    tch::set_num_threads(args.threads);
    let spec = NetworkSpec::paper(args.architecture, args.width);
    let options = Options { precision: args.precision.into(), ..Options::new(args.trainable) };
    let network = Network::from_weights(spec, &random_init(&spec, 0), device, options)?;
    let mut adam = Adam::new(network.learning(), 1e-3)?;
    let [depth, height, width] = args.input[..] else { anyhow::bail!("--input wants D,H,W") };
    let volumes = Tensor::f_randn([args.batch, 1, depth, height, width], (Kind::Float, device))?;
    let classes = Tensor::f_arange(args.batch, (Kind::Int64, device))?.f_remainder(2)?;

    let mut seconds = Vec::new();
    for index in 0..=args.steps {
        let start = Instant::now();
        step::train(&network, &mut adam, &volumes, &classes)?;
        if let Device::Cuda(index) = device {
            Cuda::synchronize(index as i64);
        }
        if index > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).context("--steps must be at least 1")?;
    let said = serde_json::json!({
        "median_seconds": median,
        "seconds": seconds,
        "peak_resident_mb": peak_resident_mb()?,
    });
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

/// The high-water mark of this process, in units of 10⁶ bytes.
fn peak_resident_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
    Ok(kibibytes * 1024.0 / 1e6)
}
