//! How long a training step waits for its data: 160×192×160 volumes from memory, default augmentation.
//!
//! The step is one busy thread for `--step-ms`, by default 1250: a ResNet-18 step on two cores with a batch
//! of 2 of 96×112×96, nine times fewer voxels than here. Give the time of your own step. The first batch has
//! no step to be prepared behind, so it is waited for in full; that counts.
//!
//! `cargo bench --bench loading -- --step-ms 300 --steps 50 --workers 4`

use std::sync::Arc;
use std::time::{Duration, Instant};

use fcdd::research::augment::Augmentation;
use fcdd::research::batches::{BatchOptions, Batches, BufferPool, Sample, VolumeSource};

const SHAPE: [usize; 3] = [160, 192, 160];
const BACKGROUND: f32 = -1.5;
const BAR: f64 = 0.03;

struct Memory(Vec<Vec<f32>>);

impl VolumeSource for Memory {
    fn shape(&self) -> [usize; 3] {
        SHAPE
    }
    fn volume(&self, index: usize) -> &[f32] {
        &self.0[index % self.0.len()]
    }
}

/// An ellipsoid that reaches nine tenths of the way to each edge: the head of a cropped volume.
fn head(number: usize) -> Vec<f32> {
    let [depth, height, width] = SHAPE;
    let along = |i: usize, n: usize| ((i as f32 + 0.5) / n as f32 * 2.0 - 1.0) / 0.9;
    let mut values = Vec::with_capacity(depth * height * width);
    for d in 0..depth {
        for h in 0..height {
            for w in 0..width {
                let radius = along(d, depth).powi(2) + along(h, height).powi(2) + along(w, width).powi(2);
                let i = values.len() + number;
                values.push(if radius < 1.0 { (i as f32 * 0.37).sin() } else { BACKGROUND });
            }
        }
    }
    values
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut step_ms, mut steps, mut workers) = (1250u64, 20usize, cores.saturating_sub(1).max(1));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<u64>().ok()).expect("a whole number follows");
        match word.as_str() {
            "--step-ms" => step_ms = number(),
            "--steps" => steps = number() as usize,
            "--workers" => workers = number() as usize,
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is none of --step-ms, --steps, --workers"),
        }
    }
    let step = Duration::from_millis(step_ms);
    let source = Arc::new(Memory((0..4).map(head).collect()));
    println!(
        "loading 160x192x160, default augmentation, {workers} worker(s), {cores} core(s), {steps} steps of {step:?}:"
    );
    for batch_size in [2, 4] {
        let samples: Vec<Sample> = (0..steps * batch_size)
            .map(|index| Sample { index, label: 0, subject: format!("sub-{index:03}") })
            .collect();
        let options = BatchOptions {
            batch_size,
            workers,
            ahead: workers + 1,
            training: true,
            seed: 1,
            fold: 0,
            epoch: 0,
            augmentation: Some(Augmentation::default_profile()),
            background: BACKGROUND,
            lesions: false,
        };
        let began = Instant::now();
        let mut batches = Batches::start(source.clone(), samples, options, &BufferPool::default()).expect("starts");
        let mut first = None;
        while let Some(batch) = batches.next() {
            let batch = batch.expect("a batch");
            first.get_or_insert(batches.waited());
            let stepped = Instant::now();
            let mut sum = 0f32;
            while stepped.elapsed() < step {
                sum += batch.images.iter().step_by(1009).sum::<f32>();
            }
            std::hint::black_box(sum);
        }
        let (whole, waited, first) = (began.elapsed(), batches.waited(), first.unwrap_or_default());
        let share = waited.as_secs_f64() / whole.as_secs_f64();
        let later = (waited - first).as_secs_f64() / (whole - first).as_secs_f64();
        let met = if share < BAR { "met" } else { "missed" };
        println!("  batch {batch_size}: waited {:.2} % of the time, bar < {:.0} %: {met}", share * 100.0, BAR * 100.0);
        println!(
            "    the first batch took {:.0} ms; after it {:.2} % waited",
            first.as_secs_f64() * 1e3,
            later * 100.0
        );
    }
}
