//! A model on disk: `manifest.toml` and the ONNX files that it names, nothing else executable.
//!
//! A folder is loaded only when every file has the digest that the manifest states and no other `.onnx`
//! file lies beside them; a file is checked again when its bytes are read for a session, so what runs is
//! what the digest in the report names.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{Manifest, ManifestError, ModelFile};

/// Name of the manifest in a model's folder.
pub const MANIFEST: &str = "manifest.toml";

/// A model folder that cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelFolderError {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is wrong.
    #[error("{path}: {source}", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A file is not the one that the manifest names.
    #[error(
        "{path}: SHA-256 is {found}, but the manifest says {expected}: the file was changed or damaged; \
         restore the model folder",
        path = path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// An ONNX file that the manifest does not name.
    #[error("{path}: the manifest does not name this file; remove it, or add it to the manifest", path = path.display())]
    UnexpectedFile {
        /// The file.
        path: PathBuf,
    },
    /// The output folder has something in it.
    #[error("{path}: the folder is not empty; choose another one or empty it", path = path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such fold.
    #[error("{path}: the model has {folds} file(s), number {index} (from 0) was asked for", path = path.display())]
    NoSuchFold {
        /// The folder.
        path: PathBuf,
        /// Folds in the model.
        folds: usize,
        /// Fold asked for.
        index: usize,
    },
}

impl ModelFolderError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| ModelFolderError::Io { path: path.to_owned(), source }
    }
}

/// A model whose manifest and files were checked.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    path: PathBuf,
    manifest: Manifest,
    digest: String,
}

impl ModelFolder {
    /// Reads `manifest.toml` and checks every file against it.
    ///
    /// # Errors
    /// What is wrong first, with the file, the field, expected and found.
    pub fn load(path: &Path) -> Result<ModelFolder, ModelFolderError> {
        let manifest_path = path.join(MANIFEST);
        let text = fs::read_to_string(&manifest_path).map_err(ModelFolderError::io(&manifest_path))?;
        let manifest = Manifest::from_toml(&text)
            .map_err(|source| ModelFolderError::Manifest { path: manifest_path.clone(), source })?;

        for entry in fs::read_dir(path).map_err(ModelFolderError::io(path))? {
            let entry = entry.map_err(ModelFolderError::io(path))?;
            let is_onnx = entry.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
            let is_named = manifest.files.iter().any(|file| entry.file_name() == file.name.as_str());
            if is_onnx && !is_named {
                return Err(ModelFolderError::UnexpectedFile { path: entry.path() });
            }
        }
        let digest = digest_of(&text, &manifest.files);
        let folder = ModelFolder { path: path.to_owned(), manifest, digest };
        for index in 0..folder.folds() {
            folder.fold_bytes(index)?;
        }
        for record in &folder.manifest.records {
            folder.checked_bytes(record)?;
        }
        Ok(folder)
    }

    /// Writes a new model: the files first, the manifest last, so that a folder that was left half written
    /// is no model. `onnx_files` are the folds in order; `manifest.files` is filled in from them.
    ///
    /// # Errors
    /// [`ModelFolderError::NotEmpty`] when there is anything in `path`; a manifest that contradicts itself;
    /// input and output errors.
    pub fn write(path: &Path, manifest: Manifest, onnx_files: &[Vec<u8>]) -> Result<ModelFolder, ModelFolderError> {
        ModelFolder::write_with_records(path, manifest, onnx_files, &[])
    }

    /// The same with records (name and contents); `manifest.records` is filled in from them.
    ///
    /// # Errors
    /// As [`ModelFolder::write`].
    pub fn write_with_records(
        path: &Path,
        mut manifest: Manifest,
        onnx_files: &[Vec<u8>],
        records: &[(&str, Vec<u8>)],
    ) -> Result<ModelFolder, ModelFolderError> {
        require_empty(path)?;
        manifest.files = onnx_files
            .iter()
            .enumerate()
            .map(|(fold, bytes)| ModelFile { name: format!("fold_{fold}.onnx"), sha256: sha256_hex(bytes) })
            .collect();
        manifest.records = records
            .iter()
            .map(|(name, bytes)| ModelFile { name: (*name).to_owned(), sha256: sha256_hex(bytes) })
            .collect();
        let manifest_path = path.join(MANIFEST);
        manifest.check().map_err(|source| ModelFolderError::Manifest { path: manifest_path.clone(), source })?;

        fs::create_dir_all(path).map_err(ModelFolderError::io(path))?;
        let contents = onnx_files.iter().chain(records.iter().map(|(_, bytes)| bytes));
        for (file, bytes) in manifest.files.iter().chain(&manifest.records).zip(contents) {
            let file_path = path.join(&file.name);
            fs::write(&file_path, bytes).map_err(ModelFolderError::io(&file_path))?;
        }
        let text = manifest.to_toml();
        fs::write(&manifest_path, &text).map_err(ModelFolderError::io(&manifest_path))?;
        let digest = digest_of(&text, &manifest.files);
        Ok(ModelFolder { path: path.to_owned(), manifest, digest })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Identity of manifest and files: SHA-256 (hexadecimal) over the manifest's bytes and, for every file
    /// in its order, the file's SHA-256 in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Number of networks in the ensemble.
    pub fn folds(&self) -> usize {
        self.manifest.files.len()
    }

    /// The ONNX file of a fold, checked against the manifest once more.
    ///
    /// # Errors
    /// The file is gone or is no longer the one that the manifest names.
    pub fn fold_bytes(&self, index: usize) -> Result<Vec<u8>, ModelFolderError> {
        let file = self.manifest.files.get(index).ok_or_else(|| ModelFolderError::NoSuchFold {
            path: self.path.clone(),
            folds: self.folds(),
            index,
        })?;
        self.checked_bytes(file)
    }

    /// A record by its name, checked against the manifest; `None` when the model has none of that name.
    ///
    /// # Errors
    /// The file is gone or is no longer the one that the manifest names.
    pub fn record(&self, name: &str) -> Result<Option<Vec<u8>>, ModelFolderError> {
        let record = self.manifest.records.iter().find(|record| record.name == name);
        record.map(|record| self.checked_bytes(record)).transpose()
    }

    fn checked_bytes(&self, file: &ModelFile) -> Result<Vec<u8>, ModelFolderError> {
        let path = self.path.join(&file.name);
        let bytes = fs::read(&path).map_err(ModelFolderError::io(&path))?;
        let found = sha256_hex(&bytes);
        if found != file.sha256 {
            return Err(ModelFolderError::Digest { path, expected: file.sha256.clone(), found });
        }
        Ok(bytes)
    }
}

/// Succeeds when nothing is at `path`, or an empty folder.
///
/// # Errors
/// [`ModelFolderError::NotEmpty`], or why the folder cannot be read.
pub fn require_empty(path: &Path) -> Result<(), ModelFolderError> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ModelFolderError::io(path)(error)),
    };
    if entries.next().is_some() {
        return Err(ModelFolderError::NotEmpty { path: path.to_owned() });
    }
    Ok(())
}

