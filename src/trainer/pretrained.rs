//! Weights to start from: MedicalNet's files, or `checkpoint_best` of another run.

use std::io;
use std::path::{Path, PathBuf};

use fcdd::network::{NetworkSpec, Weights};
use fcdd::research::archive::fingerprint;
use fcdd::research::run::weights_file::{self, WeightsFileError};

use super::medicalnet::{self, MedicalNetError};

/// The file is no weights for this network.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// It cannot be read at all.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `.pth` file that does not fit.
    #[error(transparent)]
    MedicalNet(#[from] MedicalNetError),
    /// A checkpoint that does not fit.
    #[error(transparent)]
    Checkpoint(#[from] WeightsFileError),
}

/// Pretrained weights, and what the log says about them.
#[derive(Debug)]
pub struct Pretrained {
    /// Of MedicalNet's files all but the classifier, which is fresh; of a checkpoint everything.
    pub weights: Weights,
    /// Tensors taken from the file.
    pub tensor_count: usize,
    /// Keys of the file that are ignored by rule.
    pub ignored: Vec<String>,
    /// Of the file, hexadecimal.
    pub sha256: String,
}

/// Reads a file for this network, whichever of the two it is; `seed` is that of a fresh classifier.
///
/// # Errors
/// When the file is not complete, or not of this network: the offending key is named.
pub fn load(path: &Path, spec: &NetworkSpec, seed: u64) -> Result<Pretrained, PretrainedError> {
    let unreadable = |source| PretrainedError::Io { path: path.to_owned(), source };
    if !weights_file::is_one(path).map_err(unreadable)? {
        return Ok(medicalnet::load(path, spec, seed)?);
    }
    let weights = weights_file::read_weights(path, spec)?;
    let sha256 = fingerprint::sha256(path).map_err(unreadable)?;
    let tensor_count = weights.tensors().len();
    Ok(Pretrained { weights, tensor_count, ignored: Vec::new(), sha256 })
}

#[cfg(test)]
mod tests {
    use fcdd::network::{Architecture, random_init};

    use super::*;

    #[test]
    fn a_checkpoint_comes_back_whole_with_its_classifier() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint_best");
        let spec = NetworkSpec::paper(Architecture::Resnet10, 2);
        let weights = random_init(&spec, 3);
        std::fs::write(&path, weights_file::to_bytes(weights.tensors(), String::new()).unwrap()).unwrap();
        let loaded = load(&path, &spec, 9).unwrap();
        assert_eq!(loaded.weights, weights);
        assert_eq!(loaded.tensor_count, weights.tensors().len());

        let error = load(&path, &NetworkSpec::paper(Architecture::Resnet10, 4), 9).unwrap_err();
        assert!(error.to_string().contains("conv1.weight"), "{error}");
    }

    #[test]
    fn what_is_neither_is_named_as_no_pytorch_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        let spec = NetworkSpec::paper(Architecture::Resnet10, 2);
        for text in ["", "short", "nothing like weights"] {
            std::fs::write(&path, text).unwrap();
            let error = load(&path, &spec, 9).unwrap_err();
            assert!(matches!(error, PretrainedError::MedicalNet(_)), "{error}");
        }
        assert!(matches!(load(&folder.path().join("none"), &spec, 9), Err(PretrainedError::Io { .. })));
    }
}
