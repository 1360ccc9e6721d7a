//! How fast batches are made ready: 160×192×160 volumes from memory, default augmentation, each batch taken as soon as
//! it is there.
//!
//! A training step that takes longer than a batch here does not wait for its data; a quicker one, on a GPU, waits for
//! the difference. How long a step waits that shares the cores with its loader, `training_step` measures.
//!
//! `cargo bench --bench loading -- --batches 50 --workers 4`

use std::sync::Arc;
use std::time::Instant;

use fcdd::research::training::augment::Augmentation;
use fcdd::research::training::batches::{BatchOptions, Batches, BufferPool, Sample, VolumeSource};

const SHAPE: [usize; 3] = [160, 192, 160];
const BACKGROUND: f32 = -1.5;
/// As many as a fold's loader has at most.
const MOST_WORKERS: usize = 4;

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
    let (mut count, mut workers) = (20usize, cores.min(MOST_WORKERS));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<usize>().ok()).expect("a whole number follows");
        match word.as_str() {
            "--batches" => count = number(),
            "--workers" => workers = number(),
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is none of --batches, --workers"),
        }
    }
    let source = Arc::new(Memory((0..4).map(head).collect()));
    println!("loading 160x192x160, default augmentation, {workers} worker(s), {cores} core(s), {count} batches:");
    for batch_size in [2, 4] {
        let samples: Vec<Sample> = (0..count * batch_size)
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
        let batches = Batches::start(source.clone(), samples, options, &BufferPool::default()).expect("starts");
        let mut first = None;
        for batch in batches {
            std::hint::black_box(&batch.expect("a batch").images);
            first.get_or_insert_with(|| began.elapsed());
        }
        let (whole_s, first_s) = (began.elapsed().as_secs_f64(), first.unwrap_or_default().as_secs_f64());
        println!(
            "  batch {batch_size}: every {:.0} ms, {:.1} volumes/s; the first after {:.0} ms",
            whole_s * 1e3 / count as f64,
            (count * batch_size) as f64 / whole_s,
            first_s * 1e3
        );
    }
}
