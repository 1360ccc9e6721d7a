//! Synthetic studies, model folders and the engine, for the analysis scenarios.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fcdd::analyze::{AnalyzeError, Engine, runtime};
use fcdd::config;
use fcdd::dicom::{Dataset, Uid};
use fcdd::network::manifest::{
    self, Calibration, Change, Decision, Input, Manifest, Map, Precision, PrecisionList, Training,
};
use fcdd::network::{Architecture, ModelFolder, NetworkSpec, marker, onnx_model, random_init};
use fcdd::study::{AssembledStudy, Sequence, SeriesVerdict, SourceVolume, Stack};
use fcdd::volume::{Affine, Volume};
use ndarray::Array3;

/// Step vectors (mm, LPS) along slice, row and column of an acquisition, and its matrix.
#[derive(Debug, Clone, Copy)]
pub struct Acquisition {
    pub name: &'static str,
    pub shape: [usize; 3],
    pub axes: [[f64; 3]; 3],
}

const AXIAL: [[f64; 3]; 3] = [[0.0, 0.0, 1.5], [0.0, 1.4, 0.0], [1.4, 0.0, 0.0]];

/// Slices from foot to head, rows to the back, columns to the left.
pub fn axial() -> Acquisition {
    Acquisition { name: "axial", shape: [136, 160, 142], axes: AXIAL }
}

/// Slices from left to right, rows to the feet, columns to the back.
pub fn sagittal() -> Acquisition {
    let axes = [[-1.5, 0.0, 0.0], [0.0, 0.0, -1.4], [0.0, 1.4, 0.0]];
    Acquisition { name: "sagittal", shape: [118, 150, 164], axes }
}

/// The axial one turned about the left-right axis and about the body's.
pub fn oblique() -> Acquisition {
    let (x, z) = (0.3f64, -0.25f64);
    let axes = AXIAL.map(|[a, b, c]| {
        let (b, c) = (b * x.cos() - c * x.sin(), b * x.sin() + c * x.cos());
        [a * z.cos() - b * z.sin(), a * z.sin() + b * z.cos(), c]
    });
    Acquisition { name: "oblique", shape: [160, 178, 164], axes }
}

/// Where the head's middle is, LPS mm: not at the origin, as in every scanner.
pub const HEAD_MIDDLE: [f64; 3] = [4.0, -7.0, 12.0];

/// A head with dark skull and weak texture, and a bright ball of `radius_mm` at `marker` (LPS mm, from the head's
/// middle).
pub fn subject(acquisition: Acquisition, marker: Option<[f64; 3]>) -> Volume {
    let half = acquisition.shape.map(|n| (n as f64 - 1.0) / 2.0);
    let offset = Affine::from_axes(acquisition.axes, [0.0; 3]).apply(half);
    let origin = [0, 1, 2].map(|a| HEAD_MIDDLE[a] - offset[a]);
    let affine = Affine::from_axes(acquisition.axes, origin);
    let data = Array3::from_shape_fn(acquisition.shape, |(i, j, k)| {
        let p = affine.apply([i as f64, j as f64, k as f64]);
        let p = [0, 1, 2].map(|a| p[a] - HEAD_MIDDLE[a]);
        intensity(p, marker) as f32
    });
    Volume { data, affine }
}

fn intensity(p: [f64; 3], marker: Option<[f64; 3]>) -> f64 {
    let shell = |scale: f64| ((p[0] / 70.0).powi(2) + (p[1] / 88.0).powi(2) + (p[2] / 78.0).powi(2)).sqrt() / scale;
    let soft = |distance: f64| (distance * 70.0 / 2.0).clamp(0.0, 1.0);
    let head = soft(1.0 - shell(1.0));
    let brain = soft(1.0 - shell(0.88));
    let texture = 8.0 * (p[0] / 7.0).sin() * (p[1] / 9.0).cos() * (p[2] / 8.0).sin();
    let ball = marker.map_or(0.0, |m| {
        let distance = [0, 1, 2].iter().map(|a| (p[*a] - m[*a]).powi(2)).sum::<f64>().sqrt();
        ((9.0 - distance) / 2.0).clamp(0.0, 1.0)
    });
    120.0 * head + 80.0 * brain + texture * brain + 600.0 * ball
}

pub fn stack(sequence: Sequence, number: i64, volume: Option<Volume>, verdict: SeriesVerdict) -> Stack {
    Stack {
        series_uid: Uid::parse(&format!("1.2.3.{number}")).unwrap(),
        series_number: Some(number),
        description: String::new(),
        index_in_series: 0,
        images: volume.as_ref().map_or(3, |v| v.data.dim().0),
        sequence,
        sequence_because: "the test says so".to_owned(),
        verdict,
        volume: volume.map(|volume| Arc::new(SourceVolume { volume, slices: Vec::new() })),
        header: Arc::new(Dataset::new_empty()),
    }
}

