//! `fcdd-trainer bench-step` (hidden): what a training step costs, on random volumes.
//!
//! Prints one JSON object: seconds of each step after the first, their median, and the peak of resident memory. `make
//! bench` runs it beside `benches/peers/step_pytorch.py`, which takes the same arguments and prints the same object.
//!
//! With `--loaded` the volumes come through the loader with the default augmentation, as in a fold, and the share of the
//! time that the steps waited for them is told too. The first batch has no step to be prepared behind; its waiting counts.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use fcdd::network::{Architecture, NetworkSpec, random_init};
use fcdd::research::run::plan::{Trainable, TrainingPrecision};
use fcdd::research::training::augment::Augmentation;
use fcdd::research::training::batches::{BatchOptions, Batches, BufferPool, Sample, VolumeSource};
use tch::{Cuda, Device, Kind, Tensor};

use super::adam::Adam;
use super::epochs::loader_threads;
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
    /// Take the volumes from the loader, augmented
    #[arg(long)]
    loaded: bool,
}

/// Subjects that the loader takes in turn.
const SUBJECTS: usize = 4;

/// Volumes in memory: noise within an ellipsoid, as heads within their background.
struct Heads {
    shape: [usize; 3],
    volumes: Vec<Vec<f32>>,
}

impl Heads {
    fn new(shape: [usize; 3]) -> Self {
        let [depth, height, width] = shape;
        let along = |i: usize, n: usize| ((i as f32 + 0.5) / n as f32 * 2.0 - 1.0) / 0.9;
        let value = |i: usize, number: usize| {
            let (d, h, w) = (i / (height * width), i / width % height, i % width);
            let radius = along(d, depth).powi(2) + along(h, height).powi(2) + along(w, width).powi(2);
            if radius < 1.0 { ((i + number) as f32 * 0.37).sin() } else { 0.0 }
        };
        let volume = |number| (0..depth * height * width).map(|i| value(i, number)).collect();
        Heads { shape, volumes: (0..SUBJECTS).map(volume).collect() }
    }
}

impl VolumeSource for Heads {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn volume(&self, index: usize) -> &[f32] {
        &self.volumes[index % SUBJECTS]
    }
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
    let shape = [args.batch, 1, depth, height, width];
    let noise = Tensor::f_randn(shape, (Kind::Float, device))?;
    let classes = Tensor::f_arange(args.batch, (Kind::Int64, device))?.f_remainder(2)?;
    let mut batches = if args.loaded { Some(augmented(args, [depth, height, width])?) } else { None };

    let (began, mut seconds) = (Instant::now(), Vec::new());
    for index in 0..=args.steps {
        let loaded = match &mut batches {
            Some(batches) => {
                let batch = batches.next().context("the loader ended early")??;
                Some(Tensor::f_from_slice(&batch.images)?.f_view(shape)?.f_to_device(device)?)
            }
            None => None,
        };
        let start = Instant::now();
        step::train(&network, &mut adam, loaded.as_ref().unwrap_or(&noise), &classes)?;
        if let Device::Cuda(index) = device {
            Cuda::synchronize(index as i64);
        }
        if index > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let whole = began.elapsed();
    let waited_share = |batches: Batches| batches.waited().div_duration_f64(whole.max(Duration::from_nanos(1)));
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).context("--steps must be at least 1")?;
    let said = serde_json::json!({
        "median_seconds": median,
        "seconds": seconds,
        "peak_resident_mb": peak_resident_mb()?,
        "waited_share": batches.map(waited_share),
    });
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

/// Batches for every step, prepared as a fold prepares them.
fn augmented(args: &Args, shape: [i64; 3]) -> anyhow::Result<Batches> {
    let shape = [usize::try_from(shape[0])?, usize::try_from(shape[1])?, usize::try_from(shape[2])?];
    let batch_size = usize::try_from(args.batch)?;
    let subject = |index| Sample { index, label: 0, subject: format!("sub-{index:05}") };
    let samples: Vec<Sample> = (0..(args.steps + 1) * batch_size).map(subject).collect();
    let workers = loader_threads();
    let options = BatchOptions {
        batch_size,
        workers,
        ahead: workers + 1,
        training: true,
        seed: 1,
        fold: 0,
        epoch: 1,
        augmentation: Some(Augmentation::default_profile()),
        background: 0.0,
        lesions: false,
    };
    Ok(Batches::start(Arc::new(Heads::new(shape)), samples, options, &BufferPool::default())?)
}

/// The high-water mark of this process, in units of 10⁶ bytes.
fn peak_resident_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
    Ok(kibibytes * 1024.0 / 1e6)
}
