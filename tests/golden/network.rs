//! What golden files about networks say by a formula instead of numbers (`resnet_golden.py`): the network, its weights
//! and its volumes. The scenarios and the trainer's own tests include this file.
#![allow(dead_code)] // Each of them uses a part.

use std::collections::BTreeMap;

use fcdd::network::{Architecture, Geometry, NetworkSpec, Tensor, Weights};

/// The network of a golden case, and the size of its input.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct GoldenNetwork {
    /// Depth.
    pub architecture: Architecture,
    /// Channels of the stem.
    pub width: usize,
    /// Strides and dilations.
    pub geometry: Geometry,
    /// `[D, H, W]`.
    pub input: [usize; 3],
}

impl GoldenNetwork {
    /// What it is.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec { architecture: self.architecture, width: self.width, geometry: self.geometry }
    }
}

/// `wave` of the script.
pub fn wave(count: usize, phase: usize) -> Vec<f64> {
    let value = |index: usize| (index + 1) as f64 * 0.6180339887498949 + phase as f64 * 0.7548776662466927;
    (0..count).map(|index| 2.0 * value(index).rem_euclid(1.0) - 1.0).collect()
}

/// `fill` of the script, over the tensors that `state_dict` has without `num_batches_tracked`.
pub fn formula_weights(spec: &NetworkSpec) -> Weights {
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

/// The script's volumes: `count` of `[D, H, W]`, one after the other.
pub fn formula_volumes(count: usize, shape: [usize; 3]) -> Vec<f32> {
    let voxels: usize = shape.iter().product();
    wave(count * voxels, 1000).into_iter().map(|value| (2.0 * value) as f32).collect()
}
