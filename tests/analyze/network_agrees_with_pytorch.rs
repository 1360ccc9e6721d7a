//! Our ONNX files, run by ONNX Runtime, give the logits and the Grad-CAM map that PyTorch gives: ResNet-10,
//! -18, -34 and -50, both geometries, both kinds of shortcut. The numbers come from
//! `tests/golden/resnet_golden.py`, which computes the map by autograd.

use std::collections::BTreeMap;

use fcdd::analyze::runtime;
use fcdd::network::onnx_model;
use ort::session::Session;
use ort::value::TensorRef;

use crate::golden_network::{GoldenNetwork, formula_volumes, formula_weights};
use crate::support;

#[derive(serde::Deserialize)]
struct Golden {
    #[serde(flatten)]
    network: GoldenNetwork,
    trainable_parameters: usize,
    map: [usize; 3],
    logits: Vec<f32>,
    cam: Vec<f32>,
}

fn assert_close(what: &str, ours: &[f32], golden: &[f32]) {
    assert_eq!(ours.len(), golden.len(), "{what}");
    for (index, (a, b)) in ours.iter().zip(golden).enumerate() {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{what}[{index}]: {a}, PyTorch says {b}");
    }
}

#[test]
fn logits_and_maps_are_pytorchs() {
    let Some(library) = support::require_onnxruntime() else { return };
    let golden: Vec<Golden> = serde_json::from_str(include_str!("../golden/resnet_golden.json")).unwrap();
    assert_eq!(golden.len(), 5);
    let environment = runtime::environment(Some(&library)).unwrap();
    for case in golden {
        let GoldenNetwork { architecture, geometry, input, .. } = case.network;
        let spec = case.network.spec();
        let what = format!("{architecture} {}", geometry.name());
        assert_eq!(spec.parameter_count(), case.trainable_parameters, "{what}");
        assert_eq!(spec.map_shape(input), case.map, "{what}");

        let bytes = onnx_model(&spec, &formula_weights(&spec), input, &BTreeMap::new()).unwrap();
        let mut session = Session::builder(&environment).unwrap().commit_from_memory(&bytes).unwrap();
        let [d, h, w] = input;
        let volume = formula_volumes(1, input);
        let volume = TensorRef::from_array_view(([1, 1, d, h, w], volume.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![fcdd::network::writer::INPUT => volume]).unwrap();
        let (_, logits) = outputs["logits"].try_extract_tensor::<f32>().unwrap();
        let (shape, cam) = outputs["cam"].try_extract_tensor::<f32>().unwrap();
        assert_eq!(shape.iter().map(|&n| n as usize).collect::<Vec<_>>(), [&[1, 1], &case.map[..]].concat());
        assert_close(&format!("{what}: logits"), logits, &case.logits);
        assert_close(&format!("{what}: cam"), cam, &case.cam);
    }
}
