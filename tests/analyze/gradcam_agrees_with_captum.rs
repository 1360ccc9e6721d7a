//! The map of our ONNX files is Captum's LayerGradCam at the last stage, and `as_captum` its interpolation: profile
//! `paper`. The raw map and the interpolation are judged separately (`tests/golden/captum_gradcam.py`). Profile
//! `default` puts the same cells elsewhere, and by how much is tested here too.

use std::collections::BTreeMap;

use fcdd::analyze::gradcam;
use fcdd::analyze::runtime;
use fcdd::network::{Architecture, NetworkSpec, onnx_model};
use fcdd::volume::{Affine, Grid};
use ndarray::Array3;
use ort::session::Session;
use ort::value::TensorRef;

use crate::golden_network::{GoldenNetwork, formula_volumes, formula_weights};
use crate::support;

#[derive(serde::Deserialize)]
struct Golden {
    #[serde(flatten)]
    network: GoldenNetwork,
    map: [usize; 3],
    raw: Vec<f32>,
    every: usize,
    nearest_cells: Vec<usize>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("../golden/captum_gradcam.json")).unwrap()
}

#[test]
fn the_raw_map_is_captums() {
    let Some(library) = support::require_onnxruntime() else { return };
    let signed = golden().iter().any(|case| case.raw.iter().any(|value| *value < 0.0));
    assert!(signed, "Captum's default keeps the sign");
    let environment = runtime::environment(Some(&library)).unwrap();
    for case in golden() {
        let GoldenNetwork { architecture, input, .. } = case.network;
        let spec = case.network.spec();
        let bytes = onnx_model(&spec, &formula_weights(&spec), input, &BTreeMap::new()).unwrap();
        let mut session = Session::builder(&environment).unwrap().commit_from_memory(&bytes).unwrap();
        let [d, h, w] = input;
        let volume = formula_volumes(1, input);
        let volume = TensorRef::from_array_view(([1, 1, d, h, w], volume.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![fcdd::network::writer::INPUT => volume]).unwrap();
        let (_, cam) = outputs["cam"].try_extract_tensor::<f32>().unwrap();
        assert_eq!(cam.len(), case.raw.len(), "{architecture}");
        let largest = case.raw.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (index, (ours, captum)) in cam.iter().zip(&case.raw).enumerate() {
            let what = format!("{architecture} cell {index}");
            assert!((ours - captum).abs() <= 1e-4 * largest, "{what}: {ours}, Captum says {captum}");
        }
    }
}

#[test]
fn the_interpolation_of_profile_paper_is_captums() {
    for case in golden() {
        let cells = case.map.iter().product();
        let numbered = Array3::from_shape_vec(case.map, (0..cells).map(|cell: usize| cell as f32).collect()).unwrap();
        let drawn = gradcam::as_captum(&numbered, case.network.input);
        assert_eq!(drawn.shape(), case.network.input);
        let shown: Vec<usize> = drawn.iter().step_by(case.every).map(|cell| *cell as usize).collect();
        assert_eq!(shown, case.nearest_cells, "{}", case.network.architecture);
    }
}

#[test]
fn the_two_profiles_lie_half_a_cell_apart() {
    let spec = NetworkSpec::paper(Architecture::Resnet18, 8);
    let input = [80, 96, 80];
    let mut signed = Array3::zeros(spec.map_shape(input));
    signed[[2, 1, 1]] = 1.0;
    let centre = |map: &Array3<f32>| {
        let total: f64 = map.iter().map(|v| f64::from(*v)).sum();
        let mut centre = [0.0; 3];
        for ((i, j, k), value) in map.indexed_iter() {
            for (sum, index) in centre.iter_mut().zip([i, j, k]) {
                *sum += f64::from(*value) * index as f64 / total;
            }
        }
        centre
    };
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Grid { shape: input, affine: Affine::from_axes(axes, [0.0; 3]) };
    let placed = gradcam::place([&signed], spec.total_stride(), &grid);
    let ours = centre(&fcdd::volume::resample::trilinear_clamped(&placed, &grid).unwrap());
    let papers = centre(&gradcam::as_captum(&signed, input));
    for (axis, stride) in spec.total_stride().into_iter().enumerate() {
        assert!((ours[axis] - (stride * [2, 1, 1][axis]) as f64).abs() < 1e-3, "{ours:?}");
        // 80 voxels in three cells, not in 2.5 of 32.
        let cell = input[axis] as f64 / signed.shape()[axis] as f64;
        let expected = cell * ([2, 1, 1][axis] as f64 + 0.5) - 0.5;
        assert!((papers[axis] - expected).abs() <= 0.51, "{papers:?}, expected {expected} along axis {axis}");
    }
}