fn digest_of(manifest_text: &str, files: &[ModelFile]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(manifest_text.as_bytes());
    for file in files {
        hasher.update(file.sha256.as_bytes());
    }
    hex(&hasher.finalize())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::manifest::SUBJECTS;
    use crate::network::manifest::tests::example;

    fn written(parent: &Path) -> ModelFolder {
        let records = [(SUBJECTS, b"of nobody".to_vec())];
        let files = [b"first".to_vec(), b"second".to_vec()];
        ModelFolder::write_with_records(&parent.join("model"), example(), &files, &records).unwrap()
    }

    #[test]
    fn what_was_written_is_loaded_with_the_same_digest() {
        let parent = tempfile::tempdir().unwrap();
        let folder = written(parent.path());
        let loaded = ModelFolder::load(folder.path()).unwrap();
        assert_eq!(loaded.manifest(), folder.manifest());
        assert_eq!(loaded.digest(), folder.digest());
        assert_eq!(loaded.fold_bytes(1).unwrap(), b"second");
        assert!(matches!(loaded.fold_bytes(2), Err(ModelFolderError::NoSuchFold { folds: 2, index: 2, .. })));
    }

    #[test]
    fn a_folder_with_anything_in_it_is_never_written_to() {
        let parent = tempfile::tempdir().unwrap();
        let folder = written(parent.path());
        let again = ModelFolder::write(folder.path(), example(), &[b"other".to_vec()]);
        assert!(matches!(again, Err(ModelFolderError::NotEmpty { .. })));
        assert_eq!(folder.fold_bytes(0).unwrap(), b"first");
    }

    #[test]
    fn a_changed_a_missing_and_an_extra_file_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = written(parent.path());
        let first = folder.path().join("fold_0.onnx");

        fs::write(&first, b"changed").unwrap();
        let error = ModelFolder::load(folder.path()).unwrap_err();
        assert!(matches!(&error, ModelFolderError::Digest { path, .. } if *path == first), "{error}");
        assert!(matches!(folder.fold_bytes(0), Err(ModelFolderError::Digest { .. })), "also after loading");

        fs::remove_file(&first).unwrap();
        assert!(matches!(ModelFolder::load(folder.path()), Err(ModelFolderError::Io { path, .. }) if path == first));

        fs::write(&first, b"first").unwrap();
        fs::write(folder.path().join("fold_2.ONNX"), b"").unwrap();
        assert!(matches!(ModelFolder::load(folder.path()), Err(ModelFolderError::UnexpectedFile { .. })));
    }

    #[test]
    fn a_changed_record_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = written(parent.path());
        assert_eq!(folder.record(SUBJECTS).unwrap().unwrap(), b"of nobody");
        assert!(folder.record("others.txt").unwrap().is_none());
        let path = folder.path().join(SUBJECTS);
        fs::write(&path, b"of somebody").unwrap();
        assert!(matches!(ModelFolder::load(folder.path()), Err(ModelFolderError::Digest { path: p, .. }) if p == path));
    }

    #[test]
    fn the_digest_changes_with_the_manifest() {
        let parent = tempfile::tempdir().unwrap();
        let folder = written(parent.path());
        let manifest_path = folder.path().join(MANIFEST);
        let text = fs::read_to_string(&manifest_path).unwrap();
        fs::write(&manifest_path, text.replace("threshold = 0.5", "threshold = 0.4")).unwrap();
        assert_ne!(ModelFolder::load(folder.path()).unwrap().digest(), folder.digest());
    }
}
