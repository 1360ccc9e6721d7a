//! Weights in a file: safetensors, under MedicalNet's names, 32-bit.
//!
//! `checkpoint_best` is such a file. A note (TOML) says what it is; as the only entry of the file's metadata it keeps
//! equal weights with equal notes equal byte for byte.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::network::{NetworkSpec, Tensor, Weights, WeightsError};

/// Key of the note in the file's metadata.
const NOTE: &str = "fcdd";

/// A file that holds no weights of this network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is cut short, or no safetensors file.
    #[error("{path} is damaged ({message}); delete the fold's folder and train it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// It is a whole file of another network.
    #[error("{path} does not fit the plan's network: {source}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: WeightsError,
    },
}

/// What `checkpoint_best` says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BestNote {
    /// [`super::plan::Plan::digest`]
    pub plan: String,
    /// The fold.
    pub fold: usize,
    /// The epoch, from 1.
    pub epoch: usize,
}

/// Named tensors and a note as the bytes of a safetensors file; the same input gives the same bytes.
///
/// # Errors
/// When a tensor's values do not fill its shape.
pub fn to_bytes(tensors: &BTreeMap<String, Tensor>, note: String) -> Result<Vec<u8>, SafeTensorError> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name.as_str(), tensor.shape.as_slice(), values)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, values)| Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), values)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    safetensors::serialize(views, Some(HashMap::from([(NOTE.to_owned(), note)])))
}

/// Whether a file begins as such a file does: eight bytes of length, then a JSON object. PyTorch's files begin with `PK` or
/// a pickle's `0x80`, and have no brace there.
///
/// # Errors
/// When it cannot be read.
pub fn is_one(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(9).read_to_end(&mut start)?;
    Ok(start.len() == 9 && start.last() == Some(&b'{'))
}

/// Reads named tensors and the note (empty when there is none).
///
/// # Errors
/// When the file cannot be read, or is no whole safetensors file of 32-bit numbers.
pub fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, String), WeightsFileError> {
    let damaged = |message: String| WeightsFileError::Damaged { path: path.to_owned(), message };
    let bytes = std::fs::read(path).map_err(|source| WeightsFileError::File { path: path.to_owned(), source })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("{name:?} holds {:?}, expected F32", view.dtype())));
        }
        let data = view.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), data });
    }
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let note = metadata.metadata().as_ref().and_then(|entries| entries.get(NOTE)).cloned().unwrap_or_default();
    Ok((tensors, note))
}

/// Reads the weights of a network, e.g. `checkpoint_best`.
///
/// # Errors
/// When the file is not whole, or another network's.
pub fn read_weights(path: &Path, spec: &NetworkSpec) -> Result<Weights, WeightsFileError> {
    let (tensors, _) = read(path)?;
    Weights::new(spec, tensors).map_err(|source| WeightsFileError::Weights { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Architecture, random_init};

    #[test]
    fn weights_come_back_bit_for_bit_and_equal_ones_make_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint_best");
        let spec = NetworkSpec::paper(Architecture::Resnet10, 2);
        let weights = random_init(&spec, 3);
        let bytes = to_bytes(weights.tensors(), "epoch = 2".to_owned()).unwrap();
        for _ in 0..4 {
            assert_eq!(bytes, to_bytes(weights.tensors(), "epoch = 2".to_owned()).unwrap());
        }
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_weights(&path, &spec).unwrap(), weights);
        assert_eq!(read(&path).unwrap().1, "epoch = 2");

        let other = NetworkSpec::paper(Architecture::Resnet10, 4);
        let error = read_weights(&path, &other).unwrap_err().to_string();
        assert!(error.contains("conv1.weight") && error.contains("checkpoint_best"), "{error}");
        for length in [0, 7, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = read_weights(&path, &spec).unwrap_err();
            assert!(matches!(error, WeightsFileError::Damaged { .. }), "{length}: {error}");
        }
    }
}
