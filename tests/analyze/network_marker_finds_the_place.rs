//! The marker network answers to a bright ball wherever it lies, in the cell of the map nearest to it, and
//! stays silent for a head without one. Every architecture, run by ONNX Runtime.

use std::collections::BTreeMap;

use fcdd::analyze::runtime;
use fcdd::network::marker::{MAP_THRESHOLD_LOGIT, SILENT_LOGIT, marker_weights};
use fcdd::network::{Architecture, ModelFolder, NetworkSpec, onnx_model};
use ndarray::Array3;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use crate::support::require_onnxruntime;

/// Input of the demonstration models: 2 mm voxels.
const INPUT: [usize; 3] = [80, 96, 80];
const SPACING_MM: f64 = 2.0;

struct Answer {
    logits: [f32; 2],
    cam: Array3<f32>,
}

fn run(session: &mut Session, volume: &Array3<f32>) -> Answer {
    let [d, h, w] = INPUT;
    let values = TensorRef::from_array_view(([1, 1, d, h, w], volume.as_slice().unwrap())).unwrap();
    let outputs = session.run(ort::inputs![fcdd::network::writer::INPUT => values]).unwrap();
    let (_, logits) = outputs["logits"].try_extract_tensor::<f32>().unwrap();
    let (shape, cam) = outputs["cam"].try_extract_tensor::<f32>().unwrap();
    let shape = [shape[2] as usize, shape[3] as usize, shape[4] as usize];
    Answer { logits: [logits[0], logits[1]], cam: Array3::from_shape_vec(shape, cam.to_vec()).unwrap() }
}

/// An ellipsoid of blocky tissue between -1.2 and 2.5 standard deviations on a background of 0.
fn head() -> Array3<f32> {
    Array3::from_shape_fn(INPUT, |(d, h, w)| {
        let index = [d, h, w];
        let radius: f64 = (0..3).map(|a| ((2.0 * index[a] as f64 + 1.0) / INPUT[a] as f64 - 1.0).powi(2)).sum();
        let block = (d / 3 * 7 + h / 4 * 5 + w / 5 * 3) % 11;
        if radius < 0.85 { -1.2 + 3.7 * block as f32 / 10.0 } else { 0.0 }
    })
}

fn with_ball(head: &Array3<f32>, centre: [f64; 3], radius_mm: f64, brightness_z: f32) -> Array3<f32> {
    let mut volume = head.clone();
    for ((d, h, w), value) in volume.indexed_iter_mut() {
        let index = [d as f64, h as f64, w as f64];
        let distance = (0..3).map(|a| (index[a] - centre[a]).powi(2)).sum::<f64>().sqrt();
        let covered = (radius_mm / SPACING_MM + 0.5 - distance).clamp(0.0, 1.0) as f32;
        *value += covered * (brightness_z - *value);
    }
    volume
}

/// Places spread over the whole field of view, its corners included.
fn places() -> Vec<[f64; 3]> {
    let margin = 3.0;
    let span = INPUT.map(|n| n as f64 - 1.0 - 2.0 * margin);
    let mut places = Vec::new();
    for corner in 0..8_usize {
        places.push([0, 1, 2].map(|axis| margin + span[axis] * f64::from((corner >> axis & 1) as u8)));
    }
    for k in 1..=16 {
        let fraction = |step: f64| (f64::from(k) * step).fract();
        places.push([
            margin + span[0] * fraction(0.8192),
            margin + span[1] * fraction(0.6710),
            margin + span[2] * fraction(0.5497),
        ]);
    }
    places
}

fn session(environment: &Environment, spec: &NetworkSpec) -> Session {
    let weights = marker_weights(spec, INPUT).unwrap();
    let bytes = onnx_model(spec, &weights, INPUT, &BTreeMap::new()).unwrap();
    Session::builder(environment).unwrap().commit_from_memory(&bytes).unwrap()
}

#[test]
fn the_map_peaks_in_the_cell_nearest_to_the_marker() {
    let Some(library) = require_onnxruntime() else { return };
    let environment = runtime::environment(Some(&library)).unwrap();
    let head = head();
    for architecture in Architecture::ALL {
        let spec = NetworkSpec::paper(architecture, 2);
        let mut session = session(&environment, &spec);

        let silent = run(&mut session, &head);
        assert_eq!(silent.logits, [0.0, SILENT_LOGIT], "{architecture}: no marker, no signal at all");
        assert!(silent.cam.iter().all(|&value| value == 0.0));

        let stride = spec.total_stride();
        for (number, place) in places().into_iter().enumerate() {
            let (radius_mm, brightness_z) = ([4.0, 5.0, 6.0][number % 3], [8.0, 15.0, 30.0][number / 3 % 3]);
            let answer = run(&mut session, &with_ball(&head, place, radius_mm, brightness_z));
            let (peak, value) = answer.cam.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            let peak = [peak.0, peak.1, peak.2];
            let what = format!("{architecture}: ball of {radius_mm} mm, {brightness_z} SD, at {place:?}: {peak:?}");
            assert!(answer.logits[1] > answer.logits[0] + 1.0, "{what}, logits {:?}", answer.logits);
            assert!(*value > MAP_THRESHOLD_LOGIT, "{what}, peak value {value}");
            for axis in 0..3 {
                // A marker half-way between two cells may go to either; nothing further away may win.
                let in_cells = (place[axis] / stride[axis] as f64).min((answer.cam.shape()[axis] - 1) as f64);
                assert!((peak[axis] as f64 - in_cells).abs() < 0.6, "{what}, expected {in_cells} along axis {axis}");
            }
        }
    }
}

#[test]
fn a_network_of_one_channel_cannot_carry_a_marker() {
    let error = marker_weights(&NetworkSpec::paper(Architecture::Resnet10, 1), INPUT).unwrap_err();
    assert!(error.to_string().contains("width of at least 2"), "{error}");
}

#[test]
fn export_writes_it_as_a_model_folder() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("marker");
    let export = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_fcdd"))
            .args(["export", "--architecture", "resnet10", "--width", "4", "--input", "80,96,80", "--spacing", "2"])
            .args(["--sequence", "flair", "--folds", "2", "--marker", "--json", "--output"])
            .arg(&output)
            .output()
            .unwrap()
    };
    let first = export();
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let model = ModelFolder::load(&output).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(summary["digest"], model.digest());
    assert_eq!(model.folds(), 2);
    assert_eq!(model.manifest().name, "marker-flair");
    assert!(model.manifest().trained && model.manifest().data_source.contains("no training data"));
    assert_eq!(model.manifest().map.threshold_logit, f64::from(MAP_THRESHOLD_LOGIT));

    assert_eq!(export().status.code(), Some(1), "a folder with a model in it is not overwritten");
}