/// A study of usable volumes.
pub fn study(t1: Option<Volume>, flair: Option<Volume>) -> AssembledStudy {
    let mut stacks = Vec::new();
    let mut add = |sequence, number, volume: Option<Volume>| {
        volume.map(|volume| {
            stacks.push(stack(sequence, number, Some(volume), SeriesVerdict::Ok));
            stacks.len() - 1
        })
    };
    let (t1, flair) = (add(Sequence::T1, 2, t1), add(Sequence::Flair, 3, flair));
    AssembledStudy {
        study_uid: Uid::parse("1.2.3").unwrap(),
        received_at: jiff::Timestamp::UNIX_EPOCH,
        stacks,
        t1,
        flair,
        problems: Vec::new(),
        header: Arc::new(Dataset::new_empty()),
        inputs: Vec::new(),
    }
}

/// ResNet-10, width 8, 80×96×80 at 2 mm.
pub const INPUT: [usize; 3] = [80, 96, 80];

pub fn spec() -> NetworkSpec {
    NetworkSpec::paper(Architecture::Resnet10, 8)
}

pub fn manifest(sequence: Sequence, trained: bool) -> Manifest {
    let spec = spec();
    Manifest {
        format: manifest::FORMAT,
        name: format!("test-{}", sequence.label().to_lowercase()),
        version: "0.1.0".into(),
        sequence,
        architecture: spec.architecture,
        width: spec.width,
        geometry: spec.geometry,
        trained,
        intended_use: "tests".into(),
        data_source: "none".into(),
        training_run: String::new(),
        input: Input {
            shape: INPUT,
            axes: "RAS".into(),
            stem_stride_one_axis: manifest::stem_stride_one_axis(spec.geometry).into(),
            spacing_mm: 2.0,
            preprocessing: manifest::PREPROCESSING.into(),
            background: 0.0,
        },
        map: Map {
            stride: spec.total_stride(),
            shape: spec.map_shape(INPUT),
            threshold_logit: 0.0,
            threshold_rule: None,
            control_percentile: None,
        },
        decision: Decision { threshold: 0.5, rule: None },
        calibration: Calibration::NONE,
        precision: PrecisionList { validated: [Precision::Fp32].into() },
        training: None,
        distribution: None,
        files: Vec::new(),
        records: Vec::new(),
        changelog: vec![Change { version: "0.1.0".into(), date: "2026-11-23".into(), text: "Test.".into() }],
    }
}

/// A model folder whose folds have random weights of these seeds.
pub fn random_model(parent: &Path, manifest: Manifest, seeds: &[u64]) -> PathBuf {
    let spec = spec();
    let files: Vec<Vec<u8>> = seeds
        .iter()
        .map(|seed| onnx_model(&spec, &random_init(&spec, *seed), INPUT, &Default::default()).unwrap())
        .collect();
    let path = parent.join(format!("{}-{seeds:?}", manifest.name));
    ModelFolder::write(&path, manifest, &files).unwrap();
    path
}

/// The same with a statement of how many of its training subjects were patients.
pub fn random_model_with_prevalence(parent: &Path, manifest: Manifest, seeds: &[u64], prevalence: f64) -> PathBuf {
    let spec = spec();
    let files: Vec<Vec<u8>> = seeds
        .iter()
        .map(|seed| onnx_model(&spec, &random_init(&spec, *seed), INPUT, &Default::default()).unwrap())
        .collect();
    let training = Training {
        synthetic: true,
        subjects: manifest::SUBJECTS.into(),
        prevalence,
        folds: seeds.len(),
        plan: "a".repeat(64),
    };
    let path = parent.join(format!("{}-{seeds:?}-{prevalence}", manifest.name));
    let subjects = (manifest::SUBJECTS, format!("{}\n", "b".repeat(64)).into_bytes());
    let manifest = Manifest { training: Some(training), ..manifest };
    ModelFolder::write_with_records(&path, manifest, &files, &[subjects]).unwrap();
    path
}

/// A folder with the marker network, which says `suspected` for a bright ball and shows where it is.
pub fn marker_model(parent: &Path, sequence: Sequence) -> PathBuf {
    let spec = spec();
    let mut manifest = manifest(sequence, true);
    manifest.map.threshold_logit = f64::from(marker::MAP_THRESHOLD_LOGIT);
    let file = onnx_model(&spec, &marker::marker_weights(&spec, INPUT).unwrap(), INPUT, &Default::default()).unwrap();
    let path = parent.join(format!("marker-{}", sequence.label().to_lowercase()));
    ModelFolder::write(&path, manifest, &[file]).unwrap();
    path
}

/// The settings for these models on the CPU with two threads.
pub fn settings(models: &[PathBuf]) -> config::Analyze {
    config::Analyze {
        models: models.to_vec(),
        device: config::Device::Cpu,
        threads: 2,
        fused_threshold: 0.5,
        fused_calibration: [1.0, 0.0],
        site_prevalence: None,
        onnxruntime: None,
        fall_back_in_mid_run: false,
        max_attempts: 1,
    }
}

/// The engine for these settings; `None` after a skip where there is no ONNX Runtime.
pub fn engine(settings: &config::Analyze) -> Option<Engine> {
    match Engine::load(settings) {
        Ok(engine) => Some(engine),
        Err(AnalyzeError::Runtime(error @ runtime::RuntimeError::NotFound { .. })) => {
            crate::support::skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}
