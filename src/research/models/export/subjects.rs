//! The subjects of a run as an export needs them: who they are outside the run, and their volumes.

use ndarray::{Array3, ArrayView3};
use sha2::{Digest, Sha256};

use crate::analyze::preprocess::FieldOfView;
use crate::research::cache::{Cache, CachedSubject};

/// A subject of the run, known by what does not depend on the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The archive's identifier, `sub-…`.
    pub id: String,
    /// SHA-256 of the source volume's content, hexadecimal.
    pub content: String,
}

impl Subject {
    /// The subject's identity outside its archive: SHA-256 over identifier and content.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(format!("fcdd-subject-1\n{}\n{}\n", self.id, self.content)))
    }
}

/// Where the run's subjects and their preprocessed volumes come from: the run's cache.
pub trait Subjects {
    /// Every subject that took part in the run, whatever its part.
    fn all(&self) -> Vec<Subject>;

    /// A subject's preprocessed volume `[D, H, W]`, as the trainer saw it, and the network's field of view on it.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    fn volume(&self, id: &str) -> Result<(Array3<f32>, FieldOfView), String>;
}

impl Subjects for Cache {
    fn all(&self) -> Vec<Subject> {
        let subject = |s: &CachedSubject| Subject { id: s.id.clone(), content: s.source_sha256.clone() };
        self.subjects().iter().map(subject).collect()
    }

    fn volume(&self, id: &str) -> Result<(Array3<f32>, FieldOfView), String> {
        let index = self.index_of(id).ok_or("it is not in the run's cache")?;
        let [d, h, w] = self.shape();
        let volume = ArrayView3::from_shape((d, h, w), Cache::volume(self, index)).map_err(|e| e.to_string())?;
        Ok((volume.to_owned(), self.view(index)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
