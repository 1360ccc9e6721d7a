//! The map of our ONNX files is Captum's LayerGradCam at the last stage, and `as_captum` its interpolation: profile
//! `paper`. The raw map and the interpolation are judged separately (`tests/golden/captum_gradcam.py`). Profile
//! `default` puts the same cells elsewhere, and by how much is tested here too.

mod support;

use std::collections::BTreeMap;

use fcdd::analyze::gradcam;
use fcdd::network::{Architecture, Geometry, NetworkSpec, Tensor, Weights, onnx_model};
use fcdd::volume::{Affine, Grid};
use ndarray::Array3;
use ort::session::Session;
use ort::value::TensorRef;

#[derive(serde::Deserialize)]
struct Golden {
    architecture: Architecture,
    width: usize,
    geometry: Geometry,
    input: [usize; 3],
    map: [usize; 3],
    raw: Vec<f32>,
    every: usize,
    nearest_cells: Vec<usize>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("golden/captum_gradcam.json")).unwrap()
}

/// The formula of `wave` in `tests/golden/resnet_golden.py`.
fn wave(count: usize, phase: usize) -> Vec<f64> {
    let value = |index: usize| (index + 1) as f64 * 0.6180339887498949 + phase as f64 * 0.7548776662466927;
    (0..count).map(|index| 2.0 * value(index).rem_euclid(1.0) - 1.0).collect()
}

/// The formula of `fill` there.
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

#[test]
fn the_raw_map_is_captums() {
    let Some(library) = support::require_onnxruntime() else { return };
    let signed = golden().iter().any(|case| case.raw.iter().any(|value| *value < 0.0));
    assert!(signed, "Captum's default keeps the sign");
    let environment = ort::init_from(library).unwrap().build().unwrap();
    for case in golden() {
        let spec = NetworkSpec { architecture: case.architecture, width: case.width, geometry: case.geometry };
        let bytes = onnx_model(&spec, &formula_weights(&spec), case.input, &BTreeMap::new()).unwrap();
        let mut session = Session::builder(&environment).unwrap().commit_from_memory(&bytes).unwrap();
        let [d, h, w] = case.input;
        let volume: Vec<f32> = wave(d * h * w, 1000).into_iter().map(|value| (2.0 * value) as f32).collect();
        let volume = TensorRef::from_array_view(([1, 1, d, h, w], volume.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![fcdd::network::writer::INPUT => volume]).unwrap();
        let (_, cam) = outputs["cam"].try_extract_tensor::<f32>().unwrap();
        assert_eq!(cam.len(), case.raw.len(), "{}", case.architecture);
        let largest = case.raw.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (index, (ours, captum)) in cam.iter().zip(&case.raw).enumerate() {
            let what = format!("{} cell {index}", case.architecture);
            assert!((ours - captum).abs() <= 1e-4 * largest, "{what}: {ours}, Captum says {captum}");
        }
    }
}

#[test]
fn the_interpolation_of_profile_paper_is_captums() {
    for case in golden() {
        let cells = case.map.iter().product();
        let numbered = Array3::from_shape_vec(case.map, (0..cells).map(|cell: usize| cell as f32).collect()).unwrap();
        let drawn = gradcam::as_captum(&numbered, case.input);
        assert_eq!(drawn.shape(), case.input);
        let shown: Vec<usize> = drawn.iter().step_by(case.every).map(|cell| *cell as usize).collect();
        assert_eq!(shown, case.nearest_cells, "{}", case.architecture);
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
