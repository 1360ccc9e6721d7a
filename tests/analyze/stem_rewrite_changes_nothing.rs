//! The rewritten stem gives the logits and the maps of the original: in fp32, on random weights, for even and odd sizes
//! and both geometries, on each of the processor's providers. Only the order of the sums differs.

use std::collections::{BTreeMap, BTreeSet};

use fcdd::analyze::runtime::{self, Provider};
use fcdd::analyze::session::{FoldOutput, GraphShapes, ModelSessions};
use fcdd::network::manifest::Precision;
use fcdd::network::stem_rewrite::with_blocked_stem;
use fcdd::network::{Architecture, Geometry, NetworkSpec, onnx_model, random_init};
use ndarray::Array3;

use crate::support;

/// Largest difference, as a share of the largest value.
const RELATIVE: f64 = 1e-5;

#[test]
fn logits_and_maps_stay() {
    let Some(library) = support::require_onnxruntime() else { return };
    let environment = runtime::environment(Some(&library)).unwrap();
    for geometry in [Geometry::Paper, Geometry::Faithful] {
        let spec = NetworkSpec { architecture: Architecture::Resnet18, width: 8, geometry };
        for shape in [[32, 64, 64], [33, 65, 62], [48, 35, 67]] {
            let onnx = onnx_model(&spec, &random_init(&spec, 7), shape, &BTreeMap::new()).unwrap();
            let rewritten = with_blocked_stem(&onnx).expect("our own stem is understood");
            let tensor = Array3::from_shape_fn(shape, |(i, j, k)| ((i * 31 + j * 17 + k * 7) as f32 * 0.37).sin());
            for provider in [Provider::OpenVino, Provider::Cpu] {
                let shapes = GraphShapes { input: shape, map: spec.map_shape(shape) };
                let run = |onnx: &[u8]| -> FoldOutput {
                    let files = [("fold_0.onnx".to_owned(), onnx.to_vec())];
                    let validated = BTreeSet::from([Precision::Fp32]);
                    let mut sessions =
                        ModelSessions::open(&environment, "random", &files, shapes, &validated, &[provider], 2)
                            .unwrap();
                    sessions.run(tensor.view()).unwrap().remove(0)
                };
                let (before, after) = (run(&onnx), run(&rewritten));
                let what = format!("{} {shape:?} on {provider}", geometry.name());
                let largest = before.cam.iter().fold(0.0f64, |most, v| most.max(f64::from(v.abs())));
                assert!(largest > 0.0 && before.logit != 0.0, "{what}: nothing to compare");
                let difference = (before.logit - after.logit).abs() / before.logit.abs().max(largest);
                assert!(difference <= RELATIVE, "{what}: logit {} became {}", before.logit, after.logit);
                for (a, b) in before.cam.iter().zip(&after.cam) {
                    let difference = f64::from((a - b).abs()) / largest;
                    assert!(difference <= RELATIVE, "{what}: {a} became {b} in a map that reaches {largest}");
                }
            }
        }
    }
}
