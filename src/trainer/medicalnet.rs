//! MedicalNet's pretrained weights: `resnet_{18,34,50}.pth` and `resnet_{18,34,50}_23dataset.pth`.
//!
//! Both of PyTorch's containers are read, the legacy stream of 0.4.1 and the zip archive of 1.6 and later, wherever
//! their tensors lived (`cuda:0`). Of the top-level dictionary `state_dict` is taken and `module.` stripped from its
//! keys. `conv_seg.*` (the segmentation head) and `num_batches_tracked` are ignored; the classifier is fresh. Any other
//! key that is missing, unexpected or of another shape is an error that names it: a network with a stray random layer
//! would train, only worse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fcdd::network::{NetworkSpec, Tensor, Weights, WeightsError, random_init};
use fcdd::research::archive::fingerprint;
use pytorch_reader::{DType, PytorchError, PytorchReader};

use super::pretrained::Pretrained;

/// Key of the parameters in the file's top-level dictionary.
const TOP_LEVEL: &str = "state_dict";

/// The file is no weights for this network.
#[derive(Debug, thiserror::Error)]
pub enum MedicalNetError {
    /// It cannot be read at all.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a file that PyTorch wrote, or only a part of one.
    #[error("{path} is no complete PyTorch file ({detail}); was the download cut short?")]
    Container {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        detail: String,
    },
    /// A PyTorch file of something else.
    #[error("{path} has no {TOP_LEVEL:?} at its top level: MedicalNet's files have")]
    NoStateDict {
        /// The file.
        path: PathBuf,
    },
    /// Numbers of another kind.
    #[error("{path}: {key:?} holds {found:?}, expected 32-bit floating point")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The key as it is in the file.
        key: String,
        /// Its kind.
        found: DType,
    },
    /// The keys or shapes are another network's.
    #[error("{path} does not fit {architecture} of width {width}: {source}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// The network asked for.
        architecture: &'static str,
        /// Its width.
        width: usize,
        /// The key, and what is wrong with it.
        source: Box<WeightsError>,
    },
}

/// Reads a file for this network; `seed` is that of the fresh classifier.
///
/// # Errors
/// When the file is not complete, or not of this network: the offending key is named.
pub fn load(path: &Path, spec: &NetworkSpec, seed: u64) -> Result<Pretrained, MedicalNetError> {
    let sha256 = fingerprint::sha256(path).map_err(|source| MedicalNetError::Io { path: path.to_owned(), source })?;
    let reader = PytorchReader::with_top_level_key(path, TOP_LEVEL).map_err(|error| match error {
        PytorchError::Io(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            MedicalNetError::Io { path: path.to_owned(), source }
        }
        PytorchError::KeyNotFound(_) => MedicalNetError::NoStateDict { path: path.to_owned() },
        other => MedicalNetError::Container { path: path.to_owned(), detail: other.to_string() },
    })?;

    let mut tensors = BTreeMap::new();
    let mut ignored = Vec::new();
    for (key, tensor) in reader.into_tensors() {
        let name = key.strip_prefix("module.").unwrap_or(&key);
        if name.starts_with("conv_seg.") || name.ends_with(".num_batches_tracked") {
            ignored.push(key);
            continue;
        }
        if tensor.dtype() != DType::F32 {
            return Err(MedicalNetError::Kind { path: path.to_owned(), found: tensor.dtype(), key });
        }
        let bytes = tensor
            .read()
            .map_err(|error| MedicalNetError::Container { path: path.to_owned(), detail: error.to_string() })?;
        let values = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_ne_bytes(*value));
        tensors.insert(name.to_owned(), Tensor { shape: tensor.shape().to_vec(), data: values.collect() });
    }
    ignored.sort();

    let unfit = |source: WeightsError| MedicalNetError::Weights {
        path: path.to_owned(),
        architecture: spec.architecture.name(),
        width: spec.width,
        source: Box::new(source),
    };
    if let Some(name) = tensors.keys().find(|name| name.starts_with("fc.")) {
        let architecture = format!("MedicalNet's {}", spec.architecture);
        return Err(unfit(WeightsError::Unexpected { name: name.clone(), architecture }));
    }
    let tensor_count = tensors.len();
    let fresh = random_init(spec, seed);
    for (name, tensor) in fresh.tensors().iter().filter(|(name, _)| name.starts_with("fc.")) {
        tensors.insert(name.clone(), tensor.clone());
    }
    let weights = Weights::new(spec, tensors).map_err(unfit)?;
    tracing::info!(path = %path.display(), tensor_count, %sha256, "pretrained weights loaded");
    Ok(Pretrained { weights, tensor_count, ignored, sha256 })
}
