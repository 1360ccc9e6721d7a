//! The network: its specification, its weights, the ONNX file it becomes, and the folder a model lives in.
//!
//! ```text
//! NetworkSpec ─┬─ Weights (random, hand-weighted marker, or trained) ─ onnx_model ─ bytes of fold_0.onnx
//!              └─ Manifest ─ ModelFolder (manifest.toml + ONNX files, digests checked)
//! ```
//!
//! [`spec`] and [`weights`] know nothing of ONNX, so that the trainer builds the very same network from
//! them; [`logit`] is what their answers mean. This module never runs a network: that is the work of the analysis stage.

pub mod distribution;
pub mod logit;
pub mod manifest;
mod manifest_check;
mod manifest_error;
mod manifest_text;
pub mod marker;
pub mod model_folder;
mod onnx;
pub mod spec;
pub mod stem_rewrite;
pub mod weights;
pub mod writer;

pub use manifest::{Manifest, ManifestError};
pub use model_folder::{ModelFolder, ModelFolderError};
pub use spec::{Architecture, Geometry, NetworkSpec};
pub use weights::{Tensor, Weights, WeightsError, random_init};
pub use writer::onnx_model;
