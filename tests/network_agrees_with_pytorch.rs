//! Our ONNX files, run by ONNX Runtime, give the logits and the Grad-CAM map that PyTorch gives: ResNet-10,
//! -18, -34 and -50, both geometries, both kinds of shortcut. The numbers come from
//! `tests/golden/resnet_golden.py`, which computes the map by autograd.

use std::collections::BTreeMap;

use fcdd::network::{Architecture, Geometry, NetworkSpec, Tensor, Weights, onnx_model};
use ort::session::Session;
use ort::value::TensorRef;

#[derive(serde::Deserialize)]
struct Golden {
    architecture: Architecture,
    width: usize,
    geometry: Geometry,
    input: [usize; 3],
    trainable_parameters: usize,
    map: [usize; 3],
    logits: Vec<f32>,
    cam: Vec<f32>,
}

/// The formula of `wave` in the golden script.
fn wave(count: usize, phase: usize) -> Vec<f64> {
    let value = |index: usize| (index + 1) as f64 * 0.6180339887498949 + phase as f64 * 0.7548776662466927;
    (0..count).map(|index| 2.0 * value(index).rem_euclid(1.0) - 1.0).collect()
}

/// The formula of `fill` in the golden script.
fn formula_weights(spec: &NetworkSpec) -> Weights {
    let shapes: BTreeMap<String, Vec<usize>> =
        spec.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
    let mut tensors = BTreeMap::new();
    for (phase, (name, shape)) in shapes.into_iter().enumerate() {
        let count: usize = shape.iter().product();
        let (offset, scale) = if shape.len() == 5 {
            (0.0, (3.0 / (count / shape[0]) as f64).sqrt())
        } else if name.starts_with("fc.") {
            (0.0, 1.0)
        } else if name.ends_with(".weight") {
            (1.0, 0.25)
        } else if name.ends_with(".running_var") {
            (1.0, 0.5)
        } else {
            (0.0, 0.2)
        };
        let data = wave(count, phase).into_iter().map(|value| (offset + scale * value) as f32).collect();
        tensors.insert(name, Tensor { shape, data });
    }
    Weights::new(spec, tensors).unwrap()
}

fn assert_close(what: &str, ours: &[f32], golden: &[f32]) {
    assert_eq!(ours.len(), golden.len(), "{what}");
    for (index, (a, b)) in ours.iter().zip(golden).enumerate() {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{what}[{index}]: {a}, PyTorch says {b}");
    }
}

#[test]
fn logits_and_maps_are_pytorchs() {
    let Some(library) = std::env::var_os("FCDD_ONNXRUNTIME") else {
        eprintln!("skipped: FCDD_ONNXRUNTIME does not name the ONNX Runtime library");
        return;
    };
    let golden: Vec<Golden> = serde_json::from_str(include_str!("golden/resnet_golden.json")).unwrap();
    assert_eq!(golden.len(), 5);
    let environment = ort::init_from(library).unwrap().build().unwrap();
    for case in golden {
        let spec = NetworkSpec { architecture: case.architecture, width: case.width, geometry: case.geometry };
        let what = format!("{} {}", case.architecture, case.geometry.name());
        assert_eq!(spec.parameter_count(), case.trainable_parameters, "{what}");
        assert_eq!(spec.map_shape(case.input), case.map, "{what}");

        let bytes = onnx_model(&spec, &formula_weights(&spec), case.input, &BTreeMap::new()).unwrap();
        let mut session = Session::builder(&environment).unwrap().commit_from_memory(&bytes).unwrap();
        let [d, h, w] = case.input;
        let volume: Vec<f32> = wave(d * h * w, 1000).into_iter().map(|value| (2.0 * value) as f32).collect();
        let volume = TensorRef::from_array_view(([1, 1, d, h, w], volume.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![fcdd::network::writer::INPUT => volume]).unwrap();
        let (_, logits) = outputs["logits"].try_extract_tensor::<f32>().unwrap();
        let (shape, cam) = outputs["cam"].try_extract_tensor::<f32>().unwrap();
        assert_eq!(shape.iter().map(|&n| n as usize).collect::<Vec<_>>(), [&[1, 1], &case.map[..]].concat());
        assert_close(&format!("{what}: logits"), logits, &case.logits);
        assert_close(&format!("{what}: cam"), cam, &case.cam);
    }
}
